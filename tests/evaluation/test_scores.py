"""Scores of answers against SciPy, scikit-learn's definitions, integration and hand computation."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from by_hand import numbers, softmax
from scipy import integrate, special, stats
from tensorflow_probability import distributions as tfd

from ecl_tf import evaluation, outputs
from ecl_tf.outputs.numeric import LocationScale

T = outputs.StudentT(1, degrees_of_freedom=5.0)
MIXTURE = outputs.NormalMixture(1, components=3)
POISSON = outputs.Poisson(1, target_mean=6.0)
NEGATIVE = outputs.NegativeBinomial(1, target_mean=6.0)
LABELS = np.array([0.7, 2.0, 5.0])[:, None]


class Laplace(LocationScale):
    family = "laplace"

    def _distribution(self, location, scale):
        return tfd.Independent(tfd.Laplace(location, scale / 2**0.5), 1)


def marginals(output, raw):
    """A cumulative distribution function of SciPy for each row."""
    found = {name: np.asarray(v)[:, ...] for name, v in output.parameters(output(raw)).items()}
    for row in range(len(raw)):
        own = {name: values[row].squeeze() for name, values in found.items()}
        if output is MIXTURE:
            parts = [stats.norm(*each) for each in zip(own["means"], own["stddevs"], strict=True)]
            yield lambda t, own=own, parts=parts: sum(
                w * part.cdf(t) for w, part in zip(own["weights"], parts, strict=True)
            )
        elif output is T:
            yield stats.t(5.0, own["mean"], own["stddev"] * (3 / 5) ** 0.5).cdf
        elif output is POISSON:
            yield stats.poisson(own["mean"]).cdf
        elif output is NEGATIVE:
            count = 1 / own["dispersion"]
            yield stats.nbinom(count, count / (count + own["mean"])).cdf
        elif output.family == "log_normal":
            yield stats.lognorm(own["log_stddev"], scale=np.exp(own["log_mean"])).cdf
        else:
            yield stats.norm(own["mean"], own["stddev"]).cdf


@pytest.mark.parametrize(
    "output", [outputs.Normal(1), outputs.LogNormal(1), T, MIXTURE, POISSON, NEGATIVE], ids=str
)
def test_crps_is_its_integral_and_intervals_are_quantiles(output):
    raw = 0.7 * numbers(3, output.raw_size(1), seed=3)
    labels = np.round(LABELS) if output in (POISSON, NEGATIVE) else LABELS
    found = evaluation.crps(output, raw, labels)[:, 0]
    lower, upper = evaluation.interval(output, raw, 0.8)
    for row, cdf in enumerate(marginals(output, raw)):
        y = labels[row, 0]
        if output in (POISSON, NEGATIVE):
            k = np.arange(400)
            expected = np.sum((cdf(k) - (k >= y)) ** 2)
            assert cdf(lower[row, 0] - 1) < 0.1 <= cdf(lower[row, 0])
            assert cdf(upper[row, 0] - 1) < 0.9 <= cdf(upper[row, 0])
        else:
            below, _ = integrate.quad(lambda t, cdf=cdf: cdf(t) ** 2, -np.inf, y)
            above, _ = integrate.quad(lambda t, cdf=cdf: (cdf(t) - 1) ** 2, y, np.inf)
            expected = below + above
            assert [cdf(lower[row, 0]), cdf(upper[row, 0])] == pytest.approx([0.1, 0.9], abs=1e-5)
        assert found[row] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("dispersion", "mean"), [(0.001, 300), (0.01, 5000), (0.3, 5000), (50, 1)])
def test_crps_of_well_fitted_counts_is_its_sum(dispersion, mean):
    output, labels = outputs.NegativeBinomial(1, min_scale=1e-5), np.array([[mean], [1.1 * mean]])
    labels = np.floor(labels)
    raw = output.raw(
        output.from_parameters({"mean": [[mean]] * 2, "dispersion": [[dispersion]] * 2})
    )
    k, count = np.arange(200_000), 1 / dispersion
    below = stats.nbinom.cdf(k, count, count / (count + mean))
    expected = [np.sum((below - (k >= y)) ** 2) for y in labels]
    np.testing.assert_allclose(evaluation.crps(output, raw, labels)[:, 0], expected, rtol=1e-3)


def test_crps_of_an_exploded_spread_is_huge():
    distribution = outputs.LogNormal(1)([[0.0, 15.0]]).distribution
    mean, stddev = (np.asarray(x, float).item() for x in (distribution.loc, distribution.scale))
    # Its integral over u = log t, of which the part below the label 1 is at most 1.
    expected, _ = integrate.quad(
        lambda u: np.exp(u + 2 * special.log_ndtr((mean - u) / stddev)),
        0,
        300,
        points=[20, 80, 150],
    )
    found = evaluation.crps(outputs.LogNormal(1), [[0.0, 15.0]], [[1.0]])
    assert expected > 1e15 and found.item() == pytest.approx(expected, rel=1e-6)


def test_an_unknown_family_is_scored_by_draws():
    raw = numbers(200, 2)
    labels = 3.0 * numbers(200, 1, seed=1)
    distribution = Laplace(1)(raw).distribution
    location, scale = np.asarray(distribution.loc), np.asarray(distribution.scale)
    z = np.abs(labels - location) / scale
    expected = scale * (z + np.exp(-z) - 0.75)
    found = evaluation.crps(Laplace(1), raw, labels)
    np.testing.assert_allclose(found, expected, rtol=0.2, atol=0.1)
    assert found.mean() == pytest.approx(expected.mean(), rel=0.02)
    lower, upper = evaluation.interval(Laplace(1), raw, 0.8)
    np.testing.assert_allclose([location - lower, upper - location], 2 * [scale * np.log(5)], 0.2)


def test_interval_score_sharpness_and_calibration_of_normals():
    raw, labels = numbers(40, 4), 2.0 * numbers(40, 2, seed=1)
    output = outputs.Normal(2, target_stddev=[1.0, 2.0])
    mean, stddev = (np.asarray(part) for part in (output(raw).mean(), output(raw).stddev()))
    low, high = stats.norm(mean, stddev).interval(0.95)
    expected = high - low + 40 * np.maximum(low - labels, 0) + 40 * np.maximum(labels - high, 0)
    np.testing.assert_allclose(evaluation.interval_score(output, raw, labels), expected, 1e-4)
    found = evaluation.sharpness(output, raw)
    assert found == pytest.approx({"stddev": stddev.mean(), "interval_width": (high - low).mean()})
    below = stats.norm(mean, stddev).cdf(labels).ravel()
    levels = np.arange(1, 20) / 20
    expected = np.mean([abs(np.mean(below <= level) - level) for level in levels])
    found = evaluation.quantile_calibration_error(output, raw, labels)
    assert found == pytest.approx(expected, abs=1e-6)
    assert np.isnan(evaluation.quantile_calibration_error(output, 0 * raw + np.nan, labels))
    # Counts: by the mean over points spread evenly over each jump.
    raw, labels = 0.7 * numbers(30, 1), np.arange(30) % 9
    rate = np.asarray(POISSON(raw).mean())[:, 0]
    jump = stats.poisson.pmf(labels, rate)
    points = stats.poisson.cdf(labels - 1, rate) + jump * (np.arange(2000)[:, None] + 0.5) / 2000
    expected = np.mean([abs(np.mean(points <= level) - level) for level in levels])
    found = evaluation.quantile_calibration_error(POISSON, raw, labels)
    assert found == pytest.approx(expected, abs=1e-3)


def test_the_risk_coverage_curve_is_the_mean_over_all_orders_of_ties():
    losses, unsure = np.array([0.0, 1.0, 0.0, 1.0, 5.0]), np.array([2, 1, 1, 1, 3])
    curves = [
        np.cumsum([*losses[list(tied)], losses[0], losses[4]]) / np.arange(1, 6)
        for tied in itertools.permutations([1, 2, 3])
    ]
    curve = evaluation.risk_coverage(losses, unsure)
    np.testing.assert_allclose(curve.risk, np.mean(curves, 0))
    np.testing.assert_allclose(curve.coverage, np.arange(1, 6) / 5)
    assert evaluation.aurc(losses, unsure) == pytest.approx(np.mean(curves))
    best = np.mean(np.cumsum([0, 0, 1, 1, 5]) / np.arange(1, 6))
    assert evaluation.excess_aurc(losses, unsure) == pytest.approx(np.mean(curves) - best)
    with pytest.raises(ValueError, match=r"\(5,\) and \(4,\)"):
        evaluation.risk_coverage(losses, unsure[:4])
    unknown = np.where([0, 1, 0, 0, 0], np.nan, unsure)  # Its row comes last, wherever it belongs.
    np.testing.assert_allclose(
        evaluation.risk_coverage(losses, unknown).risk, [0.5, 0.5, 1 / 3, 6 / 4, np.nan]
    )
    assert np.isnan(evaluation.aurc(losses, unknown))
    found = evaluation.main_scores(outputs.Categorical(), [[np.nan] * 2, [1, 0]], [0, 0])
    assert np.isnan([*found.values()]).all()


def test_losses_and_uncertainty_of_classes_labels_and_numbers():
    raw, output = numbers(6, 4, 3), outputs.Categorical(ignore_class=-1)
    labels = np.arange(24).reshape(6, 4) % 4 - 1
    known, p = labels >= 0, softmax(raw)
    losses, unsure = evaluation.losses_and_uncertainty(output, raw, labels)
    np.testing.assert_array_equal(losses, (p.argmax(-1) != labels)[known])
    np.testing.assert_allclose(unsure, -np.log(p.max(-1))[known], 1e-6)
    one_hot = np.eye(3)[np.maximum(labels, 0)]
    again, _ = evaluation.losses_and_uncertainty(outputs.Categorical(), raw, one_hot)
    np.testing.assert_array_equal(again, (p.argmax(-1) != np.maximum(labels, 0)).ravel())
    losses, unsure = evaluation.losses_and_uncertainty(outputs.Bernoulli(), raw[0], raw[0] * 0)
    np.testing.assert_array_equal(losses, (raw[0] > 0).ravel())
    np.testing.assert_allclose(np.exp(-unsure), special.expit(np.abs(raw[0])).ravel(), 1e-6)
    output, some = outputs.Bernoulli(ignore_class=-1), np.array([[1, -1, 0]] * 4)
    losses, _ = evaluation.losses_and_uncertainty(output, raw[0], some)
    np.testing.assert_array_equal(losses, ((raw[0] > 0) != some)[some >= 0])
    for measure in (evaluation.main_scores, evaluation.further_scores):
        with pytest.raises(ValueError, match=r"out of range: 3\. Expected.*0 to 2"):
            measure(outputs.Categorical(), raw, np.full((6, 4), 3))
    output = outputs.Normal(2)
    losses, unsure = evaluation.losses_and_uncertainty(
        output, raw[0][:, [0, 1, 2, 2]], labels[:4, :2]
    )
    scale = 0.001 + np.log1p(np.exp(raw[0][:, 2]))
    np.testing.assert_allclose(losses, ((raw[0][:, :2] - labels[:4, :2]) ** 2).mean(-1), 1e-5)
    np.testing.assert_allclose(unsure, scale**2, 1e-5)


def test_detection_counts_pairs_and_what_passes():
    rng = np.random.default_rng(0)
    known, other = rng.integers(0, 9, 200), rng.integers(4, 13, 100)
    pairs = np.sign(other[:, None] - known) / 2 + 0.5
    assert evaluation.auroc(known, other) == pytest.approx(pairs.mean())
    threshold = min(t for t in range(13) if np.mean(known <= t) >= 0.95)
    assert evaluation.fpr_at_tpr(known, other) == pytest.approx(np.mean(other <= threshold))
    assert evaluation.auroc([0.0, np.inf], [1.0, np.inf]) == (1 + 0 + 1 + 0.5) / 4
    assert evaluation.fpr_at_tpr([0.0, 2.0], [1.0, np.inf], tpr=0.9) == 0.5
    assert np.isnan(evaluation.auroc([0.0, 1.0], [np.nan]))
    assert np.isnan(evaluation.fpr_at_tpr([0.0, np.nan], [1.0]))
    with pytest.raises(ValueError, match="between 0 and 1"):
        evaluation.fpr_at_tpr(known, other, tpr=95)


def test_scores_of_unfamiliar_rows():
    raw = numbers(5, 2, 3)
    p = softmax(raw)
    found = evaluation.unfamiliarity(outputs.Categorical(), raw)
    np.testing.assert_allclose(found["entropy"], -(p * np.log(p)).sum(-1).mean(-1), 1e-5)
    np.testing.assert_allclose(found["confidence"], 1 - p.max(-1).mean(-1), 1e-5)
    q = special.expit(raw[:, 0])
    found = evaluation.unfamiliarity(outputs.Bernoulli(), raw[:, 0])
    np.testing.assert_allclose(found["entropy"], stats.bernoulli.entropy(q).sum(-1), 1e-4)
    np.testing.assert_allclose(found["confidence"], np.minimum(q, 1 - q).mean(-1), 1e-4)
    gaps = np.float32([40, 20, 18])  # Of confident answers, 1 - p would be 0.
    for output, sure in (
        (outputs.Categorical(), [[g, 0] for g in gaps]),
        (outputs.Bernoulli(), gaps),
    ):
        found = evaluation.unfamiliarity(output, np.reshape(sure, (3, -1)))
        np.testing.assert_allclose(found["confidence"], 1 / (1 + np.exp(gaps)), 1e-6)
    output = outputs.Normal(1, target_stddev=10.0)
    found = evaluation.unfamiliarity(output, raw[:, 0, :2])
    np.testing.assert_allclose(
        found["variance"], np.asarray(output(raw[:, 0, :2]).variance())[:, 0] / 100, 1e-5
    )


def test_a_row_of_zeros_is_an_unknown_label_where_there_are_any():
    logits, classes = numbers(6, 4), np.array([0, 1, 3, 2, 1, 0])
    rows = np.eye(4)[classes]
    rows[[0, 3]] = 0.0
    known = rows.any(-1)
    p = softmax(logits)[known]
    expected = {
        "accuracy": np.mean(p.argmax(-1) == classes[known]),
        "nll": -np.log(p[range(4), classes[known]]).mean(),
    }
    found = evaluation.main_scores(outputs.Categorical(ignore_class=-1), logits, rows, "iou")
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    of_known = evaluation.main_scores(outputs.Categorical(), logits[known], rows[known], "iou")
    assert found == pytest.approx(of_known)
    with pytest.raises(ValueError, match=r"range: the row at \[0\] is 0, 0, 0, .* up to 0\. If"):
        evaluation.main_scores(outputs.Categorical(), logits, rows)
    with pytest.raises(ValueError, match=r"No label is known to Categorical\(.*=-1"):
        evaluation.main_scores(outputs.Categorical(ignore_class=-1), logits, classes * 0 - 1)
    with pytest.raises(ValueError, match=r"can be read as numbers: give np\.asarray\(labels\)"):
        evaluation.main_scores(outputs.Point(3), logits, logits.astype(object))


def test_fidelity_by_hand():
    teacher, student = numbers(6, 3), numbers(6, 3, seed=1)
    labels = np.array([0, 1, 2, 0, 1, -1])
    p, q = softmax(teacher), softmax(student)
    output = outputs.Categorical(ignore_class=-1)
    found = evaluation.fidelity_scores(output, teacher, output, student, labels)
    same, wrong = p.argmax(-1) == q.argmax(-1), (p.argmax(-1) != labels) & (labels >= 0)
    assert 0 < wrong.sum() < 6
    assert found == pytest.approx(
        {
            "agreement": same.mean(),
            "agreement_where_wrong": same[wrong].mean(),
            "divergence": np.sum(p * np.log(p / q), -1).mean(),
        },
        rel=1e-5,
    )
    # The teacher's own output may know of no unknown labels, of rows of shares neither.
    plain, shares = outputs.Categorical(), np.eye(3)[labels] * (labels >= 0)[:, None]
    for each in (labels, labels[:, None], shares):
        assert evaluation.fidelity_scores(plain, teacher, output, student, each) == found
    with pytest.raises(ValueError, match="are out of range: -1"):
        evaluation.fidelity_scores(plain, teacher, plain, student, labels)
    right = evaluation.fidelity_scores(output, teacher, output, student, p.argmax(-1))
    assert "agreement_where_wrong" not in right
    found = evaluation.fidelity_scores(
        outputs.Bernoulli(), teacher, outputs.Bernoulli(), student, teacher < 0
    )  # Wrong everywhere.
    same = (teacher > 0) == (student > 0)
    assert [found["agreement"], found["agreement_where_wrong"]] == pytest.approx([same.mean()] * 2)
    points = outputs.Point(3, stddev=2.0, target_stddev=5.0)
    found = evaluation.fidelity_scores(points, teacher, points, student, labels)
    apart = 5.0 * np.abs(teacher - student)
    assert found["mean_difference"] == pytest.approx(apart.mean(), rel=1e-5)
    assert found["divergence"] == pytest.approx((apart**2 / 8).sum(-1).mean(), rel=1e-5)


def test_what_is_of_numbers_alone_says_so():
    with pytest.raises(ValueError, match="Expected an output of numbers"):
        evaluation.crps(outputs.Categorical(), tf.zeros((1, 2)), [0])
    scores = evaluation.crps, evaluation.interval_score, evaluation.quantile_calibration_error
    for score in scores:
        with pytest.raises(ValueError, match=r"labels have shape \(2, 3\).* shape \(3, 2\)"):
            score(outputs.Normal(2), np.zeros((3, 4)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        evaluation.interval(outputs.Normal(1), tf.zeros((1, 2)), level=95)
