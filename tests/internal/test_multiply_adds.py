"""Multiply-adds by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from ecl_tf._internal import multiply_adds

# Layers, the shape of an input, and the products of sizes that they sum over and answer with.
CASES = {
    "Dense of each of 5 positions": ([layers.Dense(3)], (5, 8), 5 * 8 * 3),
    "Conv2D, every second pixel": (
        [layers.Conv2D(6, 3, strides=2, padding="same"), layers.ReLU()],
        (8, 8, 2),
        4 * 4 * 3 * 3 * 2 * 6,
    ),
    "two groups of channels": (
        [layers.Conv2D(6, 3, groups=2, padding="same")],
        (8, 8, 4),
        8 * 8 * 3 * 3 * 2 * 6,
    ),
    "DepthwiseConv2D": (
        [layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")],
        (8, 8, 5),
        8 * 8 * 3 * 3 * 5 * 2,
    ),
    "Conv2DTranspose": (
        [layers.Conv2DTranspose(5, 3, strides=2, padding="same")],
        (4, 4, 2),
        4 * 4 * 3 * 3 * 2 * 5,
    ),
    "loop": ([layers.LSTM(5)], (4, 2), None),
    "unknown size": ([layers.Conv2D(6, 3)], (None, None, 2), None),
    "no product": ([layers.Normalization(mean=0.0, variance=1.0)], (4,), 0),
}


@pytest.mark.parametrize("case", CASES)
def test_layers(case):
    given, shape, expected = CASES[case]
    model = keras.Sequential([keras.Input(shape), *given])
    assert multiply_adds.of_a_row(model, model.inputs[0]) == expected


def test_attention():
    words = keras.Input((6, 8))
    model = keras.Model(words, layers.MultiHeadAttention(num_heads=2, key_dim=4)(words, words))
    # Queries, keys and values; each word with each in two heads, twice; what heads give together.
    expected = 3 * 6 * 8 * (2 * 4) + 2 * (2 * 6 * 6 * 4) + 6 * (2 * 4) * 8
    assert multiply_adds.of_a_row(model, words) == expected


@pytest.mark.parametrize(
    "case", ["Dense of each of 5 positions", "Conv2D, every second pixel", "DepthwiseConv2D"]
)
def test_gradients(case):
    """Each of the two factors' takes as many as the product itself."""
    layer, shape, expected = CASES[case]
    model = keras.Sequential([keras.Input(shape), *layer])

    @tf.function(autograph=False)
    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            answer = tf.reduce_sum(model(x) ** 2)
        return tape.gradient(answer, [x, model.trainable_weights[0]])

    graph = gradients.get_concrete_function(tf.TensorSpec((1, *shape))).graph
    assert multiply_adds.count(graph) == 3 * expected
    kinds = multiply_adds.PRODUCTS, multiply_adds.CONVOLUTIONS
    assert 0 in [multiply_adds.count(graph, kind) for kind in kinds]


def test_what_a_graph_does_not_tell():
    @tf.function
    def inner(x):
        return tf.tile(x, [1, 2]) @ tf.ones((6, 4))

    def python(x):
        return tf.numpy_function(np.abs, [x], tf.float32)

    def many_rows(x):
        return tf.ensure_shape(x, (2, 3))

    spec = tf.TensorSpec((None, 3))
    assert multiply_adds.of_a_row(inner, spec) == 6 * 4  # Within a function of TensorFlow.
    for function in (python, many_rows):
        assert multiply_adds.of_a_row(function, spec) is None
    graphs = {f: tf.function(f).get_concrete_function(spec).graph for f in (inner, python)}
    assert [multiply_adds.needs_python(graph) for graph in graphs.values()] == [False, True]
    einsums = {"bi,ij->bj": 3 * 5, "b...i,ij->b...j": None, "bi->b": 0}
    for equation, expected in einsums.items():
        given = [tf.ones((3, 5))] if "," in equation else []
        found = multiply_adds.of_a_row(lambda x, e=equation, g=given: tf.einsum(e, x, *g), spec)
        assert found == expected
