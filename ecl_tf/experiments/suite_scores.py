"""What the evaluation suite measured, as a report shows it."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ecl_tf import gap
from ecl_tf.experiments import tables

NOTE = (
    "Means with their 95 % interval. Scores of corrupted inputs are means over all corruptions "
    "and severities."
)
_CORRUPTED = "corrupted_"
_SEVERITY = re.compile(rf"{_CORRUPTED}(.+)_([1-9])")
_Results = Mapping[str, Any]


def rows(results: _Results) -> list[list[str]]:
    """A header and a row for each number of the suite, as lists of text; [] without a suite.

    Numbers of a single severity are left out.

    Args:
        results: of one comparison.
    """
    found = _of_all(results)
    names = dict.fromkeys(name for of in found.values() for each in of for name in each)
    shown = [name for name in names if not _SEVERITY.fullmatch(name)]
    if not shown:
        return []
    lines = [["", *found]]
    for name in shown:
        means = [_mean(of, name) for of in found.values()]
        lines.append([_title(name), *("" if each is None else _in_words(each) for each in means)])
    return lines


def by_severity(results: _Results, metric: str) -> dict[str, dict[float, gap.Interval]]:
    """The means of a score by severity, 0 for the test rows as they are, of everyone.

    Args:
        results: of one comparison.
        metric: the score.

    Returns:
        {name: {severity: (mean, low, high)}}; empty where it is not known.
    """
    lines: dict[str, dict[float, gap.Interval]] = {}
    for who, of in _of_all(results).items():
        severities = {
            int(found[2]): name
            for name in of[0]
            if (found := _SEVERITY.fullmatch(name)) and found[1] == metric
        }
        if severities:
            clean = tables.mean(results, who, metric)
            own = {number: _mean(of, name) for number, name in severities.items()}
            lines[who] = {0: clean, **{k: v for k, v in own.items() if v is not None}}
    return lines


def risk_coverage(results: _Results) -> dict[str, tuple[list[float], list[float]]]:
    """The risk-coverage curves of everyone, means over the seeds; empty where none is known.

    Args:
        results: of one comparison.

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


def _of_all(results):
    """The suites of the teacher and of each method, where all of a method's runs have one."""
    found = {"teacher": [results["teacher_suite"]]} if results.get("teacher_suite") else {}
    for method, keys in results["final"].items():
        suites = [results["runs"][key].get("suite") for key in keys]
        if all(suites):
            found[method] = suites
    return found


def _mean(suites, name):
    """A number's mean in the unit of its title, a `gap.Interval`; None where it is not known."""
    values = [each.get(name) for each in suites]
    if any(value is None for value in values):
        return None
    found = _SEVERITY.fullmatch(name)
    metric = found[1] if found else name.removeprefix(_CORRUPTED)
    return gap.mean([tables.scale(metric, value) for value in values])


def _title(name):
    """A number's name and unit."""
    plain = name.removeprefix(_CORRUPTED)
    title, comma, unit = tables.title(plain).partition(", ")
    title = title.replace("_", " ") if title == plain else title
    return f"{title}{' on corrupted inputs' * (plain != name)}{comma}{unit}"


def _in_words(interval):
    value, low, high = interval
    half = (high - low) / 2
    if np.isnan(half):
        return f"{value:.4g}"
    return f"{value:.4g} ± {half if half > 1e-9 * abs(value) else 0:.2g}"
