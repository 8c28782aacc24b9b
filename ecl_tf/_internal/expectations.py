"""Expectations under a distribution, from values that are the same at every step and replica.

| distribution | values | their weights |
|---|---|---|
| a number with a location and a scale | 64 quantiles | Gauss-Legendre, of their levels |
| a count | 0 to 127, then 64 beyond | their probabilities, times Gauss-Legendre |
| d > 1 Gaussian numbers | 128 of a Sobol sequence | 1 / 128 each |
| a mixture of these | those of every component | the same, times the component's |

The Sobol sequence is mapped to rows of a standard normal distribution, and these to an exact mean
of 0 and covariance of 1. Values and weights move with their distribution, so that expectations have
gradients in its parameters.
"""

import functools

import numpy as np
import tensorflow as tf
from scipy import stats

from ecl_tf._internal import distributions as tfd

_NODES = 64
_EXACT = 128  # Counts that are summed one by one.
_SEQUENCE = 128  # More would take most of a step.
_STANDARD_DEVIATIONS = 12.0  # Beyond the mean a count is not looked for.
_DECAYS = 20.0  # Nor where a geometric tail has fallen by exp(-20).


def of_numbers(distribution):
    """Values and weights for each number by itself.

    Args:
        distribution: a batch of `tfd.Normal`, `tfd.StudentT`, `tfd.Poisson` or
            `tfd.NegativeBinomial`.

    Returns:
        Two tensors, (count, batch...), the second perhaps with sizes of 1.

    Raises:
        TypeError: for another distribution.
    """
    if isinstance(distribution, (tfd.Poisson, tfd.NegativeBinomial)):
        return _counts(distribution)
    levels, weights = _gauss_legendre()
    standard = _standard_quantiles(distribution, levels)
    return _moved(distribution, _columns(standard, distribution.batch_shape.rank)), _columns(
        weights, distribution.batch_shape.rank
    )


def of_rows(distribution):
    """Values and weights for rows of d numbers together.

    Args:
        distribution: a batch of `tfd.Independent` or `tfd.MixtureSameFamily` of these, of
            `tfd.Normal`.

    Returns:
        Two tensors, (count, batch..., d) and (count, batch...).

    Raises:
        TypeError: for another distribution.
    """
    if not isinstance(distribution, tfd.MixtureSameFamily):
        return _rows(distribution)
    values, weights = _rows(distribution.components_distribution)  # (count, batch..., K, d)
    shares = tf.nn.softmax(distribution.mixture_distribution.logits_parameter())
    rank = distribution.batch_shape.rank
    weights = weights * shares
    first = [0, rank + 1, *range(1, rank + 1)]  # Components, which are the last, beside the values.
    values = tf.transpose(values, [*first, rank + 2])
    weights = tf.transpose(weights, first)
    return (
        tf.reshape(values, tf.concat([[-1], tf.shape(values)[2:]], 0)),
        tf.reshape(weights, tf.concat([[-1], tf.shape(weights)[2:]], 0)),
    )


def _rows(distribution):
    if not isinstance(getattr(distribution, "distribution", None), tfd.Normal):
        raise TypeError(_refusal(distribution))
    size, rank = distribution.event_shape[-1], distribution.batch_shape.rank
    standard, weights = _standard_normal(size)
    standard = tf.reshape(tf.constant(standard), [-1, *[1] * rank, size])
    values = _moved(distribution.distribution, standard)
    return values, _columns(weights, rank)


def _moved(distribution, standard):
    return distribution.loc + distribution.scale * standard


def _columns(values, rank):
    return tf.reshape(tf.constant(np.float32(values)), [-1, *[1] * rank])


@functools.cache
def _gauss_legendre():
    """Levels between 0 and 1, and their weights."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return 0.5 * (1.0 + nodes), 0.5 * weights


def _standard_quantiles(distribution, levels):
    if isinstance(distribution, tfd.Normal):
        return stats.norm.ppf(levels)
    freedom = tf.get_static_value(getattr(distribution, "df", None))
    if freedom is None or np.ndim(freedom):
        raise TypeError(_refusal(distribution))
    return stats.t.ppf(levels, freedom)


@functools.cache
def _standard_normal(size):
    """Rows of a standard normal distribution, and their weights."""
    if size == 1:
        levels, weights = _gauss_legendre()
        return np.float32(stats.norm.ppf(levels)[:, None]), weights
    levels = stats.qmc.Sobol(size, scramble=False).random(_SEQUENCE) + 0.5 / _SEQUENCE
    rows = stats.norm.ppf(levels)
    rows -= rows.mean(0)
    root = np.linalg.cholesky(rows.T @ rows / _SEQUENCE)
    return np.float32(np.linalg.solve(root, rows.T).T), np.full(_SEQUENCE, 1 / _SEQUENCE)


def _counts(distribution):
    """Each of the first counts, and those beyond as if they were real numbers."""
    rank = distribution.batch_shape.rank
    first = _columns(np.arange(_EXACT), rank) + tf.zeros_like(distribution.mean())
    mean, stddev = (tf.stop_gradient(each) for each in (distribution.mean(), distribution.stddev()))
    reach = _STANDARD_DEVIATIONS * stddev
    low = tf.maximum(mean - reach, _EXACT - 0.5)
    # A negative binomial's tail falls by a factor of e in about variance / mean counts.
    high = tf.maximum(mean + reach + _DECAYS * stddev**2 / mean, _EXACT + 0.5)
    levels, weights = (_columns(each, rank) for each in _gauss_legendre())
    width = tf.math.log(high) - tf.math.log(low)
    beyond = tf.exp(tf.math.log(low) + width * levels)
    values = tf.concat([first, beyond], 0)
    spacing = tf.concat([tf.ones_like(first), beyond * width * weights], 0)
    return values, spacing * distribution.prob(values)


def _refusal(distribution):
    return (
        f"{type(distribution).__name__} distributions have no fixed points to take this divergence "
        "at. Use divergence='kl' if TensorFlow Probability has a closed form of theirs, or give a "
        "function (teacher, student) -> tensor of their batch shape."
    )
