"""The supervised loss, alone and inside Keras training. Its formulas are tested with outputs."""

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf.losses import NegativeLogLikelihood

RNG = np.random.default_rng(0)
X = RNG.normal(0, 1, (6, 4)).astype(np.float32)
LOGITS = RNG.normal(0, 2, (6, 3)).astype(np.float32)
LABELS = np.array([0, 2, 1, 1, 0, 2])
RAW = RNG.normal(0, 1, (6, 2)).astype(np.float32)
TARGETS = RNG.normal(0, 1, (6, 1)).astype(np.float32)


def cross_entropy(logits):
    """-log p(label) of each row, by SciPy."""
    return -scipy.special.log_softmax(np.asarray(logits, np.float64), -1)[np.arange(6), LABELS]


def gaussian(raw):
    """-log density of the target of each row, by SciPy."""
    mean, stddev = raw[:, :1], 1e-3 + np.logaddexp(0, np.asarray(raw[:, 1:], np.float64))
    return -scipy.stats.norm.logpdf(TARGETS, mean, stddev)[:, 0]


def dense_model(inputs, units, loss):
    model = keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(units)])
    model.compile(keras.optimizers.SGD(0.1), loss)
    return model


def forward(model):
    kernel, bias = model.get_weights()
    return X.astype(np.float64) @ kernel + bias


def test_it_is_the_likelihood_of_the_output_and_named_outputs_are_summed():
    loss = NegativeLogLikelihood("categorical", reduction="none")
    np.testing.assert_allclose(loss(LABELS, LOGITS), cross_entropy(LOGITS), rtol=1e-5)
    loss = NegativeLogLikelihood({"digit": "categorical", "angle": outputs.Normal(1)})
    actual = loss({"digit": LABELS, "angle": TARGETS}, {"digit": LOGITS, "angle": RAW})
    expected = cross_entropy(LOGITS).mean() + gaussian(RAW).mean()
    assert float(actual) == pytest.approx(expected, rel=1e-5)


def test_mixed_precision_raw_outputs_are_scored_in_float32():
    loss = NegativeLogLikelihood("categorical", reduction="none")
    half = LOGITS.astype(np.float16)
    actual = loss(LABELS, tf.constant(half))
    assert actual.dtype == tf.float32
    np.testing.assert_allclose(actual, cross_entropy(half), rtol=1e-5)


@pytest.mark.parametrize("weights", [None, np.float32([1.0, 0.0, 2.0, 0.5, 1.0, 3.0])])
def test_keras_trains_with_it_on_class_indices(weights):
    model = dense_model(4, 3, NegativeLogLikelihood("categorical"))
    # Keras's "sum_over_batch_size": the weighted sum over the number of rows.
    expected = (cross_entropy(forward(model)) * (1.0 if weights is None else weights)).sum() / 6
    first = model.train_on_batch(X, LABELS, sample_weight=weights)
    assert float(first) == pytest.approx(expected, rel=1e-4)
    for _ in range(20):
        last = model.train_on_batch(X, LABELS, sample_weight=weights)
    assert float(last) < 0.9 * expected


def test_keras_scores_gaussian_targets_without_an_axis():
    model = dense_model(4, 2, NegativeLogLikelihood(outputs.Normal(1)))
    actual = model.test_on_batch(X, TARGETS[:, 0])
    assert float(actual) == pytest.approx(gaussian(forward(model)).mean(), rel=1e-4)


def test_probabilities_are_refused_before_the_first_step():
    mean = keras.layers.Average()
    soft = [keras.layers.Dense(3, "softmax") for _ in range(2)]
    inputs = keras.Input((4,))
    by_graph = keras.Model(inputs, soft[0](inputs))
    by_value = keras.Model(inputs, mean([layer(inputs) for layer in soft]))
    yes_no = keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(inputs))
    rate = keras.layers.Dense(1, "softplus")(inputs)
    scaled = keras.layers.Concatenate()([keras.layers.Dense(1)(inputs), rate])
    for raw, output in ((rate, outputs.Poisson(1)), (scaled, outputs.Normal(1))):
        model = keras.Model(inputs, raw)
        model.compile("sgd", NegativeLogLikelihood(output))
        with pytest.raises(ValueError, match=r"end in a softplus.*Leave the activation out"):
            model.fit(X, TARGETS, verbose=0)
    for model, output in ((by_graph, "categorical"), (yes_no, "bernoulli")):
        model.compile("sgd", NegativeLogLikelihood(output))
        with pytest.raises(ValueError, match=r"ends in a softmax or a sigmoid.*as_logits"):
            model.fit(X, LABELS % 2, verbose=0)
    by_value.compile("sgd", NegativeLogLikelihood("categorical"))
    before = by_value.get_weights()
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"add up to 1.*as_logits"):
        by_value.fit(X, LABELS, verbose=0)
    for one, other in zip(by_value.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_config_round_trip():
    output = {"a": "bernoulli", "b": outputs.Normal(1, 0.1)}
    loss = NegativeLogLikelihood(output, reduction="sum", name="mine")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert isinstance(again, NegativeLogLikelihood)
    assert (again.output, again.reduction, again.name) == (loss.output, "sum", "mine")


def test_normal_by_name_alone_says_what_to_give():
    with pytest.raises(ValueError, match=r"ecl_tf\.outputs\.Normal\(event_size\)"):
        NegativeLogLikelihood("normal")


def test_activations_are_refused_in_half_precision_and_of_named_outputs():
    inputs = keras.Input((4,))
    half = keras.layers.Dense(1, "sigmoid", dtype="mixed_float16")(inputs)
    model = keras.Model(inputs, half)
    model.compile("sgd", NegativeLogLikelihood("bernoulli"))
    with pytest.raises(ValueError, match="ends in a softmax or a sigmoid"):
        model.fit(np.zeros((4, 4)), np.zeros((4, 1)), verbose=0)
    joint = NegativeLogLikelihood(outputs.Joint({"kind": "categorical"}))
    with pytest.raises(ValueError, match="ends in a softmax or a sigmoid"):
        joint({"kind": np.zeros(2)}, {"kind": keras.activations.softmax(tf.zeros((2, 3)))})
