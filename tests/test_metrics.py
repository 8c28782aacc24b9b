"""Metrics against NumPy, SciPy and geometry by hand."""

import math

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from ecl_tf import metrics, outputs

RNG = np.random.default_rng(0)
RAW = RNG.normal(0, 1, (50, 2)).astype(np.float32)
CLASSES = RNG.integers(0, 2, 50)
EACH = [
    metrics.NegativeLogLikelihood(outputs.Normal(1, 0.3), name="mine"),
    metrics.GaussianCoverage(outputs.Normal(1), level=0.3, name="mine"),
    metrics.Coverage(outputs.LogNormal(1), level=0.3, name="mine"),
    metrics.AngularError(outputs.Normal(1), name="mine"),
    metrics.ExpectedCalibrationError(3, "mine", output=outputs.Categorical(2.0)),
]


def moments(raw, size, min_scale=1e-3):
    raw = raw.astype(np.float64)
    return raw[:, :size], min_scale + np.logaddexp(0, raw[:, size:])


def evaluate(metric, *update):
    metric.reset_state()
    metric.update_state(*update)
    return float(metric.result())


@pytest.mark.parametrize("metric", EACH, ids=lambda metric: type(metric).__name__)
def test_batches_of_different_sizes_equal_one_and_reset_forgets_and_configs_round_trip(metric):
    labels = CLASSES + isinstance(metric, metrics.Coverage)  # Log-normal ones are above 0.
    whole = evaluate(metric, labels, RAW)
    metric.reset_state()
    for rows in (slice(0, 3), slice(3, 20), slice(20, 50)):
        metric.update_state(labels[rows], RAW[rows])
    assert float(metric.result()) == pytest.approx(whole, rel=1e-5)
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert (type(again), again.name) == (type(metric), "mine")
    assert evaluate(again, labels, RAW) == evaluate(metric, labels, RAW)


# Expected calibration error


def reference_ece(logits, labels, bins, weights=None):
    """Guo et al. 2017, equation 3, bin by bin."""
    p = scipy.special.softmax(logits.astype(np.float64), -1)
    confidence, right = p.max(-1), p.argmax(-1) == labels
    weights = np.ones(len(labels)) if weights is None else weights
    total = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        w = weights[inside]
        if w.sum() > 0:
            accuracy = np.average(right[inside], weights=w)
            total += w.sum() * abs(accuracy - np.average(confidence[inside], weights=w))
    return total / weights.sum()


ECE_RNG = np.random.default_rng(1)
ECE_LOGITS, ECE_LABELS, ECE_WEIGHTS = (
    ECE_RNG.normal(0, 2, (300, 5)).astype(np.float32),
    ECE_RNG.integers(0, 5, 300),
    ECE_RNG.uniform(0, 2, 300),
)


@pytest.mark.parametrize(
    ("bins", "labels", "weights"),
    [
        (1, ECE_LABELS, None),
        (15, np.eye(5)[ECE_LABELS], ECE_WEIGHTS),
        (5, ECE_LABELS[:, None], ECE_WEIGHTS[:, None]),
    ],
    ids=["indices", "one-hot", "with axes"],
)
def test_ece_equals_numpy(bins, labels, weights):
    actual = evaluate(metrics.ExpectedCalibrationError(bins), labels, ECE_LOGITS, weights)
    expected = reference_ece(ECE_LOGITS, ECE_LABELS, bins, None if weights is None else ECE_WEIGHTS)
    assert expected > 0.05
    assert actual == pytest.approx(expected, rel=1e-4)


def test_ece_takes_one_weight_for_all_rows_and_no_rows():
    metric = metrics.ExpectedCalibrationError(5)
    assert float(metric.result()) == 0.0
    metric.update_state(np.zeros(0, int), np.zeros((0, 5), np.float32), np.zeros(0))
    assert float(metric.result()) == 0.0
    metric.update_state(ECE_LABELS[:10], ECE_LOGITS[:10], 3.0)
    metric.update_state(ECE_LABELS[10:], ECE_LOGITS[10:], 1.0)
    weights = np.where(np.arange(300) < 10, 3.0, 1.0)
    expected = reference_ece(ECE_LOGITS, ECE_LABELS, 5, weights)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-4)


def test_ece_counts_a_confidence_of_one_and_puts_a_boundary_into_the_lower_bin():
    metric = metrics.ExpectedCalibrationError(2)
    assert evaluate(metric, [0], [[200.0, 0.0]]) == pytest.approx(0.0)
    assert evaluate(metric, [1], [[200.0, 0.0]]) == pytest.approx(1.0)
    # Confidences 0.5 (right) and 0.6 (wrong) with two bins: (0, 0.5] and (0.5, 1].
    logits = np.log(np.array([[0.5, 0.5], [0.6, 0.4]]))
    assert evaluate(metric, [0, 1], logits) == pytest.approx((0.5 + 0.6) / 2, rel=1e-5)


# Coverage


