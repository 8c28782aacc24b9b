"""Networks whose batch normalisation is folded while they answer, and those that stay."""

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import Ensemble
from ecl_tf._internal import folding

RNG = np.random.default_rng(0)
SHAPE = (6, 6, 3)
X = RNG.normal(size=(4, *SHAPE)).astype("float32")


def stirred(model):
    """Gives every weight numbers of its own, as training would."""
    for weight in model.weights:
        weight.assign(RNG.uniform(0.3, 1.3, weight.shape))
    return model


def convolved(x, layer, **arguments):
    return keras.layers.BatchNormalization(epsilon=0.01, **arguments)(layer(x))


def network():
    """Everything that can be folded, in a network within a network."""
    image = keras.Input(SHAPE)
    x = convolved(image, keras.layers.Conv2D(6, 3), scale=False)
    x = convolved(x, keras.layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False))
    inner = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Conv2D(5, 1, use_bias=False)])
    inner.add(keras.layers.BatchNormalization(center=False))
    x = keras.layers.Flatten()(keras.ops.relu(inner(x)) * 2.0)
    x = convolved(keras.layers.Reshape((4, 5))(x), keras.layers.Dense(3))
    return stirred(keras.Model(image, {"all": keras.layers.Flatten()(x), "first": x[:, 0]}))


def passes(function):
    """The sizes of what a traced function multiplies after its layers."""
    graph = tf.function(function, autograph=False).get_concrete_function(X).graph
    products = [op.outputs[0].shape for op in graph.get_operations() if op.type in ("Mul", "AddV2")]
    return sum(shape.rank > 2 and shape[0] == len(X) for shape in products)


def test_networks_answer_the_same_from_the_weights_of_the_moment(subtests):
    model = network()
    before = len(model.weights), [len(layer._inbound_nodes) for layer in model._flatten_layers()]
    follow = tf.function(lambda x: folding.call(model, x), autograph=False)
    for when in ("at first", "after other weights"):
        with subtests.test(when):
            wanted = model(X, training=False)
            for answers in (folding.call(model, X), follow(X)):
                assert set(answers) == {"all", "first"}
                for name in answers:
                    np.testing.assert_allclose(answers[name], wanted[name], rtol=1e-5)
        stirred(model)
    with subtests.test("with fewer passes over activations"):
        # A product and a sum of each normalisation; the product by 2 is left.
        assert passes(lambda x: model(x, training=False)) == 9
        assert passes(lambda x: folding.call(model, x)) == 1
        image = keras.Input(SHAPE)
        x = keras.layers.Flatten()(convolved(image, keras.layers.Conv2D(4, 3)))
        member = keras.Model(image, keras.layers.Dense(3)(x))
        assert passes(Ensemble(member, "categorical").member_outputs) == 0
    with subtests.test("and the gradients of inputs"):
        x = tf.constant(X)
        slopes = []
        for function in (lambda: model(x, training=False), lambda: folding.call(model, x)):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(function()["all"] ** 2)
            slopes.append(tape.gradient(loss, x))
        np.testing.assert_allclose(*slopes, rtol=1e-4, atol=1e-3)
    with subtests.test("and the network is as it was"):
        after = [len(layer._inbound_nodes) for layer in model._flatten_layers()]
        assert before == (len(model.weights), after)


def test_what_stays(subtests):
    image = keras.Input(SHAPE)
    layer = keras.layers.Conv2D(4, 3)
    output = layer(image)
    cases = {
        "what is an output itself": [output, keras.layers.BatchNormalization()(output)],
        "a normalisation by itself": keras.layers.BatchNormalization()(image),
        "statistics of the batch": convolved(image, keras.layers.Conv2D(2, 3)),
        "an activation between": convolved(image, keras.layers.Conv2D(2, 3, activation="relu")),
        "low precision": convolved(image, keras.layers.Conv2D(2, 3, dtype="mixed_bfloat16")),
        "a large kernel": convolved(keras.layers.Flatten()(image), keras.layers.Dense(2)),
    }
    node = cases["statistics of the batch"]._keras_history.operation._inbound_nodes[0]
    node.arguments.kwargs["training"] = True
    for name, made in cases.items():
        with subtests.test(name):
            model = stirred(keras.Model(image, made))
            wanted = keras.tree.flatten(model(X, training=False))
            given = keras.tree.flatten(folding.call(model, X))
            keras.tree.map_structure(np.testing.assert_array_equal, given, wanted)
    with subtests.test("a network of a user's own"):

        class Own(keras.Model):
            def call(self, x, training=None):
                return x + (1.0 if training else 2.0)

        np.testing.assert_array_equal(folding.call(Own(), X), X + 2.0)


def test_a_normalisation_of_ones_own_stays_and_so_does_the_precision():
    class Doubled(keras.layers.BatchNormalization):
        def call(self, x, training=None):
            return 2.0 * super().call(x, training=training)

    image = keras.Input(SHAPE)
    model = stirred(keras.Model(image, Doubled()(keras.layers.Conv2D(2, 3)(image))))
    np.testing.assert_array_equal(folding.call(model, X), model(X, training=False))
    plain = stirred(keras.Model(image, convolved(image, keras.layers.Conv2D(4, 3))))
    wanted = plain(X, training=False)
    keras.config.set_dtype_policy("mixed_bfloat16")  # Of networks that are made later.
    try:
        answers = folding.call(plain, X)
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(answers, wanted, rtol=1e-5, atol=1e-5)


def test_calls_by_keyword_and_kernels_of_low_rank_updates():
    image = keras.Input(SHAPE)
    x = keras.layers.BatchNormalization()(inputs=keras.layers.Conv2D(2, 3)(image))
    model = stirred(keras.Model(image, x))
    np.testing.assert_array_equal(folding.call(model, X), model(X, training=False))
    dense = keras.layers.Dense(2)
    plain = stirred(keras.Model(image, convolved(image, dense)))
    folding.call(plain, X)
    dense.enable_lora(1)
    np.testing.assert_allclose(folding.call(plain, X), plain(X, training=False), rtol=1e-5)


def test_masks_and_layers_that_are_added_later():
    model = keras.Sequential([keras.Input((3, 2)), keras.layers.Masking()])
    model.add(keras.layers.Dense(2, use_bias=False))
    model.add(keras.layers.BatchNormalization())
    rows = np.array([[[1.0, 2.0], [0.0, 0.0], [3.0, 4.0]]], "float32")
    answers = folding.call(stirred(model), rows)
    np.testing.assert_allclose(answers, model(rows), rtol=1e-5)
    np.testing.assert_array_equal(answers._keras_mask, [[True, False, True]])
    model.add(keras.layers.GlobalAveragePooling1D())
    assert folding.call(model, rows).shape == (1, 2)
