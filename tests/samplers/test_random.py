"""Random numbers: distributions by Kolmogorov-Smirnov, streams, and the same bits under XLA."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from ecl_tf._internal import random

ROWS = 10_000


def fits(values, distribution, *parameters):
    """Whether the values may be draws from a SciPy distribution."""
    return scipy.stats.kstest(np.ravel(values), distribution, parameters).pvalue > 1e-3


def test_uniform_is_uniform_in_zero_to_below_one():
    values = random.uniform(random.seed_tensor(0), [100, 100]).numpy()
    assert values.dtype == np.float32
    assert values.min() >= 0.0 and values.max() < 1.0
    assert fits(values, "uniform")


def test_uniform_is_a_multiple_of_two_to_the_minus_24():
    values = random.uniform(random.seed_tensor(1), [ROWS]).numpy().astype(np.float64) * 2**24
    np.testing.assert_array_equal(values, np.round(values))
    assert np.any(values % 2 == 1)


def test_normal_is_normal():
    assert fits(random.normal(random.seed_tensor(2), [100, 100]), "norm")


@pytest.mark.parametrize("bits", [0, 2**23 - 1])
def test_normal_is_finite_at_both_ends(monkeypatch, bits):
    monkeypatch.setattr(random, "_bits", lambda seed, shape, count: tf.fill(shape, bits))
    values = random.normal(random.seed_tensor(0), [2])
    expected = scipy.stats.norm.ppf((bits + 0.5) / 2**23)
    np.testing.assert_allclose(values, [expected] * 2, rtol=1e-3)


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.3, 0.3), (2.0, 2.0), (0.5, 1.0), (1.0, 3.0)])
def test_beta_is_beta(a, b):
    values = random.beta(random.seed_tensor(3), [3000], a, b).numpy()
    assert values.min() >= 0.0 and values.max() <= 1.0
    assert fits(values, "beta", a, b)


@pytest.mark.parametrize("alpha", [0.05, 0.3, 1.0, 50.0])
@pytest.mark.parametrize("u", [0.0, 0.5, 1 - 2.0**-24])
def test_beta_is_in_zero_to_one_for_every_uniform_draw(monkeypatch, alpha, u):
    monkeypatch.setattr(random, "uniform", lambda seed, shape: tf.fill(shape, u))
    values = random.beta(random.seed_tensor(0), [2], alpha, alpha).numpy()
    assert np.all((values >= 0.0) & (values <= 1.0))


def test_the_same_seed_gives_the_same_numbers_and_another_gives_others():
    first, again, other = (
        random.uniform(random.seed_tensor(seed), [ROWS]).numpy() for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(first, again)
    assert np.mean(first == other) < 0.01
    assert abs(np.corrcoef(first, other)[0, 1]) < 4 / np.sqrt(ROWS)


def test_folding_in_numbers_gives_distinct_uncorrelated_streams():
    seed = random.seed_tensor(5)
    seeds = [seed, *(random.fold_in(seed, number) for number in (0, 1, 2))]
    seeds += [random.fold_in(seeds[1], 1), random.fold_in(random.seed_tensor(6), 0)]
    streams = np.stack([random.uniform(s, [ROWS]).numpy() for s in seeds])
    correlations = np.corrcoef(streams)[np.triu_indices(len(seeds), 1)]
    assert np.max(np.abs(correlations)) < 5 / np.sqrt(ROWS)
    assert all(fits(stream, "uniform") for stream in streams)


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64, tf.uint8])
def test_folding_in_a_tensor_equals_folding_in_a_python_number(dtype):
    expected = random.fold_in(3, 17)
    np.testing.assert_array_equal(random.fold_in(3, tf.constant(17, dtype)), expected)


def test_split_gives_as_many_distinct_seeds():
    seeds = [tuple(seed.numpy().tolist()) for seed in random.split(random.seed_tensor(0), 50)]
    assert len(set(seeds)) == 50
    assert seeds[:3] == [tuple(s.numpy().tolist()) for s in random.split(random.seed_tensor(0), 3)]


@pytest.mark.parametrize("seed", [5, [5, 0], np.int64(5), np.array([5, 0]), tf.constant([5, 0])])
def test_seeds_are_whole_numbers_or_pairs_of_them(seed):
    actual = random.seed_tensor(seed)
    assert actual.dtype == tf.int32
    np.testing.assert_array_equal(actual, [5, 0])


@pytest.mark.parametrize("seed", [1.5, [1, 2, 3, 4], [1.0, 2.0], [[1, 2]], [1], True])
def test_other_seeds_are_refused(seed):
    with pytest.raises(ValueError, match=r"A seed is an integer.*shape \(2,\).*shape \(3,\)"):
        random.seed_tensor(seed)


DRAWS = {
    "uniform": lambda seed, rows: random.uniform(seed, [rows]),
    "matrix": lambda seed, rows: random.uniform(seed, [rows, 3]),
    "normal": lambda seed, rows: random.normal(seed, [rows, 5, 2, 1]),
    "dynamic shape": lambda seed, rows: random.normal(seed, tf.shape(tf.zeros([rows, 3]))),
    "beta": lambda seed, rows: random.beta(seed, [rows], 0.3, 0.3),
    "seeds": random.seeds,
    "derived": lambda seed, rows: random.uniform(
        random.split(random.fold_in(seed, 5), 2)[1], [rows]
    ),
    "partners": lambda seed, rows: random.partners(seed, rows, 4) % 4,
}


@pytest.mark.parametrize("compiled", [False, True], ids=["graph", "xla"])
def test_words_are_those_of_tensorflows_own_stream_for_any_seed(compiled):
    """Seeds of all signs, which TensorFlow itself takes differently with and without XLA."""

    @tf.function(jit_compile=compiled)
    def part(seed):
        return random.seeds(random.at_row(seed, 1000), 9)

    for number in range(20):
        seed = random.fold_in(number, number)
        stream = tf.random.stateless_uniform(
            [1009, 2], seed, minval=None, maxval=None, dtype=tf.int32, alg="philox"
        )
        np.testing.assert_array_equal(part(seed), stream[1000:])


@pytest.mark.parametrize("compiled", [None, False, True], ids=["eager", "graph", "xla"])
@pytest.mark.parametrize("name", DRAWS)
def test_parts_of_a_batch_draw_what_the_whole_of_it_draws(name, compiled):
    def draw(seed, rows):
        return DRAWS[name](seed, rows)

    whole = draw(random.seed_tensor([7, 3]), 24).numpy()
    for first, rows in [(0, 24), (0, 4), (4, 8), (20, 4)] + [(1, 1), (5, 11)] * (
        name != "partners"
    ):
        seed = random.at_row([7, 3], first)
        part = draw
        if compiled is not None:
            part = tf.function(lambda seed, rows=rows: draw(seed, rows), jit_compile=compiled)
        actual = part(seed, rows) if compiled is None else part(seed)
        # Beta's quantile is found by an iteration that ends for all rows at once, and XLA
        # rounds functions of the same bits otherwise.
        rounded = name == "beta" or (compiled and name not in ("uniform", "seeds", "partners"))
        tolerance = {"rtol": 1e-4, "atol": 1e-6} if rounded else {"rtol": 0}
        np.testing.assert_allclose(actual, whole[first : first + rows], **tolerance)


def test_rows_far_into_a_stream_are_uniform_and_new():
    """Row 2^31 - 4096 is 2^33 words from the first: beyond one word of the counter."""
    first = random.seeds(random.at_row(0, 0), 4096).numpy().view(np.uint32) / 2**32
    far = random.seeds(random.at_row(0, 2**31 - 4096), 4096).numpy().view(np.uint32) / 2**32
    assert fits(far, "uniform")
    assert np.isin(far, first).mean() < 1e-3


@pytest.mark.parametrize("first", [0, 8])
@pytest.mark.parametrize("rows", [1, 4, 7, 8, 9])
def test_partners_in_groups_are_a_permutation_of_each_group(rows, first):
    shifts = set()
    for number in range(20):
        seed = random.at_row(number, first)
        partner = random.partners(seed, rows, 4).numpy()
        for start in range(0, rows, 4):
            group = np.arange(start, min(start + 4, rows))
            np.testing.assert_array_equal(np.sort(partner[group]), group)
            assert len(group) == 1 or (partner[group] != group).all()
        shifts.add(tuple((partner - np.arange(rows)) % 4))
    assert rows < 4 or len(shifts) > 2


def test_replicas_that_mix_their_own_rows_draw_shifts_of_their_own():
    shifts = {
        tuple(random.partners(random.at_row(seed, first), 64)[0].numpy() for first in (0, 64, 128))
        for seed in range(10)
    }
    assert all(len(set(each)) > 1 for each in shifts)


@pytest.mark.parametrize("rows", range(1, 11))
def test_partners_are_a_permutation_without_fixed_points(rows):
    seen = set()
    for seed in range(30):
        partner = random.partners(random.seed_tensor(seed), rows).numpy()
        assert partner.dtype == np.int32
        np.testing.assert_array_equal(np.sort(partner), np.arange(rows))
        assert rows == 1 or np.all(partner != np.arange(rows))
        seen.add(tuple(partner.tolist()))
    assert len(seen) == (1 if rows < 3 else min(rows - 1, len(seen)))
    assert rows < 3 or len(seen) > 1


def test_every_other_row_is_equally_likely_a_partner():
    counts = np.zeros(5, int)
    for seed in range(400):
        counts[int(random.partners(random.seed_tensor(seed), 5)[0])] += 1
    assert counts[0] == 0
    assert scipy.stats.chisquare(counts[1:]).pvalue > 1e-3


def test_partners_of_a_dynamic_row_count_are_the_same():
    dynamic = tf.function(
        lambda rows: random.partners(random.seed_tensor(3), rows),
        input_signature=[tf.TensorSpec([], tf.int32)],
    )
    for rows in (1, 2, 9):
        static = random.partners(random.seed_tensor(3), rows)
        np.testing.assert_array_equal(dynamic(rows), static)


def test_xla_gives_the_same_bits():
    def draws(seed):
        first, second = random.split(seed, 2)
        exact = random.uniform(first, [1000]), random.partners(second, 17), first, second
        return exact, (random.normal(first, [1000]), random.beta(second, [100], 0.3, 0.3))

    compiled = tf.function(draws, jit_compile=True)
    for number in (0, 123):
        seed = tf.constant([number, 1])
        (exact, rounded), (exact_xla, rounded_xla) = draws(seed), compiled(seed)
        for a, b in zip(exact, exact_xla, strict=True):
            np.testing.assert_array_equal(a, b)
        # Functions of the same bits, which XLA may round differently.
        for a, b in zip(rounded, rounded_xla, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
