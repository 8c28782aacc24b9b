"""Divergences D(teacher, student) between two `tensorflow_probability` distributions.

| name | formula | between normals |
|---|---|---|
| `kl` | KL(p_T || p_S), the method's | closed form |
| `reverse_kl` | KL(p_S || p_T), mode seeking | closed form |
| `jeffreys` | KL(p_T || p_S) + KL(p_S || p_T) | closed form |
| `jensen_shannon` | (KL(p_T || m) + KL(p_S || m)) / 2, m = (p_T + p_S) / 2 | quasi-Monte Carlo |
| `faithful` | KL(p_T || p_S), with the gradient of squared error for the mean | closed form |
| `standardised_logits`, `decoupled`, `correlation` | of classes: `ecl_tf.relatives` | none |

KL, the Kullback-Leibler divergence, goes through `tensorflow_probability`'s registry and
starts from logits, so its gradient stays alive where a clipped softmax would have none.

The Jensen-Shannon divergence (JS) of two Gaussians has no closed form, for the mixture m
is no Gaussian. The expectation under each of the two is then taken at a fixed set of
256 quasi-random points (a Halton sequence mapped through the inverse of the normal
distribution function) moved to mean + stddev * z. The points are constants: the divergence
stays a deterministic, differentiable function, the same on every replica and at every step.
It keeps the bound JS <= ln 2, which it would lose with a Gaussian of m's moments.

KL of Student's t, negative binomial and mixture distributions has no closed form. It is an
expectation, too, at points and with weights that are the same at every step:

| teacher | points | largest error measured |
|---|---|---|
| Student's t | 64 quantiles, Gauss-Legendre | 0.7 % of KL below 0.02, 0.3 % above |
| negative binomial | counts 0 to 127, then 64 by Gauss-Legendre | 0.4 % |
| mixture, one dimension | 64 quantiles of each component | 0.8 % |
| mixture, 2 to 6 dimensions | 128 of each component, a Sobol sequence | 13 %; 4 % above 0.3 |

The Jensen-Shannon divergence of all but Gaussians and mixtures is that of each dimension, summed;
of a log-normal distribution it is that of the logarithms.

For a row of K Bernoulli labels the mixture m couples the labels, and its exact
divergence sums over 2^K rows. So each label's own (exact) Jensen-Shannon divergence is
summed over labels instead: zero at the same place, at most K ln 2.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from ecl_tf._internal import distributions as tfd
from ecl_tf._internal import expectations
from ecl_tf.relatives import correlation, decoupled, standardised_logits

# Of TensorFlow Probability, which tells no types, and which is imported where it is used.
Distribution: TypeAlias = Any

_POINTS = 256


def kl(teacher: Distribution, student: Distribution) -> tf.Tensor:
    """Forward KL(p_T || p_S) in nats: the student must cover all that the teacher covers.

    Args:
        teacher: a distribution, or a batch of them.
        student: one of the same family and batch shape.

    Returns:
        A tensor of their batch shape.

    Example:
    >>> round(float(kl(tfd.Normal(0.0, 1.0), tfd.Normal(1.0, 1.0))), 4)
    0.5
    """
    try:
        return tfd.kl_divergence(teacher, student)
    except NotImplementedError:  # No closed form is known to TensorFlow Probability.
        pass
    p, q = _single(teacher), _single(student)
    if isinstance(p, tfd.Poisson) and isinstance(q, tfd.Poisson):
        rate = p.rate_parameter()
        log_ratio = tf.math.log(q.rate_parameter() / rate)
        # rate * (expm1 - log_ratio): of close rates that are large, a plain sum would be noise.
        return _over_events(teacher, rate * (tf.math.expm1(log_ratio) - log_ratio))
    return _expectation(teacher, student, lambda log_p, log_q: log_p - log_q)


def reverse_kl(teacher: Distribution, student: Distribution) -> tf.Tensor:
    """Reverse KL(p_S || p_T) in nats: the student may pick one of the teacher's modes.

    It is infinite where a categorical teacher gives a class the probability 0. `teacher`,
    `student` and the returned tensor are as in `kl`.
    """
    return kl(student, teacher)


def jeffreys(teacher: Distribution, student: Distribution) -> tf.Tensor:
    """Jeffreys' divergence KL(p_T || p_S) + KL(p_S || p_T), in nats, symmetric.

    `teacher`, `student` and the returned tensor are as in `kl`.
    """
    return kl(teacher, student) + kl(student, teacher)


def jensen_shannon(teacher: Distribution, student: Distribution) -> tf.Tensor:
    """Jensen-Shannon divergence in nats, symmetric, at most ln 2 (for each Bernoulli label).

    It is exact for categorical distributions, label by label for Bernoulli rows, and at fixed
    points for numbers (the module's docstring says why). `teacher`, `student` and the returned
    tensor are as in `kl`.

    Raises:
        TypeError: for distributions other than those of `ecl_tf.outputs`.

    Example:
    >>> certain = tfd.Categorical(logits=[0.0, -1e9]), tfd.Categorical(logits=[-1e9, 0.0])
    >>> round(float(jensen_shannon(*certain)), 4)  # ln 2
    0.6931

    Reference: Lin, "Divergence Measures Based on the Shannon Entropy", 1991, section 4.
    """
    family = _single(teacher)
    if isinstance(family, tfd.Categorical):
        return _discrete_jensen_shannon(
            tf.nn.log_softmax(teacher.logits_parameter()),
            tf.nn.log_softmax(student.logits_parameter()),
        )
    if isinstance(family, tfd.Bernoulli):
        per_label = _discrete_jensen_shannon(
            _log_no_and_yes(family), _log_no_and_yes(student.distribution)
        )
        return tf.reduce_sum(per_label, -1)
    if isinstance(family, tfd.LogNormal):  # It is that of the logarithms.
        teacher, student = (_of_logarithms(each) for each in (teacher, student))
        family = _single(teacher)
    if isinstance(family, tfd.Normal):
        return 0.5 * (_kl_to_mixture(teacher, student) + _kl_to_mixture(student, teacher))

    def from_mean(log_p, log_q):
        return math.log(2.0) - tf.nn.softplus(log_q - log_p)

    to_student = _expectation(teacher, student, from_mean)
    return 0.5 * (to_student + _expectation(student, teacher, from_mean))


def faithful(
    teacher: Distribution, student: Distribution, unit: float | Sequence[float] | tf.Tensor = 1.0
) -> tf.Tensor:
    """KL(p_T || p_S) in nats, but the means learn by squared error, and the spreads beside them.

    KL between normals divides the error of a mean by the student's variance, so a row counts little
    for the mean where the spread is large. Here the gradient is that of

        sum_d (mu_T - mu_S)^2 / (2 unit^2) + KL(N(mu_T, sigma_T) || N(held(mu_S), sigma_S))

    where held() passes no gradient on: means learn as by squared error in the target's units,
    and spreads what KL teaches them at the means as they are. The value is that of KL. In a network
    spreads should have a branch of their own, `ecl_tf.models.with_scale_branch`, or the
    features serve two masters. Of other distributions than normal ones it is `kl`.

    Args:
        teacher: a normal distribution, or independent ones.
        student: of the same family and batch shape.
        unit: of the squared error, a number or one per dimension; 1 by default. A distiller gives
            `target_stddev` of its output, so that gradients are as large as others'.

    Returns:
        A tensor of their batch shape.

    Example:
    >>> mean = tf.Variable(1.0)
    >>> with tf.GradientTape() as tape:
    ...     value = faithful(tfd.Normal(0.0, 1.0), tfd.Normal(mean, 5.0))
    >>> float(tape.gradient(value, mean))  # KL's is 1 / 5^2.
    1.0

    Reference: Stirn et al., "Faithful Heteroscedastic Regression with Neural Networks", 2023,
    sections 3 and 4, for labels; here a teacher is in their place.
    """
    family = student.distribution if isinstance(student, tfd.Independent) else student
    if not isinstance(family, tfd.Normal):
        return kl(teacher, student)
    held = tfd.Normal(tf.stop_gradient(family.mean()), family.stddev())
    error = 0.5 * tf.square((teacher.mean() - family.mean()) / unit)
    if isinstance(student, tfd.Independent):
        held = tfd.Independent(held, student.reinterpreted_batch_ndims)
        error = tf.reduce_sum(error, -1)
    return kl(teacher, held) + error - tf.stop_gradient(error)


Divergence = Callable[[Distribution, Distribution], tf.Tensor]
DIVERGENCES: dict[str, Divergence] = {
    function.__name__: function
    for function in (
        *(kl, reverse_kl, jeffreys, jensen_shannon, faithful),
        *(standardised_logits, decoupled, correlation),
    )
}


def get(identifier: str | Divergence) -> Divergence:
    """Returns the divergence function of a name, or the function given.

    Args:
        identifier: one of `DIVERGENCES`, such as "kl", or a function of the teacher's and the
            student's distribution to a tensor of their batch shape, in nats.

    Raises:
        ValueError: if the name is not one of `DIVERGENCES`.
    """
    if callable(identifier):
        return identifier
    if isinstance(identifier, str) and identifier in DIVERGENCES:
        return DIVERGENCES[identifier]
    raise ValueError(
        f"Unknown divergence {identifier!r}; expected one of {sorted(DIVERGENCES)}, or a "
        "function (teacher, student) -> tensor of their batch shape."
    )


def name_of(function: Divergence) -> str | None:
    """Returns the name of a `function` in `DIVERGENCES`, or None for another one."""
    return next((name for name, known in DIVERGENCES.items() if known is function), None)


def _single(distribution):
    """The distribution of one number, of a row of independent ones."""
    return distribution.distribution if isinstance(distribution, tfd.Independent) else distribution


def _over_events(distribution, values):
    """The sum over a row of independent numbers."""
    rank = len(distribution.event_shape)
    return tf.reduce_sum(values, list(range(-rank, 0))) if rank else values


def _of_logarithms(distribution):
    if not isinstance(distribution, tfd.Independent):
        return tfd.Normal(distribution.loc, distribution.scale)
    own = distribution.distribution
    return tfd.Independent(tfd.Normal(own.loc, own.scale), distribution.reinterpreted_batch_ndims)


def _expectation(p, q, function):
    """E_p[function(log p, log q)]: of independent numbers the sum of each one's."""
    if isinstance(p, tfd.MixtureSameFamily) or isinstance(q, tfd.MixtureSameFamily):
        values, weights = expectations.of_rows(p)
        rows = function(p.log_prob(values), q.log_prob(values))
        return tf.reduce_sum(weights * rows, 0)
    own, its = _single(p), _single(q)
    values, weights = expectations.of_numbers(own)
    each = function(own.log_prob(values), its.log_prob(values))
    return _over_events(p, tf.reduce_sum(weights * each, 0))


def _discrete_jensen_shannon(log_p, log_q):
    """Over the last axis of two log-probability tensors."""
    log_m = tf.reduce_logsumexp(tf.stack([log_p, log_q]), 0) - math.log(2.0)
    # 0 log 0 = 0 for classes that one of them rules out.
    p_terms = tf.math.multiply_no_nan(log_p - log_m, tf.exp(log_p))
    q_terms = tf.math.multiply_no_nan(log_q - log_m, tf.exp(log_q))
    return 0.5 * tf.reduce_sum(p_terms + q_terms, -1)


def _log_no_and_yes(bernoulli):
    logits = bernoulli.logits_parameter()
    return tf.stack([tf.math.log_sigmoid(-logits), tf.math.log_sigmoid(logits)], -1)


def _kl_to_mixture(p, q):
    """KL(p || (p + q) / 2) = ln 2 - E_p[softplus(log q - log p)] for normals."""
    from tensorflow_probability import mcmc  # Imported already by the two distributions.

    mean, stddev = p.mean(), p.stddev()
    dimensions = mean.shape[-1] if p.event_shape.rank else 1
    uniform = mcmc.sample_halton_sequence(dimensions, _POINTS, randomized=False)
    # TFP rounds some of the first points to exactly 0, where z would be infinite.
    points = tf.math.ndtri(tf.clip_by_value(uniform, 0.5 / _POINTS, 1 - 0.5 / _POINTS))
    shape = [_POINTS] + [1] * (mean.shape.rank - p.event_shape.rank)
    points = tf.reshape(points, shape + ([dimensions] if p.event_shape.rank else []))
    samples = mean + stddev * points
    log_ratio = q.log_prob(samples) - p.log_prob(samples)
    return math.log(2.0) - tf.reduce_mean(tf.nn.softplus(log_ratio), 0)
