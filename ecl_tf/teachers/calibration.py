"""Teachers whose confidence is right on data that they were not trained on."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy import optimize

from ecl_tf import outputs
from ecl_tf._internal import finite, labelled, positions, probabilities
from ecl_tf.teachers.ensemble import get
from ecl_tf.teachers.teacher import Teacher

_LOWEST, _HIGHEST = 1 / 20, 20.0


def calibrated(
    teacher: keras.Model | Sequence[keras.Model],
    x: Any,
    y: Any = None,
    *,
    output: str | dict | outputs.Output = "categorical",
    batch_size: int = 256,
) -> Teacher:
    """A teacher of the same members, at the temperature that held-out labels speak for.

    Distributions p are replaced by p^(1/T), normalised: every member's by softmax(logits / T) or
    sigmoid(logits / T), a Gaussian ensemble's by that with T times the variance. T is the one
    number that minimises the combined distribution's mean -log p(y | x) over the held-out rows,
    or over their positions that the first member's Keras mask does not leave out; with named
    outputs each has its own. A matched student inherits the teacher's confidence, so
    what is corrected here need not be corrected in every student.

    Args:
        teacher: a `keras.Model`, a sequence of them, an `ecl_tf.Ensemble`, or an
            `ecl_tf.teachers.FunctionTeacher`.
        x: inputs, or a batched `tf.data.Dataset` of (inputs, labels), whose weights, if there
            are any, have no say. Not the data that the members were trained on: they are too
            sure of themselves there.
        y: labels, as `fit` takes them, in the units that the members predict; None, the
            default, where `x` is a dataset. A few hundred rows typically do.
        output: the `ecl_tf.outputs.Output` of the members, where `teacher` is no
            `ecl_tf.Teacher`; "categorical" by default.
        batch_size: rows of a forward pass, 256 by default.

    Returns:
        The `ecl_tf.Ensemble`, or the `FunctionTeacher`; its `output_kind.temperature` is T, to
        three digits. A warning tells if there is no best one between 1/20 and 20.

    Raises:
        ValueError: if there are no rows, no known labels, or other inputs than the members', one
            member gives points without a spread, or members answer with NaN or with
            probabilities.
        TypeError: if `teacher` is a teacher of another kind. Give its output a temperature.

    Example:
    >>> unsure = keras.Sequential([keras.Input((2,)), keras.layers.Rescaling(0.1)])
    >>> logits = np.random.default_rng(0).normal(size=(5000, 2))
    >>> labels = logits[:, 0] + np.random.default_rng(1).logistic(size=5000) < logits[:, 1]
    >>> teacher = calibrated(unsure, logits, labels.astype(int))
    >>> print(round(teacher.output_kind.temperature, 1))
    0.1

    Reference: Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2. That
    teachers should be calibrated before their students learn is this project's addition.
    """
    teacher = get(teacher, output)
    teacher.with_output(teacher.output_kind)  # Of a user's own teacher, which has none, it raises.
    networks = getattr(teacher, "members", [teacher])
    x = labelled.dataset("calibrated", x, y, batch_size, networks)
    for member in networks:
        finite.require_weights(member, "teacher")
    teacher.check_members(x.element_spec[0])
    batches = [_answered(teacher, inputs, labels) for inputs, labels, *_ in x]
    if not batches:
        raise ValueError("calibrated got no rows; give it held-out inputs and labels.")
    rows = tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *batches)
    output, fitted = teacher.output_kind, {}
    for name, (own,) in outputs.parts_of(output).items():
        raws, labels = rows[name]
        for number, raw in enumerate(raws):
            if probabilities.rows_that_look_like(own, raw):
                raise probabilities.refusal(
                    probabilities.OF_CLASSES, _network(teacher, number), "teacher"
                )
        fitted[name] = _fitted(own, raws, labels)
    if isinstance(output, outputs.Joint):
        return teacher.with_output(outputs.Joint(fitted, output.weights))
    return teacher.with_output(fitted[""])


def _network(teacher, number):
    """The network of a member, or the teacher itself where it has none."""
    return getattr(teacher, "members", {number: teacher})[number]


def _answered(teacher, inputs, labels):
    """Of each output the members' raw tensors, and labels, with positions that count as rows."""
    raws = teacher.member_outputs(inputs)
    for number, raw in enumerate(raws):
        name = _network(teacher, number).name
        finite.require_logits(teacher.output_kind, raw, f"teacher {name!r}", inputs)
    found = {}
    for name, (output, its, *own) in outputs.parts_of(teacher.output_kind, labels, *raws).items():
        if its is None:
            raise ValueError(f"calibrated needs labels of every output, and {name!r} has none.")
        shape = own[0].shape
        if len(shape) > 2:  # Batches may be of other lengths.
            output.validate_labels(np.shape(its), shape)
            counts = positions.counting(tuple(shape[:-1]), positions.masks(own[0]))
            *own, its = (np.asarray(each)[counts] for each in (*own, its))
        found[name] = own, its
    return found


def _fitted(output, raws, labels):
    """The output at its best temperature for the members' raw tensors and labels."""
    output.require_labels(labels, raws[0].shape)
    weights = output.known(labels, raws[0])
    if not (len(labels) if weights is None else np.any(weights)):
        raise ValueError(
            "calibrated got no known label: all are of the ignored class, or of masked positions. "
            "Give it held-out rows with labels."
        )

    def loss(log_temperature):
        distribution = output.tempered(float(np.exp(log_temperature))).combine(raws)
        losses = output.negative_log_likelihoods(distribution, labels)
        return float(np.average(losses, weights=weights))

    bounds = np.log([_LOWEST, _HIGHEST])
    found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded")
    # Three digits are more than the rows can tell, and the same after a restart or on other
    # machines, where sums are rounded in another order.
    temperature = float(f"{np.exp(found.x):.3g}")
    if min(map(loss, bounds)) <= found.fun:
        warnings.warn(
            f"Held-out rows speak for no temperature of the teacher between {_LOWEST:g} and "
            f"{_HIGHEST:g}; {temperature:g} was taken. Either all held-out rows are answered right "
            "(give more of them, which it was not trained on), or its answers have little to do "
            "with the labels.",
            stacklevel=3,
        )
    return output.tempered(temperature)
