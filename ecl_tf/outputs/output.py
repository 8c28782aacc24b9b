"""The base class of all outputs, and what they share."""

import math
from typing import Any, NamedTuple

import tensorflow as tf


class Uncertainty(NamedTuple):
    """The two parts of a teacher's predictive uncertainty.

    For categorical and Bernoulli outputs both are entropies in nats: the mean
    entropy of the members, and the mutual information between the label and the
    member. For normal outputs both are variances in squared target units, one
    per event dimension: the mean variance of the members, and the variance of
    their means. The two parts add up to the total of the combined distribution.
    """

    aleatoric: Any
    epistemic: Any


class Output:
    """Base class: the kind of distribution that a network's raw tensor stands for.

    Subclasses are small, stateless and serializable. `family` names the kind of
    distribution, so that a teacher of one parametrisation (say points with a
    measured spread) can teach a student of another (means and scales).
    """

    family: str | dict = ""
    takes_temperature = False
    makes_probabilities: str | None = None  # The activation that raw tensors may not have.
    closeness_names: tuple[str, ...] = ("agreement",)

    def __call__(self, raw):
        """Returns the distribution of a raw tensor (batch..., size)."""
        raise NotImplementedError

    def validate(self, shape, network):
        """Raises ValueError if a network's output `shape` can't be this output.

        Args:
            shape: the static shape of the raw tensor, batch dimension first.
            network: "student" or "teacher", for the message.
        """

    def event_size(self, shape):
        """The number of classes, labels or target dimensions for a raw `shape`."""
        return shape[-1]

    def tempered(self, temperature):
        """This output with another temperature T: each raw tensor stands for p^(1/T)."""
        return type(self).from_config({**self.get_config(), "temperature": temperature})

    def raw_size(self, event_size):
        """The last dimension of the raw tensor for a number of classes or targets."""
        return event_size

    def combine(self, raws):
        """Returns the one distribution of an ensemble's raw tensors.

        Args:
            raws: a list of M raw tensors, one per member.
        """
        raise NotImplementedError

    def uncertainty(self, raws):
        """Returns the ensemble's `Uncertainty`, aleatoric and epistemic parts."""
        raise NotImplementedError

    def score(self, uncertainty):
        """One number >= 0 per example, shape (batch,), of a part of an `Uncertainty`.

        Entropies are taken as they are; variances in units of `target_stddev`, summed
        over target dimensions. Positions of dense predictions are averaged.
        """
        return per_example(uncertainty)

    def raw(self, distribution):
        """The inverse of `__call__`: the raw tensor that gives `distribution`."""
        raise NotImplementedError

    def divergence(self, teacher, student, divergence, temperature=1.0):
        """Returns the divergence per example, shape (batch,).

        Positions of dense predictions (any batch axis after the first) are
        averaged.
        """
        del temperature
        return per_example(divergence(teacher, student))

    def negative_log_likelihood(self, distribution, labels):
        """Returns -log p(labels) per example in nats, shape (batch,)."""
        raise NotImplementedError

    def compare(self, teacher, student):
        """Returns a dict from `closeness_names` to closenesses of shape (batch,)."""
        raise NotImplementedError

    def prediction(self, raw):
        """What Keras's own metrics compare with labels: probabilities, or means."""
        raise NotImplementedError

    def parameters(self, distribution):
        """Returns the named parameters that an exported student answers with."""
        raise NotImplementedError

    def from_parameters(self, parameters):
        """The inverse of `parameters`."""
        raise NotImplementedError

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __eq__(self, other):
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self):
        return hash((type(self).__name__, str(self.get_config())))

    def __repr__(self):
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class Logits(Output):
    """What the outputs whose raw tensors are logits share."""

    def __init__(self, temperature=1.0):
        self.temperature = positive("temperature", temperature)

    def __call__(self, raw):
        return self._distribution(self.logits(raw))

    def logits(self, raw):
        """Those of the distribution, in float32: the raw tensor's over the temperature."""
        raw = float32(raw)
        return raw if self.temperature == 1.0 else raw / self.temperature

    def _distribution(self, logits):
        raise NotImplementedError

    def get_config(self):
        return {"temperature": self.temperature}


def per_example(values):
    """Averages every axis after the first: (batch, positions...) to (batch,)."""
    if values.shape.rank is not None and values.shape.rank > 1:
        return tf.reduce_mean(values, axis=list(range(1, values.shape.rank)))
    return values


def is_one_hot(labels, logits):
    """Whether labels are (soft) one-hot rows (..., K) and not class indices."""
    labels = tf.convert_to_tensor(labels)
    return labels.shape.rank == logits.shape.rank and labels.shape[-1] == logits.shape[-1]


def positive(name, value):
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number; got {value!r}.")
    return float(value)


def float32(values):
    return tf.cast(tf.convert_to_tensor(values), tf.float32)


def stack(raws):
    return tf.stack([float32(raw) for raw in raws])
