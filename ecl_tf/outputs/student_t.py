"""Real numbers with heavy tails."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf._internal import distributions as tfd
from ecl_tf._internal import require
from ecl_tf.divergences import Distribution
from ecl_tf.outputs.numeric import LocationScale


@keras.saving.register_keras_serializable("ecl_tf")
class StudentT(LocationScale):
    """Student's t distribution of each of d numbers: raw (..., 2d) is means, then scales.

    Mean and standard deviation are those of `Normal` for the same raw tensor; the density falls
    with a power of the distance instead of its square's exponential, so that a few labels far
    off neither widen all intervals nor pull the mean. With nu degrees of freedom the scale is
    stddev * sqrt((nu - 2) / nu), and the density falls with the power nu + 1.

    An ensemble has the mean and the variance of the mixture of its members. The KL
    (Kullback-Leibler) divergence has no closed form: it is taken at 64 fixed quantiles of the
    teacher's distribution (see `ecl_tf.divergences`).

    Args:
        event_size: d, the number of target dimensions, such as 1.
        degrees_of_freedom: nu > 2, for which there is a variance; 4 by default, typically 3 to 10.
        min_scale: the smallest standard deviation, in units of `target_stddev`; 0.001 by default.
        target_mean: a number or one per dimension, in the target's units; 0 by default.
        target_stddev: the same, positive; 1 by default.
        temperature: T > 0 that variances are multiplied by; 1 by default.

    Raises:
        ValueError: if `degrees_of_freedom` <= 2, or another argument is out of its range as in
            `Normal`.

    Example:
    >>> output = StudentT(1, degrees_of_freedom=4.0)
    >>> far = output([[0.0, 0.5413]]).log_prob([[10.0]])  # Of stddev 1.
    >>> print(far.numpy().round(2))  # A normal's is -50.92.
    [-10.46]

    Reference: Lange, Little and Taylor, "Robust Statistical Modeling Using the t Distribution",
    1989.
    """

    family = "student_t"

    def __init__(
        self,
        event_size: int,
        degrees_of_freedom: float = 4.0,
        min_scale: float = 1e-3,
        target_mean: float | Sequence[float] = 0.0,
        target_stddev: float | Sequence[float] = 1.0,
        temperature: float = 1.0,
    ):
        """Takes the arguments that the class describes."""
        super().__init__(event_size, min_scale, target_mean, target_stddev, temperature)
        if not 2.0 < require.number("degrees_of_freedom", degrees_of_freedom) < math.inf:
            raise ValueError(
                f"degrees_of_freedom must be a finite number above 2, where there is a variance; "
                f"got {degrees_of_freedom!r}."
            )
        self.degrees_of_freedom = float(degrees_of_freedom)

    def _distribution(self, location, scale):
        nu = self.degrees_of_freedom
        t = tfd.StudentT(nu, location, math.sqrt((nu - 2.0) / nu) * scale)
        return tfd.Independent(t, 1)

    def parameters(self, distribution: Distribution) -> dict[str, tf.Tensor]:
        found = super().parameters(distribution)
        freedom = tf.fill(tf.shape(found["mean"]), self.degrees_of_freedom)
        return {**found, "degrees_of_freedom": freedom}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "degrees_of_freedom": self.degrees_of_freedom}
