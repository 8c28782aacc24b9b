"""Selective prediction: how the error falls if the least certain rows are left to somebody else.

Rows are ordered by falling certainty. At the coverage c the network answers for the share c of
the rows that it is surest of, and its risk is their mean loss.

Reference: El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification", 2010.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from ecl_tf import outputs


class RiskCoverage(NamedTuple):
    """A risk-coverage curve of n rows.

    Attributes:
        coverage: 1 / n, 2 / n, ..., 1.
        risk: the mean loss of that share of the rows, those that the network is surest of.
    """

    coverage: np.ndarray
    risk: np.ndarray


def risk_coverage(losses: npt.ArrayLike, uncertainty: npt.ArrayLike) -> RiskCoverage:
    """The mean loss of the k rows of least uncertainty, for every k.

    Rows of equal uncertainty have no order of their own. The risk is the expected value over all
    their orders: each of them counts with the mean loss of all of them.

    Args:
        losses: of each row, (n,), such as 0 for right and 1 for wrong.
        uncertainty: of each row, (n,). Where it is NaN, the row has no place in the order, and the
            risk of all rows together is NaN.

    Raises:
        ValueError: if there are no rows, or not as many losses as uncertainties.

    Example:
    >>> curve = risk_coverage([0.0, 1.0, 0.0, 1.0], [0.1, 0.2, 0.2, 0.3])
    >>> print(curve.coverage, curve.risk.round(3))  # The second and third are equal: 1/2 each.
    [0.25 0.5  0.75 1.  ] [0.    0.25  0.333 0.5  ]
    """
    values, order = np.asarray(losses, float), np.asarray(uncertainty, float)
    if values.ndim != 1 or values.shape != order.shape or not values.size:
        raise ValueError(
            f"A risk-coverage curve needs a loss and an uncertainty of each row, two arrays (n,) "
            f"with n >= 1; got the shapes {values.shape} and {order.shape}."
        )
    values = np.where(np.isnan(order), np.nan, values)
    _, group = np.unique(order, return_inverse=True)  # NaN is the last.
    expected = np.bincount(group, values) / np.bincount(group)
    count = np.arange(1, len(values) + 1)
    return RiskCoverage(count / len(values), np.cumsum(expected[np.sort(group)]) / count)


def aurc(losses: npt.ArrayLike, uncertainty: npt.ArrayLike) -> float:
    """The area under the risk-coverage curve: its mean risk, sum_k risk(k / n) / n.

    0 is without loss. Of two networks with the same loss, the better one knows better which of
    its answers are wrong.

    Args:
        losses: as in `risk_coverage`.
        uncertainty: as in `risk_coverage`.

    Example:
    >>> aurc([0.0, 0.0, 0.0, 1.0], [0.1, 0.2, 0.3, 0.4])  # The wrong one comes last.
    0.0625

    Reference: Geifman, Uziel and El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural
    Classifiers", 2019, section 3.
    """
    return float(np.mean(risk_coverage(losses, uncertainty).risk))


def excess_aurc(losses: npt.ArrayLike, uncertainty: npt.ArrayLike) -> float:
    """What `aurc` is above that of the best order of the same losses, the smallest ones first.

    It tells of the order alone: 0 is the best one, whatever the losses are.

    Args:
        losses: as in `risk_coverage`.
        uncertainty: as in `risk_coverage`.

    Example:
    >>> excess_aurc([0.0, 0.0, 0.0, 1.0], [0.1, 0.2, 0.3, 0.4])
    0.0

    Reference: as `aurc`; the best order is taken itself, in place of its approximation.
    """
    return aurc(losses, uncertainty) - aurc(losses, losses)


def losses_and_uncertainty(
    output: outputs.Output, raw: Any, labels: Any
) -> tuple[np.ndarray, np.ndarray]:
    """What `risk_coverage` takes, of a network's answers.

    | output | loss | uncertainty |
    |---|---|---|
    | classes | 1 where the likeliest class is not the label, else 0 | -log of its probability |
    | yes/no labels | the same of each label | the same of each label |
    | numbers | squared error of the mean | predicted variance |

    With several targets, losses and variances are means over them, in their squared units.
    Positions count as rows, and unknown labels (`ignore_class`) are left out.

    Args:
        output: an `ecl_tf.outputs.Output` that is no `Joint`.
        raw: raw outputs (rows, ..., size).
        labels: labels in any form that `fit` takes.

    Raises:
        ValueError: if a label is none of this output.

    Example:
    >>> loss, uncertainty = losses_and_uncertainty(outputs.Categorical(), [[0.0, 0.0]], [1])
    >>> print(loss, uncertainty.round(3))
    [1.] [0.693]
    """
    raw, labels = np.asarray(raw), np.asarray(labels)
    output.require_labels(labels, raw.shape)
    if isinstance(output, outputs.Numeric):
        distribution = output(raw)
        mean = np.asarray(output.prediction(raw), float)
        error = np.mean((labels.reshape(mean.shape) - mean) ** 2, -1)
        spread = np.mean(np.asarray(distribution.variance(), float), -1)
        return error.ravel(), spread.ravel()
    of_classes: Any = output
    logits = np.asarray(of_classes.logits(raw), "float64")
    kept = known_answers(output, raw, labels)
    if output.family == "categorical":
        if outputs.is_one_hot(labels, raw):
            labels = np.argmax(labels, -1)
        wrong = np.argmax(logits, -1) != labels.reshape(logits.shape[:-1])
        unsure = -np.max(special.log_softmax(logits, -1), -1)
    else:
        wrong = (logits > 0.0) != (labels.reshape(logits.shape) > 0.5)
        unsure = -special.log_expit(np.abs(logits))
    wrong = np.where(np.isnan(unsure), np.nan, wrong)  # An argmax finds a class even there.
    return wrong.ravel()[kept], unsure.ravel()[kept]


def known_answers(output: outputs.Output, raw: Any, labels: Any) -> Any:
    """Which answers have a known label, of all positions and yes/no labels in one row.

    Args:
        output: as in `losses_and_uncertainty`, of classes or of yes/no labels.
        raw: as in `losses_and_uncertainty`.
        labels: as in `losses_and_uncertainty`.

    Returns:
        An index: an array of booleans, or a slice of all.

    Example:
    >>> known_answers(outputs.Categorical(ignore_class=-1), [[0.0, 0.0]] * 3, [1, -1, 0])
    array([ True, False,  True])
    """
    known = getattr(output, "known_labels", output.known)(np.asarray(labels), np.asarray(raw))
    return slice(None) if known is None else np.ravel(known) > 0.0
