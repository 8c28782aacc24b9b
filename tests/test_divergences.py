"""Every divergence against formulas (NumPy, SciPy) and quadrature."""

import itertools
import math

import by_hand
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


def normal_jensen_shannon(p, q):
    """By quadrature, of one dimension."""
    p_pdf, q_pdf = scipy.stats.norm(*p).pdf, scipy.stats.norm(*q).pdf

    def integrand(x):
        a, b = p_pdf(x), q_pdf(x)
        m = (a + b) / 2
        return 0.5 * (scipy.special.rel_entr(a, m) + scipy.special.rel_entr(b, m))

    # Cut where either density changes fast, so that the quadrature misses no peak.
    cuts = sorted(mean + k * stddev for mean, stddev in (p, q) for k in (-12, -4, 0, 4, 12))
    return sum(scipy.integrate.quad(integrand, a, b)[0] for a, b in itertools.pairwise(cuts))


def of_normals(p, q):
    return by_hand.normal_kl(*p, *q).sum(-1)


def normals(mean, stddev):
    return tfd.Independent(tfd.Normal(*as_float32(mean, stddev)), 1)


# Formulas


@pytest.mark.parametrize("name", NAMES)
def test_categorical_and_bernoulli_equal_scipy(name):
    teacher, student = as_float32(*np.random.default_rng(0).normal(0, 3, (2, 20, 7)))
    function, output = divergences.get(name), outputs.Categorical()
    p, q = (scipy.special.softmax(x.astype(np.float64), -1) for x in (teacher, student))
    actual = function(output(teacher), output(student))
    np.testing.assert_allclose(actual, discrete(name, p, q), rtol=2e-5, atol=1e-6)
    # Of yes/no labels the sum over labels.
    output = outputs.Bernoulli()
    expected = discrete(name, no_and_yes(teacher), no_and_yes(student)).sum(-1)
    actual = function(output(teacher), output(student))
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["kl", "reverse_kl", "jeffreys"])
def test_normal_equals_the_closed_form(name):
    rng = np.random.default_rng(2)
    m, n = as_float32(*rng.normal(0, 2, (2, 20, 3)))
    s, t = as_float32(*rng.uniform(0.3, 3, (2, 20, 3)))
    actual = divergences.get(name)(normals(m, s), normals(n, t))
    np.testing.assert_allclose(actual, from_kls(name, of_normals, (m, s), (n, t)), rtol=1e-5)


@pytest.mark.parametrize(
    ("p", "q"),
    [
        ((0.5, 0.7), (0.5, 0.7)),
        ((0.0, 1.0), (0.0, 3.0)),
        ((1.0, 0.2), (1.3, 0.1)),
        ((-1.0, 1.0), (6.0, 2.0)),
        ((0.0, 1.0), (0.3, 0.01)),
        ((0.0, 1.0), (2.5, 1.0)),
    ],
)
def test_jensen_shannon_of_normals_equals_quadrature(p, q):
    expected = normal_jensen_shannon(p, q)
    actual = divergences.jensen_shannon(tfd.Normal(*p), tfd.Normal(*q))
    assert float(actual) == pytest.approx(expected, abs=5e-3)
    independent = divergences.jensen_shannon(
        normals([[p[0]]], [[p[1]]]), normals([[q[0]]], [[q[1]]])
    )
    assert independent.shape == (1,)
    assert float(independent[0]) == pytest.approx(expected, abs=5e-3)


def test_jensen_shannon_of_normals_of_several_dimensions_is_that_along_their_distance():
    one, other = normals([[0.0, 0.0]], [[1.0, 1.0]]), normals([[1.5, -2.0]], [[1.0, 1.0]])
    expected = normal_jensen_shannon((0.0, 1.0), (2.5, 1.0))
    actual = divergences.jensen_shannon(one, other)
    assert float(actual[0]) == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize("name", ["kl", "reverse_kl", "jeffreys"])
def test_of_poissons_equals_the_closed_form_of_close_and_far_rates(name):
    rates = [1e-3, 0.5, 1e3, 1e4, 3e5, 1e7, 1e7, 20.0]
    others = [20.0, 0.5, 1000.17, 10001.7, 300051.0, 10001700.0, 1e4, 1e-3]
    p, q = as_float32(rates, others)
    found = divergences.get(name)(*(tfd.Independent(tfd.Poisson(x[:, None]), 1) for x in (p, q)))
    p, q = np.float64(p), np.float64(q)
    expected = from_kls(name, lambda a, b: scipy.special.rel_entr(a, b) - a + b, p, q)
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-8)
    assert np.min(found) >= 0.0


# Properties


