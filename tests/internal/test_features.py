"""Inner features come out of the same single pass as the output."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import CLASSES, SIZE, Recorder, numbers
from scipy.special import log_softmax

from ecl_tf import Distiller, Ensemble, Teacher
from ecl_tf._internal import features

X = numbers(6, SIZE)


def sequential(width, prefix):
    return keras.Sequential(
        [
            keras.Input((SIZE,)),
            keras.layers.Dense(width, "tanh", name=f"{prefix}_first"),
            keras.layers.Dense(5, "tanh", name=f"{prefix}_second"),
            keras.layers.Dense(CLASSES, name=f"{prefix}_logits"),
        ]
    )


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


feature_loss = keras.distillation.FeatureDistillation


def test_the_features_are_the_layers_outputs():
    model = sequential(7, "a")
    run = features.runner(model, ["a_second", "a_first", None, "a_first"])
    raw, found = run(X, training=False)
    first, second, logits = hidden(model, X)
    assert set(found) == {"a_first", "a_second", None}
    np.testing.assert_allclose(raw, logits, rtol=1e-4, atol=1e-6)
    for name, expected in (("a_first", first), ("a_second", second), (None, logits)):
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-6)


def test_networks_with_named_inputs_have_features_too():
    inputs = {"left": keras.Input((2,), name="left"), "right": keras.Input((2,), name="right")}
    joined = keras.layers.Concatenate(name="joined")([inputs["right"], inputs["left"]])
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(joined))
    run = features.runner(model, ["joined"])
    raw, found = run({"left": X[:, :2], "right": X[:, 2:]}, training=False)
    expected = np.concatenate([X[:, 2:], X[:, :2]], 1)
    np.testing.assert_array_equal(found["joined"], expected)
    np.testing.assert_allclose(raw, hidden(model, expected)[-1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("names", [[None], ["a_first"]])
def test_the_network_runs_once_however_many_features(names):
    recorder = Recorder(name="a_first")
    model = keras.Sequential([keras.Input((SIZE,)), recorder, keras.layers.Dense(CLASSES)])
    features.runner(model, names)(tf.constant(X), training=False)
    assert [batch.shape for batch in recorder.batches] == [X.shape]


def test_the_training_flag_reaches_the_layers():
    inputs = keras.Input((SIZE,))
    noisy = keras.layers.Dropout(0.5, name="noisy")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(noisy))
    for training, values in ((False, {1.0}), (True, {0.0, 2.0})):
        _, found = features.runner(model, ["noisy"])(tf.ones((6, SIZE)), training=training)
        assert set(np.unique(found["noisy"])) == values


# The feature losses of a Distiller.


def test_feature_losses_are_added_to_the_divergence():
    student, teacher = sequential(4, "s"), sequential(9, "t")
    its, teachers = hidden(student, X), hidden(teacher, X)
    losses = [feature_loss("mse", "t_second", "s_second"), feature_loss("mae", None, None)]
    distiller = Distiller(student, teacher, sampler="Empirical", feature_losses=losses)
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    history = distiller.fit(X, batch_size=6, verbose=0).history
    evaluated = distiller.evaluate(X, verbose=0, return_dict=True)
    p, q = log_softmax(teachers[2], -1), log_softmax(its[2], -1)
    kl = (np.exp(p) * (p - q)).sum(-1).mean()
    parts = ((its[1] - teachers[1]) ** 2).mean(), np.abs(its[2] - teachers[2]).mean()
    for logs in (evaluated, {name: values[0] for name, values in history.items()}):
        np.testing.assert_allclose(logs["divergence"], kl, rtol=1e-4)
        np.testing.assert_allclose(logs["feature_loss"], np.mean(parts), rtol=1e-4)
        np.testing.assert_allclose(logs["loss"], kl + sum(parts), rtol=1e-4)


@pytest.mark.parametrize("loss", ["mse", keras.losses.MeanSquaredError()])
def test_each_of_several_replicas_has_the_mean_of_its_rows(monkeypatch, loss):
    """By the number of replicas the distiller divides itself, with its share of the rows."""
    mean = features.unreduced(feature_loss(loss, None, None))
    replicas = types.SimpleNamespace(num_replicas_in_sync=4)
    with monkeypatch.context() as patch:
        patch.setattr(tf.distribute, "get_strategy", lambda: replicas)
        found = mean.compute_loss(X, np.zeros_like(X))
    np.testing.assert_allclose(found, (X**2).mean(), rtol=1e-6)


def test_the_feature_loss_moves_the_layers_below_only():
    student, teacher = sequential(4, "s"), sequential(9, "t")

    def no_divergence(teacher, student):
        return 0.0 * student.logits_parameter()[:, 0]

    losses = {"divergence": no_divergence}
    losses["feature_losses"] = [feature_loss("mse", "t_second", "s_second")]
    distiller = Distiller(student, teacher, sampler="Empirical", **losses)
    distiller.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    (_, before, _), (_, target, _) = hidden(student, X), hidden(teacher, X)
    inner, _, last, _ = student.get_weights()[2:]
    inputs = hidden(student, X)[0]
    distiller.fit(X, batch_size=6, verbose=0)
    # d mean((h - t)^2) / d W, through the tanh.
    gradient = 2 * (before - target) * (1 - before**2) / before.size
    kernel, _, last_kernel, _ = student.get_weights()[2:]
    np.testing.assert_allclose(kernel, inner - 0.1 * inputs.T @ gradient, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(last_kernel, last)


# What is refused.


def test_layers_of_other_widths_need_a_loss_that_compares_them():
    student = sequential(4, "s")
    teacher = keras.Sequential(
        [keras.Input((SIZE,)), keras.layers.Dense(12, name="wide"), keras.layers.Dense(CLASSES)]
    )

    def gram(its, own):
        return tf.reduce_mean((its @ tf.transpose(its) - own @ tf.transpose(own)) ** 2)

    for loss in ("mse", keras.losses.CosineSimilarity(), lambda its, own: (its - own) ** 2):
        with pytest.raises(ValueError, match=r"'wide'.*12\).*'s_second'.*5\).*Dense\(12\)"):
            Distiller(student, teacher, feature_losses=[feature_loss(loss, "wide", "s_second")])
    Distiller(student, teacher, feature_losses=[feature_loss(gram, "wide", "s_second")])


@pytest.mark.parametrize(
    ("teacher", "loss", "message"),
    [
        (lambda: Ensemble([sequential(4, "t")] * 2, "categorical"), feature_loss, "ensemble"),
        (lambda: Teacher("categorical"), feature_loss, "single Keras model"),
        (None, lambda *args: keras.losses.MeanSquaredError(), "FeatureDistillation"),
        (None, lambda *args: feature_loss("mse", "nowhere", "s_first"), "teacher.*nowhere"),
        (None, lambda *args: feature_loss("mse", "t_first", "nowhere"), "student.*nowhere"),
    ],
)
def test_validation_refuses(teacher, loss, message):
    teacher = teacher() if teacher else Ensemble(sequential(4, "t"), "categorical")
    with pytest.raises(ValueError, match=message):
        features.validate([loss("mse", None, None)], teacher, sequential(4, "s"))
