"""Divergences between classes that published relatives of the method train with, as baselines.

| name | formula | published as |
|---|---|---|
| `standardised_logits` | 9 tau^2 KL of softmax(standardised logits / tau) | logit standardisation |
| `decoupled` | KL of the target class or not + 8 KL of the other classes | DKD |
| `correlation` | 2 (1 - correlation of a row) + 2 (1 - correlations of the classes) | DIST |

`ecl_tf.divergences.get` knows them by name. The constants are those published for CIFAR-100;
`functools.partial(decoupled, beta=2.0)` is the same with another one. The papers' students learn
from the labels of the training rows, too: give the distiller `sampler="Empirical"`, and the
temperature and the label weight that are named below.
"""

from typing import Any, TypeAlias

import tensorflow as tf

from ecl_tf._internal import distributions as tfd

Distribution: TypeAlias = Any  # As in `ecl_tf.divergences`.

# Of logarithms of probabilities: what is below is 0 all the same, and may be minus infinity.
_SMALLEST = -1e4


def standardised_logits(
    teacher: Distribution, student: Distribution, temperature: float = 2.0, weight: float = 9.0
) -> tf.Tensor:
    """KL between softmaxes of standardised logits: the student is free to choose their scale.

        w tau^2 KL( softmax(z(v_T) / tau) || softmax(z(v_S) / tau) ),   z(v) = (v - mean v) / std v

    with mean and standard deviation over the K logits v of a row, the latter with the divisor K.
    This takes out again whatever the logits were divided by: the temperature of a calibrated
    network, and the distiller's, of which only the factor T^2 is left. So leave the distiller's at
    1. An ensemble's logits are the logarithms of its members' mean probabilities. A class that
    the teacher rules out has a logit so far from all others that it hides their differences: name
    the classes that it knows (`ecl_tf.outputs.Categorical`). Published with label weight 0.1.

    Args:
        teacher: a categorical distribution, or a batch of them.
        student: one of the same classes and batch shape.
        temperature: the base temperature tau > 0; 2 by default, published with 2 or 3.
        weight: the factor w; 9 by default.

    Returns:
        A tensor of their batch shape, in nats times w tau^2.

    Raises:
        TypeError: for distributions that are not categorical.

    Example:
    >>> one, twice = tfd.Categorical(logits=[0.0, 1.0]), tfd.Categorical(logits=[0.0, 2.0])
    >>> abs(round(float(standardised_logits(one, twice)), 4))
    0.0

    Reference: Sun et al., "Logit Standardization in Knowledge Distillation", 2024, section 4.
    """
    log_p, log_q = (  # Logarithms of probabilities are logits, too.
        tf.nn.log_softmax(_standardised(_log_probabilities(each), [-1]) / temperature)
        for each in (teacher, student)
    )
    return weight * temperature**2 * _kl(log_p, log_q)


def decoupled(
    teacher: Distribution, student: Distribution, alpha: float = 1.0, beta: float = 8.0
) -> tf.Tensor:
    """Decoupled knowledge distillation (DKD): the target class and the others weigh by themselves.

        alpha KL( b_T || b_S ) + beta KL( o_T || o_S ),   b = (p_t, 1 - p_t),   o = p_k / (1 - p_t)

    with k all classes but the target t. The published target is the label. A divergence knows no
    label, and on samples none holds, so here **t is the teacher's most probable class**: the same
    wherever the teacher is right. KL is alpha = 1 and beta = 1 - p_t. The published schedule, in
    which this loss grows over the first 20 epochs, is left out. Published with temperature 4 and
    label weight 1.

    Args:
        teacher: a categorical distribution, or a batch of them.
        student: one of the same classes and batch shape.
        alpha: the weight of the target class; 1 by default.
        beta: the weight of the others; 8 by default, published with 2 to 8.

    Returns:
        A tensor of their batch shape, in nats.

    Raises:
        TypeError: for distributions that are not categorical.

    Example:
    >>> p, q = (tfd.Categorical(probs=probs) for probs in ([0.5, 0.3, 0.2], [0.5, 0.2, 0.3]))
    >>> round(float(decoupled(p, q)), 4)  # 8 (0.6 ln(3 / 2) + 0.4 ln(2 / 3))
    0.6487

    Reference: Zhao et al., "Decoupled Knowledge Distillation", 2022, section 3.
    """
    log_p, log_q = _log_probabilities(teacher), _log_probabilities(student)
    target = tf.argmax(log_p, -1)
    (binary_p, others_p), (binary_q, others_q) = _parted(log_p, target), _parted(log_q, target)
    return alpha * _kl(binary_p, binary_q) + beta * _kl(others_p, others_q)


