"""The distribution of every single number of an answer, with what is known of it in closed form."""

import math
from typing import Any

import numpy as np
from scipy import special, stats

from ecl_tf import outputs

_DRAWS = 1000  # Of distributions whose formulas are not known here.
_HALVINGS = 60  # Of an interval around a quantile, to all digits of a float64.


class Scipy:
    """A distribution of SciPy, and the formula of its CRPS.

    Args:
        distribution: a frozen one of `scipy.stats`.
        crps: a function of labels.
    """

    def __init__(self, distribution, crps):
        self.quantile, self.crps = distribution.ppf, crps


class Mixture:
    """Normal components; one of them is a normal distribution.

    Args:
        weights: (..., 1, K).
        means: (..., d, K).
        stddevs: (..., d, K).
    """

    def __init__(self, weights, means, stddevs):
        self.weights, self.means, self.stddevs = weights, means, stddevs

    def quantile(self, share):
        ends = self.means + self.stddevs * special.ndtri(share)
        low, high = ends.min(-1), ends.max(-1)  # It is between those of the components.
        for _ in range(_HALVINGS if ends.shape[-1] > 1 else 0):
            middle = (low + high) / 2
            each = special.ndtr((middle[..., None] - self.means) / self.stddevs)
            is_below = (self.weights * each).sum(-1) < share
            low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
        return (low + high) / 2

    def crps(self, labels):
        # Grimit et al., "The Continuous Ranked Probability Score for Circular Variables and its
        # Application to Mesoscale Forecast Ensemble Verification", 2006, equation 5.
        own = _distance(labels[..., None] - self.means, self.stddevs)
        first, second = self.means[..., None], self.means[..., None, :]
        widths = np.hypot(self.stddevs[..., None], self.stddevs[..., None, :])
        pairs = (self.weights[..., None] * self.weights[..., None, :]) * _distance(
            first - second, widths
        )
        return (self.weights * own).sum(-1) - pairs.sum((-2, -1)) / 2


class Draws:
    """The same 1,000 draws each time, for families without formulas here.

    Args:
        distribution: a `tfp` distribution, of numbers (..., d).
    """

    def __init__(self, distribution):
        self.draws = np.sort(np.asarray(distribution.sample(_DRAWS, seed=[0, 0]), float), 0)

    def quantile(self, share):
        return np.quantile(self.draws, share, axis=0)

    def crps(self, labels):
        # E|X - y| - E|X - X'| / 2, where the second mean is over pairs of two draws.
        rank = np.arange(1, _DRAWS + 1).reshape(-1, *[1] * labels.ndim)
        spread = ((2 * rank - _DRAWS - 1) * self.draws).sum(0) / (_DRAWS * (_DRAWS - 1))
        return np.abs(self.draws - labels).mean(0) - spread


def of(output: outputs.Output, raw: Any) -> Any:
    """The marginal distributions (rows, ..., d) of raw outputs: with `quantile` and `crps`."""
    distribution = output(raw)
    parameters = output.parameters(distribution)
    found = {name: np.asarray(value, float) for name, value in parameters.items()}
    make = _FAMILIES.get(output.family)
    return Draws(distribution) if make is None else make(found)


def _distance(mean, stddev):
    """E|X| of a normal X."""
    z = mean / stddev
    return mean * (2 * special.ndtr(z) - 1) + 2 * stddev * stats.norm.pdf(z)


def _normal(found):
    mean, stddev = found["mean"][..., None], found["stddev"][..., None]
    return Mixture(np.ones_like(mean), mean, stddev)


def _normal_mixture(found):
    means, stddevs = (np.swapaxes(found[name], -1, -2) for name in ("means", "stddevs"))
    return Mixture(found["weights"][..., None, :], means, stddevs)


def _log_normal(found):
    mean, stddev = found["log_mean"], found["log_stddev"]

    def crps(labels):
        # Baran and Lerch, "Log-Normal Distribution Based Ensemble Model Output Statistics Models
        # for Probabilistic Wind-Speed Forecasting", 2015, equation 6.
        z = (np.log(labels) - mean) / stddev
        # By logarithms, as exp(stddev^2 / 2) is huge where a spread explodes, and its factors tiny.
        ends = z - stddev, -stddev / math.sqrt(2)
        below, above = (np.exp(mean + stddev**2 / 2 + special.log_ndtr(end)) for end in ends)
        return labels * (2 * special.ndtr(z) - 1) - 2 * (below - above)

    return Scipy(stats.lognorm(stddev, scale=np.exp(mean)), crps)


# The formulas of the next three are in Jordan, Krueger and Lerch, "Evaluating Probabilistic
# Forecasts with scoringRules", 2019, appendix A.


def _student_t(found):
    mean, freedom = found["mean"], found["degrees_of_freedom"]
    scale = found["stddev"] * np.sqrt((freedom - 2) / freedom)

    def crps(labels):
        z = (labels - mean) / scale
        tail = 2 * stats.t.pdf(z, freedom) * (freedom + z**2) / (freedom - 1)
        log_ratio = special.betaln(0.5, freedom - 0.5) - 2 * special.betaln(0.5, freedom / 2)
        spread = 2 * np.sqrt(freedom) / (freedom - 1) * np.exp(log_ratio)
        return scale * (z * (2 * stats.t.cdf(z, freedom) - 1) + tail - spread)

    return Scipy(stats.t(freedom, mean, scale), crps)


def _poisson(found):
    rate = found["mean"]
    marginal = stats.poisson(rate)

    def crps(labels):
        spread = rate * (special.ive(0, 2 * rate) + special.ive(1, 2 * rate))
        error = (labels - rate) * (2 * marginal.cdf(labels) - 1)
        return error + 2 * rate * marginal.pmf(labels) - spread

    return Scipy(marginal, crps)


def _negative_binomial(found):
    count = 1.0 / found["dispersion"]
    share = count / (count + found["mean"])  # Of successes; the mean is of failures.
    marginal = stats.nbinom(count, share)

    def crps(labels):
        odds = (1 - share) / share**2
        more = 2 * stats.nbinom.cdf(labels - 1, count + 1, share) - 1
        # Pfaff's transformation of hyp2f1(count + 1, 0.5, 2, -4 * odds), which SciPy has as NaN
        # where count and odds are large.
        far = 1 + 4 * odds
        tail = special.hyp2f1(1 - count, 0.5, 2, 4 * odds / far) / np.sqrt(far)
        error = labels * (2 * marginal.cdf(labels) - 1)
        return error - count * odds * (share * more + tail)

    return Scipy(marginal, crps)


_FAMILIES: dict[Any, Any] = {
    "log_normal": _log_normal,
    "negative_binomial": _negative_binomial,
    "normal": _normal,
    "normal_mixture": _normal_mixture,
    "poisson": _poisson,
    "student_t": _student_t,
}
