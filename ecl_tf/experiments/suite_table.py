"""What the evaluation suite measured, as a table of means with their intervals."""

import math
import pathlib
from typing import Any

from ecl_tf import gap
from ecl_tf.experiments import strategies, tables

TABLE = "suite.md"
_OF_POSITIONS = (
    " Corruptions that move positions are left out, because labels would not move with them. Other "
    "inputs are told by the mean over the positions of a row."
)
_PARTS = "Test rows as they are", "Corrupted test rows", "Inputs unlike the data"
_TITLES = {
    "aurc": "area under the risk-coverage curve",
    "excess_aurc": "the same above the best order",
    "crps": "CRPS",
    "interval_score": "score of 95 % intervals",
    "quantile_calibration_error": "quantile calibration error, %",
    "stddev": "mean standard deviation",
    "interval_width": "mean width of 95 % intervals",
    "agreement": "agreement with the teacher, %",
    "agreement_where_wrong": "agreement where the teacher is wrong, %",
    "divergence": "divergence from the teacher, nats",
    "mean_difference": "difference of means from the teacher",
}
_IN_PERCENT = ("quantile_calibration_error", "agreement", "agreement_where_wrong")
_MEASURES = {"auroc": "AUROC", "fpr95": "false positives at 95 %"}


def has(results: dict[str, Any]) -> bool:
    """Whether shifted inputs were shown to the students of a comparison, or of a cell of a grid."""
    return any("shifted" in cell for cell in results.get("cells", {"": results}).values())


def write(results: dict[str, Any], workdir: pathlib.Path) -> str:
    """Has the chief write WORKDIR/suite.md; returns its text.

    Args:
        results: of a comparison, or of a grid, of which `has` is true.
    """
    text = table(results)
    strategies.on_chief(lambda: (workdir / TABLE).write_text(text, encoding="utf-8"))
    return text


def table(results: dict[str, Any]) -> str:
    """All numbers as Markdown: a row each, and a column for the teacher and each method."""
    if "cells" in results:
        cells = {name: cell for name, cell in results["cells"].items() if "shifted" in cell}
        return "\n".join(f"## {name}\n\n{table(cell)}" for name, cell in cells.items())
    found = [
        f"### {heading}\n\n{tables.markdown(lines)}" for heading, lines in parts(results).items()
    ]
    return "\n\n".join([*found, note(results)]) + "\n"


def parts(results: dict[str, Any], whole: bool = True) -> dict[str, list[list[str]]]:
    """A header and a row for each number, as lists of text, by what the numbers are of.

    Args:
        results: of a comparison. A method whose runs were not measured has no column.
        whole: True, the default, for all numbers; False leaves out those of a single severity, and
            the test scores, which have a table of their own.
    """
    who = measured(results)
    found = {name: means(results, name) for name in who}
    numbers = list(dict.fromkeys(number for each in found.values() for number in each))
    if not whole:
        scores = results["teacher"]
        numbers = [n for n in numbers if n not in scores and not severity(n)]
    lines: dict[str, list[list[str]]] = {}
    for number in numbers:
        own = lines.setdefault(_PARTS[part(number)], [["", *who]])
        own.append([title(number), *(_words(found[name].get(number)) for name in who)])
    return {heading: lines[heading] for heading in _PARTS if heading in lines}


def part(number: str) -> int:
    """Which of `_PARTS` a number of the suite belongs to."""
    if any(f"_{measure}_" in number for measure in _MEASURES):
        return 2
    return int(number.startswith("corrupted_"))


def measured(results: dict[str, Any]) -> list[str]:
    """Of whom there are numbers: "teacher", and methods of which all runs were measured."""
    runs = results["runs"]
    teacher = ["teacher"] if results.get("teacher_suite") else []
    return teacher + [
        name
        for name, keys in results["final"].items()
        if all(runs[key].get("suite") for key in keys)
    ]


def means(results: dict[str, Any], who: str) -> dict[str, gap.Interval]:
    """The teacher's or a method's mean numbers over seeds or splits, in the unit of `title`.

    Args:
        who: "teacher", or a method.
    """
    if who == "teacher":
        each = results.get("teacher_suites", [results["teacher_suite"]])
    else:
        each = [results["runs"][key]["suite"] for key in results["final"][who]]
    common = [name for name in each[0] if all(name in one for one in each)]
    return {name: gap.mean([_scaled(name, one[name]) for one in each]) for name in common}


def title(number: str) -> str:
    """The name and the unit of a number of the suite."""
    for measure, words in _MEASURES.items():
        if f"_{measure}_" in number:
            of, _, by = number.partition(f"_{measure}_")
            return f"{words}, by {by}, {'all sets' if of == 'ood' else of}, %"
    base, severity = _base(number)
    words = _TITLES.get(base) or tables.title(base)
    return f"{words}, severity {severity}" if severity else words


def severity(number: str) -> str:
    """The severity of the corruptions that a number is of, as a digit; "" for any other number."""
    return _base(number)[1]


def _base(number):
    """A number without the prefix of corrupted rows, and its severity or ""."""
    base = number.removeprefix("corrupted_")
    name, _, last = base.rpartition("_")
    return (name, last) if base != number and last.isdigit() else (base, "")


def _scaled(number, value):
    base, _ = _base(number)
    is_share = part(number) == 2 or base in _IN_PERCENT
    return 100 * value if is_share else tables.scale(base, value)


def _words(interval):
    if interval is None:
        return ""
    value, half = interval.value, interval.high - interval.value
    size = math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
    digits = min(max(3 - size, 0), 6)  # Four of them count.
    return f"{value:.{digits}f}" + ("" if math.isnan(half) else f" ± {half:.{digits}f}")


def note(results: dict[str, Any]) -> str:
    """What the numbers are of, in sentences."""
    count = len(next(iter(results["final"].values())))
    over = "splits" if "splits" in results else "seeds"
    text = f"Means over {count} {over} with 95 % intervals. " if count > 1 else ""
    settings = results.get("shifted")
    if settings is None:
        return text.strip()
    severities = ", ".join(map(str, settings["severities"]))
    return (
        f"{text}Corrupted rows are at most {settings['rows']:,} test rows at random, at the "
        f"severities {severities}; numbers without a severity are means over all of them. Of few "
        "rows ECE is larger by itself, and the numbers without corruption are of all test rows. By "
        "entropy, confidence, variance or disagreement a network is to tell other inputs from "
        f"these rows.{_OF_POSITIONS if results.get('positions') else ''}"
    )
