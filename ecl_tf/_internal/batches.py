"""What a batch is made of, and what can be known of the data before the first one."""

from typing import Any

import keras
import tensorflow as tf


def unpack(data):
    """Inputs, labels, and weights as float32 of shape (batch,)."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if sample_weight is not None:
        if keras.tree.is_nested(sample_weight):
            raise ValueError(
                "sample_weight must be one weight for each row, shape (batch,); got a "
                f"{type(sample_weight).__name__} of them. Weigh outputs with "
                "ecl_tf.outputs.Joint(outputs, weights). Weights of rows beside arrays of several "
                "labels are copied to every label by Keras: give a tf.data.Dataset of (inputs, "
                "labels, weights) instead."
            )
        sample_weight = tf.reshape(tf.cast(sample_weight, tf.float32), [row_count(x)])
    return x, y, sample_weight


def row_count(inputs: Any) -> int | tf.Tensor:
    """The number of rows of `inputs`: an integer where it is static, otherwise a scalar tensor."""
    first = keras.tree.flatten(inputs)[0]
    return first.shape[0] if first.shape[0] is not None else tf.shape(first)[0]


def as_type(x, dtype):
    """Numbers in another type: whole ones are rounded, and stay in its range."""
    x = tf.convert_to_tensor(x)
    if dtype.is_integer and x.dtype.is_floating:
        return tf.saturate_cast(tf.round(x), dtype)
    return tf.cast(x, dtype)


def specs(x):
    """The nesting of `tf.TensorSpec` of inputs, with any number of rows."""
    return keras.tree.map_structure(
        lambda leaf: tf.TensorSpec((None, *leaf.shape[1:]), tf.as_dtype(leaf.dtype)), x
    )


def element_spec(x):
    """Specs of one batch: of a dataset's element, or of arrays; None if not known."""
    if isinstance(x, tf.data.Dataset):
        return x.element_spec
    leaves = keras.tree.flatten(x)
    if leaves and all(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves):
        return specs(x)
    return None


def smallest(x, batch_size=None):
    """The number of rows of the smallest batch of a dataset or of arrays; None if not known."""
    if element_spec(x) is None:
        return None
    if isinstance(x, tf.data.Dataset):
        shape = keras.tree.flatten(x.element_spec)[0].shape
        return shape[0] if shape.rank else None
    rows, size = keras.tree.flatten(x)[0].shape[0], batch_size or 32  # Keras's default.
    return rows % size or size


def is_empty(x):
    """Whether a dataset of known length, or arrays, hold no rows."""
    if isinstance(x, tf.data.Dataset):
        return int(x.cardinality()) == 0
    return keras.tree.flatten(x)[0].shape[0] == 0
