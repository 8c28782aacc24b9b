"""Numbers of rows and of positions: Keras's masks, and weights of any shape that Keras takes.

A network answers a row at one position or, a tagger or a segmenter, at many: its raw output has
shape (batch, positions..., size).
"""

import keras
import numpy as np
import tensorflow as tf


def masks(raw):
    """The Keras mask of every tensor of a nesting, or None in its place."""
    return keras.tree.map_structure(_mask, raw)


def _mask(tensor):
    mask = getattr(tensor, "_keras_mask", None)
    # One of another rank tells of steps that the output has no longer.
    return mask if mask is not None and 2 <= len(mask.shape) < len(tensor.shape) else None


def with_mask_of(answered, raw):
    """A tensor `raw` that was computed from what a network `answered`, with its Keras mask."""
    mask = getattr(answered, "_keras_mask", None)
    if mask is not None:
        raw._keras_mask = mask
    return raw


def by_row(raw):
    """Weights of positions whose mean over each row is 1, and 0 where Keras masks; or None.

    Args:
        raw: raw outputs as a network returned them, or a dict of them.
    """
    if all(mask is None for mask in keras.tree.flatten(masks(raw))):
        return None
    return keras.tree.map_structure(_by_row, raw)


def _by_row(tensor):
    mask = _mask(tensor)
    if mask is None:
        return None
    counts = tf.cast(mask, tf.float32)
    # A mask of steps holds for all positions of a step.
    counts = counts[(..., *[None] * (len(tensor.shape) - 1 - len(mask.shape)))]
    axes = list(range(1, counts.shape.rank))
    return tf.math.divide_no_nan(counts, tf.reduce_mean(counts, axes, keepdims=True))


def counting(shape, mask):
    """Whether positions count, bool of a shape (rows, positions...); all do if the mask is None."""
    counts = np.ones(shape, bool) if mask is None else np.asarray(mask)
    return np.broadcast_to(counts[(..., *[None] * (len(shape) - counts.ndim))], shape)


def rows(nest, index):
    """A part of the rows of a nesting of tensors, where None stays None."""
    return keras.tree.map_structure(lambda each: each if each is None else each[index], nest)


def expand(values, shape, what):
    """Numbers of rows or positions as float32 (batch, positions...), or of fewer axes that fit.

    Args:
        values: shape (batch,), or (batch, positions...), perhaps with axes of size 1 at its end.
        shape: the static shape (batch, positions...).
        what: their name in the message.

    Raises:
        ValueError: if the shapes don't fit.
    """
    values = tf.cast(values, tf.float32)
    rank, given = len(shape), values.shape
    fits = given.rank is not None and all(
        (mine == 1 and place >= 1) or None in (mine, wanted) or mine == wanted
        for place, (mine, wanted) in enumerate(
            zip(given, [*shape, *[1] * max(0, given.rank - rank)], strict=False)
        )
    )
    if not fits:
        raise ValueError(
            f"{what} has shape {_described(given)}, which fits no positions of an output of shape "
            f"{_described(shape)}. Give one number for each row, shape (batch,), or one for each "
            "position."
        )
    if given.rank > rank:
        return tf.squeeze(values, axis=list(range(rank, given.rank)))
    return values[(..., *[None] * (rank - given.rank))]


def _described(shape):
    return "(" + ", ".join("batch" if n == 0 else str(size) for n, size in enumerate(shape)) + ")"
