"""Curves of what the evaluation suite measured."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ecl_tf import gap
from ecl_tf.experiments import suite_table, tables


def by_severity(results: dict[str, Any], metric: str) -> dict[str, dict[float, gap.Interval]]:
    """The means of a score by severity, 0 for the test rows as they are, of everyone.

    Returns:
        {name: {severity: (mean, low, high)}}; empty where it is not known.
    """
    start = f"corrupted_{metric}_"
    lines: dict[str, dict[float, gap.Interval]] = {}
    for who in suite_table.measured(results):
        shifted = {
            float(suite_table.severity(number)): mean
            for number, mean in suite_table.means(results, who).items()
            if number.startswith(start) and suite_table.severity(number)
        }
        if shifted:
            lines[who] = {0.0: tables.mean(results, who, metric), **dict(sorted(shifted.items()))}
    return lines


def risk_coverage(results: Mapping[str, Any]) -> dict[str, tuple[list[float], list[float]]]:
    """The risk-coverage curves of everyone, means over the seeds; empty where none is known.

    Returns:
        {name: (coverages, risks)}.
    """
    curves = {"teacher": [results.get("teacher_risk_coverage")]}
    for method, keys in results["final"].items():
        curves[method] = [results["runs"][key].get("risk_coverage") for key in keys]
    lines = {}
    for who, of in curves.items():
        if known := [curve for curve in of if curve]:
            coverage = known[0]["coverage"]
            risks = [np.interp(coverage, each["coverage"], each["risk"]) for each in known]
            lines[who] = coverage, np.mean(risks, 0).tolist()
    return lines
