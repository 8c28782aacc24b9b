"""A table, a plot, and a page of HTML from what `trainers.compare` measured."""

import html
import itertools
import json
import math
import pathlib
import re
import statistics

from ecl_tf import gap
from ecl_tf.experiments import figures, tables

_BINS = 15  # Of confidence, in "reliability" of classes.
_BARS = 10  # At most, for the classes of one distribution.
_NUMBERS = 12  # At most, of one row of a table.


def write(results, workdir):
    """Writes table.md, plot.png (not for a grid) and report.html.

    Args:
        results: the content of results.json: a comparison, or {"cells": {name: comparison}}.
        workdir: the directory, a path.

    Returns:
        The names of the files written, in words.

    Raises:
        ValueError: if nothing in the results is finished.
    """
    finished, _ = _cells(results)
    if not finished:
        raise ValueError(
            "These results are unfinished: the test split was not read yet, so there is nothing "
            "to report. Run the same trainers.compare command again to finish them."
        )
    workdir = pathlib.Path(workdir)
    (workdir / "table.md").write_text(tables.table(results), encoding="utf-8")
    text = page(results, f"Comparison: {workdir.resolve().name}")
    (workdir / "report.html").write_text(text, encoding="utf-8")
    if "cells" in results:
        return "table.md, report.html"
    plot(results, workdir / "plot.png")
    return "table.md, plot.png, report.html"


def rebuild(workdir):
    """Writes the report of a work directory's results.json again; see `write`.

    Raises:
        ValueError: if there are no results, or nothing in them is finished.
    """
    path = pathlib.Path(workdir) / "results.json"
    if not path.exists():
        raise ValueError(
            f"There is no results.json in {workdir}. python -m trainers.compare writes it."
        )
    return write(json.loads(path.read_text()), workdir)


def plot(results, path):
    """Writes a PNG: a panel a metric, a dot a seed, mean and interval, the teacher's line.

    Args:
        results: of one comparison, not a grid.
        path: of the file.
    """
    figures.save_png(path, figures.scores, _score_panels(results))


def page(results, title):
    """Returns the results as an HTML page that needs no other file.

    Args:
        results: a comparison or a grid of them, finished cells only being shown.
        title: the page's title.
    """
    finished, unfinished = _cells(results)
    body = [_tag("h1", _text(title)), _tag("p", _HOW_TO_READ)]
    if "cells" in results:
        body.append(_contents(finished, unfinished))
        body.append(_overview(finished))
    for number, (name, cell) in enumerate(finished.items(), 1):
        heading = _tag("h2", _text(name)) if name else ""
        parts = [part(cell) for part in _CELL_PARTS]
        body.append(_tag("section", heading, *parts, id=f"cell-{number}"))
    head = f'<meta charset="utf-8"><title>{_text(title)}</title><style>{_CSS}</style>'
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n'
        f"<body>{''.join(body)}</body></html>\n"
    )


def _cells(results):
    """Returns the finished cells by name (one comparison's is empty), and the others' names."""
    cells = results.get("cells", {"": results})
    finished = {name: cell for name, cell in cells.items() if tables.is_finished(cell)}
    return finished, [name for name in cells if name not in finished]


# The parts of a comparison: each a function from its results to HTML, empty without its data.


def _table_part(results):
    return _html_table(tables.rows(results)) + _tag("p", _text(tables.note(results)), class_="note")


def _scores_part(results):
    alt = "Test scores: a dot for each seed, mean and interval of each method, the teacher's line."
    return _tag("h3", "Test scores") + _figure(alt, figures.scores, _score_panels(results))


def _curves_part(results):
    metric = results["score"]
    lines = {method: _learning_curve(results, method) for method in results["final"]}
    lines = {method: points for method, points in lines.items() if points}
    if not lines:
        return ""
    y_label = f"validation {tables.title(metric)}"
    drawn = _figure(
        f"Learning curves: {y_label} against the step, a line for each of {', '.join(lines)}.",
        *(figures.lines, {"": lines}, "step", y_label),
    )
    return _tag("h3", "Learning curves") + _key(lines) + drawn + _p("Means over the seeds.")


def _learning_curve(results, method):
    """Points (step, mean over seeds of the validation score, NaN, NaN), by step."""
    metric = results["score"]
    by_step: dict[int, list[float]] = {}
    for key in results["final"][method]:
        for point in results["runs"][key].get("curve") or ():
            by_step.setdefault(point["step"], []).append(tables.scale(metric, point[metric]))
    return [
        (step, statistics.fmean(values), math.nan, math.nan)
        for step, values in sorted(by_step.items())
    ]


