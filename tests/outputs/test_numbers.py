"""Positive numbers, heavy tails, counts and mixtures, against SciPy's distributions."""

import keras
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf

from ecl_tf import Distiller, calibrated, divergences, losses, outputs
from ecl_tf.outputs import LogNormal, NegativeBinomial, Normal, NormalMixture, Poisson, StudentT

RNG = np.random.default_rng(0)
KINDS = [
    StudentT(2, 3.5, 0.1, [10.0, -4.0], [0.5, 20.0]),
    LogNormal(2, 0.1, [100.0, 0.5], [50.0, 1.0]),
    Poisson(2, 0.1, [5.0, 300.0]),
    NegativeBinomial(2, 0.1, [5.0, 3000.0]),
    NormalMixture(2, 3, 0.1, [10.0, -4.0], [0.5, 20.0]),
]
of_each_kind = pytest.mark.parametrize("output", KINDS, ids=lambda each: each.family)


def raws(output, members=3, rows=5, spread=1.0):
    shape = (members, rows, output.raw_size(output.size))
    return list(RNG.normal(0, spread, shape).astype("float32"))


def positive(output, raw):
    return output.min_scale + np.logaddexp(0, np.asarray(raw, np.float64))


class Mixture:
    """A mixture of normals in NumPy, as much of it as SciPy's distributions have."""

    def __init__(self, weights, means, stddevs):
        self.weights, self.each = weights, scipy.stats.norm(means, stddevs)

    def _mix(self, values):
        return (self.weights * values).sum(-2)

    def mean(self):
        return self._mix(self.each.mean())

    def var(self):
        return self._mix(self.each.var() + (self.each.mean() - self.mean()[..., None, :]) ** 2)

    def cdf(self, x):
        return self._mix(self.each.cdf(x[..., None, :]))

    def sf(self, x):
        return 1.0 - self.cdf(x)

    def logpdf(self, x):
        each = np.log(self.weights[..., 0]) + self.each.logpdf(x[..., None, :]).sum(-1)
        return scipy.special.logsumexp(each, -1)


def by_scipy(output, raw):
    """The distribution of a raw tensor, of each dimension (but for a mixture's rows)."""
    raw, size = np.asarray(raw, np.float64), output.size
    unit, center = np.asarray(output.target_stddev), np.asarray(output.target_mean)
    if isinstance(output, NormalMixture):
        count = output.components
        logits, rest = raw[..., :count], raw[..., count:].reshape(*raw.shape[:-1], 2, count, size)
        means, scales = center + unit * rest[..., 0, :, :], rest[..., 1, :, :]
        return Mixture(
            scipy.special.softmax(logits, -1)[..., None], means, unit * positive(output, scales)
        )
    if isinstance(output, Poisson):
        return scipy.stats.poisson(center * positive(output, raw))
    if isinstance(output, NegativeBinomial):
        mean, count = (
            center * positive(output, raw[..., :size]),
            1 / positive(output, raw[..., size:]),
        )
        return scipy.stats.nbinom(count, count / (count + mean))
    location, scale = raw[..., :size], positive(output, raw[..., size:])
    if isinstance(output, LogNormal):
        unit = np.sqrt(np.log(1 + (unit / center) ** 2))
        center = np.log(center) - unit**2 / 2
        return scipy.stats.lognorm(unit * scale, scale=np.exp(center + unit * location))
    freedom = output.degrees_of_freedom
    narrower = np.sqrt((freedom - 2) / freedom)
    return scipy.stats.t(freedom, center + unit * location, narrower * unit * scale)


def log_density(distribution, labels):
    """Of rows."""
    if isinstance(distribution, Mixture):
        return distribution.logpdf(labels)
    is_count = hasattr(distribution, "logpmf")
    return (distribution.logpmf if is_count else distribution.logpdf)(labels).sum(-1)


def some_labels(output):
    return {
        "poisson": np.array([[0, 280], [7, 310], [3, 0], [12, 250], [5, 300.0]]),
        "negative_binomial": np.array([[0, 2000], [7, 0], [3, 9000], [12, 50], [5, 3000.0]]),
        "log_normal": np.array([[90, 0.1], [200, 0.4], [50, 2], [120, 1], [100, 0.5]]),
    }.get(output.family, np.array([[10, -4], [11, 30], [9, -50], [10.5, 0], [8, -4.0]]))


