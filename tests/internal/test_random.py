"""Random numbers: distributions by Kolmogorov-Smirnov, streams, and the same bits under XLA."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from by_hand import fits

from ecl_tf._internal import random

ROWS = 10_000


# Distributions


def test_uniform_is_a_multiple_of_two_to_the_minus_24_in_zero_to_below_one():
    values = random.uniform(random.seed_tensor(0), [100, 100]).numpy()
    assert values.dtype == np.float32
    assert values.min() >= 0.0 and values.max() < 1.0
    assert fits(values, "uniform")
    whole = values.astype(np.float64) * 2**24
    np.testing.assert_array_equal(whole, np.round(whole))
    assert np.any(whole % 2 == 1)


@pytest.mark.parametrize("bits", [0, 2**23 - 1])
def test_normal_is_finite_at_both_ends(monkeypatch, bits):
    monkeypatch.setattr(random, "_bits", lambda seed, shape, count: tf.fill(shape, bits))
    expected = scipy.stats.norm.ppf((bits + 0.5) / 2**23)
    np.testing.assert_allclose(random.normal(0, [2]), [expected] * 2, rtol=1e-3)


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.3, 0.3), (1.0, 3.0)])
def test_beta_is_beta(a, b):
    values = random.beta(random.seed_tensor(3), [3000], a, b).numpy()
    assert values.min() >= 0.0 and values.max() <= 1.0
    assert fits(values, "beta", a, b)


@pytest.mark.parametrize("alpha", [0.05, 50.0])
def test_beta_is_in_zero_to_one_for_every_uniform_draw(monkeypatch, alpha):
    draws = tf.constant([0.0, 0.5, 1 - 2.0**-24])
    monkeypatch.setattr(random, "uniform", lambda seed, shape: draws)
    values = random.beta(random.seed_tensor(0), [3], alpha, alpha).numpy()
    assert np.all((values >= 0.0) & (values <= 1.0))


# Seeds


def test_folding_in_numbers_gives_distinct_uncorrelated_streams():
    seed = random.seed_tensor(5)
    seeds = [seed, *(random.fold_in(seed, number) for number in (0, 1, 2))]
    seeds += [random.fold_in(seeds[1], 1), random.fold_in(random.seed_tensor(6), 0)]
    streams = np.stack([random.uniform(s, [ROWS]).numpy() for s in seeds])
    correlations = np.corrcoef(streams)[np.triu_indices(len(seeds), 1)]
    assert np.max(np.abs(correlations)) < 5 / np.sqrt(ROWS)
    assert all(fits(stream, "uniform") for stream in streams)
    split = random.split(seed, 50)
    assert len({tuple(each.numpy()) for each in split}) == 50
    np.testing.assert_array_equal(split[:3], random.split(seed, 3))
    np.testing.assert_array_equal(random.uniform(random.seed_tensor(5), [ROWS]), streams[0])


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64, tf.uint8])
def test_folding_in_a_tensor_equals_folding_in_a_python_number(dtype):
    expected = random.fold_in(3, 17)
    np.testing.assert_array_equal(random.fold_in(3, tf.constant(17, dtype)), expected)


@pytest.mark.parametrize("seed", [5, [5, 0], np.int64(5), np.array([5, 0]), tf.constant([5, 0])])
def test_seeds_are_whole_numbers_or_pairs_of_them(seed):
    actual = random.seed_tensor(seed)
    assert actual.dtype == tf.int32
    np.testing.assert_array_equal(actual, [5, 0])


@pytest.mark.parametrize("seed", [1.5, [1, 2, 3, 4], [1.0, 2.0], [[1, 2]], [1], True])
def test_other_seeds_are_refused(seed):
    with pytest.raises(ValueError, match=r"A seed is an integer.*shape \(2,\).*shape \(3,\)"):
        random.seed_tensor(seed)


# Parts of a batch


def test_words_are_those_of_tensorflows_own_stream_for_any_seed():
    """Seeds of all signs, which TensorFlow itself takes differently with and without XLA."""

    def part(seed):
        return random.seeds(random.at_row(seed, 1000), 9)

    compiled = tf.function(part, jit_compile=True)
    for number in range(4):
        seed = random.fold_in(number, number)
        stream = tf.random.stateless_uniform(
            [1009, 2], seed, minval=None, maxval=None, dtype=tf.int32, alg="philox"
        )
        np.testing.assert_array_equal(part(seed), stream[1000:])
        np.testing.assert_array_equal(compiled(seed), stream[1000:])


DRAWS = {
    "uniform": lambda seed, rows: random.uniform(seed, [rows]),
    "normal": lambda seed, rows: random.normal(seed, [rows, 5, 2, 1]),
    "dynamic shape": lambda seed, rows: random.normal(seed, tf.shape(tf.zeros([rows, 3]))),
    "beta": lambda seed, rows: random.beta(seed, [rows], 0.3, 0.3),
    "seeds": random.seeds,
    "derived": lambda seed, rows: random.uniform(random.fold_in(seed, 5), [rows]),
    "partners": lambda seed, rows: random.partners(seed, rows, 4) % 4,
}


@pytest.mark.parametrize("name", DRAWS)
def test_parts_of_a_batch_draw_what_the_whole_of_it_draws(name):
    whole = DRAWS[name](random.seed_tensor([7, 3]), 24).numpy()
    for first, rows in [(20, 4), (4, 8) if name == "partners" else (5, 11)]:
        part = DRAWS[name](random.at_row([7, 3], first), rows)
        # Beta's quantile is found by an iteration that ends for all rows at once.
        tolerance = {"rtol": 1e-4, "atol": 1e-6} if name == "beta" else {"rtol": 0}
        np.testing.assert_allclose(part, whole[first : first + rows], **tolerance)


@pytest.mark.parametrize(
    ("seed", "names"),
    [([123, 1], [*DRAWS]), ([7, -3, 4], ["normal", "seeds", "derived", "partners"])],
    ids=["whole", "part"],
)
def test_xla_gives_the_same_bits(seed, names):
    def draws(seed):
        return {name: DRAWS[name](seed, 8) for name in names}

    seed = tf.constant(seed)
    actual = tf.function(draws, jit_compile=True)(seed)
    for name, values in draws(seed).items():
        # Functions of the same bits, which XLA may round differently.
        rounded = values.dtype == tf.float32 and name not in ("uniform", "derived")
        tolerance = {"rtol": 1e-3, "atol": 1e-5} if rounded else {"rtol": 0}
        np.testing.assert_allclose(actual[name], values, **tolerance, err_msg=name)


def test_rows_far_into_a_stream_are_uniform_and_new():
    """Row 2^31 - 4096 is 2^33 words from the first: beyond one word of the counter."""
    first = random.seeds(random.at_row(0, 0), 4096).numpy().view(np.uint32) / 2**32
    far = random.seeds(random.at_row(0, 2**31 - 4096), 4096).numpy().view(np.uint32) / 2**32
    assert fits(far, "uniform")
    assert np.isin(far, first).mean() < 1e-3


# Partners


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_every_other_row_is_equally_likely_a_partner(rows):
    """Of a row count that a graph does not know."""
    draw = tf.function(
        random.partners, input_signature=[tf.TensorSpec([2], tf.int32), tf.TensorSpec([], tf.int32)]
    )
    count = 400 if rows > 2 else 20
    seeds = [tf.constant([number, 0]) for number in range(count)]
    partners = np.stack([draw(seed, rows) for seed in seeds])
    assert partners.dtype == np.int32
    np.testing.assert_array_equal(random.partners(seeds[3], rows), partners[3])
    np.testing.assert_array_equal(np.sort(partners), np.tile(np.arange(rows), (count, 1)))
    assert rows == 1 or np.all(partners != np.arange(rows))
    if rows > 2:
        assert scipy.stats.chisquare(np.bincount(partners[:, 0])[1:]).pvalue > 1e-3


@pytest.mark.parametrize("first", [0, 8])
@pytest.mark.parametrize("rows", [1, 7, 9])
def test_partners_in_groups_are_a_permutation_of_each_group(rows, first):
    shifts = set()
    for number in range(10):
        partner = random.partners(random.at_row(number, first), rows, 4).numpy()
        for start in range(0, rows, 4):
            group = np.arange(start, min(start + 4, rows))
            np.testing.assert_array_equal(np.sort(partner[group]), group)
            assert len(group) == 1 or (partner[group] != group).all()
        shifts.add(tuple((partner - np.arange(rows)) % 4))
    assert rows < 4 or len(shifts) > 2


def test_replicas_that_mix_their_own_rows_draw_shifts_of_their_own():
    shifts = {
        tuple(random.partners(random.at_row(seed, first), 64)[0].numpy() for first in (0, 64, 128))
        for seed in range(5)
    }
    assert all(len(set(each)) > 1 for each in shifts)
