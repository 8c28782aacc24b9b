"""Networks with known weights, and in NumPy what they compute and learn."""

import keras
import numpy as np
import scipy.special
import scipy.stats
import tensorflow as tf
from scipy.special import log_softmax

RATE = 0.5
SIZE, CLASSES = 4, 3


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def weights(units=CLASSES, *, seed):
    """A kernel and a bias."""
    return [numbers(SIZE, units, seed=seed), numbers(units, seed=seed + 1000)]


def linear(its_weights, *layers, regularizer=None):
    """A dense network with these weights, after other layers that have none."""
    dense = keras.layers.Dense(its_weights[1].size, kernel_regularizer=regularizer)
    model = keras.Sequential([keras.Input((SIZE,)), *layers, dense])
    model.layers[-1].set_weights(its_weights)
    return model


def network(seed, inputs=SIZE, classes=CLASSES, scale=1.0):
    """A dense network of any size with known weights."""
    model = keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(classes)])
    kernel = scale * numbers(inputs, classes, seed=seed)
    model.set_weights([kernel, numbers(classes, seed=seed + 50)])
    return model


def heads(inputs=SIZE, **units):
    """Dense outputs by name."""
    x = keras.Input((inputs,))
    return keras.Model(x, {name: keras.layers.Dense(count)(x) for name, count in units.items()})


@keras.saving.register_keras_serializable("by_hand")
class Subclassed(keras.Model):
    """No symbolic inputs or outputs, and no weights before it is called."""

    def __init__(self, units=CLASSES, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(units)

    def call(self, inputs):
        return self.dense(inputs)


class Logarithm(keras.layers.Layer):
    """NaN for negative inputs."""

    def call(self, inputs):
        return tf.math.log(inputs)


class Recorder(keras.layers.Layer):
    """Passes its input on, and keeps every eager batch that it saw and in which mode."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.batches, self.modes = [], []

    def call(self, x, training=None):
        if hasattr(x, "numpy"):
            self.batches.append(x.numpy())
            self.modes.append(bool(training))
        return x


def dataset(*arrays):
    """Rows of arrays, not batched."""
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0])


def softmax(values):
    """Over the last axis, in float64."""
    return scipy.special.softmax(np.asarray(values, np.float64), -1)


def fits(values, distribution, *parameters):
    """Whether the values may be draws from a SciPy distribution."""
    return scipy.stats.kstest(np.ravel(values), distribution, parameters).pvalue > 1e-3


def logits(x, its_weights):
    return x.astype("float64") @ its_weights[0] + its_weights[1]


def kl(p_logits, q_logits):
    log_p, log_q = log_softmax(p_logits, -1), log_softmax(q_logits, -1)
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)


def normal_kl(mean, stddev, its_mean, its_stddev):
    """The textbook KL of two normals, of each dimension."""
    ratio = stddev / its_stddev
    return (ratio**2 + ((mean - its_mean) / its_stddev) ** 2 - 1) / 2 - np.log(ratio)


def sgd(x, its_weights, gradient):
    """The weights after a step, from the loss's gradient in the output of every row."""
    gradient = gradient / len(x)
    return [its_weights[0] - RATE * x.T @ gradient, its_weights[1] - RATE * gradient.sum(0)]


def kl_epoch(x, student, teacher, batch_size, row_weights=None):
    """The student's weights after an epoch of ordinary distillation, and the epoch's loss."""
    losses = []
    row_weights = np.ones(len(x)) if row_weights is None else row_weights
    for start in range(0, len(x), batch_size):
        rows, w = x[start : start + batch_size], row_weights[start : start + batch_size]
        p, q = logits(rows, teacher), logits(rows, student)
        losses.append(w * kl(p, q))
        student = sgd(rows, student, w[:, None] * (softmax(q) - softmax(p)))
    return student, np.concatenate(losses).mean()


def assert_arrays(got, expected, **tolerance):
    """Lists of arrays; bit by bit without a tolerance."""
    for one, two in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, two, **{"rtol": 0, **tolerance})


def assert_weights(model, expected):
    assert_arrays(model.get_weights(), expected, rtol=1e-4, atol=1e-5)


def assert_same_weights(one, other):
    assert_arrays(one.get_weights(), other.get_weights())
