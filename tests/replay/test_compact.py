"""Stored answers against SciPy's numbers for the teacher's own."""

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf.replay import compact

RNG = np.random.default_rng(0)


def stored(output, raws, top_k=10):
    """Fields, and what is restored of them, of an ensemble's raw outputs."""
    codec = compact.get(output, top_k)
    fields = codec.encode(output.combine(raws), output.uncertainty(raws))
    shape = keras.tree.map_structure(lambda raw: raw.shape, raws[0])
    raw, uncertainty = codec.restore(fields, output.event_size(shape))
    return fields, codec.output(raw), uncertainty


def size(fields):
    """Bytes a row."""
    return sum(np.asarray(field[0]).nbytes for field in fields.values())


@pytest.mark.parametrize(("classes", "top_k"), [(300, 7), (11, 10)])
def test_the_mass_of_the_classes_left_out_is_kept(classes, top_k):
    logits = RNG.normal(size=(2, 50, classes)).astype("float32") * 3
    fields, distribution, _ = stored(outputs.Categorical(), list(logits), top_k)
    got = distribution.probs_parameter().numpy().astype("float64")
    p = scipy.special.softmax(logits.astype("float64"), -1).mean(0)
    np.testing.assert_allclose(got.sum(-1), 1.0, atol=1e-6)
    order = np.argsort(-p, -1)
    top, others = order[:, :top_k], order[:, top_k:]
    taken = np.take_along_axis
    np.testing.assert_allclose(taken(got, top, -1), taken(p, top, -1), rtol=6e-3)
    rest = taken(p, others, -1)
    mass = rest.sum(-1)
    np.testing.assert_allclose(taken(got, others, -1).sum(-1), mass, rtol=6e-3)
    # The error is what the docstring says, and below its bound.
    error = scipy.special.rel_entr(p, got).sum(-1)
    entropy = scipy.stats.entropy(rest, axis=-1)
    said = mass * (np.log(classes - top_k) - entropy)
    np.testing.assert_allclose(error, said, atol=2e-4)
    assert (error <= mass * np.log(classes - top_k) + 2e-4).all()
    assert size(fields) == (3 if classes <= 256 else 4) * top_k + 6


def test_all_classes_are_stored_where_they_are_few():
    logits = RNG.normal(size=(50, 10)).astype("float32") * 10
    fields, distribution, _ = stored(outputs.Categorical(), [logits], 10)
    assert set(fields) == {"log_probabilities", "aleatoric", "epistemic"}
    p = scipy.special.softmax(logits.astype("float64"), -1)
    error = scipy.special.rel_entr(p, distribution.probs_parameter().numpy()).sum(-1)
    assert error.max() < 1e-5


def test_certain_answers_stay_finite():
    logits = np.full((1, 200), -1e6, "float32")
    logits[0, 3] = 0.0
    _, distribution, _ = stored(outputs.Categorical(), [logits], 5)
    probabilities = distribution.probs_parameter().numpy()
    assert probabilities[0, 3] == 1.0 and np.isfinite(distribution.logits_parameter()).all()


def test_the_uncertainty_of_an_ensemble_is_stored_in_its_parts():
    logits = RNG.normal(size=(3, 50, 20)).astype("float32")
    _, _, uncertainty = stored(outputs.Categorical(), list(logits), 5)
    p = scipy.special.softmax(logits.astype("float64"), -1)
    aleatoric = scipy.stats.entropy(p, axis=-1).mean(0)
    np.testing.assert_allclose(uncertainty.aleatoric, aleatoric, rtol=1e-3)
    epistemic = scipy.stats.entropy(p.mean(0), axis=-1) - aleatoric
    np.testing.assert_allclose(uncertainty.epistemic, epistemic, rtol=2e-3, atol=1e-5)


