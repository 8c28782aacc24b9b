"""Real numbers: means with scales, or points whose spread is measured."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from ecl_tf import divergences
from ecl_tf._internal import require
from ecl_tf.divergences import Distribution
from ecl_tf.outputs.output import (
    Output,
    Uncertainty,
    float32,
    per_example,
    require_same_shape,
    stack,
)

_TINY = 1e-7


class _Gaussian(Output):
    """What the two Gaussian parametrisations, `Normal` and `Point`, share."""

    family = "normal"
    closeness_names = ("mean_error",)

    def __init__(
        self,
        event_size: int,
        min_scale: float = 1e-3,
        target_mean: float | Sequence[float] = 0.0,
        target_stddev: float | Sequence[float] = 1.0,
        temperature: float = 1.0,
    ):
        if isinstance(event_size, bool) or int(event_size) != event_size or event_size < 1:
            raise ValueError(
                f"event_size must be a whole number of target dimensions, at least 1; "
                f"got {event_size!r}."
            )
        if not min_scale > 0.0:
            raise ValueError(
                f"min_scale must be positive, got {min_scale!r}: without a floor one "
                "confident row can make the divergence 1e11."
            )
        self.size = int(event_size)
        self.min_scale = float(min_scale)
        self.target_mean = self._per_dimension("target_mean", target_mean)
        self.target_stddev = self._per_dimension("target_stddev", target_stddev, positive=True)
        self.temperature = require.positive("temperature", temperature)

    def _per_dimension(self, name, value, positive=False):
        """A number, or a list of one for each target dimension."""
        values = [float(each) for each in np.ravel(value)]
        lowest = 0.0 if positive else -math.inf
        if len(values) not in (1, self.size) or not all(lowest < v < math.inf for v in values):
            raise ValueError(
                f"{name} must be one {'positive' if positive else 'finite'} number, or "
                f"{self.size} of them (one per target dimension); got {value!r}."
            )
        return values if len(values) > 1 else values[0]

    def validate(self, shape: Sequence[int | None], network: str) -> None:
        size = self.raw_size(self.size)
        if len(shape) < 2 or shape[-1] != size:
            scales = f": {self.size} mean(s), then as many unconstrained scales"
            raise ValueError(
                f"The output of the {network} has shape {tuple(shape)}; {type(self).__name__}"
                f"(event_size={self.size}) needs a last dimension of {size}"
                f"{scales if size > self.size else ''}."
            )

    def event_size(self, shape: Sequence[int | None]) -> int:
        return self.size

    def moments(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns mean and standard deviation of `raw` at temperature 1, each (..., d)."""
        raise NotImplementedError

    def __call__(self, raw: tf.Tensor) -> Distribution:
        mean, stddev = self.moments(float32(raw))
        return self._distribution(mean, math.sqrt(self.temperature) * stddev)

    def _distribution(self, mean, stddev):
        return tfd.Independent(tfd.Normal(mean, stddev), 1)

    def combine(self, raws: Sequence[tf.Tensor]) -> Distribution:
        means, _ = self.moments(stack(raws))
        floor = self.min_scale * float32(self.target_stddev)
        stddev = tf.sqrt(tf.maximum(sum(self.uncertainty(raws)), floor**2))
        return self._distribution(tf.reduce_mean(means, 0), stddev)

    def uncertainty(self, raws: Sequence[tf.Tensor]) -> Uncertainty:
        means, stddevs = self.moments(stack(raws))
        parts = tf.reduce_mean(stddevs**2, 0), tf.math.reduce_variance(means, 0)
        return Uncertainty(*(self.temperature * part for part in parts))

    def divergence(
        self,
        teacher: Distribution,
        student: Distribution,
        divergence: Callable[..., tf.Tensor],
        temperature: float | tf.Tensor = 1.0,
        weights: Any = None,
    ) -> tf.Tensor:
        if divergence is divergences.faithful:
            divergence = functools.partial(divergence, unit=float32(self.target_stddev))
        return super().divergence(teacher, student, divergence, temperature, weights)

    def score(self, uncertainty: tf.Tensor, weights: Any = None) -> tf.Tensor:
        unit = float32(self.target_stddev)
        return per_example(tf.reduce_sum(uncertainty / unit**2, -1), weights)

    def negative_log_likelihoods(self, distribution: Distribution, labels: tf.Tensor) -> tf.Tensor:
        labels = tf.reshape(float32(labels), tf.shape(distribution.mean()))
        return -distribution.log_prob(labels)

    def validate_labels(self, shape: Sequence[int | None], raw_shape: Sequence[int | None]) -> None:
        require_same_shape(shape, (*raw_shape[:-1], self.size))

    def compare(
        self, teacher: Distribution, student: Distribution, weights: Any = None
    ) -> dict[str, tf.Tensor]:
        error = tf.abs(teacher.mean() - student.mean())
        return {"mean_error": per_example(tf.reduce_mean(error, -1), weights)}

    def prediction(self, raw: tf.Tensor) -> tf.Tensor:
        return self.moments(float32(raw))[0]

    def parameters(self, distribution: Distribution) -> dict[str, tf.Tensor]:
        return {"mean": distribution.mean(), "stddev": distribution.stddev()}

    def from_parameters(self, parameters: dict[str, tf.Tensor]) -> Distribution:
        return self._distribution(float32(parameters["mean"]), float32(parameters["stddev"]))

    def standardise(self, mean: tf.Tensor) -> tf.Tensor:
        """Returns (`mean` - target_mean) / target_stddev, which raw tensors hold."""
        return (mean - float32(self.target_mean)) / float32(self.target_stddev)

    def get_config(self) -> dict[str, Any]:
        return {
            "event_size": self.size,
            "min_scale": self.min_scale,
            "target_mean": self.target_mean,
            "target_stddev": self.target_stddev,
            "temperature": self.temperature,
        }


