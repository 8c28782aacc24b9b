"""Yes/no labels, independent of each other."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from ecl_tf.divergences import Distribution
from ecl_tf.outputs.output import Logits, Uncertainty, float32, per_example, stack

_LIMITS = np.finfo(np.float32)


@keras.saving.register_keras_serializable("ecl_tf")
class Bernoulli(Logits):
    """K independent yes/no labels: raw logits (..., K) give p_k = sigmoid(logits_k).

    The event is the row of K labels. An ensemble is the mean of its members'
    probabilities, label by label, in log space. Labels are 0/1 rows (..., K).

    Args:
        temperature: T > 0 that the raw tensor is divided by: p_k = sigmoid(logits_k / T). 1 by
            default; of a teacher, T is what `ecl_tf.calibrated` fits, such as 1.5.

    Raises:
        ValueError: if the temperature is not a positive number.

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

    def negative_log_likelihood(self, distribution: Distribution, labels: tf.Tensor) -> tf.Tensor:
        # From logits for any labels in [0, 1]: finite where probabilities round to 0.
        logits = distribution.distribution.logits_parameter()
        labels = tf.reshape(float32(labels), tf.shape(logits))
        loss = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
        return per_example(tf.reduce_sum(loss, -1))

    def compare(self, teacher: Distribution, student: Distribution) -> dict[str, tf.Tensor]:
        same = tf.equal(self.raw(teacher) > 0.0, self.raw(student) > 0.0)
        return {"agreement": per_example(float32(same))}

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
