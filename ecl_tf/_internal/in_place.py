"""Tensors that are filled part by part, so that their rows are never held twice."""

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf


def joined(parts: Iterable[Any], count: int) -> Any:
    """Returns what `tf.concat` of all parts would, without holding them beside the whole.

    Args:
        parts: at least one nest of tensors (rows, ...), each made when the one before it is in its
            place.
        count: the number of rows of all of them.
    """
    wholes, first = None, 0
    with tf.device("CPU"):
        for part in parts:
            leaves = keras.tree.flatten(part)
            if wholes is None:
                wholes = [
                    tf.raw_ops.Empty(shape=(count, *leaf.shape[1:]), dtype=leaf.dtype)
                    for leaf in leaves
                ]
            places = tf.range(first, first + leaves[0].shape[0])
            wholes = [
                tf.raw_ops.InplaceUpdate(x=whole, i=places, v=leaf)
                for whole, leaf in zip(wholes, leaves, strict=True)
            ]
            first += leaves[0].shape[0]
    return keras.tree.pack_sequence_as(part, wholes)
