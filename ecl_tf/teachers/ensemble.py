"""Keras models as one teacher."""

import functools
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf._internal import (
    finite,
    folding,
    identity,
    legacy,
    own_inputs,
    positions,
    probabilities,
    random,
    require,
    shared_layers,
    symbolic,
)
from ecl_tf.teachers import answers
from ecl_tf.teachers.teacher import Teacher

PRECISIONS = ("bfloat16", "float16")


@keras.saving.register_keras_serializable("ecl_tf")
class Ensemble(Teacher):
    """A teacher made of one or more Keras models, as one distribution.

    Categorical and Bernoulli members are combined by the mean of their probabilities,
    normal ones by the mixture's first two moments (see `ecl_tf.outputs`).

    Members answer in inference mode. Batch normalisation of functional and sequential ones in
    float32 is computed together with the convolution or dense layer before it, from the weights of
    the moment, where that saves time: answers differ from the member's own by rounding.

    With `members_per_step` k a training step asks k of the M members, drawn anew in each, at
    k / M of the cost. Their KL (Kullback-Leibler) divergence from the student q differs, in the
    mean over all draws, by a constant from that of the whole ensemble p:

        (1 / M) sum_m KL(p_m || q) = KL(p || q) + const

    So the student's expected gradient is the ensemble's, with more variance. That is exact for
    classes, yes/no labels and normal, log-normal, Poisson and mixture distributions, where the
    divergence is "kl", the distiller's temperature is 1, and so is an output's own of numbers. At
    another temperature T of the distiller the target is the mean of the members' p_m^(1/T), each
    normalised, and not p^(1/T); other divergences are the mean of the members' own. The logged
    divergence holds the constant.
    Evaluation, calibration, stores and the scores of samplers take all members; where a sampler
    has asked them all, so does its step.

    Args:
        members: a `keras.Model`, or a sequence of them, typically of 2 to 5. They are used
            as they are: neither their weights nor their `trainable` flags are changed.
        output: the `ecl_tf.outputs.Output` (or its name) of the members' raw outputs.
            Point-estimate regressors take `ecl_tf.outputs.Point(d, stddev)`.
        name: of the Keras model, "ensemble" by default.
        answer: what the members answer with, where the output has probabilities: "logits";
            "probabilities", whose logarithm is taken (0 becomes the smallest float32, 1e-38;
            yes/no ones also stay 6e-8 below 1); or a dict of these by the name of an output.
            None, the default, is logits, and refuses what looks like probabilities. With
            "logits" yes/no outputs are not looked at.
        members_per_step: k, how many members teach in a training step, from 1 to their number;
            None, the default, for all; typically 1 where the teacher's passes take most of a
            step.
        precision: "bfloat16" or "float16", in which the members then compute, which saves time
            where the device has such arithmetic: Keras's own layers from the first convolution or
            dense layer on, but for the last one with weights and what follows it. Inputs, weights
            and answers stay float32; weights are cast in every step, so that changes of them are
            followed. A warning names members of which no layer can. None, the default, computes
            as the members were made. Measure what it does to your teacher:
            `ecl_tf.teachers.rounding`.
        **kwargs: of `keras.Model`.

    Raises:
        ValueError: if there are no members, one is no Keras model, a member's output does
            not fit `output`, it answers with probabilities and `answer` does not say so, or
            the other way round, one of its weights is NaN or infinite, or `members_per_step` or
            `precision` is out of its range.

    Example:
    >>> members = [keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])] * 2
    >>> Ensemble(members, output="categorical").distribution(np.ones((5, 2))).batch_shape
    TensorShape([5])
    >>> softmax = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "softmax")])
    >>> teacher = Ensemble(softmax, "categorical", answer="probabilities")
    >>> x = np.ones((5, 2), "float32")
    >>> bool(np.allclose(teacher.distribution(x).probs_parameter(), softmax(x), atol=1e-6))
    True

    Reference: Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty
    Estimation using Deep Ensembles", 2017, section 2.4.
    """

    _kept = (*Teacher._kept, "precision")

    def __init__(
        self,
        members: keras.Model | Sequence[keras.Model],
        output: str | dict | outputs.Output,
        name: str = "ensemble",
        answer: str | dict[str, str | None] | None = None,
        members_per_step: int | None = None,
        precision: str | None = None,
        **kwargs: Any,
    ):
        members = list(members) if isinstance(members, (list, tuple)) else [members]
        for member in members:
            legacy.refuse(member, "teacher")
        if not members or not all(isinstance(member, keras.Model) for member in members):
            raise ValueError(
                "A teacher is a keras.Model, a sequence of at least one keras.Model, or an "
                f"ecl_tf.Teacher; got {members!r}. ecl_tf.teachers.from_estimator makes one of "
                "what has predict_proba or predict, FunctionTeacher of a function, and "
                "ecl_tf.pretrained.load or keras.models.load_model loads a file."
            )
        shape = symbolic.shape_for(output, members[0], "teacher")
        super().__init__(outputs.get(output, shape), name=name, **kwargs)
        for member in members:
            _require_kept(self.output_kind, member)
        self.members = tuple(members)  # A list could grow behind compiled steps.
        self.answer = answer
        self._members_per_step = members_per_step
        if members_per_step is not None:
            require.whole("members_per_step", members_per_step, 1)
            if members_per_step > len(members):
                raise ValueError(
                    f"members_per_step must be at most the number of members, {len(members)}; got "
                    f"{members_per_step}."
                )
        # One member that gives points without a spread is refused here, not in a step.
        if 1 in (len(members), members_per_step) and isinstance(self.output_kind, outputs.Point):
            self.output_kind.combine([np.zeros((1, self.output_kind.size))])
        self.precision = require_precision(precision)
        if precision is not None:
            self._tell_of_float32()
        self._known_members: list[str] = []
        self.check_members()

    def _tell_of_float32(self):
        built = [member for member in self.members if member.built]
        names = [member.name for member in built if not folding.lowers(member, self.precision)]
        if names:
            warnings.warn(
                f"The teacher's networks {names} compute as they were made, and not in "
                f"{self.precision}: they have no inner layers of Keras's own that could. (Layers "
                "of a user, layers that hold others, and the last one with weights stay as they "
                "are.) ecl_tf.inference_form may make a copy that does.",
                stacklevel=3,
            )

    @property
    def members_per_step(self) -> int | None:
        """As it was given: a step that is traced already would not follow a change."""
        return self._members_per_step

    def check_members(self, inputs: Any = None) -> None:
        """Raises ValueError if a member does not answer as `output` and `answer` say, or is NaN.

        Members whose inputs are known are checked when the ensemble is made; others can be when
        there is data. Each is checked once.

        Args:
            inputs: a batch of inputs, or its specs; None, the default, for what is known.
        """
        sizes = []
        for number, member in enumerate(self.members):
            shape = symbolic.shape_for(self.output_kind, member, "teacher", inputs)
            if shape is not None:
                self.output_kind.validate(shape, f"teacher {member.name!r}")
                sizes.append(self.output_kind.event_size(shape))
            if member.built and str(number) not in self._known_members:
                finite.require_weights(member, "teacher")
                self._check_values(member, inputs)
                self._known_members += [str(number)] * (shape is not None)
        if any(size != sizes[0] for size in sizes):
            raise ValueError(
                "The members of an ensemble must give the same number of classes or target "
                f"dimensions; got {sizes}."
            )

    @property
    def built(self) -> bool:
        """Whether all members are, so that weights are counted before the ensemble is called."""
        members = getattr(self, "members", ())
        return bool(members) and all(member.built for member in members)

    @built.setter
    def built(self, value: bool) -> None:
        del value  # Keras sets it, but the members know.

    def _check_values(self, member, inputs):
        given = answers.by_part(self.answer, self.output_kind)
        parts = getattr(self.output_kind, "outputs", {"": self.output_kind})
        raw = {name: each for name, each in parts.items() if given[name] != "probabilities"}
        sure = [name for name, each in given.items() if each == "logits"]
        probabilities.require_logits(
            self.output_kind, member, "teacher", inputs, parts=raw, said_to_be_logits=sure
        )
        remedy = "Leave out answer='probabilities'."
        answers.require_probabilities(self.output_kind, member, given, remedy, inputs)

    def raw_of(self, answered: Any) -> Any:
        """Returns the raw output of what a member answered.

        Args:
            answered: a raw tensor, probabilities as `answer` says, the list or dict of one that
                holds these, or a dict of them by the output's names.
        """
        output = self.output_kind
        if not isinstance(output, outputs.Joint):
            answered = symbolic.only(answered, f"teacher {self.name!r}")
        return answers.raw_of(output, answers.by_part(self.answer, output), answered)

    def with_output(self, output: outputs.Output) -> "Teacher":
        if type(self) is not Ensemble:  # What a subclass computes would be lost.
            return super().with_output(output)
        return self._with(output=output)

    def with_precision(self, precision: str | None) -> "Teacher":
        if type(self) is not Ensemble:
            return super().with_precision(precision)
        return self._with(precision=precision)

    def _with(self, **changed):
        names = ("name", "answer", "members_per_step", "precision")
        own = {"output": self.output_kind, **{name: getattr(self, name) for name in names}}
        return Ensemble(self.members, **{**own, **changed})

    def member_outputs(self, inputs: Any) -> list:
        return [self._member_output(number, inputs) for number in range(len(self.members))]

    def step_outputs(self, inputs: Any, seed: tf.Tensor) -> list:
        """Returns the raw outputs of the members that teach in one training step.

        Args:
            inputs: a batch of inputs.
            seed: int32 of shape (2,) or (3,), from which the members are drawn, the same for all
                rows: those from a random one on, in a circle.
        """
        total, count = len(self.members), self.members_per_step
        if count in (None, total):
            return self.member_outputs(inputs)

        def answers(first):
            numbers = [(first + place) % total for place in range(count)]
            raws = [self._member_output(number, inputs) for number in numbers]
            # Members may compute in different types, and branches must not.
            return keras.tree.map_structure(lambda raw: tf.cast(raw, tf.float32), raws)

        # Samplers split the step's seed by numbers from 0 on.
        first = tf.cast(random.uniform(random.fold_in(seed, -1), []) * total, tf.int32)
        return tf.switch_case(first, [functools.partial(answers, n) for n in range(total)])

    def _member_output(self, number, inputs):
        member = self.members[number]
        answered = folding.call(member, own_inputs.of(member, inputs), self.precision)
        if self.precision is not None:
            answered = keras.tree.map_structure(
                lambda each: positions.with_mask_of(each, tf.cast(each, tf.float32)), answered
            )
        return self.raw_of(answered)

    def fingerprint(self) -> str:
        own = super().fingerprint()
        if self.precision is not None:  # It answers otherwise than the same networks in float32.
            own = identity.fingerprint_of_text(f"{own} in {self.precision}")
        given = answers.by_part(self.answer, self.output_kind)
        of_probabilities = sorted(n for n, each in given.items() if each == "probabilities")
        if not of_probabilities:
            return own  # As it was when members could answer with nothing else.
        return identity.fingerprint_of_text(f"{own} probabilities {of_probabilities}")

    def get_config(self) -> dict[str, Any]:
        places = shared_layers.find(list(self.members))
        own = {"members": list(self.members), "output": self.output_kind}
        config = {
            **super().get_config(),
            **shared_layers.config_of(own, self.members, places),
        }
        if self.answer is not None:
            config["answer"] = dict(self.answer) if isinstance(self.answer, dict) else self.answer
        if self.members_per_step is not None:
            config["members_per_step"] = self.members_per_step
        if self.precision is not None:
            config["precision"] = self.precision
        return {**config, "shared_layers": places} if places else config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Ensemble":
        arguments = keras.saving.deserialize_keras_object(config)
        if places := arguments.pop("shared_layers", []):
            arguments["members"] = shared_layers.rebuilt(arguments["members"], places)
        return cls(**arguments)


