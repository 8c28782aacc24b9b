"""Labels, weights and ways to run the step of a distiller with an `Uncertain` sampler."""

import by_hand
import keras
import numpy as np
import processes
import pytest
import tensorflow as tf
from by_hand import CLASSES, SIZE, assert_weights, linear, logits, numbers, softmax, weights
from scipy.special import log_softmax
from scipy.stats import entropy

from ecl_tf import Distiller, outputs, uncertainty
from ecl_tf.samplers import Uncertain

ROWS = 8
HALF = ROWS // 2
X = numbers(ROWS, SIZE, seed=1)
LABELS = np.array([0, 1, 2, 2, 1, 0, 0, 1])
ROW_WEIGHTS = np.array([1.0, 0.25, 2.0, 0.5, 0.0, 3.0, 1.5, 4.0], "float32")
STUDENT, TEACHER, OTHER = weights(seed=2), weights(seed=3), weights(seed=4)


def teachers_probabilities(x):
    """The mean of the two teachers."""
    return softmax(np.stack([logits(x, TEACHER), logits(x, OTHER)])).mean(0)


def scores_of(name):
    """In NumPy, of the two teachers' mean and the student."""
    members = softmax(np.stack([logits(X, TEACHER), logits(X, OTHER)]))
    student = softmax(logits(X, STUDENT))
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


def after_a_step(sources):
    """The student's weights after a step on these rows, with their weights."""
    x, w = X[sources], ROW_WEIGHTS[sources]
    gradient = w[:, None] * (softmax(logits(x, STUDENT)) - teachers_probabilities(x))
    return by_hand.sgd(x, STUDENT, gradient)


def history_of(distiller, *data, compiled=None, **arguments):
    optimizer = keras.optimizers.SGD(by_hand.RATE)
    distiller.compile(optimizer, **{"run_eagerly": True, **(compiled or {})})
    arguments = {"batch_size": ROWS, "shuffle": False, "verbose": 0, **arguments}
    return distiller.fit(*data, **arguments).history


def uncertain_rows(score="teacher_uncertainty", **arguments):
    """Students of two linear teachers, on the more uncertain half of the rows, twice."""
    sampler = Uncertain("Empirical", 2, score, temperature=0.0)
    teachers = [linear(TEACHER), linear(OTHER)]
    return Distiller(linear(STUDENT), teachers, sampler=sampler, **arguments)


# Weights and labels.


@pytest.mark.parametrize("name", list(uncertainty.SCORES))
def test_sampled_rows_have_the_weights_of_their_sources(name):
    sources = sources_of(scores_of(name))
    distiller = uncertain_rows(name)
    history = history_of(distiller, X, LABELS, sample_weight=ROW_WEIGHTS)
    divergence, w = scores_of("divergence")[sources], ROW_WEIGHTS[sources]
    np.testing.assert_allclose(history["loss"], [(w * divergence).mean()], rtol=1e-5)
    np.testing.assert_allclose(history["divergence"], [(w * divergence).mean()], rtol=1e-5)
    assert_weights(distiller.student, after_a_step(sources))


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
    distiller = uncertain_rows()
    history = history_of(distiller, X, y, sample_weight=ROW_WEIGHTS, compiled=metrics)
    np.testing.assert_allclose(history["accuracy"], [correct.mean()], rtol=1e-6)
    np.testing.assert_allclose(history["weighted"], [np.average(correct, weights=w)], rtol=1e-6)
    # An evaluation is of the rows themselves.
    logs = distiller.evaluate(X, y, sample_weight=ROW_WEIGHTS, verbose=0, return_dict=True)
    correct = distiller.predict(X, verbose=0).argmax(-1) == y
    assert logs["accuracy"] == pytest.approx(correct.mean())
    assert logs["weighted"] == pytest.approx(np.average(correct, weights=ROW_WEIGHTS))


def test_the_label_loss_is_of_the_batchs_own_rows_with_their_own_weights():
    sources, w = sources_of(scores_of("teacher_uncertainty")), ROW_WEIGHTS
    divergence = scores_of("divergence")[sources]
    label_loss = -log_softmax(logits(X, STUDENT), -1)[range(ROWS), LABELS]
    correct = logits(X, STUDENT).argmax(-1) == LABELS
    distiller = uncertain_rows(label_weight=0.3)
    metrics = {"metrics": ["accuracy"]}
    history = history_of(distiller, X, LABELS, sample_weight=w, compiled=metrics)
    loss = (w[sources] * divergence).mean() + 0.3 * (w * label_loss).mean()
    np.testing.assert_allclose(history["loss"], [loss], rtol=1e-5)
    np.testing.assert_allclose(history["label_loss"], [(w * label_loss).mean()], rtol=1e-5)
    np.testing.assert_allclose(history["divergence"], [(w[sources] * divergence).mean()], rtol=1e-5)
    np.testing.assert_allclose(history["accuracy"], [correct.mean()], rtol=1e-6)


