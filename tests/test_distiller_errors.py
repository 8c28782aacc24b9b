"""What can't work is refused before the first training step, with the facts that help."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import ecl_tf
from ecl_tf import Distiller, Ensemble, outputs, samplers

pytestmark = pytest.mark.filterwarnings("ignore:.*shuffle=True")

SIZE = 4
X = np.random.default_rng(0).normal(size=(8, SIZE)).astype("float32")
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def network(units=3, size=SIZE):
    return keras.Sequential([keras.Input((size,)), keras.layers.Dense(units)])


class Subclassed(keras.Model):
    """Its output's size is not known before it is called."""

    def __init__(self, units):
        super().__init__()
        self.dense = keras.layers.Dense(units)

    def call(self, inputs):
        return self.dense(inputs)


def named(**units):
    inputs = keras.Input((SIZE,))
    return keras.Model(
        inputs, {name: keras.layers.Dense(count)(inputs) for name, count in units.items()}
    )


def distiller(student=None, teacher=None, compiled=True, metrics=None, **kwargs):
    its = Distiller(student or network(), teacher or network(), **kwargs)
    if compiled:
        its.compile("sgd", metrics=metrics)
    return its


def raises_naming(*facts):
    """Expects a ValueError whose message has all the facts, in this order."""
    return pytest.raises(ValueError, match="(?s)" + ".*".join(map(re.escape, facts)))


# On construction.


def shared_weights():
    student = network()
    return {"student": student, "teacher": student}


def shared_layer():
    layer = keras.layers.Dense(3)
    inputs = keras.Input((SIZE,))
    student = keras.Model(inputs, layer(inputs))
    teacher = keras.Model(inputs, keras.layers.ReLU()(layer(inputs)))
    return {"student": student, "teacher": teacher}


def feature_loss(teacher=None, student=None):
    return keras.distillation.FeatureDistillation("mse", teacher, student)


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (lambda: {"student": network(3), "teacher": network(5)}, ["5 classes", "student 3"]),
        (
            lambda: {"student": network(3), "teacher": network(4), "output": outputs.Normal(2)},
            ["student", "(None, 3)", "4", "2 mean(s)"],
        ),
        (
            lambda: {"student": network(4), "teacher": network(6), "output": outputs.Normal(2)},
            ["teacher", "(None, 6)", "4"],
        ),
        (lambda: {"student": network(3), "output": "normal"}, ["'normal'", "3", "Normal("]),
        (
            lambda: {"student": Subclassed(2), "output": "normal"},
            ["'normal'", "unknown", "Normal("],
        ),
        (lambda: {"student": network(1), "teacher": network(1)}, ["(None, 1)", "bernoulli"]),
        (
            lambda: {
                "student": network(4),
                "teacher": Ensemble(network(4), output="categorical"),
                "output": "normal",
            },
            ["Categorical(", "family", "Normal("],
        ),
        (lambda: {"temperature": 0.0}, ["temperature", "positive", "0.0"]),
        (lambda: {"temperature": -1.0}, ["temperature", "positive", "-1.0"]),
        (lambda: {"temperature": float("nan")}, ["temperature", "nan"]),
        (
            lambda: {
                "student": network(4),
                "teacher": network(4),
                "output": "normal",
                "temperature": 2.0,
            },
            ["temperature=2.0", "categorical", "normal"],
        ),
        (lambda: {"output": "bernoulli", "temperature": 2.0}, ["temperature=2.0", "bernoulli"]),
        (lambda: {"label_weight": -0.1}, ["label_weight", ">= 0", "-0.1"]),
        (lambda: {"label_weight": float("nan")}, ["label_weight", "nan"]),
        (lambda: {"output": "gaussian"}, ["output", "'gaussian'", "normal"]),
        (lambda: {"sampler": "Mixdown"}, ["sampler", "'Mixdown'", "Mixup"]),
        (lambda: {"divergence": "wasserstein"}, ["divergence", "'wasserstein'", "kl"]),
        (
            lambda: {"student": network(2), "teacher": network(1), "output": "normal"},
            ["spread", "Point(1, stddev", "residual_stddev"],
        ),
        (shared_weights, ["shares", "teacher", "clone_model"]),
        (shared_layer, ["shares", "teacher", "clone_model"]),
        (lambda: {"student": lambda x: x}, ["student", "keras.Model"]),
        (lambda: {"teacher": lambda x: x}, ["teacher", "keras.Model"]),
        (lambda: {"teacher": []}, ["teacher", "at least one"]),
        (
            lambda: {
                "student": named(kind=3, size=2),
                "teacher": named(kind=3, place=2),
                "output": {"kind": "categorical", "size": "normal"},
            },
            ["teacher", "['kind', 'place']", "['kind', 'size']"],
        ),
        (
            lambda: {"output": {"kind": "categorical"}},
            ["unnamed", "['kind']", "keras.Model(inputs, {"],
        ),
        (
            lambda: {
                "student": named(kind=3, size=2),
                "teacher": named(kind=4, size=2),
                "output": {"kind": "categorical", "size": "normal"},
            },
            ["'kind': 4", "'kind': 3"],
        ),
        (
            lambda: {"teacher": [network(), network()], "feature_losses": [feature_loss()]},
            ["feature_losses", "single", "ensemble"],
        ),
        (
            lambda: {"feature_losses": [keras.distillation.LogitsDistillation()]},
            ["FeatureDistillation", "LogitsDistillation"],
        ),
        (lambda: {"feature_losses": [feature_loss("absent", None)]}, ["teacher", "absent"]),
        (lambda: {"feature_losses": [feature_loss(None, "absent")]}, ["student", "absent"]),
    ],
)
def test_construction_refuses(arguments, facts):
    arguments = {"student": network(), "teacher": network(), **arguments()}
    with raises_naming(*facts):
        Distiller(arguments.pop("student"), arguments.pop("teacher"), **arguments)


