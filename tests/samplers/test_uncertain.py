"""Uncertain samples: which candidates are kept, with what probabilities, at what cost."""

import itertools
import json
import math

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from scipy.special import softmax

from ecl_tf import Distiller, Ensemble, Teacher, outputs, samplers, uncertainty
from ecl_tf.samplers import (
    Choice,
    Empirical,
    GaussianNoise,
    Generated,
    Mixup,
    Samples,
    Uncertain,
    random,
)

NOBODY = uncertainty.Networks(None, None, None)  # For scores that ask no network.
SIZE, CLASSES = 4, 3


@keras.saving.register_keras_serializable("test_uncertain")
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
        return Samples(
            keras.tree.map_structure(lambda x: tf.reverse(x, [0]), inputs),
            tf.ones([rows], tf.bool),
            tf.range(rows - 1, -1, -1),
        )


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def network(seed):
    model = keras.Sequential([keras.Input((SIZE,)), keras.layers.Dense(CLASSES)])
    model.set_weights([2 * numbers(SIZE, CLASSES, seed=seed), numbers(CLASSES, seed=seed + 50)])
    return model


def categorical_networks():
    teacher = Ensemble([network(1), network(2)], "categorical")
    return uncertainty.Networks(teacher, network(3), outputs.Categorical())


def candidates(base, x, seed, count):
    """What the base sampler draws, (count * rows, ...)."""
    seeds = random.split(random.seed_tensor(seed), 1 + count)[1:]
    return np.concatenate([base(x, its_seed).inputs for its_seed in seeds])


# The highest scores.


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("base", [Mixup(), GaussianNoise(1.0)], ids=repr)
def test_exactly_the_highest_scored_candidates_are_kept_in_their_order(base, count):
    x = numbers(16, SIZE)
    sampler = Uncertain(base, count, size_of_first)
    for seed in (0, 3):
        drawn = candidates(base, x, seed, count)
        kept = np.sort(np.argsort(-np.abs(drawn[:, 0]))[:16])
        samples = sampler(x, seed, NOBODY)
        np.testing.assert_array_equal(samples.inputs, drawn[kept])
        np.testing.assert_array_equal(samples.sources, kept % 16)
        assert samples.sources.dtype == tf.int32
        assert not samples.unmodified.numpy().any()


@pytest.mark.parametrize("name", list(uncertainty.SCORES))
def test_the_networks_scores_decide(name):
    """The score as a formula of probabilities, in NumPy."""
    x = 3 * numbers(16, SIZE)
    drawn = candidates(Mixup(), x, 7, 3)
    members = [
        softmax(drawn.astype("float64") @ w + b, -1)
        for w, b in (network(seed).get_weights() for seed in (1, 2, 3))
    ]
    teacher, student = np.stack(members[:2]), members[2]
    entropy = scipy.stats.entropy(teacher.mean(0), axis=-1)
    scores = {
        "teacher_uncertainty": entropy,
        "disagreement": entropy - scipy.stats.entropy(teacher, axis=-1).mean(0),
        "student_uncertainty": scipy.stats.entropy(student, axis=-1),
        "divergence": scipy.stats.entropy(teacher.mean(0), student, axis=-1),
    }[name]
    kept = np.sort(np.argsort(-scores)[:16])
    samples = Uncertain("Mixup", 3, name)(x, 7, categorical_networks())
    np.testing.assert_array_equal(samples.inputs, drawn[kept])


def test_one_row_can_give_all_the_samples():
    x = np.float32([[1.0], [9.0], [2.0]])
    samples = Uncertain("Empirical", 3, size_of_first)(x, 0, NOBODY)
    np.testing.assert_array_equal(samples.inputs, [[9.0]] * 3)
    np.testing.assert_array_equal(samples.sources, [1, 1, 1])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_score_of_nan_is_kept_before_all_others(temperature):
    scores = [1e30, math.nan, 1e30, 1e30, 1.0, math.nan]
    sampler = Uncertain(Numbered(2), 2, lambda _: tf.constant(scores), temperature)
    for seed in range(20):
        samples = sampler(np.float32([[0], [10], [20]]), seed, NOBODY)
        assert {10.0, 21.0} < set(samples.inputs.numpy().ravel())


