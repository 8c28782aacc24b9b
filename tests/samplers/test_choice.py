"""A random choice between samplers, row by row."""

import math

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from by_hand import numbers

from ecl_tf.samplers import Augment, Choice, Empirical, Mixup, Sampler, Samples, row_count


class Add(Sampler):
    """Marks its rows: adds a number that tells which sampler drew them."""

    def __init__(self, number):
        self.number = number

    def sample(self, inputs, seed):
        return Samples(inputs + self.number, tf.zeros([row_count(inputs)], tf.bool))


def chosen(samplers, probabilities=None, seed=0):
    """The number that was added to each of 4000 rows."""
    return Choice(samplers, probabilities)(tf.zeros((4000, 1)), seed).inputs.numpy().ravel()


@pytest.mark.parametrize(
    "probabilities", [[0.2, 0.3, 0.5], [0.0, 0.4, 0.6], [0.4, 0.0, 0.6], [0.6, 0.4, 0.0], None]
)
def test_samplers_are_chosen_with_their_probabilities(probabilities):
    count = 3 if probabilities else 10  # Many equal probabilities leave no sampler out.
    counts = np.bincount(
        chosen([Add(n) for n in range(count)], probabilities).astype(int), minlength=count
    )
    expected = 4000 * np.array(probabilities or [1 / count] * count)
    possible = expected > 0
    assert not counts[~possible].any()
    assert scipy.stats.chisquare(counts[possible], expected[possible]).pvalue > 1e-3


def test_rows_are_chosen_independently():
    numbers = chosen([Add(0), Add(1)], seed=2)
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 4 / math.sqrt(4000)


def test_every_row_is_of_one_kind_and_the_unmodified_ones_are_the_empirical_ones():
    images = numbers(60, 4, 5, 1)
    inputs = {"image": images, "row": np.eye(60, dtype=np.float32)}
    flip = Augment(keras.layers.RandomFlip("horizontal"), key="image")
    samples = Choice([Empirical(), "Mixup", flip], [0.4, 0.3, 0.3])(inputs, seed=0)
    image, row = samples.inputs["image"].numpy(), samples.inputs["row"].numpy()
    own = np.diag(row)
    mixed = own < 1
    assert 5 < mixed.sum() < 35
    expected = np.tensordot(row.astype(np.float64), images, 1)
    np.testing.assert_allclose(image[mixed], expected[mixed], atol=1e-5)
    same = (image == images).all((1, 2, 3)) & ~mixed
    flipped = (image == images[:, :, ::-1]).all((1, 2, 3)) & ~mixed
    np.testing.assert_array_equal(mixed.astype(int) + same + flipped, np.ones(60))
    unmodified = samples.unmodified.numpy()
    assert scipy.stats.binomtest(int(unmodified.sum()), 60, 0.4).pvalue > 1e-3
    assert np.all(same[unmodified])
    assert not np.any(unmodified & (mixed | flipped))


def test_one_sampler_and_nested_choices():
    assert np.all(chosen([Add(3)]) == 3)
    numbers = chosen([Add(0), Choice([Add(1), Add(2)])], [0.5, 0.5])
    counts = [(numbers == number).sum() for number in range(3)]
    assert scipy.stats.chisquare(counts, [2000, 1000, 1000]).pvalue > 1e-3


def test_two_samplers_of_a_kind_draw_different_numbers():
    x = tf.eye(40)
    first = Choice([Mixup(), Mixup()], [1.0, 0.0])(x, seed=0).inputs.numpy()
    second = Choice([Mixup(), Mixup()], [0.0, 1.0])(x, seed=0).inputs.numpy()
    assert not np.any(np.isclose(np.diag(first), np.diag(second), atol=1e-6))


def test_keeps_rows_if_a_sampler_that_may_be_chosen_does():
    assert Choice(["Empirical", "Mixup"]).keeps_rows
    assert not Choice(["Empirical", "Mixup"], [0.0, 1.0]).keeps_rows
    assert not Choice(["Mixup", "CutMix"]).keeps_rows
    assert Choice([Choice(["Mixup", "Empirical"]), "Mixup"]).keeps_rows


@pytest.mark.parametrize(
    "probabilities", [[0.5, 0.6], [0.5, 0.4], [1.0], [-0.5, 1.5], [], [math.nan, 0.5]], ids=str
)
def test_probabilities_must_be_one_each_and_sum_to_one(probabilities):
    with pytest.raises(ValueError, match="one probability >= 0 for each of its 2 samplers"):
        Choice(["Empirical", "Mixup"], probabilities)


def test_choice_needs_a_sampler_and_inputs_that_suit_all_of_them():
    for none in ([], None):
        with pytest.raises(ValueError, match="at least one sampler"):
            Choice(none)
    with pytest.raises(ValueError, match="CutMix"):
        Choice(["Empirical", "CutMix"])(tf.zeros((4, 2)), seed=0)
    with pytest.raises(ValueError, match="is uint8"):
        Choice(["Empirical", "Mixup"])(tf.zeros((4, 2), tf.uint8), seed=0)
