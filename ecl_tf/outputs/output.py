"""The base class of all outputs, and what they share."""

import numbers
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import tensorflow as tf

from ecl_tf._internal import require
from ecl_tf._internal.configured import Configured
from ecl_tf.divergences import Distribution


class Uncertainty(NamedTuple):
    """The two parts of a teacher's predictive uncertainty.

    For categorical outputs both are entropies in nats, of shape (batch...,): the mean
    entropy of the members, and the mutual information between the label and the
    member. For Bernoulli outputs they are summed over labels. For outputs of numbers both are
    variances in squared target units (of `LogNormal`, of the logarithm), of shape (batch..., d):
    the mean variance of the members, and the variance of their means. The two parts add up to the
    total of the combined distribution (of `Poisson`, of the members' mixture).

    Attributes:
        aleatoric: the part that all members agree on.
        epistemic: the part that the members differ by.
    """

    aleatoric: Any
    epistemic: Any


class Output(Configured):
    """Base class: the kind of distribution that a network's raw tensor stands for.

    A subclass is small and stateless. It implements `__call__`, `combine`, `uncertainty`,
    `raw`, `negative_log_likelihoods`, `compare`, `prediction`, `parameters` and
    `from_parameters`, has a `get_config` if it has arguments, and is registered with Keras.
    `Joint` has named outputs: there each tensor and each distribution is a dict by name.

    Attributes:
        family: the kind of distribution, so that a teacher of one parametrisation (say points
            with a measured spread) can teach a student of another (means and scales).
        temperature: what the raw tensor stands for is p^(1/temperature); 1 by default.
        takes_temperature: whether `divergence` uses its temperature; False by default.
        takes_mixed_labels: whether a weighted mean of two labels may be learned from; True by
            default.
        makes_probabilities: the Keras activation that would make probabilities of raw
            tensors, which a student's last layer must not have; None by default.
        closeness_names: the keys of what `compare` returns.
        parameter_names: the keys that `from_parameters` needs, by the alphabet; `parameters` may
            return more.
    """

    family: str | dict = ""
    temperature = 1.0
    takes_temperature = False
    takes_mixed_labels = True
    makes_probabilities: str | None = None
    closeness_names: tuple[str, ...] = ("agreement",)
    parameter_names: tuple[str, ...] = ("probabilities",)

    def __call__(self, raw: tf.Tensor) -> Distribution:
        """Returns the distribution of a raw tensor (batch..., size), of batch shape (batch...)."""
        raise NotImplementedError

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute; ours only once, as compiled steps would not see another."""
        is_ours = type(self).__module__.partition(".")[0] == __name__.partition(".")[0]
        if is_ours and name in vars(self):
            raise ValueError(
                f"An output keeps its {name}. Make a new one, {type(self).__name__}({name}=...), "
                "and a new teacher or distiller with it."
            )
        super().__setattr__(name, value)

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

    @property
    def made_positive(self) -> dict[str, slice]:
        """The places of raw numbers whose softplus is taken, by what they become; {} by default."""
        return {}

    def raw_size(self, event_size: int) -> int:
        """The last dimension of the raw tensor for a number of classes or targets."""
        return event_size

    def fits_raw(self, shape: Sequence[int | None], event_size: Any) -> bool:
        """Returns whether a raw tensor of this `shape` may be an answer about so many targets.

        Args:
            shape: that of the raw tensor of a network, or of an ensemble of them.
            event_size: the number of classes, labels or target dimensions.
        """
        return shape[-1] == self.raw_size(event_size)

    def can_learn_from(self, teacher: "Output") -> bool:
        """Returns whether distributions of a `teacher`'s output can be matched by this one's."""
        return teacher.family == self.family

    def matched(self, teacher: Distribution) -> Distribution:
        """Returns what `divergence` compares with of a `teacher`'s distribution: it as it is.

        An output that can learn from other families returns one of its own.
        """
        return teacher

    def combine(self, raws: Sequence[tf.Tensor]) -> Distribution:
        """Returns the one distribution of an ensemble's raw tensors.

        Args:
            raws: M raw tensors (batch..., size), one of each member.
        """
        raise NotImplementedError

    def uncertainty(self, raws: Sequence[tf.Tensor]) -> Uncertainty:
        """Returns the `Uncertainty` of an ensemble's raw tensors, in its two parts."""
        raise NotImplementedError

    def score(self, uncertainty: tf.Tensor, weights: Any = None) -> tf.Tensor:
        """Returns a part of an `Uncertainty` as one number >= 0 per example, (batch,).

        `ecl_tf.uncertainty` says in which units. Positions of dense predictions are averaged.

        Args:
            uncertainty: the part, of every position.
            weights: of positions, as in `divergence`; None by default.
        """
        return per_example(uncertainty, weights)

    def raw(self, distribution: Distribution) -> tf.Tensor:
        """Returns the raw tensor that gives `distribution`; the inverse of `__call__`."""
        raise NotImplementedError

    def divergence(
        self,
        teacher: Distribution,
        student: Distribution,
        divergence: Callable[..., tf.Tensor],
        temperature: float | tf.Tensor = 1.0,
        weights: Any = None,
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
            weights: float32 (batch, positions...), by which values are multiplied before
                positions are averaged; None, the default, is 1 for each. A joint output takes a
                dict of them.

        Raises:
            ValueError: if D gives no tensor of floating point, or not one number for each row and
                position.
        """
        _require_same_positions(teacher, student)
        teacher, student, divergence = self._compared(teacher, student, divergence)
        teacher = self.matched(teacher)
        factor = 1.0
        if self.takes_temperature and not (isinstance(temperature, float) and temperature == 1.0):
            teacher, student = (self.softened(each, temperature) for each in (teacher, student))
            factor = temperature**2
        values = divergence(teacher, student)
        _require_values(values, student.batch_shape, divergence)
        return factor * per_example(float32(values), weights)

    def _compared(self, teacher, student, divergence):
        """What `divergence` compares, and by which function: what it is given, by default."""
        return teacher, student, divergence

    def softened(self, distribution: Distribution, temperature: float | tf.Tensor) -> Distribution:
        """Returns p^(1/T), normalised, for outputs that take a `temperature` T."""
        raise NotImplementedError

    def negative_log_likelihood(
        self, distribution: Distribution, labels: tf.Tensor, weights: Any = None
    ) -> tf.Tensor:
        """Returns -log p(labels) per example in nats, shape (batch,).

        Positions are averaged. Unknown labels (see `known`) give 0; labels that are none (see
        `invalid`) give NaN.

        Args:
            distribution: that of the network.
            labels: labels in any form that `fit` takes.
            weights: of positions, as in `divergence`; None by default.
        """
        return per_example(self.negative_log_likelihoods(distribution, labels), weights)

    def negative_log_likelihoods(self, distribution: Distribution, labels: tf.Tensor) -> tf.Tensor:
        """Returns what `negative_log_likelihood` averages, shape (batch, positions...)."""
        raise NotImplementedError

    def known(self, labels: tf.Tensor, raw: tf.Tensor) -> Any:
        """Returns 1 for positions with a known label and 0 for others, or None if all are known.

        Args:
            labels: labels of the batch.
            raw: raw outputs (batch, positions..., size) for it.
        """
        return None

    def invalid(self, labels: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        """Returns which of the `labels` are none that a network with such a `raw` output can have.

        It is bool, of the shape of the labels.
        """
        return ~tf.math.is_finite(float32(labels))

    def validate_labels(self, shape: Sequence[int | None], raw_shape: Sequence[int | None]) -> None:
        """Raises ValueError if labels of a static `shape` don't fit a `raw_shape`."""

    def require_labels(self, labels: Any, raw_shape: Sequence[int | None], name: str = "") -> None:
        """Raises ValueError if an array of `labels` has one that is none, or another shape.

        Args:
            labels: all labels.
            raw_shape: the static shape of the network's raw output.
            name: that of the output, for the message; "" by default.
        """
        labels = np.asarray(labels)
        of_name = f" of {name!r}" if name else ""
        if labels.dtype.kind not in "biuf":
            flat = labels.ravel()
            missing = [place for place, each in enumerate(flat) if each is None]
            raise ValueError(
                f"Labels{of_name} must be numbers; got {labels.dtype} such as "
                f"{flat[(missing or [0])[0]]!r}. Expected {self.expected_labels(raw_shape)}. "
                + (_MISSING.format(missing[0]) if missing else _remedy_of_type(labels))
            )
        self.validate_labels(labels.shape, raw_shape)
        raw = tf.zeros([1 if size is None else size for size in raw_shape])
        is_wrong = np.asarray(self.invalid(labels, raw))
        if is_wrong.any():
            found = self._in_words(labels, is_wrong, raw)
            raise ValueError(
                f"Labels{of_name} are out of range: {found}. Expected "
                f"{self.expected_labels(raw_shape)}."
            )

    def _in_words(self, labels, is_wrong, raw):
        """The labels that are wrong, for a message."""
        return in_words(np.unique(labels[is_wrong]))

    def expected_labels(self, raw_shape: Sequence[int | None]) -> str:
        """Returns what labels `invalid` accepts, in words."""
        return "finite numbers"

    def compare(
        self, teacher: Distribution, student: Distribution, weights: Any = None
    ) -> dict[str, tf.Tensor]:
        """Returns how close two distributions are: `closeness_names` to numbers (batch,).

        Args:
            teacher: the teacher's distribution.
            student: the student's.
            weights: of positions, as in `divergence`; None by default.
        """
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

    def __init__(self, temperature: float = 1.0, ignore_class: int | None = None):
        self.temperature = require.positive("temperature", temperature)
        if ignore_class is not None and (
            not isinstance(ignore_class, numbers.Real) or ignore_class % 1 != 0
        ):
            raise ValueError(f"ignore_class must be a whole number or None; got {ignore_class!r}.")
        self.ignore_class = None if ignore_class is None else int(ignore_class)

    def __call__(self, raw):
        return self._distribution(self.logits(raw))

    def logits(self, raw: tf.Tensor) -> tf.Tensor:
        """Returns the distribution's logits in float32: `raw` divided by the temperature."""
        raw = float32(raw)
        return raw if self.temperature == 1.0 else raw / self.temperature

    def _distribution(self, logits):
        raise NotImplementedError

    def is_ignored(self, labels: tf.Tensor) -> tf.Tensor:
        """Returns which labels are `ignore_class`, an integer here, and so unknown.

        Args:
            labels: a tensor of any type. One that can't hold `ignore_class` has no such label.
        """
        value, dtype = self.ignore_class, labels.dtype
        holds = not dtype.is_bool and (not dtype.is_integer or dtype.min <= value <= dtype.max)
        if not holds:  # A cast would wrap: -1 is True as bool, and 256 is 0 as uint8.
            return tf.zeros_like(labels, tf.bool)
        return tf.equal(labels, tf.cast(value, dtype))

    def get_config(self):
        ignored: dict[str, Any] = (
            {} if self.ignore_class is None else {"ignore_class": self.ignore_class}
        )
        return {"temperature": self.temperature, **ignored}


def per_example(values: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Averages every axis of `values` after the first: (batch, positions...) to (batch,).

    Args:
        values: one number for each position.
        weights: factors of them, of the same shape; None, the default, for none. What has the
            weight 0 has no say, even if it is not finite.
    """
    if weights is not None:
        values = tf.math.multiply_no_nan(values, weights)
    if values.shape.rank is not None and values.shape.rank > 1:
        return tf.reduce_mean(values, axis=list(range(1, values.shape.rank)))
    return values


def _require_values(values, shape, divergence):
    """Refuses what a user's function gives if it is not one number for each row and position."""
    name = getattr(divergence, "__name__", type(divergence).__name__)
    if not tf.is_tensor(values) or not values.dtype.is_floating:
        found = values.dtype.name if tf.is_tensor(values) else f"a {type(values).__name__}"
        raise ValueError(
            f"The divergence {name!r} gave {found}; expected a tensor of floating point, made with "
            "TensorFlow operations of both distributions, so that it has a gradient."
        )
    if not values.shape.is_compatible_with(shape):
        raise ValueError(
            f"The divergence {name!r} gave values of shape {tuple(values.shape)} for distributions "
            f"of batch shape {tuple(shape)}. It must give one for each: leave rows and positions "
            "apart."
        )


def _require_same_positions(teacher, student):
    """Two shapes that differ would be broadcast: a row against the positions of others."""
    own, its = student.batch_shape, teacher.batch_shape
    if not own.is_compatible_with(its):
        raise ValueError(
            "Teacher and student don't fit each other: for the same rows the teacher's "
            f"distribution has shape {tuple(its)} (batch, positions...) and the student's "
            f"{tuple(own)}. Give both networks the same positions."
        )
    events = teacher.event_shape, student.event_shape
    if all(event.rank for event in events) and not events[0].is_compatible_with(events[1]):
        raise ValueError(
            "Teacher and student don't fit each other: the teacher's distribution is one of "
            f"{events[0][-1]} target dimensions or labels, and the student's of {events[1][-1]}. "
            "Give both the same."
        )
    if own[1:].is_fully_defined() and its[1:].is_fully_defined():
        return
    shapes = teacher.batch_shape_tensor(), student.batch_shape_tensor()
    tf.debugging.assert_equal(
        *shapes,
        message="Teacher and student don't fit each other: their positions differ in a batch. Give "
        "both networks the same positions.",
    )


def in_words(values: np.ndarray, most: int = 5) -> str:
    """Returns the first of some numbers for a message."""
    return ", ".join(f"{float(v):g}" for v in values[:most]) + ", ..." * (len(values) > most)


_MISSING = (
    "Label {} (from 0) is missing: leave such rows out of x and y, those where it is False in "
    "[each is not None for each in y]."
)


def _remedy_of_type(labels):
    """What to do with labels that are no numbers by their type."""
    try:
        labels.astype("float64")
    except (TypeError, ValueError):
        return "keras.layers.StringLookup(num_oov_indices=0) numbers names of classes."
    return "They can be read as numbers: give np.asarray(labels).astype('float32')."


def is_one_hot(labels: Any, logits: tf.Tensor) -> bool:
    """Returns whether `labels` are (soft) one-hot rows (..., K) like `logits`, not indices."""
    labels = tf.convert_to_tensor(labels)
    return len(labels.shape) == len(logits.shape) and labels.shape[-1] == logits.shape[-1]


def require_same_shape(labels: Sequence[int | None], values: Sequence[int | None]) -> None:
    """Raises ValueError unless `labels` have the shape of `values`, but for sizes of 1 at the end.

    Reshaped or broadcast, others would be compared with other rows' values.
    """
    own, wanted = list(labels), list(values)
    while len(own) > 1 and own[-1] == 1:
        own.pop()
    while len(wanted) > 1 and wanted[-1] == 1:
        wanted.pop()
    # A last size that is not known may be 1.
    if len(own) == len(wanted) + 1 and own[-1] is None:
        own.pop()
    if len(own) != len(wanted) or not fits(own, wanted):
        raise ValueError(
            f"The labels have shape {tuple(labels)}, and the student predicts values of shape "
            f"{tuple(values)}. Give one label for each of them."
        )


def fits(shape: Sequence[int | None], positions: Sequence[int | None]) -> bool:
    """Returns whether the first sizes of a static shape are those of `positions`."""
    pairs = zip(shape, positions, strict=False)
    return all(mine is None or its is None or mine == its for mine, its in pairs)


def float32(values):
    return tf.cast(tf.convert_to_tensor(values), tf.float32)


def stack(raws):
    return tf.stack([float32(raw) for raw in raws])