def _reliability_part(results):
    classes = results["score"] == "accuracy"
    curves = {"teacher": [results.get("teacher_reliability")]}
    for method, keys in results["final"].items():
        curves[method] = [results["runs"][key].get("reliability") for key in keys]
    found = {who: [seed for seed in seeds if seed] for who, seeds in curves.items()}
    pooled = {who: pool(seeds, classes) for who, seeds in found.items() if seeds}
    if not pooled:
        return ""
    labels = ("confidence", "accuracy") if classes else ("nominal level", "share of targets inside")
    words = (
        "Test inputs by the confidence in the likeliest class; a dot's area is its share of them."
        if classes
        else "Central intervals of the predicted normal distributions, on test inputs."
    )
    drawn = _figure(
        f"Reliability diagrams of {', '.join(pooled)}: {labels[1]} against {labels[0]}.",
        *(figures.reliability, pooled, *labels),
    )
    words += " Below the diagonal is overconfident. All seeds together."
    return _tag("h3", "Reliability") + drawn + _p(words)


def pool(curves, classes):
    """The reliability of all seeds together.

    Args:
        curves: a list of {"predicted": [...], "observed": [...], "weight": [...]}.
        classes: whether `predicted` are confidences, which are binned anew; else they are
            the same levels for all seeds.

    Returns:
        A dict of the same form: means weighted by `weight`, and the seeds' mean weight.
    """
    pooled: dict[float, list[tuple[float, float, float]]] = {}
    for curve in curves:
        for point in zip(curve["predicted"], curve["observed"], curve["weight"], strict=True):
            place = min(int(point[0] * _BINS), _BINS - 1) if classes else point[0]
            pooled.setdefault(place, []).append(point)
    found: dict[str, list[float]] = {"predicted": [], "observed": [], "weight": []}
    for _, points in sorted(pooled.items()):
        predicted, observed, weight = zip(*points, strict=True)
        found["predicted"].append(statistics.fmean(predicted, weight))
        found["observed"].append(statistics.fmean(observed, weight))
        found["weight"].append(sum(weight) / len(curves))
    return found


def _one_dimension_part(results):
    found = results.get("one_dimension")
    if not found:
        return ""
    names = ", ".join(name for name in found["distributions"] if name != "teacher")
    drawn = _figure(
        f"The target over the input: training points, the teacher and each of {names}.",
        *(figures.one_dimension, found["x"], found["train"], found["distributions"]),
    )
    words = (
        "Mean and ± 2 standard deviations over the input: dashed the teacher's, in colour the "
        "first seed's student, dots the training rows. Between the dots it shows what is matched "
        "there and what is not."
    )
    return _tag("h3", "Between the training points") + drawn + _p(words)


def _gallery_part(results):
    found = results.get("gallery")
    if not found:
        return ""
    answers = found["distributions"]
    classes = "probabilities" in answers["teacher"]
    chart = _bars if classes else _marks
    looks = figures.styles(answers)
    rows = [_tag("tr", *(_tag("th", _text(head), scope="col") for head in ("input", *answers)))]
    for number, values in enumerate(found["inputs"]):
        shown = [_input(values, len(found["shape"]), number)]
        shown += [chart(answers, who, number, looks[who][0]) for who in answers]
        rows.append(_tag("tr", *(_tag("td", cell) for cell in shown)))
    words = (
        f"Training inputs as XCL samples them, and what is predicted for them (first seed). Bars "
        f"are class probabilities, the line above each the teacher's; of more than {_BARS} "
        f"classes the teacher's {_BARS} likeliest."
        if classes
        else "Training inputs as XCL samples them, and mean ± 2 standard deviations of what is "
        "predicted for them (first seed), on one scale a row."
    )
    heading = _tag("h3", "Sampled inputs") + _p(words)
    return heading + _scrolling(_tag("table", *rows, class_="gallery"))


def _input(values, dimensions, number):
    """A sampled input: an image, or a row of numbers."""
    if dimensions in (2, 3):
        alt = f"sampled input {number + 1}"
        return f'<img class="sample" alt="{alt}" src="{figures.png(values)}">'
    numbers = [f"{value:.3g}" for value in values[:_NUMBERS]]
    return _text(", ".join(numbers) + (", …" if len(values) > _NUMBERS else ""))


