"""Figures of the report: drawn by Matplotlib, or by hand where they are very small.

Functions that draw take plain numbers and return a Matplotlib figure; `svg` makes it a part
of an HTML page, `save_png` a file. What is black there takes the page's text colour.
"""

import base64
import hashlib
import html
import io
import itertools
import re
from typing import Any

import matplotlib
import numpy as np
from matplotlib import figure, image, transforms

_TEACHER = "black"
# Colour, Matplotlib's marker, and the marker as a character.
_LOOKS = {
    "teacher": (_TEACHER, "", "╌"),
    "ERM": ("#1f77b4", "o", "●"),
    "standard KD": ("#ff7f0e", "s", "■"),
    "tuned KD": ("#2ca02c", "^", "▲"),
    "XCL": ("#d62728", "*", "★"),
}
_COLORS = ("#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")
_MARKERS = (("D", "◆"), ("v", "▼"), ("<", "◀"), (">", "▶"), ("X", "✖"), ("p", "⬟"), ("P", "✚"))
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "svg.fonttype": "none",  # Text stays text.
    "svg.hashsalt": "report",  # The same figure is the same bytes.
    "text.parse_math": False,  # A dollar in a method's name is a dollar.
}
_COLUMNS = 5  # Of small panels.


def styles(names):
    """A dict from name to (colour, Matplotlib's marker, the marker as a character).

    The teacher and the usual methods always look the same; others take their turn.
    """
    turns = zip(itertools.cycle(_COLORS), itertools.cycle(_MARKERS))
    found = dict(_LOOKS)
    for name in names:
        if name not in found:
            color, marker = next(turns)
            found[name] = (color, *marker)
    return {name: found[name] for name in names}


def svg(description, draw, *arguments):
    """What a function draws, as an inline SVG element.

    Args:
        description: what the figure shows, for those who don't see it.
        draw: a function of this module that returns a figure.
        *arguments: of `draw`.
    """
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context(_STYLE):
        picture = draw(*arguments)
        picture.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    found = buffer.getvalue()
    # Ids and references to them are for one figure alone, and several are on a page.
    prefix = "f" + hashlib.sha256(found.encode()).hexdigest()[:8]
    found = re.sub(r'(\bid="|\bhref="#|\burl\(#)', rf"\g<1>{prefix}-", found[found.index("<svg") :])
    found = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", found, flags=re.DOTALL)
    found = found.replace("stroke: #000000", "stroke: currentColor")
    label = html.escape(description)
    return found.replace("<svg", f'<svg role="img" aria-label="{label}" fill="currentColor"', 1)


def save_png(path, draw, *arguments):
    """Writes what a function draws to a PNG file."""
    with matplotlib.rc_context(_STYLE):
        draw(*arguments).savefig(path, dpi=120)


def scores(panels):
    """A dot a seed, mean and interval, the teacher's line.

    Args:
        panels: dict from title to {"teacher": float, method: (scores, `ecl_tf.gap.Interval`)}.
    """
    methods = [name for name in next(iter(panels.values())) if name != "teacher"]
    look = styles(methods)
    picture = figure.Figure(figsize=(4.2 * len(panels), 3.8), layout="constrained")
    row = picture.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, values) in zip(row, panels.items(), strict=True):
        for position, method in enumerate(methods):
            seeds, interval = values[method]
            color = look[method][0]
            axes.plot([position] * len(seeds), seeds, "o", color=color, alpha=0.3)
            if len(seeds) > 1:
                half = interval.high - interval.value
                axes.errorbar(position + 0.15, interval.value, half, fmt="s", color=color)
        axes.axhline(values["teacher"], color=_TEACHER, linestyle="--", linewidth=1)
        axes.text(-0.4, values["teacher"], "teacher", va="bottom")
        slant = {"rotation": 30, "ha": "right"} if len(methods) > 4 else {}
        axes.set_xticks(range(len(methods)), methods, **slant)
        axes.set_xlim(-0.5, len(methods) - 0.5)
        axes.margins(y=0.1)
        axes.set_title(title)
    return picture


