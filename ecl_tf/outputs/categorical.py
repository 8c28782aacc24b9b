"""One of K classes."""

import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from ecl_tf.divergences import Distribution
from ecl_tf.outputs.output import Logits, Uncertainty, float32, is_one_hot, per_example, stack


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

    Raises:
        ValueError: if the temperature is not a positive number.

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

    def negative_log_likelihood(self, distribution: Distribution, labels: tf.Tensor) -> tf.Tensor:
        logits = distribution.logits_parameter()
        if is_one_hot(labels, logits):
            loss = tf.nn.softmax_cross_entropy_with_logits(float32(labels), logits)
        else:
            labels = tf.reshape(tf.cast(labels, tf.int64), tf.shape(logits)[:-1])
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return per_example(loss)

    def compare(self, teacher: Distribution, student: Distribution) -> dict[str, tf.Tensor]:
        same = tf.equal(
            tf.argmax(teacher.logits_parameter(), -1),
            tf.argmax(student.logits_parameter(), -1),
        )
        return {"agreement": per_example(float32(same))}

    def prediction(self, raw: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(self.logits(raw))

    def parameters(self, distribution: Distribution) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.nn.softmax(distribution.logits_parameter())}

    def from_parameters(self, parameters: dict[str, tf.Tensor]) -> Distribution:
        # Those that were rounded to 0 would say that a class is impossible.
        probabilities = tf.maximum(float32(parameters["probabilities"]), np.finfo(np.float32).tiny)
        return self._distribution(tf.math.log(probabilities))
