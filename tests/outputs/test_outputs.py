"""Outputs against NumPy and SciPy: distributions, ensembles, likelihoods, serialization."""

import math

import keras
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf

from ecl_tf import divergences, outputs
from ecl_tf.outputs import Bernoulli, Categorical, Joint, Normal, Point

RNG = np.random.default_rng(0)
# Of three members, four rows and four raw numbers.
RAWS = RNG.normal(0, 1.5, (3, 4, 4)).astype(np.float32)


def softmax(logits):
    return scipy.special.softmax(np.asarray(logits, np.float64), -1)


def sigmoid(logits):
    return scipy.special.expit(np.asarray(logits, np.float64))


def softplus(x):
    return np.logaddexp(0, np.asarray(x, np.float64))


def normal_moments(raw, size, min_scale=1e-3):
    raw = np.asarray(raw, np.float64)
    return raw[..., :size], min_scale + softplus(raw[..., size:])


def normal_kl(m, s, n, t):
    return np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5


# Distributions


def test_categorical_probabilities_are_softmax():
    probabilities = Categorical()(RAWS[0]).probs_parameter()
    np.testing.assert_allclose(probabilities, softmax(RAWS[0]), rtol=1e-5)


def test_bernoulli_probability_of_a_row_is_the_product_over_labels():
    p = sigmoid(RAWS[0])
    labels = np.array([[0, 1, 1, 0]] * 4, np.float32)
    expected = np.where(labels > 0, p, 1 - p).prod(-1)
    np.testing.assert_allclose(Bernoulli()(RAWS[0]).prob(labels), expected, rtol=1e-5)


@pytest.mark.parametrize("min_scale", [1e-3, 0.5])
def test_normal_is_mean_and_floor_plus_softplus(min_scale):
    distribution = Normal(2, min_scale)(RAWS[0])
    mean, stddev = normal_moments(RAWS[0], 2, min_scale)
    np.testing.assert_allclose(distribution.mean(), mean, rtol=1e-6)
    np.testing.assert_allclose(distribution.stddev(), stddev, rtol=1e-5)
    assert distribution.event_shape == (2,)
    assert distribution.batch_shape == (4,)


@pytest.mark.parametrize("output", [Categorical(), Bernoulli(), Normal(2), Point(4, 0.1)])
def test_float16_raw_outputs_give_float32_distributions(output):
    distribution = output(tf.cast(RAWS[0], tf.float16))
    assert distribution.mean().dtype == tf.float32 if output.family != "categorical" else True
    assert all(value.dtype == tf.float32 for value in output.parameters(distribution).values())
    assert output.prediction(tf.cast(RAWS[0], tf.float16)).dtype == tf.float32
    reference = output(np.float16(RAWS[0]).astype(np.float32))
    for name, value in output.parameters(reference).items():
        np.testing.assert_array_equal(output.parameters(distribution)[name], value)


@pytest.mark.parametrize("min_scale", [1e-3, 1e-2])
def test_the_scale_floor_bounds_the_divergence(min_scale):
    output = Normal(1, min_scale)
    one = scipy.special.logit(1 - math.exp(-(1 - min_scale)))  # softplus(x) = 1 - floor
    teacher = output([[0.0, one]])
    student = output([[0.0, -1e4]])
    expected = math.log(min_scale) + 1 / (2 * min_scale**2) - 0.5
    actual = output.divergence(teacher, student, divergences.kl)
    assert float(student.stddev()[0, 0]) == pytest.approx(min_scale)
    assert float(actual[0]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("output", [Categorical(), Bernoulli(), Normal(2), Point(4, 0.1)])
def test_prediction_is_the_mean_or_the_probabilities(output):
    expected = {
        Categorical: softmax,
        Bernoulli: sigmoid,
        Normal: lambda raw: raw[..., :2],
        Point: lambda raw: raw,
    }[type(output)](RAWS[0])
    np.testing.assert_allclose(output.prediction(RAWS[0]), expected, rtol=1e-5)


# Divergence of outputs: temperature, gradients, dense predictions


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0, 20.0])
def test_categorical_divergence_is_squared_temperature_times_the_tempered_kl(temperature):
    output = Categorical()
    actual = output.divergence(output(RAWS[0]), output(RAWS[1]), divergences.kl, temperature)
    p, q = softmax(RAWS[0] / temperature), softmax(RAWS[1] / temperature)
    expected = temperature**2 * scipy.stats.entropy(p, q, axis=-1)
    np.testing.assert_allclose(actual, expected, rtol=1e-3)


