"""Whether a network that was brought along fits an experiment's data."""

import os
from typing import Any

import keras
import tensorflow as tf

import ecl_tf
from ecl_tf import data, outputs
from ecl_tf._internal import keras_files, symbolic


def require_model(
    role: str, model: keras.Model, splits: data.Splits, output: ecl_tf.outputs.Output
) -> None:
    """`require` of a Keras model, as far as its symbolic inputs and outputs tell.

    Args:
        role: "teacher" or "model", for the message.
    """
    inputs, shape = symbolic.inputs_of(model), symbolic.output_shape(model)
    leaves = keras.tree.flatten(inputs) if inputs is not None else []
    size = shape[-1] if isinstance(shape, tuple) and shape else None
    shapes = {leaf.name: tuple(leaf.shape[1:]) for leaf in leaves}
    if isinstance(inputs, dict):
        shapes = {name: tuple(leaf.shape[1:]) for name, leaf in inputs.items()}
    require(f"{role} {model.name!r}", shapes, size, splits, output)


def output_of(path: str | os.PathLike, output: outputs.Output) -> outputs.Output:
    """The output that a .keras file's raw outputs stand for.

    Numbers have the units of the rows that the network was trained on, and these are in the file.

    Args:
        path: of the file.
        output: the experiment's, for a file that says nothing.

    Raises:
        ValueError: if the file's is of another family.
    """
    config = keras_files.output_of(path)
    if config is None or not isinstance(output, outputs.Numeric):
        return output
    own = outputs.get(config)
    require_family(f"network in {path}", own, output)
    return own


def require_family(network: str, own: outputs.Output, output: outputs.Output) -> None:
    """Raises ValueError if a network's `own` output is of another family than the experiment's."""
    if own.family != output.family:
        raise ValueError(
            f"The {network} has the output {own!r}, and config.output is {output!r}. Give one of "
            "the same family."
        )


def require(
    network: str,
    shapes: dict[str, tuple],
    size: Any,
    splits: data.Splits,
    output: ecl_tf.outputs.Output,
) -> None:
    """Refuses a network of other inputs, or of another number of classes, than the data has.

    Args:
        network: what it is, for the message, such as "teacher 'net'".
        shapes: of one row of its inputs, by their names; empty where they are not known.
        size: of its answers' last axis, which is compared for classes only; None where it is not
            known.

    Raises:
        ValueError: naming both numbers, or both shapes.
    """
    classes = splits.event_size
    if output.makes_probabilities and size is not None and size != classes:
        raise ValueError(
            f"The {network} gives {size} classes, and the data has {classes}. Give one that was "
            "trained on data of as many."
        )
    of_data = splits.input_shape
    expected = of_data if isinstance(of_data, dict) else dict.fromkeys(shapes, of_data)
    for name, own in shapes.items():
        its = expected.get(name)
        if its is not None and not tf.TensorShape(own).is_compatible_with(its):
            raise ValueError(
                f"The {network} takes rows of shape {own} as its input {name!r}, and those of the "
                f"data have the shape {tuple(its)}. Give one that was trained on such data, or "
                "that has layers in front which bring the data to its shape: "
                "ecl_tf.preprocessing.with_preprocessing."
            )