def test_forward_kl_punishes_a_student_that_misses_a_mode_and_reverse_kl_does_not():
    teacher = outputs.Categorical()(np.log([[0.5, 0.5]]))
    student = outputs.Categorical()([[0.0, -50.0]])
    # 0.5 ln 0.5 + 0.5 (ln 0.5 + 50), against ln 2.
    assert float(divergences.kl(teacher, student)[0]) == pytest.approx(25 - math.log(2), rel=1e-5)
    assert float(divergences.reverse_kl(teacher, student)[0]) == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("p", "q", "events"),
    [
        (outputs.Categorical()([[40.0, 0.0]]), outputs.Categorical()([[0.0, 40.0]]), 1),
        (outputs.Bernoulli()([[60.0, -60.0]]), outputs.Bernoulli()([[-60.0, 60.0]]), 2),
        (normals([[0.0, 0.0]], [[1e-3, 1.0]]), normals([[9.0, 0.0]], [[2.0, 1.0]]), 1),
        (normals([[0.0]], [[1.0]]), normals([[0.0]], [[1e-3]]), 1),
    ],
    ids=["categorical", "bernoulli", "normal far", "normal narrow"],
)
def test_jensen_shannon_comes_near_but_never_passes_its_bound(p, q, events):
    value = float(divergences.jensen_shannon(p, q)[0])
    bound = events * math.log(2)
    assert 0.95 * bound < value <= bound + 1e-6


@pytest.mark.parametrize("name", ["kl", "jensen_shannon"])
def test_a_probability_of_exactly_zero_or_one_gives_no_nan(name):
    """As from an exported teacher, whose small probabilities round to 0 in float32."""
    function, output = divergences.get(name), outputs.Categorical()
    p, q = np.array([1.0, 0.0, 0.0]), np.array([0.5, 0.25, 0.25])
    actual = function(output.from_parameters({"probabilities": [p]}), output(np.log([q])))
    np.testing.assert_allclose(actual, [discrete(name, p, q)], rtol=1e-5)
    output = outputs.Bernoulli()
    teacher = output.from_parameters({"probabilities": [[1.0, 0.0]]})
    certain, fair = np.array([[0.0, 1.0], [1.0, 0.0]]), np.full((2, 2), 0.5)
    actual = function(teacher, output([[0.0, 0.0]]))
    np.testing.assert_allclose(actual, [discrete(name, certain, fair).sum()], rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_both_parameters_of_a_normal_student(name):
    """Against central differences of the reference in float64."""

    def reference(mean, stddev):
        p, q = (0.0, 1.0), (mean, stddev)
        if name == "jensen_shannon":
            return normal_jensen_shannon(p, q)
        return from_kls(name, of_normals, np.reshape(p, (2, 1)), np.reshape(q, (2, 1)))

    h = 1e-3
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
    np.testing.assert_allclose(actual, expected, atol=5e-3, rtol=1e-2)


def test_faithful_has_kls_value_and_squared_errors_gradient_for_the_mean():
    means, stddevs = np.float32([[0.7, -2.0]]), np.float32([[1.5, 0.4]])
    teacher, unit = (np.float32([[0.2, 1.0]]), np.float32([[0.9, 2.0]])), np.float32([3.0, 0.5])
    mean, stddev = tf.constant(means), tf.constant(stddevs)
    with tf.GradientTape() as tape:
        tape.watch([mean, stddev])
        student = tfd.Independent(tfd.Normal(mean, stddev), 1)
        value = divergences.faithful(normals(*teacher), student, unit)
    of_means, of_stddevs = tape.gradient(value, [mean, stddev])
    apart, variances = means - teacher[0], teacher[1] ** 2
    np.testing.assert_allclose(of_means, apart / unit**2, rtol=1e-6)
    expected = 1.0 / stddevs - (variances + apart**2) / stddevs**3  # KL's, by hand.
    np.testing.assert_allclose(of_stddevs, expected, rtol=1e-5)
    np.testing.assert_array_equal(value, divergences.kl(normals(*teacher), student))


def test_a_normal_output_gives_faithful_its_unit_and_classes_have_kl():
    output = outputs.Normal(1, target_mean=5.0, target_stddev=4.0)
    raw = tf.constant([[0.5, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch(raw)
        value = output.divergence(output([[0.2, 0.0]]), output(raw), divergences.faithful)
    # The raw mean is in units of the targets' standard deviation.
    assert float(tape.gradient(value, raw)[0, 0]) == pytest.approx(0.5 - 0.2, rel=1e-5)
    classes = tfd.Categorical(logits=[[0.0, 1.0]]), tfd.Categorical(logits=[[0.5, 0.0]])
    np.testing.assert_array_equal(divergences.faithful(*classes), divergences.kl(*classes))


# Lookup and errors


def test_get_finds_every_name_and_takes_functions():
    for name in NAMES:
        assert divergences.get(name) is getattr(divergences, name)
        assert divergences.name_of(divergences.get(name)) == name
    assert divergences.get(of_normals) is of_normals
    assert divergences.name_of(of_normals) is None


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