def test_gaussian_moments():
    unit = [0.01, 1000.0]
    output = outputs.Normal(2, target_stddev=unit, target_mean=3.0)
    raws = list(RNG.normal(size=(4, 50, 4)).astype("float32"))
    fields, distribution, uncertainty = stored(output, raws)
    scale = np.asarray(unit)
    means = 3.0 + scale * np.stack(raws)[..., :2]
    stddevs = scale * (1e-3 + np.log1p(np.exp(np.stack(raws)[..., 2:].astype("float64"))))
    np.testing.assert_allclose(distribution.mean(), means.mean(0), rtol=1e-5, atol=1e-5)
    variance = (stddevs**2).mean(0) + means.var(0)
    np.testing.assert_allclose(distribution.stddev(), np.sqrt(variance), rtol=1e-3)
    np.testing.assert_allclose(uncertainty.aleatoric, (stddevs**2).mean(0), rtol=2e-3)
    np.testing.assert_allclose(uncertainty.epistemic, means.var(0), rtol=2e-3)
    assert size(fields) == 16


@pytest.mark.parametrize(
    "output",
    [
        outputs.StudentT(2, target_stddev=[0.01, 1000.0]),
        outputs.LogNormal(2, target_mean=[5.0, 300.0]),
        outputs.Poisson(2, target_mean=[5.0, 3e4], target_stddev=[2.0, 1e4]),
        outputs.NegativeBinomial(2, target_mean=[5.0, 3e4], target_stddev=[2.0, 1e4]),
        outputs.NormalMixture(2, 3),
    ],
    ids=lambda output: output.family,
)
def test_other_numbers_are_stored_as_they_are(output):
    raws = list(RNG.normal(size=(3, 50, output.raw_size(2))).astype("float32"))
    fields, distribution, uncertainty = stored(output, raws)
    combined, parts = output.combine(raws), output.uncertainty(raws)
    again, expected = (output.parameters(each) for each in (distribution, combined))
    for name, value in expected.items():
        np.testing.assert_allclose(again[name], value, rtol=2e-4, atol=1e-5)
    for part, its in zip(uncertainty, parts, strict=True):
        np.testing.assert_allclose(part, its, rtol=4e-3, atol=1e-5)
    members = 3 if isinstance(output, outputs.NormalMixture) else 1
    assert size(fields) == 4 * members * output.raw_size(2) + 8


def test_points_with_a_spread_become_gaussians():
    output = outputs.Point(1, stddev=2.0)
    _, distribution, _ = stored(output, [np.array([[5.0], [7.0]], "float32")])
    np.testing.assert_allclose(distribution.mean(), [[5.0], [7.0]], rtol=1e-6)
    np.testing.assert_allclose(distribution.stddev(), [[2.0], [2.0]], rtol=1e-3)


def test_labels_and_named_outputs():
    output = outputs.Joint({"labels": "bernoulli", "a/b": outputs.Normal(1)}, {"a/b": 0.5})
    raws = [{"labels": RNG.normal(size=(9, 3)), "a/b": RNG.normal(size=(9, 2))} for _ in range(2)]
    fields, distribution, uncertainty = stored(output, raws)
    p = np.mean([scipy.special.expit(raw["labels"]) for raw in raws], 0)
    got = tf.sigmoid(output.raw(distribution)["labels"])
    np.testing.assert_allclose(got, p, rtol=1e-3)
    assert set(uncertainty) == {"labels", "a/b"} and size(fields) == 2 * 3 + 4 + 8


def test_dense_predictions_keep_their_positions():
    logits = RNG.normal(size=(2, 3, 4, 30)).astype("float32") * 5
    _, distribution, _ = stored(outputs.Categorical(), [logits], 4)
    got = distribution.probs_parameter().numpy()
    p = scipy.special.softmax(logits, -1)
    np.testing.assert_allclose(got.max(-1), p.max(-1), rtol=6e-3)
    np.testing.assert_array_equal(got.argmax(-1), p.argmax(-1))


class Other(outputs.Output):
    family = "other"


def test_another_family_and_a_top_k_that_is_no_whole_number_are_refused():
    with pytest.raises(ValueError, match="can't be stored"):
        compact.get(Other(), 1)
    for top_k in (0, 2.5):
        with pytest.raises(ValueError, match="top_k must be a whole number"):
            compact.get(outputs.Categorical(), top_k)
