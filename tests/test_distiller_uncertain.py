"""Labels, weights and ways to run the step of a distiller with an `Uncertain` sampler."""

import json

import keras
import numpy as np
import processes
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from ecl_tf import Distiller, outputs, uncertainty
from ecl_tf.samplers import GaussianNoise, Uncertain

ROWS, SIZE, CLASSES = 8, 4, 3
HALF = ROWS // 2


def numbers(*shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


X = numbers(ROWS, SIZE, seed=1)
LABELS = np.array([0, 1, 2, 2, 1, 0, 0, 1])
ROW_WEIGHTS = np.array([1.0, 0.25, 2.0, 0.5, 0.0, 3.0, 1.5, 4.0], "float32")


def weights(seed, units=CLASSES):
    return [numbers(SIZE, units, seed=seed), numbers(units, seed=seed + 1000)]


STUDENT, TEACHER, OTHER = weights(2), weights(3), weights(4)


def linear(its_weights):
    model = keras.Sequential([keras.Input((SIZE,)), keras.layers.Dense(its_weights[1].size)])
    model.set_weights(its_weights)
    return model


def logits(x, its_weights):
    return x.astype("float64") @ its_weights[0] + its_weights[1]


def kl(p_logits, q_logits):
    return entropy(softmax(p_logits, -1), softmax(q_logits, -1), axis=-1)


def scores_of(name, x=X):
    """In NumPy, of the two teachers' mean and the student."""
    members = softmax(np.stack([logits(x, TEACHER), logits(x, OTHER)]), -1)
    student = softmax(logits(x, STUDENT), -1)
    total = entropy(members.mean(0), axis=-1)
    return {
        "teacher_uncertainty": total,
        "disagreement": total - entropy(members, axis=-1).mean(0),
        "student_uncertainty": entropy(student, axis=-1),
        "divergence": entropy(members.mean(0), student, axis=-1),
    }[name]


def sources_of(scores):
    """Of two candidates of each row, the rows of which both are kept."""
    highest = np.argsort(-scores)[: len(scores) // 2]
    return np.concatenate([np.sort(highest)] * 2)


def history_of(distiller, *data, rate=0.0, compiled=None, **kwargs):
    arguments = {"run_eagerly": True, **(compiled or {})}
    distiller.compile(keras.optimizers.SGD(rate), **arguments)
    kwargs = {"batch_size": ROWS, "shuffle": False, "verbose": 0, **kwargs}
    return distiller.fit(*data, **kwargs).history


def uncertain_rows(score="teacher_uncertainty", **kwargs):
    """Students of two linear teachers, on the more uncertain half of the rows, twice."""
    sampler = Uncertain("Empirical", 2, score, temperature=0.0)
    return Distiller(linear(STUDENT), [linear(TEACHER), linear(OTHER)], sampler=sampler, **kwargs)


# Weights and labels.


@pytest.mark.parametrize("name", list(uncertainty.SCORES))
def test_sampled_rows_have_the_weights_of_their_sources(name):
    sources = sources_of(scores_of(name))
    divergence, w = scores_of("divergence")[sources], ROW_WEIGHTS[sources]
    history = history_of(uncertain_rows(name), X, LABELS, sample_weight=ROW_WEIGHTS)
    np.testing.assert_allclose(history["loss"], [(w * divergence).mean()], rtol=1e-5)
    np.testing.assert_allclose(history["divergence"], [divergence.mean()], rtol=1e-5)


def test_the_step_follows_the_gradient_of_that_loss():
    sources = sources_of(scores_of("divergence"))
    distiller = uncertain_rows("divergence")
    history_of(distiller, X, LABELS, sample_weight=ROW_WEIGHTS, rate=0.5)
    x, w = X[sources], ROW_WEIGHTS[sources]
    p = softmax(np.stack([logits(x, TEACHER), logits(x, OTHER)]), -1).mean(0)
    gradient = w[:, None] * (softmax(logits(x, STUDENT), -1) - p) / ROWS
    kernel, bias = distiller.student.get_weights()
    np.testing.assert_allclose(kernel, STUDENT[0] - 0.5 * x.T @ gradient, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(bias, STUDENT[1] - 0.5 * gradient.sum(0), rtol=1e-4, atol=1e-5)


def test_training_metrics_are_of_the_sources_labels_and_weights():
    sources = sources_of(scores_of("teacher_uncertainty"))
    right = logits(X, STUDENT).argmax(-1)
    y = np.where(np.arange(ROWS) % 3 == 1, (right + 1) % CLASSES, right)
    correct, w = (y == right)[sources], ROW_WEIGHTS[sources]
    assert 0 < correct.sum() < ROWS and correct.mean() != (y == right).mean()
    metrics = {
        "metrics": ["accuracy"],
        "weighted_metrics": [keras.metrics.SparseCategoricalAccuracy(name="weighted")],
    }
    history = history_of(uncertain_rows(), X, y, sample_weight=ROW_WEIGHTS, compiled=metrics)
    np.testing.assert_allclose(history["accuracy"], [correct.mean()], rtol=1e-6)
    np.testing.assert_allclose(history["weighted"], [(w * correct).sum() / w.sum()], rtol=1e-6)


def test_training_metrics_need_unmodified_rows():
    sampler = Uncertain(GaussianNoise(0.1))
    distiller = Distiller(linear(STUDENT), linear(TEACHER), sampler=sampler)
    history = history_of(distiller, X, LABELS, compiled={"metrics": ["accuracy"]})
    assert "accuracy" not in history


@pytest.mark.parametrize("row_weights", [None, ROW_WEIGHTS], ids=["", "sample_weight"])
def test_the_label_loss_is_of_the_batchs_own_rows_with_their_own_weights(row_weights):
    sources = sources_of(scores_of("teacher_uncertainty"))
    divergence = scores_of("divergence")[sources]
    label_loss = -log_softmax(logits(X, STUDENT), -1)[range(ROWS), LABELS]
    correct = logits(X, STUDENT).argmax(-1) == LABELS
    distiller = uncertain_rows(label_weight=0.3)
    history = history_of(
        distiller, X, LABELS, sample_weight=row_weights, compiled={"metrics": ["accuracy"]}
    )
    w = np.ones(ROWS) if row_weights is None else row_weights
    loss = (w[sources] * divergence).mean() + 0.3 * (w * label_loss).mean()
    np.testing.assert_allclose(history["loss"], [loss], rtol=1e-5)
    np.testing.assert_allclose(history["label_loss"], [label_loss.mean()], rtol=1e-5)
    np.testing.assert_allclose(history["divergence"], [divergence.mean()], rtol=1e-5)
    np.testing.assert_allclose(history["accuracy"], [correct.mean()], rtol=1e-6)


def test_labels_of_named_outputs_follow_their_rows():
    def two_heads(kind, place):
        inputs = keras.Input((SIZE,))
        heads = {"kind": keras.layers.Dense(CLASSES), "place": keras.layers.Dense(2)}
        model = keras.Model(inputs, {name: head(inputs) for name, head in heads.items()})
        heads["kind"].set_weights(kind)
        heads["place"].set_weights(place)
        return model

    student = two_heads(STUDENT, weights(5, 2))
    teacher = two_heads(TEACHER, weights(6, 2))
    output = outputs.Joint({"kind": "categorical", "place": outputs.Normal(1)}, {"place": 0.0})
    sampler = Uncertain("Empirical", 2, "teacher_uncertainty", temperature=0.0)
    distiller = Distiller(student, teacher, output=output, sampler=sampler)
    places = numbers(ROWS, 1, seed=9)
    metrics = {"metrics": {"kind": ["accuracy"], "place": ["mae"]}}
    history = history_of(distiller, X, {"kind": LABELS, "place": places}, compiled=metrics)
    sources = sources_of(entropy(softmax(logits(X, TEACHER), -1), axis=-1))
    correct = (logits(X, STUDENT).argmax(-1) == LABELS)[sources]
    errors = np.abs(logits(X, weights(5, 2))[:, :1] - places)[sources]
    np.testing.assert_allclose(history["kind_accuracy"], [correct.mean()], rtol=1e-6)
    np.testing.assert_allclose(history["place_mae"], [errors.mean()], rtol=1e-5)


def test_evaluation_is_of_the_batch_as_it_is():
    distiller = uncertain_rows()
    distiller.compile(run_eagerly=True, metrics=["accuracy"])
    logs = distiller.evaluate(X, LABELS, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["loss"], scores_of("divergence").mean(), rtol=1e-5)
    correct = logits(X, STUDENT).argmax(-1) == LABELS
    np.testing.assert_allclose(logs["accuracy"], correct.mean(), rtol=1e-6)


# Ways to run the step.


def trained(**compiled):
    sampler = Uncertain(None, candidates=3, score="divergence", temperature=1.0)
    distiller = Distiller(linear(STUDENT), linear(TEACHER), sampler=sampler)
    x = numbers(20, SIZE, seed=5)  # The last of the batches is smaller.
    history = history_of(distiller, x, rate=0.5, compiled=compiled, epochs=2)
    assert int(distiller.step.numpy()) == 6
    return history["loss"], distiller.student.get_weights()


def test_a_graph_of_several_steps_does_the_same_steps():
    loss, its_weights = trained()
    graph_loss, graph_weights = trained(run_eagerly=False, steps_per_execution=3)
    np.testing.assert_allclose(graph_loss, loss, rtol=1e-5)
    for one, other in zip(graph_weights, its_weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert np.abs(its_weights[0] - STUDENT[0]).max() > 0.01


def test_xla_gives_the_same_loss():
    sources = sources_of(scores_of("divergence"))
    loss = (ROW_WEIGHTS * scores_of("divergence"))[sources].mean()
    compiled = {"run_eagerly": False, "jit_compile": True}
    history = history_of(
        uncertain_rows("divergence"), X, LABELS, sample_weight=ROW_WEIGHTS, compiled=compiled
    )
    np.testing.assert_allclose(history["loss"], [loss], rtol=1e-4)


@pytest.mark.parametrize("score", ["student_uncertainty", "divergence"])
def test_a_half_precision_student_has_finite_scores(score):
    """Logits of +-300, whose squares and exponentials float16 does not hold."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        student = linear([100.0 * weight for weight in STUDENT])
    finally:
        keras.config.set_dtype_policy(before)
    distiller = Distiller(
        student, linear(TEACHER), sampler=Uncertain("Empirical", score=score, temperature=1.0)
    )
    networks = uncertainty.Networks(distiller.teacher, student, distiller.output_kind)
    scores = uncertainty.get(score)(uncertainty.Answers(networks, tf.constant(X)))
    q = np.float64(student(X))
    assert student(X).dtype == tf.float16 and np.abs(q).max() > 200
    expected = entropy(softmax(q, -1), axis=-1)
    if score == "divergence":
        p = log_softmax(logits(X, TEACHER), -1)
        expected = (np.exp(p) * (p - log_softmax(q, -1))).sum(-1)
    assert scores.dtype == tf.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)
    history = history_of(distiller, X, rate=1e-3, compiled={"run_eagerly": False}, epochs=2)
    assert np.isfinite(history["loss"]).all()
    assert isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)


@pytest.mark.slow
def test_two_replicas_choose_from_their_own_rows_each():
    as_lists = {
        "student": [weight.tolist() for weight in STUDENT],
        "teachers": [[weight.tolist() for weight in each] for each in (TEACHER, OTHER)],
        **{name: a.tolist() for name, a in (("x", X), ("y", LABELS), ("w", ROW_WEIGHTS))},
    }
    run = processes.start("choose_on_replicas.py", json.dumps(as_lists))
    answer = processes.results([run])[0]
    assert answer["replicas"] == 2
    scores = scores_of("disagreement")
    sources = np.concatenate([sources_of(scores[:HALF]), HALF + sources_of(scores[HALF:])])
    assert set(sources) != set(sources_of(scores))
    x, w = X[sources], ROW_WEIGHTS[sources]
    history, loss = answer["history"], (w * scores_of("divergence")[sources]).mean()
    np.testing.assert_allclose(history["loss"], [loss], rtol=1e-5)
    correct = (logits(X, STUDENT).argmax(-1) == LABELS)[sources]
    np.testing.assert_allclose(history["accuracy"], [correct.mean()], rtol=1e-5)
    p = softmax(np.stack([logits(x, TEACHER), logits(x, OTHER)]), -1).mean(0)
    gradient = w[:, None] * (softmax(logits(x, STUDENT), -1) - p) / ROWS
    np.testing.assert_allclose(answer["weights"][0], STUDENT[0] - 0.5 * x.T @ gradient, atol=1e-5)


# NaN.


class Logarithm(keras.layers.Layer):
    """NaN for negative inputs."""

    def call(self, inputs):
        return tf.math.log(inputs)


def logarithmic(seed):
    model = keras.Sequential([keras.Input((SIZE,)), Logarithm(), keras.layers.Dense(CLASSES)])
    model.set_weights(weights(seed))
    return model


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("score", ["teacher_uncertainty", "disagreement", "divergence"])
def test_one_row_of_nan_from_a_teacher_is_kept_and_stops_the_training(score, temperature):
    x = np.abs(X) + 0.1
    x[5, 2] = -1.0
    distiller = Distiller(
        linear(STUDENT),
        [logarithmic(3), logarithmic(4)],
        sampler=Uncertain("Empirical", 4, score, temperature),
    )
    with pytest.raises(FloatingPointError, match=r"in step 1 .*the teacher had NaN or Inf"):
        history_of(distiller, x)


def test_one_row_of_nan_from_the_student_is_kept_and_stops_the_training():
    x = np.abs(X) + 0.1
    x[5, 2] = -1.0
    distiller = Distiller(
        logarithmic(3), linear(TEACHER), sampler=Uncertain("Empirical", 4, "student_uncertainty")
    )
    with pytest.raises(FloatingPointError, match=r"in step 1 .*the student had NaN or Inf"):
        history_of(distiller, x)
