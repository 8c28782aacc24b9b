"""What a `Distiller`'s compiled step follows: settings, its sampler, and the kind of its data.

A step that is traced holds the values of that time. So whoever changes one of them after `compile`
has it traced anew: an assignment such as `distiller.label_weight = 0.5`, and `fit`, `evaluate`
and `predict` (`_loops.py`) for attributes of the sampler, for those of layers, optimizer, output,
divergence and metrics, such as a Dropout's rate or a `clipvalue`, for weights that took the place
of others, and for data of another kind.
"""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import _checks, divergences, samplers
from ecl_tf._internal import require
from ecl_tf.samplers.sampler import settle

_CHANGEABLE: dict[str, Callable] = {
    "temperature": functools.partial(require.number, "temperature"),
    "label_weight": functools.partial(require.number, "label_weight"),
    "label_rows": _checks.settings.label_rows,
    "sampler": samplers.get,
    "divergence": divergences.get,
    "seed": functools.partial(require.integer, "seed"),
}
_KEPT = {
    *("student", "teacher", "output", "output_kind"),
    *("feature_losses", "quantization", "teacher_precision"),
}
_SETTINGS = {*_CHANGEABLE, *_KEPT}
# Attributes of a Keras model that its compiled loops hold, too.
_OF_KERAS = ("optimizer", "steps_per_execution", "run_eagerly", "jit_compile")


class DataFollowed(NamedTuple):
    """The kind of data that a step was traced for.

    Attributes:
        was_checked: whether all rows were looked at before, so that batches of them may be dark;
            False by default.
        ranks: pairs of the places of arrays that there were and of their ranks; none by default.
    """

    was_checked: bool = False
    ranks: tuple[tuple[tuple[int, ...], tuple[int | None, ...]], ...] = ()