@pytest.mark.parametrize("level", [0.5, 0.95])
@pytest.mark.parametrize("output", [outputs.Normal(2), outputs.Point(2, stddev=[0.3, 0.2])])
def test_coverage_equals_numpy(output, level):
    raw = RNG.normal(0, 1, (200, output.raw_size(2))).astype(np.float32)
    mean, stddev = (raw, [0.3, 0.2]) if isinstance(output, outputs.Point) else moments(raw, 2)
    targets = RNG.normal(mean, 1.3 * np.asarray(stddev)).astype(np.float32)
    low, high = scipy.stats.norm.interval(level, mean, stddev)
    expected = ((targets >= low) & (targets <= high)).mean()
    actual = evaluate(metrics.GaussianCoverage(output, level), targets, raw)
    assert actual == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_coverage_of_counts_and_of_other_numbers_equals_scipys_intervals(level):
    raw = RNG.normal(0, 1, (300, 1)).astype(np.float32)
    rate = 6.0 * (1e-3 + np.logaddexp(0, raw.astype(np.float64)))
    targets = RNG.poisson(1.5 * rate).astype(np.float32)
    low, high = scipy.stats.poisson.interval(level, rate)
    expected = ((targets >= low) & (targets <= high)).mean()
    actual = evaluate(metrics.Coverage(outputs.Poisson(1, target_mean=6.0), level), targets, raw)
    assert actual == pytest.approx(expected, abs=0.004)
    # Of mean 1 and standard deviation 1: the logarithm's are -ln(2) / 2 and sqrt(ln 2).
    raw = RNG.normal(0, 1, (300, 2)).astype(np.float32)
    mean, stddev = (np.sqrt(np.log(2)) * each for each in moments(raw, 1))
    mean -= np.log(2) / 2
    targets = np.exp(RNG.normal(mean, 1.3 * stddev)).astype(np.float32)
    low, high = scipy.stats.lognorm.interval(level, stddev, scale=np.exp(mean))
    expected = ((targets >= low) & (targets <= high)).mean()
    actual = evaluate(metrics.Coverage(outputs.LogNormal(1), level), targets, raw)
    assert actual == pytest.approx(expected, abs=0.004)


# Angles

HALF = math.pi / 2


def with_scales(means):
    means = np.asarray(means, np.float32)
    return np.concatenate([means, np.zeros_like(means)], -1)


@pytest.mark.parametrize(
    ("predicted", "true", "degrees"),
    [
        ([0.0], [0.0], 0.0),
        ([HALF], [0.0], 90.0),
        ([0.0], [math.pi], 180.0),
        ([math.pi - 0.01], [-math.pi + 0.01], math.degrees(0.02)),
        ([0.1 + 4 * math.pi], [0.1], 0.0),
        ([0.001], [0.0], math.degrees(0.001)),
        ((0.0, 0.0), (0.0, 0.0), 0.0),
        ((0.0, 0.0), (0.0, HALF), 90.0),  # (0, 0, -1) and (-1, 0, 0)
        ((0.0, 0.0), (HALF, 0.3), 90.0),  # (0, 0, -1) and (0, -1, 0)
        ((HALF, 0.0), (-HALF, 0.0), 180.0),  # Straight down and straight up.
        ((math.pi / 4, 0.0), (0.0, 0.0), 45.0),
        ((math.pi / 4, 0.0), (math.pi / 4, HALF), 60.0),  # a . b = 1/2
        ((0.0, 1e-3), (0.0, 0.0), math.degrees(1e-3)),  # An arc cosine would lose this.
    ],
)
def test_angles_by_hand(predicted, true, degrees):
    metric = metrics.AngularError(outputs.Normal(len(true)))
    actual = evaluate(metric, [true], with_scales([predicted]))
    assert actual == pytest.approx(degrees, abs=1e-3 if degrees > 1 else 1e-4)


def test_plane_angles_may_come_without_their_axis_and_from_points():
    for output, raw in (
        (outputs.Normal(1), with_scales([[0.1], [0.8]])),
        (outputs.Point(1, 0.1), [[0.1], [0.8]]),
    ):
        actual = evaluate(metrics.AngularError(output), [0.0, 0.5], raw)
        assert actual == pytest.approx(math.degrees(0.2), rel=1e-5)


def test_gaze_angles_equal_numpy_and_are_averaged():
    a, b = RNG.uniform(-1, 1, (2, 100, 2)).astype(np.float32)

    def vector(angles):
        pitch, yaw = angles.T.astype(np.float64)
        return np.stack(
            [-np.cos(pitch) * np.sin(yaw), -np.sin(pitch), -np.cos(pitch) * np.cos(yaw)], -1
        )

    degrees = np.degrees(np.arccos(np.sum(vector(a) * vector(b), -1)))
    actual = evaluate(metrics.AngularError(outputs.Normal(2)), b, with_scales(a))
    assert actual == pytest.approx(degrees.mean(), rel=1e-5)


