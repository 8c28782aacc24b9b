"""A table, a plot, and a page of HTML from what `ecl-tf compare` measured.

The page's words and markup are in report.html.
"""

import functools
import json
import os
import pathlib
import re
from typing import Any

import jinja2
import numpy as np

from ecl_tf.experiments import figures, tables

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("ecl_tf.experiments", ""),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def write(results: dict[str, Any], workdir: str | os.PathLike) -> str:
    """Writes table.md, plot.png (not for a grid) and report.html.

    Args:
        results: the content of results.json: a comparison, or {"cells": {name: comparison}}.
        workdir: the directory.

    Returns:
        The names of the files written, in words.

    Raises:
        ValueError: if nothing in the results is finished.
    """
    if not _finished(results):
        raise ValueError(
            "These results are unfinished: the test split was not read yet, so there is nothing "
            "to report. Run the same `ecl-tf compare` command again to finish them."
        )
    workdir = pathlib.Path(workdir)
    (workdir / "table.md").write_text(tables.table(results), encoding="utf-8")
    text = page(results, f"Comparison: {workdir.resolve().name}")
    (workdir / "report.html").write_text(text, encoding="utf-8")
    if "cells" in results:
        return "table.md, report.html"
    figures.save_scores(results, workdir / "plot.png")
    return "table.md, plot.png, report.html"


def rebuild(workdir: str | os.PathLike) -> str:
    """Writes the report of a work directory's results.json again; see `write`.

    Raises:
        ValueError: if there are no results, something in them is missing, or nothing is finished.
    """
    path = pathlib.Path(workdir) / "results.json"
    if not path.exists():
        raise ValueError(f"There is no results.json in {workdir}. `ecl-tf compare` writes it.")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is not JSON ({error}). Restore it from a copy; or delete it and run the same "
            "`ecl-tf compare` command again, which trains the students anew."
        ) from error
    try:
        return write(results, workdir)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds no results of `ecl-tf compare`, or not all of them "
            f"({type(error).__name__}: {error}). Restore it from a copy, or run the command again."
        ) from error


def page(results: dict[str, Any], title: str) -> str:
    """The results as an HTML page that needs no other file.

    Args:
        results: a comparison or a grid of them; only its finished cells are shown.
        title: the page's title.
    """
    finished = _finished(results)
    return _TEMPLATES.get_template("report.html").render(
        title=title,
        cells=finished,
        unfinished=[name for name in results.get("cells", ()) if name not in finished],
        overview=_overview(finished) if "cells" in results else [],
        **{"figures": figures, "tables": tables, "ranges": _ranges, "likeliest": _likeliest},
    )


def _finished(results):
    """The finished comparisons by name; the name of a single one is empty."""
    cells = results.get("cells", {"": results})
    return {name: cell for name, cell in cells.items() if tables.is_finished(cell)}


def _ranges(answers):
    """The least value and the width of all answers' intervals, for each input and dimension."""
    mean = np.array([answer["mean"] for answer in answers.values()])
    stddev = np.array([answer["stddev"] for answer in answers.values()])
    low, high = (mean - 2 * stddev).min(0), (mean + 2 * stddev).max(0)
    return low, np.where(high > low, high - low, 1.0)


def _likeliest(probabilities):
    """All classes; where there are more than 10 the likeliest of them, the first one first."""
    order = np.argsort(-np.array(probabilities), kind="stable")[:10].tolist()
    return sorted(order) if len(probabilities) <= 10 else order


def _overview(cells):
    """Of each measure a table with a row for each cell, and images over numeric settings."""
    # A cell is named by its settings, as in "a.b=1, c=(2, 3)".
    settings = {n: dict(p.split("=", 1) for p in re.split(r", (?=[\w.]+=)", n)) for n in cells}
    keys = dict.fromkeys(key for own in settings.values() for key in own)
    varying = [k for k in keys if len({own.get(k) for own in settings.values()}) > 1] or [*keys]
    who = dict.fromkeys(name for cell in cells.values() for name in ("teacher", *cell["final"]))
    (metric, *_) = (cell["score"] for cell in cells.values())
    measures = {f"Test {tables.title(metric)}": _score}
    for baseline in tables.BASELINES:
        measures[f"Gap closed vs {baseline}, %"] = functools.partial(_gap_closed, baseline)
    parts = []
    for title, measure in measures.items():
        found = {cell: {n: m for n in who if (m := measure(cells[cell], n))} for cell in cells}
        names = [name for name in who if any(name in values for values in found.values())]
        rows = [[*varying, *names]]
        for cell, own in settings.items():
            words = [found[cell].get(name, [""])[0] for name in names]
            rows.append([own.get(key, "") for key in varying] + words)
        images = []
        for key in varying if len(cells) > 1 else ():
            images += figures.by_setting(_panels(found, settings, key, varying), key, title)
        parts.append({"title": title, "headings": len(varying), "rows": rows, "images": images})
    return parts


def _panels(found, settings, key, varying):
    """What `figures.by_setting` shows: an image for each combination of the other settings."""
    try:
        x = {cell: float(own[key]) for cell, own in settings.items()}
    except (KeyError, ValueError):  # Not a number in every cell.
        return {}
    panels: figures.Panels = {}
    for cell, values in found.items():
        title = ", ".join(f"{k}={settings[cell].get(k)}" for k in varying if k != key)
        for name, (_, interval) in values.items():
            if not np.isnan(interval[0]):
                panels.setdefault(title, {}).setdefault(name, {})[x[cell]] = interval
    return panels


def _score(cell, name):
    """The teacher's or a method's score: in words, and (mean, low, high) in the same unit."""
    if name not in ("teacher", *cell["final"]):
        return None
    interval = tables.mean(cell, name, cell["score"])
    return tables.with_interval(interval), interval


def _gap_closed(baseline, cell, name):
    """The gap that a method closes: in words, and (mean, low, high) in percent."""
    closed = tables.gap_closed(cell, name, baseline) if name in cell["final"] else None
    return closed and (tables.gap_cell(cell, name, baseline), 100 * np.array(closed))
