"""Detection of inputs unlike the data: whether a network is less sure of them.

A score says of each row how unfamiliar it is. Rows of the data are to have lower scores than rows
of another set.

References: Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution
Examples in Neural Networks", 2017; Liang, Li and Srikant, "Enhancing the Reliability of
Out-of-Distribution Image Detection in Neural Networks", 2018, section 4.2, for the false positives.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from ecl_tf import outputs
from ecl_tf._internal import positions


def auroc(known: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """The area under the curve of hits and false alarms (AUROC).

    It is the probability that a row of the other set has a higher score than one of the data, where
    equal scores count half. 1 tells all apart, 0.5 is chance. It is NaN if a score is.

    Args:
        known: scores of rows of the data, (n,), such as entropies.
        other: scores of rows of another set, (m,).

    Example:
    >>> auroc([0.1, 0.2, 0.3], [0.2, 0.9])  # Of 6 pairs 4 are right, and 1 is equal.
    0.75
    """
    from sklearn import metrics

    ranks, is_other = _both(known, other)
    return math.nan if ranks is None else float(metrics.roc_auc_score(is_other, ranks))


def fpr_at_tpr(known: npt.ArrayLike, other: npt.ArrayLike, tpr: float = 0.95) -> float:
    """The share of rows of the other set that pass for data, where most of the data passes.

    The threshold is the lowest score at which at least the share `tpr` of the data's rows passes;
    rows of that very score pass, too. 0 is the best value. It is NaN if a score is.

    Args:
        known: scores of rows of the data, (n,), such as entropies.
        other: scores of rows of another set, (m,).
        tpr: the share of the data that is to pass, between 0 and 1; 0.95 by default.

    Raises:
        ValueError: if `tpr` is not between 0 and 1.

    Example:
    >>> fpr_at_tpr([0.1, 0.2, 0.3, 0.4], [0.15, 0.5], tpr=0.75)  # What is at most 0.3 passes.
    0.5
    """
    from sklearn import metrics

    if not 0.0 < tpr < 1.0:
        raise ValueError(f"tpr must be between 0 and 1, such as 0.95; got {tpr!r}.")
    ranks, is_other = _both(known, other)
    if ranks is None:
        return math.nan
    false, true, _ = metrics.roc_curve(~is_other, -ranks, drop_intermediate=False)
    return float(false[np.argmax(true >= tpr)])


def _both(known, other):
    """The ranks of all scores, None if one is NaN, and which of them are of the other set."""
    parts = [np.ravel(np.asarray(part, float)) for part in (known, other)]
    is_other = np.repeat([False, True], [len(part) for part in parts])
    scores = np.concatenate(parts)
    if np.isnan(scores).any():
        return None, is_other
    # Their order is all that counts, and scikit-learn refuses infinite scores.
    return np.unique(scores, return_inverse=True)[1], is_other


def unfamiliarity(output: outputs.Output, raw: Any, mask: Any = None) -> dict[str, np.ndarray]:
    """Scores of rows by how little a network knows of them.

    | output | score | of a row |
    |---|---|---|
    | classes, yes/no labels | `entropy` | entropy of the distribution, in nats |
    | classes, yes/no labels | `confidence` | 1 - probability of the likeliest class |
    | numbers | `variance` | predicted variance, in units of `target_stddev`, summed over targets |

    Positions are averaged; of yes/no labels entropies are summed, and probabilities averaged. The
    disagreement of an ensemble's members is one more score: `ecl_tf.uncertainty.disagreement`.

    Args:
        output: an `ecl_tf.outputs.Output` that is no `Joint`.
        raw: raw outputs (rows, ..., size).
        mask: bool (rows, positions...), or of the first axes of positions, false where a position
            doesn't count, as Keras's masks; None, the default, if all count.

    Returns:
        A dict from score to an array (rows,).

    Example:
    >>> scores = unfamiliarity(outputs.Categorical(), [[0.0, 0.0]])
    >>> {name: round(float(values[0]), 3) for name, values in scores.items()}
    {'entropy': 0.693, 'confidence': 0.5}
    """
    weights = None
    if mask is not None:
        counts = np.asarray(positions.counting(np.shape(raw)[:-1], mask), "float32")
        shares = counts.reshape(len(counts), -1).mean(1)
        weights = counts / np.maximum(shares, 1e-9).reshape(-1, *[1] * (counts.ndim - 1))
    total = np.asarray(sum(output.score(part, weights) for part in output.uncertainty([raw])))
    if isinstance(output, outputs.Numeric):
        return {"variance": total}
    of_classes: Any = output
    logits = np.asarray(of_classes.logits(raw), "float64")
    # Sums of the other probabilities: 1 - p would be 0 of many confident answers.
    if output.family == "categorical":
        others = np.sort(logits, -1)[..., :-1]
        unsure = np.exp(special.logsumexp(others, -1) - special.logsumexp(logits, -1))
    else:
        unsure = special.expit(-np.abs(logits)).mean(-1)
    unsure = unsure * (1.0 if weights is None else weights)
    return {"entropy": total, "confidence": np.reshape(unsure, [len(unsure), -1]).mean(1)}
