"""Divergences of published relatives against their formulas in NumPy and SciPy."""

import by_hand
import keras
import numpy as np
import processes
import pytest
import scipy.stats
import tensorflow as tf
from scipy.special import softmax
from tensorflow_probability import distributions as tfd

from ecl_tf import Distiller, divergences, outputs
from ecl_tf.relatives import correlation, decoupled, standardised_logits

FUNCTIONS = [standardised_logits, decoupled, correlation]
of_each = pytest.mark.parametrize("function", FUNCTIONS)
CLASSES = outputs.Categorical()


def by_formula(function, teacher, student):
    """Of rows of logits, in float64, by the published formula and constants."""
    teacher, student = np.float64(teacher), np.float64(student)
    if function is standardised_logits:
        p, q = (softmax(scipy.stats.zscore(v, axis=-1) / 2, -1) for v in (teacher, student))
        return 9 * 2**2 * scipy.stats.entropy(p, q, axis=-1)
    p, q = softmax(teacher, -1), softmax(student, -1)
    if function is decoupled:
        return np.array([one_decoupled(*row) for row in zip(p, q, strict=True)])
    of_rows = np.array([scipy.stats.pearsonr(*row)[0] for row in zip(p, q, strict=True)])
    of_classes = [scipy.stats.pearsonr(*column)[0] for column in zip(p.T, q.T, strict=True)]
    return 2 * (1 - of_rows) + 2 * (1 - np.mean(of_classes))  # Of the mean over rows.


def one_decoupled(p, q):
    target = p.argmax()
    of_target = scipy.stats.entropy([p[target], 1 - p[target]], [q[target], 1 - q[target]])
    return of_target + 8 * scipy.stats.entropy(np.delete(p, target), np.delete(q, target))


def logits(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 3, (2, *shape)).astype("float32")


@of_each
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_each_is_its_formula(function, temperature):
    teacher, student = logits(20, 7)
    arguments = CLASSES(teacher), CLASSES(student), function, temperature
    actual = CLASSES.divergence(*arguments)
    expected = temperature**2 * by_formula(function, teacher / temperature, student / temperature)
    if function is correlation:
        actual, expected = np.mean(actual), np.mean(expected)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@of_each
def test_constants_may_be_others_and_each_is_zero_at_the_teacher(function):
    teacher, student = map(CLASSES, logits(20, 7))
    np.testing.assert_allclose(function(teacher, teacher), np.zeros(20), atol=1e-4)
    names = {
        standardised_logits: {"weight": (9.0, 4.0)},
        decoupled: {"alpha": (1.0, 3.0), "beta": (8.0, 2.0)},
        correlation: {"beta": (2.0, 1.0), "gamma": (2.0, 5.0)},
    }[function]
    # They are linear in their weights.
    none = dict.fromkeys(names, 0.0)
    parts = [
        function(teacher, student, **none | {name: given}) * (published / given)
        for name, (published, given) in names.items()
    ]
    np.testing.assert_allclose(sum(parts), function(teacher, student), rtol=1e-4, atol=1e-5)


def test_decoupled_weights_by_the_teachers_doubt_are_kl():
    (p,), (q,) = logits(1, 5)
    doubt = 1 - softmax(np.float64(p)).max()
    actual = decoupled(CLASSES(p), CLASSES(q), beta=doubt)
    expected = scipy.stats.entropy(*softmax(np.float64([p, q]), -1))
    assert float(actual) == pytest.approx(expected, rel=1e-5)


def test_standardised_logits_have_no_scale_so_that_a_temperature_is_a_factor_alone():
    teacher, student = logits(20, 7)
    expected = by_formula(standardised_logits, teacher, student)
    calibrated = outputs.Categorical(temperature=1.7)(teacher)
    actual = standardised_logits(calibrated, CLASSES(student * 0.5 + 3.0))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    actual = CLASSES.divergence(calibrated, CLASSES(student), standardised_logits, 3.0)
    np.testing.assert_allclose(actual, 9 * expected, rtol=1e-4, atol=1e-4)


def test_standardised_logits_of_an_ensemble_are_those_of_its_mean_probabilities():
    (first, second), (student, _) = logits(20, 7), logits(20, 7, seed=1)
    mean = np.log((softmax(np.float64(first), -1) + softmax(np.float64(second), -1)) / 2)
    actual = standardised_logits(CLASSES.combine([first, second]), CLASSES(student))
    np.testing.assert_allclose(
        actual, by_formula(standardised_logits, mean, student), rtol=1e-4, atol=1e-5
    )


@of_each
def test_positions_are_rows(function):
    teacher, student = logits(4, 5, 7)
    actual = function(CLASSES(teacher), CLASSES(student))
    assert actual.shape == (4, 5)
    flat = function(*(CLASSES(each.reshape(20, 7)) for each in (teacher, student)))
    np.testing.assert_allclose(np.reshape(actual, 20), flat, rtol=1e-4, atol=1e-5)


