"""What can't work is refused before the first training step, with the facts that help."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import SIZE, Subclassed, dataset, heads, numbers

from ecl_tf import Distiller, Ensemble, outputs

X = numbers(8, SIZE)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def network(units=3):
    return keras.Sequential([keras.Input((SIZE,)), keras.layers.Dense(units)])


def distiller(student=None, teacher=None, **arguments):
    return Distiller(student or network(), teacher or network(), **arguments)


def compiled(*networks, **arguments):
    its = distiller(*networks, **arguments)
    its.compile("sgd")
    return its


def raises_naming(*facts):
    """Expects a ValueError whose message has all the facts, in this order."""
    return pytest.raises(ValueError, match="(?s)" + ".*".join(map(re.escape, facts)))


# On construction.


def of(network_or_size):
    """A network of so many units, or what the function makes."""
    return network(network_or_size) if isinstance(network_or_size, int) else network_or_size()


NORMAL = {"output": "normal"}
KIND_AND_SIZE = {"output": {"kind": "categorical", "size": "normal"}}
FEATURES = {"feature_losses": [keras.distillation.FeatureDistillation("mse")]}


def kind_and(kind=3, **units):
    return lambda: heads(kind=kind, **units)


@pytest.mark.parametrize(
    ("student", "teacher", "arguments", "facts"),
    [
        (3, 5, {}, ["5 classes", "student 3"]),
        (3, 4, {"output": outputs.Normal(2)}, ["student", "(None, 3)", "4", "2 mean(s)"]),
        (3, 3, NORMAL, ["'normal'", "3", "Normal("]),
        (lambda: Subclassed(2), 3, NORMAL, ["'normal'", "unknown", "Normal("]),
        (1, 1, {}, ["(None, 1)", "bernoulli"]),
        (4, lambda: Ensemble(network(4), "categorical"), NORMAL, ["Categorical(", "family"]),
        (3, 3, {"temperature": 0.0}, ["temperature", "positive", "0.0"]),
        (3, 3, {"temperature": float("nan")}, ["temperature", "nan"]),
        (3, 3, {"output": "bernoulli", "temperature": 2.0}, ["2.0", "categorical", "bernoulli"]),
        (3, 3, {"label_weight": -0.1}, ["label_weight", ">= 0", "-0.1"]),
        (3, 3, {"label_weight": float("nan")}, ["label_weight", "nan"]),
        (3, 3, {"label_rows": "own"}, ["label_rows 'own'", "'appended'", "'unmodified'"]),
        (2, 1, NORMAL, ["spread", "Point(1, stddev", "residual_stddev"]),
        (lambda: len, 3, {}, ["student", "keras.Model"]),
        (3, lambda: len, {}, ["teacher", "keras.Model"]),
        (kind_and(size=2), kind_and(place=2), KIND_AND_SIZE, ["teacher", "'place']", "'size']"]),
        (kind_and(size=2), kind_and(4, size=2), KIND_AND_SIZE, ["'kind': 4", "'kind': 3"]),
        (3, 3, {"output": {"kind": "categorical"}}, ["unnamed", "['kind']", "Model(inputs, {"]),
        (3, lambda: [network(), network()], FEATURES, ["feature_losses", "single", "ensemble"]),
    ],
)
def test_construction_refuses(student, teacher, arguments, facts):
    networks = of(student), of(teacher)
    with raises_naming(*facts):
        Distiller(*networks, **arguments)


def test_positions_of_teacher_and_student_must_be_the_same():
    def convolution(size, strides=1, classes=3):
        layer = keras.layers.Conv2D(classes, 1, strides=strides)
        return keras.Sequential([keras.Input((size, size, 1)), layer])

    steps = keras.Sequential([keras.Input((8, 4)), keras.layers.Dense(3)])
    pooled = keras.Sequential(
        [keras.Input((8, 4)), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(3)]
    )
    for student, teacher, facts in (
        (pooled, steps, ["(None, 8, 3)", "(None, 3)"]),
        (steps, pooled, ["(None, 3)", "(None, 8, 3)"]),
        (convolution(8, 2), convolution(8), ["(None, 8, 8, 3)", "(None, 4, 4, 3)"]),
        (convolution(1), convolution(8), ["(None, 8, 8, 3)", "(None, 1, 1, 3)"]),
    ):
        with raises_naming(*facts, "positions"):
            Distiller(student, teacher)
    Distiller(convolution(8), convolution(None))
    image = keras.Input((8, 8, 1))
    dense, whole = keras.layers.Conv2D(3, 1), keras.layers.GlobalAveragePooling2D()
    named = [
        keras.Model(image, {"map": dense(image)}),
        keras.Model(image, {"map": whole(dense(image))}),
    ]
    with raises_naming("map", "(None, 8, 8, 3)", "(None, 3)"):
        Distiller(named[1], keras.models.clone_model(named[0]), output={"map": "categorical"})


def test_networks_that_share_a_layer_are_refused():
    student = network()
    teacher = keras.Model(student.inputs, keras.layers.ReLU()(student.outputs[0]))
    with raises_naming("shares", "teacher", "clone_model"):
        distiller(student, teacher)


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
    ],
)
def test_compile_refuses(arguments, facts):
    its = distiller()
    with raises_naming(*facts):
        its.compile("sgd", **arguments)


# At fit, before the first step.


def generator(x):
    yield (x[:4],)


def never(x):
    return tf.reduce_all(x != x)


IMAGES = (np.abs(X) * 100).astype("uint8")


@pytest.mark.parametrize(
    ("arguments", "data", "facts"),
    [
        ({"label_weight": 0.5}, lambda: dataset(X).batch(4), ["label_weight=0.5", "labels"]),
        ({"label_weight": 0.5}, lambda: generator(X), ["label_weight=0.5", "labels"]),
        ({}, lambda: dataset(IMAGES, LABELS).batch(4), ["Mixup", "uint8", "Cast"]),
        ({}, lambda: generator(IMAGES.astype("int32")), ["Mixup", "int32", "Swap"]),
        ({"sampler": "CutMix"}, lambda: X, ["CutMix", "height", "(None, 4)"]),
        ({}, lambda: {"a": X[:0]}, ["no rows"]),
        ({}, lambda: dataset(X).batch(9, drop_remainder=True), ["no rows", "drop_remainder"]),
        ({}, lambda: dataset(X).filter(never).batch(4), ["no rows", "filter"]),
        ({}, lambda: X[:, :3], ["(None, 3)", "student", "(None, 4)"]),
        ({}, lambda: dataset(X[:, :3]).batch(4), ["(None, 3)", "student", "(None, 4)"]),
        (
            {"student": Subclassed(3), "teacher": Subclassed(5)},
            lambda: X,
            ["5 classes", "student 3"],
        ),
        (
            {"student": Subclassed(3), "output": outputs.Normal(2), "teacher": network(4)},
            lambda: X,
            ["student", "(None, 3)", "4"],
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*shuffle=True", "ignore:Your input ran out of data")
def test_fit_refuses_before_the_first_step(arguments, data, facts):
    its = compiled(**arguments)
    before = its.student.get_weights()
    with raises_naming(*facts):
        its.fit(data(), verbose=0)
    assert int(its.step.numpy()) == 0
    for one, two in zip(its.student.get_weights(), before, strict=False):  # None before a build.
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({"sample_weight": [1.0] * 8}, ["sample_weight is a list", "np.asarray(sample_weight)"]),
        ({"y": LABELS, "class_weight": [1.0, 2.0, 3.0]}, ["class_weight", "dict", "a list"]),
        ({"y": LABELS, "class_weight": {1: 1.0, 3: 2.0}}, ["class 3", "0 to 2"]),
        ({"steps_per_epoch": 2.5}, ["steps_per_epoch", "whole number >= 1", "2.5"]),
        ({"validation_data": (X,), "validation_steps": 0}, ["validation_steps", "0"]),
        ({"batch_size": -1}, ["batch_size", "-1"]),
    ],
)
def test_fit_refuses_arguments_by_their_names(arguments, facts):
    with raises_naming(*facts):
        compiled(sampler="Empirical").fit(X, **arguments, verbose=0)


def test_weights_of_classes_are_for_one_label_a_row():
    def pixels():
        return keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Conv2D(3, 1)])

    its = compiled(pixels(), pixels(), sampler="Empirical")
    x, y = numbers(4, 2, 2, 1), np.zeros((4, 2, 2), int)
    with raises_naming("class_weight needs one class for each row", "sample_weight"):
        its.fit(x, y, class_weight={0: 1.0}, verbose=0)


def test_the_output_without_labels_is_named_and_needs_none_at_weight_0():
    labels = {"kind": LABELS, "size": None}

    def its(weight):
        parts = {"kind": "categorical", "size": outputs.Normal(1)}
        output = outputs.Joint(parts, {"size": weight})
        networks = [heads(kind=3, size=2) for _ in range(2)]
        return compiled(*networks, output=output, sampler="Empirical", label_weight=1.0)

    with raises_naming("['size'] have none"):
        its(1.0).fit(X, labels, verbose=0)
    assert np.isfinite(its(0.0).fit(X, labels, verbose=0).history["label_loss"]).all()


def test_a_network_of_so_many_rows_only_is_named():
    inputs = keras.Input(batch_shape=(4, SIZE))
    fixed = keras.layers.Lambda(lambda x: tf.reshape(x, (4, SIZE)), output_shape=(SIZE,))
    teacher = keras.Model(inputs, keras.layers.Dense(3)(fixed(inputs)))
    for data in (X[:6], dataset(X[:6]).batch(4)):  # The last batch has two rows.
        with raises_naming("teacher", "batches of 4 rows only", "drop_remainder=True"):
            compiled(None, teacher).fit(data, verbose=0)
    compiled(None, teacher).fit(dataset(X).batch(4), verbose=0)


def test_compile_within_fit_is_refused():
    its = compiled()
    callback = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: its.compile("adam"))
    with raises_naming("compile was called within fit"):
        its.fit(X, callbacks=[callback], verbose=0)
    its.compile("adam")


def test_a_valid_run_follows_a_refused_one():
    its = compiled()
    with raises_naming("no rows"):
        its.fit(X[:0], verbose=0)
    its.fit(X, batch_size=4, verbose=0)
    assert int(its.step.numpy()) == 2


def test_weights_of_other_outputs_and_fit_without_compile_are_refused():
    with raises_naming("['a']", "one weight for each row"):
        compiled().train_on_batch(X, LABELS, {"a": tf.ones(8)})
    with raises_naming("compile before fit", 'distiller.compile("adam")'):
        distiller().fit(X)


# At evaluation.


def test_evaluation_needs_something_to_evaluate_and_labels_for_a_label_weight():
    with raises_naming("label_weight=0.5", "labels"):
        compiled(label_weight=0.5).evaluate(X, verbose=0)
    its = distiller()
    its.compile("sgd", metrics=["accuracy"], evaluate_teacher=False)
    with raises_naming("nothing to evaluate", "evaluate_teacher"):
        its.evaluate(X, verbose=0)
