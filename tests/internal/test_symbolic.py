"""The inputs and outputs of models of every kind, known before they run."""

import keras
import pytest
import tensorflow as tf
from by_hand import Subclassed

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


def test_one_output_in_a_list_is_the_tensor_and_others_are_told_apart():
    inputs = keras.Input((4,))
    x, y = (keras.layers.Dense(3)(inputs) for _ in range(2))
    assert symbolic.output_shape(keras.Model([inputs], [x])) == (None, 3)
    shape_of = symbolic.shape_for
    assert shape_of("categorical", keras.Model(inputs, {"z": x}), "teacher") == (None, 3)
    with pytest.raises(ValueError, match=r"student .* dict of 1 .*\['z'\].*output\['z'\]"):
        shape_of("categorical", keras.Model(inputs, {"z": x}), "student")
    for several, words in (([x, y], "list of 2"), ({"p": x, "q": y}, r"\['p', 'q'\]")):
        with pytest.raises(
            ValueError, match=words + r".*keras\.Model\(model\.inputs, model\.outputs?"
        ):
            shape_of("categorical", keras.Model(inputs, several), "teacher")
    named = keras.Model(inputs, {"p": x, "q": y})
    assert set(shape_of({"p": "categorical", "q": "categorical"}, named, "student")) == {"p", "q"}
    specs = {"left": tf.TensorSpec((None, 4), tf.float32), "right": tf.TensorSpec((None, 2))}
    with pytest.raises(ValueError, match="dict of 2"):
        shape_of("categorical", TwoHeads(), "student", specs)
