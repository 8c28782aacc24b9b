"""Inner features come out of the same single pass as the output."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from ecl_tf import Distiller, Ensemble, Teacher, samplers
from ecl_tf._internal import features

SIZE, CLASSES = 4, 3
X = np.random.default_rng(0).normal(size=(6, SIZE)).astype("float32")


def sequential(width, prefix):
    return keras.Sequential(
        [
            keras.Input((SIZE,)),
            keras.layers.Dense(width, "tanh", name=f"{prefix}_first"),
            keras.layers.Dense(5, "tanh", name=f"{prefix}_second"),
            keras.layers.Dense(CLASSES, name=f"{prefix}_logits"),
        ]
    )


def functional(width, prefix):
    model = sequential(width, prefix)
    return keras.Model(model.inputs[0], model.outputs[0])


def hidden(model, x):
    """The activations of every dense layer of a model of tanh layers, in NumPy."""
    *inner, last = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    activations = []
    for layer in inner:
        kernel, bias = layer.get_weights()
        x = np.tanh(x @ kernel + bias)
        activations.append(x)
    kernel, bias = last.get_weights()
    return [*activations, x @ kernel + bias]


def feature_loss(loss, teacher, student):
    return keras.distillation.FeatureDistillation(loss, teacher, student)


@pytest.mark.parametrize("build", [sequential, functional])
def test_the_features_are_the_layers_outputs(build):
    model = build(7, "a")
    run = features.runner(model, ["a_second", "a_first", None, "a_first"])
    raw, found = run(X, training=False)
    first, second, logits = hidden(model, X)
    assert set(found) == {"a_first", "a_second", None}
    for got, expected in (
        (raw, logits),
        (found[None], logits),
        (found["a_first"], first),
        (found["a_second"], second),
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_networks_with_named_inputs_have_features_too():
    inputs = {"left": keras.Input((2,), name="left"), "right": keras.Input((2,), name="right")}
    joined = keras.layers.Concatenate(name="joined")([inputs["right"], inputs["left"]])
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(joined))
    run = features.runner(model, ["joined"])
    raw, found = run({"left": X[:, :2], "right": X[:, 2:]}, training=False)
    expected = np.concatenate([X[:, 2:], X[:, :2]], 1)
    np.testing.assert_array_equal(found["joined"], expected)
    np.testing.assert_allclose(raw, hidden(model, expected)[-1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("names", [[], [None], ["a_first"]])
def test_the_network_runs_once_however_many_features(names):
    calls = []

    class Traced(keras.layers.Layer):
        def call(self, inputs):
            calls.append(tuple(inputs.shape))
            return inputs

    inputs = keras.Input((SIZE,))
    hidden_units = keras.layers.Dense(5, name="a_first")(Traced()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(hidden_units))
    run = features.runner(model, names)
    calls.clear()
    run(X, training=False)
    assert calls == [X.shape]


@pytest.mark.parametrize("training", [False, True])
def test_the_training_flag_reaches_the_layers(training):
    inputs = keras.Input((SIZE,))
    noisy = keras.layers.Dropout(0.5, name="noisy")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(noisy))
    _, found = features.runner(model, ["noisy"])(tf.ones((6, SIZE)), training=training)
    values = set(np.unique(found["noisy"]))
    assert values == ({0.0, 2.0} if training else {1.0})


def test_training_the_runner_trains_the_network_itself():
    model = functional(7, "a")
    run = features.runner(model, ["a_first"])
    with tf.GradientTape() as tape:
        raw, _ = run(X, training=True)
        loss = tf.reduce_sum(raw)
    gradients = tape.gradient(loss, model.trainable_variables)
    np.testing.assert_allclose(gradients[-1], [6.0] * CLASSES)
    assert all(gradient is not None for gradient in gradients)


# The feature losses of a Distiller.


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def trained(losses, **kwargs):
    student, teacher = sequential(4, "s"), functional(9, "t")
    before = hidden(student, X), hidden(teacher, X)
    distiller = Distiller(
        student, teacher, sampler=samplers.Empirical(), feature_losses=losses, **kwargs
    )
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    history = distiller.fit(X, batch_size=6, verbose=0).history
    evaluated = distiller.evaluate(X, verbose=0, return_dict=True)
    (of_student, of_teacher) = before
    p, q = log_softmax(of_teacher[-1]), log_softmax(of_student[-1])
    return history, evaluated, of_student, of_teacher, (np.exp(p) * (p - q)).sum(-1).mean()


def test_the_feature_loss_is_added_to_the_divergence():
    losses = [feature_loss("mse", "t_second", "s_second")]
    history, evaluated, student, teacher, kl = trained(losses)
    expected = ((student[1] - teacher[1]) ** 2).mean()
    np.testing.assert_allclose(history["feature_loss"], [expected], rtol=1e-4)
    np.testing.assert_allclose(history["divergence"], [kl], rtol=1e-4)
    np.testing.assert_allclose(history["loss"], [kl + expected], rtol=1e-4)
    np.testing.assert_allclose(evaluated["loss"], kl + expected, rtol=1e-4)
    np.testing.assert_allclose(evaluated["feature_loss"], expected, rtol=1e-4)


def test_without_layer_names_the_raw_outputs_are_matched():
    history, _, student, teacher, kl = trained([feature_loss("mae", None, None)])
    expected = np.abs(student[2] - teacher[2]).mean()
    np.testing.assert_allclose(history["loss"], [kl + expected], rtol=1e-4)


@pytest.mark.parametrize("loss", ["mse", keras.losses.MeanSquaredError()])
def test_each_of_several_replicas_has_the_mean_of_its_rows(monkeypatch, loss):
    """By the number of replicas the distiller divides itself, with its share of the rows."""
    mean = features.unreduced(feature_loss(loss, None, None))
    replicas = types.SimpleNamespace(num_replicas_in_sync=4)
    with monkeypatch.context() as patch:
        patch.setattr(tf.distribute, "get_strategy", lambda: replicas)
        found = mean.compute_loss(X, np.zeros_like(X))
    np.testing.assert_allclose(found, (X**2).mean(), rtol=1e-6)


def test_several_feature_losses_are_summed():
    losses = [feature_loss("mse", "t_second", "s_second"), feature_loss("mae", None, None)]
    history, _, student, teacher, kl = trained(losses)
    expected = ((student[1] - teacher[1]) ** 2).mean() + np.abs(student[2] - teacher[2]).mean()
    np.testing.assert_allclose(history["loss"], [kl + expected], rtol=1e-4)


def test_the_feature_loss_moves_the_layers_below_only():
    student, teacher = sequential(4, "s"), functional(9, "t")

    def no_divergence(teacher, student):
        return 0.0 * student.logits_parameter()[:, 0]

    distiller = Distiller(
        student,
        teacher,
        sampler=samplers.Empirical(),
        divergence=no_divergence,
        feature_losses=[feature_loss("mse", "t_second", "s_second")],
    )
    distiller.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    (_, before, _), (_, target, _) = hidden(student, X), hidden(teacher, X)
    inner, last = student.layers[1].get_weights(), student.layers[2].get_weights()
    inputs = hidden(student, X)[0]
    distiller.fit(X, batch_size=6, verbose=0)
    # d mean((h - t)^2) / d W, through the tanh.
    gradient = 2 * (before - target) * (1 - before**2) / before.size
    np.testing.assert_allclose(
        student.layers[1].get_weights()[0],
        inner[0] - 0.1 * inputs.T @ gradient,
        rtol=1e-4,
        atol=1e-6,
    )
    np.testing.assert_array_equal(student.layers[2].get_weights()[0], last[0])


# What is refused.


@pytest.mark.parametrize(
    ("members", "loss", "message"),
    [
        (2, feature_loss("mse", None, None), "ensemble"),
        (1, keras.losses.MeanSquaredError(), "FeatureDistillation"),
        (1, feature_loss("mse", "nowhere", "s_first"), "teacher.*nowhere"),
        (1, feature_loss("mse", "t_first", "nowhere"), "student.*nowhere"),
    ],
)
def test_validation_refuses(members, loss, message):
    teacher = Ensemble([sequential(4, "t")] * members, "categorical")
    with pytest.raises(ValueError, match=message):
        features.validate([loss], teacher, sequential(4, "s"))


def test_validation_needs_a_teacher_made_of_a_keras_model():
    class Rule(Teacher):
        pass

    with pytest.raises(ValueError, match="single Keras model"):
        features.validate(
            [feature_loss("mse", None, None)], Rule("categorical"), sequential(4, "s")
        )
