"""Labels learned on those samples that stay unmodified, against NumPy."""

import by_hand
import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import CLASSES, SIZE, Recorder, assert_weights, kl, linear, logits, numbers, softmax
from scipy.special import log_softmax
from scipy.stats import entropy

from ecl_tf import Distiller, _weights, outputs, replay, samplers

ROWS = 8
X = numbers(ROWS, SIZE, seed=1)
LABELS = np.array([0, 1, 2, 2, 1, 0, 0, 1])
ROW_WEIGHTS = np.array([1.0, 0.25, 2.0, 0.5, 2.5, 3.0, 1.5, 4.0], "float32")
STUDENT, TEACHER = by_hand.weights(seed=2), by_hand.weights(seed=3)
STAYS = X[:, 1] < 0.3
WEIGHT = 0.3


@keras.saving.register_keras_serializable("test_label_rows")
class MoveSome(samplers.Sampler):
    """Rows whose second number is below 0.3 stay, and 1 is added to all others."""

    keeps_rows = True

    def sample(self, inputs, seed):
        stays = inputs[:, 1] < 0.3
        return samplers.Samples(tf.where(stays[:, None], inputs, inputs + 1.0), stays)


def distil(sampler, student=None, **arguments):
    student, teacher = student or linear(STUDENT), arguments.pop("teacher", None)
    given = {"label_weight": WEIGHT, "label_rows": "unmodified", **arguments}
    return Distiller(student, teacher or linear(TEACHER), sampler=sampler, **given)


def fit(distiller, *data, **arguments):
    optimizer = keras.optimizers.SGD(by_hand.RATE)
    distiller.compile(optimizer, metrics=["accuracy"], run_eagerly=True)
    arguments = {"batch_size": ROWS, "shuffle": False, "verbose": 0, **arguments}
    return distiller.fit(*data, **arguments).history


def expected_step(x, p, labels, stays, w):
    """The student's weights after a step on samples x, and what is logged of it."""
    q, one_hot = logits(x, STUDENT), np.eye(CLASSES)[labels]
    # The mean over the rows that stay: of all rows each of them counts for more.
    share = stays * len(x) / stays.sum()
    label_loss = -(one_hot * log_softmax(q, -1)).sum(-1)
    gradient = softmax(q) - softmax(p) + WEIGHT * share[:, None] * (softmax(q) - one_hot)
    logs = {"divergence": (w * kl(p, q)).mean(), "label_loss": (w * share * label_loss).mean()}
    logs["loss"] = logs["divergence"] + WEIGHT * logs["label_loss"]
    logs["accuracy"] = (q.argmax(-1) == labels)[stays].mean()
    return by_hand.sgd(x, STUDENT, w[:, None] * gradient), logs


def assert_step(distiller, history, expected):
    weights, logs = expected
    assert_weights(distiller.student, weights)
    for name, value in logs.items():
        np.testing.assert_allclose(history[name], [value], rtol=1e-5, err_msg=name)


def test_the_label_loss_is_the_mean_over_unmodified_rows_and_the_student_runs_once():
    assert 0 < STAYS.sum() < ROWS and ROW_WEIGHTS[STAYS].sum() != STAYS.sum()
    recorder = Recorder()
    distiller = distil(MoveSome(), linear(STUDENT, recorder))
    history = fit(distiller, X, LABELS, sample_weight=ROW_WEIGHTS)
    moved = np.where(STAYS[:, None], X, X + 1)
    (seen,) = recorder.batches
    np.testing.assert_array_equal(seen, moved)
    expected = expected_step(moved, logits(moved, TEACHER), LABELS, STAYS, ROW_WEIGHTS)
    assert_step(distiller, history, expected)
    # The same rows in the default way are appended, all of them.
    distiller.label_rows = "appended"
    distiller.fit(X, LABELS, batch_size=ROWS, verbose=0)
    assert [len(batch) for batch in recorder.batches] == [ROWS, 2 * ROWS]