def lines(panels, x_label, y_label, ticks=None, levels=()):
    """A line a method against a number.

    Args:
        panels: dict from title to {name: [(x, value, low, high), ...]}; without an interval
            low and high are NaN. The name "teacher" is drawn as a dashed line.
        x_label: of all panels.
        y_label: of all panels.
        ticks: None, or the only values of x; far-apart ones get a logarithmic axis.
        levels: values to mark by a thin line.
    """
    look = styles(dict.fromkeys(name for panel in panels.values() for name in panel))
    size = (4.2, 3.2) if len(panels) > 1 else (6.0, 3.6)
    grid, row = _panels(len(panels), size, columns=3)
    low, high = _range([p for panel in panels.values() for line in panel.values() for p in line])
    for axes, (title, panel) in zip(row, panels.items(), strict=True):
        for level in levels:
            axes.axhline(level, color=_TEACHER, linewidth=0.5)
        for turn, (name, points) in enumerate(panel.items()):
            shift = (turn - (len(panel) - 1) / 2) / 30 if ticks else 0
            _line(axes, points, look[name], (low, high), shift)
        if ticks:
            _set_ticks(axes, ticks)
        axes.set_ylim(low, high)
        axes.set_title(title)
    grid.supxlabel(x_label, fontsize="medium")
    grid.supylabel(y_label, fontsize="medium")
    return grid


def reliability(curves, x_label, y_label):
    """Reliability diagrams: observed against predicted, a panel for everyone.

    Args:
        curves: dict from name to {"predicted": [...], "observed": [...], "weight": [...]};
            a dot's area grows with its weight.
        x_label: what is predicted.
        y_label: what is observed.
    """
    grid, row = _panels(len(curves), (2.1, 2.2))
    look = styles(curves)
    for axes, (name, curve) in zip(row, curves.items(), strict=True):
        color = look[name][0]
        area = 3 + 150 * np.array(curve["weight"])
        dots = {"color": color, "alpha": 0.6, "clip_on": False, "zorder": 3}
        axes.plot([0, 1], [0, 1], "--", color=_TEACHER, linewidth=0.7)
        axes.plot(curve["predicted"], curve["observed"], color=color, linewidth=1)
        axes.scatter(curve["predicted"], curve["observed"], area, **dots)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        axes.set_title(name)
    grid.supxlabel(x_label, fontsize="medium")
    grid.supylabel(y_label, fontsize="medium")
    return grid


def one_dimension(x, train, distributions):
    """Teacher's and methods' mean ± 2 standard deviations over the input, a panel a method.

    The frame holds the training points and the teacher's band; a method may leave it.

    Args:
        x: the inputs, ascending.
        train: {"x": [...], "y": [...]}, the training points.
        distributions: dict from name to {"mean": [...], "stddev": [...]} at `x`; "teacher"
            among the names is in every panel.
    """
    look = styles(distributions)
    grid, row = _panels(len(distributions), (3.2, 2.4), columns=3)
    for axes, name in zip(row, distributions, strict=True):
        for who in dict.fromkeys(("teacher", name)):
            mean, stddev = (np.array(distributions[who][key]) for key in ("mean", "stddev"))
            color, style = look[who][0], "--" if who == "teacher" else "-"
            axes.plot(x, mean, style, color=color, linewidth=1.2)
            band = {"color": color, "alpha": 0.18, "linewidth": 0}
            axes.fill_between(x, mean - 2 * stddev, mean + 2 * stddev, **band)
        axes.plot(train["x"], train["y"], ".", color=_TEACHER, markersize=4)
        axes.set_title(name)
    teacher = distributions["teacher"]
    mean, twice = np.array(teacher["mean"]), 2 * np.array(teacher["stddev"])
    held = np.concatenate([mean - twice, mean + twice, train["y"]])
    margin = 0.1 * (held.max() - held.min())
    row[0].set_ylim(held.min() - margin, held.max() + margin)
    row[0].set_xlim(min(x), max(x))
    return grid


