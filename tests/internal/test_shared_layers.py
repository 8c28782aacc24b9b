"""Layers that networks share are one layer again after loading."""

import keras
import numpy as np
import pytest
from by_hand import CLASSES, SIZE, numbers

from ecl_tf import Distiller, Ensemble, samplers

X = numbers(6, SIZE)


def backbone():
    layers = [keras.layers.Dense(5), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    shared = keras.Sequential([keras.Input((SIZE,)), *layers])
    shared.trainable = False
    return shared


def head(*layers):
    """A functional network of layers, and a last one of its own."""
    tensor = given = keras.Input((SIZE,))
    for layer in layers:
        tensor = layer(tensor)
    return keras.Model(given, keras.layers.Dense(CLASSES)(tensor))


def student_and_members():
    """Three networks, one of another class, and one that shares a level deeper."""
    shared = backbone()
    deeper = head(head(shared))
    sequential = keras.Sequential([keras.Input((SIZE,)), shared, keras.layers.Dense(CLASSES)])
    return Distiller(deeper, [sequential, head(shared)])


def members_within_and_twice():
    member = head(backbone())
    return Distiller(head(), [member, member, head(member), member])


def single_layers():
    shared = backbone()
    first, *_ = shared.layers
    student = keras.Model(shared.inputs, keras.layers.Dense(CLASSES)(first.output))
    teacher = keras.Model(shared.inputs, keras.layers.Dense(CLASSES)(shared.outputs[0]))
    return Distiller(student, teacher)


@pytest.mark.parametrize("make", [student_and_members, members_within_and_twice, single_layers])
def test_a_distiller_answers_alike_after_loading_twice(make, tmp_path):
    original = make()
    for variable in original.weights[1:]:  # No answer is right by the initial values.
        variable.assign(variable + 0.1 * np.arange(np.prod(variable.shape)).reshape(variable.shape))
    expected = original(X), original.teacher(X)
    original.compile("sgd", run_eagerly=True)
    loaded = original
    for name in ("once.keras", "twice.keras"):
        loaded.save(tmp_path / name)
        loaded = keras.saving.load_model(tmp_path / name)
        for network, answers in zip((loaded, loaded.teacher), expected, strict=True):
            np.testing.assert_array_equal(network(X), answers)
        assert len(loaded.weights) == len(original.weights)  # Each shared one is there once.
    loaded.fit(X, verbose=0)
    np.testing.assert_array_equal(loaded.teacher(X), expected[1])


def test_an_ensemble_is_saved_by_itself(tmp_path):
    shared = backbone()
    original = Ensemble([head(shared), head(shared)], "categorical")
    original.save(tmp_path / "teacher.keras")
    loaded = keras.saving.load_model(tmp_path / "teacher.keras")
    np.testing.assert_array_equal(loaded(X), original(X))
    assert loaded.count_params() == original.count_params()


def wrapped():
    shared = keras.layers.Dense(SIZE)
    shared.trainable = False
    rows = keras.layers.Reshape((1, SIZE))

    def network():
        return head(rows, keras.layers.TimeDistributed(shared), keras.layers.Flatten())

    return Distiller(network(), network())


def with_a_generator():
    generator = keras.Sequential([keras.Input((2,)), keras.layers.Dense(SIZE)])
    generator.trainable = False
    student = keras.Sequential(
        [keras.Input((SIZE,)), keras.layers.Dense(2), generator, keras.layers.Dense(CLASSES)]
    )
    return Distiller(student, head(), sampler=samplers.Generated(generator))


@pytest.mark.parametrize("make", [wrapped, with_a_generator])
def test_what_files_cannot_hold_is_refused_when_saved(make, tmp_path):
    with pytest.raises(ValueError, match=r"shares? the layer .*clone_model"):
        make().save(tmp_path / "distiller.keras")
