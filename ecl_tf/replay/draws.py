"""Samples as a function of the step: drawn when a store is recorded, and again when it is read."""

import hashlib

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import samplers
from ecl_tf._internal import random
from ecl_tf.data import splits

# What TensorFlow reads from bytes.
STORABLE = ("bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")


class Rows:
    """Training rows by an identity of their own: their place in the order of their contents.

    It does not depend on the order in which they are stored or read, so that any order of the
    same rows gives the same samples.

    Args:
        x: inputs, nested arrays or tensors of shape (rows, ...).
        y: labels, the same; or None.

    Attributes:
        count: the number of rows.
        fingerprint: a hash of all rows, whatever their order.

    Raises:
        ValueError: if inputs and labels are not of the same number of rows.
    """

    def __init__(self, x, y=None):
        data = (x,) if y is None else (x, y)
        self._tensors = keras.tree.map_structure(tf.convert_to_tensor, data)
        leaves = [np.asarray(leaf) for leaf in keras.tree.flatten(data)]
        if not all(leaf.ndim for leaf in leaves):
            raise ValueError(
                "Inputs and labels must be arrays with their rows first, and one is a number, or "
                "they are lists of numbers. Give np.asarray(x)."
            )
        counts = [len(leaf) for leaf in leaves]
        if len(set(counts)) > 1:
            raise ValueError(f"All inputs and labels must have as many rows; got {counts}.")
        self.count = counts[0]
        rows = (b"".join(leaf[row].tobytes() for leaf in leaves) for row in range(self.count))
        hashes = [hashlib.blake2b(row, digest_size=16).digest() for row in rows]
        order = sorted(range(self.count), key=hashes.__getitem__)
        self._place = tf.constant(order, tf.int32)
        self.fingerprint = hashlib.blake2b(b"".join(sorted(hashes)), digest_size=16).hexdigest()

    def __call__(self, identities):
        """(inputs, labels), or (inputs,), of the rows of some identities, int32 (batch,)."""
        place = tf.gather(self._place, identities)
        return keras.tree.map_structure(lambda leaf: tf.gather(leaf, place), self._tensors)


def steps(rows, batch_size, seed, first_step=0):
    """Steps and the identities of their rows, a permutation for each pass, without end."""
    batches = splits.shuffled_batches(tf.range(rows.count), batch_size, seed, first_step)
    return batches.enumerate(first_step)


def prepared(rows, prepare):
    """Specs of the inputs that a sampler is given: those of the rows, or what `prepare` returns."""

    @tf.function(autograph=False)
    def some(identities, seed):
        x, *_ = rows(identities)
        return x if prepare is None else prepare(x, seed)

    some = some.get_concrete_function(tf.TensorSpec([None], tf.int32), tf.TensorSpec([2], tf.int32))
    return some.structured_outputs


def drawing(rows, sampler, prepare, seed, networks=None):
    """The samples of a step, as a function of the step and the identities of its rows.

    TensorFlow rewrites the arithmetic of a graph by what else is in it, which changes last bits.
    So this is a function that is never made part of another, and recording and reading both
    call it in a dataset's `map`.

    Args:
        rows: `Rows`.
        sampler: an `ecl_tf.samplers.Sampler`.
        prepare: a function (inputs, seed) -> inputs before the sampler, or None.
        seed: the store's, an integer.
        networks: the `ecl_tf.uncertainty.Networks` for a sampler that asks the teacher; None by
            default.

    Returns:
        A function of (int64 scalar, int32 (batch,)) to (samples, labels), or (samples,).
    """

    @tf.function(autograph=False, experimental_attributes={"_noinline": True})
    def draw(step, identities):
        x, *labels = rows(identities)
        if prepare is not None:
            x = prepare(x, random.fold_in(random.fold_in(seed, 1), step))
        samples = sampler(x, random.fold_in(random.fold_in(seed, 2), step), networks)
        return samples, *(samples.follow(each) for each in labels)

    return draw


def fields_of(samples):
    """The fields of a step that hold its samples, where only the teacher could draw them again."""
    leaves = keras.tree.flatten(samples.inputs)
    return {
        "unmodified": samples.unmodified,
        "sources": samples.follow(tf.range(tf.size(samples.unmodified))),
        **{f"input_{number}": leaf for number, leaf in enumerate(leaves)},
    }


def samples_of(fields, like):
    """The samples that fields hold.

    Args:
        fields: of a step, with what `fields_of` returned.
        like: a nesting with the structure of the inputs.
    """
    count = len(keras.tree.flatten(like))
    inputs = [fields[f"input_{number}"] for number in range(count)]
    packed = keras.tree.pack_sequence_as(like, inputs)
    return samplers.Samples(packed, fields["unmodified"], fields["sources"])
