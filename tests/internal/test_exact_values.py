"""Which inputs networks take by their exact value, and which they compute with."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ecl_tf._internal import exact_values
from ecl_tf._internal.exact_values import Use

L = keras.layers


def functional(shape, build, dtype="float32"):
    x = keras.Input(shape, dtype=dtype)
    return keras.Model(x, build(x))


def looked_up(x, name="table"):
    return L.Flatten()(L.Embedding(9, 4, name=name)(x))


@keras.saving.register_keras_serializable("ecl_tf_tests")
class OneHot(L.Layer):
    """No layer of Keras looks the ids up."""

    def call(self, x):
        return tf.one_hot(tf.cast(tf.round(x), tf.int32) - 1, 9)


@keras.saving.register_keras_serializable("ecl_tf_tests")
class Subclassed(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    @tf.function
    def call(self, x, training=None):
        return self.layer(x)


class OfKnownRows(keras.Model):
    """Its state needs a number of rows."""

    def __init__(self):
        super().__init__()
        self.table = L.Embedding(9, 4, name="table")

    def call(self, x):
        return tf.zeros([x.shape[0], 4]) + self.table(x[:, 0])


def built(model, *shape):
    model(np.zeros((2, *shape), "float32"))
    return model


def crossed(x):
    ids = L.Lambda(lambda z: tf.cast(z, tf.int64), output_shape=(1,), dtype="int64")(x)
    return looked_up(L.HashedCrossing(9, name="crossing")((ids, ids)))


class Joined(L.Layer):
    """A crossing by hand."""

    def call(self, x):
        text = tf.strings.join([tf.as_string(x[:, :1]), tf.as_string(x[:, 1:])], "_x_")
        return tf.one_hot(tf.strings.to_hash_bucket_fast(text, 9)[:, 0], 9)

    def compute_output_shape(self, shape):
        return (shape[0], 9)


class OfSeven(L.Layer):
    def call(self, x):
        return tf.cast(x == 7.0, tf.float32)


class IdCell(L.Layer):
    """A cell of a recurrent layer, whose steps are run in a loop."""

    state_size = 4

    def __init__(self):
        super().__init__()
        self.table = L.Embedding(9, 4, name="table")

    def build(self, shape):
        self.table.build()

    def call(self, x, states):
        state = states[0] + self.table(x[:, 0])
        return state, [state]


def paths_and_layers(network, shape, dtype="float32"):
    spec = tf.TensorSpec((None, *shape), dtype)
    return [(path, use.layer) for path, use in exact_values.uses(network, spec)]


@pytest.mark.slow
def test_ids_are_found_wherever_they_are_looked_up(subtests):
    table = "table"
    inner = functional((6,), looked_up)
    networks = {
        "floats": (functional((6,), looked_up), (6,), table),
        "after slices, casts and an offset": (
            functional((6,), lambda x: looked_up(keras.ops.cast(x[:, 2:] + 1.0, "int32") % 9)),
            (6,),
            table,
        ),
        "floats in buckets": (
            functional((6,), lambda x: looked_up(abs(-(x % 9.0) + 1.0))),
            (6,),
            table,
        ),
        "a network in a network": (keras.Sequential([keras.Input((6,)), inner]), (6,), table),
        "a wrapped layer": (
            functional((6, 2), L.TimeDistributed(L.Embedding(9, 4), name="wrapper")),
            (6, 2),
            "wrapper",
        ),
        "in a loop": (functional((6, 1), L.RNN(IdCell())), (6, 1), table),
        "crossed": (functional((1,), crossed), (1,), "crossing"),
        "joined as text": (functional((2,), Joined(name="joined")), (2,), "joined"),
        "multiplied by a mask": (
            functional((6,), lambda x: looked_up(x * keras.ops.cast(x > 0.0, "float32"))),
            (6,),
            table,
        ),
        "a user's layer": (functional((6,), OneHot(name="one_hot")), (6,), "one_hot"),
        "a subclassed network": (built(Subclassed(L.Embedding(9, 4, name=table)), 6), (6,), table),
        "a network of a known number of rows": (built(OfKnownRows(), 6), (6,), table),
        "categories": (
            functional((6,), L.CategoryEncoding(9, name="categories")),
            (6,),
            "categories",
        ),
    }
    for what, (network, shape, layer) in networks.items():
        with subtests.test(what):
            assert paths_and_layers(network, shape) == [((), layer)]
    with subtests.test("strings and whole numbers"):
        lookup = L.StringLookup(vocabulary=["a", "b"], name="lookup")
        strings = functional((6,), lambda x: looked_up(lookup(x)), "string")
        assert paths_and_layers(strings, (6,), "string") == [((), "lookup")]
        hashed = functional((6,), lambda x: looked_up(L.Hashing(9, name="hash")(x)), "int64")
        assert paths_and_layers(hashed, (6,), "int64") == [((), "hash")]
    with subtests.test("one input of several"):
        image, camera = keras.Input((4, 4, 1), name="image"), keras.Input((), name="camera")
        joined = L.Concatenate()([L.Flatten()(image), L.Embedding(9, 4, name="table")(camera)])
        network = keras.Model({"image": image, "camera": camera}, L.Dense(3)(joined))
        specs = {"camera": tf.TensorSpec([None]), "image": tf.TensorSpec([None, 4, 4, 1])}
        assert exact_values.uses(network, specs) == [(("camera",), Use("table"))]


def test_values_that_make_masks_are_found(subtests):
    for what, network, expected in (
        (
            "Masking",
            functional((6, 2), lambda x: L.LSTM(3)(L.Masking(-0.1, name="mask")(x))),
            Use("mask", True, -0.1),
        ),
        (
            "mask_zero",
            functional((6,), lambda x: L.LSTM(3)(L.Embedding(9, 4, mask_zero=True, name="t")(x))),
            Use("t", True, 0),
        ),
        ("by hand", functional((6,), OfSeven(name="seven")), Use("seven", True)),
        (
            "truths",
            functional((6,), L.Lambda(lambda x: tf.cast(x, tf.bool), name="truths")),
            Use("truths", True),
        ),
    ):
        with subtests.test(what):
            spec = tf.TensorSpec((None, *network.input.shape[1:]))
            assert expected in [use for _, use in exact_values.uses(network, spec)]


def test_amounts_may_be_averaged(subtests):
    places = keras.ops.arange(6)

    def quantised(x):
        codes = L.Dense(9)(L.Reshape((6, 1))(x))
        return looked_up(keras.ops.argmax(codes, -1))

    networks = {
        "dense, batch normalisation, dropout": functional(
            (6,), lambda x: L.Dense(3)(L.BatchNormalization()(L.Dropout(0.5)(x)))
        ),
        "buckets": functional((6,), lambda x: looked_up(L.Discretization([0.0, 1.0])(x))),
        "a product with a constant": functional(
            (6,), lambda x: looked_up(keras.ops.cast(L.Rescaling(9.0)(x), "int32"))
        ),
        "codes of a dense layer": functional((6,), quantised),
        "an embedding of places": functional(
            (6,), lambda x: L.Reshape((6, 1))(x) + L.Embedding(6, 4)(places)
        ),
        "a question for NaN": functional((6,), lambda x: keras.ops.where(x != x, 0.0, x)),
    }
    for what, network in networks.items():
        with subtests.test(what):
            assert paths_and_layers(network, (6,)) == []
