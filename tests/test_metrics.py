"""Metrics against NumPy, SciPy and geometry by hand."""

import math

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats

from ecl_tf import metrics, outputs

RNG = np.random.default_rng(0)


def moments(raw, size, min_scale=1e-3):
    raw = raw.astype(np.float64)
    return raw[:, :size], min_scale + np.logaddexp(0, raw[:, size:])


def evaluate(metric, *update):
    metric.update_state(*update)
    return float(metric.result())


# Negative log-likelihood


@pytest.mark.parametrize("weighted", [False, True])
def test_nll_of_classes_equals_scipy(weighted):
    logits = RNG.normal(0, 2, (50, 4)).astype(np.float32)
    labels = RNG.integers(0, 4, 50)
    weights = RNG.uniform(0, 2, 50) if weighted else np.ones(50)
    each = -scipy.special.log_softmax(logits.astype(np.float64), -1)[np.arange(50), labels]
    metric = metrics.NegativeLogLikelihood("categorical")
    actual = evaluate(metric, labels, logits, weights if weighted else None)
    assert actual == pytest.approx(np.average(each, weights=weights), rel=1e-5)


def test_nll_of_normals_equals_scipy():
    raw = RNG.normal(0, 1, (50, 4)).astype(np.float32)
    targets = RNG.normal(0, 1, (50, 2)).astype(np.float32)
    mean, stddev = moments(raw, 2)
    expected = -scipy.stats.norm.logpdf(targets, mean, stddev).sum(-1).mean()
    actual = evaluate(metrics.NegativeLogLikelihood(outputs.Normal(2)), targets, raw)
    assert actual == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: metrics.NegativeLogLikelihood(outputs.Normal(1)),
        lambda: metrics.GaussianCoverage(outputs.Normal(1), level=0.5),
        lambda: metrics.AngularError(outputs.Normal(1)),
        lambda: metrics.ExpectedCalibrationError(4),
    ],
    ids=["nll", "coverage", "angle", "ece"],
)
def test_batches_of_different_sizes_equal_one_and_reset_forgets(make):
    raw = RNG.normal(0, 1, (30, 2)).astype(np.float32)
    labels = RNG.integers(0, 2, 30)
    metric = make()
    whole = evaluate(metric, labels, raw)
    metric.reset_state()
    for rows in (slice(0, 3), slice(3, 20), slice(20, 30)):
        metric.update_state(labels[rows], raw[rows])
    assert float(metric.result()) == pytest.approx(whole, rel=1e-5)
    metric.reset_state()
    first = evaluate(metric, labels[:3], raw[:3])
    assert first == pytest.approx(evaluate(make(), labels[:3], raw[:3]), rel=1e-6)


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


@pytest.mark.parametrize("bins", [1, 5, 15])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("one_hot", [False, True])
def test_ece_equals_numpy(bins, weighted, one_hot):
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (300, 5)).astype(np.float32)
    labels = rng.integers(0, 5, 300)
    weights = rng.uniform(0, 2, 300) if weighted else None
    metric = metrics.ExpectedCalibrationError(bins)
    actual = evaluate(metric, np.eye(5)[labels] if one_hot else labels, logits, weights)
    expected = reference_ece(logits, labels, bins, weights)
    assert expected > 0.05
    assert actual == pytest.approx(expected, rel=1e-4)


def test_ece_accepts_labels_and_weights_of_shape_batch_by_one():
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (40, 3)).astype(np.float32)
    labels, weights = rng.integers(0, 3, 40), rng.uniform(0, 2, 40)
    metric = metrics.ExpectedCalibrationError(5)
    actual = evaluate(metric, labels[:, None], logits, weights[:, None])
    assert actual == pytest.approx(reference_ece(logits, labels, 5, weights), rel=1e-4)


def test_ece_takes_one_weight_for_all_rows():
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(0, 2, (40, 3)).astype(np.float32), rng.integers(0, 3, 40)
    metric = metrics.ExpectedCalibrationError(5)
    metric.update_state(labels[:10], logits[:10], 3.0)
    metric.update_state(labels[10:], logits[10:], 1.0)
    weights = np.where(np.arange(40) < 10, 3.0, 1.0)
    expected = reference_ece(logits, labels, 5, weights)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("label", "expected"), [(0, 0.0), (1, 1.0)])
def test_ece_counts_a_confidence_of_exactly_one(label, expected):
    actual = evaluate(metrics.ExpectedCalibrationError(10), [label], [[200.0, 0.0]])
    assert actual == pytest.approx(expected)