@of_each_kind
def test_moments_likelihoods_and_tails_equal_scipys(output):
    raw, labels = raws(output)[0], some_labels(output)
    distribution, expected = output(raw), by_scipy(output, raw)
    assert (distribution.event_shape, distribution.batch_shape) == ((2,), (5,))
    parameters = output.parameters(distribution)
    for actual in (distribution.mean(), output.prediction(raw), parameters["mean"]):
        np.testing.assert_allclose(actual, expected.mean(), rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(parameters["stddev"], np.sqrt(expected.var()), rtol=2e-5)
    actual = output.negative_log_likelihood(distribution, labels)
    np.testing.assert_allclose(actual, -log_density(expected, labels), rtol=3e-4, atol=1e-4)
    at_most, at_least = output.tails(distribution, labels)
    np.testing.assert_allclose(at_most, expected.cdf(labels), rtol=1e-3, atol=1e-3)
    is_count = hasattr(expected, "pmf")
    beyond = expected.sf(labels - 1) if is_count else expected.sf(labels)
    np.testing.assert_allclose(at_least, beyond, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("output", [Poisson(1), NegativeBinomial(1)], ids=lambda o: o.family)
def test_likelihoods_and_tails_of_large_counts_equal_scipys(output):
    mean = np.float32([[1e4], [1e5], [1e6], [1e7]])
    dispersion = np.full_like(mean, 1e-3)
    distribution = output.from_parameters({"mean": mean, "dispersion": dispersion})
    if isinstance(output, Poisson):
        expected = scipy.stats.poisson(np.float64(mean))
    else:
        expected = scipy.stats.nbinom(1e3, 1e3 / (1e3 + np.float64(mean)))
    labels = np.round(expected.mean() + expected.std() * [[-1.0], [0.5], [1.0], [-0.3]])
    at_most, at_least = output.tails(distribution, labels)
    np.testing.assert_allclose(at_most, expected.cdf(labels), atol=1e-5)
    np.testing.assert_allclose(at_least, expected.sf(labels - 1), atol=1e-5)
    losses = output.negative_log_likelihoods(distribution, labels)
    np.testing.assert_allclose(losses, -expected.logpmf(labels)[:, 0], atol=5e-3)


@of_each_kind
def test_an_interval_holds_the_labels_of_at_most_its_deviation(output):
    distribution, labels = output(raws(output)[0]), some_labels(output)
    deviations = np.asarray(output.deviations(distribution, labels))
    if isinstance(output, LogNormal):
        mean, stddev = distribution.distribution.loc, distribution.distribution.scale
        expected = np.abs(np.log(labels) - mean) / stddev
    else:
        expected = np.abs(labels - distribution.mean()) / distribution.stddev()
    np.testing.assert_allclose(deviations, expected, rtol=1e-4)
    for factor in (0.7, [0.3, 2.5]):
        low, high = output.interval(distribution, factor)
        inside = (labels >= low) & (labels <= high)
        np.testing.assert_array_equal(inside, deviations <= np.asarray(factor))
        assert isinstance(output, (Normal, StudentT, NormalMixture)) or np.all(low >= 0.0)


@of_each_kind
def test_an_ensemble_has_the_moments_of_draws_from_its_members(output):
    """Of a log-normal output those of the logarithm."""
    members = raws(output, spread=0.5)
    combined, uncertainty = output.combine(members), output.uncertainty(members)
    draws = []
    for member in members:
        if isinstance(output, NormalMixture):
            draws.append(np.asarray(output(member).sample(40_000, seed=1)))
        else:
            expected = by_scipy(output, member)
            draws.append(expected.rvs((40_000, 5, 2), random_state=2))
    draws = np.stack(draws)
    mean, variance = combined.mean(), combined.variance()
    if isinstance(output, LogNormal):
        draws = np.log(draws)
        mean, variance = combined.distribution.loc, combined.distribution.scale**2
    all_draws = draws.reshape(-1, 5, 2)
    error = 5 * np.sqrt(all_draws.var(0) / len(all_draws))
    assert np.all(np.abs(np.asarray(mean) - all_draws.mean(0)) < error)
    total = uncertainty.aleatoric + uncertainty.epistemic
    np.testing.assert_allclose(uncertainty.aleatoric, draws.var(1).mean(0), rtol=0.08)
    np.testing.assert_allclose(uncertainty.epistemic, draws.mean(1).var(0), rtol=0.15, atol=0.01)
    np.testing.assert_allclose(total, all_draws.var(0), rtol=0.08)
    if isinstance(output, Poisson):  # Its own variance is its mean.
        variance = total
    np.testing.assert_allclose(variance, total, rtol=1e-4)


def test_an_ensemble_of_mixtures_is_the_mixture_of_all_components():
    output, labels = KINDS[-1], some_labels(KINDS[-1])
    members = raws(output)
    combined = output.combine(members)
    density = np.mean([np.exp(by_scipy(output, each).logpdf(labels)) for each in members], 0)
    np.testing.assert_allclose(combined.prob(labels), density, rtol=2e-4)
    raw = output.raw(combined)
    assert raw.shape == (5, 3 * output.raw_size(2)) and output.fits_raw(raw.shape, 2)
    np.testing.assert_allclose(output(raw).prob(labels), density, rtol=2e-4)


def integrated(p, q):
    """KL of two of SciPy's distributions of one number, by quadrature or a sum."""
    if hasattr(p, "pmf"):
        counts = np.arange(400_000)
        log_p, log_q = p.logpmf(counts), q.logpmf(counts)
        kept = log_p > -700
        return np.sum(np.exp(log_p[kept]) * (log_p[kept] - log_q[kept]))

    def integrand(level):
        x = p.ppf(level)
        return (p.logpdf(x) - q.logpdf(x)).item()

    return scipy.integrate.quad(integrand, 0, 1, limit=300)[0]


@pytest.mark.parametrize(
    ("output", "tolerance"),
    [
        (StudentT(1, 4.0, 0.1), 2e-3),
        (LogNormal(1, 0.1, 100.0, 50.0), 1e-4),
        (Poisson(1, 0.1, 40.0), 1e-4),
        (NegativeBinomial(1, 0.1, 3.0), 2e-3),
        (NegativeBinomial(1, 0.1, 2000.0), 2e-3),
    ],
    ids=repr,
)
def test_kl_equals_quadrature(output, tolerance):
    teacher, student = raws(output, 2, rows=2)
    rows = zip(teacher, student, strict=True)
    pairs = [[by_scipy(output, row) for row in both] for both in rows]
    for name, flip in (("kl", 1), ("reverse_kl", -1)):
        expected = [integrated(*pair[::flip]) for pair in pairs]
        actual = output.divergence(output(teacher), output(student), divergences.get(name))
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=1e-5)
    same = output.divergence(output(teacher), output(teacher), divergences.jensen_shannon)
    np.testing.assert_allclose(same, np.zeros(2), atol=1e-5)


def test_kl_and_jensen_shannon_of_mixtures_equal_quadrature():
    output = NormalMixture(1, 4, 0.1)
    teacher, student = raws(output, 2)
    grid = np.linspace(-30, 30, 40_001)
    kl, js = [], []
    for row in range(5):
        log_p, log_q = (
            by_scipy(output, raw[row]).logpdf(grid[:, None]) for raw in (teacher, student)
        )
        p, q, log_m = np.exp(log_p), np.exp(log_q), np.logaddexp(log_p, log_q) - np.log(2)
        kl.append(np.trapezoid(p * (log_p - log_q), grid))
        js.append(np.trapezoid(p * (log_p - log_m) + q * (log_q - log_m), grid) / 2)
    p, q = output(teacher), output(student)
    np.testing.assert_allclose(output.divergence(p, q, divergences.kl), kl, rtol=0.01)
    np.testing.assert_allclose(output.divergence(p, q, divergences.jensen_shannon), js, rtol=0.02)
    # Of several dimensions against draws.
    output = KINDS[-1]
    p, q = (output(raw) for raw in raws(output, 2, spread=0.5))
    x = p.sample(50_000, seed=1)
    expected = tf.reduce_mean(p.log_prob(x) - q.log_prob(x), 0)
    np.testing.assert_allclose(output.divergence(p, q, divergences.kl), expected, rtol=0.13)


@of_each_kind
def test_raw_tensors_and_parameters_are_inverted(output):
    colder = [] if isinstance(output, Poisson) else [output.tempered(0.9), output.tempered(2.0)]
    for each in (output, *colder):
        distribution = each.combine(raws(each))
        expected = each.parameters(distribution)
        for again in (each(each.raw(distribution)), each.from_parameters(expected)):
            for name, value in each.parameters(again).items():
                np.testing.assert_allclose(value, expected[name], rtol=1e-3, atol=1e-4)
    if "means" not in output.parameter_names:  # A teacher may give the moments alone.
        moments = {name: expected[name] for name in output.parameter_names}
        again = output.from_parameters(moments)
        np.testing.assert_allclose(again.mean(), expected["mean"], rtol=1e-4)
        np.testing.assert_allclose(again.stddev(), expected["stddev"], rtol=1e-3)


@pytest.mark.parametrize(
    "output", [each for each in KINDS if each.family != "poisson"], ids=lambda each: each.family
)
def test_the_temperature_multiplies_the_variance_and_leaves_the_mean(output):
    members = raws(output)
    warmer = output.tempered(1.7)
    one, other = output.combine(members), warmer.combine(members)
    if isinstance(output, LogNormal):
        one, other = (tfd_of_logs(each) for each in (one, other))
    np.testing.assert_allclose(other.mean(), one.mean(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(other.variance(), 1.7 * one.variance(), rtol=1e-3)
    parts = warmer.uncertainty(members)
    np.testing.assert_allclose(sum(parts), 1.7 * sum(output.uncertainty(members)), rtol=1e-4)


def tfd_of_logs(distribution):
    own = distribution.distribution
    return Normal(2).from_parameters({"mean": own.loc, "stddev": own.scale})


@of_each_kind
def test_extreme_raw_tensors_have_finite_losses_and_gradients(output):
    teacher, labels = output(raws(output)[0]), some_labels(output)
    for value in (1e4, 60.0, -60.0, -1e4):
        raw = tf.fill([5, output.raw_size(2)], tf.constant(value))
        with tf.GradientTape() as tape:
            tape.watch(raw)
            student = output(raw)
            loss = output.divergence(teacher, student, divergences.kl)
            loss += output.negative_log_likelihood(student, labels)
        assert np.isfinite(loss).all() and np.isfinite(tape.gradient(loss, raw)).all(), value


def test_labels_that_a_distribution_can_not_have_are_refused_in_words(subtests):
    cases = [
        (LogNormal(1), [1.0, -2.0], "out of range: -2. Expected finite numbers above 0"),
        (LogNormal(1), [1.0, 0.0], "out of range: 0. Expected finite numbers above 0"),
        (Poisson(1), [1.0, -3.0], "out of range: -3. Expected counts: whole numbers from 0"),
        (NegativeBinomial(1), [1.0, 2.5], "out of range: 2.5. Expected counts"),
        (StudentT(1), [1.0, np.inf], "out of range: inf. Expected finite numbers"),
    ]
    for output, labels, message in cases:
        with subtests.test(output=repr(output), labels=labels):
            raw = np.zeros((2, output.raw_size(1)), np.float32)
            with pytest.raises(ValueError, match=message):
                output.require_labels(np.float32(labels), raw.shape)
            found = output.negative_log_likelihood(output(raw), np.float32(labels)).numpy()
            assert np.isfinite(found[0]) and (np.isnan(found[1]) or np.isinf(found[1]))
            if np.isfinite(labels).all():
                loss = losses.NegativeLogLikelihood(output)
                with pytest.raises(tf.errors.InvalidArgumentError, match="Labels are out of range"):
                    loss(np.float32(labels), raw)


def test_bad_arguments_are_refused(subtests):
    cases = [
        (lambda: StudentT(1, 2.0), "degrees_of_freedom must be a finite number above 2"),
        (lambda: LogNormal(1, target_mean=0.0), "target_mean must be one positive"),
        (lambda: NegativeBinomial(2, target_mean=[1.0, -1.0]), "target_mean must be one positive"),
        (lambda: Poisson(1, temperature=2.0), "temperature=1.*NegativeBinomial"),
        (lambda: NormalMixture(1, 0), "components must be"),
        (lambda: NormalMixture(2, 3).validate((None, 12), "student"), "last dimension of 15"),
        (lambda: Poisson(2).validate((None, 4), "student"), "last dimension of 2"),
        (lambda: outputs.get("student_t", (None, 3)), r"outputs\.StudentT\(event_size\)"),
        (lambda: outputs.get("normal_mixture", (None, 6)), "Unknown output"),
    ]
    for make, message in cases:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            make()


def test_a_gaussian_student_learns_the_moments_of_any_teacher():
    """KL from a mixture to a Gaussian is least where both have the same moments."""
    mixture, student = NormalMixture(1, 2, 0.05), Normal(1, 0.05)
    teacher = mixture(np.float32([[1.0, 0.0, -1.0, 2.0, -2.0, 0.0]]))
    assert student.can_learn_from(mixture) and not mixture.can_learn_from(student)
    at_moments = student.raw(student.matched(teacher))
    np.testing.assert_allclose(student(at_moments).mean(), teacher.mean(), rtol=1e-5)
    np.testing.assert_allclose(student(at_moments).stddev(), teacher.stddev(), rtol=1e-5)

    x = np.linspace(-20, 20, 100_001)
    log_p = teacher.log_prob(x[:, None, None].astype("float32")).numpy()[:, 0].astype(float)

    def exact(raw):
        q = student(raw)
        log_q = scipy.stats.norm.logpdf(x, q.mean(), q.stddev())[0]
        return np.trapezoid(np.exp(log_p) * (log_p - log_q), x)

    near = at_moments + np.float32([[0.3, -0.4]])
    actual = [
        float(student.divergence(teacher, student(raw), divergences.kl)[0])
        for raw in (near, at_moments)
    ]
    assert actual[0] - actual[1] == pytest.approx(exact(near) - exact(at_moments), rel=1e-3)


@pytest.mark.slow
def test_training_recovers_known_parameters_and_calibration_a_wrong_spread(subtests):
    draws = np.random.default_rng(3)
    dispersion, mean = 0.5, 8.0
    truth = {
        "negative_binomial": (
            NegativeBinomial(1, target_mean=5.0),
            draws.negative_binomial(1 / dispersion, 1 / (1 + dispersion * mean), 20_000),
            {"mean": mean, "dispersion": dispersion},
        ),
        "student_t": (
            StudentT(1, 4.0, target_mean=5.0, target_stddev=3.0),
            7.0 + np.sqrt(0.5) * 2.0 * draws.standard_t(4.0, 20_000),
            {"mean": 7.0, "stddev": 2.0},
        ),
        "log_normal": (
            LogNormal(1, target_mean=30.0, target_stddev=30.0),
            draws.lognormal(3.0, 0.4, 20_000),
            {"log_mean": 3.0, "log_stddev": 0.4},
        ),
        "normal_mixture": (
            NormalMixture(1, 2, target_stddev=3.0),
            np.where(draws.random(20_000) < 0.3, -4.0, 2.0) + 0.5 * draws.normal(size=20_000),
            {"weights": [0.3, 0.7], "means": [-4.0, 2.0], "stddevs": [0.5, 0.5]},
        ),
    }
    for name, (output, labels, expected) in truth.items():
        with subtests.test(name):
            raw = tf.Variable(0.1 * np.random.default_rng(0).normal(size=(1, output.raw_size(1))))
            optimizer = keras.optimizers.Adam(0.05)
            labels = labels.astype("float32")[:, None]

            @tf.function
            def step(raw=raw, output=output, labels=labels, optimizer=optimizer):
                with tf.GradientTape() as tape:
                    loss = -tf.reduce_mean(output(raw).log_prob(labels))
                optimizer.apply([tape.gradient(loss, raw)], [raw])

            for _ in range(200):
                step()
            found = {k: np.ravel(v) for k, v in output.parameters(output(raw)).items()}
            order = np.argsort(found["means"]) if "means" in found else slice(None)
            for parameter, value in expected.items():
                np.testing.assert_allclose(found[parameter][order], np.ravel(value), rtol=0.05)

    with subtests.test("calibration"):
        output, labels, _ = truth["student_t"]
        network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
        raw = output.raw(output.from_parameters({"mean": [[7.0]], "stddev": [[1.0]]}))
        network.set_weights([np.zeros((1, 2)), raw[0]])
        labels = labels[:4000].astype("float32")
        teacher = calibrated(network, np.zeros((4000, 1)), labels, output=output)
        assert teacher.output_kind.temperature == pytest.approx(4.0, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("output", KINDS[:1] + KINDS[3:], ids=lambda each: each.family)
def test_divergences_at_fixed_points_compile(output):
    teacher, student = (tf.constant(raw) for raw in raws(output, 2))

    def gradient(teacher, student):
        with tf.GradientTape() as tape:
            tape.watch(student)
            loss = output.divergence(output(teacher), output(student), divergences.kl)
        return loss, tape.gradient(loss, student)

    compiled = tf.function(gradient, jit_compile=True)
    for actual, expected in zip(
        compiled(teacher, student), gradient(teacher, student), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_student_comes_near_teachers_whose_divergence_has_no_closed_form():
    x = np.random.default_rng(0).normal(size=(256, 3)).astype("float32")
    kinds = {each.family: each for each in (KINDS[0], KINDS[3], KINDS[4])}
    output = outputs.Joint(kinds)
    sizes = output.raw_size(dict.fromkeys(kinds, 2))

    def network():
        inputs = keras.Input((3,))
        heads = [keras.layers.Dense(size, bias_initializer="normal") for size in sizes.values()]
        raw = (head(inputs) for head in heads)
        return keras.Model(inputs, dict(zip(kinds, raw, strict=True)))

    distiller = Distiller(network(), [network(), network()], output=output, sampler="Mixup")
    distiller.compile(keras.optimizers.Adam(0.05))
    history = distiller.fit(x, epochs=12, verbose=0).history
    assert history["divergence"][-1] < 0.3 * history["divergence"][0]
    for name in kinds:
        error = history[f"{name}_mean_error"]
        assert error[-1] < 0.7 * error[0]
