"""Samples that are moved to where the networks are less certain."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf import outputs, uncertainty
from ecl_tf._internal import groups, own_inputs, positions, random, require
from ecl_tf.samplers import fields, suitable
from ecl_tf.samplers.sampler import Sampler, Samples, require_whole, row_count

_OUTPUT_DIRECTION = "output_direction"
# What asks the teacher alone, whose samples can be stored.
_OF_TEACHER = (_OUTPUT_DIRECTION, uncertainty.teacher_uncertainty, uncertainty.disagreement)


@keras.saving.register_keras_serializable("ecl_tf")
class TowardUncertainty(Sampler):
    """Moves each sample of another sampler along the gradient, by the sample, of a score.

    With s the standard deviations of the row's D numbers over the batch, and g the score's
    gradient at the row x,

        x~ = clip(x + step * D^(1/2) * s * (s g) / ||s g||_2)

    So numbers move by `step` standard deviations in the root mean square, whatever units they
    have, and a number that is the same in all rows stays. The clip keeps every number within
    the values that it has in the batch. Where s is the same for all numbers, the direction is
    g. A row whose gradient is 0, or not finite, stays as it is, and so does a batch of one row.

    Inputs of a row are moved together, by one gradient: all that are floating point, but those
    that a network takes by their exact values (see `Sampler.averages`), and masks of positions, as
    names such as "mask" tell them. Of an input that a Keras layer masks, the padding stays.

    Scores are those of `ecl_tf.uncertainty`, and "output_direction": the sum over k of w_k p(k),
    where p are the probabilities (of a normal output the means, in units of `target_stddev`) of
    one of the teacher's members, drawn for the whole batch, and each row's w_k are uniform in
    [-1, 1]. It moves a row's answer in a random direction, and so to where members differ.

    This is what a step costs for B rows, beside the student's training, in passes forward and,
    by the inputs alone, back; the teacher's last forward pass labels the moved rows. M is the
    number of its members:

    | score | teacher | student |
    |---|---|---|
    | "output_direction" | 1/M forward, 1/M back, 1 forward | 0 |
    | "teacher_uncertainty", "disagreement" | 1 forward, 1 back, 1 forward | 0 |
    | "student_uncertainty" | 1 forward | 1 forward, 1 back |
    | "divergence" | 1 forward, 1 back, 1 forward | 1 forward, 1 back |
    | (the base sampler alone) | 1 forward | 0 |

    What asks the teacher alone can be stored (`ecl_tf.replay.record`), samples and answers: the
    passes are then paid once. Padding then stays where the teacher masks it, and a student that
    masks more is refused.

    Args:
        base: the sampler whose samples are moved, its name or config; "Empirical", the training
            rows, by default.
        score: "output_direction" (the default), "disagreement", "teacher_uncertainty",
            "student_uncertainty" or "divergence", or a differentiable function of
            `uncertainty.Answers`.
        step: the root mean square of the move, in standard deviations; 0.1 by default, typically
            0.01 to 0.5. Negative values lead away from uncertainty.
        group_size: None, the default, takes standard deviations and limits from all rows of a
            replica. A number (such as 16) takes them from groups of as many rows: if it divides
            every replica's rows, the samples are the same on any number of replicas (given that
            the base sampler's are).

    Raises:
        ValueError: if an argument is out of its range, if it is called without networks, for
            "disagreement" if the teacher is a single network, or, before the first step, if no
            input can be moved: none is floating point, or the score has no gradient, as that of
            a teacher that runs outside of TensorFlow.

    Example: of two classes the uncertain place is where the logit is 0.
    >>> from ecl_tf import outputs, teachers
    >>> logit = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    >>> teacher = teachers.get(logit, outputs.Bernoulli())
    >>> networks = uncertainty.Networks(teacher, logit, outputs.Bernoulli())
    >>> x = tf.constant([[-2.0], [2.0], [-2.0], [2.0]])  # Of the standard deviation 2.
    >>> sampler = TowardUncertainty(score="teacher_uncertainty", step=0.25)
    >>> sampler(x, seed=0, networks=networks).inputs.numpy().ravel().tolist()
    [-1.5, 1.5, -1.5, 1.5]

    References: Tashiro et al., "Diversity can be Transferred: Output Diversification for White-
    and Black-box Attacks", NeurIPS 2020, have the random direction. Nam et al., "Diversity
    Matters When Learning From Ensembles", NeurIPS 2021, distil with it: for images in [0, 1] the
    authors' program moves by 1/255 in the root mean square (about 0.015 standard deviations of
    CIFAR's pixels), clips to [0, 1], and takes the softmax at the distillation's temperature,
    here the teacher's own. Standard deviations as units, the clip to the batch, other outputs
    than classes, and the other scores are additions of this project.
    """

    asks_networks = True

    def __init__(
        self,
        base: Sampler | str | dict[str, Any] = "Empirical",
        score: uncertainty.Score = _OUTPUT_DIRECTION,
        step: float = 0.1,
        group_size: int | None = None,
    ):
        from ecl_tf.samplers import get

        self.step = require.number("TowardUncertainty's step", step)
        if not 0.0 < abs(self.step) < float("inf"):
            raise ValueError(
                f"TowardUncertainty's step must be a number other than 0, and finite; got {step!r}."
            )
        groups.validate("TowardUncertainty", group_size)
        known = [_OUTPUT_DIRECTION, *uncertainty.SCORES]
        if isinstance(score, str) and score not in known:
            raise ValueError(
                f"Unknown score {score!r}; expected one of {known}, or a function of "
                "ecl_tf.uncertainty.Answers to a tensor of shape (batch,)."
            )
        self.base = get(base)
        require_whole(self, self.base)
        self.score: Any = score if score == _OUTPUT_DIRECTION else uncertainty.get(score)
        self.group_size = group_size
        self.models = self.base.models

    def validate(self, inputs: Any) -> None:
        self.base.validate(inputs)
        leaves = keras.tree.flatten(inputs)
        if not any(tf.as_dtype(leaf.dtype).is_floating for leaf in leaves):
            found = sorted({tf.as_dtype(leaf.dtype).name for leaf in leaves})
            raise ValueError(
                f"TowardUncertainty moves floating-point inputs, and the inputs are "
                f"{' and '.join(found)}. Cast amounts (counts, pixels) in the input pipeline: "
                "tf.cast(x, tf.float32). For ids use ecl_tf.samplers.Swap."
            )

    def validate_networks(self, networks: uncertainty.Networks) -> None:
        self.base.validate_networks(networks)
        if self.score != _OUTPUT_DIRECTION:
            uncertainty.validate(self.score, networks)

    @property
    def parts(self) -> Sequence[Sampler]:
        return [*self.base.parts, self]

    @property
    def is_recordable(self) -> bool:
        return self.base.is_recordable and self.score in _OF_TEACHER

    def draw(self, inputs: Any, seed: tf.Tensor, networks: uncertainty.Networks | None) -> Samples:
        networks = uncertainty.require(networks, self)
        base_seed, own_seed = random.split(seed, 2)
        samples = self.base.draw(inputs, base_seed, networks)
        x = keras.tree.flatten(samples.inputs)
        padding = suitable.padding(samples.inputs, networks)
        movable = [place for place, values in enumerate(padding) if values is not None]
        gradients = self._gradients(samples.inputs, movable, own_seed, networks)
        moved = self._moved(
            [x[place] for place in movable], gradients, [padding[place] for place in movable]
        )
        rows = row_count(samples.inputs)
        is_moved = tf.zeros([rows], tf.bool)
        for place, new in zip(movable, moved, strict=True):
            is_moved |= tf.reduce_any(_flat(new, rows) != _flat(x[place], rows), 1)
            x[place] = new
        return Samples(
            keras.tree.pack_sequence_as(samples.inputs, x),
            samples.unmodified & ~is_moved,
            samples.sources,
        )

    def _gradients(self, inputs, movable, seed, networks):
        """The score's gradient in each movable input, zeros where it does not depend on it."""
        leaves = keras.tree.flatten(inputs)

        def of(score):
            """The gradients of a function from inputs to scores (batch,)."""
            moved = [leaves[place] for place in movable]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(moved)
                total = tf.reduce_sum(score(keras.tree.pack_sequence_as(inputs, leaves)))
            try:
                found = tape.gradient(total, moved)
            except LookupError as error:  # An operation without one.
                raise self._no_gradient(inputs) from error
            if all(gradient is None for gradient in found):
                raise self._no_gradient(inputs)
            return [
                tf.zeros(tf.shape(x)) if gradient is None else tf.cast(gradient, tf.float32)
                for x, gradient in zip(moved, found, strict=True)
            ]

        if not movable:
            raise self._no_gradient(inputs)
        if self.score != _OUTPUT_DIRECTION:
            return of(lambda x: uncertainty.scores_of(self.score, uncertainty.Answers(networks, x)))
        member_seed, weight_seed = random.split(seed, 2)
        teacher = networks.teacher
        members = getattr(teacher, "members", None)
        if members is None:  # Its answers are not to be had one by one.

            def of_one(x):
                raws = teacher.member_outputs(x)
                return _along_output(teacher.output_kind, _one_of(raws, member_seed), weight_seed)

            return of(of_one)

        def of_member(member):
            def score(x):
                raw = teacher.raw_of(member(own_inputs.of(member, x), training=False))
                return _along_output(teacher.output_kind, raw, weight_seed)

            return of(score)

        branches = [functools.partial(of_member, member) for member in members]
        return tf.switch_case(_number(member_seed, len(members)), branches)

    @property
    def _name_of_score(self):
        return uncertainty.config_of(self.score) if callable(self.score) else self.score

    def _no_gradient(self, inputs):
        paths = [path for path, _ in keras.tree.flatten_with_path(inputs)]
        names = ", ".join(map(fields.described, paths))
        return ValueError(
            f"TowardUncertainty(score={self._name_of_score!r}) moves inputs along a gradient, and "
            "there is none: "
            f"what the score asks does not depend on {names} in a way that can be differentiated. "
            "That is so for networks that run outside of TensorFlow, and for ids. Use another "
            "sampler, or score='student_uncertainty' where the student can be differentiated."
        )

    def _moved(self, x, gradients, padding):
        """The moved inputs, of which positions that hold padding stay, and none becomes it."""
        rows = row_count(x)
        spreads = [fields.spread(each, self.group_size) for each in x]
        moves = []
        for each, gradient, values, (stddev, _, _) in zip(
            x, gradients, padding, spreads, strict=True
        ):
            scaled = stddev * gradient
            moves_at = tf.math.is_finite(scaled) & ~_holds(each, values)
            moves.append(_flat(tf.where(moves_at, scaled, 0.0), rows))
        total = tf.cast(tf.add_n([tf.shape(each)[1] for each in moves]), tf.float32)
        peak = functools.reduce(tf.maximum, [tf.reduce_max(tf.abs(each), 1) for each in moves])
        # Squares of small gradients would be 0.
        moves = [tf.math.divide_no_nan(each, peak[:, None]) for each in moves]
        squares = tf.add_n([tf.reduce_sum(each**2, 1) for each in moves])
        length = tf.math.divide_no_nan(self.step * tf.sqrt(total), tf.sqrt(squares))[:, None]
        moved = []
        for each, move, values, (stddev, low, high) in zip(x, moves, padding, spreads, strict=True):
            change = stddev * tf.reshape(length * move, tf.shape(each))
            new = tf.clip_by_value(each + tf.cast(change, each.dtype), low, high)
            new = tf.where(_holds(new, values), each, new)
            moved.append(tf.ensure_shape(new, each.shape))
        return moved

    def get_config(self) -> dict[str, Any]:
        return {
            "base": keras.saving.serialize_keras_object(self.base),
            "score": self._name_of_score,
            "step": self.step,
            "group_size": self.group_size,
        }


