"""Uncertain samples: which candidates are kept, with what probabilities, at what cost."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from by_hand import SIZE, Recorder, fits, heads, linear, network, numbers, weights

from ecl_tf import Distiller, Ensemble, outputs, samplers, uncertainty
from ecl_tf._internal import random
from ecl_tf.samplers import Choice, GaussianNoise, Mixup, Samples, Uncertain
from ecl_tf.teachers import FunctionTeacher

NOBODY = uncertainty.Networks(None, None, None)  # For scores that ask no network.
X = np.concatenate([np.arange(16.0)[:, None], numbers(16, SIZE - 1)], 1).astype("float32")


def size_of_first(answers):
    """A known function of the inputs."""
    return tf.abs(answers.inputs[:, 0])


class Numbered(samplers.Sampler):
    """Adds 0 in its first draw, 1 in the second and so on, and begins anew after `draws`."""

    def __init__(self, draws):
        self.numbers = itertools.cycle(range(draws))

    def sample(self, inputs, seed):
        rows = samplers.row_count(inputs)
        return Samples(inputs + float(next(self.numbers)), tf.zeros([rows], tf.bool))


class Reverse(samplers.Sampler):
    """The batch from its end to its beginning."""

    def sample(self, inputs, seed):
        rows = samplers.row_count(inputs)
        sources = tf.range(rows - 1, -1, -1)
        return Samples(tf.reverse(inputs, [0]), tf.ones([rows], tf.bool), sources)


def categorical_networks():
    teacher = Ensemble([network(1, scale=2.0), network(2, scale=2.0)], "categorical")
    return uncertainty.Networks(teacher, network(3, scale=2.0), outputs.Categorical())


# The highest scores.


@pytest.mark.parametrize("score", [*uncertainty.SCORES, size_of_first])
def test_exactly_the_candidates_of_the_highest_scores_are_kept_in_their_order(score):
    x, networks = 3 * numbers(16, SIZE), categorical_networks()
    seeds = random.split(random.seed_tensor(7), 4)[1:]
    drawn = np.concatenate([Mixup()(x, seed).inputs for seed in seeds])
    scores = uncertainty.get(score)(uncertainty.Answers(networks, drawn)).numpy()
    kept = np.sort(np.argsort(-scores)[:16])
    samples = Uncertain("Mixup", 3, score, 0.0)(x, 7, networks)
    np.testing.assert_array_equal(samples.inputs, drawn[kept])
    np.testing.assert_array_equal(samples.sources, kept % 16)
    assert samples.sources.dtype == tf.int32
    assert not samples.unmodified.numpy().any()


def test_more_nans_than_rows_fill_the_batch():
    scores = [1.0, math.nan, math.nan, math.nan]
    sampler = Uncertain(Numbered(2), 2, lambda _: tf.constant(scores), 0.0)
    assert 0.0 not in sampler(np.float32([[0], [10]]), 0, NOBODY).inputs


# A random choice in proportion to the scores.


def kept_numbers(scores, temperature, draws, rows=1):
    """Of many seeds, the sorted numbers of the candidates that were kept, (draws, rows).

    Row n of draw m is candidate m * rows + n.
    """
    count = len(scores) // rows
    sampler = Uncertain(Numbered(count), count, lambda _: tf.constant(scores), temperature)
    x = tf.reshape(100.0 * tf.range(rows, dtype=tf.float32), (rows, 1))

    def inputs(seed):
        return tf.cast(sampler(x, seed, NOBODY).inputs[:, 0], tf.int32)

    every = tf.function(lambda seeds: tf.map_fn(inputs, seeds))
    row, draw = np.divmod(every(tf.range(draws)).numpy(), 100)
    return np.sort(draw * rows + row, -1)


def are_kept(kept, probabilities):
    """Whether candidates, or pairs (given as a dict), were kept with these probabilities."""
    if not isinstance(probabilities, dict):
        probabilities = {(number,): p for number, p in enumerate(probabilities)}
    counts = [(kept == outcome).all(-1).sum() for outcome in probabilities]
    assert sum(counts) == len(kept)
    expected = len(kept) * np.array(list(probabilities.values()))
    return scipy.stats.chisquare(counts, expected).pvalue > 1e-3


DRAWS = 3000


@pytest.mark.parametrize(("temperature", "unit"), [(2.0, 1e-12), (0.5, 1e12)])
def test_one_is_kept_in_proportion_to_the_tempered_scores_of_any_unit(temperature, unit):
    scores = np.array([0.5, 3.0, 1.0, 2.0, 4.0])
    kept = kept_numbers(list(unit * scores), temperature, DRAWS)
    tempered = scores ** (1 / temperature)
    assert are_kept(kept, tempered / tempered.sum())
    others = scores ** (1 / (1.4 * temperature))  # The test can tell.
    assert not are_kept(kept, others / others.sum())


def test_a_large_temperature_hardly_looks_at_the_scores_and_a_small_one_keeps_the_highest():
    kept = kept_numbers([0.0, 1e-20, 1.0, 1e20, 1e30], 1e6, DRAWS)
    assert are_kept(kept, [0.2] * 5)
    np.testing.assert_array_equal(kept_numbers([1.0, 2.0, 1.5], 1e-3, 200), [[1]] * 200)


def test_scores_of_zero_are_kept_only_where_nothing_else_is_left():
    kept = kept_numbers([0.0, 0.0, 0.0, 1e-6], 1.0, 500, rows=2)
    assert np.all(kept[:, 1] == 3) and set(kept[:, 0]) == {0, 1, 2}
    # All zero are all alike: at random, or the first ones.
    assert are_kept(kept_numbers([0.0] * 4, 1.0, DRAWS), [0.25] * 4)
    np.testing.assert_array_equal(kept_numbers([0.0] * 4, 0.0, 10, rows=2), [[0, 1]] * 10)


def test_two_are_kept_one_after_the_other_from_those_that_are_left():
    """Plackett and Luce: s_i / S * s_j / (S - s_i), in either order."""
    kept = kept_numbers([1.0, 2.0, 4.0, 8.0], 2.0, DRAWS, rows=2)
    s = np.sqrt([1.0, 2.0, 4.0, 8.0])
    pairs = {
        (i, j): s[i] / s.sum() * s[j] / (s.sum() - s[i]) + s[j] / s.sum() * s[i] / (s.sum() - s[j])
        for i, j in itertools.combinations(range(4), 2)
    }
    assert math.isclose(sum(pairs.values()), 1.0)
    assert are_kept(kept, pairs)


def test_the_choice_is_independent_of_what_the_base_draws():
    """Of scores that are all alike, those that are kept are drawn as the base draws."""
    sampler = Uncertain(GaussianNoise(1.0), 3, lambda a: tf.ones_like(a.inputs[:, 0]), 1.0)
    assert fits(sampler(tf.zeros((4000, 1)), 0, NOBODY).inputs, "norm")


# Where samples come from.


@pytest.mark.parametrize(
    "sampler",
    [
        Uncertain("Empirical", 3, "teacher_uncertainty", 1.0),
        Uncertain(Reverse(), 3, "teacher_uncertainty", 0.0),
        Uncertain(Uncertain(Reverse(), 2, "divergence", 1.0), 2, "disagreement", 1.0),
        Uncertain(Choice(["Empirical", Reverse()]), 2, "divergence", 1.0),
        Choice(["Empirical", Uncertain(Reverse(), 2, "divergence", 1.0), Reverse()]),
    ],
    ids=["plain", "moved", "nested", "of-choice", "in-choice"],
)
def test_sources_are_the_rows_that_the_samples_are(sampler):
    samples = sampler(X, 1, categorical_networks())
    sources = samples.sources.numpy()
    np.testing.assert_array_equal(samples.inputs, X[sources])  # Column 0 is the row's number.
    assert samples.is_moved and np.any(sources != np.arange(16))
    assert samples.unmodified.numpy().all()
    followed = samples.follow({"kind": 10 * np.arange(16), "place": X})
    np.testing.assert_array_equal(followed["kind"], 10 * sources)
    np.testing.assert_array_equal(followed["place"], X[sources])
    assert samples.follow(None) is None


def test_rows_are_unmodified_where_the_base_left_them():
    x = np.arange(64, dtype="float32")[:, None]
    base = Choice(["Empirical", GaussianNoise(0.01)])
    samples = Uncertain(base, 2, size_of_first, 1.0)(x, 0, NOBODY)
    unmodified = samples.unmodified.numpy()
    assert 10 < unmodified.sum() < 54
    same = (samples.inputs.numpy() == x[samples.sources.numpy()])[:, 0]
    np.testing.assert_array_equal(unmodified, same)


# What it costs.


B, R = 6, 3


@pytest.mark.parametrize(
    ("sampler", "label_weight", "of_teacher", "of_student"),
    [
        (Uncertain(None, R, "teacher_uncertainty"), 0.0, [R * B], [(B, True)]),
        (Uncertain(None, R, "student_uncertainty"), 0.0, [B], [(R * B, False), (B, True)]),
        (Uncertain(None, R, "divergence"), 0.5, [R * B], [(R * B, False), (2 * B, True)]),
        (Uncertain(None, R, size_of_first), 0.0, [B], [(B, True)]),
        # In a choice the teacher is asked for the chosen rows as well.
        (
            Choice(["Mixup", Uncertain(None, R, "teacher_uncertainty")]),
            0.0,
            [R * B, B],
            [(B, True)],
        ),
    ],
)
def test_a_step_asks_for_no_more_rows_than_it_must(sampler, label_weight, of_teacher, of_student):
    """How many rows each network is asked for and in which mode, each time."""
    counters = Recorder(), Recorder()
    student, teacher = (linear(weights(seed=n), each) for n, each in enumerate(counters))
    members = [teacher, network(2)]
    distiller = Distiller(student, members, sampler=sampler, label_weight=label_weight)
    distiller.compile("sgd", run_eagerly=True)
    distiller.fit(X[:B], np.zeros(B, int), batch_size=B, verbose=0)
    asked = [list(zip(map(len, each.batches), each.modes, strict=True)) for each in counters]
    assert asked == [of_student, [(rows, False) for rows in of_teacher]]


@pytest.mark.parametrize("name", ["disagreement", "student_uncertainty"])
def test_the_kept_answers_are_those_that_the_teacher_would_give_again(name):
    networks = categorical_networks()
    samples = Uncertain(None, 3, name, 1.0)(X, 2, networks)
    members = [] if name == "student_uncertainty" else networks.teacher.members
    for answer, member in zip(samples.member_outputs, members, strict=True):
        np.testing.assert_allclose(answer, member(samples.inputs), rtol=1e-4, atol=1e-5)


def test_answers_of_named_outputs_are_kept_by_name():
    model = heads(kind=3, yes=2)
    output = outputs.Joint({"kind": "categorical", "yes": "bernoulli"})
    networks = uncertainty.Networks(Ensemble(model, output), model, output)
    samples = Uncertain(None, 2, "teacher_uncertainty", 0.0)(X, 0, networks)
    ((answer,), again) = samples.member_outputs, model(samples.inputs)
    assert set(answer) == {"kind", "yes"}
    for name, raw in answer.items():
        np.testing.assert_allclose(raw, again[name], rtol=1e-4, atol=1e-5)


# With others.


def test_rows_are_kept_by_design_if_the_base_does():
    for base, keeps in (("Mixup", False), ("Empirical", True), (None, True)):
        sampler = Uncertain(base)
        assert sampler.keeps_rows is keeps is Uncertain(sampler).keeps_rows
        assert Choice([sampler, "Mixup"]).keeps_rows is keeps


# Errors.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            ({"candidates": count}, "Uncertain's candidates must be a whole number >= 2")
            for count in (1, -2, 2.0, True, "2", None)
        ),
        *(
            ({"temperature": value}, "Uncertain's temperature must be >= 0")
            for value in (-1e-9, math.nan, math.inf)
        ),
        *(({"score": score}, "Unknown score") for score in ("entropy", None)),
        ({"base": "mix-up"}, "Unknown sampler"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Uncertain(**arguments)


def test_it_needs_networks_and_inputs_that_suit_its_base():
    for sampler in (Uncertain(), Choice([Uncertain()]), Uncertain(Uncertain(), 2)):
        with pytest.raises(ValueError, match=r"Uncertain asks teacher and student.*networks="):
            sampler(X, 0)
    with pytest.raises(ValueError, match="CutMix"):
        Uncertain("CutMix")(X, 0, NOBODY)
    with pytest.raises(ValueError, match="is uint8"):
        Uncertain()(tf.zeros((4, SIZE), tf.uint8), 0, NOBODY)


@pytest.mark.parametrize(
    "wrap",
    [lambda s: s, lambda s: Choice(["Mixup", s]), lambda s: Uncertain(s, score="divergence")],
    ids=["alone", "in-choice", "as-base"],
)
def test_a_distiller_refuses_the_disagreement_of_a_single_teacher(wrap):
    sampler = wrap(Uncertain(score="disagreement"))
    with pytest.raises(ValueError, match=r"single one.*two members or more"):
        Distiller(network(1), network(2), sampler=sampler)
    Distiller(network(1), [network(2), network(3)], sampler=sampler)
    rule = FunctionTeacher(lambda rows: np.full((len(rows), 3), 1 / 3), "categorical", X)
    with pytest.raises(ValueError, match=r"single one"):
        Distiller(network(1), rule, sampler=sampler)


# Configs.


def test_the_base_is_by_default_half_empirical_half_mix():
    base = samplers.get("Uncertain").base
    assert [type(part).__name__ for part in base.samplers] == ["Empirical", "Mix"]
    assert base.samplers[1].alpha == 1.0 and base.probabilities == [0.5, 0.5]
