"""Positive numbers."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import distributions as tfd
from ecl_tf.divergences import Distribution
from ecl_tf.outputs.numeric import LocationScale, Restricted
from ecl_tf.outputs.output import float32


@keras.saving.register_keras_serializable("ecl_tf")
class LogNormal(Restricted, LocationScale):
    """A log-normal distribution of each of d positive numbers, such as prices or durations.

    The logarithm of the target has a Gaussian: raw (..., 2d) is its means, then its scales, as
    in `Normal`. Both are in units of the log-normal distribution that has `target_mean` and
    `target_stddev`, whose logarithm has the variance s^2 = ln(1 + (target_stddev /
    target_mean)^2) and the mean ln(target_mean) - s^2 / 2. So errors count as ratios, and no
    answer is negative.

    An ensemble has the first two moments of the members' mixture, of logarithms, by which the
    KL (Kullback-Leibler) divergence from the mixture is changed by a constant only. Both parts
    of an `Uncertainty` are variances of the logarithm. `prediction` is the mean in the target's
    units, exp(mean of the logarithm + half its variance).

    Args:
        event_size: d, the number of target dimensions, such as 1.
        min_scale: the smallest standard deviation of the logarithm, in units of s; 0.001 by
            default.
        target_mean: a positive number or one per dimension, in the target's units; 1 by default.
        target_stddev: the same; 1 by default.
        temperature: T > 0 that the logarithm's variance is multiplied by; 1 by default.

    Raises:
        ValueError: if an argument is out of its range as in `Normal`, or `target_mean` <= 0.

    Example:
    >>> output = LogNormal(1, target_mean=100.0, target_stddev=50.0)
    >>> parameters = output.parameters(output([[0.0, 0.5408]]))
    >>> print(parameters["mean"].numpy().round(), parameters["stddev"].numpy().round())
    [[100.]] [[50.]]
    """

    family = "log_normal"

    @property
    def unit(self) -> float | list[float]:
        ratio = np.asarray(self.target_stddev) / np.asarray(self.target_mean)
        return np.sqrt(np.log1p(ratio**2)).tolist()

    @property
    def centre(self) -> float | list[float]:
        return (np.log(self.target_mean) - np.asarray(self.unit) ** 2 / 2).tolist()

    def _distribution(self, location, scale):
        return tfd.Independent(tfd.LogNormal(location, scale), 1)

    def located(self, distribution: Distribution) -> tuple[tf.Tensor, tf.Tensor]:
        return distribution.distribution.loc, distribution.distribution.scale

    def prediction(self, raw: tf.Tensor) -> tf.Tensor:
        return self(raw).mean()

    def _are_valid(self, labels):
        return labels > 0.0

    def expected_labels(self, raw_shape: Sequence[int | None]) -> str:
        return (
            "finite numbers above 0: a log-normal distribution has no others. For targets that may "
            "be 0 or negative use ecl_tf.outputs.Normal"
        )

    def parameters(self, distribution: Distribution) -> dict[str, tf.Tensor]:
        mean, stddev = self.located(distribution)
        return {**super().parameters(distribution), "log_mean": mean, "log_stddev": stddev}

    def from_parameters(self, parameters: dict[str, tf.Tensor]) -> Distribution:
        if "log_mean" in parameters:
            logs = float32(parameters["log_mean"]), float32(parameters["log_stddev"])
            return self._distribution(*logs)
        mean = float32(parameters["mean"])
        variance = tf.math.log1p((float32(parameters["stddev"]) / mean) ** 2)
        return self._distribution(tf.math.log(mean) - variance / 2, tf.sqrt(variance))

    def deviations(self, distribution: Distribution, labels: tf.Tensor) -> tf.Tensor:
        mean, stddev = self.located(distribution)
        return tf.abs(tf.math.log(self._as_values(distribution, labels)) - mean) / stddev

    def interval(
        self, distribution: Distribution, factor: float | Sequence[float]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        mean, stddev = self.located(distribution)
        half = float32(factor) * stddev
        return tf.exp(mean - half), tf.exp(mean + half)
