"""Gap reduction and its intervals, against SciPy and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from ecl_tf import gap


def test_mean_has_students_t_interval():
    values = [81.0, 82.5, 80.5, 83.0, 81.7]
    expected = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    interval = gap.mean(values)
    np.testing.assert_allclose(interval, (np.mean(values), *expected), rtol=1e-12)


def test_one_seed_has_no_interval():
    assert math.isnan(gap.mean([3.0]).low)
    assert gap.reduction([83.0], [82.0], 84.0).value == pytest.approx(0.5)
    assert math.isnan(gap.reduction([83.0], [82.0], 84.0).high)


def test_reduction_of_accuracies_and_of_errors_by_hand():
    assert gap.reduction([4.2], [5.0], 0.0).value == pytest.approx(0.16)  # Of errors, to none.
    # (82.7 - 80.7) / (85.4 - 80.7), and the same numbers as errors.
    assert gap.reduction([82.7], [80.7], 85.4).value == pytest.approx(2.0 / 4.7)
    assert gap.reduction([17.3], [19.3], 14.6).value == pytest.approx(2.0 / 4.7)
    # Against an oracle of as many seeds: means of 0.02 and 0.04.
    of_oracle = gap.reduction([0.03, 0.05], [0.05, 0.07], [0.02, 0.02])
    assert of_oracle.value == pytest.approx(0.02 / 0.04)


@pytest.mark.parametrize("side", ["low", "high"])
def test_interval_ends_where_scipys_t_test_starts_to_reject(side):
    student = np.array([82.9, 82.1, 83.0, 82.7, 83.3])
    baseline = np.array([81.0, 80.4, 81.9, 80.2, 81.1])
    ratio = getattr(gap.reduction(student, baseline, 85.4), side)
    residual = (student - baseline) - ratio * (85.4 - baseline)
    assert stats.ttest_1samp(residual, 0.0).pvalue == pytest.approx(0.05, rel=1e-6)


def test_interval_covers_the_true_ratio_in_95_percent_of_simulations():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        baseline = generator.normal(80.0, 0.8, 5)
        student = generator.normal(82.0, 0.5, 5)
        _, low, high = gap.reduction(student, baseline, 85.0)
        covered += low <= (82.0 - 80.0) / (85.0 - 80.0) <= high
    assert abs(covered / 2000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


def test_interval_is_unbounded_where_the_gap_is_not_clearly_there():
    interval = gap.reduction([81.0, 84.0, 82.0], [80.0, 86.0, 82.0], 83.0)
    assert (interval.low, interval.high) == (-math.inf, math.inf)


def test_no_gap_is_undefined():
    assert all(math.isnan(bound) for bound in gap.reduction([81.0, 82.0], [80.0, 80.0], 80.0))
    assert gap.meets_teacher([80.0, 82.0], 81.0, higher_is_better=True)
    assert not gap.meets_teacher([80.0, 81.0], 81.0, higher_is_better=True)
    assert gap.meets_teacher([4.0, 5.0], 5.0, higher_is_better=False)
    assert not gap.meets_teacher([5.0, 5.2], 5.0, higher_is_better=False)


def test_rounding_is_no_gap():
    baseline = np.float32([589, 589, 583, 587, 587]) / np.float32(597)  # Their mean is 587.
    teacher = float(np.float32(587) / np.float32(597))
    assert teacher - baseline.astype(float).mean() != 0.0
    assert gap.meets_teacher(baseline, teacher, higher_is_better=True)
    assert gap.meets_teacher(1.0 - baseline, 1.0 - teacher, higher_is_better=False)
    assert all(math.isnan(bound) for bound in gap.reduction(baseline + 0.005, baseline, teacher))
    one_row = [586 / 597, *[587 / 597] * 4]  # A gap of a fifth of a row is one.
    assert not gap.meets_teacher(one_row, teacher, higher_is_better=True)


def test_unequal_numbers_of_seeds_are_refused():
    with pytest.raises(ValueError, match="seed by seed"):
        gap.reduction([1.0, 2.0], [1.0], 3.0)
    with pytest.raises(ValueError, match="confidence must be a number from 0 to less than 1"):
        gap.mean([1.0, 2.0], confidence=95)


def test_a_teacher_for_each_pair_is_paired_with_them():
    """Splits whose teachers, baselines and students rise and fall together leave one ratio."""
    baseline, teacher = np.array([80.0, 82.0, 79.0]), np.array([86.0, 86.0, 87.0])
    student = baseline + 0.5 * (teacher - baseline)
    np.testing.assert_allclose(gap.reduction(student, baseline, teacher), 0.5, rtol=1e-6)
    assert gap.meets_teacher([80.0, 82.0], [80.0, 81.0], higher_is_better=True)
    assert not gap.meets_teacher([80.0, 82.0], [81.0, 82.0], higher_is_better=True)
