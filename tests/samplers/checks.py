"""What the tests of samplers share."""

import keras
import numpy as np
import scipy.stats


def fits(values, distribution, *parameters):
    """Whether the values may be draws from a SciPy distribution."""
    return scipy.stats.kstest(np.ravel(values), distribution, parameters).pvalue > 1e-3


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def network(seed, inputs=4, classes=3, scale=1.0):
    """One dense layer of known weights."""
    model = keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(classes)])
    kernel = scale * numbers(inputs, classes, seed=seed)
    model.set_weights([kernel, numbers(classes, seed=seed + 50)])
    return model