def test_more_nans_than_rows_fill_the_batch():
    scores = [1.0, math.nan, math.nan, math.nan]
    samples = Uncertain(Numbered(2), 2, lambda _: tf.constant(scores))(
        np.float32([[0], [10]]), 0, NOBODY
    )
    assert 0.0 not in samples.inputs


# A random choice in proportion to the scores.


def kept_numbers(scores, temperature, draws, rows=1):
    """Of many seeds, the sorted numbers of the candidates that were kept, (draws, rows).

    Row n of draw m is candidate m * rows + n.
    """
    count = len(scores) // rows
    sampler = Uncertain(Numbered(count), count, lambda _: tf.constant(scores), temperature)
    x = tf.reshape(100.0 * tf.range(rows, dtype=tf.float32), (rows, 1))

    @tf.function
    def every(seeds):
        return tf.map_fn(
            lambda seed: sampler(x, seed, NOBODY).inputs[:, 0],
            seeds,
            fn_output_signature=tf.float32,
        )

    row, draw = np.divmod(every(tf.range(draws)).numpy().astype(int), 100)
    return np.sort(draw * rows + row, -1)


def fits(kept, probabilities):
    """Whether candidates, or pairs (given as a dict), were kept with these probabilities."""
    if not isinstance(probabilities, dict):
        probabilities = {(number,): p for number, p in enumerate(probabilities)}
    counts = [(kept == outcome).all(-1).sum() for outcome in probabilities]
    assert sum(counts) == len(kept)
    expected = len(kept) * np.array(list(probabilities.values()))
    return scipy.stats.chisquare(counts, expected).pvalue > 1e-3


DRAWS = 3000
SCORES = np.array([0.5, 3.0, 1.0, 2.0, 4.0])


@pytest.mark.parametrize(
    ("temperature", "unit"), [(1.0, 1.0), (2.0, 1.0), (0.5, 1.0), (1.0, 1e-12), (1.0, 1e12)]
)
def test_one_is_kept_in_proportion_to_the_tempered_scores_of_any_unit(temperature, unit):
    kept = kept_numbers(list(unit * SCORES), temperature, DRAWS)
    tempered = SCORES ** (1 / temperature)
    assert fits(kept, tempered / tempered.sum())
    others = SCORES ** (1 / (1.4 * temperature))  # The test can tell.
    assert not fits(kept, others / others.sum())


def test_a_large_temperature_hardly_looks_at_the_scores():
    kept = kept_numbers([0.0, 1e-20, 1.0, 1e20, 1e30], 1e6, DRAWS)
    assert fits(kept, [0.2] * 5)


def test_a_small_temperature_keeps_the_highest():
    np.testing.assert_array_equal(kept_numbers([1.0, 2.0, 1.5], 1e-3, 200), [[1]] * 200)


def test_scores_of_zero_are_kept_only_where_nothing_else_is_left():
    kept = kept_numbers([0.0, 1.0, 0.0, 1e-6], 1.0, 500)
    assert set(kept.ravel()) <= {1, 3}
    kept = kept_numbers([0.0, 0.0, 0.0, 1e-6], 1.0, 500, rows=2)
    assert np.all(kept[:, 1] == 3) and set(kept[:, 0]) == {0, 1, 2}


