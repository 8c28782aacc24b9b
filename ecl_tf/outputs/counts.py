"""Whole numbers from 0 on: how many."""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from ecl_tf._internal import distributions as tfd
from ecl_tf.divergences import Distribution
from ecl_tf.outputs.numeric import Restricted, inverse_softplus
from ecl_tf.outputs.output import Uncertainty, float32, stack

_SLACK = 1e-3


def _in_float64(distribution):
    """The same distribution; float32 loses all digits of its functions at a million."""
    own = distribution.distribution
    known = {name: value for name, value in own.parameters.items() if tf.is_tensor(value)}
    wide = own.copy(**{name: tf.cast(value, tf.float64) for name, value in known.items()})
    return tfd.Independent(wide, 1)


class _Counts(Restricted):
    """What the two distributions of counts share."""

    takes_mixed_labels = False  # They are no whole numbers.

    def _mean(self, raw):
        """The mean that the first d raw numbers stand for."""
        return float32(self.target_mean) * (self.min_scale + tf.nn.softplus(raw))

    def _raw_mean(self, mean):
        return inverse_softplus(mean / float32(self.target_mean) - self.min_scale)

    def _are_valid(self, labels):
        return (labels >= 0.0) & (labels == tf.floor(labels))

    def expected_labels(self, raw_shape: Sequence[int | None]) -> str:
        return (
            "counts: whole numbers from 0 on. For other numbers use ecl_tf.outputs.Normal, or "
            "LogNormal if all are above 0"
        )

    def tails(self, distribution: Distribution, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        distribution = _in_float64(distribution)
        marginal, labels = distribution.distribution, self._as_values(distribution, labels)
        at_most = self._at_most(marginal, labels)
        return float32(at_most), float32(1.0 - at_most + marginal.prob(labels))

    def _at_most(self, marginal, labels):
        return marginal.cdf(labels)

    def interval(
        self, distribution: Distribution, factor: float | Sequence[float]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        low, high = super().interval(distribution, factor)
        # Rounding leaves no count out that is just at its end.
        return tf.maximum(tf.math.ceil(low - _SLACK), 0.0), tf.floor(high + _SLACK)


@keras.saving.register_keras_serializable("ecl_tf")
class Poisson(_Counts):
    """A Poisson distribution of each of d counts: raw (..., d) gives the rates.

    rate = target_mean * (min_scale + softplus(raw)). The variance is the rate. Where counts
    spread wider, which is usual, `NegativeBinomial` fits them better.

    An ensemble has the mean of its members' rates, by which the KL (Kullback-Leibler) divergence
    from the members' mixture is changed by a constant only. The two parts of its `Uncertainty`
    are variances, the mean of the rates and their variance, whose sum is the mixture's.

    Args:
        event_size: d, the number of target dimensions, such as 1.
        min_scale: the smallest rate, in units of `target_mean`; 0.001 by default.
        target_mean: a positive number or one per dimension, the mean of the training targets;
            1 by default.
        target_stddev: the same, their standard deviation, the unit of uncertainties; 1 by default.
        temperature: 1, the default: a Poisson distribution has no spread apart from its rate.

    Raises:
        ValueError: if an argument is out of its range, or the temperature is not 1.

    Example:
    >>> output = Poisson(1, target_mean=20.0)
    >>> print(output.prediction([[0.5408]]).numpy().round(1))
    [[20.]]
    """

    family = "poisson"
    parameter_names = ("mean",)
    _numbers = ("rate(s)",)

    def __init__(
        self,
        event_size: int,
        min_scale: float = 1e-3,
        target_mean: float | Sequence[float] = 1.0,
        target_stddev: float | Sequence[float] = 1.0,
        temperature: float = 1.0,
    ):
        """Takes the arguments that the class describes."""
        super().__init__(event_size, min_scale, target_mean, target_stddev, temperature)
        if temperature != 1.0:
            raise ValueError(
                f"A Poisson output takes temperature=1, got {temperature!r}: its spread follows "
                "from its rate, and can't be calibrated. Use ecl_tf.outputs.NegativeBinomial."
            )

    @property
    def made_positive(self) -> dict[str, slice]:
        return {"rates": slice(None)}

    def __call__(self, raw: tf.Tensor) -> Distribution:
        return self._distribution(self._mean(float32(raw)))

    def _distribution(self, rate):
        return tfd.Independent(tfd.Poisson(rate), 1)

    def combine(self, raws: Sequence[tf.Tensor]) -> Distribution:
        return self._distribution(tf.reduce_mean(self._mean(stack(raws)), 0))

    def negative_log_likelihoods(self, distribution: Distribution, labels: tf.Tensor) -> tf.Tensor:
        return float32(super().negative_log_likelihoods(_in_float64(distribution), labels))

    def _at_most(self, marginal, labels):
        # From 300,000 on TensorFlow's incomplete gamma function stops before it has converged. This
        # is right to 1e-7 there: Wilson and Hilferty, "The Distribution of Chi-Square", 1931.
        shape, rate = labels + 1.0, marginal.rate
        z = 3.0 * tf.sqrt(shape) * (1.0 - 1.0 / (9.0 * shape) - (rate / shape) ** (1 / 3))
        normal = 0.5 * tf.math.erfc(-z / math.sqrt(2.0))
        return tf.where(rate > 1e5, normal, marginal.cdf(labels))

    def uncertainty(self, raws: Sequence[tf.Tensor]) -> Uncertainty:
        rates = self._mean(stack(raws))
        return Uncertainty(tf.reduce_mean(rates, 0), tf.math.reduce_variance(rates, 0))

    def raw(self, distribution: Distribution) -> tf.Tensor:
        return self._raw_mean(distribution.mean())

    def from_parameters(self, parameters: dict[str, tf.Tensor]) -> Distribution:
        return self._distribution(float32(parameters["mean"]))


@keras.saving.register_keras_serializable("ecl_tf")
class NegativeBinomial(_Counts):
    """A negative binomial distribution of each of d counts: raw (..., 2d) is means, dispersions.

    mean = target_mean * (min_scale + softplus(raw[..., :d])),
    dispersion = min_scale + softplus(raw[..., d:]), and variance = mean + dispersion * mean^2:
    a Poisson distribution whose rate varies by sqrt(dispersion) of itself.

    An ensemble has the mean and the variance of the mixture of its members; both parts of its
    `Uncertainty` are variances. The KL (Kullback-Leibler) divergence has no closed form: it is
    summed over the counts 0 to 127, and taken at 64 fixed points beyond
    (see `ecl_tf.divergences`).

    Args:
        event_size: d, the number of target dimensions, such as 1.
        min_scale: the smallest mean, in units of `target_mean`, and the smallest dispersion;
            0.001 by default.
        target_mean: a positive number or one per dimension, the mean of the training targets;
            1 by default.
        target_stddev: the same, their standard deviation, the unit of uncertainties; 1 by default.
        temperature: T > 0 that the variance is multiplied by, as far as it stays above that of
            the smallest dispersion; 1 by default.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
    >>> output = NegativeBinomial(1, target_mean=20.0)
    >>> print(output([[0.54, 0.54]]).variance().numpy().round(-1))  # 20 + 20^2
    [[420.]]

    Reference: Hilbe, "Negative Binomial Regression", 2011, the parametrisation NB2.
    """

    family = "negative_binomial"
    _numbers = ("mean(s)", "dispersions")

    @property
    def made_positive(self) -> dict[str, slice]:
        return {"means": slice(self.size), "dispersions": slice(self.size, None)}

    def _means_and_dispersions(self, raw):
        """At temperature 1."""
        mean, dispersion = tf.split(raw, 2, axis=-1)
        return self._mean(mean), self.min_scale + tf.nn.softplus(dispersion)

    def __call__(self, raw: tf.Tensor) -> Distribution:
        return self._tempered(*self._means_and_dispersions(float32(raw)))

    def _tempered(self, mean, dispersion):
        # T (mean + dispersion * mean^2) = mean + (T * dispersion + (T - 1) / mean) * mean^2
        if self.temperature != 1.0:
            dispersion = self.temperature * dispersion + (self.temperature - 1.0) / mean
        return self._distribution(mean, tf.maximum(dispersion, self.min_scale))

    def _distribution(self, mean, dispersion):
        logits = tf.math.log(mean) + tf.math.log(dispersion)
        return tfd.Independent(tfd.NegativeBinomial(1.0 / dispersion, logits), 1)

    def combine(self, raws: Sequence[tf.Tensor]) -> Distribution:
        means, dispersions = self._means_and_dispersions(stack(raws))
        mean = tf.reduce_mean(means, 0)
        excess = tf.reduce_mean(dispersions * means**2, 0) + tf.math.reduce_variance(means, 0)
        return self._tempered(mean, excess / mean**2)

    def uncertainty(self, raws: Sequence[tf.Tensor]) -> Uncertainty:
        means, dispersions = self._means_and_dispersions(stack(raws))
        aleatoric = tf.reduce_mean(means + dispersions * means**2, 0)
        parts = aleatoric, tf.math.reduce_variance(means, 0)
        return Uncertainty(*(self.temperature * part for part in parts))

    def raw(self, distribution: Distribution) -> tf.Tensor:
        mean, dispersion = distribution.mean(), 1.0 / distribution.distribution.total_count
        dispersion = (dispersion - (self.temperature - 1.0) / mean) / self.temperature
        raw = self._raw_mean(mean), inverse_softplus(dispersion - self.min_scale)
        return tf.concat(raw, axis=-1)

    def parameters(self, distribution: Distribution) -> dict[str, tf.Tensor]:
        dispersion = 1.0 / distribution.distribution.total_count
        return {**super().parameters(distribution), "dispersion": dispersion}

    def from_parameters(self, parameters: dict[str, tf.Tensor]) -> Distribution:
        mean = float32(parameters["mean"])
        dispersion = parameters.get("dispersion")
        if dispersion is None:
            dispersion = (float32(parameters["stddev"]) ** 2 - mean) / mean**2
        return self._distribution(mean, tf.maximum(float32(dispersion), self.min_scale))