def test_ece_puts_a_boundary_confidence_into_the_lower_bin():
    # Confidences 0.5 (right) and 0.6 (wrong) with two bins: (0, 0.5] and (0.5, 1].
    logits = np.log(np.array([[0.5, 0.5], [0.6, 0.4]]))
    actual = evaluate(metrics.ExpectedCalibrationError(2), [0, 1], logits)
    assert actual == pytest.approx((0.5 + 0.6) / 2, rel=1e-5)


def test_ece_of_calibrated_logits_is_small_and_of_sharpened_ones_is_not():
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 1.5, (20_000, 3)).astype(np.float32)
    p = scipy.special.softmax(logits.astype(np.float64), -1)
    labels = (rng.random((20_000, 1)) > p.cumsum(-1)).sum(-1)
    assert evaluate(metrics.ExpectedCalibrationError(10), labels, logits) < 0.02
    assert evaluate(metrics.ExpectedCalibrationError(10), labels, 4 * logits) > 0.1


def test_ece_of_no_rows_adds_nothing():
    metric = metrics.ExpectedCalibrationError()
    metric.update_state(np.zeros(0, int), np.zeros((0, 3), np.float32), np.zeros(0))
    assert float(metric.result()) == 0.0


def test_ece_refuses_an_output_that_is_not_categorical():
    with pytest.raises(ValueError, match="Categorical"):
        metrics.ExpectedCalibrationError(output="bernoulli")


def test_ece_before_any_update_is_zero():
    assert float(metrics.ExpectedCalibrationError().result()) == 0.0


@pytest.mark.parametrize("bins", [0, -3, 2.5, "ten"])
def test_ece_refuses_bad_bins(bins):
    with pytest.raises(ValueError, match="bins"):
        metrics.ExpectedCalibrationError(bins)


# Coverage


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_coverage_equals_numpy(level):
    raw = RNG.normal(0, 1, (200, 4)).astype(np.float32)
    targets = RNG.normal(0, 1, (200, 2)).astype(np.float32)
    low, high = scipy.stats.norm.interval(level, *moments(raw, 2))
    expected = ((targets >= low) & (targets <= high)).mean()
    actual = evaluate(metrics.GaussianCoverage(outputs.Normal(2), level), targets, raw)
    assert actual == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("level", [0.5, 0.68, 0.95])
def test_coverage_of_simulated_targets_is_the_level(level):
    rng = np.random.default_rng(5)
    raw = rng.normal(0, 1, (20_000, 2)).astype(np.float32)
    targets = rng.normal(*moments(raw, 1))
    actual = evaluate(metrics.GaussianCoverage(outputs.Normal(1), level), targets, raw)
    assert abs(actual - level) < 4 * math.sqrt(level * (1 - level) / 20_000)
    overconfident = raw - np.array([0, 1.0], np.float32)
    metric = metrics.GaussianCoverage(outputs.Normal(1), level)
    assert evaluate(metric, targets, overconfident) < level - 0.05


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95, math.nan])
def test_coverage_refuses_a_level_outside_zero_and_one(level):
    with pytest.raises(ValueError, match="level"):
        metrics.GaussianCoverage(outputs.Normal(1), level)


# Angles


def with_scales(means):
    means = np.asarray(means, np.float32)
    return np.concatenate([means, np.zeros_like(means)], -1)


@pytest.mark.parametrize(
    ("predicted", "true", "degrees"),
    [
        (0.0, 0.0, 0.0),
        (math.pi / 2, 0.0, 90.0),
        (0.0, math.pi, 180.0),
        (math.pi - 0.01, -math.pi + 0.01, math.degrees(0.02)),
        (-3.0, 3.0, math.degrees(2 * math.pi - 6.0)),
        (0.1 + 4 * math.pi, 0.1, 0.0),
        (0.001, 0.0, math.degrees(0.001)),
    ],
)
def test_plane_angles_go_the_shorter_way_round(predicted, true, degrees):
    metric = metrics.AngularError(outputs.Normal(1))
    actual = evaluate(metric, [[true]], with_scales([[predicted]]))
    assert actual == pytest.approx(degrees, abs=1e-3 if degrees > 1 else 1e-4)


def test_plane_angles_may_come_without_their_axis():
    metric = metrics.AngularError(outputs.Normal(1))
    actual = evaluate(metric, [0.0, 0.5], with_scales([[0.1], [0.8]]))
    assert actual == pytest.approx(math.degrees(0.2), rel=1e-5)


