"""How good predicted distributions of numbers are: proper scores, calibration, sharpness.

All take the raw outputs of an `ecl_tf.outputs` of numbers, and give values in the target's units.
A good forecast is as sharp as it can be while it is calibrated (Gneiting, Balabdaoui and Raftery,
"Probabilistic Forecasts, Calibration and Sharpness", 2007). Proper scores measure both at once.
"""

import math
from typing import Any

import numpy as np

from ecl_tf import outputs
from ecl_tf.evaluation import _marginals

_LEVELS = np.linspace(0.05, 0.95, 19)


def crps(output: outputs.Output, raw: Any, labels: Any) -> np.ndarray:
    """The continuous ranked probability score, of each number by itself.

        CRPS(F, y) = integral of (F(t) - [y <= t])^2 dt = E|X - y| - E|X - X'| / 2

    F is the predicted distribution of a target, from which X and X' are drawn. It is a proper
    score, 0 is the best value, and of a point it is the absolute error. A label far off costs less
    than by the likelihood. Normal, log-normal, Student's t, Poisson and negative binomial
    distributions and mixtures of normals have closed forms; for families of your own it is the mean
    over 1,000 draws, the same ones each time.

    Args:
        output: an `ecl_tf.outputs` of numbers, such as `Normal`.
        raw: raw outputs (rows, ..., size).
        labels: (rows, ..., d), or without the last axis if d is 1.

    Returns:
        An array (rows, ..., d).

    Raises:
        ValueError: if the output is not of numbers.

    Example:
    >>> score = crps(outputs.Point(1, stddev=1.0), [[0.0]], [0.0])
    >>> print(score.round(4))  # sqrt(2 / pi) - 1 / sqrt(pi)
    [[0.2337]]

    Reference: Gneiting and Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation",
    2007, section 4.2, and equation 21 for the normal.
    """
    _require_numbers(output)
    return _marginals.of(output, raw).crps(_as_values(output, raw, labels))


def interval(output: outputs.Output, raw: Any, level: float = 0.95) -> tuple[Any, Any]:
    """The central interval of each number: its quantiles (1 - level) / 2 and (1 + level) / 2.

    Args:
        output: as in `crps`.
        raw: as in `crps`.
        level: the probability of the interval, between 0 and 1; 0.95 by default.

    Returns:
        The lower and the upper end, two arrays (rows, ..., d).

    Raises:
        ValueError: if the output is not of numbers, or `level` not between 0 and 1.

    Example:
    >>> lower, upper = interval(outputs.Point(1, stddev=1.0), [[5.0]])
    >>> print(lower.round(2), upper.round(2))
    [[3.04]] [[6.96]]
    """
    _require_numbers(output)
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, such as 0.95; got {level!r}.")
    marginals = _marginals.of(output, raw)
    return marginals.quantile((1.0 - level) / 2), marginals.quantile((1.0 + level) / 2)


def interval_score(
    output: outputs.Output, raw: Any, labels: Any, level: float = 0.95
) -> np.ndarray:
    """The score of a central interval (l, u): its width, and what it costs to miss the label y.

        (u - l) + 2 / alpha * max(l - y, 0) + 2 / alpha * max(y - u, 0),  alpha = 1 - level

    It is a proper score of the interval, and lower is better.

    Args:
        output: as in `crps`.
        raw: as in `crps`.
        labels: as in `crps`.
        level: as in `interval`; 0.95 by default.

    Returns:
        An array (rows, ..., d).

    Raises:
        ValueError: as `interval`.

    Example:
    >>> output = outputs.Point(1, stddev=1.0)
    >>> print(interval_score(output, [[0.0], [0.0]], [0.0, 2.0]).round(2))  # Ends at 1.96.
    [[3.92]
     [5.52]]

    Reference: Gneiting and Raftery, 2007, equation 43.
    """
    lower, upper = interval(output, raw, level)
    truth = _as_values(output, raw, labels)
    missed = np.maximum(lower - truth, 0.0) + np.maximum(truth - upper, 0.0)
    return upper - lower + 2.0 / (1.0 - level) * missed


def quantile_calibration_error(output: outputs.Output, raw: Any, labels: Any) -> float:
    """How far predicted quantiles are from the shares of labels below them.

        mean over q = 0.05, 0.10, ..., 0.95 of |share of labels with F(y) <= q, minus q|

    F is the predicted distribution function. 0 is calibrated; 0.1 says that the share of labels
    below a quantile is off by 10 points on average. Every label dimension counts as a row. Of
    counts, whose F has jumps, F(y) is spread evenly over the jump at y. NaN if an answer is NaN.

    Args:
        output: as in `crps`.
        raw: as in `crps`.
        labels: as in `crps`.

    Raises:
        ValueError: if the output is not of numbers.

    Example:
    >>> labels = [[-1.0], [-0.5], [0.5], [1.0]]
    >>> output = outputs.Point(1, stddev=1.0)
    >>> round(quantile_calibration_error(output, [[0.0]] * 4, labels), 3)
    0.074

    References: Kuleshov, Fenner and Ermon, "Accurate Uncertainties for Deep Learning Using
    Calibrated Regression", 2018, section 3.3, with absolute values in place of squares; Czado,
    Gneiting and Held, "Predictive Model Assessment for Count Data", 2009, for counts.
    """
    numbers = _require_numbers(output)
    at_most, at_least = numbers.tails(numbers(raw), _as_values(numbers, raw, labels))
    above, below = (np.ravel(np.asarray(part, float)) for part in (at_most, at_least))
    if np.isnan(above).any():
        return math.nan
    below = np.minimum(1.0 - below, above)
    jump = above - below
    is_jump = jump > 1e-6  # More than rounding.
    width = np.where(is_jump, jump, 1.0)
    shares = [
        np.mean(np.where(is_jump, np.clip((level - below) / width, 0.0, 1.0), above <= level))
        for level in _LEVELS
    ]
    return float(np.mean(np.abs(shares - _LEVELS)))


def sharpness(output: outputs.Output, raw: Any, level: float = 0.95) -> dict[str, float]:
    """How narrow predictions are, whether they are right or not.

    Args:
        output: as in `crps`.
        raw: as in `crps`.
        level: as in `interval`; 0.95 by default.

    Returns:
        `stddev`, the mean predicted standard deviation, and `interval_width`, the mean width of the
        central interval; with several targets both are means over them.

    Raises:
        ValueError: as `interval`.

    Example:
    >>> found = sharpness(outputs.Point(1, stddev=1.0), [[0.0], [5.0]])
    >>> {name: round(value, 2) for name, value in found.items()}
    {'stddev': 1.0, 'interval_width': 3.92}
    """
    lower, upper = interval(output, raw, level)
    stddev = np.asarray(output(raw).stddev(), float)
    return {"stddev": float(np.mean(stddev)), "interval_width": float(np.mean(upper - lower))}


def _require_numbers(output: outputs.Output) -> outputs.Numeric:
    if not isinstance(output, outputs.Numeric):
        raise ValueError(
            f"Expected an output of numbers, such as ecl_tf.outputs.Normal; got {output!r}."
        )
    return output


def _as_values(output, raw, labels):
    """Labels in the shape of the means; others of as many numbers are refused."""
    output.validate_labels(np.shape(labels), np.shape(raw))
    return np.reshape(np.asarray(labels, float), np.shape(output.prediction(raw)))
