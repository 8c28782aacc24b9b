"""Intervals and sets of classes that hold the truth as often as they say, for any student.

Split conformal prediction: on n held-out rows with labels a score s_i says how badly a label fits
the student's answer. The threshold is the ceil((n + 1) * coverage)-th smallest of these scores,
and a row's prediction set holds all labels whose score is at most that. If the row and the n
held-out ones are drawn alike, and independent of what the student was trained on, the set holds
its label with a probability of at least `coverage`, whatever the student is, and of at most
coverage + 1 / (n + 1) where scores are never equal.

| output | score of a label | exported beside the parameters |
|---|---|---|
| numbers | its distance from the mean, in standard deviations, by dimension | `lower`, `upper` |
| log-normal numbers | the same of logarithms | `lower`, `upper` |
| counts | as of numbers | `lower`, `upper`, rounded into the interval |
| classes | 1 - its probability | `prediction_set`, (batch, classes), bool |

The likeliest class is always in the set. Where a student is right more often than `coverage`, its
sets are single classes, and hold the truth as often as it is right.

The guarantee is of a mean over all rows. Rows of one kind may be covered less, and others more: the
better the student's spread, the less they differ.

References: Lei et al., "Distribution-Free Predictive Inference for Regression", 2018, section 5.2,
for intervals of locally varying width; Sadinle, Lei and Wasserman, "Least Ambiguous Set-Valued
Classifiers with Bounded Error Levels", 2019, for classes.
"""

import math
import numbers
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf._internal import finite, identity, labelled, own_inputs, probabilities, symbolic
from ecl_tf._internal.configured import Configured
from ecl_tf.divergences import Distribution

__all__ = ["PredictionSets", "conformal"]

_SLACK = 1e-5
_MEASURED = ("output", "coverage", "rows", "thresholds", "weights")


@keras.saving.register_keras_serializable("ecl_tf")
class PredictionSets(Configured):
    """What `conformal` measured: thresholds, by which an exported student has prediction sets.

    Args:
        output: the `ecl_tf.outputs.Output` of the student.
        coverage: the share of rows whose label is to be in the set, such as 0.9.
        rows: the number n of held-out rows; of named outputs a dict.
        thresholds: the highest score of a label in the set: of classes one number, of numbers one
            for each dimension; of named outputs a dict.
        weights: a hash of the student's weights on which they were measured, as `conformal` keeps
            it; None, the default, if it is not known.
    """

    def __init__(
        self,
        output: outputs.Output | str | dict[str, Any],
        coverage: float,
        rows: int | dict[str, int],
        thresholds: Any,
        weights: str | None = None,
    ):
        """Takes the arguments that the class describes."""
        self.output = outputs.get(output)
        self.coverage, self.rows, self.thresholds = coverage, rows, thresholds
        self.weights = weights

    def __setattr__(self, name, value):
        """Sets what was measured once: thresholds hold for one coverage."""
        if name in _MEASURED and name in vars(self):
            raise ValueError(
                f"Prediction sets keep their {name}, as they were measured. Measure them anew: "
                "ecl_tf.conformal(student, x, y, coverage=...)."
            )
        super().__setattr__(name, value)

    def require_student(self, student: keras.Model) -> None:
        """Raises ValueError if a `student` has other weights than the one that was measured."""
        if self.weights not in (None, identity.fingerprint_of_models([student])):
            raise ValueError(
                f"The prediction sets were measured on other weights than those of the student "
                f"{student.name!r}, so their coverage is not known of it. Measure them after its "
                "training, on rows that had no say in it: ecl_tf.conformal(student, x, y)."
            )

    def parameters(self, distribution: Distribution | dict[str, Distribution]) -> dict[str, Any]:
        """Returns the sets of a student's `distribution`, by their names in the export.

        These are `lower` and `upper` of numbers (batch, d), and `prediction_set` of classes, bool
        (batch, classes); of named outputs with the output's name and an underscore before them.
        """
        found: dict[str, Any] = {}
        parts = outputs.parts_of(self.output, distribution, self.thresholds)
        for name, (output, own, thresholds) in parts.items():
            prefix = f"{name}_" if name else ""
            sets = _sets(output, own, thresholds)
            found |= {f"{prefix}{key}": value for key, value in sets.items()}
        return found

    def evaluate(self, raw: Any, labels: Any) -> dict[str, float]:
        """Returns the share of labels in their sets, and the mean size of a set.

        The size is a number of classes, or a width in the target's units. With several targets both
        are means over them. Rows with unknown labels are left out. If an answer is NaN, both are.

        Args:
            raw: raw outputs of the student (rows, size), of named outputs a dict; then both
                numbers have the output's name and an underscore before them.
            labels: (rows,) classes, (rows, classes) of 0 and 1, or (rows, d) targets; of named
                outputs a dict.

        Raises:
            ValueError: if a label is none of this output, or a row of shares.
        """
        found: dict[str, float] = {}
        parts = outputs.parts_of(self.output, raw, labels, self.thresholds)
        for name, (output, own, truth, thresholds) in parts.items():
            prefix = f"{name}_" if name else ""
            its = _evaluated(output, np.asarray(own), truth, thresholds, name)
            found |= {f"{prefix}{key}": value for key, value in its.items()}
        return found

    def describe(self) -> dict[str, Any]:
        """Returns what an export keeps of it, as JSON: coverage, rows, scores and thresholds."""
        parts = outputs.parts_of(self.output)
        scores = {name: _score_in_words(output) for name, (output,) in parts.items()}
        return {
            "coverage": self.coverage,
            "rows": self.rows,
            "score": scores.get("", scores),
            "thresholds": self.thresholds,
        }

    def get_config(self) -> dict[str, Any]:
        return {
            "output": keras.saving.serialize_keras_object(self.output),
            "coverage": self.coverage,
            "rows": self.rows,
            "thresholds": self.thresholds,
            "weights": self.weights,
        }


