"""The base class of all outputs, and what they share."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import tensorflow as tf

from ecl_tf._internal import require
from ecl_tf._internal.configured import Configured
from ecl_tf.divergences import Distribution


class Uncertainty(NamedTuple):
    """The two parts of a teacher's predictive uncertainty.

    For categorical outputs both are entropies in nats, of shape (batch...,): the mean
    entropy of the members, and the mutual information between the label and the
    member. For Bernoulli outputs they are summed over labels. For normal outputs both are
    variances in squared target units, of shape (batch..., d): the mean variance of the
    members, and the variance of their means. The two parts add up to the total of the
    combined distribution.

    Attributes:
        aleatoric: the part that all members agree on.
        epistemic: the part that the members differ by.
    """

    aleatoric: Any
    epistemic: Any


class Output(Configured):
    """Base class: the kind of distribution that a network's raw tensor stands for.

    A subclass is small and stateless. It implements `__call__`, `combine`, `uncertainty`,
    `raw`, `negative_log_likelihood`, `compare`, `prediction`, `parameters` and
    `from_parameters`, has a `get_config` if it has arguments, and is registered with Keras.
    `Joint` has named outputs: there each tensor and each distribution is a dict by name.

    Attributes:
        family: the kind of distribution, so that a teacher of one parametrisation (say points
            with a measured spread) can teach a student of another (means and scales).
        temperature: what the raw tensor stands for is p^(1/temperature); 1 by default.
        takes_temperature: whether `divergence` uses its temperature; False by default.
        makes_probabilities: the Keras activation that would make probabilities of raw
            tensors, which a student's last layer must not have; None by default.
        closeness_names: the keys of what `compare` returns.
    """

    family: str | dict = ""
    temperature = 1.0
    takes_temperature = False
    makes_probabilities: str | None = None
    closeness_names: tuple[str, ...] = ("agreement",)

    def __call__(self, raw: tf.Tensor) -> Distribution:
        """Returns the distribution of a raw tensor (batch..., size), of batch shape (batch...)."""
        raise NotImplementedError

    def validate(self, shape: Sequence[int | None], network: str) -> None:
        """Raises ValueError if a network's output `shape` can't be this output.

        Args:
            shape: the static shape of the raw tensor, batch dimension first.
            network: "student" or "teacher", for the message.
        """

    def event_size(self, shape: Sequence[int]) -> int:
        """The number of classes, labels or target dimensions for a raw `shape`."""
        return shape[-1]

    def tempered(self, temperature: float) -> Self:
        """Returns this output with another `temperature` T: a raw tensor stands for p^(1/T)."""
        return type(self).from_config({**self.get_config(), "temperature": temperature})

    def raw_size(self, event_size: int) -> int:
        """The last dimension of the raw tensor for a number of classes or targets."""
        return event_size

    def combine(self, raws: Sequence[tf.Tensor]) -> Distribution:
        """Returns the one distribution of an ensemble's raw tensors.

        Args:
            raws: M raw tensors (batch..., size), one of each member.
        """
        raise NotImplementedError

    def uncertainty(self, raws: Sequence[tf.Tensor]) -> Uncertainty:
        """Returns the `Uncertainty` of an ensemble's raw tensors, in its two parts."""
        raise NotImplementedError

    def score(self, uncertainty: tf.Tensor) -> tf.Tensor:
        """Returns a part of an `Uncertainty` as one number >= 0 per example, (batch,).

        `ecl_tf.uncertainty` says in which units. Positions of dense predictions are averaged.
        """
        return per_example(uncertainty)

    def raw(self, distribution: Distribution) -> tf.Tensor:
        """Returns the raw tensor that gives `distribution`; the inverse of `__call__`."""
        raise NotImplementedError

    def divergence(
        self,
        teacher: Distribution,
        student: Distribution,
        divergence: Callable[..., tf.Tensor],
        temperature: float = 1.0,
    ) -> tf.Tensor:
        """Returns T^2 * D(teacher^(1/T), student^(1/T)) per example in nats, shape (batch,).

        T^2 keeps the gradient's size independent of T. Positions of dense predictions (any batch
        axis after the first) are averaged.

        Args:
            teacher: the teacher's distribution.
            student: the student's.
            divergence: D, a function of `ecl_tf.divergences`, or one like them.
            temperature: T > 0 that tempers both, where the output `takes_temperature`, otherwise
                1; 1 by default, 2 to 8 in the literature.
        """
        if self.takes_temperature and temperature != 1.0:
            softer = self.tempered(temperature * self.temperature)
            teacher, student = (softer(self.raw(each)) for each in (teacher, student))
            return temperature**2 * per_example(divergence(teacher, student))
        return per_example(divergence(teacher, student))

    def negative_log_likelihood(self, distribution: Distribution, labels: tf.Tensor) -> tf.Tensor:
        """Returns -log p(labels) per example in nats, shape (batch,)."""
        raise NotImplementedError

    def compare(self, teacher: Distribution, student: Distribution) -> dict[str, tf.Tensor]:
        """Returns how close two distributions are: `closeness_names` to numbers (batch,)."""
        raise NotImplementedError

    def prediction(self, raw: tf.Tensor) -> tf.Tensor:
        """Returns what Keras's own metrics compare with labels: probabilities, or means."""
        raise NotImplementedError

    def parameters(self, distribution: Distribution) -> dict[str, tf.Tensor]:
        """Returns the named parameters that an exported student answers with."""
        raise NotImplementedError

    def from_parameters(self, parameters: dict[str, tf.Tensor]) -> Distribution:
        """Returns the distribution of named `parameters`; the inverse of `parameters`."""
        raise NotImplementedError

    def __eq__(self, other):
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self):
        return hash((type(self).__name__, str(self.get_config())))


class Logits(Output):
    """What the outputs whose raw tensors are logits share."""

    def __init__(self, temperature: float = 1.0):
        self.temperature = require.positive("temperature", temperature)

    def __call__(self, raw):
        return self._distribution(self.logits(raw))

    def logits(self, raw: tf.Tensor) -> tf.Tensor:
        """Returns the distribution's logits in float32: `raw` divided by the temperature."""
        raw = float32(raw)
        return raw if self.temperature == 1.0 else raw / self.temperature

    def _distribution(self, logits):
        raise NotImplementedError

    def get_config(self):
        return {"temperature": self.temperature}


def per_example(values: tf.Tensor) -> tf.Tensor:
    """Averages every axis of `values` after the first: (batch, positions...) to (batch,)."""
    if values.shape.rank is not None and values.shape.rank > 1:
        return tf.reduce_mean(values, axis=list(range(1, values.shape.rank)))
    return values


def is_one_hot(labels: Any, logits: tf.Tensor) -> bool:
    """Returns whether `labels` are (soft) one-hot rows (..., K) like `logits`, not indices."""
    labels = tf.convert_to_tensor(labels)
    return labels.shape.rank == logits.shape.rank and labels.shape[-1] == logits.shape[-1]


def float32(values):
    return tf.cast(tf.convert_to_tensor(values), tf.float32)


def stack(raws):
    return tf.stack([float32(raw) for raw in raws])
