"""Yes/no labels, independent of each other."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import distributions as tfd
from ecl_tf.divergences import Distribution
from ecl_tf.outputs.output import (
    Logits,
    Uncertainty,
    float32,
    per_example,
    require_same_shape,
    stack,
)

_LIMITS = np.finfo(np.float32)


@keras.saving.register_keras_serializable("ecl_tf")
class Bernoulli(Logits):
    """K independent yes/no labels: raw logits (..., K) give p_k = sigmoid(logits_k).

    The event is the row of K labels. An ensemble is the mean of its members'
    probabilities, label by label, in log space. Labels are 0/1 rows (..., K).

    Args:
        temperature: T > 0 that the raw tensor is divided by: p_k = sigmoid(logits_k / T). 1 by
            default; of a teacher, T is what `ecl_tf.calibrated` fits, such as 1.5.
        ignore_class: a label that says that it is unknown, such as -1. It counts neither in the
            label loss nor in metrics. None, the default, for none.

    Raises:
        ValueError: if the temperature is not a positive number, or `ignore_class` not whole.

    Example:
    >>> output = Bernoulli()
    >>> float(output([[0.0, 0.0]]).prob([[1.0, 0.0]])[0])
    0.25
    """

    family = "bernoulli"
    makes_probabilities = "sigmoid"

    def _distribution(self, logits):
        return tfd.Independent(tfd.Bernoulli(logits=logits), 1)

    def validate(self, shape: Sequence[int | None], network: str) -> None:
        if len(shape) < 2:
            raise ValueError(
                f"The output of the {network} has shape {tuple(shape)}; a Bernoulli output "
                "needs one logit per label, (batch, labels)."
            )

    def combine(self, raws: Sequence[tf.Tensor]) -> Distribution:
        logits = self.logits(stack(raws))
        yes = tf.reduce_logsumexp(tf.math.log_sigmoid(logits), 0)
        no = tf.reduce_logsumexp(tf.math.log_sigmoid(-logits), 0)
        return self._distribution(yes - no)

    def uncertainty(self, raws: Sequence[tf.Tensor]) -> Uncertainty:
        entropy = self(stack(raws)).distribution.entropy()
        aleatoric = tf.reduce_mean(entropy, 0)
        total = self.combine(raws).distribution.entropy()
        return Uncertainty(
            tf.reduce_sum(aleatoric, -1),
            tf.reduce_sum(tf.maximum(total - aleatoric, 0.0), -1),
        )

    def raw(self, distribution: Distribution) -> tf.Tensor:
        return distribution.distribution.logits_parameter() * self.temperature

    def negative_log_likelihoods(self, distribution: Distribution, labels: tf.Tensor) -> tf.Tensor:
        # From logits for any labels in [0, 1]: finite where probabilities round to 0.
        logits = distribution.distribution.logits_parameter()
        labels = tf.reshape(tf.convert_to_tensor(labels), tf.shape(logits))
        loss = tf.nn.sigmoid_cross_entropy_with_logits(float32(labels), logits)
        loss = tf.where(self.invalid(labels, logits), tf.constant(float("nan"), loss.dtype), loss)
        if self.ignore_class is not None:
            loss = tf.where(self.is_ignored(labels), tf.zeros_like(loss), loss)
        return tf.reduce_sum(loss, -1)

    def known(self, labels: tf.Tensor, raw: tf.Tensor) -> Any:
        known = self.known_labels(labels, raw)
        return None if known is None else tf.reduce_max(known, -1)

    def known_labels(self, labels: tf.Tensor, raw: tf.Tensor) -> Any:
        """Returns 1 for known labels and 0 for others, as `raw` is shaped; None if all are known.

        A position may have known and unknown labels; `known` says whether it has a known one.

        Args:
            labels: labels of the batch.
            raw: raw outputs for it.
        """
        if self.ignore_class is None:
            return None
        return float32(~self.is_ignored(tf.reshape(tf.convert_to_tensor(labels), tf.shape(raw))))

    def invalid(self, labels: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        share = float32(labels)
        is_label = (share >= 0.0) & (share <= 1.0)
        if self.ignore_class is not None:
            is_label |= self.is_ignored(tf.convert_to_tensor(labels))
        return ~is_label

    def validate_labels(self, shape: Sequence[int | None], raw_shape: Sequence[int | None]) -> None:
        require_same_shape(shape, raw_shape)

    def expected_labels(self, raw_shape: Sequence[int | None]) -> str:
        if self.ignore_class is not None:
            return f"numbers in [0, 1], or {self.ignore_class} for unknown"
        return (
            "numbers in [0, 1]. If another one stands for unknown labels, name it: "
            "output=ecl_tf.outputs.Bernoulli(ignore_class=-1)"
        )

    def compare(
        self, teacher: Distribution, student: Distribution, weights: Any = None
    ) -> dict[str, tf.Tensor]:
        same = tf.equal(self.raw(teacher) > 0.0, self.raw(student) > 0.0)
        return {"agreement": per_example(tf.reduce_mean(float32(same), -1), weights)}

    def prediction(self, raw: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(self.logits(raw))

    def parameters(self, distribution: Distribution) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.sigmoid(distribution.distribution.logits_parameter())}

    def from_parameters(self, parameters: dict[str, tf.Tensor]) -> Distribution:
        # Those that were rounded to 0 or 1 would say that a label is impossible.
        probabilities = tf.clip_by_value(
            float32(parameters["probabilities"]), _LIMITS.tiny, 1.0 - _LIMITS.epsneg
        )
        return self._distribution(tf.math.log(probabilities) - tf.math.log1p(-probabilities))
