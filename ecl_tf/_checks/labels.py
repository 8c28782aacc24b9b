"""What a `Distiller` refuses of labels, and of weights of their classes."""

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import outputs, samplers
from ecl_tf._internal import batches, require, symbolic

NO_LABELS = (
    "They can't be class indices, and no labels are used here: label_weight is 0, and there are no "
    "metrics. If they are weights of rows, give them as sample_weight=..., or batches (inputs, "
    "None, weights); if not, leave them out."
)


def require_fit(label_weight, given, output, raw):
    """Refuses labels that are learned from if they are none, or don't fit the raw output.

    Args:
        label_weight: the distiller's.
        given: labels or their specs, or None.
        output: the student's `ecl_tf.outputs.Output`.
        raw: its raw output, or specs of it; None if it is not known.
    """
    if label_weight > 0.0 and given is None:
        raise ValueError(
            f"label_weight={label_weight} needs labels, but the data has none. Give "
            "(inputs, labels), or set label_weight=0."
        )
    if given is None:
        return
    if isinstance(output, outputs.Joint):
        names = sorted(output.outputs)
        if not isinstance(given, dict) or not set(given) <= set(names):
            found = sorted(given) if isinstance(given, dict) else f"a {type(given).__name__}"
            raise ValueError(
                f"With several outputs, labels are a dict with the names {names} of the outputs; "
                f"got {found}. Give {{name: labels, ...}}."
            )
        none = (type(None), tf.NoneTensorSpec)
        given = {name: each for name, each in given.items() if not isinstance(each, none)}
        missing = [name for name in names if name not in given and output.weights[name] > 0.0]
        if label_weight > 0.0 and missing:
            raise ValueError(
                f"label_weight={label_weight} needs labels of every output, and {missing} have "
                f"none: got labels of {sorted(given)}. Give them, set label_weight=0, or give "
                "the output the weight 0: ecl_tf.outputs.Joint(outputs, weights)."
            )
    elif keras.tree.is_nested(given):
        raise ValueError(
            f"Labels of one output are one array; got a {type(given).__name__}. Choose one of "
            "them, or make the list an array with np.asarray."
        )
    for own, its, its_raw in outputs.parts_of(output, given, raw).values():
        if its is not None and its_raw is not None:
            own.validate_labels(its.shape, its_raw.shape)


def of_data(x, y, distiller):
    """Refuses labels that no network can have, in arrays and, of a dataset, in its specs.

    Args:
        x: what `fit` or `evaluate` was given.
        y: the same.
        distiller: the `Distiller`.
    """
    element = batches.element_spec(x)
    if element is None:
        return
    inputs = element
    if isinstance(x, tf.data.Dataset):
        inputs, y, _ = batches.unpack(element)
        y = None if isinstance(y, tf.NoneTensorSpec) else y
    if y is None:
        return
    shape = symbolic.output_shape(distiller.student, samplers.inputs_of(inputs))
    if shape is None:
        return
    # A network may be of so many rows, and arrays are those of all batches.
    raw = keras.tree.map_shape_structure(lambda each: tf.TensorSpec((None, *each[1:])), shape)
    output = distiller.output_kind
    if not distiller.uses_labels:
        if not isinstance(x, tf.data.Dataset):
            _unused(y, raw, output)
        return
    if not isinstance(x, tf.data.Dataset):
        is_one = not isinstance(output, outputs.Joint)
        y = np.asarray(y) if is_one and isinstance(y, list) else y
    for name, (own, its, its_raw) in outputs.parts_of(output, y, raw).items():
        if isinstance(x, tf.data.Dataset) and getattr(its, "dtype", None) == tf.string:
            raise ValueError(
                f"Labels{f' of {name!r}' * bool(name)} must be numbers; got text. Expected "
                f"{own.expected_labels(its_raw.shape)}. keras.layers.StringLookup("
                "num_oov_indices=0) numbers names of classes: dataset.map(lambda x, y: (x, "
                "lookup(y)))."
            )
    require_fit(distiller.label_weight, y, output, raw)
    distiller.require_metrics_fit(y, raw)
    if isinstance(x, tf.data.Dataset):
        return
    for name, (own, its, its_raw) in outputs.parts_of(output, y, raw).items():
        if its is not None:
            own.require_labels(its, its_raw.shape, name)


def _unused(given, raw, output):
    """Refuses arrays in the place of labels that can't be labels, though nobody uses them."""
    for name, (each, its, own) in outputs.parts_of(output, given, raw).items():
        if its is None or own is None or keras.tree.is_nested(its):
            continue
        its = np.asarray(its)
        if its.dtype.kind in "OSU":
            each.require_labels(its, own.shape, name)  # Keras does not take texts.
        wrong = fractions(its, own, each)
        if wrong is not None and np.any(wrong):
            found = its[np.asarray(wrong)].ravel()[0]
            raise ValueError(f"There are labels such as {found:g}. {NO_LABELS}")


def fractions(labels, raw, output):
    """Which labels are no whole numbers, where class indices are expected.

    Args:
        labels: labels that are not used.
        raw: the student's raw output, or specs of it.
        output: its `ecl_tf.outputs.Output`.

    Returns:
        A bool tensor, of the shape of the labels; None where their type or that of the output does
        not tell.
    """
    if output.makes_probabilities != "softmax" or not hasattr(labels, "dtype"):
        return None
    if not tf.as_dtype(labels.dtype).is_floating:
        return None
    if tf.TensorShape(labels.shape).rank is None:
        return None
    if len(labels.shape) == len(raw.shape) and labels.shape[-1] != 1:
        return None  # Shares of classes.
    labels = tf.convert_to_tensor(labels)
    return tf.math.is_finite(labels) & tf.not_equal(labels, tf.floor(labels))


def class_weight(given, x, y, distiller):
    """Refuses weights of classes that are none, and where no labels are there to have them.

    Args:
        given: what `fit` was given as class_weight.
        x: the same.
        y: the same.
        distiller: the `Distiller`.
    """
    if given is None:
        return
    output = distiller.output_kind
    shape = symbolic.output_shape(distiller.student)
    instead = "Give weights of rows or positions: sample_weight=..."
    if output.family not in ("categorical", "bernoulli"):
        raise ValueError(
            f"class_weight is for one output of classes, and output={output.family!r} has none "
            f"to weigh. {instead}"
        )
    last = shape[-1] if isinstance(shape, tuple) else None
    require.class_weight(given, {"categorical": last, "bernoulli": 2}.get(output.family))
    if output.family == "bernoulli" and last not in (None, 1):
        raise ValueError(
            f"class_weight needs one label for each row or position, and the student answers with "
            f"{last} yes/no labels. {instead}"
        )
    if isinstance(x, tf.data.Dataset):
        _, its, _ = batches.unpack(x.element_spec)
        is_labelled = its is not None and not isinstance(its, tf.NoneTensorSpec)
    else:
        is_labelled = y is not None or batches.is_stream(x)
    if not is_labelled:
        raise ValueError(batches.WITHOUT_LABELS)