def require_precision(precision: str | None, *others: str) -> str | None:
    """Returns a teacher's `precision`; ValueError if it is not one that there is, or `others`."""
    if precision is None or precision in (*PRECISIONS, *others):
        return precision
    known = ", ".join(map(repr, (*PRECISIONS, *others)))
    raise ValueError(f"A teacher's precision is None or one of {known}; got {precision!r}.")


def _require_kept(output, member):
    """Raises ValueError if a member would lose the temperature, unit or classes of its output."""
    own = outputs.joint.own_of(member) or outputs.joint.trained_as(member)
    if own is None:
        return
    known = {name: kind for name, (kind,) in outputs.parts_of(own).items()}
    for name, (each,) in outputs.parts_of(output).items():
        kind = known.get(name)
        classes = [getattr(its, "known_classes", None) for its in (each, kind)]
        is_same = kind is not None and outputs.joint.reads_alike(kind, each)
        if not is_same or classes[0] != classes[1]:
            raise ValueError(
                f"The member {member.name!r} answers as {own!r}, which an ensemble of {output!r} "
                "would read otherwise. Give the ensemble that output. Members of several "
                "temperatures, units or known classes make no ensemble: calibrate it as a whole, "
                "ecl_tf.calibrated(ecl_tf.Ensemble(networks, output), x, y)."
            )


