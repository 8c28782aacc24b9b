"""How results are scored: means, gap reduction, error reduction, with intervals.

Scores of several seeds are compared seed by seed (paired). The teacher's score is one number, or
one for each of them. Errors (lower is better) and accuracies (higher is better)
are treated alike.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from ecl_tf._internal import require

# Shares of rows are rounded to float32: less than this, relative to the teacher's score, is no gap.
_ROUNDING = 1e-6


class Interval(NamedTuple):
    """An estimate with the bounds of its confidence interval; NaN where undefined.

    Attributes:
        value: the estimate.
        low: the lower bound.
        high: the upper bound.
    """

    value: float
    low: float
    high: float


def mean(values: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """The mean over seeds with Student's t interval.

    Args:
        values: one score for each seed.
        confidence: of the interval, between 0 and 1; 0.95 by default.

    Returns:
        An `Interval`; with a single value its bounds are NaN.

    Raises:
        ValueError: if the confidence is out of its range, such as 95.

    Example:
    >>> interval = mean([1.0, 2.0, 3.0])
    >>> round(interval.value, 3), round(interval.low, 3), round(interval.high, 3)
    (2.0, -0.484, 4.484)
    """
    values = np.asarray(values, float)
    centre = float(values.mean())
    if len(values) < 2:
        return Interval(centre, math.nan, math.nan)
    quantile = special.stdtrit(len(values) - 1, _upper(confidence))  # Of Student's t.
    half = float(values.std(ddof=1) / math.sqrt(len(values)) * quantile)
    return Interval(centre, centre - half, centre + half)


def reduction(
    student: npt.ArrayLike,
    baseline: npt.ArrayLike,
    teacher: npt.ArrayLike,
    confidence: float = 0.95,
) -> Interval:
    """Gap reduction: the share of the baseline's gap to the teacher that is closed.

        mean(student - baseline) / mean(teacher - baseline)

    1 is the teacher's score, 0 the baseline's, negative is worse than the baseline.
    The sign makes it the same for accuracies and errors. With `teacher=0` and errors
    it is the relative error reduction. The interval is Fieller's for the ratio of two
    paired means; it is exact for normal scores, and unbounded where the gap itself is
    not clearly different from zero.

    Args:
        student: one score for each seed.
        baseline: the baseline's score for the same seeds, in the same order.
        teacher: the teacher's score; or one for each seed, such as an oracle's, or those of the
            teachers of several splits.
        confidence: of the interval, between 0 and 1; 0.95 by default.

    Returns:
        An `Interval`. Its bounds are infinite where they are unbounded, and NaN for a
        single seed.

    Raises:
        ValueError: if student and baseline do not have the same number of scores, or the
            confidence is out of its range.

    Example:
    >>> reduction([0.9, 0.9], [0.8, 0.8], teacher=0.95).value  # 0.10 of 0.15.
    0.66...

    Reference: Fieller, "Some Problems in Interval Estimation", 1954.
    """
    student, baseline, teacher = (
        np.asarray(scores, float) for scores in (student, baseline, teacher)
    )
    if student.shape != baseline.shape:
        raise ValueError(
            f"Gap reduction compares seed by seed; got {student.shape} and {baseline.shape} scores."
        )
    gain, gap = student - baseline, teacher - baseline
    n, gain_mean, gap_mean = len(gain), gain.mean(), gap.mean()
    if abs(gap_mean) <= _ROUNDING * abs(teacher.mean()):
        return Interval(math.nan, math.nan, math.nan)
    value = float(gain_mean / gap_mean)
    if n < 2:
        return Interval(value, math.nan, math.nan)
    # The ratios r for which a t test does not reject mean(gain - r * gap) = 0:
    # a r^2 - 2 b r + c <= 0.
    t2 = special.stdtrit(n - 1, _upper(confidence)) ** 2
    (gain_var, covariance), (_, gap_var) = np.cov(gain, gap) / n
    a = gap_mean**2 - t2 * gap_var
    b = gap_mean * gain_mean - t2 * covariance
    c = gain_mean**2 - t2 * gain_var
    discriminant = b * b - a * c
    if a <= 0.0 or discriminant < 0.0:
        return Interval(value, -math.inf, math.inf)
    root = math.sqrt(discriminant)
    return Interval(value, float((b - root) / a), float((b + root) / a))


def _upper(confidence):
    """The level of the quantile that bounds an interval above."""
    require.share("confidence", confidence)
    return 0.5 + confidence / 2


def meets_teacher(baseline: npt.ArrayLike, teacher: npt.ArrayLike, higher_is_better: bool) -> bool:
    """Returns whether the baseline leaves no gap, so that its reduction is undefined.

    Args:
        baseline: one score for each seed.
        teacher: the teacher's score, or one for each seed.
        higher_is_better: True for accuracies, False for errors.
    """
    score = np.asarray(teacher, float).mean()
    gap = (score - np.asarray(baseline, float).mean()) * (1 if higher_is_better else -1)
    return bool(gap <= _ROUNDING * abs(score))
