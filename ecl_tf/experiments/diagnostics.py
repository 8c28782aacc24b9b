"""What the report shows besides scores: curves, calibration, sampled inputs.

All of it is plain lists, for results.json.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from scipy import special, stats

from ecl_tf import data, outputs, samplers, uncertainty
from ecl_tf._internal import positions as masking
from ecl_tf.evaluation import selective
from ecl_tf.experiments import fitting, positions

_BINS = 15  # Of confidence.
_LEVELS = np.linspace(0.05, 0.95, 19)
_CURVE = ("predicted", "observed", "weight")
_SHOWN = 8  # Sampled inputs.
_MAPPED, _SIDE = 4, 64  # Those with positions, and the most of these that are kept along an axis.
_COVERAGES = 50  # Points of a curve.
_GRID = 200  # Points of a one-dimensional figure.


class LearningCurve(keras.callbacks.Callback):
    """Scores the student on validation data at the end of every epoch.

    Attributes:
        points: a list of {"step": int, score name: float}.
    """

    def __init__(self, experiment, output):
        super().__init__()
        self.experiment = experiment
        self.output = output
        self.points = []

    def on_epoch_end(self, epoch, logs=None):
        student = getattr(self.model, "student", self.model)
        name = self.experiment.score_name
        labels, raw = self.experiment.answers(student, "validation", self.output)
        score = self.experiment.scores(labels, raw, self.output, [name])
        self.points.append({"step": fitting.steps_at_end(self, epoch), **score})


def risk_coverage(labels, raw, output):
    """The curve of `ecl_tf.evaluation.risk_coverage`, at no more than 50 coverages.

    Args:
        labels: (rows,) classes, or (rows, d) targets.
    """
    curve = selective.risk_coverage(*selective.losses_and_uncertainty(output, raw, labels))
    count = len(curve.coverage)
    kept = np.unique(np.linspace(0, count - 1, min(count, _COVERAGES)).round().astype(int))
    return {
        "coverage": curve.coverage[kept].round(4).tolist(),
        "risk": [float(f"{risk:.4g}") for risk in curve.risk[kept]],
    }


def reliability(labels, raw, output):
    """How far confidences can be trusted, for a reliability diagram.

    For classes, and yes/no labels, each of which is one of two: rows are binned by confidence (15
    equal bins), `predicted` is a bin's mean confidence, `observed` its accuracy, `weight`
    its share of the rows; empty bins are left out. For numbers: `predicted` are nominal levels of
    central intervals, `observed` the share of labels inside.

    Args:
        labels: (rows,) classes, or (rows, d) targets.

    Reference: Guo et al., "On Calibration of Modern Neural Networks", 2017, section 2.
    """
    if not isinstance(output, outputs.Numeric):
        logits, classes = positions.as_classes(output, raw, labels)
        confidence, right = special.softmax(logits, -1).max(-1), logits.argmax(-1) == classes
        row = confidence, right, np.full(len(right), 1 / len(right))
        found = pool([dict(zip(_CURVE, row, strict=True))], classes=True)
    else:
        distribution = output(raw)
        if output.family == "normal":
            distance = np.asarray(output.deviations(distribution, labels))
            quantiles = stats.norm.ppf(0.5 + _LEVELS / 2)
            inside = [distance <= quantile for quantile in quantiles]
        else:
            tail = np.minimum(*output.tails(distribution, labels))
            inside = [tail >= (1 - level) / 2 for level in _LEVELS]
        observed = np.mean(np.reshape(inside, [len(_LEVELS), -1]), axis=1)
        weight = np.full(len(_LEVELS), 1 / len(_LEVELS))
        found = dict(zip(_CURVE, (_LEVELS, observed, weight), strict=True))
    return {name: _rounded(values) for name, values in found.items()}


def pool(curves: Sequence[Mapping[str, Any]], classes: bool) -> dict[str, np.ndarray]:
    """The reliability of all seeds together.

    Args:
        curves: {"predicted": [...], "observed": [...], "weight": [...]} of each seed.
        classes: whether `predicted` are confidences, which are binned anew. If not, they are
            the same levels for all seeds.

    Returns:
        A dict of the same form: means weighted by `weight`, and the seeds' mean weight.
    """
    predicted, observed, weight = (np.concatenate([c[name] for c in curves]) for name in _CURVE)
    bins = np.minimum(predicted * _BINS, _BINS - 1).astype(int) if classes else predicted
    _, bins = np.unique(bins, return_inverse=True)
    total = np.bincount(bins, weight)
    means = (np.bincount(bins, weight * values) / total for values in (predicted, observed))
    return dict(zip(_CURVE, (*means, total / len(curves)), strict=True))


def gallery(experiment, teacher, students, sampler):
    """Some sampled training inputs, with what teacher and students say of them.

    Args:
        students: dict from method, "XCL" among them, to (student, its output).
        sampler: the `Sampler`, or its config; where it asks the student, XCL's.

    Returns:
        None where inputs are not one tensor of numbers, or positions have more than two axes; else
        {"shape": of one input, "inputs": [...],
        "distributions": {who: {parameter: [...]}}}. Where rows have positions "maps" are in the
        place of the distributions: {who: {"answer": [...], "spread": [...]}}, None where positions
        are masked, with every n-th position of large ones; and the "size" of what an answer is of.
    """
    if not _are_numbers(experiment) or len(experiment.positions) > 2:
        return None
    x, _ = next(iter(experiment.batches(experiment.config.student, experiment.config.seed)))
    networks = uncertainty.Networks(teacher, *students["XCL"])
    inputs = samplers.get(sampler)(x, experiment.config.seed, networks).inputs[:_SHOWN]
    if experiment.positions:
        return _mapped(experiment, teacher, students, inputs[:_MAPPED])
    return {
        "shape": list(inputs.shape[1:]),
        "inputs": _rounded(inputs),
        "distributions": _distributions(experiment, teacher, students, inputs),
    }


def _are_numbers(experiment):
    """Whether inputs are one tensor of numbers, which can be drawn."""
    x, _ = experiment.splits.validation.element_spec
    return not keras.tree.is_nested(x) and x.dtype != "string"


def _mapped(experiment, teacher, students, inputs):
    """A gallery of inputs with positions."""
    mask = experiment.counted.mask(inputs)
    answers = {"teacher": (teacher.output_kind, teacher.distribution(inputs))}
    answers |= {
        who: (output, output(student(inputs))) for who, (student, output) in students.items()
    }
    maps = {who: _map(*answer, mask, len(experiment.positions)) for who, answer in answers.items()}
    is_of_classes = experiment.output.family == "categorical"
    shown = _thinned(np.asarray(inputs), len(inputs.shape) - 1)
    return {
        "shape": list(shown.shape[1:]),
        "inputs": _rounded(shown),
        "family": experiment.output.family,
        "size": int(experiment.splits.event_size) if is_of_classes else None,
        "maps": maps,
    }


def _map(output, distribution, mask, axes):
    """The likeliest class and the entropy; of numbers the mean and the deviation of the first one.

    Of yes/no labels it is their mean probability, and the sum of their entropies.
    """
    found = output.parameters(distribution)
    if output.family == "categorical":
        p = np.asarray(found["probabilities"], float)
        answer, spread = p.argmax(-1).astype(float), special.entr(p).sum(-1)
    elif output.family == "bernoulli":
        p = np.asarray(found["probabilities"], float)
        answer, spread = p.mean(-1), (special.entr(p) + special.entr(1 - p)).sum(-1)
    else:
        answer, spread = (np.asarray(found[name], float)[..., 0] for name in ("mean", "stddev"))
    counts = masking.counting(answer.shape, mask)
    answer, spread = (np.where(counts, each, np.nan) for each in (answer, spread))
    kept = {"answer": _thinned(answer, axes), "spread": _thinned(spread, axes)}
    return {name: _without_nan(each.round(4).tolist()) for name, each in kept.items()}


def _thinned(values, axes):
    """Every n-th place along the first axes after the rows', so that few are left of each."""
    steps = [max(1, -(-size // _SIDE)) for size in values.shape[1 : 1 + min(axes, 2)]]
    return values[(slice(None), *(slice(None, None, step) for step in steps))]


def _without_nan(nest):
    """None in the place of NaN, which JSON does not have."""
    if isinstance(nest, list):
        return [_without_nan(each) for each in nest]
    return None if nest != nest else nest


def one_dimension(experiment, teacher, students):
    """Means and standard deviations over the range of the inputs, where both are one number.

    Returns:
        None for other data; else {"x": [...], "train": {"x", "y"}, "distributions": ...}.
    """
    if experiment.splits.input_shape != (1,) or not isinstance(experiment.output, outputs.Numeric):
        return None
    if experiment.splits.event_size != 1 or experiment.positions or not _are_numbers(experiment):
        return None
    inputs, labels = experiment.splits.train_rows
    x, y = np.asarray(data.to_float(inputs)), np.asarray(labels)
    if x.dtype == bool:
        return None
    margin = 0.1 * (x.max() - x.min())
    grid = np.linspace(x.min() - margin, x.max() + margin, _GRID, dtype="float32")[:, None]
    found = _distributions(experiment, teacher, students, grid)
    return {
        "x": _rounded(grid[:, 0]),
        "train": {"x": _rounded(x[:, 0]), "y": _rounded(np.ravel(y))},
        "distributions": {
            who: {name: [row[0] for row in values] for name, values in parameters.items()}
            for who, parameters in found.items()
        },
    }


def _distributions(experiment, teacher, students, inputs):
    answers = {"teacher": (teacher.output_kind, teacher.distribution(inputs))}
    for method, (student, output) in students.items():
        answers[method] = output, output(student(inputs))
    return {
        who: {name: _rounded(values) for name, values in output.parameters(distribution).items()}
        for who, (output, distribution) in answers.items()
    }


def _rounded(values):
    return np.asarray(values, float).round(5).tolist()
