"""Scores of uncertainty against NumPy and SciPy, and who is asked for them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import network, normal_kl, softmax
from scipy.special import expit
from scipy.stats import entropy

from ecl_tf import Ensemble, Teacher, outputs, uncertainty

UNIT = np.array([2.0, 5.0])  # The targets' standard deviations.


class Given(Teacher):
    """A teacher of known raw outputs, whatever it is asked."""

    def __init__(self, output, raws):
        super().__init__(output)
        self.raws = raws
        self.asked = []

    def member_outputs(self, inputs):
        self.asked.append(inputs)
        return [keras.tree.map_structure(tf.constant, raw) for raw in self.raws]


class Student:
    def __init__(self, raw):
        self.raw = raw
        self.asked = []

    def __call__(self, inputs, training=None):
        self.asked.append((inputs, training))
        return keras.tree.map_structure(tf.constant, self.raw)


def answers(output, raws, student=None, teacher_output=None):
    networks = uncertainty.Networks(Given(teacher_output or output, raws), Student(student), output)
    return uncertainty.Answers(networks, tf.zeros((len(keras.tree.flatten(raws[0])[0]), 1)))


def numbers(*shape, scale=2.0):  # From the seed that every test starts with.
    return np.random.normal(0, scale, shape).astype("float32")


def moments(raw, unit, floor):
    """Mean and standard deviation of raw tensors of `Normal` outputs of two dimensions."""
    raw = np.asarray(raw, "float64")
    return unit * raw[..., :2], unit * (floor + np.log1p(np.exp(raw[..., 2:])))


def coins(p):
    """Probabilities of yes and no."""
    return np.stack([p, 1 - p])


# Reference values of one kind of output: teacher, disagreement, student, divergence.


def of_categorical(raws, student):
    members, q = softmax(raws), softmax(student)
    total = entropy(members.mean(0), axis=-1)
    parts = entropy(members, axis=-1).mean(0)
    return total, total - parts, entropy(q, axis=-1), entropy(members.mean(0), q, axis=-1)


def of_bernoulli(raws, student):
    members, q = expit(np.float64(raws)), expit(np.float64(student))
    total = entropy(coins(members.mean(0))).sum(-1)
    parts = entropy(coins(members)).mean(0).sum(-1)
    divergence = entropy(coins(members.mean(0)), coins(q)).sum(-1)
    return total, total - parts, entropy(coins(q)).sum(-1), divergence


def of_normal(raws, student):
    means, stddevs = moments(raws, UNIT, 0.1)
    q_mean, q_stddev = moments(student, UNIT, 0.1)
    variance = (stddevs**2).mean(0) + means.var(0)
    return (
        (variance / UNIT**2).sum(-1),
        (means.var(0) / UNIT**2).sum(-1),
        ((q_stddev / UNIT) ** 2).sum(-1),
        normal_kl(means.mean(0), np.sqrt(variance), q_mean, q_stddev).sum(-1),
    )


NORMAL = outputs.Normal(2, min_scale=0.1, target_stddev=UNIT.tolist())
KINDS = {
    "categorical": (outputs.Categorical(), 5, of_categorical),
    "bernoulli": (outputs.Bernoulli(), 3, of_bernoulli),
    "normal": (NORMAL, 4, of_normal),
}
NAMES = ["teacher_uncertainty", "disagreement", "student_uncertainty", "divergence"]


def assert_scores(its, expected):
    for name, values in zip(NAMES, expected, strict=True):
        score = uncertainty.get(name)(its)
        assert score.shape == its.inputs.shape[:1] and score.dtype == tf.float32
        np.testing.assert_allclose(score, values, rtol=2e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("members", "positions"), [(3, ()), (3, (2, 3)), (1, ())], ids=["rows", "map", "one member"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_formulas_and_positions_are_averaged(kind, members, positions):
    output, size, formulas = KINDS[kind]
    raws, student = numbers(members, 7, *positions, size), numbers(7, *positions, size)
    expected = [each.reshape(7, -1).mean(-1) for each in formulas(raws, student)]
    assert_scores(answers(output, raws, student), expected)


@pytest.mark.parametrize("stddev", [None, [0.5, 3.0]])
def test_points_have_their_spread_and_what_they_differ_by(stddev):
    raws, student = numbers(4, 7, 2), numbers(7, 4)
    point = outputs.Point(2, stddev, target_stddev=UNIT.tolist())
    between = (UNIT * np.float64(raws)).var(0)
    variance = between + np.square(stddev or 0.0)
    of_student = moments(student, UNIT, 0.1)
    expected = [(each / UNIT**2).sum(-1) for each in (variance, between, of_student[1] ** 2)]
    expected.append(normal_kl((UNIT * raws).mean(0), np.sqrt(variance), *of_student).sum(-1))
    assert_scores(answers(NORMAL, raws, student, teacher_output=point), expected)


@pytest.mark.parametrize("weights", [{}, {"kind": 0.0, "place": 3.0}], ids=str)
def test_named_outputs_are_summed_with_their_weights(weights):
    joint = outputs.Joint({"kind": "categorical", "place": NORMAL}, weights)
    kinds, places = numbers(3, 7, 5), numbers(3, 7, 4)
    student = {"kind": numbers(7, 5), "place": numbers(7, 4)}
    raws = [{"kind": kind, "place": place} for kind, place in zip(kinds, places, strict=True)]
    of_kind = of_categorical(kinds, student["kind"])
    of_place = of_normal(places, student["place"])
    expected = [
        weights.get("kind", 1.0) * kind + weights.get("place", 1.0) * place
        for kind, place in zip(of_kind, of_place, strict=True)
    ]
    assert_scores(answers(joint, raws, student), expected)


@pytest.mark.parametrize("output", [outputs.Categorical(), outputs.Bernoulli()], ids=repr)
def test_sure_networks_of_extreme_logits_score_zero_and_opposite_ones_ln_2(output):
    sure = np.float32([[[-1e4, 1e4]], [[-1e4, 1e4]]])
    events = 2 if output.family == "bernoulli" else 1
    assert_scores(answers(output, sure, sure[0]), [[0.0]] * 4)
    opposite = answers(output, np.stack([sure[0], -sure[0]]))
    for score in (uncertainty.teacher_uncertainty, uncertainty.disagreement):
        np.testing.assert_allclose(score(opposite), [events * np.log(2)], rtol=1e-5)


def test_an_answer_that_is_not_a_number_has_no_score():
    raws, student = numbers(2, 7, 5), numbers(7, 5)
    raws[1, 3, 2] = student[3, 2] = np.nan
    its = answers(outputs.Categorical(), raws, student)
    for name in NAMES:
        score = uncertainty.get(name)(its).numpy()
        assert np.isnan(score[3]) and np.isfinite(np.delete(score, 3)).all(), name


# Who is asked.


@pytest.mark.parametrize(
    ("names", "of_teacher", "of_student"),
    [
        (["teacher_uncertainty"], 1, 0),
        (["student_uncertainty"], 0, 1),
        (["divergence"], 1, 1),
        (NAMES * 2, 1, 1),
        ([], 0, 0),
    ],
)
def test_each_network_is_asked_once_and_only_if_needed(names, of_teacher, of_student):
    raws = numbers(2, 7, 5)
    its = answers(outputs.Categorical(), raws, numbers(7, 5))
    for name in names:
        uncertainty.get(name)(its)
    teacher, student, _ = its.networks
    if of_teacher:
        np.testing.assert_array_equal(its.member_outputs, raws)
    assert (len(teacher.asked), len(student.asked)) == (of_teacher, of_student)
    assert ("member_outputs" in vars(its)) == bool(of_teacher)
    assert all(inputs is its.inputs for inputs in teacher.asked)
    assert all(inputs is its.inputs and training is False for inputs, training in student.asked)


# Names, configs, errors.


@keras.saving.register_keras_serializable("test_uncertainty")
def first_column(its):
    return its.inputs[:, 0]


def test_configs_are_names_or_those_of_functions():
    assert list(uncertainty.SCORES) == NAMES
    for name in NAMES:
        assert uncertainty.get(name) is getattr(uncertainty, name)
        assert uncertainty.config_of(uncertainty.get(name)) == name

    @keras.saving.register_keras_serializable("test_uncertainty", name="divergence")
    def divergence(its):  # That it has the name of a score makes it none of ours.
        return its.inputs[:, 0]

    for function in (first_column, divergence):
        assert uncertainty.get(function) is function
        config = uncertainty.config_of(function)
        assert isinstance(config, dict)
        assert uncertainty.get(config) is function


@pytest.mark.parametrize("identifier", ["entropy", "Divergence", "", 3, None, ["divergence"]])
def test_unknown_scores_are_refused_with_the_known_ones(identifier):
    with pytest.raises(ValueError, match=r"Unknown score .*disagreement.*teacher_uncertainty"):
        uncertainty.get(identifier)


def test_disagreement_takes_two_networks():
    def networks(teacher):
        return uncertainty.Networks(teacher, network(1), outputs.Categorical())

    single = networks(Ensemble(network(2), "categorical"))
    with pytest.raises(ValueError, match=r"disagreement.*single one.*two members or more"):
        uncertainty.validate(uncertainty.disagreement, single)
    for name in set(NAMES) - {"disagreement"}:
        uncertainty.validate(uncertainty.get(name), single)
    pair = networks(Ensemble([network(2), network(3)], "categorical"))
    uncertainty.validate(uncertainty.disagreement, pair)
    custom = networks(Given(outputs.Categorical(), numbers(2, 7, 3)))  # No one knows how many.
    uncertainty.validate(uncertainty.disagreement, custom)


def test_the_error_without_networks_names_the_sampler_and_the_remedy():
    with pytest.raises(ValueError, match=r"float asks teacher and student.*networks=ecl_tf"):
        uncertainty.require(None, 1.0)
    uncertainty.require(uncertainty.Networks(None, None, None), 1.0)


def test_masked_steps_have_no_say_in_a_score():
    """Of two rows with the same two real steps one is padded: both get the same score."""
    tokens = tf.constant([[1, 2, 0, 0], [1, 2, 1, 2]])

    def tagger(seed):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((None,), dtype="int32")
        embedded = keras.layers.Embedding(3, 4, "normal", mask_zero=True)(inputs)
        return keras.Model(inputs, keras.layers.Dense(3)(embedded))

    teacher = Ensemble([tagger(0), tagger(1)], "categorical")
    networks = uncertainty.Networks(teacher, tagger(2), outputs.Categorical())
    for name, score in uncertainty.SCORES.items():
        padded, whole = score(uncertainty.Answers(networks, tokens))
        np.testing.assert_allclose(padded, whole, rtol=1e-5, err_msg=name)