def _bars(answers, who, number, color):
    values, teacher = (answers[name]["probabilities"][number] for name in (who, "teacher"))
    classes = list(range(len(teacher)))
    if len(classes) > _BARS:
        classes = sorted(classes, key=lambda c: -teacher[c])[:_BARS]
    likeliest = max(range(len(values)), key=values.__getitem__)
    return figures.bars(
        classes,
        [values[c] for c in classes],
        [teacher[c] for c in classes],
        color,
        f"{who}, input {number + 1}: class {likeliest} with {values[likeliest]:.2f}",
    )


def _marks(answers, who, number, color):
    mean, stddev = answers[who]["mean"][number], answers[who]["stddev"][number]
    limits = []
    for dimension in range(len(mean)):
        of_all = [
            (answer["mean"][number][dimension], 2 * answer["stddev"][number][dimension])
            for answer in answers.values()
        ]
        limits.append((min(m - s for m, s in of_all), max(m + s for m, s in of_all)))
    words = ", ".join(f"{m:.3g} ± {2 * s:.2g}" for m, s in zip(mean, stddev, strict=True))
    alt = f"{who}, input {number + 1}: {words}"
    return figures.marks(mean, stddev, limits, color, alt) + _tag("div", _text(words))


_CELL_PARTS = (
    _table_part,
    _scores_part,
    _curves_part,
    _reliability_part,
    _one_dimension_part,
    _gallery_part,
)


# The overview of a grid.


def _contents(finished, unfinished):
    items = [
        _tag("li", _tag("a", _text(name), href=f"#cell-{number}"))
        for number, name in enumerate(finished, 1)
    ]
    items += [_tag("li", _text(f"{name}: not finished")) for name in unfinished]
    return _tag("nav", _tag("ul", *items))


def _overview(cells):
    """Tables with a row a cell and a column a method, and lines over numeric settings."""
    first = next(iter(cells.values()))
    methods = list(dict.fromkeys(method for cell in cells.values() for method in cell["final"]))
    distilled = [method for method in methods if method not in ("ERM", *tables.BASELINES)]
    title = f"Test {tables.title(first['score'])}"
    parts = [_tag("h2", "Overview"), _tag("h3", _text(title))]
    parts.append(_overview_table(cells, ["teacher", *methods], _score_cell))
    parts.append(_overview_lines(cells, title, ["teacher", *methods], _score_point))
    for baseline in tables.BASELINES:
        title = f"Gap closed vs {baseline}"

        def in_words(cell, method, baseline=baseline):
            return tables.gap_cell(cell, method, baseline) if method in cell["final"] else ""

        def in_percent(cell, method, baseline=baseline):
            reduction = (
                tables.gap_closed(cell, method, baseline) if method in cell["final"] else None
            )
            return reduction and gap.Interval(*(100 * value for value in reduction))

        parts.append(_tag("h3", _text(title)) + _overview_table(cells, distilled, in_words))
        parts.append(_overview_lines(cells, f"{title}, %", distilled, in_percent, (0, 100)))
    return _tag("section", *parts, id="overview")


def _overview_table(cells, names, describe):
    """A table of describe(cell, name), the settings that vary in front."""
    varying = _varying(cells)
    rows = [[*varying, *names]]
    for name, cell in cells.items():
        own = _settings(name)
        rows.append([own.get(key, "") for key in varying] + [describe(cell, n) for n in names])
    return _html_table(rows, len(varying))


def _overview_lines(cells, title, names, measure, levels=()):
    """Figures of measure(cell, name), an `Interval` or None: one for each numeric setting."""
    parts = []
    for key, ticks in _numeric(cells).items():
        panels: dict[str, dict[str, list]] = {}
        for cell_name, cell in cells.items():
            own = _settings(cell_name)
            others = ", ".join(f"{k}={own.get(k)}" for k in _varying(cells) if k != key)
            for name in names:
                interval = measure(cell, name)
                if interval is not None and not math.isnan(interval.value):
                    line = panels.setdefault(others, {}).setdefault(name, [])
                    line.append((float(own[key]), *interval))
        if panels:
            panels = {o: {n: sorted(p) for n, p in panel.items()} for o, panel in panels.items()}
            alt = f"{title} against {key}, a line for each of {', '.join(names)}."
            arguments = (figures.lines, panels, key, title, ticks, levels)
            parts.append(_key(names) + _figure(alt, *arguments))
    return "".join(parts)


def _settings(name):
    """A cell's settings by its name: {"a.b": "1", "c": "(2, 3)"} of "a.b=1, c=(2, 3)"."""
    return dict(part.partition("=")[::2] for part in re.split(r", (?=[\w.]+=)", name))


