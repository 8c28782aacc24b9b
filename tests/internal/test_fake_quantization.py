"""Rounding to 8 bits, against whole numbers that NumPy computes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import Subclassed, numbers

from ecl_tf._internal.fake_quantization import FakeQuantized

layers = keras.layers


def nearest(values):
    return np.floor(np.asarray(values, "float64") + 0.5)


class Steps:
    """Numbers 0 to 255 of a range, of which one stands for 0."""

    def __init__(self, values):
        low, high = min(float(np.min(values)), 0.0), max(float(np.max(values)), 0.0)
        self.scale = (high - low) / 255
        self.zero = nearest(-low / self.scale)

    def whole(self, values):
        return np.clip(nearest(values / self.scale) + self.zero, 0, 255) - self.zero

    def values(self, values):
        return self.whole(values) * self.scale


def whole_weights(kernel):
    """Whole numbers from -127 to 127, and the scale of each channel, the last axis."""
    scales = np.abs(kernel).reshape(-1, kernel.shape[-1]).max(0) / 127
    return nearest(kernel / scales), scales


def rounded(kernel):
    whole, scales = whole_weights(kernel)
    return (whole * scales).astype("float32")


def integers(x, kernel, bias, given, multiply):
    """What a layer of whole numbers gives before its activation."""
    whole, scales = whole_weights(kernel)
    scales = scales * given.scale
    return (multiply(given.whole(x), whole) + nearest(bias / scales)) * scales


def convolved(x, kernel):
    """Cross-correlation with "valid" padding."""
    high, wide = kernel.shape[:2]
    rows, columns = x.shape[1] - high + 1, x.shape[2] - wide + 1
    windows = [
        [x[:, i : i + high, j : j + wide].reshape(len(x), -1) for j in range(columns)]
        for i in range(rows)
    ]
    return np.einsum("ijnk,kc->nijc", windows, kernel.reshape(-1, kernel.shape[-1]))


def quantized(model, x):
    made = FakeQuantized(model)
    made.measure(x)
    return made


def test_a_dense_layer_is_that_of_whole_numbers():
    x, kernel, bias = numbers(50, 4), numbers(4, 3, seed=1), numbers(3, seed=2)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, "relu")])
    model.set_weights([kernel, bias])
    exact = np.maximum(x @ kernel + bias, 0.0)
    given, result = Steps(x), Steps(np.maximum(x @ rounded(kernel) + bias, 0.0))
    expected = np.maximum(integers(x, kernel, bias, given, np.matmul), 0.0)
    found = quantized(model, x)(x)
    np.testing.assert_allclose(found, result.values(expected), atol=1.01 * result.scale)
    # The bias is not rounded here: a number in a hundred may be at an edge.
    near = np.isclose(found, result.values(expected), atol=1e-5)
    assert near.mean() > 0.98 and np.abs(found - exact).max() > 1e-3


@pytest.mark.slow
def test_a_convolution_takes_the_batch_normalisation_after_it():
    x, kernel = numbers(9, 5, 6, 2), numbers(3, 2, 2, 4, seed=1)
    model = keras.Sequential(
        [
            keras.Input((5, 6, 2)),
            layers.Conv2D(4, (3, 2), use_bias=False),
            layers.BatchNormalization(epsilon=0.0),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
        ]
    )
    gamma, beta, mean = np.float32([1, -2, 0.5, 3]), numbers(4, seed=2), numbers(4, seed=3)
    deviation = np.float32([1, 2, 0.25, 4])
    model.set_weights([kernel, gamma, beta, mean, deviation**2])
    gain = gamma / deviation
    kernel, bias = kernel * gain, beta - mean * gain
    result = Steps(np.maximum(convolved(x, rounded(kernel)) + bias, 0.0))
    whole = result.values(np.maximum(integers(x, kernel, bias, Steps(x), convolved), 0.0))
    expected = whole[:, :2, :4].reshape(9, 1, 2, 2, 2, 4).max((2, 4)).reshape(9, -1)
    network = quantized(model, x)
    assert len(network.ranges) == 2 and network.floating == []
    found = network(x).numpy()
    np.testing.assert_allclose(found, expected, atol=1.01 * result.scale)
    assert np.isclose(found, expected, atol=1e-5).mean() > 0.98
    served = tf.function(network.frozen)(x)  # With constants in place of the normalisation.
    np.testing.assert_allclose(served, found, atol=1.01 * result.scale)


def test_gradients_go_straight_through():
    x, kernel, bias = numbers(20, 4), numbers(4, 3, seed=1), numbers(3, seed=2)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    model.set_weights([kernel, bias])
    network, upstream = quantized(model, x), numbers(20, 3, seed=3)
    rows = np.concatenate([x[:-1], 9 * x[-1:]])  # The last one is far outside of the range.
    with tf.GradientTape() as tape:
        tape.watch(given := tf.constant(rows))
        loss = tf.reduce_sum(network(given) * upstream)
    of_x, of_kernel, of_bias = tape.gradient(loss, [given, *model.trainable_weights])
    steps, (whole, scales) = Steps(x), whole_weights(kernel)
    low, high = -steps.zero * steps.scale, (255 - steps.zero) * steps.scale
    inside = (rows >= low) & (rows <= high)
    result = Steps(x @ rounded(kernel) + bias)
    sums = steps.values(rows) @ (whole * scales) + bias
    ends = -result.zero * result.scale, (255 - result.zero) * result.scale
    upstream = upstream * ((sums >= ends[0]) & (sums <= ends[1]))
    assert 0 < inside.sum() < inside.size
    np.testing.assert_allclose(of_bias, upstream.sum(0), atol=1e-5)
    np.testing.assert_allclose(of_kernel, steps.values(rows).T @ upstream, atol=1e-4)
    np.testing.assert_allclose(of_x, upstream @ (whole * scales).T * inside, atol=1e-5)


def test_ranges_follow_training_and_stay_in_evaluation():
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    model.set_weights([np.float32([[1]]), np.float32([0])])
    network = FakeQuantized(model)
    bounds = network.ranges[0].bounds
    np.testing.assert_array_equal(network(np.float32([[0.123456]])), np.float32([[0.123456]]))
    for given, expected in (
        ([-1.0, 2.0], [-1.0, 2.0]),
        ([-3.0, 1.0], [-3.0, 0.99 * 2.0 + 0.01 * 1.0]),  # Wider at once, narrower slowly.
        ([5.0, 6.0], [-2.97, 6.0]),  # With 0 within.
    ):
        network(np.float32(given)[:, None], training=True)
        np.testing.assert_allclose(bounds, expected, rtol=1e-6)
    network(np.float32([[100.0]]))
    np.testing.assert_allclose(bounds, [-2.97, 6.0], rtol=1e-6)


def test_networks_that_have_no_8_bits_are_refused():
    with pytest.raises(ValueError, match="functional or sequential model; got Subclassed"):
        FakeQuantized(Subclassed())
    with pytest.raises(ValueError, match="finds nothing to quantise"):
        FakeQuantized(keras.Sequential([keras.Input((3, 3)), layers.LSTM(2)]))
    mixed = keras.Sequential([keras.Input((3,)), layers.Dense(2, dtype="mixed_float16", name="d")])
    with pytest.raises(ValueError, match=r"layer .d. of .* computes in float16"):
        FakeQuantized(mixed)