# On compilation.


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({"loss": "mse"}, ["loss", "divergence", "label_weight"]),
        ({"teacher_metrics": True}, ["teacher_metrics", "metrics"]),
        (
            {"teacher_metrics": True, "metrics": ["accuracy"], "evaluate_teacher": False},
            ["teacher_metrics", "evaluate_teacher"],
        ),
        ({"metrics": ["accuracy", "accuracy"]}, ["name", "accuracy"]),
        ({"metrics": {"kind": ["accuracy"]}}, ["list", "kind"]),
    ],
)
def test_compile_refuses(arguments, facts):
    its = distiller(compiled=False)
    with raises_naming(*facts):
        its.compile("sgd", **arguments)


# At fit, before the first step.


def dataset(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(4)


def batches():
    yield (X[:4],)


def integer_batches():
    yield ((X[:4] * 9).astype("int32"),)


def never(x):
    return tf.reduce_all(x != x)


IMAGES = (np.abs(X) * 100).astype("uint8")


@pytest.mark.parametrize(
    ("arguments", "data", "facts"),
    [
        ({"label_weight": 0.5}, lambda: (X,), ["label_weight=0.5", "labels"]),
        ({"label_weight": 0.5}, lambda: (dataset(X),), ["label_weight=0.5", "labels"]),
        ({"label_weight": 0.5}, lambda: (batches(),), ["label_weight=0.5", "labels"]),
        ({}, lambda: (IMAGES,), ["Mixup", "uint8", "Cast"]),
        ({}, lambda: (dataset(IMAGES, LABELS),), ["Mixup", "uint8", "Cast"]),
        ({}, lambda: (integer_batches(),), ["Mixup", "int32", "Cast"]),
        (
            {"sampler": samplers.Choice(["Empirical", "Mixup"])},
            lambda: (IMAGES,),
            ["Mixup", "uint8", "Cast"],
        ),
        ({"sampler": "CutMix"}, lambda: (X,), ["CutMix", "height", "(None, 4)"]),
        ({}, lambda: (X[:0],), ["no rows"]),
        ({}, lambda: (X[:0], LABELS[:0]), ["no rows"]),
        ({}, lambda: ({"a": X[:0]},), ["no rows"]),
        ({}, lambda: (dataset(X).take(0),), ["no rows", "drop_remainder"]),
        (
            {},
            lambda: (tf.data.Dataset.from_tensor_slices(X).batch(9, drop_remainder=True),),
            ["no rows", "drop_remainder"],
        ),
        (
            {},
            lambda: (tf.data.Dataset.from_tensor_slices(X).filter(never).batch(4),),
            ["no rows", "filter"],
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_fit_refuses_before_the_first_step(arguments, data, facts):
    its = distiller(**arguments)
    before = its.student.get_weights()
    with raises_naming(*facts):
        its.fit(*data(), verbose=0)
    assert int(its.step.numpy()) == 0
    for one, two in zip(its.student.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("student", "teacher", "output", "facts"),
    [
        (lambda: Subclassed(3), lambda: Subclassed(5), "categorical", ["5 classes", "student 3"]),
        (lambda: network(3), lambda: Subclassed(5), "categorical", ["5 classes", "student 3"]),
        (lambda: Subclassed(3), lambda: network(5), "categorical", ["5 classes", "student 3"]),
        (
            lambda: Subclassed(3),
            lambda: network(4),
            outputs.Normal(2),
            ["student", "(None, 3)", "4"],
        ),
        (lambda: Subclassed(1), lambda: Subclassed(1), "categorical", ["(None, 1)", "bernoulli"]),
    ],
)
def test_subclassed_networks_that_do_not_fit_are_refused_at_fit(student, teacher, output, facts):
    its = distiller(student(), teacher(), output=output)
    with raises_naming(*facts):
        its.fit(X, verbose=0)
    assert int(its.step.numpy()) == 0


def test_a_point_teacher_without_a_spread_is_refused_even_if_it_is_subclassed():
    with raises_naming("stddev"):
        distiller(network(2), Ensemble(Subclassed(1), outputs.Point(1)), output="normal")


def test_inputs_of_another_size_than_the_networks_are_refused():
    its = distiller()
    with pytest.raises(ValueError):
        its.fit(X[:, :3], verbose=0)
    assert int(its.step.numpy()) == 0


# At evaluation.


def test_evaluation_with_a_label_weight_needs_labels():
    its = distiller(label_weight=0.5)
    with raises_naming("label_weight=0.5", "labels"):
        its.evaluate(X, verbose=0)


@pytest.mark.parametrize("metrics", [None, ["accuracy"]])
def test_evaluation_of_nothing_is_refused(metrics):
    its = distiller(compiled=False)
    its.compile("sgd", metrics=metrics, evaluate_teacher=False)
    with raises_naming("nothing to evaluate", "evaluate_teacher"):
        its.evaluate(X, verbose=0)


def test_a_valid_run_follows_a_refused_one():
    its = distiller()
    with raises_naming("no rows"):
        its.fit(X[:0], verbose=0)
    its.fit(X, batch_size=4, verbose=0)
    assert int(its.step.numpy()) == 2


def test_a_teachers_class_that_is_not_finished_says_so():
    with pytest.raises(NotImplementedError):
        ecl_tf.Teacher("categorical").distribution(X)


def test_an_augmentation_with_trainable_weights_is_refused_before_the_first_step():
    its = distiller(sampler=samplers.Augment(keras.layers.Dense(SIZE)))
    with raises_naming("Augment's layer", "trainable weights"):
        its.fit(X, verbose=0)
    assert int(its.step.numpy()) == 0


def test_fit_without_compile_is_refused():
    with raises_naming("compile before fit", 'distiller.compile("adam")'):
        distiller(compiled=False).fit(X)
