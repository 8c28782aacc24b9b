"""Probabilities that are given for logits, told by their values."""

import tensorflow as tf

# A row of bfloat16 probabilities adds up to 1 within 1/256; of 8-bit ones, to about 1/100.
_TOLERANCE = 1e-2
# Logits of a few classes may add up to 1 by chance, in one row or two.
_FEWEST_ROWS = 4


def rows_that_look_like(output, raw):
    """Whether all rows of a batch look like class probabilities: none is negative, their sum is 1.

    Made of TensorFlow operations only, so that it may be part of a compiled step.

    Args:
        output: the `ecl_tf.outputs.Output` that the raw tensor is meant for.
        raw: a network's raw tensor (batch, ..., classes), or a dict of them.

    Returns:
        A scalar bool tensor. False for less than 4 rows, for NaN, and for outputs other than
        categorical ones: one batch does not tell yes/no probabilities from small logits. Of
        several named outputs, whether any looks so.
    """
    parts = getattr(output, "outputs", None)
    if parts is not None:
        return tf.reduce_any([rows_that_look_like(parts[name], raw[name]) for name in parts])
    if output.makes_probabilities != "softmax" or raw.shape[-1] == 1:
        return tf.constant(False)
    values = tf.cast(raw, tf.float32)
    sums = tf.reduce_sum(values, -1)
    adds_up = tf.reduce_all(tf.abs(sums - 1.0) <= _TOLERANCE)
    return (tf.size(sums) >= _FEWEST_ROWS) & (tf.reduce_min(values) >= 0.0) & adds_up