def test_a_rows_share_of_the_classes_correlations_is_that_of_its_standardised_numbers():
    teacher, student = logits(6, 3)
    p, q = (scipy.stats.zscore(softmax(np.float64(each), -1)) for each in (teacher, student))
    actual = correlation(CLASSES(teacher), CLASSES(student), beta=0.0)
    np.testing.assert_allclose(actual, np.square(p - q).mean(-1), rtol=1e-4, atol=1e-5)


# Hard points

RULED_OUT = [2.0, 1.0, 0.5, -np.inf], [2.0, 1.0, 0.5, np.finfo(np.float32).min]


@of_each
@pytest.mark.parametrize(
    ("teacher", "student"),
    [
        *[(row, [0.3, 0.1, 0.2, -0.4]) for row in RULED_OUT],
        *[([0.3, 0.1, 0.2, -0.4], row) for row in RULED_OUT],
        *[(row, row) for row in RULED_OUT],
        ([90.0, 0.0, 0.0, -90.0], [-90.0, 0.0, 0.0, 90.0]),
        ([3e4, 0.0, 0.0, 0.0], [0.0, 3e4, 0.0, 0.0]),
        ([1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]),
        ([0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]),
    ],
)
def test_values_and_gradients_are_finite_at_hard_points(function, teacher, student):
    raw = tf.constant([student, [0.1, 0.2, 0.3, 0.4]])
    with tf.GradientTape() as tape:
        tape.watch(raw)
        value = function(CLASSES([teacher, [0.4, 0.3, 0.2, 0.1]]), CLASSES(raw))
    assert np.isfinite(value).all()
    assert np.isfinite(tape.gradient(value, raw)).all()


def test_decoupled_starts_from_logits_where_probabilities_are_zero():
    """Both networks are sure, of two classes: the target's part by hand, its gradient alive."""
    raw = tf.constant([[-60.0, 60.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(raw)
        value = decoupled(CLASSES([[60.0, -60.0, 0.0]]), CLASSES(raw))
    # -log q of the target is 120. Given that it is not, the teacher is sure of the last class,
    # and the student of the second: 60 nats.
    np.testing.assert_allclose(value, [120 + 8 * 60], rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(value, raw), [[-1, 1 + 8, -8]], atol=1e-5)


def test_one_row_has_no_share_of_the_classes_correlations_and_two_classes_have_no_others():
    teacher, student = logits(1, 4)
    actual = correlation(CLASSES(teacher), CLASSES(student), beta=0.0)
    np.testing.assert_array_equal(actual, [0.0])
    two = decoupled(CLASSES(teacher[:, :2]), CLASSES(student[:, :2]))
    expected = scipy.stats.entropy(*softmax(np.float64([teacher[0, :2], student[0, :2]]), -1))
    np.testing.assert_allclose(two, [expected], rtol=1e-5)


# Where they are used


@of_each
def test_each_has_its_name_and_is_saved_by_it(function, tmp_path):
    name = function.__name__
    assert divergences.get(name) is function and divergences.name_of(function) == name
    networks = (by_hand.linear(by_hand.weights(seed=seed)) for seed in (1, 2))
    Distiller(*networks, divergence=name).save(tmp_path / "distiller.keras")
    assert keras.saving.load_model(tmp_path / "distiller.keras").divergence is function


@of_each
def test_other_outputs_are_refused_before_the_first_step(function):
    networks = (by_hand.linear(by_hand.weights(units=2, seed=seed)) for seed in (1, 2))
    distiller = Distiller(*networks, output="normal", divergence=function.__name__)
    distiller.compile("adam")
    with pytest.raises(ValueError, match=rf"'{function.__name__}'.*categorical.*Normal"):
        distiller.fit(by_hand.numbers(8, 4), verbose=0)
    bernoulli = tfd.Independent(tfd.Bernoulli(logits=[[0.0]]), 1)
    with pytest.raises(TypeError, match=r"categorical.*Bernoulli.*divergence='kl'"):
        function(bernoulli, bernoulli)


@pytest.mark.slow
def test_two_replicas_correlate_their_own_rows_each():
    """The other functions are of each row by itself, as KL is."""
    run = processes.start("correlate_on_replicas.py", VIRTUAL_DEVICES="2")
    (loss,) = processes.results([run])
    x = by_hand.numbers(16, 4)
    teacher, student = (
        np.matmul(x, its[0]) + its[1] for its in (by_hand.weights(seed=seed) for seed in (2, 1))
    )
    halves = [by_formula(correlation, teacher[h], student[h]) for h in np.split(np.r_[:16], 2)]
    assert loss == pytest.approx(np.mean(halves), rel=1e-4)
    assert abs(np.mean(halves) - np.mean(by_formula(correlation, teacher, student))) > 1e-2