def conformal(
    student: keras.Model,
    x: Any,
    y: Any = None,
    *,
    coverage: float = 0.9,
    output: str | dict | outputs.Output | None = None,
    batch_size: int = 256,
) -> PredictionSets:
    """Measures on held-out rows what makes a student's intervals or sets of classes hold the truth.

    `Distiller.export(path, conformal=...)` or `export_student(..., conformal=...)` then writes them
    with the student.

    Args:
        student: a `Distiller`, or a Keras model that gives raw outputs.
        x: inputs, or a batched `tf.data.Dataset` of (inputs, labels), whose weights, if there are
            any, have no say. The guarantee needs rows that had no say in the student, neither in
            training nor in a choice among students or settings.
        y: labels, as `fit` takes them; None, the default, where `x` is a dataset.
        coverage: the share of labels that are to be in their set, between 0 and 1; 0.9 by
            default. It needs coverage / (1 - coverage) rows at least, 9 of 0.9 and 99 of 0.99,
            and typically a thousand: of n rows the share varies by sqrt(0.09 / n) around 0.9.
        output: the `ecl_tf.outputs.Output` of the student; None, the default, is a distiller's own,
            and "categorical" for other models.
        batch_size: rows of a forward pass, 256 by default.

    Returns:
        The `PredictionSets`. Rows with unknown labels are left out.

    Raises:
        ValueError: if there are too few rows, no labels, labels that are none, answers of several
            positions a row or of yes/no labels, or the student answers with NaN or probabilities.

    Example:
    >>> x = np.random.default_rng(0).normal(size=(999, 1)).astype("float32")
    >>> noisy = x + np.random.default_rng(1).normal(size=(999, 1))
    >>> student = keras.Sequential([keras.Input((1,)), keras.layers.Rescaling(1.0)])
    >>> sets = conformal(student, x, noisy, output=outputs.Point(1, stddev=1.0))
    >>> print(sets.rows, round(sets.thresholds[0], 1))  # The normal's own is 1.64.
    999 1.6
    """
    kind: Any = output or getattr(student, "output_kind", "categorical")
    given, student = student, getattr(student, "student", student)
    if not isinstance(student, keras.Model):
        raise ValueError(
            f"conformal takes a Distiller or a keras.Model; got {student!r}. ecl_tf.pretrained."
            "load('saved_model', input_shape, output, path=...) makes a model of an exported file."
        )
    if not isinstance(coverage, numbers.Real) or not 0.0 < coverage < 1.0:
        raise ValueError(
            f"coverage must be a number between 0 and 1, such as 0.9; got {coverage!r}."
        )
    batches = labelled.dataset("conformal", x, y, batch_size, [student])
    output = outputs.get(kind, symbolic.shape_for(kind, student, "student"))
    finite.require_weights(student, "student")
    probabilities.require_logits(output, student, "student", batches.element_spec[0])
    answered = []
    for inputs, labels, *_ in batches:
        raw = student(own_inputs.of(student, inputs), training=False)
        if not isinstance(output, outputs.Joint):
            raw = symbolic.only(raw, "student")
        outputs.joint.require_fit(output, given, raw)
        finite.require_logits(output, raw, f"student {student.name!r}", inputs)
        answered.append((raw, labels))
    if not answered:
        raise ValueError("conformal got no rows; give it held-out inputs and labels.")
    raw, labels = tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *answered)
    weights = identity.fingerprint_of_models([student])
    return of_answers(output, raw, labels, float(coverage), weights)


