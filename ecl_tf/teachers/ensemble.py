"""Teachers: what gives the distribution that a student is matched to."""

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
    labelled,
    legacy,
    own_inputs,
    probabilities,
    random,
    require,
    shared_layers,
    symbolic,
)
from ecl_tf.teachers import answers

PRECISIONS = ("bfloat16", "float16")


class Teacher(keras.Model):
    """Base class: inputs to the distribution over outputs.

    A teacher always runs in inference mode and is never trained: it draws no dropout,
    and updates no statistics. As a Keras model it returns the raw tensor of its
    distribution, so that `evaluate` and `predict` work on it as on a student. (Of `Point`s
    that is the mean alone; the spread is in `distribution`.)

    To teach with something that is not a Keras model, implement `member_outputs` with
    TensorFlow operations. It returns logits where the output has probabilities p:
    `self.output_kind.raw(self.output_kind.from_parameters({"probabilities": p}))` makes them.
    What looks like probabilities is refused.

    Args:
        output: the `ecl_tf.outputs.Output` that the members' raw tensors stand for, or its
            name. An output's `temperature` belongs to what the teacher answers.
        **kwargs: of `keras.Model`, such as `name`.

    Attributes:
        answers_new_inputs: False for recorded answers, which come with the samples.

    Example:
    >>> import tensorflow as tf
    >>> class Rule(Teacher):  # Class 1 where the only input is positive, with 90 %.
    ...     def member_outputs(self, inputs):
    ...         return [tf.concat([-inputs, inputs], -1) * 1.1]
    >>> teacher = Rule("categorical")
    >>> print(teacher.distribution(tf.ones((1, 1))).probs_parameter().numpy().round(1))
    [[0.1 0.9]]
    """

    answers_new_inputs = True
    _is_checked = False

    def __init_subclass__(cls, **kwargs: Any):
        """Has `member_outputs` of a subclass say what is wrong with what it returns."""
        super().__init_subclass__(**kwargs)
        if own := vars(cls).get("member_outputs"):
            cls.member_outputs = _checked(own)  # type: ignore[method-assign]

    def __init__(self, output: str | dict | outputs.Output, **kwargs: Any):
        """Takes the arguments that the class describes."""
        super().__init__(**{"autocast": False, **kwargs})  # The networks cast for themselves.
        self.output_kind = outputs.get(output)

    _kept: tuple[str, ...] = ("output_kind", "members", "answer")

    def __setattr__(self, name, value):
        """Sets an attribute; compiled steps would not see other members, or another output."""
        if name in self._kept and name in vars(self):
            raise ValueError(
                f"A teacher keeps its {name}: steps that are compiled would not see another. Make "
                "a new teacher, ecl_tf.Ensemble(members, output), and a new distiller."
            )
        super().__setattr__(name, value)

    def member_outputs(self, inputs: Any) -> list:
        """Returns a list with the raw output of every member, each of shape (batch, ...)."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement member_outputs(inputs), which returns a list "
            "with the raw output of every member."
        )

    def raw_of(self, answered: Any) -> Any:
        """Returns the raw output of what a member `answered`, which may be in another form."""
        return answered

    def check_members(self, inputs: Any = None) -> None:
        """Raises ValueError if the members answer with probabilities where logits are expected.

        They are asked about made-up inputs, once. Override it to leave that out; of classes the
        first steps look at the answers all the same.

        Args:
            inputs: a batch of inputs, or its specs; None, the default, for what is known.
        """
        if inputs is None or self._is_checked or not self.answers_new_inputs:
            return

        def ask(rows):
            members = self.member_outputs(rows)
            return keras.tree.map_structure(lambda *raws: tf.concat(raws, 0), *members)

        probabilities.require_logits(self.output_kind, self, "teacher", inputs, ask=ask)
        self._is_checked = True

    def distribution(self, inputs: Any) -> Any:
        """Returns the teacher's distribution for a batch of inputs."""
        return self.output_kind.combine(self.member_outputs(inputs))

    def uncertainty(self, inputs: Any) -> Any:
        """Returns the `ecl_tf.outputs.Uncertainty`, aleatoric and epistemic parts."""
        return self.output_kind.uncertainty(self.member_outputs(inputs))

    def with_output(self, output: outputs.Output) -> "Teacher":
        """Returns a teacher that answers the same, which stands for another `output`.

        Raises:
            TypeError: of a teacher of a user's own, which has to be made with that output.
        """
        raise TypeError(
            f"{self!r} can't be given another output. Make it with that output, e.g. with the "
            "temperature that its answers should have: output.tempered(0.8)."
        )

    def with_precision(self, precision: str | None) -> "Teacher":
        """Returns a teacher of the same networks that computes in `precision`, as `Ensemble` says.

        One that can't, since it has no networks of Keras's layers, is returned as it is.
        """
        return self

    @property
    def raw_shape(self) -> tuple[int | None, ...] | None:
        """The shape of a member's raw output, None for the rows; None where it is not known."""
        return None

    def fingerprint(self) -> str:
        """A hash of the networks' weights, by which results and stores know their teacher."""
        return identity.fingerprint_of_models(getattr(self, "members", [self]))

    def call(self, inputs: Any) -> Any:
        return self.output_kind.raw(self.distribution(inputs))


