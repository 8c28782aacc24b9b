"""Every divergence against formulas (NumPy, SciPy), quadrature and Monte Carlo."""

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf
from scipy.spatial.distance import jensenshannon
from tensorflow_probability import distributions as tfd

from ecl_tf import divergences, outputs

NAMES = ["kl", "reverse_kl", "jeffreys", "jensen_shannon"]


def as_float32(*arrays):
    """Rounded as the library's inputs are, so that references see the same numbers."""
    return [np.asarray(array, np.float32) for array in arrays]


def from_kls(name, kl, p, q):
    """KL, reverse KL and Jeffreys from any reference KL."""
    return {"kl": kl(p, q), "reverse_kl": kl(q, p), "jeffreys": kl(p, q) + kl(q, p)}[name]


def discrete(name, p, q):
    """A divergence over the last axis of two probability arrays, by SciPy."""
    if name == "jensen_shannon":
        return jensenshannon(p, q, axis=-1) ** 2
    return from_kls(name, lambda a, b: scipy.stats.entropy(a, b, axis=-1), p, q)


def no_and_yes(logits):
    logits = np.asarray(logits, np.float64)
    return np.stack([scipy.special.expit(-logits), scipy.special.expit(logits)], -1)


def normal_kl(p, q):
    """The sum over dimensions of the textbook KL of two normals, (mean, stddev) each."""
    (m, s), (n, t) = p, q
    return np.sum(np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5, -1)


def normals(mean, stddev):
    return tfd.Independent(tfd.Normal(*as_float32(mean, stddev)), 1)


# Formulas


@pytest.mark.parametrize("name", NAMES)
def test_categorical_equals_scipy(name):
    rng = np.random.default_rng(0)
    teacher, student = as_float32(*rng.normal(0, 3, (2, 20, 7)))
    output = outputs.Categorical()
    actual = divergences.get(name)(output(teacher), output(student))
    p, q = (scipy.special.softmax(x.astype(np.float64), -1) for x in (teacher, student))
    np.testing.assert_allclose(actual, discrete(name, p, q), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_bernoulli_is_the_sum_over_labels_of_scipys_two_class_divergence(name):
    rng = np.random.default_rng(1)
    teacher, student = as_float32(*rng.normal(0, 3, (2, 20, 4)))
    output = outputs.Bernoulli()
    actual = divergences.get(name)(output(teacher), output(student))
    expected = discrete(name, no_and_yes(teacher), no_and_yes(student)).sum(-1)
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["kl", "reverse_kl", "jeffreys"])
def test_normal_equals_the_closed_form(name):
    rng = np.random.default_rng(2)
    m, n = as_float32(*rng.normal(0, 2, (2, 20, 3)))
    s, t = as_float32(*rng.uniform(0.3, 3, (2, 20, 3)))
    actual = divergences.get(name)(normals(m, s), normals(n, t))
    np.testing.assert_allclose(actual, from_kls(name, normal_kl, (m, s), (n, t)), rtol=1e-5)


@pytest.mark.parametrize(
    ("p", "q"),
    [
        ((0.0, 1.0), (0.5, 1.0)),
        ((0.0, 1.0), (0.0, 3.0)),
        ((0.0, 1.0), (2.0, 0.5)),
        ((1.0, 0.2), (1.3, 0.1)),
        ((-1.0, 1.0), (6.0, 2.0)),
        ((0.0, 1.0), (0.3, 0.01)),
    ],
)
def test_jensen_shannon_of_normals_equals_quadrature(p, q):
    p_pdf, q_pdf = scipy.stats.norm(*p).pdf, scipy.stats.norm(*q).pdf

    def integrand(x):
        a, b = p_pdf(x), q_pdf(x)
        m = (a + b) / 2
        return 0.5 * (scipy.special.rel_entr(a, m) + scipy.special.rel_entr(b, m))

    # Cut where either density changes fast, so that the quadrature misses no peak.
    cuts = sorted(mean + k * stddev for mean, stddev in (p, q) for k in (-12, -4, 0, 4, 12))
    expected = sum(scipy.integrate.quad(integrand, a, b)[0] for a, b in itertools.pairwise(cuts))
    actual = divergences.jensen_shannon(tfd.Normal(*p), tfd.Normal(*q))
    assert float(actual) == pytest.approx(expected, abs=5e-3)
    independent = divergences.jensen_shannon(
        normals([[p[0]]], [[p[1]]]), normals([[q[0]]], [[q[1]]])
    )
    assert independent.shape == (1,)
    assert float(independent[0]) == pytest.approx(expected, abs=5e-3)


# Monte Carlo


class Case(NamedTuple):
    """Two distributions, and how NumPy samples and scores them."""

    teacher: object
    student: object
    parameters: tuple  # of the teacher, of the student
    sample: object  # (rng, parameters, count) -> samples
    log_density: object  # (samples, parameters) -> (count, independent terms)


