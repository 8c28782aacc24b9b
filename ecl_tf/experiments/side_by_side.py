"""Several work directories side by side: what differs in settings, scores, size and speed.

The page's words and markup are in side_by_side.html.
"""

import itertools
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from ecl_tf import gap
from ecl_tf.experiments import message, provenance, report, tables, work_directory

_Table = list[list[str]]


class _Entry(NamedTuple):
    """A comparison of a work directory, or a cell of a grid."""

    name: str
    workdir: pathlib.Path
    cell: str
    results: dict[str, Any]

    @property
    def about(self):
        return self.results.get("about") or {}

    @property
    def config(self):
        return self.about.get("config") or {}


def write(workdirs: Sequence[str | os.PathLike], output: str | os.PathLike) -> str:
    """Writes side_by_side.md and side_by_side.html; returns the former's content.

    Args:
        workdirs: of comparisons, two or more. The others are compared with the first one, a cell
            of a grid with the cell of the same name there, if it has one.
        output: the directory for both files.

    Raises:
        ValueError: if a directory is named twice, has no results, or none that are finished.
    """
    entries = [entry for name, path in _named(workdirs).items() for entry in _read(name, path)]
    parts = _parts(entries)
    title = " and ".join(_named(workdirs))
    page = report.render("side_by_side.html", title=f"Side by side: {title}", **parts)
    text = _markdown(**parts)
    place = pathlib.Path(output)
    place.mkdir(parents=True, exist_ok=True)
    (place / "side_by_side.html").write_text(page, encoding="utf-8")
    (place / "side_by_side.md").write_text(text, encoding="utf-8")
    return text


def _named(workdirs):
    """The directories by their last names; by their whole paths where two last names are equal."""
    paths = [pathlib.Path(workdir) for workdir in workdirs]
    if len({path.resolve() for path in paths}) < len(paths):
        raise ValueError(f"A work directory is named twice in {' '.join(map(str, paths))}.")
    last = [path.resolve().name for path in paths]
    names = last if len({*last}) == len(last) else map(str, paths)
    return dict(zip(names, paths, strict=True))


def _read(name, path):
    """The finished comparisons of a work directory."""
    results = report.read(path)
    with report.blaming(path):
        cells = report.finished(report.with_config(results, path))
    if not cells:
        raise ValueError(
            f"The results in {path} are unfinished. Run its `ecl-tf compare` command again to "
            "finish them."
        )
    return [
        _Entry(f"{name}, {cell}" if cell else name, path, cell, own) for cell, own in cells.items()
    ]


def _parts(entries):
    """What both files show."""
    pairs = [(_reference(entries, other), other) for other in entries[1:]]
    reasons = {(one.name, two.name): _why_unfair(one, two) for one, two in pairs}
    metrics = dict.fromkeys(metric for entry in entries for metric in entry.results["teacher"])
    return {
        "messages": {entry.name: message.sentences(entry.results) for entry in entries},
        "fairness": [_fairness(*names, reason) for names, reason in reasons.items()],
        "settings": _settings(entries),
        "scores": {tables.title(m): _scores(entries, pairs, reasons, m) for m in metrics},
        "costs": _costs(entries),
    }


def _reference(entries, entry):
    """What an entry is compared with."""
    first = entries[0]
    same = [each for each in entries if (each.workdir, each.cell) == (first.workdir, entry.cell)]
    return same[0] if same and entry.workdir != first.workdir else first


def _fairness(one, two, reason):
    if reason is None:
        return (
            f"{one} and {two} were tested on the same rows: their differences are means of pairs, "
            "with their 95 % intervals."
        )
    return f"No difference of {two} and {one} is shown: {reason}."


def _why_unfair(one, two):
    """Why scores of two comparisons are of no pairs; None if they are."""
    both = (one, two)
    if one.results["score"] != two.results["score"]:
        return _are("the score", [entry.results["score"] for entry in both], both)
    repeated = [_repeated(entry.results) for entry in both]
    if repeated[0] != repeated[1]:
        return _are("what the means are over", repeated, both)
    names = [entry.config.get("data", {}).get("name") for entry in both]
    hashes = [(entry.about.get("data") or {}).get("test_hash") for entry in both]
    if all(hashes) and names[0] == names[1]:
        return None if hashes[0] == hashes[1] else "their test rows are others"
    if not (one.config and two.config):
        return "their settings are not recorded"
    given = [
        provenance.whole({key: entry.config.get(key) for key in ("data", "folds")})
        for entry in both
    ]
    for name in sorted(given[0].keys() | given[1].keys()):
        values = [each.get(name) for each in given]
        if values[0] != values[1]:
            return _are(f"config.{name}", values, both)
    files = [work_directory.read_hashes(entry.workdir).get("data") for entry in both]
    return None if files[0] == files[1] else "their data files are others"