def bars(names, values, teacher, color, description):
    """A small bar chart as SVG: probabilities as bars, the teacher's as steps around them.

    Args:
        names: of the classes, one for each bar.
        values: probabilities.
        teacher: the teacher's probabilities.
        color: of the bars.
        description: what it shows, in words.
    """
    parts = []
    for i, (name, value, reference) in enumerate(zip(names, values, teacher, strict=True)):
        title = html.escape(f"class {name}: {value:.3f}, teacher {reference:.3f}")
        parts.append(
            f"<g><title>{title}</title>"
            f'<rect x="{12 * i + 1}" y="{50 - 48 * value:.1f}" width="10" '
            f'height="{48 * value:.1f}" fill="{_css(color)}"/>'
            f'<path d="M{12 * i} {50 - 48 * reference:.1f}h12" stroke="currentColor"/>'
            f'<text x="{12 * i + 6}" y="59">{html.escape(str(name))}</text></g>'
        )
    parts.append(f'<path d="M0 50h{12 * len(parts)}" stroke="currentColor" stroke-width="0.5"/>')
    return _small_svg(12 * len(names), 61, description, parts)


def marks(mean, stddev, limits, color, description):
    """Means with ± 2 standard deviations as SVG, a line a dimension.

    Args:
        mean: (d,) floats.
        stddev: (d,) floats.
        limits: (d,) pairs, the values at the left and the right edge.
        color: of the marks.
        description: what it shows, in words.
    """
    parts = []
    for i, (centre, spread, (left, right)) in enumerate(zip(mean, stddev, limits, strict=True)):
        unit = 112 / ((right - left) or 1.0)
        start, middle, end = (
            4 + unit * (v - left) for v in (centre - 2 * spread, centre, centre + 2 * spread)
        )
        y = 16 * i + 8
        parts.append(
            f'<path d="M{start:.1f} {y}H{end:.1f}" stroke="{_css(color)}" stroke-width="2"/>'
            f'<circle cx="{middle:.1f}" cy="{y}" r="3.5" fill="{_css(color)}"/>'
        )
    return _small_svg(120, 16 * len(parts), description, parts)


def png(pixels):
    """An image as a data URI.

    Args:
        pixels: (h, w), (h, w, 1) or (h, w, 3) of values in [0, 1]; of any other number of
            channels the first is shown.
    """
    pixels = np.clip(np.asarray(pixels, float), 0.0, 1.0)
    if pixels.ndim == 3 and pixels.shape[-1] != 3:
        pixels = pixels[..., 0]
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, -1)
    buffer = io.BytesIO()
    metadata: Any = {"Software": None}
    image.imsave(buffer, pixels, format="png", metadata=metadata)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _panels(count, size, columns=_COLUMNS):
    """A figure of equal panels with common axes; returns it and its axes, row by row."""
    columns = min(columns, count)
    rows = -(-count // columns)
    picture = figure.Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    axes = picture.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for unused in axes[count:]:
        unused.set_axis_off()
    for lowest in axes[count - columns : count]:
        lowest.tick_params(labelbottom=True)
    return picture, axes[:count]


def _line(axes, points, look, limits, inches):
    """Draws a line, with intervals cut at the limits, some inches beside its x."""
    x, value, low, high = np.array(points, float).T
    color, marker, _ = look
    shift = transforms.ScaledTranslation(inches, 0, axes.figure.dpi_scale_trans)
    errors = [value - np.clip(low, *limits), np.clip(high, *limits) - value]
    axes.errorbar(
        x,
        value,
        np.clip(errors, 0.0, None),
        color=color,
        marker=marker,
        markersize=4,
        linestyle="-" if marker else "--",
        linewidth=1.2,
        elinewidth=0.7,
        transform=axes.transData + shift,
    )
    axes.update_datalim(np.column_stack([x, value]))  # Not done for a shifted line.
    axes.autoscale_view()


def _range(points):
    """The y axis's limits: all values, and of their intervals what is not much wider."""
    _, value, low, high = np.array(points, float).T
    span = (value.max() - value.min()) or abs(value.max()) or 1.0
    bounds = np.concatenate([value, low, high])
    bounds = np.clip(bounds, value.min() - span, value.max() + span)
    margin = 0.05 * ((np.nanmax(bounds) - np.nanmin(bounds)) or span)
    return np.nanmin(bounds) - margin, np.nanmax(bounds) + margin


def _set_ticks(axes, ticks):
    if min(ticks) > 0 and max(ticks) > 3 * min(ticks):
        axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.margins(x=0.2)


def _css(color):
    return "currentColor" if color == _TEACHER else color


def _small_svg(width, height, description, parts):
    label = html.escape(description)
    return (
        f'<svg class="small" role="img" aria-label="{label}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" fill="currentColor">{"".join(parts)}</svg>'
    )