def categorical_case():
    p, q = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    output = outputs.Categorical()
    return Case(
        output(np.log([p])),
        output(np.log([q])),
        (p, q),
        lambda rng, probabilities, count: rng.choice(3, count, p=probabilities),
        lambda x, probabilities: np.log(probabilities)[x][:, None],
    )


def bernoulli_case():
    p, q = np.array([[0.9, 0.3, 0.5, 0.05], [0.6, 0.7, 0.4, 0.2]])
    output = outputs.Bernoulli()
    return Case(
        output([scipy.special.logit(p)]),
        output([scipy.special.logit(q)]),
        (p, q),
        lambda rng, probabilities, count: rng.random((count, 4)) < probabilities,
        lambda x, probabilities: scipy.stats.bernoulli.logpmf(x, probabilities),
    )


def normal_case():
    p = np.array([0.0, 1.0, -1.0]), np.array([1.0, 0.5, 2.0])
    q = np.array([0.5, 0.8, 0.0]), np.array([1.2, 0.7, 1.5])
    return Case(
        normals([p[0]], [p[1]]),
        normals([q[0]], [q[1]]),
        (p, q),
        lambda rng, parameters, count: rng.normal(*parameters, (count, 3)),
        lambda x, parameters: scipy.stats.norm.logpdf(x, *parameters).sum(-1, keepdims=True),
    )


def monte_carlo(case, name, count=200_000):
    """Returns the estimate of a divergence and its standard error."""
    rng = np.random.default_rng(3)

    def expectation(p, q, mixture):
        x = case.sample(rng, p, count)
        log_p, log_q = case.log_density(x, p), case.log_density(x, q)
        other = np.logaddexp(log_p, log_q) - math.log(2) if mixture else log_q
        terms = (log_p - other).sum(-1)
        return terms.mean(), terms.var() / count

    p, q = case.parameters
    forward, reverse = (
        expectation(p, q, name == "jensen_shannon"),
        expectation(q, p, name == "jensen_shannon"),
    )
    weights = {
        "kl": (1, 0),
        "reverse_kl": (0, 1),
        "jeffreys": (1, 1),
        "jensen_shannon": (0.5, 0.5),
    }[name]
    estimate = weights[0] * forward[0] + weights[1] * reverse[0]
    variance = weights[0] ** 2 * forward[1] + weights[1] ** 2 * reverse[1]
    return estimate, math.sqrt(variance)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [categorical_case, bernoulli_case, normal_case])
def test_equals_monte_carlo(make, name):
    case = make()
    actual = divergences.get(name)(case.teacher, case.student)
    expected, standard_error = monte_carlo(case, name)
    assert actual.shape == (1,)
    by_points = name == "jensen_shannon" and make is normal_case
    assert abs(float(actual[0]) - expected) < (5e-3 if by_points else 4 * standard_error)


# Properties


def pairs():
    rng = np.random.default_rng(4)
    raws = as_float32(*rng.normal(0, 2, (2, 6, 6)))
    for output in (outputs.Categorical(), outputs.Bernoulli(), outputs.Normal(3)):
        yield pytest.param(output(raws[0]), output(raws[1]), id=output.family)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("p", "q"), pairs())
def test_zero_of_a_distribution_with_itself_and_positive_otherwise(p, q, name):
    function = divergences.get(name)
    np.testing.assert_allclose(function(p, p), np.zeros(6), atol=5e-6)
    assert np.all(function(p, q).numpy() > 1e-3)


@pytest.mark.parametrize("name", ["jeffreys", "jensen_shannon"])
@pytest.mark.parametrize(("p", "q"), pairs())
def test_symmetric_divergences_are_symmetric(p, q, name):
    function = divergences.get(name)
    np.testing.assert_allclose(function(p, q), function(q, p), rtol=1e-5)


def test_direction_of_kl_by_hand():
    # Certain of a fair coin: KL((1/2, 1/2) || (1/4, 3/4)) = ln(2)/2 + ln(2/3)/2.
    teacher = outputs.Categorical()(np.log([[0.5, 0.5]]))
    student = outputs.Categorical()(np.log([[0.25, 0.75]]))
    forward = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    reverse = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert float(divergences.kl(teacher, student)[0]) == pytest.approx(forward, rel=1e-5)
    assert float(divergences.reverse_kl(teacher, student)[0]) == pytest.approx(reverse, rel=1e-5)
    assert abs(forward - reverse) > 0.01