def correlation(
    teacher: Distribution, student: Distribution, beta: float = 2.0, gamma: float = 2.0
) -> tf.Tensor:
    """DIST: correlations of probabilities in place of their equality.

        beta (1 - r(p_T, p_S of a row)) + gamma (1 - mean_k r(p_T(k), p_S(k) over the batch))

    with r Pearson's correlation, of the K probabilities of a row, and of the probabilities of a
    class over all rows and positions. The latter is a value of the batch, of which each row has a
    share: 1 - r is half of the mean squared distance of standardised numbers, and the row's is
    that of its own numbers. So the mean over rows is the batch's value. It depends on which rows
    are together: each of several replicas takes its own part of the batch, and a row that a
    weight or mask leaves out still moves the means and deviations of the others. One row alone
    has no share. Published with temperature 4 and label weight 1.

    Args:
        teacher: a batch of categorical distributions.
        student: one of the same classes and batch shape.
        beta: the weight of the rows; 2 by default.
        gamma: the weight of the classes; 2 by default.

    Returns:
        A tensor of their batch shape, without a unit.

    Raises:
        TypeError: for distributions that are not categorical.

    Example:
    >>> p = tfd.Categorical(probs=[[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
    >>> q = tfd.Categorical(probs=[[0.4, 0.3, 0.3], [0.3, 0.3, 0.4]])
    >>> print(correlation(p, q, gamma=0.0).numpy().round(3))  # r = 0.945
    [0.11 0.11]

    Reference: Huang et al., "Knowledge Distillation from A Stronger Teacher", 2022, section 3.
    """
    p, q = (  # Times K, so that the floor of variances means the same for any number of classes.
        log_p.shape[-1] * tf.exp(log_p) for log_p in map(_log_probabilities, (teacher, student))
    )

    def distances(axes):
        apart = _standardised(p, axes) - _standardised(q, axes)
        return 0.5 * tf.reduce_mean(tf.square(apart), -1)

    return beta * distances([-1]) + gamma * distances(list(range(p.shape.rank - 1)))


def _log_probabilities(distribution):
    """Of classes: finite, and with a gradient of 0 where a class is ruled out."""
    if not isinstance(distribution, tfd.Categorical):
        name = type(getattr(distribution, "distribution", distribution)).__name__
        raise TypeError(
            f"It compares categorical distributions, and these are {name}. Use divergence='kl'."
        )
    return tf.maximum(tf.nn.log_softmax(distribution.logits_parameter()), _SMALLEST)


def _kl(log_p, log_q):
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), -1)


def _standardised(values, axes):
    """With mean 0 and deviation 1; with a deviation below 0.001 near 0, with finite gradients."""
    mean, variance = tf.nn.moments(values, axes, keepdims=True)
    return (values - mean) * tf.math.rsqrt(variance + 1e-6)


def _parted(log_p, target):
    """The logarithms of (p_t, 1 - p_t), and of all classes given that it is not the target."""
    is_target = tf.one_hot(target, tf.shape(log_p)[-1], True, False, dtype=tf.bool)
    others = tf.where(is_target, log_p.dtype.min, log_p)
    of_target = tf.reduce_logsumexp(tf.where(is_target, log_p, log_p.dtype.min), -1)
    of_others = tf.reduce_logsumexp(others, -1, keepdims=True)
    return tf.stack([of_target, of_others[..., 0]], -1), others - of_others
