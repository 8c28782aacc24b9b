"""The inputs and outputs of models of every kind, known before they run."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import Subclassed

from ecl_tf import Distiller, outputs
from ecl_tf._internal import symbolic


class TwoHeads(Subclassed):
    def call(self, inputs):
        return {"kind": self.dense(inputs["left"]), "place": inputs["right"]}


def sequential(*, built=True):
    layers = [keras.layers.Dense(5), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((4,)), *layers] if built else layers)


def functional(structure):
    left, right = keras.Input((4,), name="left"), keras.Input((2,), name="right")
    joined = keras.layers.Concatenate()([left, right])
    inputs = {"dict": {"left": left, "right": right}, "list": [left, right]}[structure]
    outputs = {"dict": {"p": joined, "q": right}, "list": [joined, right]}[structure]
    return keras.Model(inputs, outputs)


def shapes(nest):
    return keras.tree.map_structure(lambda tensor: tuple(tensor.shape), nest)


def test_models_tell_the_shapes_of_inputs_and_outputs_in_their_own_structure():
    model = sequential()
    assert shapes(symbolic.inputs_of(model)) == (None, 4)
    assert shapes(symbolic.output_of(model)) == (None, 3)
    assert symbolic.output_shape(model) == (None, 3)
    assert symbolic.output_shape(model, tf.TensorSpec((7, 4), tf.float32)) == (None, 3)
    model = functional("dict")
    assert shapes(symbolic.inputs_of(model)) == {"left": (None, 4), "right": (None, 2)}
    assert symbolic.output_shape(model) == {"p": (None, 6), "q": (None, 2)}
    model = functional("list")
    assert shapes(symbolic.inputs_of(model)) == [(None, 4), (None, 2)]
    assert symbolic.output_shape(model) == [(None, 6), (None, 2)]


@pytest.mark.parametrize("build", [Subclassed, lambda: sequential(built=False)])
def test_without_symbolic_tensors_specs_of_the_inputs_tell_the_output_and_build(build):
    model = build()
    assert symbolic.inputs_of(model) is None
    assert symbolic.output_of(model) is None
    assert symbolic.output_shape(model) is None
    assert symbolic.output_shape(model, tf.TensorSpec((None, 4), tf.float32)) == (None, 3)
    assert model.built
    assert model.count_params() == (4 * 3 + 3 if isinstance(model, Subclassed) else 25 + 18)


def test_specs_may_be_named():
    specs = {"left": tf.TensorSpec((None, 4), tf.float32), "right": tf.TensorSpec((None, 2))}
    assert symbolic.output_shape(TwoHeads(), specs) == {"kind": (None, 3), "place": (None, 2)}


DENSE = keras.layers.Dense


@pytest.mark.parametrize(
    "last",
    [
        lambda x: DENSE(3, "softmax")(x),
        lambda x: keras.layers.Softmax()(DENSE(3)(x)),
        lambda x: keras.layers.Activation("softmax", dtype="float32")(DENSE(3)(x)),
        lambda x: keras.ops.softmax(DENSE(3)(x)),
        lambda x: DENSE(3, keras.layers.Softmax())(x),
        lambda x: keras.Sequential([keras.Input((4,)), DENSE(3, keras.activations.softmax)])(x),
    ],
    ids=["argument", "layer", "activation", "operation", "layer as argument", "inner network"],
)
def test_probabilities_are_not_taken_for_logits(last):
    inputs = keras.Input((4,))
    ending = keras.Model(inputs, last(inputs), name="ending")
    with pytest.raises(ValueError, match=r"'ending' ends in softmax.*linear"):
        symbolic.require_raw(outputs.Categorical(), ending, "student")


def test_neither_students_nor_members_of_a_teacher_may_end_in_probabilities():
    plain, ending = sequential(), keras.Sequential([keras.Input((4,)), DENSE(3, "softmax")])
    for networks in ((ending, plain), (plain, [plain, ending])):
        with pytest.raises(ValueError, match="ends in softmax"):
            Distiller(*networks)


def test_probabilities_of_one_of_several_outputs_are_not_taken_for_logits():
    inputs = keras.Input((4,))

    def network(activation):
        return keras.Model(inputs, {"a": DENSE(3)(inputs), "b": DENSE(1, activation)(inputs)})

    output = {"a": "categorical", "b": "bernoulli"}
    Distiller(network(None), network(None), output=output)
    with pytest.raises(ValueError, match=r"teacher .* ends in sigmoid"):
        Distiller(network(None), network("sigmoid"), output=output)


def test_regressors_may_end_in_anything():
    inputs = keras.Input((4,))
    for last in (Subclassed(2), DENSE(2, keras.layers.LeakyReLU()), DENSE(2, "sigmoid")):
        symbolic.require_raw(outputs.Normal(1), keras.Model(inputs, last(inputs)), "student")


def test_the_remedy_leaves_the_logits():
    teacher = keras.Sequential([keras.Input((4,)), DENSE(3, "softmax")])
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    expected = teacher(x).numpy()
    teacher.layers[-1].activation = keras.activations.linear
    distiller = Distiller(sequential(), teacher)
    actual = distiller.teacher.distribution(x).probs_parameter()
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