class Settings(keras.Model):
    """The part of a `Distiller` that has its step follow what is set."""

    _temperature: float | tf.Variable
    _changes_followed: Any
    _followed: Any
    _data_followed: dict[str, DataFollowed]

    def __setattr__(self, name, value):
        """Sets an attribute; a setting takes effect in the step, also after `compile`."""
        if not getattr(self, "_is_made", False) or name not in _SETTINGS:
            if name == "steps_per_execution":
                require.whole(name, value, 1)
            if name == "optimizer" and isinstance(value, (str, dict)):
                with self.distribute_strategy.scope():
                    value = keras.optimizers.get(value)
            super().__setattr__(name, value)
            if name in _OF_KERAS:
                self._trace_anew("train", "test", "predict")
            return
        if name not in _CHANGEABLE:
            raise ValueError(
                f"A distiller keeps its {name}. Make a new one: Distiller(student, teacher, ...)."
            )
        value = _CHANGEABLE[name](value)
        given = {each: getattr(self, each) for each in _CHANGEABLE} | {name: value}
        _checks.settings.numbers(given["temperature"], given["label_weight"], self.output_kind)
        labelled = given["sampler"], given["label_weight"], given["label_rows"]
        _checks.settings.labelled_rows(*labelled)
        _checks.rows.row_counts(
            self._networks(), given["sampler"], _checks.settings.appends(*labelled)
        )
        if name == "sampler":
            value.validate_networks(self._networks())
            _checks.settings.generators(value.models)
            self.generators = list(value.models)
        if name == "temperature":
            self._set_temperature(value)
            return
        super().__setattr__(name, value)
        self._trace_anew()

    @property
    def temperature(self) -> float:
        """T, which softens both distributions; it may be set at any time, by a callback too."""
        value = self._temperature
        # Of several replicas it is a variable that Python's float does not take.
        return float(value.numpy() if isinstance(value, tf.Variable) else value)

    def _set_temperature(self, value):
        if isinstance(self._temperature, tf.Variable):
            self._temperature.assign(value)
            return
        # From now on a variable: the step is traced once more, not at each change.
        with self.distribute_strategy.scope():
            self._temperature = tf.Variable(value, trainable=False, name="temperature")
        self._trace_anew()

    def follow_sampler(self, in_place: bool = True) -> None:
        """Has the step follow attributes of the sampler that were set since it was traced.

        Args:
            in_place: whether lists and dicts that were changed in place are, too; True by default.

        Raises:
            ValueError: if one was set to what the sampler's constructor refuses.
        """
        if in_place:
            settle(self.sampler)
        if samplers.changes_of(self.sampler) != self._changes_followed:
            settle(self.sampler)
            self._changes_followed = samplers.changes_of(self.sampler)
            self.sampler.validate_networks(self._networks())
            self._trace_anew()

    def follow_attributes(self) -> None:
        """Has all steps follow what was set in layers, optimizer and others since they were traced.

        Output and sampler are among them, so that weights of a `Joint` that change in place, and
        layers of an `Augment`, take effect; and weights in the place of others.
        """
        networks = self.student, self.teacher, *self.generators
        layers = [layer for network in networks for layer in network._flatten_layers()]
        weights = [weight for network in networks for weight in network.weights]
        others = self.output_kind, self.teacher.output_kind, self.divergence, self.sampler
        of_compile = getattr(self, "optimizer", None), getattr(self, "_tracked_metrics", None)
        now = [*map(id, weights)], _values([layers, others, of_compile])
        if self._followed is None or now != self._followed.values:
            # In a list Keras would take the layers for the distiller's, and save them. The weights
            # stay, so that no later one has the number of one that is gone.
            self._followed = types.SimpleNamespace(values=now, weights=weights)
            self._trace_anew("train", "test", "predict")

    def _trace_anew(self, *modes):
        """Makes the steps that Keras runs follow the settings; all of them, if none is named."""
        for name in modes or ("train", "test"):
            if getattr(self, f"{name}_function", None) is not None:
                getattr(self, f"make_{name}_function")(force=True)

    def _follow_data(self, mode, x, *others, was_checked):
        """Has steps follow the kind of data that they get.

        Args:
            mode: "train" or "test".
            x: what `fit` or `evaluate` was given, or a batch.
            *others: labels and weights, or None.
            was_checked: whether all rows were looked at before.
        """
        is_dataset = isinstance(x, tf.data.Dataset)
        leaves = keras.tree.flatten(x.element_spec if is_dataset else (x, *others))
        ranks = {
            place: tf.TensorShape(leaf.shape).rank
            for place, leaf in enumerate(leaves)
            if hasattr(leaf, "shape")
        }
        # A step that was traced for two ranks takes any, of which shapes tell nothing. Batches
        # with labels and without may take turns.
        places, now = tuple(ranks), tuple(ranks.values())
        before = self._data_followed[mode]
        known = dict(before.ranks)
        is_other = before.was_checked != was_checked or known.get(places, now) != now
        known = {places: now} if is_other else {**known, places: now}
        self._data_followed[mode] = DataFollowed(was_checked, tuple(known.items()))
        if is_other:
            self._trace_anew(mode)


def _values(value, depth=4):
    """Numbers, text and functions of a value, which a step holds when traced, with their names.

    Of an object they are what its constructor was given. A layer may set others in its `call`.

    Args:
        value: anything.
        depth: how many objects may be within each other; 4 by default.
    """
    items: Any
    if isinstance(value, (list, tuple, dict)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
    else:
        kind: Any = type(value)
        own = getattr(value, "__dict__", {})
        # Behind a property.
        items = ((name, own.get(name, own.get(f"_{name}"))) for name in _arguments(kind))
    found: list[Any] = []
    for name, each in items:
        if isinstance(each, (int, float, str, np.number)):
            found.append((name, each))
        elif isinstance(each, (list, tuple, dict)):
            found.append((name, _values(each, depth)))
        elif isinstance(each, keras.optimizers.Optimizer) or callable(each):
            is_within = depth and not isinstance(each, keras.initializers.Initializer)
            found.append((name, each, _values(each, depth - 1) if is_within else []))
    return found


@functools.cache
def _arguments(kind):
    """Names of what the constructors of a class and its bases take, of those in Python."""
    made = [vars(each).get("__init__") for each in kind.__mro__]
    made = [each for each in made if inspect.isfunction(each)]
    return list(dict.fromkeys(name for each in made for name in inspect.signature(each).parameters))
