"""The supervised loss against SciPy, alone and inside plain Keras training."""

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf.losses import NegativeLogLikelihood

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (6, 3)).astype(np.float32)
LABELS = np.array([0, 2, 1, 1, 0, 2])
LOG_P = scipy.special.log_softmax(LOGITS.astype(np.float64), -1)
CROSS_ENTROPY = -LOG_P[np.arange(6), LABELS]


def gaussian(raw, targets, min_scale=1e-3):
    """-log density per row, by SciPy."""
    size = raw.shape[-1] // 2
    raw = raw.astype(np.float64)
    stddev = min_scale + np.logaddexp(0, raw[:, size:])
    return -scipy.stats.norm.logpdf(targets, raw[:, :size], stddev).sum(-1)


@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS[:, None], LABELS.astype(np.float32), LABELS.astype(np.uint8)],
    ids=["(B,)", "(B, 1)", "float", "uint8"],
)
def test_class_indices_give_cross_entropy(labels):
    loss = NegativeLogLikelihood("categorical")
    assert float(loss(labels, LOGITS)) == pytest.approx(CROSS_ENTROPY.mean(), rel=1e-5)


def test_one_hot_rows_equal_class_indices():
    loss = NegativeLogLikelihood("categorical", reduction="none")
    np.testing.assert_allclose(loss(np.eye(3)[LABELS], LOGITS), CROSS_ENTROPY, rtol=1e-5)


def test_soft_rows_are_the_expectation_over_classes():
    soft = RNG.dirichlet(np.ones(3), 6)
    loss = NegativeLogLikelihood("categorical", reduction="none")
    np.testing.assert_allclose(loss(soft, LOGITS), -(soft * LOG_P).sum(-1), rtol=1e-5)


@pytest.mark.parametrize("size", [1, 3])
def test_normal_equals_scipy(size):
    raw = RNG.normal(0, 1, (6, 2 * size)).astype(np.float32)
    targets = RNG.normal(0, 1, (6, size)).astype(np.float32)
    loss = NegativeLogLikelihood(outputs.Normal(size), reduction="none")
    np.testing.assert_allclose(loss(targets, raw), gaussian(raw, targets), rtol=1e-4)


def test_bernoulli_equals_scipy():
    labels = RNG.integers(0, 2, (6, 3))
    p = scipy.special.expit(LOGITS.astype(np.float64))
    loss = NegativeLogLikelihood("bernoulli", reduction="none")
    expected = -scipy.stats.bernoulli.logpmf(labels, p).sum(-1)
    np.testing.assert_allclose(loss(labels, LOGITS), expected, rtol=1e-4)


def test_named_outputs_are_summed():
    loss = NegativeLogLikelihood({"digit": "categorical", "angle": outputs.Normal(1)})
    raw = RNG.normal(0, 1, (6, 2)).astype(np.float32)
    targets = np.zeros((6, 1), np.float32)
    actual = loss({"digit": LABELS, "angle": targets}, {"digit": LOGITS, "angle": raw})
    expected = CROSS_ENTROPY.mean() + gaussian(raw, targets).mean()
    assert float(actual) == pytest.approx(expected, rel=1e-5)


def test_mixed_precision_raw_outputs_are_scored_in_float32():
    loss = NegativeLogLikelihood("categorical", reduction="none")
    half = LOGITS.astype(np.float16)
    log_p = scipy.special.log_softmax(half.astype(np.float64), -1)
    actual = loss(LABELS, tf.constant(half))
    assert actual.dtype == tf.float32
    np.testing.assert_allclose(actual, -log_p[np.arange(6), LABELS], rtol=1e-5)


def dense_model(inputs, units, loss):
    model = keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(units)])
    model.compile(keras.optimizers.SGD(0.1), loss)
    return model


def forward(model, x):
    kernel, bias = model.get_weights()
    return (x.astype(np.float64) @ kernel + bias).astype(np.float32)


@pytest.mark.parametrize("weighted", [False, True])
def test_keras_trains_with_it_on_class_indices(weighted):
    x = RNG.normal(0, 1, (6, 4)).astype(np.float32)
    weights = np.array([1.0, 0.0, 2.0, 0.5, 1.0, 3.0], np.float32) if weighted else None
    model = dense_model(4, 3, NegativeLogLikelihood("categorical"))
    log_p = scipy.special.log_softmax(forward(model, x).astype(np.float64), -1)
    each = -log_p[np.arange(6), LABELS]
    # Keras's "sum_over_batch_size": the weighted sum over the number of rows.
    expected = (each * (weights if weighted else 1.0)).sum() / 6
    first = model.train_on_batch(x, LABELS, sample_weight=weights)
    assert float(first) == pytest.approx(expected, rel=1e-4)
    for _ in range(20):
        last = model.train_on_batch(x, LABELS, sample_weight=weights)
    assert float(last) < 0.9 * expected


@pytest.mark.parametrize("flat", [False, True])
def test_keras_scores_gaussian_targets_with_and_without_an_axis(flat):
    x = RNG.normal(0, 1, (6, 4)).astype(np.float32)
    targets = RNG.normal(0, 1, (6, 1)).astype(np.float32)
    model = dense_model(4, 2, NegativeLogLikelihood(outputs.Normal(1)))
    expected = gaussian(forward(model, x), targets).mean()
    actual = model.test_on_batch(x, targets[:, 0] if flat else targets)
    assert float(actual) == pytest.approx(expected, rel=1e-4)


def test_training_finds_the_mean_and_spread_of_its_targets():
    targets = RNG.normal(3.0, 2.0, (512, 1)).astype(np.float32)
    x = np.ones((512, 1), np.float32)
    model = dense_model(1, 2, NegativeLogLikelihood(outputs.Normal(1)))
    model.compile(keras.optimizers.Adam(0.1), model.loss)
    for _ in range(200):
        model.train_on_batch(x, targets)
    distribution = outputs.Normal(1)(model(x[:1]))
    assert float(distribution.mean()[0, 0]) == pytest.approx(targets.mean(), abs=0.05)
    assert float(distribution.stddev()[0, 0]) == pytest.approx(targets.std(), abs=0.05)


@pytest.mark.parametrize(
    "output",
    ["categorical", outputs.Normal(2, 0.1), {"a": "bernoulli", "b": outputs.Normal(1)}],
    ids=["categorical", "normal", "joint"],
)
def test_config_round_trip(output):
    loss = NegativeLogLikelihood(output, reduction="sum", name="mine")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert isinstance(again, NegativeLogLikelihood)
    assert (again.output, again.reduction, again.name) == (loss.output, "sum", "mine")


def test_a_saved_model_keeps_its_loss(tmp_path):
    x = RNG.normal(0, 1, (6, 4)).astype(np.float32)
    targets = RNG.normal(0, 1, (6, 1)).astype(np.float32)
    model = dense_model(4, 2, NegativeLogLikelihood(outputs.Normal(1, 0.2)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected = gaussian(forward(model, x), targets, min_scale=0.2).mean()
    assert float(loaded.test_on_batch(x, targets)) == pytest.approx(expected, rel=1e-4)


def test_normal_by_name_alone_says_what_to_give():
    with pytest.raises(ValueError, match=r"ecl_tf\.outputs\.Normal\(event_size\)"):
        NegativeLogLikelihood("normal")