def _holds(x, values):
    """Where all numbers of a position are one of the values."""
    found = tf.zeros([1] * x.shape.rank, tf.bool)
    for value in values:
        found |= tf.reduce_all(x == tf.cast(value, x.dtype), -1, keepdims=True)
    return found


def _flat(x, rows):
    """(rows, ...) as (rows, numbers)."""
    return tf.reshape(x, [rows, tf.reduce_prod(tf.shape(x)[1:])])


def _number(seed, count):
    """A whole number below `count`, the same for all rows."""
    return tf.cast(random.uniform(seed, []) * count, tf.int32)


def _one_of(raws, seed):
    """One of the members' raw outputs."""
    number = _number(seed, len(raws))
    return keras.tree.map_structure(lambda *each: tf.gather(tf.stack(each), number), *raws)


def _along_output(output, raw, seed):
    """A raw output's probabilities, or means, in a random direction for every row, (batch,)."""
    parts = outputs.parts_of(output, raw, positions.by_row(raw))
    weights = getattr(output, "weights", {})
    total = 0.0
    for number, (name, (own, its, of_positions)) in enumerate(parts.items()):
        values = own.prediction(its) / tf.constant(getattr(own, "target_stddev", 1.0), tf.float32)
        w = 2.0 * random.uniform(random.fold_in(seed, number), tf.shape(values)) - 1.0
        along = outputs.per_example(tf.reduce_sum(w * values, -1), of_positions)
        total += weights.get(name, 1.0) * along
    return total