def test_forward_kl_punishes_a_student_that_misses_a_mode_and_reverse_kl_does_not():
    teacher = outputs.Categorical()(np.log([[0.5, 0.5]]))
    student = outputs.Categorical()([[0.0, -50.0]])
    # 0.5 ln 0.5 + 0.5 (ln 0.5 + 50), against ln 2.
    assert float(divergences.kl(teacher, student)[0]) == pytest.approx(25 - math.log(2), rel=1e-5)
    assert float(divergences.reverse_kl(teacher, student)[0]) == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("p", "q", "bound"),
    [
        (
            outputs.Categorical()([[40.0, 0.0, 0.0]]),
            outputs.Categorical()([[0.0, 0.0, 40.0]]),
            math.log(2),
        ),
        (
            outputs.Bernoulli()([[60.0, -60.0, 60.0]]),
            outputs.Bernoulli()([[-60.0, 60.0, -60.0]]),
            3 * math.log(2),
        ),
        (normals([[0.0, 0.0]], [[1e-3, 1.0]]), normals([[9.0, 0.0]], [[2.0, 1.0]]), math.log(2)),
        (normals([[0.0]], [[1.0]]), normals([[0.0]], [[1e-3]]), math.log(2)),
    ],
    ids=["categorical", "bernoulli", "normal far", "normal narrow"],
)
def test_jensen_shannon_comes_near_but_never_passes_its_bound(p, q, bound):
    value = float(divergences.jensen_shannon(p, q)[0])
    assert 0.95 * bound < value <= bound + 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_normals_shift_and_scale_together_without_effect(name):
    rng = np.random.default_rng(5)
    m, n = rng.normal(0, 1, (2, 5, 3))
    s, t = rng.uniform(0.5, 2, (2, 5, 3))
    function = divergences.get(name)
    before = function(normals(m, s), normals(n, t))
    after = function(normals(4 * m + 1, 4 * s), normals(4 * n + 1, 4 * t))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["kl", "jensen_shannon"])
def test_a_probability_of_exactly_zero_gives_no_nan(name):
    """As from an exported teacher, whose small probabilities round to 0 in float32."""
    p, q = np.array([1.0, 0.0, 0.0]), np.array([0.5, 0.25, 0.25])
    output = outputs.Categorical()
    teacher = output.from_parameters({"probabilities": [p]})
    actual = divergences.get(name)(teacher, output(np.log([q])))
    np.testing.assert_allclose(actual, [discrete(name, p, q)], rtol=1e-5)


@pytest.mark.parametrize("name", ["kl", "jensen_shannon"])
def test_a_label_probability_of_exactly_one_gives_no_nan(name):
    output = outputs.Bernoulli()
    teacher = output.from_parameters({"probabilities": [[1.0, 0.0]]})
    actual = divergences.get(name)(teacher, output([[0.0, 0.0]]))
    certain, fair = np.array([[0.0, 1.0], [1.0, 0.0]]), np.full((2, 2), 0.5)
    np.testing.assert_allclose(actual, [discrete(name, certain, fair).sum()], rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_both_parameters_of_a_normal_student(name):
    """Against central differences of the reference in float64 (quadrature for JS)."""
    teacher = (0.0, 1.0)

    def reference(mean, stddev):
        if name != "jensen_shannon":
            p, q = (np.array([v]) for v in teacher), (np.array([mean]), np.array([stddev]))
            return from_kls(name, normal_kl, tuple(p), q)
        x = np.linspace(-15, 15, 20_001)
        a, b = scipy.stats.norm.pdf(x, *teacher), scipy.stats.norm.pdf(x, mean, stddev)
        m = (a + b) / 2
        both = scipy.special.rel_entr(a, m) + scipy.special.rel_entr(b, m)
        return 0.5 * scipy.integrate.trapezoid(both, x)

    h = 1e-4
    expected = [
        (reference(0.7 + h, 1.5) - reference(0.7 - h, 1.5)) / (2 * h),
        (reference(0.7, 1.5 + h) - reference(0.7, 1.5 - h)) / (2 * h),
    ]
    mean, stddev = tf.constant([[0.7]]), tf.constant([[1.5]])
    with tf.GradientTape() as tape:
        tape.watch([mean, stddev])
        student = tfd.Independent(tfd.Normal(mean, stddev), 1)
        value = divergences.get(name)(normals([[0.0]], [[1.0]]), student)
    actual = [float(gradient[0, 0]) for gradient in tape.gradient(value, [mean, stddev])]
    np.testing.assert_allclose(actual, np.ravel(expected), atol=5e-3, rtol=1e-2)


# Lookup and errors


@pytest.mark.parametrize("name", NAMES)
def test_get_finds_every_name(name):
    assert divergences.get(name) is getattr(divergences, name)


def test_get_accepts_a_callable():
    def squared(teacher, student):
        return (teacher.mean() - student.mean()) ** 2

    assert divergences.get(squared) is squared


@pytest.mark.parametrize("identifier", ["hellinger", "", None, 3])
def test_get_names_the_choices_for_an_unknown_name(identifier):
    with pytest.raises(ValueError, match=r"Unknown divergence.*jensen_shannon.*kl"):
        divergences.get(identifier)


@pytest.mark.parametrize(
    "distribution",
    [tfd.Gamma([1.0], [1.0]), tfd.Independent(tfd.Laplace([[0.0]], [[1.0]]), 1)],
    ids=["gamma", "independent laplace"],
)
def test_jensen_shannon_refuses_other_families_by_name(distribution):
    with pytest.raises(TypeError, match=r"(Gamma|Laplace).*divergence='kl'"):
        divergences.jensen_shannon(distribution, distribution)