@keras.saving.register_keras_serializable("ecl_tf")
class Normal(_Gaussian):
    """A diagonal Gaussian over d dimensions: raw (..., 2d) is means, then scales.

    mean = target_mean + target_stddev * raw[..., :d] and
    stddev = target_stddev * (min_scale + softplus(raw[..., d:])), both in the target's
    units. With the training targets' mean and standard deviation a network learns in
    standardised units, and its distribution, its export and all metrics are in the
    target's own; by default raw tensors are in those units, too.

    An ensemble is the Gaussian with the mixture's first two moments, mean = E_m[mean_m]
    and variance = E_m[variance_m] + Var_m[mean_m]. For a Gaussian student the KL
    (Kullback-Leibler) divergence from the mixture itself differs from that by a constant, so
    nothing is lost.

    Args:
        event_size: d, the number of target dimensions, such as 1.
        min_scale: the smallest standard deviation, in units of `target_stddev`; 0.001 by
            default. Choose it well below the noise of the labels.
        target_mean: a number or one per dimension, in the target's units; 0 by default.
        target_stddev: the same, positive; 1 by default.
        temperature: T > 0 that variances are multiplied by, both parts of an ensemble's: the
            distribution is p^(1/T). 1 by default; of a teacher, T is what
            `ecl_tf.calibrated` fits, such as 1.5.

    Raises:
        ValueError: if `event_size` < 1, or `min_scale`, `target_stddev` or `temperature` <= 0.

    Example:
    >>> output = Normal(1, min_scale=0.5)
    >>> print(output([[3.0, 0.0]]).stddev().numpy())  # 0.5 + ln 2
    [[1.1931472]]

    Reference: Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty
    Estimation using Deep Ensembles", 2017, section 2.4.
    """

    def raw_size(self, event_size: int) -> int:
        return 2 * event_size

    def moments(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mean, scale = tf.split(raw, 2, axis=-1)
        unit = float32(self.target_stddev)
        stddev = unit * (self.min_scale + tf.nn.softplus(scale))
        return float32(self.target_mean) + unit * mean, stddev

    def raw(self, distribution: Distribution) -> tf.Tensor:
        unit = math.sqrt(self.temperature) * float32(self.target_stddev)
        stddev = distribution.stddev() / unit
        excess = tf.maximum(stddev - self.min_scale, _TINY)
        # The inverse of softplus, log(exp(s) - 1), without overflow for large s.
        scale = excess + tf.math.log(-tf.math.expm1(-excess))
        return tf.concat([self.standardise(distribution.mean()), scale], axis=-1)


@keras.saving.register_keras_serializable("ecl_tf")
class Point(_Gaussian):
    """A teacher that gives points only: raw (..., d) is the mean of a Gaussian.

    mean = target_mean + target_stddev * raw, as in `Normal`. Its spread is `stddev`, given or
    measured (`ecl_tf.teachers.residual_stddev`), and the spread of an ensemble's members:
    variance = stddev^2 + Var_m[mean_m].

    Args:
        event_size: d, the number of target dimensions, such as 1.
        stddev: standard deviation in the target's units, a number or one per dimension;
            None, the default, takes the spread from the ensemble alone.
        min_scale: the smallest standard deviation of the combined distribution, in
            units of `target_stddev`; 0.001 by default.
        target_mean: as in `Normal`; 0 by default.
        target_stddev: as in `Normal`; 1 by default.
        temperature: T > 0 that variances are multiplied by, as in `Normal`; 1 by default.

    Raises:
        ValueError: if an argument is out of its range as in `Normal`, if a `stddev` is not
            positive, or if there is none and only one member to take it from.

    Example:
    >>> ensemble = Point(1, stddev=3.0).combine([[[1.0]], [[9.0]]])
    >>> print(ensemble.mean().numpy(), ensemble.stddev().numpy())  # (9 + 16)^(1/2)
    [[5.]] [[5.]]
    """

    def __init__(
        self,
        event_size: int,
        stddev: float | Sequence[float] | None = None,
        min_scale: float = 1e-3,
        target_mean: float | Sequence[float] = 0.0,
        target_stddev: float | Sequence[float] = 1.0,
        temperature: float = 1.0,
    ):
        super().__init__(event_size, min_scale, target_mean, target_stddev, temperature)
        if stddev is not None:
            stddev = self._per_dimension("stddev", stddev, positive=True)
        self.stddev = stddev

    def moments(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        spread = 0.0 if self.stddev is None else self.stddev
        mean = float32(self.target_mean) + float32(self.target_stddev) * raw
        return mean, tf.broadcast_to(float32(spread), tf.shape(raw))

    def __call__(self, raw: tf.Tensor) -> Distribution:
        return self.combine([raw])

    def combine(self, raws: Sequence[tf.Tensor]) -> Distribution:
        if len(raws) == 1 and self.stddev is None:
            raise ValueError(
                "This teacher gives points and no spread, so it has no distribution to "
                "match. Give one: ecl_tf.Ensemble([teacher], output=ecl_tf.outputs.Point("
                f"{self.size}, stddev=...)), with the standard deviation in the target's "
                "units, known or measured on held-out data by "
                "ecl_tf.teachers.residual_stddev; or give an ensemble of two or more "
                "models, whose disagreement is the spread."
            )
        return super().combine(raws)

    def raw(self, distribution: Distribution) -> tf.Tensor:
        return self.standardise(distribution.mean())

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stddev": self.stddev}