def test_scores_that_are_all_zero_are_all_alike():
    assert fits(kept_numbers([0.0] * 4, 1.0, DRAWS), [0.25] * 4)
    np.testing.assert_array_equal(kept_numbers([0.0] * 4, 0.0, 10, rows=2), [[0, 1]] * 10)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_two_are_kept_one_after_the_other_from_those_that_are_left(temperature):
    """Plackett and Luce: s_i / S * s_j / (S - s_i), in either order."""
    scores = np.array([1.0, 2.0, 4.0, 8.0])
    kept = kept_numbers(list(scores), temperature, DRAWS, rows=2)
    s = scores ** (1 / temperature)
    pairs = {
        (i, j): s[i] / s.sum() * s[j] / (s.sum() - s[i]) + s[j] / s.sum() * s[i] / (s.sum() - s[j])
        for i, j in itertools.combinations(range(4), 2)
    }
    assert math.isclose(sum(pairs.values()), 1.0)
    assert fits(kept, pairs)


def test_no_candidate_is_kept_twice():
    x = 100 * np.arange(32, dtype="float32")[:, None]
    sampler = Uncertain(Numbered(2), 2, lambda answers: answers.inputs[:, 0] + 1.0, 1.0)
    for seed in range(5):
        assert len(np.unique(sampler(x, seed, NOBODY).inputs)) == 32


def test_the_choice_is_independent_of_what_the_base_draws():
    """Of scores that are all alike, those that are kept are drawn as the base draws."""
    sampler = Uncertain(GaussianNoise(1.0), 3, lambda a: tf.ones_like(a.inputs[:, 0]), 1.0)
    kept = sampler(tf.zeros((4000, 1)), 0, NOBODY).inputs
    assert scipy.stats.kstest(np.ravel(kept), "norm").pvalue > 1e-3


# Where samples come from.

X = np.concatenate([np.arange(16.0)[:, None], numbers(16, SIZE - 1)], 1).astype("float32")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    "sampler",
    [
        lambda t: Uncertain("Empirical", 3, "teacher_uncertainty", t),
        lambda t: Uncertain(Reverse(), 3, "teacher_uncertainty", t),
        lambda t: Uncertain(Uncertain(Reverse(), 2, "divergence", t), 2, "disagreement", t),
        lambda t: Uncertain(Choice(["Empirical", Reverse()]), 2, "divergence", t),
        lambda t: Choice([Uncertain("Empirical", 2, "divergence", t), "Empirical"]),
        lambda t: Choice(["Empirical", Uncertain(Reverse(), 2, "divergence", t), Reverse()]),
    ],
    ids=["plain", "moved", "nested", "of-choice", "choice", "choices"],
)
def test_sources_are_the_rows_that_the_samples_are(sampler, temperature):
    sampler = sampler(temperature)
    samples = sampler(X, 1, categorical_networks())
    sources = samples.sources.numpy()
    np.testing.assert_array_equal(samples.inputs, X[sources])  # Column 0 is the row's number.
    assert samples.is_moved and np.any(sources != np.arange(16))
    assert samples.unmodified.numpy().all()
    labels = {"kind": 10 * np.arange(16), "place": numbers(16, 2, seed=4)}
    followed = samples.follow(labels)
    np.testing.assert_array_equal(followed["kind"], 10 * sources)
    np.testing.assert_array_equal(followed["place"], labels["place"][sources])
    assert samples.follow(None) is None


def test_rows_are_unmodified_where_the_base_left_them():
    x = np.arange(64, dtype="float32")[:, None]
    sampler = Uncertain(Choice(["Empirical", GaussianNoise(0.01)]), 2, size_of_first, 1.0)
    samples = sampler(x, 0, NOBODY)
    unmodified = samples.unmodified.numpy()
    assert 10 < unmodified.sum() < 54
    same = (samples.inputs.numpy() == x[samples.sources.numpy()])[:, 0]
    np.testing.assert_array_equal(unmodified, same)


