"""Batch normalisation at inference: a factor and an offset of each channel."""

import keras
import tensorflow as tf


def values_of(variable):
    """What a Keras variable holds, a NumPy array, within a graph too."""
    with tf.init_scope():
        return keras.ops.convert_to_numpy(variable)


def gain_and_shift(layer):
    """The float64 arrays a and b of x -> a x + b.

    Args:
        layer: a `keras.layers.BatchNormalization`.
    """
    mean, variance = (
        values_of(value).astype("float64") for value in (layer.moving_mean, layer.moving_variance)
    )
    gain = 1.0 / (variance + layer.epsilon) ** 0.5
    if layer.scale:
        gain *= values_of(layer.gamma)
    shift = -mean * gain
    if layer.center:
        shift += values_of(layer.beta)
    return gain, shift


def is_last(layer, node):
    """Whether a call of the layer normalises the last axis, the channels."""
    return layer.axis in (-1, len(node.input_tensors[0].shape) - 1)
