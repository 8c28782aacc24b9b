"""Scores of sampled rows by what the networks answer there: how uncertain, how unlike.

| score | of a row | who is asked |
|---|---|---|
| `teacher_uncertainty` | the teacher's entropy, or variance | teacher |
| `disagreement` | its epistemic part alone: what the members differ by | teacher |
| `student_uncertainty` | the student's entropy, or variance | student |
| `divergence` | KL(teacher || student) | teacher and student |

Categorical and Bernoulli outputs have entropies, in nats, of which the mutual information
between label and member is the epistemic part; normal ones have variances, in units of the
output's `target_stddev`, summed over target dimensions, of which the variance of the members'
means is. Named outputs are summed with their weights. All scores are >= 0 (but for
rounding). The student answers in inference mode, as the teacher does.
"""

import functools
from typing import Any, NamedTuple

import keras

from ecl_tf import divergences


class Networks(NamedTuple):
    """Who is asked.

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
        member_outputs: what the teacher's members answered already, if they did.
        uncertainty: the teacher's, where it is known apart from that.
    """

    def __init__(self, networks, inputs, member_outputs=(), uncertainty=()):
        self.networks = networks
        self.inputs = inputs
        known = {"member_outputs": member_outputs, "uncertainty": uncertainty}
        vars(self).update({name: answer for name, answer in known.items() if len(answer)})

    @functools.cached_property
    def member_outputs(self):
        """The raw outputs of the teacher's members, a list."""
        return self.networks.teacher.member_outputs(self.inputs)

    @functools.cached_property
    def uncertainty(self):
        """The teacher's, in its two parts."""
        return self.networks.teacher.output_kind.uncertainty(self.member_outputs)

    @functools.cached_property
    def student_output(self):
        """The student's raw output."""
        return self.networks.student(self.inputs, training=False)

    @property
    def teacher_was_asked(self):
        return "member_outputs" in vars(self)


def teacher_uncertainty(answers):
    """The total uncertainty of the teacher's distribution."""
    return _total(answers.networks.teacher.output_kind, answers.uncertainty)


def disagreement(answers):
    """The epistemic part: what the teacher's members differ by."""
    output = answers.networks.teacher.output_kind
    return output.score(_part(answers.uncertainty, "epistemic"))


def student_uncertainty(answers):
    """The total uncertainty of the student's distribution."""
    output = answers.networks.output
    return _total(output, output.uncertainty([answers.student_output]))


def divergence(answers):
    """KL from the teacher's distribution to the student's, at temperature 1."""
    output = answers.networks.output
    teacher = answers.networks.teacher.output_kind.combine(answers.member_outputs)
    return output.divergence(teacher, output(answers.student_output), divergences.kl)


SCORES = {
    function.__name__: function
    for function in (teacher_uncertainty, disagreement, student_uncertainty, divergence)
}


def get(identifier):
    """Returns the score function of a name or config, or the function given.

    A score is a function of `Answers` to numbers >= 0 of shape (batch,).

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


def config_of(score):
    """What `get` takes for a score function: its name in `SCORES`, or its Keras config."""
    name = next((name for name, known in SCORES.items() if known is score), None)
    return name or keras.saving.serialize_keras_object(score)


def require(networks, sampler):
    """Raises ValueError if a sampler that asks networks was given none."""
    if networks is None:
        raise ValueError(
            f"{type(sampler).__name__} asks teacher and student, which a Distiller gives it. By "
            "itself, call it with networks=ecl_tf.uncertainty.Networks(teacher, student, output)."
        )


def validate(score, networks):
    """Raises ValueError if a score can't be had from such networks."""
    members = getattr(networks.teacher, "members", None)
    if score is disagreement and members is not None and len(members) < 2:
        raise ValueError(
            "score='disagreement' compares the members of an ensemble, and this teacher is a "
            "single network, which never disagrees with itself. Give two networks or more, or "
            "use score='teacher_uncertainty'."
        )


def _total(output, uncertainty):
    parts = [_part(uncertainty, "aleatoric"), _part(uncertainty, "epistemic")]
    return output.score(parts[0]) + output.score(parts[1])


def _part(uncertainty, name):
    """One part of an `Uncertainty`, or of a dict of them."""
    if isinstance(uncertainty, dict):
        return {key: _part(value, name) for key, value in uncertainty.items()}
    return getattr(uncertainty, name)