def _checked(function):
    """A `member_outputs` that raises ValueError unless it returns a list of like raw outputs."""

    @functools.wraps(function)
    def member_outputs(self, inputs):
        raws = function(self, inputs)
        parts = getattr(self.output_kind, "outputs", None)
        if found := _wrong_with(raws, parts):
            each = "a tensor" if parts is None else f"a dict of tensors by the names {list(parts)}"
            raise ValueError(
                f"member_outputs of {type(self).__name__} returned {found}. Expected a list with "
                f"the raw output of every member, each {each} of shape (batch, ...); of one "
                "network it is [raw]."
            )
        return raws

    return member_outputs


def _wrong_with(raws, parts):
    """What is wrong with the raw outputs of members, in words, or "".

    Args:
        raws: what a user's function returned.
        parts: the outputs by name, or None of a single one.
    """
    if not isinstance(raws, (list, tuple)):
        return f"a {type(raws).__name__}"
    if not raws:
        return "an empty list"
    shapes = []
    for raw in raws:
        named = {"": raw} if parts is None else raw
        if not isinstance(named, dict) or set(named) != set(parts or {""}):
            return f"a list with a {type(raw).__name__}"
        for each in named.values():
            if not (hasattr(each, "shape") and hasattr(each, "dtype")):
                return f"a list with a {type(each).__name__}"
        shapes.append({name: tf.TensorShape(each.shape) for name, each in named.items()})
    for name, first in shapes[0].items():
        its = [each[name] for each in shapes]
        if not all(shape.is_compatible_with(first) for shape in its):
            return f"members of the shapes {', '.join(map(str, its))}"
    return ""


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
                f"ecl_tf.Teacher; got {members!r}."
            )
        shape = symbolic.shape_for(output, members[0], "teacher")
        super().__init__(outputs.get(output, shape), name=name, **kwargs)
        self.members = members
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
            answered = keras.tree.map_structure(lambda each: tf.cast(each, tf.float32), answered)
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
        own = {"members": self.members, "output": self.output_kind}
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


def get(
    teacher: keras.Model | Sequence[keras.Model], output: str | dict | outputs.Output
) -> Teacher:
    """Returns the `Teacher` of a model, a sequence of models, or a teacher.

    Models that give d values where `output` is a `Normal(d)`, whose raw tensor has 2d,
    are taken for point estimates in the target's own units.

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
    return Ensemble(members, _point_where_it_fits(output, shape))


def _point_where_it_fits(output, shape):
    if isinstance(output, outputs.Joint) and isinstance(shape, dict):
        fits = {n: _point_where_it_fits(each, shape.get(n)) for n, each in output.outputs.items()}
        return outputs.Joint(fits, output.weights)
    if isinstance(output, outputs.Normal) and shape and shape[-1] == output.size:
        return answers.points(output)
    return output


def residual_stddev(
    members: keras.Model | Sequence[keras.Model], x: Any, y: Any = None, batch_size: int = 256
) -> list[float]:
    """Measures the spread of point-estimate regressors on held-out data.

    The standard deviation s of each target dimension with
    s^2 = mean((y - mean_m)^2) - mean(Var_m[mean_m]): together with the members'
    disagreement, which `Ensemble` adds, the predicted variance then equals the
    measured one on average. Positions of rows count as rows.

    Args:
        members: a Keras model that gives points (batch, d), or a sequence of them.
        x: inputs, or a batched `tf.data.Dataset` of (inputs, targets). Not the data
            that the members were trained on: their residuals are too small there.
        y: targets (rows, d) or (rows,), in the units that the members predict; None, the
            default, where `x` is a dataset.
        batch_size: rows of a forward pass, 256 by default.

    Returns:
        A list of d floats, to be given to `ecl_tf.outputs.Point(d, stddev=...)`.

    Raises:
        ValueError: if the data is empty, has no labels or those of other targets than the members
            have, or the residuals don't exceed the members' disagreement.

    Example:
    >>> twice = keras.Sequential([keras.Input((1,)), keras.layers.Rescaling(2.0)])
    >>> residual_stddev(twice, np.array([[1.0], [1.0]]), np.array([[2.5], [1.5]]))
    [0.5]
    """
    members = list(members) if isinstance(members, (list, tuple)) else [members]
    for member in members:
        legacy.refuse(member, "teacher")
    x = labelled.dataset("residual_stddev", x, y, batch_size, members)
    excess = []
    for inputs, targets in x:
        answered = [member(own_inputs.of(member, inputs), training=False) for member in members]
        points = np.stack([np.asarray(symbolic.only(each, "teacher")) for each in answered])
        targets = np.asarray(targets)
        if targets.dtype.kind not in "biuf":
            raise ValueError(
                f"Residuals are of numbers, and the targets are {targets.dtype}, such as "
                f"{targets.ravel()[:1].tolist()}. Cast them: y.astype('float32')."
            )
        if targets.size != points[0].size:
            raise ValueError(
                f"The targets of {len(targets)} rows have the shape {targets.shape}, and the "
                f"members answer with {points[0].shape}. Give y a column for each of their "
                f"{points.shape[-1]} targets."
            )
        targets = np.reshape(targets, points.shape[1:])
        own = (targets - points.mean(0)) ** 2 - points.var(0)
        excess.append(own.reshape(-1, points.shape[-1]))  # Positions count as rows.
    if not excess:
        raise ValueError("residual_stddev got no rows; give it held-out inputs and targets.")
    variance = np.concatenate(excess).mean(0)
    if not np.all(variance > 0.0):
        raise ValueError(
            "The members' residuals are no larger than their disagreement (or are not "
            f"finite): residual variance {variance.tolist()}. Their disagreement is spread "
            "enough: use ecl_tf.outputs.Point(event_size) without a stddev."
        )
    return np.sqrt(variance).tolist()