def test_labels_of_named_outputs_follow_their_rows():
    student, teacher = by_hand.heads(kind=CLASSES, place=2), by_hand.heads(kind=CLASSES, place=2)
    student.set_weights([*STUDENT, *weights(2, seed=5)])
    teacher.set_weights([*TEACHER, *weights(2, seed=6)])
    output = outputs.Joint({"kind": "categorical", "place": outputs.Normal(1)}, {"place": 0.0})
    sampler = Uncertain("Empirical", 2, "teacher_uncertainty", temperature=0.0)
    distiller = Distiller(student, teacher, output=output, sampler=sampler)
    places = numbers(ROWS, 1, seed=9)
    metrics = {"metrics": {"kind": ["accuracy"], "place": ["mae"]}}
    history = history_of(distiller, X, {"kind": LABELS, "place": places}, compiled=metrics)
    sources = sources_of(entropy(softmax(logits(X, TEACHER)), axis=-1))
    correct = (logits(X, STUDENT).argmax(-1) == LABELS)[sources]
    errors = np.abs(logits(X, weights(2, seed=5))[:, :1] - places)[sources]
    np.testing.assert_allclose(history["kind_accuracy"], [correct.mean()], rtol=1e-6)
    np.testing.assert_allclose(history["place_mae"], [errors.mean()], rtol=1e-5)


# Ways to run the step.


@pytest.mark.slow
def test_a_graph_of_several_steps_does_the_same_steps():
    def trained(**compiled):
        sampler = Uncertain(None, candidates=3, score="divergence", temperature=1.0)
        distiller = Distiller(linear(STUDENT), linear(TEACHER), sampler=sampler)
        x = numbers(20, SIZE, seed=5)  # The last of the batches is smaller.
        history = history_of(distiller, x, compiled=compiled, epochs=2)
        assert int(distiller.step.numpy()) == 6
        return history["loss"], distiller.student

    loss, student = trained()
    graph_loss, graph_student = trained(run_eagerly=False, steps_per_execution=2)
    np.testing.assert_allclose(graph_loss, loss, rtol=1e-5)
    assert_weights(graph_student, student.get_weights())
    assert np.abs(student.get_weights()[0] - STUDENT[0]).max() > 0.01


def test_a_half_precision_student_has_a_finite_score():
    """Logits of +-300, whose squares and exponentials float16 does not hold."""
    student = keras.Sequential([keras.Input((SIZE,)), keras.layers.Dense(3, dtype="mixed_float16")])
    student.set_weights([100.0 * weight for weight in STUDENT])
    distiller = Distiller(student, linear(TEACHER))
    networks = uncertainty.Networks(distiller.teacher, student, distiller.output_kind)
    scores = uncertainty.divergence(uncertainty.Answers(networks, tf.constant(X)))
    q = np.float64(student(X))
    assert student(X).dtype == tf.float16 and np.abs(q).max() > 200
    assert scores.dtype == tf.float32
    np.testing.assert_allclose(scores, by_hand.kl(logits(X, TEACHER), q), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_two_replicas_choose_from_their_own_rows_each():
    run = processes.start("choose_on_replicas.py", VIRTUAL_DEVICES="2")
    (answer,) = processes.results([run])
    scores = scores_of("disagreement")
    sources = np.concatenate([sources_of(scores[:HALF]), HALF + sources_of(scores[HALF:])])
    assert set(sources) != set(sources_of(scores))
    loss = (ROW_WEIGHTS * scores_of("divergence"))[sources].mean()
    correct = (logits(X, STUDENT).argmax(-1) == LABELS)[sources]
    np.testing.assert_allclose(answer["history"]["loss"], [loss], rtol=1e-5)
    np.testing.assert_allclose(answer["history"]["accuracy"], [correct.mean()], rtol=1e-5)
    by_hand.assert_arrays(answer["weights"], after_a_step(sources), atol=1e-5)


@pytest.mark.parametrize(
    ("score", "temperature", "culprit"),
    [
        ("teacher_uncertainty", 0.0, "teacher"),
        ("divergence", 1.0, "teacher"),
        ("student_uncertainty", 0.0, "student"),
    ],
)
def test_one_row_of_nan_is_kept_and_stops_the_training(score, temperature, culprit):
    x = np.abs(X) + 0.1
    x[5, 2] = -1.0
    networks = {"student": linear(STUDENT), "teacher": linear(TEACHER)}
    networks[culprit] = linear(OTHER, by_hand.Logarithm())
    distiller = Distiller(**networks, sampler=Uncertain("Empirical", 4, score, temperature))
    with pytest.raises(FloatingPointError, match=rf"in step 1 .*the {culprit} had NaN or Inf"):
        history_of(distiller, x)