def test_samples_that_stay_in_place_follow_themselves():
    labels = tf.range(4)
    samples = Empirical()(tf.zeros((4, 1)), 0)
    assert not samples.is_moved
    assert samples.follow(labels) is labels


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_all_inputs_of_a_row_are_those_of_one_candidate(temperature):
    x = {"one": tf.range(16.0)[:, None], "other": tf.range(16.0)[:, None, None] + 1000.0}

    def score(answers):
        return 1.0 + tf.cast(tf.cast(answers.inputs["one"][:, 0], tf.int32) % 5, tf.float32)

    samples = Uncertain("Empirical", 2, score, temperature)(x, 0, NOBODY)
    assert {name: tuple(each.shape) for name, each in samples.inputs.items()} == {
        "one": (16, 1),
        "other": (16, 1, 1),
    }
    one, other = (samples.inputs[name].numpy().ravel() for name in ("one", "other"))
    np.testing.assert_array_equal(one + 1000, other)
    np.testing.assert_array_equal(one, samples.sources)
    if temperature == 0.0:  # Numbers 4, 9, 14; 3, 8, 13; then two (of six) of remainder 2.
        assert sorted(one % 5) == [2.0] * 4 + [3.0] * 6 + [4.0] * 6


# What it costs.


class CountingTeacher(Teacher):
    """Keeps how many rows it was asked for, each time."""

    def __init__(self):
        super().__init__("categorical")
        self.networks = [network(1), network(2)]
        self.rows = []

    def member_outputs(self, inputs):
        self.rows.append(len(inputs))
        return [each(inputs, training=False) for each in self.networks]


