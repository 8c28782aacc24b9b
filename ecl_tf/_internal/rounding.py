"""Rounding as LiteRT's 8-bit integers do it, of activations and of weights."""

import keras
import tensorflow as tf

from ecl_tf._internal import replicas

# An earlier range's weight against that of the batch: outliers are forgotten in 100 steps.
_MOMENTUM = 0.99
_NARROWEST = 1e-12  # Largest weight of a channel: one of zeros has a scale, too.


@keras.saving.register_keras_serializable("ecl_tf")
class Range(keras.layers.Layer):
    """The range of an activation, observed in training.

    It holds 0, and the latest batch, so that training cuts nothing off: it grows to a batch's range
    at once, and shrinks toward it by a moving average. Before it has seen a batch it is [0, 0].
    """

    def __init__(self, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.bounds = self.add_weight(
            shape=(2,),
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",  # All see the range of all rows.
            name="bounds",
        )
        self.built = True

    def observe(self, x, widest=False):
        """Follows the range of a batch.

        Args:
            x: the activation.
            widest: whether it never shrinks; False by default.
        """
        x, old = tf.stop_gradient(x), tf.convert_to_tensor(self.bounds)
        spread = tf.stack([-tf.reduce_min(x), tf.reduce_max(x)])
        spread = replicas.maximum(tf.maximum(spread, 0.0))
        before = old * [-1.0, 1.0]
        if not widest:
            before = _MOMENTUM * before + (1.0 - _MOMENTUM) * spread
        self.bounds.assign(tf.maximum(before, spread) * [-1.0, 1.0])


def rounded(x, low, high):
    """The nearest of the 256 numbers of a range, of which one is 0; the same numbers for [0, 0].

    The gradient is 1 within the range, and 0 beyond it.
    """
    return tf.where(low < high, tf.quantization.fake_quant_with_min_max_vars(x, low, high), x)


@tf.custom_gradient
def rounded_weights(kernel):
    """Weights as 255 numbers of each channel, the last axis; the gradient goes straight through."""
    flat = tf.reshape(kernel, (-1, kernel.shape[-1]))
    return tf.reshape(rounded_kernel(flat), kernel.shape), lambda upstream: upstream


def rounded_kernel(kernel):
    """The same of a kernel of two or four axes, in an operation that the converter reads."""
    largest = tf.reduce_max(tf.abs(kernel), range(kernel.shape.rank - 1))
    largest = tf.maximum(largest, _NARROWEST)
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(
        kernel, -largest, largest, num_bits=8, narrow_range=True
    )
