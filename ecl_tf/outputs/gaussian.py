"""Real numbers: means with scales, or points whose spread is measured."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf import divergences
from ecl_tf._internal import distributions as tfd
from ecl_tf.divergences import Distribution
from ecl_tf.outputs.numeric import LocationScale, Numeric
from ecl_tf.outputs.output import Output, float32


class _Gaussian(LocationScale):
    """What the two Gaussian parametrisations, `Normal` and `Point`, share."""

    family = "normal"

    def _distribution(self, location, scale):
        return tfd.Independent(tfd.Normal(location, scale), 1)

    def can_learn_from(self, teacher: Output) -> bool:
        return isinstance(teacher, Numeric)

    def matched(self, teacher: Distribution) -> Distribution:
        # KL from any distribution to a Gaussian differs by a constant from KL from the Gaussian
        # that has its two moments.
        if isinstance(getattr(teacher, "distribution", None), tfd.Normal):
            return teacher
        return self._distribution(teacher.mean(), teacher.stddev())

    def _compared(self, teacher, student, divergence):
        if divergence is divergences.faithful:
            divergence = functools.partial(divergence, unit=float32(self.target_stddev))
        return teacher, student, divergence


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

    parameter_names = ("mean",)
    _numbers = ("mean(s)",)

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

    @property
    def made_positive(self) -> dict[str, slice]:
        return {}

    def moments(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        spread = 0.0 if self.stddev is None else self.stddev
        mean = float32(self.target_mean) + float32(self.target_stddev) * raw
        return mean, tf.broadcast_to(float32(spread), tf.shape(raw))

    def __call__(self, raw: tf.Tensor) -> Distribution:
        return self.combine([raw])

    def combine(self, raws: Sequence[tf.Tensor]) -> Distribution:
        if len(raws) == 1 and self.stddev is None:
            raise ValueError(
                "This network gives points and no spread, so it has no distribution. Give one: "
                f"output=ecl_tf.outputs.Point({self.size}, stddev=...), of a teacher in "
                "ecl_tf.Ensemble([teacher], output=...), with the standard deviation in the "
                "target's units, known or measured on held-out data by "
                "ecl_tf.teachers.residual_stddev. Or give as the teacher an ensemble of two or "
                "more models, whose disagreement is the spread."
            )
        return super().combine(raws)

    def raw(self, distribution: Distribution) -> tf.Tensor:
        return self.standardise(distribution.mean())

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stddev": self.stddev}
