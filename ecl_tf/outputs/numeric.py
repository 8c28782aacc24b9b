"""What the outputs of numbers share: real ones, positive ones, and counts."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

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


class Numeric(Output):
    """Base class: d numbers, each of which has a mean and a standard deviation.

    Args:
        event_size: d, the number of target dimensions, such as 1.
        min_scale: the smallest spread, in a unit that the subclass names; 0.001 by default.
        target_mean: of the training targets, a number or one per dimension, in the target's units;
            0 by default, or 1 for targets that can't be negative.
        target_stddev: their standard deviation, positive; 1 by default.
        temperature: T > 0 that variances are multiplied by; 1 by default.

    Raises:
        ValueError: if an argument is out of its range.
    """

    closeness_names = ("mean_error",)
    parameter_names: tuple[str, ...] = ("mean", "stddev")
    _targets_are_positive = False
    _numbers: tuple[str, ...] = (
        "mean(s)",
        "unconstrained scales",
    )  # Of each dimension, in the raw tensor.

    def __init__(
        self,
        event_size: int,
        min_scale: float = 1e-3,
        target_mean: float | Sequence[float] | None = None,
        target_stddev: float | Sequence[float] = 1.0,
        temperature: float = 1.0,
    ):
        if isinstance(event_size, bool) or int(event_size) != event_size or event_size < 1:
            raise ValueError(
                f"event_size must be a whole number of target dimensions, at least 1; "
                f"got {event_size!r}."
            )
        if not 0.0 < require.number("min_scale", min_scale) < math.inf:
            raise ValueError(
                f"min_scale must be positive and finite, got {min_scale!r}: without a floor one "
                "confident row can make the divergence 1e11."
            )
        self.size = int(event_size)
        self.min_scale = float(min_scale)
        positive = self._targets_are_positive
        target_mean = float(positive) if target_mean is None else target_mean
        self.target_mean = self._per_dimension("target_mean", target_mean, positive)
        self.target_stddev = self._per_dimension("target_stddev", target_stddev, positive=True)
        self.temperature = require.positive("temperature", temperature)

    def _per_dimension(self, name, value, positive=False):
        """A number, or a list of one for each target dimension."""
        values = np.ravel(value)
        values = values.astype(float).tolist() if values.dtype.kind in "biuf" else []
        lowest = 0.0 if positive else -math.inf
        if len(values) not in (1, self.size) or not all(lowest < v < math.inf for v in values):
            raise ValueError(
                f"{name} must be one {'positive' if positive else 'finite'} number, or "
                f"{self.size} of them (one per target dimension); got {value!r}."
            )
        return values if len(values) > 1 else values[0]

    @property
    def unit(self) -> float | list[float]:
        """What standard deviations of an `Uncertainty` are measured in, for each dimension."""
        return self.target_stddev

    @property
    def smallest_stddev(self) -> np.ndarray:
        """The least standard deviation that an answer can have, for each dimension."""
        return self.temperature**0.5 * self.min_scale * np.asarray(self.unit)

    def raw_size(self, event_size: int) -> int:
        return len(self._numbers) * event_size

    def validate(self, shape: Sequence[int | None], network: str) -> None:
        size = self.raw_size(self.size)
        if len(shape) < 2 or shape[-1] != size:
            first, *others = self._numbers
            parts = "".join(f", then as many {each}" for each in others)
            raise ValueError(
                f"The output of the {network} has shape {tuple(shape)}; {type(self).__name__}"
                f"(event_size={self.size}) needs a last dimension of {size}"
                f"{f': {self.size} {first}{parts}' if others else ''}."
            )

    def event_size(self, shape: Sequence[int | None]) -> int:
        return self.size

    def score(self, uncertainty: tf.Tensor, weights: Any = None) -> tf.Tensor:
        unit = float32(self.unit)
        return per_example(tf.reduce_sum(uncertainty / unit**2, -1), weights)

    def negative_log_likelihoods(self, distribution: Distribution, labels: tf.Tensor) -> tf.Tensor:
        labels = self._as_values(distribution, labels)
        return -distribution.log_prob(labels)

    def validate_labels(self, shape: Sequence[int | None], raw_shape: Sequence[int | None]) -> None:
        require_same_shape(shape, (*raw_shape[:-1], self.size))

    def compare(
        self, teacher: Distribution, student: Distribution, weights: Any = None
    ) -> dict[str, tf.Tensor]:
        error = tf.abs(teacher.mean() - student.mean())
        return {"mean_error": per_example(tf.reduce_mean(error, -1), weights)}

    def prediction(self, raw: tf.Tensor) -> tf.Tensor:
        return self(raw).mean()

    def parameters(self, distribution: Distribution) -> dict[str, tf.Tensor]:
        return {"mean": distribution.mean(), "stddev": distribution.stddev()}

    def tails(self, distribution: Distribution, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns P(Y <= label) and P(Y >= label) of each dimension, both (..., d).

        Args:
            distribution: that of a network.
            labels: (..., d), or without the last axis if d is 1.
        """
        marginal = distribution.distribution
        labels = self._as_values(distribution, labels)
        return marginal.cdf(labels), marginal.survival_function(labels)

    def deviations(self, distribution: Distribution, labels: tf.Tensor) -> tf.Tensor:
        """Returns how far labels are from the mean, in standard deviations, (..., d).

        Args:
            distribution: that of a network.
            labels: as in `tails`.
        """
        labels = self._as_values(distribution, labels)
        return tf.abs(labels - distribution.mean()) / distribution.stddev()

    def interval(
        self, distribution: Distribution, factor: float | Sequence[float]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the lowest and the highest label whose deviation is at most a factor.

        Args:
            distribution: that of a network.
            factor: a number > 0, or one per dimension.
        """
        half = float32(factor) * distribution.stddev()
        return distribution.mean() - half, distribution.mean() + half

    def _as_values(self, distribution, labels):
        values = tf.cast(float32(labels), distribution.dtype)
        return tf.reshape(values, tf.shape(distribution.mean()))

    def get_config(self) -> dict[str, Any]:
        return {
            "event_size": self.size,
            "min_scale": self.min_scale,
            "target_mean": self.target_mean,
            "target_stddev": self.target_stddev,
            "temperature": self.temperature,
        }


class Restricted(Numeric):
    """Base class: targets that can't be negative. A subclass writes `_are_valid`."""

    _targets_are_positive = True

    def _are_valid(self, labels):
        """Which of finite labels may be there."""
        raise NotImplementedError

    def invalid(self, labels: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        return super().invalid(labels, raw) | ~self._are_valid(float32(labels))

    def negative_log_likelihoods(self, distribution: Distribution, labels: tf.Tensor) -> tf.Tensor:
        labels = self._as_values(distribution, labels)
        valid = self._are_valid(labels)
        # Gradients would be NaN even where the loss is replaced.
        losses = super().negative_log_likelihoods(distribution, tf.where(valid, labels, 1.0))
        nan = tf.constant(float("nan"), losses.dtype)
        return tf.where(tf.reduce_all(valid, -1), losses, nan)


class LocationScale(Numeric):
    """Base class: two numbers, a location and a scale, determine each dimension.

    location = centre + unit * raw[..., :d] and
    scale = unit * (min_scale + softplus(raw[..., d:])).

    An ensemble has the mixture's first two moments of them: the mean of the members' locations,
    and the mean of their squared scales plus the variance of their locations. A subclass writes
    `_distribution`, and `located` if mean and standard deviation are not location and scale.
    """

    @property
    def centre(self) -> float | list[float]:
        """The location that a raw number of 0 stands for."""
        return self.target_mean

    @property
    def made_positive(self) -> dict[str, slice]:
        return {"scales": slice(self.size, None)}

    def moments(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns location and scale of `raw` at temperature 1, each (..., d)."""
        location, scale = tf.split(raw, 2, axis=-1)
        unit = float32(self.unit)
        stddev = unit * (self.min_scale + tf.nn.softplus(scale))
        return float32(self.centre) + unit * location, stddev

    def located(self, distribution: Distribution) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns location and scale of a `distribution`, each (..., d)."""
        return distribution.mean(), distribution.stddev()

    def _distribution(self, location, scale):
        raise NotImplementedError

    def __call__(self, raw: tf.Tensor) -> Distribution:
        mean, stddev = self.moments(float32(raw))
        return self._distribution(mean, math.sqrt(self.temperature) * stddev)

    def combine(self, raws: Sequence[tf.Tensor]) -> Distribution:
        means, _ = self.moments(stack(raws))
        floor = self.min_scale * float32(self.unit)
        stddev = tf.sqrt(tf.maximum(sum(self.uncertainty(raws)), floor**2))
        return self._distribution(tf.reduce_mean(means, 0), stddev)

    def uncertainty(self, raws: Sequence[tf.Tensor]) -> Uncertainty:
        means, stddevs = self.moments(stack(raws))
        parts = tf.reduce_mean(stddevs**2, 0), tf.math.reduce_variance(means, 0)
        return Uncertainty(*(self.temperature * part for part in parts))

    def raw(self, distribution: Distribution) -> tf.Tensor:
        location, scale = self.located(distribution)
        scale /= math.sqrt(self.temperature) * float32(self.unit)
        return tf.concat([self.standardise(location), inverse_softplus(scale - self.min_scale)], -1)

    def prediction(self, raw: tf.Tensor) -> tf.Tensor:
        return self.moments(float32(raw))[0]

    def from_parameters(self, parameters: dict[str, tf.Tensor]) -> Distribution:
        return self._distribution(float32(parameters["mean"]), float32(parameters["stddev"]))

    def standardise(self, mean: tf.Tensor) -> tf.Tensor:
        """Returns (`mean` - centre) / unit, which raw tensors hold."""
        return (mean - float32(self.centre)) / float32(self.unit)


def inverse_softplus(values: tf.Tensor) -> tf.Tensor:
    """log(exp(values) - 1), without overflow for large values; those below 1e-7 count as that."""
    values = tf.maximum(values, _TINY)
    return values + tf.math.log(-tf.math.expm1(-values))