def get(
    teacher: keras.Model | Sequence[keras.Model], output: str | dict | outputs.Output
) -> Teacher:
    """Returns the `Teacher` of a model, a sequence of models, or a teacher.

    Members that have an output of their own, all the same, keep it. Models that give d values where
    `output` is a `Normal(d)`, whose raw tensor has 2d, are taken for point estimates in the
    target's own units.

    Args:
        teacher: what `Distiller` was given.
        output: the student's `ecl_tf.outputs.Output`, or its name.

    Raises:
        ValueError: if it is none of these, or its output does not fit (see `Ensemble`).
    """
    if isinstance(teacher, Teacher):
        return teacher
    members = list(teacher) if isinstance(teacher, (list, tuple)) else [teacher]
    for member in members:
        legacy.refuse(member, "teacher")
    shape = symbolic.shape_for(output, members[0], "teacher") if members else None
    output = outputs.get(output, shape)
    own = [outputs.joint.own_of(member) for member in members]
    if own and own[0] is not None and all(each == own[0] for each in own):
        return Ensemble(members, own[0])  # Of teachers, or of a distiller.
    return Ensemble(members, _point_where_it_fits(output, shape))


def _point_where_it_fits(output, shape):
    if isinstance(output, outputs.Joint) and isinstance(shape, dict):
        fits = {n: _point_where_it_fits(each, shape.get(n)) for n, each in output.outputs.items()}
        return outputs.Joint(fits, output.weights)
    if isinstance(output, outputs.Normal) and shape and shape[-1] == output.size:
        return answers.points(output)
    return output
