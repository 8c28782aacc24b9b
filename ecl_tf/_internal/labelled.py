"""Batches of inputs with labels, from arrays or a dataset."""

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import batches, endless, own_inputs, ranges, require


def dataset(what, x, y, batch_size, networks):
    """A dataset of batches (inputs, labels), or (inputs, labels, weights).

    Args:
        what: needs them, for the message.
        x: inputs, or a batched `tf.data.Dataset`.
        y: labels, or None where `x` is a dataset.
        batch_size: rows of a batch of arrays.
        networks: the Keras models that take the inputs.

    Raises:
        ValueError: if there are no labels, or the networks don't take the inputs.
    """
    if batches.is_stream(x) and not isinstance(x, tf.data.Dataset):
        raise ValueError(
            f"{what} takes arrays, or a tf.data.Dataset of (inputs, labels); got a "
            f"{type(x).__name__}. tf.data.Dataset.from_generator makes one of what yields batches."
        )
    require.whole("batch_size", batch_size, 1)
    if isinstance(x, tf.data.Dataset):
        if y is not None:
            raise ValueError(
                f"{what} got a dataset, and labels beside it. Give a dataset of (inputs, labels), "
                "tf.data.Dataset.zip((x, y)), or arrays of both."
            )
        is_labelled = isinstance(x.element_spec, (tuple, list)) and len(x.element_spec) > 1
    else:
        is_labelled = y is not None
    if not is_labelled:
        raise ValueError(
            f"{what} needs labels, and the data has none: it is one array, or a dict. Give inputs "
            "and labels, or a dataset of (inputs, labels): tfds.load(..., as_supervised=True), or "
            "dataset.map(lambda row: (row['image'], row['label']))."
        )
    if not isinstance(x, tf.data.Dataset):
        x, y, _ = own_inputs.arrays_of_frames(x, y)
        y = np.asarray(y) if batches.is_list_of_values(y) else y
        counts = [
            {leaf.shape[0] for leaf in keras.tree.flatten(part) if getattr(leaf, "shape", ())}
            for part in (x, y)
        ]
        if len(set.union(*counts)) > 1:
            raise ValueError(
                f"{what} needs a label for each row; got {sorted(counts[0])} rows of inputs, and "
                f"{sorted(counts[1])} of labels."
            )
        for part, given in {"inputs": x, "labels": y}.items():
            own_inputs.require_dense(given, part)
        if isinstance(x, list) and all(hasattr(leaf, "shape") for leaf in x):
            x = tuple(x)  # A list would become one tensor.
        x = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)
    if endless.is_endless(x):
        raise ValueError(f"{what} reads all data, and this is endless. Give x.take(batches).")
    inputs, labels, *_ = x.element_spec
    own_inputs.require_dense(inputs)
    own_inputs.require_dense(labels, "labels")
    asked = [("network", network) for network in networks]
    own_inputs.require_fit(inputs, asked, may_hold_others=True)
    for first, *_ in x.take(1):
        # A network that is trained already may have learned on counts, or on pixels of 12 bits.
        ranges.require_within(asked, first, compares_images=not _goes_beyond_bytes(first))
    return x


def _goes_beyond_bytes(inputs):
    leaves = [leaf for leaf in keras.tree.flatten(inputs) if leaf.dtype != tf.uint16]
    numbers = [leaf for leaf in leaves if leaf.dtype.is_floating or leaf.dtype.is_integer]
    return any(bool(tf.reduce_any(tf.cast(leaf, tf.float32) > 255.0)) for leaf in numbers)
