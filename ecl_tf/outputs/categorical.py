"""One of K classes."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from ecl_tf.divergences import Distribution
from ecl_tf.outputs.output import (
    Logits,
    Uncertainty,
    fits,
    float32,
    is_one_hot,
    per_example,
    stack,
)


@keras.saving.register_keras_serializable("ecl_tf")
class Categorical(Logits):
    """One of K classes: raw logits (..., K) give p(k) = softmax(logits)_k.

    An ensemble is the mean of its members' *probabilities*, taken in log space,
    log p(k) = logsumexp_m log p_m(k) - log M. (The mean of the logits is another,
    sharper distribution.) Labels are class indices (...,), or (soft) one-hot
    rows (..., K).

    Args:
        temperature: T > 0 that the raw tensor is divided by: p = softmax(logits / T). 1 by
            default; of a teacher, T is what `ecl_tf.calibrated` fits, such as 1.5. It is not
            the temperature that `divergence` is given, which tempers teacher and student.
        ignore_class: a class index that says that a label is unknown, such as 255 or -1. Such
            labels count neither in the label loss nor in metrics; the teacher's answers there
            do. None, the default, for none.

    Raises:
        ValueError: if the temperature is not a positive number, or `ignore_class` not whole.

    Example:
    >>> import numpy as np
    >>> output = Categorical()
    >>> print(output(np.log([[0.25, 0.75]])).probs_parameter().numpy().round(4))
    [[0.25 0.75]]

    Reference: tempering and its T^2 factor are Hinton, Vinyals and Dean,
    "Distilling the Knowledge in a Neural Network", 2015, section 2.
    """

    family = "categorical"
    takes_temperature = True
    makes_probabilities = "softmax"

    def _distribution(self, logits):
        return tfd.Categorical(logits=logits)

    def softened(self, distribution: Distribution, temperature: float | tf.Tensor) -> Distribution:
        return self._distribution(distribution.logits_parameter() / temperature)

    def validate(self, shape: Sequence[int | None], network: str) -> None:
        if len(shape) < 2 or (shape[-1] is not None and shape[-1] < 2):
            raise ValueError(
                f"The output of the {network} has shape {tuple(shape)}; a categorical "
                "output needs one logit per class, (batch, classes) with at least 2 "
                "classes. For a single yes/no logit use output='bernoulli'."
            )

    def combine(self, raws: Sequence[tf.Tensor]) -> Distribution:
        if len(raws) == 1:
            return self(raws[0])
        log_probabilities = tf.nn.log_softmax(self.logits(stack(raws)), axis=-1)
        return self._distribution(tf.reduce_logsumexp(log_probabilities, 0) - math.log(len(raws)))

    def uncertainty(self, raws: Sequence[tf.Tensor]) -> Uncertainty:
        aleatoric = tf.reduce_mean(self(stack(raws)).entropy(), 0)
        total = self.combine(raws).entropy()
        return Uncertainty(aleatoric, tf.maximum(total - aleatoric, 0.0))

    def raw(self, distribution: Distribution) -> tf.Tensor:
        return distribution.logits_parameter() * self.temperature

    def negative_log_likelihoods(self, distribution: Distribution, labels: tf.Tensor) -> tf.Tensor:
        logits = distribution.logits_parameter()
        nan = tf.constant(float("nan"), logits.dtype)
        invalid = self.invalid(labels, logits)
        if is_one_hot(labels, logits):
            loss = tf.nn.softmax_cross_entropy_with_logits(float32(labels), logits)
            return tf.where(tf.reduce_any(invalid, -1), nan, loss)
        shape = tf.shape(logits)[:-1]
        known, invalid = self.known(labels, logits), tf.reshape(invalid, shape)
        classes = tf.reshape(tf.cast(labels, tf.int64), shape)
        # TensorFlow refuses other classes on processors, and answers NaN elsewhere.
        classes = tf.clip_by_value(classes, 0, tf.shape(logits, tf.int64)[-1] - 1)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
        loss = tf.where(invalid, nan, loss)
        return loss if known is None else tf.math.multiply_no_nan(loss, known)

    def known(self, labels: tf.Tensor, raw: tf.Tensor) -> Any:
        if self.ignore_class is None or is_one_hot(labels, raw):
            return None
        labels = tf.reshape(tf.convert_to_tensor(labels), tf.shape(raw)[:-1])
        return float32(~self._is_ignored(labels))

    def invalid(self, labels: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        labels = tf.convert_to_tensor(labels)
        if is_one_hot(labels, raw):
            share = float32(labels)
            off = tf.abs(tf.reduce_sum(share, -1, keepdims=True) - 1.0)
            return ~(tf.math.is_finite(share) & (share >= 0.0) & (off < 0.01))
        exact = tf.cast(labels, tf.float64)
        is_class = (exact >= 0.0) & (exact < tf.cast(tf.shape(raw)[-1], tf.float64))
        is_class &= exact == tf.floor(exact)
        if self.ignore_class is not None:
            is_class |= self._is_ignored(labels)
        return ~is_class

    def validate_labels(self, shape: Sequence[int | None], raw_shape: Sequence[int | None]) -> None:
        shape, positions, classes = tuple(shape), tuple(raw_shape[:-1]), raw_shape[-1]
        last = (1, classes) if len(shape) == len(raw_shape) else ()
        if last and shape[-1] is None:
            raise ValueError(
                f"The labels have shape {shape}, whose last size is unknown: are they class "
                f"indices, or rows of {classes} shares? Say it in the data, for example by "
                f"dataset.map(lambda x, y: (x, tf.ensure_shape(y, {(*positions, classes)})))."
            )
        fit = len(shape) - len(last[:1]) == len(positions) and fits(shape, positions)
        if not fit or (last and shape[-1] not in last):
            raise ValueError(
                f"The labels have shape {shape}, and the student's output {tuple(raw_shape)}. Give "
                f"class indices of shape {positions}, or rows of {classes} shares of shape "
                f"{(*positions, classes)}."
            )

    def expected_labels(self, raw_shape: Sequence[int | None]) -> str:
        classes = raw_shape[-1] or 0
        ignored = "" if self.ignore_class is None else f", or {self.ignore_class} for unknown"
        remedy = "Count classes from 0"
        if self.ignore_class is None:
            remedy += (
                ", or name the label of unknown ones: output=ecl_tf.outputs.Categorical("
                "ignore_class=255)"
            )
        return (
            f"class indices from 0 to {classes - 1}{ignored}, or rows of {classes} "
            f"shares that sum to 1. {remedy}"
        )

    def compare(
        self, teacher: Distribution, student: Distribution, weights: Any = None
    ) -> dict[str, tf.Tensor]:
        same = tf.equal(
            tf.argmax(teacher.logits_parameter(), -1),
            tf.argmax(student.logits_parameter(), -1),
        )
        return {"agreement": per_example(float32(same), weights)}

    def prediction(self, raw: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(self.logits(raw))

    def parameters(self, distribution: Distribution) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.nn.softmax(distribution.logits_parameter())}

    def from_parameters(self, parameters: dict[str, tf.Tensor]) -> Distribution:
        # Those that were rounded to 0 would say that a class is impossible.
        probabilities = tf.maximum(float32(parameters["probabilities"]), np.finfo(np.float32).tiny)
        return self._distribution(tf.math.log(probabilities))