def student_gradient(teacher_logits, student_logits, temperature=1.0):
    output = Categorical()
    logits = tf.constant(student_logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = output.divergence(
            output(teacher_logits), output(logits), divergences.kl, temperature
        )
    return tape.gradient(loss, logits).numpy()


@pytest.mark.parametrize("temperature", [20.0, 100.0])
def test_the_gradients_size_does_not_depend_on_a_high_temperature(temperature):
    """Hinton et al. 2015, equation 4: it tends to (centred z_s - centred z_t) / K."""
    expected = [(z - z.mean(-1, keepdims=True)) / 4 for z in (RAWS[1], RAWS[0])]
    actual = student_gradient(RAWS[0], RAWS[1], temperature)
    np.testing.assert_allclose(actual, expected[0] - expected[1], atol=3.0 / temperature)


def test_the_gradient_at_temperature_t_is_t_times_the_tempered_difference():
    expected = 4.0 * (softmax(RAWS[1] / 4.0) - softmax(RAWS[0] / 4.0))
    np.testing.assert_allclose(student_gradient(RAWS[0], RAWS[1], 4.0), expected, atol=1e-5)


def test_the_gradient_stays_alive_where_a_clipped_softmax_would_have_none():
    teacher, student = np.array([[2.0, 0.0, -1.0]]), np.array([[-20.0, 0.0, 0.0]])
    actual = student_gradient(teacher, student)
    assert np.all(np.isfinite(actual)) and np.all(np.abs(actual) > 0.01)
    np.testing.assert_allclose(actual, softmax(student) - softmax(teacher), rtol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_constant_added_to_every_logit_changes_nothing(temperature):
    output = Categorical()

    def value(shift):
        teacher, student = output(RAWS[0] + shift), output(RAWS[1] + shift)
        return output.divergence(teacher, student, divergences.kl, temperature)

    np.testing.assert_allclose(value(50.0), value(0.0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("output", [Bernoulli(), Normal(2)])
def test_temperature_is_for_categorical_outputs_only(output):
    teacher, student = output(RAWS[0]), output(RAWS[1])
    values = [output.divergence(teacher, student, divergences.kl, t) for t in (1.0, 4.0)]
    np.testing.assert_array_equal(*values)
    assert not output.takes_temperature
    assert Categorical().takes_temperature


@pytest.mark.parametrize("output", [Categorical(), Bernoulli(), Normal(2)])
def test_positions_of_dense_predictions_are_averaged(output):
    rng = np.random.default_rng(1)
    teacher, student = rng.normal(0, 1, (2, 5, 2, 3, 4)).astype(np.float32)
    actual = output.divergence(output(teacher), output(student), divergences.kl)
    if output == Categorical():
        each = scipy.stats.entropy(softmax(teacher), softmax(student), axis=-1)
    elif output == Bernoulli():
        p, q = sigmoid(teacher), sigmoid(student)
        rel_entr = scipy.special.rel_entr
        each = (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).sum(-1)
    else:
        each = normal_kl(*normal_moments(teacher, 2), *normal_moments(student, 2)).sum(-1)
    assert actual.shape == (5,)
    np.testing.assert_allclose(actual, each.mean((1, 2)), rtol=1e-4)


# Ensembles


@pytest.mark.parametrize("output", [Categorical(), Bernoulli(), Normal(2), Point(4, 0.3)])
@pytest.mark.parametrize("members", [1, 3])
def test_identical_members_equal_one_model(output, members):
    combined = output.parameters(output.combine([RAWS[0]] * members))
    for name, value in output.parameters(output(RAWS[0])).items():
        np.testing.assert_allclose(combined[name], value, rtol=1e-5)


def test_categorical_and_bernoulli_ensembles_are_means_of_probabilities():
    categorical = Categorical().combine(list(RAWS)).probs_parameter()
    np.testing.assert_allclose(categorical, softmax(RAWS).mean(0), rtol=1e-5)
    bernoulli = Bernoulli().combine(list(RAWS)).mean()
    np.testing.assert_allclose(bernoulli, sigmoid(RAWS).mean(0), rtol=1e-5)


def test_averaging_logits_is_another_ensemble():
    # (0.99, 0.01) and (0.5, 0.5): their mean is 0.745; mean logits give sqrt(99) : 1.
    raws = [np.log([[0.99, 0.01]]), np.log([[0.5, 0.5]])]
    combined = float(Categorical().combine(raws).probs_parameter()[0, 0])
    of_mean_logits = math.sqrt(99) / (math.sqrt(99) + 1)
    assert combined == pytest.approx(0.745, rel=1e-5)
    assert abs(combined - of_mean_logits) > 0.1


@pytest.mark.parametrize("output", [Categorical(), Bernoulli()])
def test_ensembles_of_extreme_logits_stay_finite(output):
    raws = [[[200.0, -200.0]], [[200.0, -150.0]]]
    combined = output.combine(raws)
    assert np.all(np.isfinite(output.raw(combined)))
    expected = [[1.0, 0.0]]
    np.testing.assert_allclose(output.parameters(combined)["probabilities"], expected, atol=1e-6)
    assert np.all(np.isfinite(output.uncertainty(raws)))


def test_normal_ensemble_has_the_mixtures_moments():
    combined = Normal(2).combine(list(RAWS))
    means, stddevs = normal_moments(RAWS, 2)
    variance = (stddevs**2 + means**2).mean(0) - means.mean(0) ** 2
    np.testing.assert_allclose(combined.mean(), means.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(combined.variance(), variance, rtol=1e-4)


def test_moment_matching_a_mixture_costs_a_gaussian_student_only_a_constant():
    raws = [[[-1.0, 0.0]], [[0.5, 1.0]], [[3.0, -1.0]]]
    means, stddevs = normal_moments(raws, 1)
    means, stddevs = means.ravel(), stddevs.ravel()
    matched = Normal(1).combine(raws)

    def from_mixture(n, t):
        def integrand(x):
            density = scipy.stats.norm.pdf(x, means, stddevs).mean()
            return density * (np.log(density) - scipy.stats.norm.logpdf(x, n, t))

        return scipy.integrate.quad(integrand, -10, 14, points=list(means), limit=200)[0]

    gaps = [
        from_mixture(n, t)
        - normal_kl(matched.mean().numpy().item(), matched.stddev().numpy().item(), n, t)
        for n, t in [(0.0, 1.0), (2.0, 0.7), (-1.0, 3.0), (0.8, 2.0)]
    ]
    np.testing.assert_allclose(gaps, gaps[0], atol=1e-4)
    assert abs(gaps[0]) > 1e-2  # a constant, not zero


def test_summed_member_divergences_are_m_times_the_ensembles_plus_a_constant():
    output = Categorical()
    combined = output.combine(list(RAWS))

    def gap(student):
        each = scipy.stats.entropy(softmax(RAWS), softmax(student)[None], axis=-1).sum(0)
        return each - 3 * output.divergence(combined, output(student), divergences.kl)

    first, second = RNG.normal(0, 2, (2, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(gap(first), gap(second), atol=1e-5)
    # Not so for the mean of the logits.
    mean_logits = softmax(RAWS.mean(0))
    gaps = [
        scipy.stats.entropy(softmax(RAWS), softmax(s)[None], axis=-1).sum(0)
        - 3 * scipy.stats.entropy(mean_logits, softmax(s), axis=-1)
        for s in (first, second)
    ]
    assert np.max(np.abs(gaps[0] - gaps[1])) > 0.01


@pytest.mark.parametrize("stddev", [0.3, [0.3, 0.1, 0.2, 0.5]])
def test_point_ensembles_add_the_members_disagreement_to_the_given_spread(stddev):
    combined = Point(4, stddev=stddev).combine(list(RAWS))
    np.testing.assert_allclose(combined.mean(), RAWS.mean(0), rtol=1e-5, atol=1e-6)
    expected = np.sqrt(np.asarray(stddev) ** 2 + RAWS.var(0))
    np.testing.assert_allclose(combined.stddev(), expected, rtol=1e-5)


def test_one_point_model_has_the_given_spread():
    distribution = Point(4, stddev=[0.3, 0.1, 0.2, 0.5])(RAWS[0])
    np.testing.assert_array_equal(distribution.mean(), RAWS[0])
    np.testing.assert_allclose(distribution.stddev(), [[0.3, 0.1, 0.2, 0.5]] * 4, rtol=1e-6)


def test_point_ensembles_without_a_spread_take_it_from_the_members():
    combined = Point(4).combine(list(RAWS))
    np.testing.assert_allclose(combined.stddev(), RAWS.std(0), rtol=1e-4)


def test_agreeing_point_members_get_the_floor():
    combined = Point(4, min_scale=0.05).combine([RAWS[0], RAWS[0]])
    np.testing.assert_allclose(combined.stddev(), np.full((4, 4), 0.05), rtol=1e-6)


def test_a_single_point_model_without_a_spread_is_refused_with_the_remedy():
    for make in (lambda: Point(4)(RAWS[0]), lambda: Point(4).combine([RAWS[0]])):
        with pytest.raises(ValueError, match=r"Point\(4, stddev=\.\.\.\).*residual_stddev"):
            make()


# Uncertainty


def test_categorical_uncertainty_is_mean_entropy_and_mutual_information():
    aleatoric, epistemic = Categorical().uncertainty(list(RAWS))
    p = softmax(RAWS)
    total = scipy.stats.entropy(p.mean(0), axis=-1)
    np.testing.assert_allclose(aleatoric, scipy.stats.entropy(p, axis=-1).mean(0), rtol=1e-5)
    np.testing.assert_allclose(aleatoric + epistemic, total, rtol=1e-5)
    # The mutual information is the members' mean divergence from their mean.
    information = scipy.stats.entropy(p, p.mean(0)[None], axis=-1).mean(0)
    np.testing.assert_allclose(epistemic, information, rtol=1e-4, atol=1e-6)


def test_bernoulli_uncertainty_sums_its_labels():
    aleatoric, epistemic = Bernoulli().uncertainty(list(RAWS))
    p = sigmoid(RAWS)

    def entropy(probability):
        return scipy.stats.entropy([probability, 1 - probability])

    np.testing.assert_allclose(aleatoric, entropy(p).mean(0).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(aleatoric + epistemic, entropy(p.mean(0)).sum(-1), rtol=1e-5)
    assert np.all(epistemic > 0)


def test_normal_uncertainty_is_mean_variance_and_variance_of_means():
    aleatoric, epistemic = Normal(2).uncertainty(list(RAWS))
    means, stddevs = normal_moments(RAWS, 2)
    np.testing.assert_allclose(aleatoric, (stddevs**2).mean(0), rtol=1e-5)
    np.testing.assert_allclose(epistemic, means.var(0), rtol=1e-4)
    total = Normal(2).combine(list(RAWS)).variance()
    np.testing.assert_allclose(aleatoric + epistemic, total, rtol=1e-5)


def test_point_uncertainty_is_the_given_variance_and_the_variance_of_the_points():
    aleatoric, epistemic = Point(4, stddev=0.3).uncertainty(list(RAWS))
    np.testing.assert_allclose(aleatoric, np.full((4, 4), 0.09), rtol=1e-5)
    np.testing.assert_allclose(epistemic, RAWS.var(0), rtol=1e-4)


@pytest.mark.parametrize("output", [Categorical(), Bernoulli(), Normal(2), Point(4, 0.3)])
def test_one_member_has_no_epistemic_uncertainty(output):
    epistemic = output.uncertainty([RAWS[0]]).epistemic
    np.testing.assert_allclose(epistemic, np.zeros(epistemic.shape), atol=1e-6)


# Likelihoods and closeness


def test_categorical_likelihood_of_indices_one_hot_and_soft_rows():
    log_p = scipy.special.log_softmax(RAWS[0].astype(np.float64), -1)
    labels = np.array([0, 3, 1, 1])
    output = Categorical()
    distribution = output(RAWS[0])
    expected = -log_p[np.arange(4), labels]
    for given in (labels, labels[:, None], labels.astype(np.float32), np.eye(4)[labels]):
        actual = output.negative_log_likelihood(distribution, given)
        assert actual.shape == (4,)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)
    soft = softmax(RAWS[1])
    actual = output.negative_log_likelihood(distribution, soft)
    np.testing.assert_allclose(actual, -(soft * log_p).sum(-1), rtol=1e-5)


def test_bernoulli_likelihood_of_hard_and_soft_labels():
    p = sigmoid(RAWS[0])
    for labels in (np.array([[0, 1, 1, 0]] * 4), sigmoid(RAWS[1])):
        expected = -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).sum(-1)
        actual = Bernoulli().negative_log_likelihood(Bernoulli()(RAWS[0]), labels)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_bernoulli_likelihood_is_finite_where_probabilities_round_to_zero():
    distribution = Bernoulli()([[200.0, -150.0]])
    actual = Bernoulli().negative_log_likelihood(distribution, [[0, 1]])
    assert float(actual[0]) == pytest.approx(350.0)


def test_one_bernoulli_label_may_come_without_its_axis():
    actual = Bernoulli().negative_log_likelihood(Bernoulli()([[0.0], [2.0]]), [1, 1])
    np.testing.assert_allclose(actual, -np.log(sigmoid([0.0, 2.0])), rtol=1e-5)


@pytest.mark.parametrize("output", [Normal(2), Point(2, stddev=[0.5, 2.0])])
def test_gaussian_likelihood_equals_scipy(output):
    labels = RNG.normal(0, 1, (4, 2)).astype(np.float32)
    if isinstance(output, Normal):
        raw, (mean, stddev) = RAWS[0], normal_moments(RAWS[0], 2)
    else:
        raw, mean, stddev = RAWS[0][:, :2], RAWS[0][:, :2], [0.5, 2.0]
    expected = -scipy.stats.norm.logpdf(labels, mean, stddev).sum(-1)
    actual = output.negative_log_likelihood(output(raw), labels)
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_one_target_may_come_without_its_axis():
    raw = RAWS[0][:, :2]
    labels = np.array([0.0, 1.0, 2.0, 3.0])
    mean, stddev = normal_moments(raw, 1)
    actual = Normal(1).negative_log_likelihood(Normal(1)(raw), labels)
    expected = -scipy.stats.norm.logpdf(labels, mean[:, 0], stddev[:, 0])
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("output", "teacher", "student", "expected"),
    [
        (Categorical(), [[0, 1, 2], [0, 3, 1]], [[0, 0, 1], [5, 0, 0]], {"agreement": [1, 0]}),
        (Categorical(), [[[0, 1], [1, 0]]], [[[0, 2], [0, 1]]], {"agreement": [0.5]}),
        (Bernoulli(), [[1, -1, 1, -1]], [[2, -3, 1, 1]], {"agreement": [0.75]}),
        (Normal(2), [[1, 2, 0, 0]], [[2, -1, 5, 5]], {"mean_error": [2.0]}),
    ],
)
def test_compare_by_hand(output, teacher, student, expected):
    actual = output.compare(
        output(np.array(teacher, np.float32)), output(np.array(student, np.float32))
    )
    assert set(actual) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value)


# Inverses


@pytest.mark.parametrize("output", [Categorical(), Bernoulli(), Normal(2), Point(4, 0.3)])
def test_raw_inverts_the_call(output):
    raw = RAWS[0].copy()
    raw[0, -1] = 60.0  # softplus must not overflow on its way back
    np.testing.assert_allclose(output.raw(output(raw)), raw, rtol=1e-3, atol=1e-5)


def test_raw_of_a_scale_at_the_floor_gives_the_floor_back():
    output = Normal(1, min_scale=0.01)
    raw = output.raw(output([[2.0, -100.0]]))
    assert np.all(np.isfinite(raw))
    assert float(output(raw).stddev()[0, 0]) == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("output", [Categorical(), Bernoulli(), Normal(2)])
def test_raw_of_an_ensemble_gives_the_ensemble_back(output):
    combined = output.combine(list(RAWS))
    again = output(output.raw(combined))
    for name, value in output.parameters(combined).items():
        np.testing.assert_allclose(output.parameters(again)[name], value, rtol=1e-4)


@pytest.mark.parametrize("output", [Categorical(), Bernoulli(), Normal(2), Point(4, 0.3)])
def test_from_parameters_inverts_parameters(output):
    distribution = output(RAWS[0])
    again = output.from_parameters(output.parameters(distribution))
    assert type(again) is type(distribution)
    assert again.batch_shape == distribution.batch_shape
    student = output(RAWS[1]) if not isinstance(output, Point) else Normal(4)(np.zeros((4, 8)))
    before, after = (divergences.kl(d, student) for d in (distribution, again))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


def test_parameters_are_what_their_names_say():
    np.testing.assert_allclose(
        Categorical().parameters(Categorical()(RAWS[0]))["probabilities"],
        softmax(RAWS[0]),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        Bernoulli().parameters(Bernoulli()(RAWS[0]))["probabilities"], sigmoid(RAWS[0]), rtol=1e-5
    )
    actual = Normal(2).parameters(Normal(2)(RAWS[0]))
    for name, value in zip(("mean", "stddev"), normal_moments(RAWS[0], 2), strict=True):
        np.testing.assert_allclose(actual[name], value, rtol=1e-5)


# Joint


JOINT = Joint({"digit": "categorical", "angle": Normal(1)}, {"angle": 0.25})
JOINT_RAWS = [{"digit": raw, "angle": raw[:, :2]} for raw in RAWS]


def test_joint_divergence_is_the_weighted_sum():
    teacher, student = JOINT(JOINT_RAWS[0]), JOINT(JOINT_RAWS[1])
    actual = JOINT.divergence(teacher, student, divergences.kl, temperature=2.0)
    digit = 4 * scipy.stats.entropy(softmax(RAWS[0] / 2), softmax(RAWS[1] / 2), axis=-1)
    moments = [normal_moments(raw["angle"], 1) for raw in JOINT_RAWS]
    angle = normal_kl(*moments[0], *moments[1]).sum(-1)
    np.testing.assert_allclose(actual, digit + 0.25 * angle, rtol=1e-4)


def test_joint_likelihood_is_the_weighted_sum():
    labels = {"digit": np.array([0, 1, 2, 3]), "angle": np.zeros((4, 1), np.float32)}
    actual = JOINT.negative_log_likelihood(JOINT(JOINT_RAWS[0]), labels)
    log_p = scipy.special.log_softmax(RAWS[0].astype(np.float64), -1)
    mean, stddev = normal_moments(JOINT_RAWS[0]["angle"], 1)
    angle = -scipy.stats.norm.logpdf(0.0, mean, stddev).sum(-1)
    np.testing.assert_allclose(actual, -np.diag(log_p) + 0.25 * angle, rtol=1e-5)


def test_joint_combines_and_splits_uncertainty_by_name():
    combined = JOINT.combine(JOINT_RAWS)
    np.testing.assert_allclose(
        combined["digit"].probs_parameter(), softmax(RAWS).mean(0), rtol=1e-5
    )
    np.testing.assert_allclose(combined["angle"].mean(), RAWS[:, :, :1].mean(0), rtol=1e-4)
    uncertainty = JOINT.uncertainty(JOINT_RAWS)
    entropy = scipy.stats.entropy(softmax(RAWS), axis=-1).mean(0)
    np.testing.assert_allclose(uncertainty["digit"].aleatoric, entropy, rtol=1e-5)
    np.testing.assert_allclose(uncertainty["angle"].epistemic, RAWS[:, :, :1].var(0), rtol=1e-4)


def test_joint_prefixes_names_and_inverts_its_parameters():
    distribution = JOINT(JOINT_RAWS[0])
    closeness = JOINT.compare(distribution, distribution)
    assert set(closeness) == {"digit_agreement", "angle_mean_error"}
    parameters = JOINT.parameters(distribution)
    assert set(parameters) == {"digit_probabilities", "angle_mean", "angle_stddev"}
    again = JOINT.from_parameters(parameters)
    np.testing.assert_allclose(again["digit"].probs_parameter(), softmax(RAWS[0]), rtol=1e-5)
    np.testing.assert_allclose(
        again["angle"].stddev(), normal_moments(RAWS[0][:, :2], 1)[1], rtol=1e-5
    )


def test_joint_parameters_survive_a_name_that_begins_with_another():
    joint = Joint({"eye": Normal(1), "eye_left": Normal(1)})
    raw = {"eye": np.array([[1.0, 0.0]]), "eye_left": np.array([[2.0, 0.0]])}
    again = joint.from_parameters(joint.parameters(joint(raw)))
    means = {name: float(d.mean()[0, 0]) for name, d in again.items()}
    assert means == {"eye": 1.0, "eye_left": 2.0}


def test_joint_maps_predictions_and_raws_by_name():
    prediction = JOINT.prediction(JOINT_RAWS[0])
    np.testing.assert_allclose(prediction["digit"], softmax(RAWS[0]), rtol=1e-5)
    np.testing.assert_array_equal(prediction["angle"], RAWS[0][:, :1])
    raw = JOINT.raw(JOINT(JOINT_RAWS[0]))
    np.testing.assert_allclose(raw["angle"], RAWS[0][:, :2], rtol=1e-3)
    assert JOINT.event_size({"digit": (None, 4), "angle": (None, 2)}) == {"digit": 4, "angle": 1}
    assert JOINT.raw_size({"digit": 4, "angle": 1}) == {"digit": 4, "angle": 2}


def test_joint_takes_a_temperature_if_one_of_its_outputs_does():
    assert JOINT.takes_temperature
    assert not Joint({"a": Normal(1), "b": Bernoulli()}).takes_temperature


@pytest.mark.parametrize(
    "shape",
    [(None, 4), {"digit": (None, 4)}, {"digit": (None, 4), "angel": (None, 2)}],
)
def test_joint_refuses_other_names_than_its_own(shape):
    with pytest.raises(ValueError, match=r"teacher.*expected a dict.*\['angle', 'digit'\]"):
        JOINT.validate(shape, "teacher")


def test_joint_says_which_named_output_does_not_fit():
    with pytest.raises(ValueError, match="student \\(output 'angle'\\)"):
        JOINT.validate({"digit": (None, 4), "angle": (None, 3)}, "student")
    JOINT.validate({"digit": (None, 4), "angle": (None, 2)}, "student")


@pytest.mark.parametrize("weights", [{"angel": 1.0}, {"angle": -1.0}, {"angle": math.nan}], ids=str)
def test_joint_refuses_bad_weights(weights):
    with pytest.raises(ValueError, match=r"weights must map output names"):
        Joint({"angle": Normal(1)}, weights)


def test_joint_needs_an_output():
    with pytest.raises(ValueError, match="at least one"):
        Joint({})


# Shapes


@pytest.mark.parametrize(
    ("output", "shape", "words"),
    [
        (Categorical(), (None, 1), "bernoulli"),
        (Categorical(), (None,), "one logit per class"),
        (Bernoulli(), (None,), "one logit per label"),
        (Normal(2), (None, 3), "last dimension of 4"),
        (Normal(2), (None, 2), "last dimension of 4"),
        (Point(2, 0.1), (None, 4), "last dimension of 2"),
    ],
)
def test_wrong_shapes_are_refused_with_the_networks_name(output, shape, words):
    with pytest.raises(ValueError, match=f"student.*{words}"):
        output.validate(shape, "student")


@pytest.mark.parametrize(
    ("output", "shape", "size"),
    [
        (Categorical(), (None, 3), 3),
        (Bernoulli(), (None, 1), 1),
        (Normal(2), (None, 4), 2),
        (Point(2, 0.1), (None, 2), 2),
    ],
)
def test_right_shapes_pass_and_have_an_event_size(output, shape, size):
    output.validate(shape, "student")
    assert output.event_size(shape) == size
    assert output.raw_size(size) == shape[-1]


@pytest.mark.parametrize("make", [Normal, Point])
@pytest.mark.parametrize("event_size", [0, -1, 1.5, True])
def test_event_size_must_be_a_positive_whole_number(make, event_size):
    with pytest.raises(ValueError, match="event_size"):
        make(event_size)


@pytest.mark.parametrize("make", [Normal, Point])
@pytest.mark.parametrize("min_scale", [0.0, -1.0, math.nan])
def test_min_scale_must_be_positive(make, min_scale):
    with pytest.raises(ValueError, match="min_scale"):
        make(1, min_scale=min_scale)


@pytest.mark.parametrize("stddev", [0.0, -1.0, math.inf, math.nan, [0.1, 0.2, 0.3], [0.1, 0.0]])
def test_point_stddev_must_be_positive_and_one_or_one_per_dimension(stddev):
    with pytest.raises(ValueError, match="stddev"):
        Point(2, stddev=stddev)


def test_point_stddev_may_be_an_array():
    assert Point(2, stddev=np.array([0.5, 2.0])) == Point(2, stddev=[0.5, 2.0])


# Lookup and serialization


@pytest.mark.parametrize(
    ("identifier", "shape", "expected"),
    [
        ("categorical", None, Categorical()),
        ("bernoulli", None, Bernoulli()),
        ("normal", (None, 6), Normal(3)),
        (Normal(2, 0.1), (None, 4), Normal(2, 0.1)),
        (
            {"a": "categorical", "b": "bernoulli"},
            None,
            Joint({"a": "categorical", "b": Bernoulli()}),
        ),
        (
            {"a": "categorical", "b": "normal"},
            {"a": (None, 3), "b": (None, 2)},
            Joint({"a": Categorical(), "b": Normal(1)}),
        ),
        (keras.saving.serialize_keras_object(Normal(2)), None, Normal(2)),
        ({"class_name": "Normal", "config": {"event_size": 2}}, None, Normal(2)),
        ({"class_name": "Categorical"}, None, Categorical()),
    ],
)
def test_get(identifier, shape, expected):
    assert outputs.get(identifier, shape) == expected


@pytest.mark.parametrize("shape", [None, (None, None), (None, 3)])
def test_get_normal_needs_an_even_last_dimension(shape):
    with pytest.raises(ValueError, match=r"ecl_tf\.outputs\.Normal\(event_size\)"):
        outputs.get("normal", shape)


@pytest.mark.parametrize("identifier", ["gaussian", None, 3])
def test_get_names_the_choices_for_an_unknown_identifier(identifier):
    with pytest.raises(ValueError, match=r"Unknown output.*'categorical', 'normal', 'bernoulli'"):
        outputs.get(identifier)


ALL = [
    Categorical(),
    Bernoulli(),
    Normal(2, 0.25),
    Point(2),
    Point(2, 0.5),
    Point(2, [0.5, 2.0], 0.1),
    JOINT,
]


@pytest.mark.parametrize("output", ALL, ids=repr)
def test_serialization_round_trip(output):
    config = keras.saving.serialize_keras_object(output)
    again = keras.saving.deserialize_keras_object(config)
    assert again is not output
    assert again == output
    assert hash(again) == hash(output)


def test_different_outputs_are_different():
    assert len(set(ALL)) == len(ALL)
    assert all((a == b) == (a is b) for a in ALL for b in ALL)
    assert Joint({"a": "bernoulli"}, {"a": 2}) != Joint({"a": "bernoulli"})


@pytest.mark.parametrize(
    "output", [output for output in ALL if not isinstance(output, Joint)], ids=repr
)
def test_repr_is_the_code_that_makes_it(output):
    assert eval(repr(output)) == output


# The target's units


UNITS = [(3.0, 2.0), ([10.0, -4.0], [0.5, 20.0]), (-1.0, [3.0, 0.1])]


def in_units(kind, mean, stddev, min_scale=0.1):
    """An output in the target's units, and the same in standardised units."""
    if kind is Normal:
        return Normal(2, min_scale, mean, stddev), Normal(2, min_scale)
    spread = np.array([0.7, 1.6])  # In standardised units.
    given = (spread * np.asarray(stddev)).tolist()
    return Point(2, given, min_scale, mean, stddev), Point(2, spread, min_scale)


def raws_for(output):
    return RAWS if isinstance(output, Normal) else RAWS[..., :2]


def standardised_moments(output, raw):
    if isinstance(output, Normal):
        return normal_moments(raw, 2, output.min_scale)
    return np.asarray(raw, np.float64), np.broadcast_to([0.7, 1.6], raw.shape)


gaussians_in_units = pytest.mark.parametrize(
    ("kind", "mean", "stddev"), [(kind, *units) for kind in (Normal, Point) for units in UNITS]
)


@gaussians_in_units
def test_moments_in_the_targets_units_by_hand(kind, mean, stddev):
    output, _ = in_units(kind, mean, stddev)
    raw = raws_for(output)[0]
    m, s = standardised_moments(output, raw)
    distribution = output(raw)
    expected = np.asarray(mean) + np.asarray(stddev) * m
    np.testing.assert_allclose(distribution.mean(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(distribution.stddev(), np.asarray(stddev) * s, rtol=1e-5)
    np.testing.assert_allclose(output.prediction(raw), expected, rtol=1e-5, atol=1e-5)


@gaussians_in_units
def test_raw_inverts_the_call_in_the_targets_units(kind, mean, stddev):
    output, _ = in_units(kind, mean, stddev)
    raw = raws_for(output)[0]
    np.testing.assert_allclose(output.raw(output(raw)), raw, rtol=1e-3, atol=1e-4)


@gaussians_in_units
def test_the_divergence_does_not_depend_on_the_units(kind, mean, stddev):
    output, plain = in_units(kind, mean, stddev)
    first, second = raws_for(output)[:2]
    (m, s), (n, t) = (standardised_moments(output, raw) for raw in (first, second))
    expected = normal_kl(m, s, n, t).sum(-1)
    actual = output(first).kl_divergence(output(second))
    np.testing.assert_allclose(actual, expected, rtol=1e-3)
    np.testing.assert_allclose(actual, plain(first).kl_divergence(plain(second)), rtol=1e-3)
    np.testing.assert_allclose(
        output.divergence(output(first), output(second), divergences.kl), expected, rtol=1e-3
    )


@gaussians_in_units
def test_the_likelihood_differs_by_the_log_of_the_unit(kind, mean, stddev):
    output, plain = in_units(kind, mean, stddev)
    raw = raws_for(output)[0]
    standardised = np.random.default_rng(1).normal(size=(4, 2))
    labels = np.asarray(mean) + np.asarray(stddev) * standardised
    actual = output.negative_log_likelihood(output(raw), labels)
    shift = np.log(np.broadcast_to(stddev, 2)).sum()
    expected = plain.negative_log_likelihood(plain(raw), standardised) + shift
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
    m, s = standardised_moments(output, raw)
    scipys = scipy.stats.norm.logpdf(
        labels, np.asarray(mean) + np.asarray(stddev) * m, np.asarray(stddev) * s
    )
    np.testing.assert_allclose(actual, -scipys.sum(-1), rtol=1e-4, atol=1e-4)


@gaussians_in_units
def test_ensembles_and_uncertainties_are_in_the_targets_units(kind, mean, stddev):
    output, _ = in_units(kind, mean, stddev)
    raws = raws_for(output)
    m, s = standardised_moments(output, raws)
    unit = np.asarray(stddev)
    combined, uncertainty = output.combine(list(raws)), output.uncertainty(list(raws))
    expected = np.asarray(mean) + unit * m.mean(0)
    np.testing.assert_allclose(combined.mean(), expected, rtol=1e-5, atol=1e-5)
    expected = unit * np.sqrt((s**2).mean(0) + m.var(0))
    np.testing.assert_allclose(combined.stddev(), expected, rtol=1e-4)
    np.testing.assert_allclose(uncertainty.aleatoric, unit**2 * (s**2).mean(0), rtol=1e-4)
    np.testing.assert_allclose(uncertainty.epistemic, unit**2 * m.var(0), rtol=1e-3)


@pytest.mark.parametrize(("mean", "stddev"), UNITS)
def test_the_floor_is_in_units_of_the_targets_spread(mean, stddev):
    expected = np.broadcast_to(0.05 * np.asarray(stddev), (4, 2))
    points = RAWS[0][:, :2]
    agreeing = Point(2, None, 0.05, mean, stddev).combine([points, points])
    np.testing.assert_allclose(agreeing.stddev(), expected, rtol=1e-5)
    narrow = Point(2, 1e-6, 0.05, mean, stddev)(points)
    np.testing.assert_allclose(narrow.stddev(), expected, rtol=1e-5)
    certain = np.concatenate([points, np.full((4, 2), -1e4, np.float32)], -1)
    normal = Normal(2, 0.05, mean, stddev)
    np.testing.assert_allclose(normal(certain).stddev(), expected, rtol=1e-5)
    combined = normal.combine([certain, certain])
    np.testing.assert_allclose(combined.stddev(), expected, rtol=1e-5)


def test_disagreeing_points_measure_their_spread_in_the_targets_units():
    combined = Point(2, target_mean=5.0, target_stddev=[2.0, 30.0]).combine(list(RAWS[..., :2]))
    expected = RAWS[..., :2].std(0) * [2.0, 30.0]
    np.testing.assert_allclose(combined.stddev(), expected, rtol=1e-4)


@pytest.mark.parametrize(("mean", "stddev"), UNITS)
def test_the_raw_of_an_ensemble_of_points_as_a_normal_gives_it_back(mean, stddev):
    combined = Point(2, target_mean=mean, target_stddev=stddev).combine(list(RAWS[..., :2]))
    student = Normal(2, 1e-3, mean, stddev)
    again = student(student.raw(combined))
    np.testing.assert_allclose(again.mean(), combined.mean(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(again.stddev(), combined.stddev(), rtol=1e-3)


def test_comparisons_are_in_the_targets_units():
    output = Normal(2, target_mean=7.0, target_stddev=[2.0, 10.0])
    teacher, student = output([[1.0, 1.0, 0.0, 0.0]]), output([[0.0, 3.0, 0.0, 0.0]])
    (error,) = output.compare(teacher, student).values()
    np.testing.assert_allclose(error, [(1 * 2 + 2 * 10) / 2], rtol=1e-5)


@gaussians_in_units
def test_units_survive_serialization(kind, mean, stddev):
    output, plain = in_units(kind, mean, stddev)
    config = output.get_config()
    assert (config["target_mean"], config["target_stddev"]) == (mean, stddev)
    assert kind.from_config(config) == output != plain
    config = keras.saving.serialize_keras_object(output)
    again = keras.saving.deserialize_keras_object(config)
    assert again == output and hash(again) == hash(output)
    assert eval(repr(output)) == output
    assert outputs.get(config, (None, 4)) == output


def test_units_may_be_arrays_and_lists_of_one():
    expected = Normal(2, target_mean=[1.0, 2.0], target_stddev=[3.0, 4.0])
    assert Normal(2, target_mean=np.array([1, 2]), target_stddev=(3, 4)) == expected
    assert Normal(1, target_mean=[1.0], target_stddev=[2.0]) == Normal(1, 1e-3, 1.0, 2.0)


@pytest.mark.parametrize("make", [Normal, Point])
@pytest.mark.parametrize("stddev", [0.0, -1.0, math.inf, math.nan, [1.0, 0.0], [1.0] * 3])
def test_target_stddev_must_be_positive_and_one_or_one_per_dimension(make, stddev):
    with pytest.raises(ValueError, match=r"target_stddev must be one positive.*2 of them.*got"):
        make(2, target_stddev=stddev)


@pytest.mark.parametrize("make", [Normal, Point])
@pytest.mark.parametrize("mean", [math.inf, -math.inf, math.nan, [0.0, math.nan], [0.0] * 3, []])
def test_target_mean_must_be_finite_and_one_or_one_per_dimension(make, mean):
    with pytest.raises(ValueError, match=r"target_mean must be one finite.*2 of them.*got"):
        make(2, target_mean=mean)