class CountRows(keras.layers.Layer):
    """Keeps how many rows it has seen, and in which mode, in eager calls."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def call(self, x, training=None):
        if hasattr(x, "numpy"):
            self.rows.append((len(x), bool(training)))
        return x


B, R = 6, 3
COSTS = {  # Rows that the teacher, and the student beside its training pass, are asked.
    "teacher_uncertainty": ([R * B], []),
    "disagreement": ([R * B], []),
    "student_uncertainty": ([B], [R * B]),
    "divergence": ([R * B], [R * B]),
    "size_of_first": ([B], []),
}


def rows_of_a_step(sampler, label_weight=0.0):
    teacher, counter = CountingTeacher(), CountRows()
    student = keras.Sequential([keras.Input((SIZE,)), counter, keras.layers.Dense(CLASSES)])
    distiller = Distiller(student, teacher, sampler=sampler, label_weight=label_weight)
    distiller.compile("sgd", run_eagerly=True)
    distiller.fit(X[:B], np.zeros(B, int), batch_size=B, verbose=0)
    return teacher.rows, counter.rows


@pytest.mark.parametrize(
    ("name", "label_weight"), [*((name, 0.0) for name in COSTS), ("divergence", 0.5)]
)
def test_a_step_asks_each_network_once_and_for_no_more_rows_than_it_must(name, label_weight):
    score = size_of_first if name == "size_of_first" else name
    of_teacher, of_student = rows_of_a_step(Uncertain(None, R, score), label_weight)
    asked, scored = COSTS[name]
    assert of_teacher == asked
    trained = 2 * B if label_weight else B
    assert of_student == [*((rows, False) for rows in scored), (trained, True)]


def test_in_a_choice_the_teacher_is_asked_for_the_chosen_rows_as_well():
    choice = Choice(["Mixup", Uncertain(None, R, "teacher_uncertainty")])
    assert rows_of_a_step(choice) == ([R * B, B], [(B, True)])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("name", list(uncertainty.SCORES))
def test_the_kept_answers_are_those_that_the_teacher_would_give_again(name, temperature):
    networks = categorical_networks()
    samples = Uncertain(None, 3, name, temperature)(X, 2, networks)
    if name == "student_uncertainty":
        assert len(samples.member_outputs) == 0
        return
    first, second = samples.member_outputs
    np.testing.assert_allclose(first, network(1)(samples.inputs), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(second, network(2)(samples.inputs), rtol=1e-4, atol=1e-5)


def test_answers_of_named_outputs_are_kept_by_name():
    inputs = keras.Input((SIZE,))
    model = keras.Model(
        inputs, {"kind": keras.layers.Dense(3)(inputs), "yes": keras.layers.Dense(2)(inputs)}
    )
    output = outputs.Joint({"kind": "categorical", "yes": "bernoulli"})
    networks = uncertainty.Networks(Ensemble(model, output), model, output)
    samples = Uncertain(None, 2)(X, 0, networks)
    ((answer,), again) = samples.member_outputs, model(samples.inputs)
    assert set(answer) == {"kind", "yes"}
    for name, raw in answer.items():
        np.testing.assert_allclose(raw, again[name], rtol=1e-4, atol=1e-5)


# Purity and graphs.


def assert_same_choice(samples, expected):
    """The same rows, exactly; what is computed from them, but for rounding."""
    np.testing.assert_array_equal(samples.sources, expected.sources)
    np.testing.assert_array_equal(samples.unmodified, expected.unmodified)
    np.testing.assert_allclose(samples.inputs, expected.inputs, rtol=1e-4, atol=1e-5)
    assert len(samples.member_outputs) == len(expected.member_outputs)
    for one, other in zip(samples.member_outputs, expected.member_outputs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("name", list(uncertainty.SCORES))
def test_the_seed_determines_the_sample_whatever_else_is_drawn(name, temperature):
    sampler, networks = Uncertain(None, 3, name, temperature), categorical_networks()
    first = sampler(X, 3, networks)
    keras.utils.set_random_seed(5)
    again, other = sampler(X, tf.constant([3, 0]), networks), sampler(X, 4, networks)
    np.testing.assert_array_equal(again.inputs, first.inputs)
    np.testing.assert_array_equal(again.sources, first.sources)
    assert np.any(other.inputs != first.inputs)


@pytest.mark.parametrize(
    ("name", "temperature"), [("student_uncertainty", 0.0), ("divergence", 1.0)]
)
def test_a_graph_of_any_batch_size_chooses_the_same_rows(name, temperature):
    sampler, networks = Uncertain(None, 3, name, temperature), categorical_networks()
    graph = tf.function(
        lambda x, seed: sampler(x, seed, networks),
        input_signature=[tf.TensorSpec([None, SIZE]), tf.TensorSpec([2], tf.int32)],
    )
    for rows, number in ((16, 3), (5, 4)):
        samples = graph(tf.constant(X[:rows]), tf.constant([number, 0]))
        assert_same_choice(samples, sampler(X[:rows], number, networks))


def test_xla_chooses_the_same_rows_with_the_seed_as_an_argument():
    sampler = Uncertain(GaussianNoise(0.5), 2, "divergence", temperature=1.0)
    networks, traces = categorical_networks(), []

    @tf.function(jit_compile=True)
    def compiled(x, seed):
        samples = sampler(x, seed, networks)
        traces.append(samples.inputs.shape)
        return samples

    for number in (3, 4):
        samples = compiled(tf.constant(X), tf.constant([number, 0]))
        assert_same_choice(samples, sampler(X, number, networks))
    assert traces == [(16, SIZE)]  # Once, with a static shape.


# With others.


def test_in_a_choice_rows_are_those_of_the_sampler_itself():
    networks = categorical_networks()
    uncertain = Uncertain("Mixup", 2, "divergence", 1.0)
    samples = Choice(["Empirical", uncertain])(X, 5, networks)
    own = (samples.inputs.numpy() == X).all(1)
    assert 2 < own.sum() < 14
    its_seed = random.split(random.seed_tensor(5), 3)[2]
    expected = uncertain(X, its_seed, networks)
    np.testing.assert_array_equal(samples.inputs[~own], expected.inputs[~own])
    np.testing.assert_array_equal(samples.sources, np.where(own, np.arange(16), expected.sources))
    np.testing.assert_array_equal(samples.unmodified, own)


@pytest.mark.parametrize(("base", "keeps"), [("Mixup", False), ("Empirical", True), (None, True)])
def test_rows_are_kept_by_design_if_the_base_does(base, keeps):
    sampler = Uncertain(base)
    assert sampler.keeps_rows is keeps
    assert Choice([sampler, "Mixup"]).keeps_rows is keeps
    assert Uncertain(sampler).keeps_rows is keeps


def test_the_models_of_the_base_are_its_models():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(SIZE)])
    assert list(Uncertain().models) == []
    sampler = Choice([Uncertain(Choice(["Mixup", Generated(model)])), "CutMix"])
    (found,) = sampler.models
    assert found is model


# Errors.


@pytest.mark.parametrize("count", [1, 0, -2, 2.5, 2.0, True, "2", None, math.nan])
def test_candidates_must_be_a_whole_number_of_at_least_two(count):
    with pytest.raises(ValueError, match=r"Uncertain's candidates must be a whole number >= 2"):
        Uncertain(candidates=count)


@pytest.mark.parametrize("temperature", [-1.0, -1e-9, math.nan, math.inf])
def test_the_temperature_must_be_zero_or_positive_and_finite(temperature):
    with pytest.raises(ValueError, match=r"Uncertain's temperature must be >= 0"):
        Uncertain(temperature=temperature)


@pytest.mark.parametrize("score", ["entropy", None, 3])
def test_unknown_scores_and_bases_are_refused(score):
    with pytest.raises(ValueError, match="Unknown score"):
        Uncertain(score=score)
    with pytest.raises(ValueError, match="Unknown sampler"):
        Uncertain(base="mix-up")


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: Choice([s]), lambda s: Uncertain(s, 2)])
def test_it_needs_the_networks(wrap):
    with pytest.raises(ValueError, match=r"Uncertain asks teacher and student.*networks="):
        wrap(Uncertain())(X, 0)


def test_inputs_must_suit_the_base():
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
    with pytest.raises(ValueError, match=r"single network.*two networks or more"):
        Distiller(network(1), network(2), sampler=sampler)
    Distiller(network(1), [network(2), network(3)], sampler=sampler)


# Configs.


@pytest.mark.parametrize(
    ("base", "score"),
    [
        *((GaussianNoise(0.5), name) for name in uncertainty.SCORES),
        (GaussianNoise(0.5), size_of_first),
        (Choice(["Empirical", GaussianNoise(2.0)]), "divergence"),
    ],
    ids=[*uncertainty.SCORES, "function", "choice"],
)
def test_configs_round_trip(base, score):
    sampler = Uncertain(base, 3, score, temperature=0.5)
    networks = categorical_networks()
    expected = sampler(X, 1, networks)
    short = {"class_name": "Uncertain", "config": sampler.get_config()}
    full = keras.saving.serialize_keras_object(sampler)
    for restored in (
        samplers.get(json.loads(json.dumps(short))),
        samplers.get(json.loads(json.dumps(full))),
        keras.saving.deserialize_keras_object(full),
        Uncertain.from_config(sampler.get_config()),
    ):
        assert type(restored) is Uncertain
        assert type(restored.base) is type(base)
        assert restored.score is sampler.score
        assert (restored.candidates, restored.temperature) == (3, 0.5)
        assert restored.get_config() == sampler.get_config()
    np.testing.assert_array_equal(restored(X, 1, networks).inputs, expected.inputs)


def test_the_config_has_known_scores_by_name_and_defaults_are_documented():
    sampler = samplers.get("Uncertain")
    config = sampler.get_config()
    assert {**config, "base": None} == {
        "base": None,
        "candidates": 2,
        "score": "teacher_uncertainty",
        "temperature": 0.0,
        "group_size": None,
    }
    assert [type(part).__name__ for part in sampler.base.samplers] == ["Empirical", "Mix"]
    assert sampler.base.samplers[1].alpha == 1.0 and sampler.base.probabilities == [0.5, 0.5]
    short = {"class_name": "Uncertain", "config": {"base": "Empirical", "score": "divergence"}}
    assert isinstance(samplers.get(short).base, Empirical)
    assert samplers.get(short).score is uncertainty.divergence
