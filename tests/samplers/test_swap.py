"""Swap: cells of other rows, read back from values that tell their row and their place."""

import math

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from by_hand import numbers

from ecl_tf.samplers import Choice, Swap


def table(rows, columns, dtype="int64"):
    """Cells with numbers that tell row and column."""
    return np.arange(rows * columns).reshape(rows, columns).astype(dtype)


def test_each_cell_is_swapped_with_the_probability_for_that_of_any_other_row():
    x = table(60, 500)
    samples = Swap(0.2)(x, seed=1)
    row, column = np.divmod(samples.inputs.numpy(), 500)
    np.testing.assert_array_equal(column, x % 500)  # A column keeps its values.
    swapped = row != np.arange(60)[:, None]
    assert scipy.stats.binomtest(int(swapped.sum()), swapped.size, 0.2).pvalue > 1e-3
    assert len(np.unique(swapped.sum(0))) > 5  # Not the same number in every column.
    distance = ((row - np.arange(60)[:, None]) % 60)[swapped]
    assert scipy.stats.chisquare(np.bincount(distance, minlength=60)[1:]).pvalue > 1e-3
    np.testing.assert_array_equal(samples.unmodified, ~swapped.any(1))
    # Cells are independent: neighbours are swapped no more often than by chance.
    both = (swapped[:, 1:] & swapped[:, :-1]).mean()
    assert abs(both - 0.04) < 4 * math.sqrt(0.04 / swapped.size)


def test_columns_keep_their_values_and_their_types():
    rows = 300
    inputs = {
        "city": np.random.default_rng(0).choice(["Bern", "Basel", "Chur"], rows),
        "more": (table(rows, 3, "uint8"), np.arange(rows) % 2 == 0),
        "name": np.array([[f"{row} {column}" for column in range(4)] for row in range(rows)]),
    }
    swapped = Swap(0.5)(inputs, seed=0).inputs
    assert swapped["more"][0].dtype == tf.uint8 and swapped["more"][1].dtype == tf.bool
    for new, old in zip(keras.tree.flatten(swapped), keras.tree.flatten(inputs), strict=True):
        changed = new.numpy().astype(old.dtype).reshape(rows, -1)
        for column, its in zip(changed.T, old.reshape(rows, -1).T, strict=True):
            assert set(column) <= set(its)
        assert np.any(changed != old.reshape(rows, -1))


def test_padding_stays_where_it_is_and_is_swapped_for_nothing():
    rows, steps = 500, 12
    lengths = np.random.default_rng(0).integers(1, steps + 1, rows)
    real = np.arange(steps) < lengths[:, None]
    tokens = np.where(real, 1 + table(rows, steps), 0)
    features = np.where(real[..., None], numbers(rows, steps, 3), -1.0).astype("float32")
    features[0, 0, 1] = -1.0  # One feature of a step that is real.
    inputs = {"tokens": tokens, "features": features, "field": np.zeros(rows, int)}
    swapped = Swap(0.3, padding={"tokens": 0, "features": -1.0})(inputs, seed=0).inputs
    new = swapped["tokens"].numpy()
    np.testing.assert_array_equal(new != 0, real)
    np.testing.assert_array_equal(np.any(swapped["features"].numpy() != -1.0, -1), real)
    # Of real steps p times the share of other rows that are real there are swapped.
    share = 0.3 * ((real.sum(0) - 1) / (rows - 1) * real).sum() / real.sum()
    count = int(((new != tokens) & real).sum())
    assert scipy.stats.binomtest(count, int(real.sum()), share).pvalue > 1e-3
    np.testing.assert_array_equal((new - 1)[real] % steps, np.nonzero(real)[1])


@pytest.mark.parametrize(
    ("shape", "data_format", "axis"),
    [
        ((7, 5), "channels_last", -1),
        ((6, 4, 3), "channels_last", -1),
        ((3, 6, 4), "channels_first", 1),
        ((2, 3, 6, 4), "channels_first", 1),
    ],
    ids=str,
)
def test_the_vector_of_a_position_is_swapped_as_a_whole(shape, data_format, axis):
    x = numbers(40, *shape)
    new = Swap(0.3, data_format=data_format)(x, seed=0).inputs.numpy()
    assert new.shape == x.shape
    moved, old = np.moveaxis(new, axis, -1), np.moveaxis(x, axis, -1)
    changed = moved != old
    np.testing.assert_array_equal(changed.any(-1), changed.all(-1))
    assert 0.2 < changed.mean() < 0.4
    for position in np.ndindex(old.shape[1:-1]):
        index = (slice(None), *position)
        assert {tuple(row) for row in moved[index]} <= {tuple(row) for row in old[index]}


def test_groups_of_one_row_stay_and_others_swap_within_themselves():
    x = table(9, 200)
    samples = Swap(1.0, group_size=4)(x, seed=0)
    row = samples.inputs.numpy() // 200
    np.testing.assert_array_equal(row // 4, np.broadcast_to(np.arange(9)[:, None] // 4, row.shape))
    assert samples.unmodified.numpy().tolist() == [False] * 8 + [True]
    assert np.all(row[:8] != np.arange(8)[:, None])


def test_ids_are_drawn_beside_rows_as_they_are():
    x = table(200, 4)
    samples = Choice(["Empirical", Swap(1.0)])(x, seed=0)
    kept = (samples.inputs.numpy() == x).all(1)
    np.testing.assert_array_equal(samples.unmodified, kept)
    assert scipy.stats.binomtest(int(kept.sum()), 200, 0.5).pvalue > 1e-3


@pytest.mark.parametrize("probability", [0, -0.1, 1.5, math.nan, "half", None])
def test_the_probability_is_a_number_between_0_and_1(probability):
    with pytest.raises(ValueError, match=r"Swap's probability must be a number in \(0, 1\]"):
        Swap(probability)


def test_padding_of_nan_stays_where_it_is():
    x = table(50, 4).astype("float32")
    x[::3, 2] = np.nan
    new = Swap(1.0, padding=math.nan)(x, seed=0).inputs.numpy()
    np.testing.assert_array_equal(np.isnan(new), np.isnan(x))
    assert (new != x).sum() > 100
    with pytest.raises(ValueError, match=r"padding=nan for the input, which is int"):
        Swap(padding=math.nan)(table(50, 4), seed=0)
    for padding in (1.5, [0, 1]):
        with pytest.raises(ValueError, match="Give one value of that type, or a dict"):
            Swap(padding=padding)(table(50, 4), seed=0)


def test_padding_names_inputs_that_there_are():
    with pytest.raises(ValueError, match=r"padding for \['wrods'\].*inputs are \['words'\]"):
        Swap(padding={"wrods": 0})({"words": np.ones((2, 3))}, seed=0)


def test_inputs_of_a_tuple_have_numbers_for_names_and_lists_are_arrays():
    words = [[1, 0], [2, 3], [4, 0]]
    for padding, inputs in (
        ({1: 0}, (table(3, 2), np.array(words))),
        ({"b": 0}, {"b": words, "a": [5, 6, 7]}),
    ):
        drawn = Swap(1.0, padding=padding)(inputs, seed=0).inputs
        found = drawn["b"] if "b" in padding else drawn[1]
        assert (found.numpy() == 0).tolist() == [[False, True], [False, False], [False, True]]
