"""Figures of the report, drawn by Matplotlib.

Functions take the results of one comparison, the content of results.json, and return images:
{"alt": what the figure shows, for readers who do not see it, "src": a data URI}. An image is
one small panel, so that a page can put as many side by side as its width allows. Its `kind` is
"svg" or "png".
"""

import base64
import contextlib
import io
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib import figure, image

from ecl_tf.experiments import diagnostics, suite_scores, tables

Images = list[dict[str, str]]
Panels = dict[str, dict[str, dict[float, Any]]]

_FIRST = ("ERM", "standard KD", "tuned KD", "XCL")  # They look the same in every report.
# Without colours, too, as in print.
_MARKERS = "os^*DvX<>pP"
_LINES = (":", "-.", (0, (7, 2)), "-", (0, (3, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (9, 2, 2, 2)))
_SPREADS = {"categorical": "entropy", "bernoulli": "entropy"}  # Of others it is a deviation.
_STYLE: Any = {
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9.0,
    "grid.linewidth": 0.4,
    "legend.frameon": False,
    "legend.loc": "upper center",
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "savefig.bbox": "tight",  # The image grows with its legend and its labels.
    "svg.fonttype": "none",  # Text stays text.
    "svg.hashsalt": "report",  # The same figure is the same bytes.
    "text.parse_math": False,  # A dollar in a method's name is a dollar.
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def styles(names: Collection[str]) -> dict[str, dict[str, Any]]:
    """The colour, marker and line of every name, as arguments of Matplotlib's `plot`.

    Example:
    >>> styles(["XCL"])
    {'XCL': {'color': 'C3', 'marker': '*', 'linestyle': '-'}}
    """
    others = [name for name in names if name not in ("teacher", *_FIRST)]
    found: dict[str, dict[str, Any]] = {
        name: {
            "color": f"C{turn % 10}",
            "marker": _MARKERS[turn % 10],
            "linestyle": _LINES[turn % len(_LINES)],
        }
        for turn, name in enumerate((*_FIRST, *others))
    }
    found["teacher"] = {"color": "black", "marker": "", "linestyle": "--"}
    return {name: found[name] for name in names}


def scores(results: dict[str, Any], kind: str = "svg") -> Images:
    """Test scores, an image for each metric."""
    images: Images = []
    for metric in results["teacher"]:
        alt = f"{tables.title(metric)}: seeds, mean and interval of each method, the teacher's line"
        with _image(images, alt, (3.8, 3.0), kind) as frame:
            _draw_scores(frame, results, metric)
    return images


def save_scores(results: dict[str, Any], path: str | os.PathLike) -> None:
    """Writes the images of `scores` to one PNG file, side by side."""
    metrics = results["teacher"]
    with matplotlib.rc_context(_STYLE):
        drawing = figure.Figure(figsize=(4.4 * len(metrics), 3.4), layout="constrained")
        for number, metric in enumerate(metrics, 1):
            _draw_scores(drawing.add_subplot(1, len(metrics), number), results, metric)
        drawing.savefig(path, dpi=120)


def _draw_scores(frame, results, metric):
    names = list(results["final"])
    for position, (method, style) in enumerate(styles(names).items()):
        seeds = [tables.scale(metric, value) for value in tables.scores(results, method, metric)]
        mean, _, high = tables.mean(results, method, metric)
        frame.plot([position] * len(seeds), seeds, "o", color=style["color"], alpha=0.3)
        frame.errorbar(position + 0.15, mean, high - mean, fmt="s", color=style["color"])
    teacher = tables.scale(metric, results["teacher"][metric])
    frame.axhline(teacher, color="black", linestyle="--")
    frame.text(1.01, teacher, "teacher", va="center", transform=frame.get_yaxis_transform())
    frame.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    frame.set(xlim=(-0.5, len(names) - 0.5), title=tables.title(metric))


def learning_curves(results: dict[str, Any], kind: str = "svg") -> Images:
    """The validation score against the step: one image, or none where no curve is known."""
    metric = results["score"]
    label = f"validation {tables.title(metric)}"
    lines = {}
    for method, keys in results["final"].items():
        by_step: dict[int, list[float]] = {}
        for point in (point for key in keys for point in results["runs"][key].get("curve") or ()):
            by_step.setdefault(point["step"], []).append(tables.scale(metric, point[metric]))
        if by_step:
            steps = sorted(by_step)
            lines[method] = steps, [np.mean(by_step[step]) for step in steps]
    images: Images = []
    if lines:
        words = f"{label} by step, for {', '.join(lines)}"
        with _image(images, words, (4.2, 3.0), kind) as frame:
            for name, line in lines.items():
                frame.plot(*line, label=name, **styles(results["final"])[name])
            frame.set(xlabel="step", ylabel=label)
            frame.legend(bbox_to_anchor=(0.5, -0.18), ncols=2)  # Below the frame.
    return images


def reliability(results: dict[str, Any], kind: str = "svg") -> Images:
    """Reliability diagrams of the teacher and each method, where known.

    A dot's area grows with its share of the inputs.
    """
    classes = tables.is_of_classes(results)
    labels = ("confidence", "accuracy"), ("nominal level", "share inside")
    x_label, y_label = labels[0 if classes else 1]
    found = {"teacher": [results.get("teacher_reliability")]}
    for method, keys in results["final"].items():
        found[method] = [results["runs"][key].get("reliability") for key in keys]
    curves = {who: [curve for curve in seeds if curve] for who, seeds in found.items()}
    images: Images = []
    for who, style in styles(found).items():
        if not curves[who]:
            continue
        x, y, weight = diagnostics.pool(curves[who], classes).values()
        with _image(images, f"{y_label} by {x_label}: {who}", (1.25, 1.25), kind) as frame:
            frame.plot([0, 1], [0, 1], "--", color="black", linewidth=0.7)
            frame.plot(x, y, color=style["color"])
            frame.scatter(x, y, 3 + 150 * weight, style["color"], alpha=0.6, clip_on=False)
            frame.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
            frame.set(title=who, xlabel=x_label, ylabel=y_label)
    return images


def one_dimension(results: dict[str, Any], kind: str = "svg") -> Images:
    """Mean ± 2 standard deviations over the input, of each method and of the teacher.

    The images hold the training points and the teacher's band. A method may leave them.
    """
    found = results.get("one_dimension")
    if not found:
        return []
    images: Images = []
    x, train, look = found["x"], found["train"], styles(found["distributions"])
    bands = {}
    for who, parameters in found["distributions"].items():
        mean, twice = np.array(parameters["mean"]), 2 * np.array(parameters["stddev"])
        bands[who] = mean - twice, mean, mean + twice
    held = np.concatenate([bands["teacher"][0], bands["teacher"][2], train["y"]])
    margin = 0.1 * np.ptp(held)
    for name in bands:
        words = f"The target over the input: training points, the teacher, {name}"
        with _image(images, words, (2.8, 2.1), kind) as frame:
            for who in dict.fromkeys(("teacher", name)):
                low, mean, high = bands[who]
                line = "--" if who == "teacher" else "-"
                frame.plot(x, mean, **{**look[who], "marker": "", "linestyle": line})
                hatch = "////" if who == "teacher" else ""
                of_band = {"color": look[who]["color"], "alpha": 0.18, "linewidth": 0}
                frame.fill_between(x, low, high, hatch=hatch, **of_band)
            frame.plot(train["x"], train["y"], ".", color="black")
            frame.set(xlim=(min(x), max(x)), ylim=(held.min() - margin, held.max() + margin))
            frame.set(title=name, xlabel="input", ylabel="target")
    return images


def by_setting(panels: Panels, x_label: str, y_label: str) -> Images:
    """A line for each method over the values of a setting, which have equal distances.

    The images share their axes. An interval that is much wider than all values is cut.

    Args:
        panels: dict from an image's title to {name: {value: (mean, low, high)}}.
        x_label: the setting's name.
        y_label: what the means are of.
    """
    lines = [line for panel in panels.values() for line in panel.values()]
    ticks = sorted({tick for line in lines for tick in line})
    means = [point[0] for line in lines for point in line.values()] or [0.0]
    margin = 0.5 * (np.ptp(means) or abs(means[0]) or 1.0)
    limits = min(means) - margin, max(means) + margin
    look = styles(dict.fromkeys(name for panel in panels.values() for name in panel))
    images: Images = []
    for title, panel in panels.items():
        words = f"{y_label} by {x_label}, for {', '.join(panel)}. {title}"
        with _image(images, words, (3.8, 3.0)) as frame:
            for turn, name in enumerate(panel):
                aside = 0.4 * ((turn + 0.5) / len(panel) - 0.5)  # Intervals do not hide each other.
                line = dict(sorted(panel[name].items()))
                mean, low, high = np.clip(np.transpose([*line.values()]), *limits)
                x = [ticks.index(tick) + aside for tick in line]
                frame.plot(x, mean, label=name, **look[name])
                frame.vlines(x, low, high, look[name]["color"], linewidth=0.7)
            frame.set_xticks(range(len(ticks)), [f"{tick:g}" for tick in ticks])
            frame.set(xlim=(-0.5, len(ticks) - 0.5), ylim=limits)
            frame.set(title=title, xlabel=x_label, ylabel=y_label)
            frame.legend(bbox_to_anchor=(0.5, -0.18), ncols=2)  # Below the frame.
    return images


def by_severity(results: dict[str, Any]) -> Images:
    """The score and the NLL over the severity of corruptions: an image for each, where known."""
    images: Images = []
    for metric in dict.fromkeys((results["score"], "nll")):
        if lines := suite_scores.by_severity(results, metric):
            images += by_setting({"": lines}, "severity of corruption", tables.title(metric))
    return images


def risk_coverage(results: dict[str, Any]) -> Images:
    """The mean loss over the share of rows that are answered: one image, or none."""
    lines = suite_scores.risk_coverage(results)
    images: Images = []
    if lines:
        words = f"risk by coverage, for {', '.join(lines)}"
        with _image(images, words, (4.2, 3.0)) as frame:
            for name, line in lines.items():
                look = {**styles(lines)[name], "markevery": 0.1}  # Of the length, not each point.
                frame.plot(*line, label=name, **look)
            frame.set(xlabel="coverage", ylabel="risk", xlim=(0, 1))
            frame.legend(bbox_to_anchor=(0.5, -0.18), ncols=2)  # Below the frame.
    return images


def pixels(values: Any) -> str:
    """A data URI of an image of (h, w), (h, w, 1) or (h, w, 3) values in [0, 1].

    Of any other number of channels the first is shown.
    """
    buffer = io.BytesIO()
    metadata: Any = {"Software": None}
    shown = _shown(values)
    image.imsave(buffer, shown, format="png", cmap="gray", vmin=0, vmax=1, metadata=metadata)
    return _data_uri("png", buffer)


def _shown(values):
    """(h, w) or (h, w, 3) values in [0, 1]."""
    values = np.clip(np.asarray(values, float), 0.0, 1.0)
    return values[..., 0] if values.ndim == 3 and values.shape[-1] != 3 else values


def gallery(results: dict[str, Any], kind: str = "svg") -> Images:
    """Sampled inputs, where known, each with what the teacher and every method say of it.

    Bars are probabilities of classes, the teacher's 10 likeliest; lines across them are the
    teacher's. Of numbers dots are means, and lines 2 standard deviations to each side.
    """
    images: Images = []
    found = results.get("gallery") or {"inputs": []}
    for number, values in enumerate(found["inputs"]):
        answers = found["distributions"]
        words = f"sampled input {number + 1}: {', '.join(answers)}"
        with _image(images, words, (1.4 * len(answers) + 1.4, 1.1), kind, len(answers) + 1) as row:
            if len(found["shape"]) in (2, 3):
                row[0].imshow(_shown(values), cmap="gray", vmin=0, vmax=1)
                row[0].set_axis_off()
            else:
                row[0].plot(np.ravel(values), ".", color="black")
            for frame, (who, style) in zip(row[1:], styles(answers).items(), strict=True):
                _draw_answer(frame, answers, who, number, style["color"])
    return images


def maps(results: dict[str, Any], kind: str = "svg") -> list[Images]:
    """Sampled inputs with positions: the images of each, first the input itself.

    The others hold what the teacher, or a method, answers at every position, and how unsure it is.
    """
    found = results["gallery"]
    answers, spreads = (
        [np.array(its[name], float) for its in found["maps"].values()]
        for name in ("answer", "spread")
    )
    low, high = 0.0, 1.0
    if found["family"] == "categorical":
        high = found["size"] - 1.0
    elif found["family"] != "bernoulli":
        low, high = (float(f([f(each) for each in answers])) for f in (np.nanmin, np.nanmax))
    of_answer = {"vmin": low, "vmax": high, "cmap": "viridis", "interpolation": "nearest"}
    of_spread = {"vmin": 0.0, "vmax": _largest(spreads), "cmap": "gray", "interpolation": "nearest"}
    groups: list[Images] = []
    for number, values in enumerate(found["inputs"]):
        images: Images = []
        with _image(images, f"sampled input {number + 1}", (1.3, 1.5), kind) as frame:
            _show(frame, _as_picture(values), "input", {"cmap": "gray"})
        for who, answer, spread in zip(found["maps"], answers, spreads, strict=True):
            words = f"sampled input {number + 1}, {who}: answers, and how unsure they are"
            with _image(images, words, (2.5, 1.5), kind, 2) as (left, right):
                _show(left, answer[number], who, of_answer)
                _show(right, spread[number], _SPREADS.get(found["family"], "deviation"), of_spread)
        groups.append(images)
    return groups


def about_maps(gallery: dict[str, Any]) -> str:
    """What the images of `maps` show, in sentences."""
    spread = _largest([np.array(its["spread"], float) for its in gallery["maps"].values()])
    if gallery["family"] == "categorical":
        last = gallery["size"] - 1
        text = f"Colours are the likeliest classes, from 0 (violet) to {last} (yellow)."
    elif gallery["family"] == "bernoulli":
        text = "Colours are the mean probability of the labels, from 0 (violet) to 1 (yellow)."
    else:
        text = "Colours are the means of the first target, from the lowest (violet) to the highest."
    unsure = "Standard deviations" if gallery["family"] not in _SPREADS else "Entropies, in nats,"
    return f"{text} {unsure} go from 0 (black) to {spread:.3g} (white)."


def _largest(spreads):
    return float(np.nanmax([np.nanmax(each) for each in spreads])) or 1.0


def _as_picture(values):
    """An input as (height, width) or (height, width, 3); a sequence lies along its steps."""
    values = np.array(values, float)
    if values.ndim == 3 and values.shape[1] > 1:
        return _shown(values)
    return values.reshape(len(values), -1).T


def _show(frame, values, title, look):
    values = values if values.ndim > 1 else values[None]
    shape = "equal" if min(values.shape[:2]) > 1 else "auto"
    frame.imshow(values, aspect=shape, **look)
    frame.set_title(title)
    frame.set_axis_off()


def _draw_answer(frame, answers, who, number, color):
    frame.set_title(who)
    own, its = (
        {k: np.array(v[number]) for k, v in answers[name].items()} for name in (who, "teacher")
    )
    if "probabilities" in own:
        shown = np.sort(np.argsort(-its["probabilities"], kind="stable")[:10])
        places = range(len(shown))
        frame.bar(places, own["probabilities"][shown], color=color)
        frame.plot(places, its["probabilities"][shown], "_", color="black")
        frame.set_xticks(places, map(str, shown))
        frame.set(ylim=(0, 1), yticks=())
    else:
        mean, spread = np.ravel(own["mean"]), 2 * np.ravel(own["stddev"])
        frame.errorbar(range(len(mean)), mean, spread, fmt="o", color=color)
        frame.set_xticks(())


def pictures(results: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What is known of all figures, as pictures by name: (h, w, 3) bytes, 0 to 255.

    Args:
        results: the content of results.json; what is not known may be missing.
    """
    known = dict(results)
    drawn = {
        "scores": scores(known, "png") if "teacher" in known else [],
        "learning curves": learning_curves(known, "png"),
        "reliability": reliability(known, "png"),
        "between the training points": one_dimension(known, "png"),
    }
    if "maps" not in (known.get("gallery") or {}):
        drawn["sampled inputs"] = gallery(known, "png")
    found = {
        name: _joined([_pixels_of(each["src"]) for each in images], down=name == "sampled inputs")
        for name, images in drawn.items()
        if images
    }
    if "sampled inputs" not in drawn:
        rows = [[_pixels_of(each["src"]) for each in group] for group in maps(known, "png")]
        found["sampled inputs"] = _joined([_joined(row, down=False) for row in rows], down=True)
    return found


def _pixels_of(source):
    """The (h, w, 3) bytes of a PNG image's data URI."""
    values = image.imread(io.BytesIO(base64.b64decode(source.partition(",")[2])))
    return np.round(255 * values[..., :3]).astype("uint8")


def _joined(parts, down):
    """Pictures on white, one below the other, or side by side."""
    along = 0 if down else 1
    size = max(part.shape[1 - along] for part in parts)
    padded = []
    for part in parts:
        missing = [(0, 0)] * 3
        missing[1 - along] = 0, size - part.shape[1 - along]
        padded.append(np.pad(part, missing, constant_values=255))
    return np.concatenate(padded, along)


@contextlib.contextmanager
def _image(
    images: Images, alt: str, size: tuple[float, float], kind: str = "svg", count: int = 1
) -> Iterator[Any]:
    """Gives axes to draw on, and appends what is drawn to the images; the size is in inches.

    Several axes are side by side, in an array.
    """
    buffer = io.BytesIO()
    metadata: Any = _NO_METADATA if kind == "svg" else {"Software": None}
    with matplotlib.rc_context(_STYLE):
        drawing = figure.Figure(figsize=size)
        yield drawing.subplots(1, count)
        drawing.savefig(buffer, format=kind, dpi=120, metadata=metadata)
    images.append({"alt": alt, "src": _data_uri({"svg": "svg+xml"}.get(kind, kind), buffer)})


def _data_uri(kind, buffer):
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