def _varying(cells):
    """The settings that differ between cells; of a single cell all of them."""
    named = [_settings(name) for name in cells]
    keys = list(dict.fromkeys(itertools.chain.from_iterable(named)))
    return [key for key in keys if len({own.get(key) for own in named}) > 1] or keys


def _numeric(cells):
    """Dict from every varying setting that is a number everywhere to its values, ascending."""
    found = {}
    for key in _varying(cells):
        try:
            values = sorted({float(_settings(name)[key]) for name in cells})
        except (KeyError, ValueError):
            continue
        if len(values) > 1 and all(map(math.isfinite, values)):
            found[key] = values
    return found


def _score_cell(cell, name):
    metric = cell["score"]
    if name == "teacher":
        return f"{tables.scale(metric, cell['teacher'][metric]):.2f}"
    if name not in cell["final"]:
        return ""
    return tables.with_interval(gap.mean(tables.scores(cell, name, metric)), metric)


def _score_point(cell, name):
    metric = cell["score"]
    if name == "teacher":
        return gap.Interval(tables.scale(metric, cell["teacher"][metric]), math.nan, math.nan)
    return tables.mean(cell, name, metric) if name in cell["final"] else None


# Numbers.


def _score_panels(results):
    """What `figures.scores` draws."""
    panels = {}
    for metric, teacher in results["teacher"].items():
        panel = {"teacher": tables.scale(metric, teacher)}
        for method in results["final"]:
            values = [
                tables.scale(metric, value) for value in tables.scores(results, method, metric)
            ]
            panel[method] = (values, gap.mean(values))
        panels[tables.title(metric)] = panel
    return panels


# HTML. Contents are HTML already, attributes are text.


def _text(value):
    return html.escape(str(value))


def _tag(name, *contents, **attributes):
    given = "".join(f' {key.rstrip("_")}="{_text(value)}"' for key, value in attributes.items())
    return f"<{name}{given}>{''.join(contents)}</{name}>\n"


def _p(words):
    return _tag("p", _text(words), class_="note")


def _html_table(rows, headings=1):
    """A table of text; the first row and the first columns are headings."""
    header, *body = rows
    parts = [_tag("tr", *(_tag("th", _text(cell), scope="col") for cell in header))]
    for row in body:
        cells = [_tag("th", _text(cell), scope="row") for cell in row[:headings]]
        cells += [_tag("td", _text(cell)) for cell in row[headings:]]
        parts.append(_tag("tr", *cells))
    return _scrolling(_tag("table", *parts))


def _scrolling(content):
    return _tag("div", content, class_="scrolling")


def _figure(description, draw, *arguments):
    return _tag("figure", figures.svg(description, draw, *arguments))


def _key(names):
    """What colours and markers stand for."""
    items = []
    for name, (color, _, sign) in figures.styles(names).items():
        color = "inherit" if color == "black" else color
        items.append(_tag("li", _tag("span", sign, style=f"color: {color}"), _text(name)))
    return _tag("ul", *items, class_="key")


_HOW_TO_READ = (
    "Scores are means over seeds with their 95 % t interval. The gap closed is the share of a "
    "baseline's distance to the teacher that a method closes: 100 % is the teacher's score, 0 % "
    "the baseline's, below is worse; its interval is Fieller's. Intervals hold the variation of "
    "the seeds, not that of teacher and test split."
)
_CSS = """
:root { color-scheme: light dark; --ink: #1d1d1f; --paper: #fff; --line: #d0d0d5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e4e7; --paper: #17171a; --line: #46464d; } }
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif;
  max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem; }
p { max-width: 46rem; }
.note { font-size: 0.9rem; }
.scrolling { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid var(--line); text-align: left; }
td { white-space: nowrap; }
th[scope=row] { font-weight: normal; }
figure { margin: 1rem 0; overflow-x: auto; }
figure svg { max-width: 100%; height: auto; }
.key { list-style: none; padding: 0; margin: 0.5rem 0; font-size: 0.9rem; }
.key li { display: inline-block; margin-right: 1.2rem; }
.key span { margin-right: 0.3rem; }
.sample { width: 96px; height: auto; image-rendering: pixelated; vertical-align: middle; }
.gallery td { font-size: 0.75rem; }
.small { stroke-linecap: round; fill: none; display: block; }
.small text { font-size: 8px; text-anchor: middle; fill: currentColor; }
"""