def test_a_batch_without_unmodified_rows_has_no_label_loss():
    order = np.argsort(STAYS, kind="stable")  # Those that stay are in the second batch alone.
    x, labels = X[order], LABELS[order]
    size = ROWS - STAYS.sum()
    distiller = distil(MoveSome())
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    history = distiller.fit(x, labels, batch_size=size, shuffle=False, verbose=0).history
    label_loss = -log_softmax(logits(x, STUDENT), -1)[range(ROWS), labels]
    np.testing.assert_allclose(history["label_loss"], [label_loss[size:].mean()], rtol=1e-5)
    alone = distiller.fit(x[:size], labels[:size], batch_size=size, verbose=0).history
    assert alone["label_loss"] == [0.0] and alone["loss"] == alone["divergence"]


def test_labels_follow_the_rows_that_are_chosen():
    scores = entropy(softmax(logits(np.where(STAYS[:, None], X, X + 1), TEACHER)), axis=-1)
    sources = np.concatenate([np.sort(np.argsort(-scores)[: ROWS // 2])] * 2)
    stays = STAYS[sources]
    x = np.where(stays[:, None], X[sources], X[sources] + 1)
    assert 0 < stays.sum() < ROWS
    sampler = samplers.Uncertain(MoveSome(), 2, "teacher_uncertainty", temperature=0.0)
    distiller = distil(sampler)
    history = fit(distiller, X, LABELS, sample_weight=ROW_WEIGHTS)
    given = logits(x, TEACHER), LABELS[sources], stays, ROW_WEIGHTS[sources]
    assert_step(distiller, history, expected_step(x, *given))


@pytest.mark.slow
def test_labels_are_learned_from_a_store(tmp_path):
    sampler = samplers.Choice(["Empirical", "Mixup"])
    x, labels = numbers(32, SIZE, seed=5), np.arange(32) % CLASSES
    settings = {"batch_size": ROWS, "epochs": 1, "shards": 1, "sampler": sampler, "verbose": 0}
    replay.record(linear(TEACHER), x, labels, directory=tmp_path, **settings)
    store = replay.Store(tmp_path)
    data = store.batches(x, labels)
    samples, its_labels = next(data.as_numpy_iterator())
    stays = samples.unmodified
    assert 0 < stays.sum() < ROWS
    distiller = distil(store.sampler, teacher=store.teacher)
    history = fit(distiller, data, steps_per_epoch=1, batch_size=None)
    stored = np.float64(samples.member_outputs[0])
    expected = expected_step(samples.inputs, stored, its_labels, stays, np.ones(ROWS))
    assert_step(distiller, history, expected)


def test_masks_and_unknown_labels_are_left_out_of_the_mean():
    output = outputs.Categorical(ignore_class=-1)
    raw = tf.constant(numbers(4, 2, CLASSES, seed=3))
    labels = tf.constant([[0, 1], [2, -1], [1, 1], [0, 2]])
    mask = tf.constant([[True, False], [True, True], [True, True], [True, True]])
    kept = tf.constant([True, True, False, False])
    weights = _weights.weigh(output, raw, mask, None, labels, kept)
    losses = output.negative_log_likelihood(output(raw), labels, weights.of_loss)
    log_q = log_softmax(raw.numpy(), -1)
    counted = [-log_q[0, 0, 0], -log_q[1, 0, 2]]
    np.testing.assert_allclose(tf.reduce_mean(losses), np.mean(counted), rtol=1e-5)


def test_a_sampler_that_keeps_no_row_is_refused_also_later():
    distiller = distil(MoveSome())
    with pytest.raises(ValueError, match=r"label_rows='unmodified'.*Mix\(.*\['Empirical', sampler"):
        distiller.sampler = "Mix"
    distiller.label_weight = 0.0
    distiller.sampler = "Mix"
    with pytest.raises(ValueError, match=r"keeps none.*label_rows='appended'"):
        distiller.label_weight = 0.1
    with pytest.raises(ValueError, match=r"label_rows 'own'; expected 'appended'.*'unmodified'"):
        distiller.label_rows = "own"