@pytest.mark.parametrize("size", [1, 2])
def test_identical_directions_have_no_error_and_never_nan(size):
    angles = RNG.uniform(-math.pi, math.pi, (1000, size)).astype(np.float32)
    values = metrics.AngularError(outputs.Normal(size)).values(angles, with_scales(angles))
    np.testing.assert_allclose(values, np.zeros(1000), atol=1e-5)


# Errors and Keras


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: metrics.GaussianCoverage("categorical"), "GaussianCoverage needs .*Normal"),
        (lambda: metrics.Coverage("bernoulli"), "Coverage needs an output of numbers"),
        (lambda: metrics.AngularError("bernoulli"), "AngularError needs an ecl_tf.outputs.Normal"),
        (lambda: metrics.AngularError(outputs.Normal(3)), "event size of 1 or 2"),
        (lambda: metrics.ExpectedCalibrationError(output="bernoulli"), "Categorical"),
    ],
)
def test_outputs_must_suit(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_probabilities_are_not_taken_for_logits(subtests):
    p = scipy.special.softmax(RNG.normal(size=(8, 3)).astype("float32"), -1)
    inputs = keras.Input((4,))
    ending = keras.Model(inputs, keras.layers.Dense(3, "softmax")(inputs))
    for metric in (
        metrics.NegativeLogLikelihood("categorical"),
        metrics.ExpectedCalibrationError(),
    ):
        with (
            subtests.test(metric.name),
            pytest.raises(tf.errors.InvalidArgumentError, match="gives probabilities where"),
        ):
            metric.update_state(np.zeros(8, int), p)
        ending.compile(loss="sparse_categorical_crossentropy", metrics=[metric])
        with subtests.test(f"{metric.name} in compile"), pytest.raises(ValueError, match="softmax"):
            ending.evaluate(np.zeros((8, 4)), np.zeros(8), verbose=0)


@pytest.mark.parametrize(
    ("metric", "labels"),
    [
        (metrics.ExpectedCalibrationError(), CLASSES + 1),
        (metrics.ExpectedCalibrationError(), CLASSES - 1),
        (metrics.NegativeLogLikelihood("categorical"), CLASSES + 1),
        (metrics.GaussianCoverage(outputs.Normal(1)), np.where(CLASSES, np.nan, 1.0)),
    ],
)
def test_labels_that_are_none_are_refused_by_hand_and_show_as_nan_elsewhere(metric, labels):
    with pytest.raises(ValueError, match=r"Labels are out of range: (2|-1|nan)\. Expected"):
        metric.update_state(labels, RAW)
    assert math.isnan(evaluate(metric, labels, RAW, np.ones(50)))
    metric.reset_state()
    tf.function(metric.update_state)(labels, RAW)
    assert math.isnan(float(metric.result()))


def test_what_has_no_weight_may_be_nan_and_an_answer_that_is_none_shows():
    def update(metric, *arguments):
        return evaluate(metric, *map(np.float32, arguments))

    nll = metrics.NegativeLogLikelihood("categorical")
    assert update(nll, [0, -1], np.zeros((2, 3)), [1, 0]) == pytest.approx(math.log(3))
    angles = metrics.AngularError(outputs.Normal(1))
    targets = [[1.0], [math.nan]]
    assert update(angles, targets, np.zeros((2, 2)), [1, 0]) == pytest.approx(math.degrees(1))
    for make in (metrics.Coverage, metrics.GaussianCoverage):
        raw = [[math.nan, 0.0], [0.0, 0.0]]
        assert math.isnan(update(make(outputs.Normal(1)), [[0.0], [0.0]], raw))
        assert update(make(outputs.Normal(1)), [[0.0], [0.0]], raw, [0, 1]) == 1.0


def test_bins_and_levels_must_be_in_their_range():
    for bins in (0, -3, 2.5, "ten"):
        with pytest.raises(ValueError, match="bins"):
            metrics.ExpectedCalibrationError(bins)
    for level in (0.0, 1.0, -0.5, 95, math.nan):
        with pytest.raises(ValueError, match="level"):
            metrics.GaussianCoverage(outputs.Normal(1), level)


def test_metrics_work_in_plain_keras_compile():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    nll, ece = metrics.NegativeLogLikelihood("categorical"), metrics.ExpectedCalibrationError(5)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, weighted_metrics=[nll, ece])
    x, labels = RNG.normal(0, 1, (70, 4)).astype(np.float32), RNG.integers(0, 3, 70)
    weights = RNG.uniform(0, 2, 70).astype(np.float32)
    kernel, bias = model.get_weights()
    logits = x @ kernel + bias
    each = -scipy.special.log_softmax(logits, -1)[np.arange(70), labels]
    results = model.evaluate(
        x, labels, sample_weight=weights, batch_size=32, verbose=0, return_dict=True
    )
    assert results["nll"] == pytest.approx(np.average(each, weights=weights), rel=1e-4)
    assert results["ece"] == pytest.approx(reference_ece(logits, labels, 5, weights), rel=1e-3)