def of_answers(output, raw, labels, coverage, weights=None):
    """`conformal`, of raw outputs and labels of all rows."""
    rows, thresholds = {}, {}
    for name, (own, its, truth) in outputs.parts_of(output, raw, labels).items():
        if truth is None:
            raise ValueError(f"conformal needs labels of every output, and {name!r} has none.")
        rows[name], thresholds[name] = _measured(own, its, truth, coverage, name)
    if not isinstance(output, outputs.Joint):
        rows, thresholds = rows[""], thresholds[""]
    return PredictionSets(output, coverage, rows, thresholds, weights)


def least_rows(coverage: float) -> int:
    """The fewest rows with which some score is a threshold for so high a coverage."""
    return math.ceil(round(coverage / (1.0 - coverage), 9))


def require_output(output: outputs.Output) -> None:
    """Raises ValueError if there are no prediction sets of an `output`, or of a part of it."""
    for own, *_ in outputs.parts_of(output).values():
        if not isinstance(own, (outputs.Numeric, outputs.Categorical)):
            raise ValueError(
                f"There are prediction sets of classes and of numbers; got {own!r}. For yes/no "
                "labels calibrate their probabilities: ecl_tf.calibrated."
            )


def _measured(output, raw, labels, coverage, name):
    """The number of rows with known labels, and the threshold or one for each dimension."""
    require_output(output)
    if len(raw.shape) != 2:
        raise ValueError(
            "conformal takes one answer for each row, because positions of a row are too alike to "
            f"count as rows; got raw outputs of shape {tuple(raw.shape)}."
        )
    raw, labels = _labelled(output, raw, labels, name)
    scores = np.sort(_scores(output, output(raw), labels), axis=0)
    count = len(scores)
    if count < least_rows(coverage):
        raise ValueError(
            f"coverage={coverage} needs {least_rows(coverage)} labelled rows at least, and there "
            f"are {count}: with fewer no finite set would be sure enough. Give more held-out rows, "
            "a thousand if you can, or a lower coverage."
        )
    place = math.ceil(round((count + 1) * coverage, 9)) - 1
    # So that rounding leaves no label out that scores just as much: many may.
    return count, (scores[place] * (1.0 + _SLACK) + _SLACK).tolist()


def _labelled(output, raw, labels, name=""):
    """Raw outputs and labels of the rows with a known label, of classes as indices."""
    output.require_labels(labels, raw.shape, name)
    known, labels = output.known(labels, raw), np.asarray(labels)
    if output.family == "categorical" and outputs.is_one_hot(labels, raw):
        if not np.isin(labels, (0, 1)).all():
            raise ValueError("A prediction set needs one class for each row; got rows of shares.")
        labels = np.argmax(labels, -1)
    if known is None:
        return raw, labels
    kept = np.asarray(known) > 0.0
    return np.asarray(raw)[kept], labels[kept]


def _scores(output, distribution, labels):
    """How badly labels fit: (rows,) of classes, (rows, d) of numbers, float32."""
    if isinstance(output, outputs.Numeric):
        return np.asarray(output.deviations(distribution, labels))
    shares = np.asarray(output.parameters(distribution)["probabilities"])
    classes = np.reshape(labels, [-1, 1]).astype(int)
    return 1.0 - np.take_along_axis(shares, classes, -1)[:, 0]


def _sets(output, distribution, thresholds):
    """The sets of a batch, as tensors by their names."""
    if isinstance(output, outputs.Numeric):
        lower, upper = output.interval(distribution, thresholds)
        return {"lower": lower, "upper": upper}
    shares = output.parameters(distribution)["probabilities"]
    # No set is empty: it holds the likeliest class, however unlikely.
    likeliest = shares >= tf.reduce_max(shares, -1, keepdims=True)
    # Of NaN, which compares to nothing, every class may be right.
    return {"prediction_set": ~(1.0 - shares > thresholds) | likeliest}


def _evaluated(output, raw, labels, thresholds, name):
    """`PredictionSets.evaluate` of one output."""
    raw, labels = _labelled(output, raw, labels, name)
    if np.isnan(raw).any():
        return {"coverage": math.nan, "size": math.nan}
    sets = _sets(output, output(raw), thresholds)
    if "prediction_set" in sets:
        members = np.asarray(sets["prediction_set"])
        inside = np.take_along_axis(members, labels.reshape(-1, 1).astype(int), -1)
        size = members.sum(-1)
    else:
        lower, upper = (np.asarray(sets[name]) for name in ("lower", "upper"))
        truth = np.reshape(labels, lower.shape)
        inside = (lower <= truth) & (truth <= upper)
        size = np.maximum(upper - lower, 0.0)
    return {"coverage": float(np.mean(inside)), "size": float(np.mean(size))}


def _score_in_words(output):
    if not isinstance(output, outputs.Numeric):
        return "1 - probability of the label"
    of = " of logarithms" if output.family == "log_normal" else ""
    return f"|label - mean| / stddev{of}"
