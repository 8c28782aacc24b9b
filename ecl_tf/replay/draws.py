"""Samples as a function of the step: drawn when a store is recorded, and again when it is read."""

import hashlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import samplers
from ecl_tf._internal import batches, own_inputs, random
from ecl_tf.data import splits
from ecl_tf.data.indexed import IndexedExamples

# What TensorFlow reads from bytes.
STORABLE = ("bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")


class Rows:
    """Training rows by an identity of their own: their place in the order of their contents.

    Of `IndexedExamples` it is the place in the order of their ids. It does not depend on the order
    in which rows are stored or read, so that any order of the same rows gives the same samples.

    Args:
        x: inputs, nested arrays or tensors of shape (rows, ...), of which a `numpy.memmap` stays in
            its file; or `IndexedExamples`, with labels or without.
        y: labels, the same as arrays; or None.

    Attributes:
        count: the number of rows.
        fingerprint: a hash of all rows, whatever their order.

    Raises:
        ValueError: if inputs and labels are not of the same number of rows, or labels are given
            beside `IndexedExamples`.
    """

    def __init__(self, x, y=None):
        if isinstance(x, IndexedExamples):
            if y is not None:
                raise ValueError(
                    "The labels of IndexedExamples are in their files. Leave y out, and let "
                    "`parse` return (inputs, label)."
                )
            self._read: Callable[[tf.Tensor], tuple] = x
            self.count, self.fingerprint = x.count, x.fingerprint
            self._place = tf.constant(x.order, tf.int32)
            return
        x, y, _ = own_inputs.arrays_of_frames(x, y)
        data = (x,) if y is None else (x, y)
        if any(leaf is None for leaf in keras.tree.flatten(data)):
            raise ValueError(
                "One of the arrays of inputs and labels is None. Give inputs and labels as two "
                "arguments, x and y, the labels' only if there are any; weights of rows are none "
                "of them, as a teacher's answers have no weights."
            )
        own_inputs.require_dense(x)
        own_inputs.require_dense(y, "labels")
        data = batches.without_lists(data)
        leaves = [_array(leaf) for leaf in keras.tree.flatten(data)]
        if not all(leaf.ndim for leaf in leaves):
            raise ValueError(
                "Inputs and labels must be arrays with their rows first, and one is a number, or "
                "they are lists of numbers. Give np.asarray(x)."
            )
        counts = [len(leaf) for leaf in leaves]
        if len(set(counts)) > 1:
            raise ValueError(f"All inputs and labels must have as many rows; got {counts}.")
        self.count = counts[0]
        gathers = keras.tree.map_structure(_gather, data)

        def read(places):
            return keras.tree.map_structure(lambda gather: gather(places), gathers)

        self._read = read
        size = 16
        digests = (_digest(leaf[row] for leaf in leaves) for row in range(self.count))
        hashes = np.frombuffer(b"".join(digests), f"V{size}")
        # Bytes compare as whole numbers do whose highest byte comes first.
        order = np.lexsort(hashes.view(">u8").reshape(-1, size // 8).T[::-1])
        self._place = tf.constant(order, tf.int32)
        self.fingerprint = hashlib.blake2b(hashes[order].tobytes(), digest_size=size).hexdigest()

    def __call__(self, identities):
        """(inputs, labels), or (inputs,), of the rows of some identities, int32 (batch,)."""
        return self._read(tf.gather(self._place, identities))


def _digest(row):
    """A hash of the leaves of a row."""
    return hashlib.blake2b(b"".join(map(_bytes, row)), digest_size=16).digest()


def _array(leaf):
    """An array; texts as UTF-8, as TensorFlow has them."""
    leaf = np.asanyarray(leaf)
    return tf.convert_to_tensor(leaf).numpy() if leaf.dtype.kind in "OSU" else leaf


def _bytes(leaf):
    """The bytes of an array; of texts those that they consist of, and not where they lie."""
    leaf = np.asanyarray(leaf)
    return leaf.tobytes() if leaf.dtype.kind != "O" else repr(leaf.tolist()).encode()


def _gather(leaf):
    """A function from places to the rows of an array there."""
    if not isinstance(leaf, np.memmap):
        tensor = tf.convert_to_tensor(leaf)
        return lambda places: tf.gather(tensor, places)
    kind = tf.as_dtype(leaf.dtype)

    def gather(places):
        rows = tf.numpy_function(lambda some: leaf[some], [places], kind, stateful=False)
        return tf.ensure_shape(rows, [*places.shape, *leaf.shape[1:]])

    return gather


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
