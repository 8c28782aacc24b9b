"""Samplers one after another: their order, what stays unmodified, and whose label it has."""

import by_hand
import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import Recorder
from scipy.special import log_softmax

from ecl_tf import Distiller
from ecl_tf.samplers import Augment, Chain, Sampler, Samples, row_count

ROWS = 6
X = np.arange(ROWS, dtype="float32")[:, None]


class Change(Sampler):
    """Rows times a factor plus a number; those of `kept` count as unmodified."""

    def __init__(self, factor, number, kept):
        self.factor, self.number, self.kept = factor, number, kept
        self.keeps_rows = any(kept)

    def sample(self, inputs, seed):
        return Samples(inputs * self.factor + self.number, tf.constant(self.kept))


class Roll(Sampler):
    """Every row is the one before it."""

    keeps_rows = True

    def sample(self, inputs, seed):
        sources = tf.roll(tf.range(row_count(inputs)), 1, 0)
        kept = tf.ones([row_count(inputs)], tf.bool)
        return Samples(tf.gather(inputs, sources), kept, sources)


FIRST = Change(2.0, 1.0, [True, True, False, True, False, True])
SECOND = Change(10.0, 0.0, [True, False, True, True, True, True])


def test_each_draws_from_what_the_one_before_has_drawn():
    samples = Chain([FIRST, SECOND])(X, seed=0)
    np.testing.assert_array_equal(samples.inputs, 10.0 * (2.0 * X + 1.0))
    assert samples.unmodified.numpy().tolist() == [True, False, False, True, False, True]
    assert not samples.is_moved


@pytest.mark.parametrize(
    ("samplers", "unmodified", "sources"),
    [
        # Rows 2 and 4 are changed before they move.
        ([FIRST, Roll()], [True, True, True, False, True, False], [5, 0, 1, 2, 3, 4]),
        # Places 2 and 4 are changed after the move.
        ([Roll(), FIRST], [True, True, False, True, False, True], [5, 0, 1, 2, 3, 4]),
        ([Roll(), FIRST, Roll()], [True, True, True, False, True, False], [4, 5, 0, 1, 2, 3]),
    ],
)
def test_a_row_keeps_its_first_source_and_is_unmodified_if_all_left_it(
    samplers, unmodified, sources
):
    samples = Chain(samplers)(X, seed=0)
    assert samples.unmodified.numpy().tolist() == unmodified
    assert samples.follow(tf.range(ROWS)).numpy().tolist() == sources
    np.testing.assert_array_equal(samples.inputs, 2.0 * X[sources] + 1.0)


def test_two_of_a_kind_draw_different_numbers_and_all_must_keep_rows():
    images = np.random.default_rng(0).random((64, 4, 4, 1)).astype("float32")
    flip = Augment(keras.layers.RandomFlip("horizontal"), keeps_labels=True)
    twice = Chain([flip, flip])(images, seed=0).inputs.numpy()
    assert 0 < (twice == images).all((1, 2, 3)).sum() < 64  # The same ones would undo each other.
    assert Chain([flip, "Empirical"]).keeps_rows and not Chain([flip, "Mix"]).keeps_rows
    assert Chain([flip, "Uncertain"]).asks_networks and not Chain([flip, "Mix"]).asks_networks
    with pytest.raises(ValueError, match="at least one sampler"):
        Chain([])


def test_teacher_and_student_see_the_same_augmented_and_mixed_rows_and_labels_hold_on_others():
    x = np.random.default_rng(0).random((16, 2, 2, 1)).astype("float32")
    labels = np.arange(16) % 3
    recorders = Recorder(), Recorder()

    def network(recorder, seed):
        layers = [recorder, keras.layers.Flatten(), keras.layers.Dense(3)]
        model = keras.Sequential([keras.Input((2, 2, 1)), *layers])
        model.set_weights([by_hand.numbers(4, 3, seed=seed), by_hand.numbers(3, seed=seed)])
        return model

    half = {"class_name": "Choice", "config": {"samplers": ["Empirical", "Mix"]}}
    flip = Augment(keras.layers.RandomFlip("horizontal"), keeps_labels=True)
    student, teacher = (network(each, seed) for seed, each in enumerate(recorders))
    weights = student.get_weights()
    settings = {"label_weight": 1.0, "label_rows": "unmodified"}
    distiller = Distiller(student, teacher, sampler=Chain([flip, half]), **settings)
    distiller.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    history = distiller.fit(x, labels, batch_size=16, shuffle=False, verbose=0).history
    (seen,), (its_seen,) = (each.batches for each in recorders)
    np.testing.assert_array_equal(seen, its_seen)
    same, flipped = ((seen == rows).all((1, 2, 3)) for rows in (x, x[:, :, ::-1]))
    assert same.any() and flipped.any() and not (same | flipped).all()
    held = same | flipped
    log_q = log_softmax(seen.reshape(16, 4) @ weights[0] + weights[1], -1)
    expected = -log_q[range(16), labels][held].mean()
    np.testing.assert_allclose(history["label_loss"], [expected], rtol=1e-5)
