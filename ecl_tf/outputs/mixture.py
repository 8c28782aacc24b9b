"""Real numbers with several likely values."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import distributions as tfd
from ecl_tf._internal import require
from ecl_tf.divergences import Distribution
from ecl_tf.outputs.numeric import Numeric, inverse_softplus
from ecl_tf.outputs.output import Uncertainty, float32


@keras.saving.register_keras_serializable("ecl_tf")
class NormalMixture(Numeric):
    """A mixture of K diagonal Gaussians over d dimensions, for targets with several likely values.

    The raw tensor (..., K + 2Kd) is K logits of the components' weights, then their means (K
    times d of them), then their scales: weights = softmax(logits), and means and standard
    deviations as in `Normal`.

    An ensemble is the mixture of the components of all its M members, M K of them, each with 1 / M
    of its weight: nothing is lost. A student with K components learns from it. The parts of its
    `Uncertainty` are the mean of the members' variances, and the variance of their means. The KL
    (Kullback-Leibler) divergence has no closed form: it is taken at fixed points of each of the
    teacher's components (see `ecl_tf.divergences`).

    Args:
        event_size: d, the number of target dimensions, such as 1.
        components: K; 3 by default, typically 2 to 10.
        min_scale: the smallest standard deviation of a component, in units of `target_stddev`;
            0.001 by default. Choose it well below the noise of the labels.
        target_mean: a number or one per dimension, in the target's units; 0 by default.
        target_stddev: the same, positive; 1 by default.
        temperature: T > 0 that the variance is multiplied by: components move away from the
            mixture's mean, and widen, by sqrt(T). 1 by default.

    Raises:
        ValueError: if `components` < 1, or an argument is out of its range as in `Normal`.

    Example:
    >>> output = NormalMixture(1, components=2)
    >>> either = output([[0.0, 0.0, -3.0, 3.0, -9.0, -9.0]])  # -3 or 3
    >>> print(either.mean().numpy(), either.stddev().numpy().round(3))
    [[0.]] [[3.]]

    Reference: Bishop, "Mixture Density Networks", 1994.
    """

    family = "normal_mixture"
    parameter_names = ("means", "stddevs", "weights")

    def __init__(
        self,
        event_size: int,
        components: int = 3,
        min_scale: float = 1e-3,
        target_mean: float | Sequence[float] = 0.0,
        target_stddev: float | Sequence[float] = 1.0,
        temperature: float = 1.0,
    ):
        """Takes the arguments that the class describes."""
        super().__init__(event_size, min_scale, target_mean, target_stddev, temperature)
        self.components = require.whole("components", components, 1)

    @property
    def made_positive(self) -> dict[str, slice]:
        return {"scales": slice(self.components * (1 + self.size), None)}

    def raw_size(self, event_size: int) -> int:
        return self.components * (1 + 2 * event_size)

    def validate(self, shape: Sequence[int | None], network: str) -> None:
        size = self.raw_size(self.size)
        if len(shape) < 2 or shape[-1] != size:
            count = self.components
            raise ValueError(
                f"The output of the {network} has shape {tuple(shape)}; NormalMixture"
                f"(event_size={self.size}, components={count}) needs a last dimension of {size}: "
                f"{count} logits of weights, then {count * self.size} mean(s), then as many "
                "unconstrained scales."
            )

    def fits_raw(self, shape: Sequence[int | None], event_size: int) -> bool:
        # Of an ensemble it holds the components of all members.
        return shape[-1] is not None and shape[-1] % self.raw_size(event_size) == 0

    def __call__(self, raw: tf.Tensor) -> Distribution:
        return self.combine([raw])

    def combine(self, raws: Sequence[tf.Tensor]) -> Distribution:
        logits, means, stddevs = zip(*map(self._components, raws), strict=True)
        return self._distribution(
            tf.concat([tf.nn.log_softmax(each) for each in logits], -1),
            tf.concat(means, -2),
            tf.concat(stddevs, -2),
        )

    def _components(self, raw):
        """Logits (..., K), means and standard deviations (..., K, d), at temperature 1."""
        raw = float32(raw)
        count = raw.shape[-1] // (1 + 2 * self.size)
        logits, rest = tf.split(raw, [count, 2 * count * self.size], axis=-1)
        shape = tf.concat([tf.shape(rest)[:-1], [2, count, self.size]], 0)
        means, scales = tf.unstack(tf.reshape(rest, shape), axis=-3)
        means.set_shape([*raw.shape[:-1], count, self.size])
        unit = float32(self.target_stddev)
        stddevs = unit * (self.min_scale + tf.nn.softplus(scales))
        return logits, float32(self.target_mean) + unit * means, stddevs

    def _distribution(self, logits, means, stddevs):
        """With all variances, and the variance of the means, times the temperature."""
        means, stddevs = self._stretched(logits, means, stddevs, math.sqrt(self.temperature))
        components = tfd.Independent(tfd.Normal(means, stddevs), 1)
        return tfd.MixtureSameFamily(tfd.Categorical(logits=logits), components)

    def _stretched(self, logits, means, stddevs, factor):
        if factor == 1.0:
            return means, stddevs
        mean = tf.reduce_sum(tf.nn.softmax(logits)[..., None] * means, -2, keepdims=True)
        return mean + factor * (means - mean), factor * stddevs

    def uncertainty(self, raws: Sequence[tf.Tensor]) -> Uncertainty:
        own = type(self).from_config({**self.get_config(), "temperature": 1.0})
        members = [own(raw) for raw in raws]
        aleatoric = tf.reduce_mean([each.variance() for each in members], 0)
        parts = aleatoric, tf.math.reduce_variance([each.mean() for each in members], 0)
        return Uncertainty(*(self.temperature * part for part in parts))

    def raw(self, distribution: Distribution) -> tf.Tensor:
        logits, means, stddevs = _parts_of(distribution)
        factor = 1.0 / math.sqrt(self.temperature)
        means, stddevs = self._stretched(logits, means, stddevs, factor)
        unit = float32(self.target_stddev)
        means = (means - float32(self.target_mean)) / unit
        scales = inverse_softplus(stddevs / unit - self.min_scale)
        shape = tf.concat([tf.shape(logits)[:-1], [logits.shape[-1] * self.size]], 0)
        return tf.concat([logits, tf.reshape(means, shape), tf.reshape(scales, shape)], axis=-1)

    def tails(self, distribution: Distribution, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits, means, stddevs = _parts_of(distribution)
        each = tfd.Normal(means, stddevs)
        labels = self._as_values(distribution, labels)[..., None, :]
        weights = tf.nn.softmax(logits)[..., None]
        return (
            tf.reduce_sum(weights * each.cdf(labels), -2),
            tf.reduce_sum(weights * each.survival_function(labels), -2),
        )

    def parameters(self, distribution: Distribution) -> dict[str, tf.Tensor]:
        logits, means, stddevs = _parts_of(distribution)
        own = {"weights": tf.nn.softmax(logits), "means": means, "stddevs": stddevs}
        return {**super().parameters(distribution), **own}

    def from_parameters(self, parameters: dict[str, tf.Tensor]) -> Distribution:
        # Weights that were rounded to 0 would say that a component is impossible.
        weights = tf.maximum(float32(parameters["weights"]), np.finfo(np.float32).tiny)
        components = tfd.Normal(float32(parameters["means"]), float32(parameters["stddevs"]))
        return tfd.MixtureSameFamily(
            tfd.Categorical(logits=tf.math.log(weights)), tfd.Independent(components, 1)
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "components": self.components}


def _parts_of(mixture):
    """Normalised logits (..., K), means and standard deviations (..., K, d)."""
    each = mixture.components_distribution.distribution
    logits = tf.nn.log_softmax(mixture.mixture_distribution.logits_parameter())
    return logits, each.loc, each.scale
