"""The base class of teachers: what gives the distribution that a student is matched to."""

import functools
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf._internal import endless, identity, positions, probabilities


class Teacher(keras.Model):
    """Base class: inputs to the distribution over outputs.

    A teacher always runs in inference mode and is never trained: it draws no dropout,
    and updates no statistics. As a Keras model it returns the raw tensor of its
    distribution, so that `evaluate` and `predict` work on it as on a student, with losses and
    metrics of raw tensors; `ecl_tf.evaluation.measure(teacher, x, y)` scores its answers. (Of
    `Point`s the raw tensor is the mean alone; the spread is in `distribution`.)

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
        if type(self).distribution is not Teacher.distribution:  # It may know nothing else.
            return self.output_kind.raw(self.distribution(inputs))
        raws = self.member_outputs(inputs)
        combined = self.output_kind.raw(self.output_kind.combine(raws))
        return keras.tree.map_structure(positions.with_mask_of, raws[0], combined)

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Evaluates as `keras.Model.evaluate` does; raises ValueError for data without an end.

        Metrics get the raw tensor, and a warning tells of those that expect another one.
        """
        endless.require_end(x, steps, "steps")
        self._warn_of_metrics()
        return super().evaluate(x, y, batch_size, verbose, sample_weight, steps, *args, **kwargs)

    def _warn_of_metrics(self):
        """Warns if Keras's metrics expect probabilities or means where raw tensors are others."""
        kept = getattr(self, "_compile_metrics", None)
        names = "_user_metrics", "_user_weighted_metrics"
        given = keras.tree.flatten([getattr(kept, name, None) for name in names])
        wrong = [each for each in given if _is_of_answers(each)]
        kind = self.output_kind
        is_raw = kind.family == "categorical"
        if isinstance(kind, outputs.Point):
            units = np.any(kind.target_mean), np.any(np.not_equal(kind.target_stddev, 1.0))
            is_raw = not any(units)
        if wrong and not is_raw:
            warnings.warn(
                f"A compiled teacher's metrics get its raw tensor: of the output "
                f"{self.output_kind!r} logits, or means and scales without a unit, in place of "
                f"what {wrong[0]!r} expects. ecl_tf.evaluation.measure(teacher, x, y) scores its "
                "answers, and a Distiller's compile(..., teacher_metrics=True).",
                stacklevel=3,
            )
        nests = getattr(self, "loss", None), *(getattr(kept, name, None) for name in names)
        for its, *its_own in outputs.parts_of(kind, *nests).values():
            for each in filter(_is_ours, keras.tree.flatten(its_own)):
                output = each.output or outputs.Categorical()
                if outputs.joint.reading(output) != outputs.joint.reading(its):
                    warnings.warn(
                        f"{each.name!r} reads the teacher's raw tensor as {output!r}, and it "
                        f"stands for {its!r}. Give {type(each).__name__} that: "
                        "output=teacher.output_kind (of named outputs its part).",
                        stacklevel=3,
                    )

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Returns raw tensors as `keras.Model.predict` does; raises ValueError for endless data."""
        endless.require_end(x, steps, "steps")
        return super().predict(x, batch_size, verbose, steps, *args, **kwargs)


def _is_of_answers(metric):
    """Whether a metric is one of Keras that expects probabilities or means."""
    if isinstance(metric, str):
        return True
    is_metric = isinstance(metric, keras.metrics.Metric)
    own = getattr(metric, "_fn", type(metric))
    if not (is_metric and own.__module__.startswith("keras.")):
        return False
    config = metric.get_config()
    thresholds = keras.tree.flatten([config.get("threshold"), config.get("thresholds")])
    return not (config.get("from_logits") or 0.0 in thresholds)


def _is_ours(each):
    """Whether a metric or loss reads raw tensors by an output of its own."""
    return type(each).__module__.startswith("ecl_tf.") and hasattr(each, "output")


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
