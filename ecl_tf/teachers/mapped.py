"""Teachers whose classes, outputs or inputs are not the student's own."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import outputs, preprocessing
from ecl_tf._internal import batches, identity, own_inputs, positions, require, symbolic
from ecl_tf.outputs.categorical import UNKNOWN
from ecl_tf.teachers.ensemble import Ensemble, get
from ecl_tf.teachers.teacher import Teacher


@keras.saving.register_keras_serializable("ecl_tf")
class Mapped(Teacher):
    """A teacher of other classes, of a part of the outputs, or of other inputs than the student's.

    **Classes.** `classes` maps the teacher's classes j to the student's k. Of classes with one
    image the probabilities are summed, in every member; those without an image are left out, and
    the others divided by their sum:

        p(k) = sum_(j -> k) p(j) / sum_(j -> any) p(j)

    Classes of the student that are no image are unknown to the teacher. It is then compared with
    the student given that the class is a known one (see `ecl_tf.outputs.Categorical`), and the
    student learns nothing of the others from it; labels (`label_weight`) can teach them.

    **Outputs.** A dict has a teacher for every named output of the student. One teacher of several
    named outputs may stand there several times. The teachers may have different numbers of
    members: each output has those of its own.

    **Inputs.** `preprocessing` is for this teacher alone. Samples are drawn of the data's own
    inputs, which the student gets as they are: with data at the student's resolution the teacher's
    layers enlarge the drawn images. With data at the teacher's, leave `preprocessing` out and let
    the student begin with a `keras.layers.Resizing`.

    Uncertainty, `ecl_tf.calibrated`, stores and saving work as with any teacher. A temperature that
    is fitted belongs to the mapped distribution.

    Args:
        teacher: an `ecl_tf.Teacher`; a `keras.Model`, or a sequence of them, of classes (logits);
            or a dict from output names to any of these.
        classes: a dict from the teacher's class indices to the student's, or a sequence with the
            student's class of each of the teacher's, None for none; None, the default, for the
            teacher's own classes. With names: `{theirs.index(a): ours.index(b) for a, b in ...}`.
        size: the number of the student's classes; None, the default, without `classes`.
        preprocessing: layers that the inputs pass before this teacher, as in
            `ecl_tf.preprocessing.layers`, such as [keras.layers.Resizing(224, 224)]; none by
            default. Layers with weights go into a network:
            `ecl_tf.preprocessing.with_preprocessing`.
        output: what the mapped answers stand for; None, the default, follows from the others. It is
            given to set a temperature.
        name: of the Keras model, "mapped" by default.

    Raises:
        ValueError: if `classes` is empty, names a class that there is not, or has less than two
            images; if `size` is missing; if a teacher of the dict has no such output; if a
            teacher draws some of its members in a step (`members_per_step`); or if preprocessing
            does not fit.

    Example: of the classes cat, dog and car the student has animal and vehicle.
    >>> teacher = keras.Sequential([keras.Input((3,)), keras.layers.Identity()])
    >>> mapped = Mapped(teacher, {0: 0, 1: 0, 2: 1}, size=2)
    >>> logits = np.log([[0.5, 0.2, 0.3]]).astype("float32")
    >>> print(mapped.distribution(logits).probs_parameter().numpy().round(4))
    [[0.7 0.3]]

    The student has cats, dogs and ships; the teacher knows no ships, and cars are left out.
    >>> mapped = Mapped(teacher, [0, 1, None], size=3)
    >>> print(mapped.distribution(logits).probs_parameter().numpy().round(4))
    [[0.7143 0.2857 0.    ]]

    Reference: comparing on the known classes, given that it is one of them, is this project's
    choice.
    """

    def __init__(
        self,
        teacher: Any,
        classes: Mapping[int, int] | Sequence[int | None] | None = None,
        size: int | None = None,
        preprocessing: Any = (),
        output: outputs.Output | dict | None = None,
        name: str = "mapped",
    ):
        """Takes the arguments that the class describes."""
        named = teacher if isinstance(teacher, Mapping) else {"": teacher}
        if not named or (classes is not None and isinstance(teacher, Mapping)):
            raise ValueError(
                "Mapped takes one teacher and `classes`, or a dict of teachers by output. Map each "
                f"by itself: {{'output': Mapped(teacher, classes, size)}}; got {teacher!r}."
            )
        given = {key: get(each, "categorical") for key, each in named.items()}
        distinct = list({id(each): each for each in given.values()}.values())
        for each in distinct:
            if getattr(each, "members_per_step", None) is not None:
                raise ValueError(
                    f"The teacher {each.name!r} has members_per_step, and all members of a mapped "
                    "teacher answer in every step. Leave members_per_step out."
                )
        places = {key: _place(distinct, each) for key, each in given.items()}
        kinds = {key: _kind_of(each, key) for key, each in given.items()}
        pairs = None
        if classes is not None or size is not None:
            pairs = _pairs(given[""], classes, size)
            kinds = {"": _mapped_kind(kinds[""], pairs, size)}
        own = kinds[""] if "" in kinds else outputs.Joint(kinds)
        known = getattr(own, "known_classes", None)
        if isinstance(output, outputs.Categorical) and output.known_classes is None and known:
            config = {**output.get_config(), "known_classes": known}
            output = outputs.Categorical.from_config(config)
        super().__init__(own if output is None else output, name=name)
        if self.output_kind.family != own.family:
            raise ValueError(f"The teacher's answers are {own!r}; got the output {output!r}.")
        self.teachers, self.places = tuple(distinct), places
        self.classes, self.size = pairs, size
        self.preprocessing = _layers(preprocessing)
        self._table = None if pairs is None else _table(pairs, size)

    @property
    def built(self) -> bool:
        """Whether all teachers are."""
        own = getattr(self, "teachers", ())
        return bool(own) and all(each.built for each in own)

    @built.setter
    def built(self, value: bool) -> None:
        del value  # Keras sets it, but the teachers know.

    @property
    def networks(self) -> list[keras.Model]:
        """The Keras models that answer; none of teachers that are functions."""
        return _networks(self.teachers, "networks")

    @property
    def plain_networks(self) -> list[keras.Model]:
        """Those of them that take the data's inputs as they are."""
        return [] if _is_any(self.preprocessing) else _networks(self.teachers, "plain_networks")

    @property
    def member_count(self) -> int | None:
        """How many members it has for the samplers that compare them; None if it is not known."""
        counts = [_count(each) for each in self.teachers]
        return None if None in counts else math.lcm(*counts)

    @property
    def raw_shape(self) -> Any:
        shapes = {name: _shape_of(self._teacher(name), name) for name in self.places}
        if None in shapes.values():
            return None
        if self.size is not None:
            return (*shapes[""][:-1], self.size)
        return shapes.get("", shapes)

    def _teacher(self, name):
        return self.teachers[self.places[name]]

    def check_members(self, inputs: Any = None) -> None:
        """Raises ValueError if a teacher can't take the preprocessed inputs, or answers otherwise.

        Args:
            inputs: a batch of inputs, or its specs; None, the default, for what is known.
        """
        specs = None if inputs is None else self._specs(inputs)
        for each in self.teachers:
            for network in getattr(each, "members", ()) if specs is not None else ():
                own_inputs.require_shapes(specs, network, "teacher")
            each.check_members(specs)
        for name in self.places:
            shape = _shape_of(self._teacher(name), name)
            if self.classes is not None and shape is not None:
                _require_class(self.classes, shape[-1])

    def _specs(self, inputs):
        if not _is_any(self.preprocessing):
            return inputs
        if batches.is_batch(inputs):  # Of all rows.
            inputs = batches.specs(inputs)
        symbols = keras.tree.map_structure(
            lambda leaf: keras.KerasTensor(tuple(leaf.shape), tf.as_dtype(leaf.dtype).name), inputs
        )
        return keras.tree.map_structure(
            lambda leaf: tf.TensorSpec(leaf.shape, leaf.dtype),
            preprocessing.run(self.preprocessing, symbols),
        )

    def member_outputs(self, inputs: Any) -> list:
        if _is_any(self.preprocessing):
            inputs = preprocessing.run(self.preprocessing, inputs)
        answered = [each.member_outputs(inputs) for each in self.teachers]
        if "" in self.places:
            return [self._mapped(raw) for raw in answered[0]]
        parts = {
            name: [raw[name] if _is_joint(self.teachers[place]) else raw for raw in answered[place]]
            for name, place in self.places.items()
        }
        # Repeated as often as each other, members have the weights that they had.
        count = math.lcm(*map(len, parts.values()))
        return [
            {name: part[number % len(part)] for name, part in parts.items()}
            for number in range(count)
        ]

    def _mapped(self, raw):
        """The raw output of a member about the student's classes."""
        if self._table is None:
            return raw
        _require_class(self.classes, raw.shape[-1])
        theirs, is_there = self._table
        kind: Any = self.teachers[0].output_kind
        log_p = tf.nn.log_softmax(kind.logits(raw))
        each = tf.where(is_there, tf.gather(log_p, theirs, axis=-1), log_p.dtype.min)
        mapped = tf.where(is_there.any(-1), tf.reduce_logsumexp(each, -1), UNKNOWN)
        return positions.with_mask_of(raw, mapped)

    def with_output(self, output: outputs.Output) -> "Mapped":
        return Mapped(**{**self._arguments(), "output": output})

    def with_precision(self, precision: str | None) -> "Mapped":
        made = [each.with_precision(precision) for each in self.teachers]
        named = {name: made[place] for name, place in self.places.items()}
        return Mapped(**{**self._arguments(), "teacher": named.get("", named)})

    def _arguments(self):
        teacher = {name: self._teacher(name) for name in self.places}
        return {
            "teacher": teacher.get("", teacher),
            "classes": self.classes,
            "size": self.size,
            "preprocessing": self.preprocessing,
            "output": self.output_kind,
            "name": self.name,
        }

    def fingerprint(self) -> str:
        """A hash of the teachers' own fingerprints, and of what is made of inputs and answers."""
        layers = keras.tree.map_structure(
            lambda layer: identity.comparable(identity.config_of(layer)), self.preprocessing
        )
        own = [each.fingerprint() for each in self.teachers]
        pairs = None if self.classes is None else sorted(self.classes.items())
        told = [own, sorted(self.places.items()), pairs, self.size, layers]
        return identity.fingerprint_of_text(repr(told))

    def get_config(self) -> dict[str, Any]:
        _require_apart({name: self._teacher(name) for name in self.places})
        config = {
            "teachers": list(self.teachers),
            "preprocessing": self.preprocessing,
            "output": self.output_kind,
        }
        return {
            **keras.saving.serialize_keras_object(config),
            "places": dict(self.places),
            # JSON has no dict of numbers.
            "classes": None if self.classes is None else [[*pair] for pair in self.classes.items()],
            "size": self.size,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Mapped":
        arguments = keras.saving.deserialize_keras_object(config)
        teachers, places = arguments.pop("teachers"), arguments.pop("places")
        named = {name: teachers[place] for name, place in places.items()}
        if arguments["classes"] is not None:
            arguments["classes"] = dict(arguments["classes"])
        return cls(named.get("", named), **arguments)


def _place(teachers, teacher):
    return next(place for place, each in enumerate(teachers) if each is teacher)


def _networks(teachers, name):
    """The members of teachers, or what those that have none call by this name."""
    found = [getattr(each, "members", getattr(each, name, [])) for each in teachers]
    return [network for each in found for network in each]


def _is_joint(teacher):
    return isinstance(teacher.output_kind, outputs.Joint)


def _kind_of(teacher, name):
    """The output that a teacher has for a name; "" is all that it has."""
    kind = teacher.output_kind
    if not name or not _is_joint(teacher):
        return kind
    if name not in kind.outputs:
        raise ValueError(
            f"The teacher {teacher.name!r} has the outputs {sorted(kind.outputs)}, and none "
            f"called {name!r}. Give {name!r} a teacher of that output."
        )
    return kind.outputs[name]


def _shape_of(teacher, name):
    """The shape of the raw output that a teacher has for a name; None if it is not known."""
    shape = teacher.raw_shape
    if shape is None and isinstance(teacher, Ensemble):
        shape = symbolic.shape_for(teacher.output_kind, teacher.members[0], "teacher")
    if shape is not None and name and _is_joint(teacher):
        return shape[name]
    return shape


def _count(teacher):
    members = getattr(teacher, "members", None)
    return getattr(teacher, "member_count", None) if members is None else len(members)


def _is_any(built):
    return any(built.values() if isinstance(built, dict) else built)


def _layers(described):
    """Preprocessing layers, none of which has weights."""
    built = preprocessing.layers(described)
    for layer in keras.tree.flatten(built):
        if any("seed_generator_state" not in variable.path for variable in layer.variables):
            raise ValueError(
                f"Mapped's preprocessing layer {layer.name!r} has weights, or what it was adapted "
                "to. Make it a part of the network: ecl_tf.preprocessing.with_preprocessing("
                "network, layers, input_shape)."
            )
    return built


# The map of classes.


def _pairs(teacher, classes, size):
    """A dict from the teacher's classes to the student's; ValueError for what is none."""
    if classes is None or size is None:
        raise ValueError(
            "Mapped takes `classes`, from the teacher's to the student's, together with `size`, "
            f"the number of the student's classes; got classes={classes!r}, size={size!r}."
        )
    require.whole("size", size, 2)
    shape = _shape_of(teacher, "")
    count = None if shape is None else shape[-1]
    if isinstance(classes, Mapping):
        items = list(classes.items())
    else:
        items = [(place, each) for place, each in enumerate(classes) if each is not None]
        if count is not None and len(classes) != count:
            raise ValueError(
                f"`classes` has {len(classes)} items, and the teacher {teacher.name!r} has {count} "
                "classes. Give the student's class of each, None for none, or a dict."
            )
    pairs: dict[int, int] = {}
    for theirs, ours in items:
        theirs = require.whole("Each of the teacher's classes", theirs, 0)
        ours = require.whole(f"The student's class of {theirs}", ours, 0)
        if ours >= size:
            raise ValueError(
                f"`classes` maps {theirs} to {ours}, and the student has the classes 0 to "
                f"{size - 1}: size={size}."
            )
        pairs[theirs] = ours
    if len(set(pairs.values())) < 2:
        raise ValueError(
            "`classes` needs at least two of the student's classes that the teacher knows, or "
            f"there is nothing to tell apart; got {sorted(set(pairs.values()))}."
        )
    if count is not None:
        _require_class(pairs, count)
    return pairs


def _require_class(pairs, count):
    if count is not None and max(pairs) >= count:
        raise ValueError(
            f"`classes` has the teacher's class {max(pairs)}, and it has the classes 0 to "
            f"{count - 1}."
        )


def _mapped_kind(kind, pairs, size):
    if not isinstance(kind, outputs.Categorical):
        raise ValueError(
            f"`classes` maps the classes of a categorical output; the teacher's is {kind!r}."
        )
    theirs = pairs.keys() if kind.known_classes is None else kind.known_classes
    known = sorted({pairs[each] for each in theirs if each in pairs})
    return outputs.Categorical(
        ignore_class=kind.ignore_class, known_classes=None if len(known) == size else known
    )


def _table(pairs, size):
    """Of each of the student's classes the teacher's, and which of them are there: two arrays."""
    groups = [[theirs for theirs, ours in pairs.items() if ours == each] for each in range(size)]
    width = max(map(len, groups))
    filled = [[*group, *[0] * (width - len(group))] for group in groups]
    return np.array(filled), np.array([len(group) for group in groups])[:, None] > np.arange(width)


def _require_apart(teachers):
    """Refuses teachers that share a layer with weights, which Keras's files hold once."""
    holders: dict[int, str] = {}
    distinct = {id(teacher): (name, teacher) for name, teacher in teachers.items()}
    for name, teacher in distinct.values():
        own = {id(layer): layer for layer in teacher._flatten_layers() if layer.variables}
        if shared := own.keys() & holders.keys():
            layer = own[next(iter(shared))]
            raise ValueError(
                f"The teachers of {holders[id(layer)]!r} and {name!r} share the layer "
                f"{layer.name!r}, and Keras's files can't hold that. Give one of them a copy: "
                "keras.models.clone_model, with its weights set."
            )
        holders |= dict.fromkeys(own, name)
