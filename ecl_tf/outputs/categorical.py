"""One of K classes."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import distributions as tfd
from ecl_tf._internal import require
from ecl_tf.divergences import Distribution
from ecl_tf.outputs.output import (
    Logits,
    Uncertainty,
    fits,
    float32,
    in_words,
    is_one_hot,
    per_example,
    stack,
)

# The logarithm of the probability of classes that a teacher does not know: its exponential is 0,
# and float16 has it.
UNKNOWN = -1e4


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
            do. Of one-hot rows, a row of zeros says it, or one with half or more of that class.
            None, the default, for none.
        known_classes: of a teacher, the indices of the classes that it knows, at least two; None,
            the default, for all. All others have probability 0, and a student is compared with it
            given that the class is a known one: D(p, q) is taken of p and of q(k) / sum_j q(j),
            with j and k among the known ones. So the student is free to give any share to the
            others. For the teacher itself labels of other classes are unknown.

    Raises:
        ValueError: if the temperature is not a positive number, `ignore_class` not whole, or
            `known_classes` no two or more different indices.

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

    def __init__(
        self,
        temperature: float = 1.0,
        ignore_class: int | None = None,
        known_classes: Sequence[int] | None = None,
    ):
        super().__init__(temperature, ignore_class)
        if known_classes is not None:
            known_classes = [
                require.whole("Each of known_classes", each, 0) for each in known_classes
            ]
            if len(known_classes) < 2 or len(set(known_classes)) < len(known_classes):
                raise ValueError(
                    "known_classes are the indices of at least two different classes; got "
                    f"{known_classes}."
                )
        self.known_classes = known_classes

    def logits(self, raw: tf.Tensor) -> tf.Tensor:
        logits = super().logits(raw)
        if self.known_classes is None:
            return logits
        known = np.isin(np.arange(logits.shape[-1]), self.known_classes)
        total = tf.reduce_logsumexp(tf.where(known, logits, logits.dtype.min), -1, keepdims=True)
        return tf.where(known, logits - total, UNKNOWN)

    def _distribution(self, logits):
        distribution = tfd.Categorical(logits=logits)
        distribution.known_classes = self.known_classes
        return distribution

    def _compared(self, teacher, student, divergence):
        return *_given_known(teacher, student), divergence

    def softened(self, distribution: Distribution, temperature: float | tf.Tensor) -> Distribution:
        return self._distribution(distribution.logits_parameter() / temperature)

    def validate(self, shape: Sequence[int | None], network: str) -> None:
        if len(shape) < 2 or (shape[-1] is not None and shape[-1] < 2):
            raise ValueError(
                f"The output of the {network} has shape {tuple(shape)}; a categorical "
                "output needs one logit per class, (batch, classes) with at least 2 "
                "classes. For a single yes/no logit use output='bernoulli'."
            )
        last = max(self.known_classes or [0])
        if shape[-1] is not None and last >= shape[-1]:
            raise ValueError(
                f"known_classes holds {last}, and the {network} has the classes 0 to "
                f"{shape[-1] - 1}."
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
        known, invalid = self.known(labels, logits), self.invalid(labels, logits)
        if is_one_hot(labels, logits):
            loss = tf.nn.softmax_cross_entropy_with_logits(float32(labels), logits)
            loss = tf.where(tf.reduce_any(invalid, -1), nan, loss)
            return loss if known is None else tf.math.multiply_no_nan(loss, known)
        shape = tf.shape(logits)[:-1]
        invalid = tf.reshape(invalid, shape)
        classes = tf.reshape(tf.cast(labels, tf.int64), shape)
        # TensorFlow refuses other classes on processors, and answers NaN elsewhere.
        classes = tf.clip_by_value(classes, 0, tf.shape(logits, tf.int64)[-1] - 1)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
        loss = tf.where(invalid, nan, loss)
        return loss if known is None else tf.math.multiply_no_nan(loss, known)

    def known(self, labels: tf.Tensor, raw: tf.Tensor) -> Any:
        if self.ignore_class is None and self.known_classes is None:
            return None
        if is_one_hot(labels, raw):
            share, ignored = float32(labels), self.ignore_class
            if ignored in range(share.shape[-1]):
                share *= float32(share[..., ignored, None] < 0.5)
            if self.known_classes is not None:
                share = tf.gather(share, self.known_classes, axis=-1)
            return float32(tf.reduce_sum(share, -1) > 0.99)
        labels = tf.reshape(tf.convert_to_tensor(labels), tf.shape(raw)[:-1])
        known = tf.ones_like(labels, tf.bool)
        if self.ignore_class is not None:
            known &= ~self.is_ignored(labels)
        if self.known_classes is not None:
            exact = tf.cast(labels, tf.float64)[..., None]
            known &= tf.reduce_any(tf.equal(exact, tf.cast(self.known_classes, tf.float64)), -1)
        return float32(known)

    def invalid(self, labels: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        labels = tf.convert_to_tensor(labels)
        if is_one_hot(labels, raw):
            share = float32(labels)
            total = tf.reduce_sum(share, -1, keepdims=True)
            is_row = tf.abs(total - 1.0) < 0.01
            if self.ignore_class is not None:
                is_row |= total == 0.0
            return ~(tf.math.is_finite(share) & (share >= 0.0) & is_row)
        exact = tf.cast(labels, tf.float64)
        is_class = (exact >= 0.0) & (exact < tf.cast(tf.shape(raw)[-1], tf.float64))
        is_class &= exact == tf.floor(exact)
        if self.ignore_class is not None:
            is_class |= self.is_ignored(labels)
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
        zeros = "" if self.ignore_class is None else ", or to 0 for unknown"
        remedy = "Count classes from 0"
        if self.ignore_class is None:
            remedy += (
                ", or name the label of unknown ones, such as -1 or 255: output="
                "ecl_tf.outputs.Categorical(ignore_class=-1)"
            )
        return (
            f"class indices from 0 to {classes - 1}{ignored}, or rows of {classes} "
            f"shares that sum to 1{zeros}. {remedy}"
        )

    def _in_words(self, labels, is_wrong, raw):
        if not is_one_hot(labels, raw):
            return super()._in_words(labels, is_wrong, raw)
        place = np.argwhere(is_wrong)[0][:-1]
        row = labels[tuple(place)]
        return (
            f"the row at {place.tolist()} is {in_words(row, 10)}, which adds up to "
            f"{row.sum(dtype='float64'):g}. If rows may have several labels, each of them yes or "
            "no, give output='bernoulli'"
        )

    def compare(
        self, teacher: Distribution, student: Distribution, weights: Any = None
    ) -> dict[str, tf.Tensor]:
        teacher, student = _given_known(teacher, student)
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

    def get_config(self) -> dict[str, Any]:
        # What is not said is left out, as by versions that did not know of it.
        known = {} if self.known_classes is None else {"known_classes": self.known_classes}
        return {**super().get_config(), **known}


def _given_known(teacher, student):
    """Both distributions given that the class is one that the teacher knows."""
    known = getattr(teacher, "known_classes", None)
    if known is None:
        return teacher, student
    logits = (tf.gather(each.logits_parameter(), known, axis=-1) for each in (teacher, student))
    return tuple(tfd.Categorical(logits=each) for each in logits)