HALF = math.pi / 2


@pytest.mark.parametrize(
    ("predicted", "true", "degrees"),
    [
        ((0.0, 0.0), (0.0, 0.0), 0.0),
        ((0.0, 0.0), (0.0, HALF), 90.0),  # (0, 0, -1) and (-1, 0, 0)
        ((0.0, 0.0), (HALF, 0.3), 90.0),  # (0, 0, -1) and (0, -1, 0)
        ((HALF, 0.0), (-HALF, 0.0), 180.0),  # straight down and straight up
        ((0.0, 0.0), (0.0, math.pi), 180.0),
        ((0.0, -HALF), (0.0, HALF), 180.0),
        ((math.pi / 4, 0.0), (0.0, 0.0), 45.0),
        ((math.pi / 4, 0.0), (math.pi / 4, HALF), 60.0),  # a . b = 1/2
        ((0.0, 1e-3), (0.0, 0.0), math.degrees(1e-3)),  # an arc cosine would lose this
    ],
)
def test_gaze_angles_by_hand(predicted, true, degrees):
    metric = metrics.AngularError(outputs.Normal(2))
    actual = evaluate(metric, [true], with_scales([predicted]))
    assert actual == pytest.approx(degrees, abs=1e-3 if degrees > 1 else 1e-5)


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
    assert np.all(np.isfinite(values))
    np.testing.assert_allclose(values, np.zeros(1000), atol=1e-5)


# Errors and serialization


@pytest.mark.parametrize("make", [metrics.GaussianCoverage, metrics.AngularError])
@pytest.mark.parametrize("output", ["categorical", "bernoulli"])
def test_metrics_of_normals_refuse_other_outputs(make, output):
    with pytest.raises(ValueError, match=f"{make.__name__} needs an ecl_tf.outputs.Normal"):
        make(output)


def test_metrics_of_normals_take_points_with_a_spread():
    points = RNG.normal(0, 1, (200, 2)).astype(np.float32)
    targets = points + RNG.normal(0, 0.3, (200, 2)).astype(np.float32)
    output = outputs.Point(2, stddev=[0.3, 0.2])
    low, high = scipy.stats.norm.interval(0.8, points, [0.3, 0.2])
    coverage = evaluate(metrics.GaussianCoverage(output, 0.8), targets, points)
    assert coverage == pytest.approx(((targets >= low) & (targets <= high)).mean(), abs=1e-6)
    angle = evaluate(metrics.AngularError(outputs.Point(1, 0.1)), [[0.5]], [[0.2]])
    assert angle == pytest.approx(math.degrees(0.3), rel=1e-5)


def test_angular_error_refuses_three_dimensions():
    with pytest.raises(ValueError, match="event size of 1 or 2"):
        metrics.AngularError(outputs.Normal(3))


@pytest.mark.parametrize(
    "metric",
    [
        metrics.NegativeLogLikelihood(outputs.Normal(1, 0.3), name="mine"),
        metrics.GaussianCoverage(outputs.Normal(1), level=0.3, name="mine"),
        metrics.AngularError(outputs.Normal(1), name="mine"),
        metrics.ExpectedCalibrationError(3, "mine", output=outputs.Categorical(2.0)),
    ],
    ids=lambda metric: type(metric).__name__,
)
def test_config_round_trip(metric):
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(again) is type(metric)
    assert again.name == "mine"
    raw, labels = RNG.normal(0, 1, (50, 2)).astype(np.float32), RNG.integers(0, 2, 50)
    assert evaluate(again, labels, raw) == evaluate(metric, labels, raw)


def test_metrics_work_in_plain_keras_compile():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    nll, ece = metrics.NegativeLogLikelihood("categorical"), metrics.ExpectedCalibrationError(5)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, metrics=[nll], weighted_metrics=[ece])
    x, labels = RNG.normal(0, 1, (70, 4)).astype(np.float32), RNG.integers(0, 3, 70)
    weights = RNG.uniform(0, 2, 70).astype(np.float32)
    kernel, bias = model.get_weights()
    logits = x @ kernel + bias
    each = -scipy.special.log_softmax(logits, -1)[np.arange(70), labels]
    results = model.evaluate(
        x, labels, sample_weight=weights, batch_size=32, verbose=0, return_dict=True
    )
    assert results["nll"] == pytest.approx(each.mean(), rel=1e-4)
    assert results["ece"] == pytest.approx(reference_ece(logits, labels, 5, weights), rel=1e-3)
