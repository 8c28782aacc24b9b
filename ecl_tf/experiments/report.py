"""A table, a plot, and a page of HTML from what `ecl-tf compare` measured.

The page's words and markup are in report.html.
"""

import contextlib
import functools
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import jinja2
import markupsafe
import numpy as np

from ecl_tf.experiments import figures, message, provenance, suite_table, tables, work_directory

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("ecl_tf.experiments", ""),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
_WORDS = re.compile(f"({message.BEATS}|{message.NO_GAIN}|{message.INCONCLUSIVE})")


def _emphasised(sentence):
    """A sentence with its verdict in bold, and without a line that ends before a unit."""
    whole = str(markupsafe.escape(sentence)).replace(" %", "\xa0%").replace(" ± ", "\xa0±\xa0")
    return markupsafe.Markup(_WORDS.sub(r"<strong>\1</strong>", whole))


_TEMPLATES.filters["emphasised"] = _emphasised
_TEMPLATES.filters["json"] = lambda value, indent=None: json.dumps(value, indent=indent)


def write(
    results: dict[str, Any], workdir: str | os.PathLike, output: str | os.PathLike | None = None
) -> str:
    """Writes table.md, plot.png (not for a grid) and report.html.

    Args:
        results: the content of results.json: a comparison, or {"cells": {name: comparison}}.
        output: another directory for what is written; None, the default, for the same.

    Returns:
        The names of the files written, in words.

    Raises:
        ValueError: if nothing in the results is finished.
    """
    if not finished(results):
        raise ValueError(
            "These results are unfinished: the test split was not read yet, so there is nothing "
            "to report. Run the same `ecl-tf compare` command again to finish them."
        )
    workdir = pathlib.Path(workdir)
    output = workdir if output is None else pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    results = with_config(results, workdir)
    words = "\n\n".join(message.sentences(results))
    (output / "table.md").write_text(f"{words}\n\n{tables.table(results)}", encoding="utf-8")
    text = page(results, f"Comparison: {workdir.resolve().name}")
    (output / "report.html").write_text(text, encoding="utf-8")
    if "cells" in results:
        return "table.md, report.html"
    figures.save_scores(results, output / "plot.png")
    return "table.md, plot.png, report.html"


def with_config(results: dict[str, Any], workdir: pathlib.Path) -> dict[str, Any]:
    """The results with the settings of config.json, where they have none of their own.

    Args:
        results: a comparison or a grid of them, perhaps of an earlier version.
        workdir: of them, which is only read.
    """
    if "cells" in results:
        cells = {
            name: with_config(cell, workdir / "cells" / name.replace(", ", "_"))
            for name, cell in results["cells"].items()
        }
        return {**results, "cells": cells}
    about, path = results.get("about") or {}, workdir / "config.json"
    if "config" in about or not path.exists():
        return results
    return {**results, "about": {**about, "config": work_directory.read_json(path)}}


def read(workdir: str | os.PathLike) -> dict[str, Any]:
    """Reads results.json.

    Args:
        workdir: the work directory of a comparison.

    Raises:
        ValueError: if there is none, or it is no JSON.
    """
    path = pathlib.Path(workdir) / "results.json"
    if not path.exists():
        raise ValueError(f"There is no results.json in {workdir}. `ecl-tf compare` writes it.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is not JSON ({error}). Restore it from a copy; or delete it and run the same "
            "`ecl-tf compare` command again, which trains the students anew."
        ) from error


def rebuild(workdir: str | os.PathLike, output: str | os.PathLike | None = None) -> str:
    """Writes the report of a work directory's results.json again; see `write`.

    Args:
        output: another directory for what is written; None by default.

    Raises:
        ValueError: if there are no results, something in them is missing, or nothing is finished.
    """
    results = read(workdir)
    with blaming(workdir):
        return write(results, workdir, output)


@contextlib.contextmanager
def blaming(workdir: str | os.PathLike) -> Iterator[None]:
    """Says of what is missing in a work directory's results that these are to be restored."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        path = pathlib.Path(workdir) / "results.json"
        raise ValueError(
            f"{path} holds no results of `ecl-tf compare`, or not all of them "
            f"({type(error).__name__}: {error}). Restore it from a copy, or run the command again."
        ) from error


def page(results: dict[str, Any], title: str) -> str:
    """The results as an HTML page that needs no other file.

    Args:
        results: a comparison or a grid of them; only its finished cells are shown.
    """
    there = finished(results)
    return render(
        "report.html",
        title=title,
        whole=results,
        message=message.sentences,
        cells=there,
        unfinished=[name for name in results.get("cells", ()) if name not in there],
        overview=_overview(there) if "cells" in results else [],
        **{"facts": provenance.facts, "changed": provenance.changed, "suite_table": suite_table},
        **{"figures": figures, "tables": tables, "ranges": _ranges, "likeliest": _likeliest},
    )


def render(template: str, **values: Any) -> str:
    """A page.

    Args:
        template: the name of a file beside this module.
        **values: what it shows.
    """
    return _TEMPLATES.get_template(template).render(**values)


def finished(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The finished comparisons by name; the name of a single one is empty.

    Args:
        results: a comparison or a grid of them.
    """
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
