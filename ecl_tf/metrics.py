"""Metrics of predicted distributions; all take the network's raw output.

Keras has accuracy and the like. Every metric here works in plain
`compile`/`fit`, in `Distiller.compile`, and by itself.
"""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf._internal import positions, probabilities, require


class _PerExampleMean(keras.metrics.Mean):
    """The mean over examples of a value computed from labels and raw outputs."""

    takes_raw_output = True
    uses_spread = True  # Not the means alone.

    def __init__(self, output: outputs.Output | str, name: str, dtype: Any = None):
        """Takes the arguments that the class describes."""
        super().__init__(name=name, dtype=dtype)
        self.output: Any = outputs.get(output)

    def values(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns one value for each position, shape (batch, positions...)."""
        raise NotImplementedError

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        if isinstance(self.output, outputs.Joint):
            _require_labels(self.output, y_true, y_pred, sample_weight)
            values, weights = self.values(y_true, y_pred), None
            if sample_weight is not None:
                weights = positions.expand(sample_weight, values.shape, "sample_weight")
                weights = tf.broadcast_to(weights, tf.shape(values))
        else:
            y_pred = tf.convert_to_tensor(y_pred)
            weights, is_wrong = _looked_at(self.output, y_true, y_pred, sample_weight)
            values = self.values(y_true, y_pred)
            values = tf.where(is_wrong, tf.constant(float("nan"), values.dtype), values)
        if weights is not None:  # What labels of weight 0 are does not matter: even NaN.
            values = tf.where(tf.equal(weights, 0.0), tf.zeros_like(values), values)
        super().update_state(values, weights)

    def get_config(self) -> dict[str, Any]:
        output = keras.saving.serialize_keras_object(self.output)
        return {**super().get_config(), "output": output}


@keras.saving.register_keras_serializable("ecl_tf", "NegativeLogLikelihoodMetric")
class NegativeLogLikelihood(_PerExampleMean):
    """Mean of -log p(y | x) in nats: a proper score of the whole distribution.

    Args:
        output: an `ecl_tf.outputs.Output`, or a name such as "categorical".
        name: of the metric in logs; "nll" by default.
        dtype: of its state; Keras's own default.

    Example:
    >>> metric = NegativeLogLikelihood(outputs.Normal(1))
    >>> metric.update_state([[0.0]], [[0.0, 0.5407]])  # stddev 1
    >>> round(float(metric.result()), 2)  # ln(2 pi) / 2
    0.92

    Reference: Gneiting and Raftery, "Strictly Proper Scoring Rules", 2007, section 4.
    """

    _direction = "down"  # Where callbacks with mode="auto" look.

    def __init__(self, output: outputs.Output | str, name: str = "nll", dtype: Any = None):
        super().__init__(output, name, dtype)

    def values(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        if isinstance(self.output, outputs.Joint):
            for name, each in self.output.outputs.items():
                probabilities.require_no_activation(each, y_pred[name], type(self).__name__)
            weights = positions.by_row(y_pred)
            return self.output.negative_log_likelihood(self.output(y_pred), y_true, weights)
        y_pred = probabilities.checked(self.output, y_pred, type(self).__name__)
        return self.output.negative_log_likelihoods(self.output(y_pred), y_true)


@keras.saving.register_keras_serializable("ecl_tf")
class Coverage(_PerExampleMean):
    """The share of targets inside the central interval of the predicted distribution.

    The interval leaves (1 - level) / 2 of the probability to each side, at most, for each target
    dimension by itself. A calibrated network covers exactly `level`; of counts, whose intervals
    end at whole numbers, `level` or more.

    Args:
        output: an `ecl_tf.outputs` of numbers, such as `Normal` or `StudentT`.
        level: the nominal share, between 0 and 1; 0.95 by default.
        name: of the metric in logs; "coverage" by default.
        dtype: of its state; Keras's own default.

    Raises:
        ValueError: if `level` is not between 0 and 1, or the output is not of numbers.

    Example:
    >>> metric = Coverage(outputs.Poisson(1, target_mean=4.0))
    >>> metric.update_state([[0.0], [1.0]], [[0.5408], [0.5408]])  # The rate is 4: 1 to 8.
    >>> float(metric.result())
    0.5
    """

    def __init__(
        self,
        output: outputs.Output,
        level: float = 0.95,
        name: str = "coverage",
        dtype: Any = None,
    ):
        super().__init__(output, name, dtype)
        self._require_output()
        if not 0.0 < require.number(f"{type(self).__name__}'s level", level) < 1.0:
            raise ValueError(
                f"{type(self).__name__}'s level must be between 0 and 1; got {level!r}."
            )
        self.level = float(level)

    def _require_output(self):
        if not isinstance(self.output, outputs.Numeric):
            raise ValueError(
                f"Coverage needs an output of numbers, such as ecl_tf.outputs.Normal; got "
                f"{self.output!r}."
            )

    def values(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        at_most, at_least = self.output.tails(self.output(y_pred), y_true)
        return _share(tf.minimum(at_most, at_least) >= 0.5 * (1.0 - self.level), y_pred)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "level": self.level}


@keras.saving.register_keras_serializable("ecl_tf")
class GaussianCoverage(Coverage):
    """The share of targets inside the central interval of the predicted Gaussian.

    The interval is mean +- z * stddev, z = Phi^-1((1 + level) / 2), for each target
    dimension by itself. A calibrated network covers exactly `level`. It is `Coverage` for
    Gaussians.

    Args:
        output: an `ecl_tf.outputs.Normal` or `Point`.
        level: the nominal share, between 0 and 1; 0.95 by default.
        name: of the metric in logs; "coverage" by default.
        dtype: of its state; Keras's own default.

    Raises:
        ValueError: if `level` is not between 0 and 1, or the output is not normal.

    Example:
    >>> metric = GaussianCoverage(outputs.Point(1, stddev=1.0))
    >>> metric.update_state([[1.9], [2.0]], [[0.0], [0.0]])  # z is 1.96.
    >>> float(metric.result())
    0.5
    """

    def _require_output(self):
        _require_normal(self)

    def values(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        distribution = self.output(y_pred)
        mean, stddev = distribution.mean(), distribution.stddev()
        y_true = tf.reshape(tf.cast(y_true, tf.float32), tf.shape(mean))
        z = tf.math.ndtri(0.5 * (1.0 + self.level))
        return _share(tf.abs(y_true - mean) <= z * stddev, y_pred)


@keras.saving.register_keras_serializable("ecl_tf")
class AngularError(_PerExampleMean):
    """The mean angle between predicted and true directions, in degrees.

    One target dimension is an angle in the plane, in radians; the error is the
    shorter way round the circle. Two are pitch and yaw in radians (gaze), which stand
    for the unit vector (-cos p sin y, -sin p, -cos p cos y); the error is the angle
    between the vectors, by atan2(|a x b|, a . b): the arc cosine of a rounded dot
    product is NaN for some identical vectors.

    Args:
        output: an `ecl_tf.outputs.Normal` or `Point` with event size 1 or 2, in radians.
        name: of the metric in logs; "angular_error" by default.
        dtype: of its state; Keras's own default.

    Raises:
        ValueError: if the output is not normal or has another event size.

    Example:
    >>> metric = AngularError(outputs.Normal(1))
    >>> metric.update_state([[math.pi - 0.01]], [[-math.pi + 0.01, 0.0]])
    >>> round(float(metric.result()), 3)  # 0.02 radians
    1.146
    """

    uses_spread = False
    _direction = "down"

    def __init__(self, output: outputs.Output, name: str = "angular_error", dtype: Any = None):
        super().__init__(output, name, dtype)
        _require_normal(self)
        if self.output.size not in (1, 2):
            raise ValueError(
                "AngularError takes one angle or (pitch, yaw), so an event size of 1 or 2; "
                f"got {self.output!r}."
            )

    def values(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        predicted = self.output.prediction(y_pred)
        y_true = tf.reshape(tf.cast(y_true, tf.float32), tf.shape(predicted))
        if self.output.size == 1:
            difference = (predicted - y_true)[..., 0]
            angle = tf.abs(tf.atan2(tf.sin(difference), tf.cos(difference)))
        else:
            a, b = _gaze_vector(predicted), _gaze_vector(y_true)
            angle = tf.atan2(tf.norm(tf.linalg.cross(a, b), axis=-1), tf.reduce_sum(a * b, -1))
        return angle * (180.0 / math.pi)


@keras.saving.register_keras_serializable("ecl_tf")
class ExpectedCalibrationError(keras.metrics.Metric):
    """Expected calibration error of the predicted class, sum_b n_b/n |acc_b - conf_b|.

    Examples are sorted into equally wide bins of confidence, the largest predicted
    probability. 0 is calibrated; 0.1 says that confidence is off by 10 points.

    Args:
        bins: the number of bins; 15 by default.
        name: of the metric in logs; "ece" by default.
        dtype: of its state; Keras's own default.
        output: the categorical `ecl_tf.outputs.Output` of the raw outputs. None, the default,
            is "categorical", and in `Distiller.compile` the output of its student. Give it in
            plain `compile` for raw outputs with a temperature, such as a calibrated teacher's.

    Call it with class indices (or one-hot rows) and raw outputs.

    Raises:
        ValueError: if `bins` < 1, or the output is not categorical.

    Example:
    >>> metric = ExpectedCalibrationError()
    >>> metric.update_state([0, 1], [[0.0, math.log(3)], [0.0, math.log(3)]])
    >>> round(float(metric.result()), 2)  # Half are right, with a confidence of 3/4.
    0.25

    Reference: Guo et al., "On Calibration of Modern Neural Networks", 2017, equation 3.
    """

    families = ("categorical",)
    _direction = "down"

    def __init__(
        self,
        bins: int = 15,
        name: str = "ece",
        dtype: Any = None,
        output: outputs.Output | str | None = None,
    ):
        """Takes the arguments that the class describes."""
        super().__init__(name=name, dtype=dtype)
        self.bins = require.whole("bins", bins, 1)
        self.output: Any = None if output is None else outputs.get(output)
        if self.output and self.output.family not in self.families:
            raise ValueError(
                f"ExpectedCalibrationError needs an ecl_tf.outputs.Categorical; got {output!r}."
            )
        self.takes_raw_output, self.takes_logits = self.output is not None, self.output is None
        # Of every bin: the weight of its examples, of the right ones, and the sum of
        # their confidences.
        self.totals = self.add_variable((3, bins), "zeros", "float32", name="totals")

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        output = self.output or outputs.Categorical()
        y_pred = tf.convert_to_tensor(y_pred)
        weights, is_wrong = _looked_at(output, y_true, y_pred, sample_weight)
        logits = output.logits(probabilities.checked(output, y_pred, type(self).__name__))
        y_true = tf.convert_to_tensor(y_true)
        if outputs.is_one_hot(y_true, logits):
            y_true = tf.argmax(y_true, -1)
        confidence = tf.reshape(tf.reduce_max(tf.nn.softmax(logits), -1), [-1])
        predicted = tf.reshape(tf.argmax(logits, -1), [-1])
        right = tf.equal(predicted, tf.reshape(tf.cast(y_true, tf.int64), [-1]))
        # Bins are (lower, upper], as in the reference.
        index = tf.cast(tf.math.ceil(confidence * self.bins), tf.int32) - 1
        member = tf.one_hot(tf.clip_by_value(index, 0, self.bins - 1), self.bins)
        if weights is not None:
            member *= tf.reshape(weights, [-1, 1])
            is_wrong &= tf.not_equal(weights, 0.0)
        rows = tf.stack([tf.ones_like(confidence), tf.cast(right, tf.float32), confidence])
        nan_if_wrong = tf.where(tf.reduce_any(is_wrong), float("nan"), 0.0)
        self.totals.assign_add(tf.matmul(rows, member) + nan_if_wrong)

    def result(self) -> tf.Tensor:
        count, right, confidence = tf.unstack(tf.convert_to_tensor(self.totals))
        return tf.math.divide_no_nan(
            tf.reduce_sum(tf.abs(right - confidence)), tf.reduce_sum(count)
        )

    def get_config(self) -> dict[str, Any]:
        output = self.output and keras.saving.serialize_keras_object(self.output)
        return {**super().get_config(), "bins": self.bins, "output": output}


def _share(inside, y_pred):
    """The share of a position's targets that are inside; NaN where an answer is, as of others."""
    answered = 0.0 * tf.reduce_sum(tf.cast(y_pred, tf.float32), -1)
    return tf.reduce_mean(tf.cast(inside, tf.float32), -1) + answered


def _require_labels(output, y_true, y_pred, sample_weight):
    """Refuses labels that are none, where a metric is used by hand: trainings look at them before.

    Beside weights nothing is looked at, as labels of the weight 0 may be anything.
    """
    if not tf.executing_eagerly() or sample_weight is not None:
        return
    for name, (own, labels, raw) in outputs.parts_of(output, y_true, y_pred).items():
        if labels is not None:
            labels = tf.convert_to_tensor(labels)
            if labels.dtype.is_floating:  # NumPy does not know bfloat16.
                labels = tf.cast(labels, tf.float32)
            own.require_labels(labels, np.shape(raw), name)


def _looked_at(output, y_true, y_pred, sample_weight):
    """What each position counts, or None if all count alike, and whether its label is none.

    Both have the shape (batch, positions...). A training ends at a label that is none; in a graph
    it could pass for a wrong answer.
    """
    mask = positions.masks(y_pred)
    _require_labels(output, y_true, y_pred, mask if sample_weight is None else sample_weight)
    y_true = tf.convert_to_tensor(y_true)
    is_wrong = output.invalid(y_true, y_pred)
    if is_wrong.shape.rank == y_pred.shape.rank:
        is_wrong = tf.reduce_any(is_wrong, -1)
    shape = tf.shape(y_pred)[:-1]
    weights = None
    for factor in (mask, output.known(y_true, y_pred), sample_weight):
        if factor is not None:
            factor = positions.expand(factor, y_pred.shape[:-1], "sample_weight")
            weights = tf.broadcast_to(factor, shape) * (1.0 if weights is None else weights)
    return weights, tf.reshape(is_wrong, shape)


def _require_normal(metric):
    if metric.output.family != "normal":
        raise ValueError(
            f"{type(metric).__name__} needs an ecl_tf.outputs.Normal (or Point); got "
            f"{metric.output!r}."
        )


def _gaze_vector(angles):
    pitch, yaw = tf.unstack(angles, axis=-1)
    horizontal = tf.cos(pitch)
    return tf.stack([-horizontal * tf.sin(yaw), -tf.sin(pitch), -horizontal * tf.cos(yaw)], -1)
