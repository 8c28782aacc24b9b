"""Asks a student's file, whatever runs it."""

from typing import Any

import tensorflow as tf


def run(runner: Any, tensors: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the named parameters of named tensors.

    Args:
        runner: of a format.
        tensors: the inputs, of the types and shapes that the file takes.

    Raises:
        ValueError: in a graph of TensorFlow, if the file runs outside of TensorFlow.
    """
    is_eager = all(hasattr(tensor, "numpy") for tensor in tensors.values())
    if is_eager and not all(len(tensor) for tensor in tensors.values()):
        return _of_no_rows(runner.parameter_specs)
    if not runner.on_host:
        return runner(**tensors)
    if not is_eager:
        raise ValueError(
            "A LiteRT or ONNX file runs outside of TensorFlow, so not in a tf.function or a "
            "dataset's map. Call the student with arrays, or export it as a SavedModel."
        )
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return {name: tf.convert_to_tensor(array) for name, array in runner(**arrays).items()}


def _of_no_rows(specs):
    """The answers to an empty batch, which no runtime takes for every network."""
    shapes = {name: [0, *(size or 0 for size in spec.shape[1:])] for name, spec in specs.items()}
    return {name: tf.zeros(shape, specs[name].dtype) for name, shape in shapes.items()}
