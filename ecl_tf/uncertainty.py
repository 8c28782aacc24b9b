"""Scores of sampled rows by what the networks answer there: how uncertain, how unlike.

| score | of a row | network that is asked |
|---|---|---|
| `teacher_uncertainty` | the teacher's entropy, or variance | teacher |
| `disagreement` | its epistemic part alone: what the members differ by | teacher |
| `student_uncertainty` | the student's entropy, or variance | student |
| `divergence` | KL(teacher || student) | teacher and student |

KL is the Kullback-Leibler divergence. Categorical and Bernoulli outputs have entropies in
nats; their epistemic part is the mutual information between label and member. Outputs of numbers
have variances in units of the output's `target_stddev`, summed over target dimensions; their
epistemic part is the variance of the members' means. Of log-normal outputs both are of the
logarithm. Named outputs are summed with their
weights. All scores are >= 0, apart from rounding. The student answers in inference mode, as
the teacher does.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ecl_tf import divergences
from ecl_tf._internal import own_inputs, positions


class Networks(NamedTuple):
    """The two networks that a score asks.

    Attributes:
        teacher: an `ecl_tf.Teacher`.
        student: a `keras.Model` giving raw outputs.
        output: the `ecl_tf.outputs.Output` of the student's raw outputs.
    """

    teacher: Any
    student: Any
    output: Any


class Answers:
    """What the networks answer for a batch of inputs; each is asked when needed, once.

    Args:
        networks: `Networks`.
        inputs: a batch of inputs.
        member_outputs: what the teacher's members answered already, a sequence of raw
            outputs; empty by default, where they did not.
        uncertainty: the teacher's `ecl_tf.outputs.Uncertainty`, where it is known apart from
            that; empty by default.
    """

    def __init__(
        self,
        networks: Networks,
        inputs: Any,
        member_outputs: Sequence[Any] = (),
        uncertainty: Any = (),
    ):
        """Takes the arguments that the class describes."""
        self.networks = networks
        self.inputs = inputs
        known = {"member_outputs": member_outputs, "uncertainty": uncertainty}
        vars(self).update({name: answer for name, answer in known.items() if len(answer)})

    @functools.cached_property
    def member_outputs(self) -> Sequence[Any]:
        """The raw outputs of the teacher's members, a list."""
        return self.networks.teacher.member_outputs(self.inputs)

    @functools.cached_property
    def uncertainty(self) -> Any:
        """The teacher's, in its two parts."""
        return self.networks.teacher.output_kind.uncertainty(self.member_outputs)

    @functools.cached_property
    def student_output(self) -> Any:
        """The student's raw output."""
        student = self.networks.student
        return student(own_inputs.of(student, self.inputs), training=False)

    @functools.cached_property
    def student_weights(self) -> Any:
        """Weights of positions, such that those that Keras masks don't count; None of no mask."""
        return positions.by_row(self.student_output)

    @functools.cached_property
    def teacher_weights(self) -> Any:
        """The same by the mask of the teacher's first member, if it was asked just now."""
        if "uncertainty" in vars(self) and "member_outputs" not in vars(self):
            return None
        return positions.by_row(self.member_outputs[0])


def teacher_uncertainty(answers: Answers) -> tf.Tensor:
    """Returns the total uncertainty of the teacher's distribution, (batch,), of `answers`."""
    output = answers.networks.teacher.output_kind
    return _total(output, answers.uncertainty, answers.teacher_weights)


def disagreement(answers: Answers) -> tf.Tensor:
    """Returns the epistemic part, what the teacher's members differ by, of `answers`."""
    output = answers.networks.teacher.output_kind
    return output.score(_part(answers.uncertainty, "epistemic"), answers.teacher_weights)


def student_uncertainty(answers: Answers) -> tf.Tensor:
    """Returns the total uncertainty of the student's distribution, (batch,), of `answers`."""
    output = answers.networks.output
    return _total(output, output.uncertainty([answers.student_output]), answers.student_weights)


def divergence(answers: Answers) -> tf.Tensor:
    """Returns KL(teacher || student) in nats, (batch,), of `answers`, at temperature 1."""
    output = answers.networks.output
    teacher = answers.networks.teacher.output_kind.combine(answers.member_outputs)
    student = output(answers.student_output)
    return output.divergence(teacher, student, divergences.kl, weights=answers.student_weights)


SCORES = {
    function.__name__: function
    for function in (teacher_uncertainty, disagreement, student_uncertainty, divergence)
}


Score = str | dict[str, Any] | Callable[[Answers], tf.Tensor]


def get(identifier: Score) -> Callable[[Answers], tf.Tensor]:
    """Returns the score function of a name or config, or the function given.

    Args:
        identifier: a name in `SCORES` such as "student_uncertainty"; a function of `Answers`
            to numbers >= 0 of shape (batch,); or the Keras config of one.

    Raises:
        ValueError: if the name is not one of `SCORES`.
    """
    if callable(identifier):
        return identifier
    if isinstance(identifier, dict):
        return keras.saving.deserialize_keras_object(identifier)
    if isinstance(identifier, str) and identifier in SCORES:
        return SCORES[identifier]
    raise ValueError(
        f"Unknown score {identifier!r}; expected one of {sorted(SCORES)}, or a function of "
        "ecl_tf.uncertainty.Answers to a tensor of shape (batch,)."
    )


def config_of(score: Callable[[Answers], tf.Tensor]) -> str | dict[str, Any]:
    """Returns what `get` takes for a `score` function: its name in `SCORES`, or its config."""
    name = next((name for name, known in SCORES.items() if known is score), None)
    return name or keras.saving.serialize_keras_object(score)


def scores_of(score: Callable[[Answers], tf.Tensor], answers: Answers) -> tf.Tensor:
    """Returns a `score` of `answers`; raises ValueError if it is not one number for each row."""
    scores = tf.convert_to_tensor(score(answers))
    rows = keras.tree.flatten(answers.inputs)[0].shape[:1]
    if not scores.shape.is_compatible_with(rows):
        raise ValueError(
            f"The score {getattr(score, '__name__', score)!r} gave numbers of shape "
            f"{tuple(scores.shape)}. It must give one for each row, shape (batch,)."
        )
    return scores


def require(networks: Networks | None, sampler: Any) -> Networks:
    """Returns `networks`; raises ValueError if a `sampler` that asks them was given none."""
    if networks is None:
        raise ValueError(
            f"{type(sampler).__name__} asks teacher and student, which a Distiller gives it. By "
            "itself, call it with networks=ecl_tf.uncertainty.Networks(teacher, student, output)."
        )
    return networks


def validate(score: Callable[[Answers], tf.Tensor], networks: Networks) -> None:
    """Raises ValueError if a `score` can't be computed from such `networks`."""
    members = getattr(networks.teacher, "members", None)
    count = getattr(networks.teacher, "member_count", None) if members is None else len(members)
    if score is disagreement and count == 1:
        raise ValueError(
            "score='disagreement' compares the members of an ensemble, and this teacher is a "
            "single one, which never disagrees with itself. Give two members or more, or use "
            "score='teacher_uncertainty'."
        )


def _total(output, uncertainty, weights):
    parts = [_part(uncertainty, "aleatoric"), _part(uncertainty, "epistemic")]
    return output.score(parts[0], weights) + output.score(parts[1], weights)


def _part(uncertainty, name):
    """One part of an `Uncertainty`, or of a dict of them."""
    if isinstance(uncertainty, dict):
        return {key: _part(value, name) for key, value in uncertainty.items()}
    return getattr(uncertainty, name)