def _repeated(results):
    """What the means are over, in words."""
    kind = next((kind for kind in ("splits", "folds") if kind in results), None)
    return f"{results[kind]} {kind}" if kind else "seeds"


def _are(what, values, entries):
    words = " and ".join(
        f"{value} in {entry.name}" for value, entry in zip(values, entries, strict=True)
    )
    return f"{what} is {words}"


def _settings(entries):
    """A row for each setting or other circumstance that is not the same everywhere."""
    settings = [provenance.whole(entry.config) for entry in entries]
    others = [_circumstances(entry) for entry in entries]
    found = [{**own, **other} for own, other in zip(settings, others, strict=True)]
    names = [*sorted({*itertools.chain(*settings)}), *others[0]]
    lines = [["", *(entry.name for entry in entries)]]
    for name in names:
        values = [own.get(name) for own in found]
        if any(value != values[0] for value in values):
            lines.append([name, *("" if value is None else str(value) for value in values)])
    return lines


def _circumstances(entry):
    counts = {who: entry.results[f"{who}_weights"] for who in ("teacher", "student")}
    weights = {f"weights of the {who}": f"{count:,}" for who, count in counts.items()}
    return {**weights, **dict(provenance.facts(entry.about))}


def _scores(entries, pairs, reasons, metric):
    """A row for the teacher and for each method: scores, and differences where they are fair."""
    fair = [pair for pair in pairs if reasons[pair[0].name, pair[1].name] is None]
    header = ["", *(entry.name for entry in entries)]
    header += [f"{two.name} minus {one.name}" for one, two in fair]
    methods = dict.fromkeys(name for entry in entries for name in entry.results["final"])
    lines = [header]
    for who in ("teacher", *methods):
        means = [_mean(entry.results, who, metric) for entry in entries]
        apart = [_difference(one.results, two.results, who, metric) for one, two in fair]
        lines.append([who, *means, *apart])
    return lines


def _has(results, who, metric):
    return metric in results["teacher"] and who in ("teacher", *results["final"])


def _mean(results, who, metric):
    if not _has(results, who, metric):
        return ""
    return tables.with_interval(tables.mean(results, who, metric))


def _difference(one, two, who, metric):
    """The mean difference of pairs, in words; nothing where there are none."""
    if not (_has(one, who, metric) and _has(two, who, metric)):
        return ""
    if who == "teacher":
        scores = [tables.teacher_scores(results, metric) for results in (one, two)]
    else:
        scores = [tables.scores(results, who, metric) for results in (one, two)]
        if _pairs_of(one, who) != _pairs_of(two, who):
            return "other seeds"
    differences = [tables.scale(metric, b - a) for a, b in zip(*scores, strict=True)]
    value, low, high = gap.mean(differences)
    words = f"{value:+.2f}"
    return words if math.isnan(low) else f"{words} ({low:.2f} to {high:.2f})"


def _pairs_of(results, method):
    """What the final runs of a method are told apart by: the numbers of seeds, or of splits."""
    runs = [results["runs"][key] for key in results["final"][method]]
    return [run.get("split", run.get("seed")) for run in runs]


def _costs(entries):
    """A row for each file: its size and speed; [] if nothing was measured."""
    lines: _Table = []
    for entry in entries:
        if found := entry.results.get("shipped"):
            header, *rows = tables.shipped({**found, "rows": _without_scores(found["rows"])})
            lines = lines or [["", "file", *header[1:]]]
            lines += [[entry.name, *row] for row in rows]
    return lines


def _without_scores(rows):
    return {name: {**row, "scores": {}} for name, row in rows.items()}


def _markdown(messages, fairness, settings, scores, costs):
    parts = []
    for name, sentences in messages.items():
        parts += [f"## {name}", *sentences]
    parts += ["## What differs", _table_or(settings, "Nothing that is recorded.")]
    parts += ["## Scores", *fairness]
    for title, lines in scores.items():
        parts += [f"### {title}", tables.markdown(lines)]
    parts += ["## Size and speed", _table_or(costs, "Not measured.")]
    return "\n\n".join(parts) + "\n"


def _table_or(lines, words):
    return tables.markdown(lines) if len(lines) > 1 else words
