"""What a checkpoint keeps of callbacks: their state, as JSON and arrays."""

import collections
import json
import logging
import os
import pathlib
import types
import warnings

import keras
import numpy as np
import tensorflow as tf

from ecl_tf.resume import run

_ARRAY = "array in this file"
_KIND, _ITEMS = "kind in this file", "items"
_LISTS = {"tuple": tuple, "set": set, "frozenset": frozenset}
_DICTS = {"OrderedDict": collections.OrderedDict, "Counter": collections.Counter, "dict": dict}
_FACTORIES = {"int": int, "float": float, "list": list, "dict": dict, "set": set, "str": str}
_WITH_VARIABLES = (tf.Variable, keras.Variable, keras.metrics.Metric, keras.random.SeedGenerator)
_BIT_GENERATORS = {
    kind.__name__: kind
    for kind in (
        np.random.MT19937,
        np.random.PCG64,
        np.random.PCG64DXSM,
        np.random.Philox,
        np.random.SFC64,
    )
}
# Of `keras.callbacks.TensorBoard`, which opens new ones.
_OPEN_FILES = ("_writers", "_prev_summary_state", "_summary_module", "_batch_trace_context")
# What says nothing of a run's progress.
_STATELESS = (types.ModuleType, logging.Logger, tf.data.Dataset)


class Kept:
    """The state of callbacks, but for their constructors' arguments and their paths.

    Args:
        callbacks: the user's.
        variables: those that the checkpoint has anyway: the model's, or a fixed teacher's.
    """

    def __init__(self, callbacks, variables):
        self.callbacks = callbacks
        self._known = {id(each) for variable in variables for each in (variable, variable.value)}
        self._arguments = [set(run.argument_names(type(callback))) for callback in callbacks]
        self._told = set()

    def begin(self):
        """Notices how all callbacks are after their `on_train_begin`."""
        self._begun = [dict(vars(callback)) for callback in self.callbacks]
        self._first_texts = [_texts_of_arguments(callback) for callback in self.callbacks]
        self.read({})  # What can't be kept is told before the first step.

    def read(self, arrays):
        """What every callback keeps; its arrays are added to `arrays`, and referred to."""
        all_kept, unkept = [], []
        for number, callback in enumerate(self.callbacks):
            kept, lost = {}, self._changed_arguments(number)
            for name, value in self._state(number).items():
                begun = self._begun[number].get(name)
                found: dict = {}
                if _is_path(begun):
                    lost += [name] if value != begun else []
                    continue
                try:
                    kept[name] = _described(value, f"callback.{len(arrays)}", found)
                    arrays |= found
                except (TypeError, RecursionError):
                    lost += [] if self._is_stateless(value, begun) else [name]
            all_kept.append(kept)
            unkept += [f"{type(callback).__name__}.{name}" for name in lost]
        self._tell(unkept)
        return all_kept

    def write(self, names, all_kept, arrays):
        """Gives callbacks what was kept of those of the same classes, in their order."""
        saved = list(zip(names, all_kept, strict=True))
        for number, callback in enumerate(self.callbacks):
            for place, (name, kept) in enumerate(saved):
                if name == type(callback).__name__:
                    self._write_one(number, kept, arrays)
                    del saved[place]
                    break

    def _write_one(self, number, kept, arrays):
        own, begun = vars(self.callbacks[number]), self._begun[number]
        for name, value in kept.items():
            if not self._is_given(number, name) and not _is_path(begun.get(name)):
                own[name] = _restored(value, arrays, own.get(name))

    def _state(self, number):
        """The attributes of a callback that may tell of the run's progress."""
        callback = self.callbacks[number]
        if isinstance(callback, keras.callbacks.CSVLogger):
            return {}  # Its file keeps all.
        state = {k: v for k, v in vars(callback).items() if not self._is_given(number, k)}
        if isinstance(callback, keras.callbacks.TensorBoard):
            for name in _OPEN_FILES:
                state.pop(name, None)
        return state

    def _is_given(self, number, name):
        """Whether an attribute is what this call gives. A variable's value is not."""
        value = self._begun[number].get(name)
        if isinstance(value, _WITH_VARIABLES):
            return all(id(variable) in self._known for variable in _variables(value))
        return name in self._arguments[number] or name in ("params", "_params", "_model")

    def _changed_arguments(self, number):
        now = _texts_of_arguments(self.callbacks[number])
        before = self._first_texts[number]
        return [f"{name} (an argument)" for name in before if now.get(name) != before[name]]

    def _is_stateless(self, value, begun):
        if isinstance(value, keras.layers.Layer):
            return all(id(variable) in self._known for variable in value.variables)
        # Dates, patterns and the like can't change in place.
        is_unchanged = value is begun and type(value).__hash__ not in (None, object.__hash__)
        return callable(value) or isinstance(value, _STATELESS) or is_unchanged

    def _tell(self, unkept):
        if new := [name for name in unkept if name not in self._told]:
            self._told |= set(new)
            warnings.warn(
                f"Checkpoints do not keep these attributes of callbacks: {', '.join(new)}. After "
                "a restart they are what the constructor makes them. Numbers, texts, NumPy arrays "
                "and generators, variables, and lists, tuples, sets, deques and dicts of these "
                "are kept, in attributes that are no arguments of the constructor and no paths.",
                stacklevel=2,
            )


def _is_path(value):
    return isinstance(value, pathlib.PurePath) or (isinstance(value, str) and os.sep in value)


def _texts_of_arguments(callback):
    """Arguments that a callback might change, as texts; none of those that Keras changes itself."""
    kind = type(callback)
    if kind.__module__.startswith("keras."):
        return {}
    of_keras = next(base for base in kind.__mro__ if base.__module__.startswith("keras."))
    names = set(run.argument_names(kind)) - set(run.argument_names(of_keras))
    texts = {}
    for name in names & vars(callback).keys():
        found: dict = {}
        try:
            texts[name] = json.dumps(_described(vars(callback)[name], "", found))
        except (TypeError, RecursionError):
            continue
        if found:  # Arrays of data may be large.
            del texts[name]
    return texts


def _described(value, name, arrays):
    """A value as JSON holds it, its arrays beside; raises TypeError for what can't be kept."""

    def within(item):
        return _described(item, name, arrays)

    def array(numbers):
        if numbers.dtype.kind not in "biufcUSmM":
            raise TypeError
        key = f"{name}.{len(arrays)}"
        arrays[key] = np.array(numbers)  # A copy: the callback goes on while it is written.
        return {_ARRAY: key}

    kind = type(value)
    if kind in (bool, int, float, str, type(None)):
        return value
    if isinstance(value, np.generic) or (kind is np.ndarray and value.ndim):
        return array(value)
    if kind is np.ndarray:
        return {_KIND: "scalar array", _ITEMS: array(value)}
    if kind is list:
        return [within(item) for item in value]
    if kind.__name__ in _LISTS and kind is _LISTS[kind.__name__]:
        return {_KIND: kind.__name__, _ITEMS: [within(item) for item in value]}
    if kind is collections.deque:
        items = [within(item) for item in value]
        return {_KIND: "deque", _ITEMS: items, "maxlen": value.maxlen}
    if (
        kind is dict
        and all(type(key) is str for key in value)
        and not value.keys()
        & {
            _ARRAY,
            _KIND,
        }
    ):
        return {key: within(item) for key, item in value.items()}
    if kind in _DICTS.values():
        items = [[within(key), within(item)] for key, item in value.items()]
        return {_KIND: kind.__name__, _ITEMS: items}
    if kind is collections.defaultdict:
        factory = value.default_factory
        if factory is not None and factory not in _FACTORIES.values():
            raise TypeError
        items = [[within(key), within(item)] for key, item in value.items()]
        return {_KIND: "defaultdict", _ITEMS: items, "factory": factory and factory.__name__}
    if kind is np.random.Generator:
        return {_KIND: "generator", _ITEMS: within(value.bit_generator.state)}
    if isinstance(value, (tf.Variable, keras.Variable)):
        module = "keras" if isinstance(value, keras.Variable) else "tf"
        return {_KIND: f"{module}.Variable", _ITEMS: array(_numbers(value))}
    if isinstance(value, _WITH_VARIABLES):
        return {_KIND: "variables", _ITEMS: [array(_numbers(v)) for v in _variables(value)]}
    if isinstance(value, tf.Tensor) and hasattr(value, "numpy"):
        return {_KIND: "tensor", _ITEMS: array(np.asarray(value.numpy()))}
    raise TypeError


def _restored(value, arrays, here):
    """The value that `_described` described; what has variables is `here`, with others' values."""
    if isinstance(value, list):
        return [
            _restored(v, arrays, own) for v, own in zip(value, _items(here, value), strict=True)
        ]
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        return arrays[value[_ARRAY]][()]
    if _KIND not in value:
        return _restored_dict(value.items(), arrays, here)
    kind = value[_KIND]
    if kind in _LISTS or kind == "deque":
        items = _restored(value[_ITEMS], arrays, here)
        return collections.deque(items, value["maxlen"]) if kind == "deque" else _LISTS[kind](items)
    if kind in _DICTS or kind == "defaultdict":
        pairs = [(_restored(key, arrays, None), item) for key, item in value[_ITEMS]]
        items = _restored_dict(pairs, arrays, here)
        if kind == "defaultdict":
            return collections.defaultdict(_FACTORIES.get(value["factory"]), items)
        return _DICTS[kind](items)
    if kind == "generator":
        state = _restored(value[_ITEMS], arrays, None)
        if not isinstance(here, np.random.Generator):
            here = np.random.default_rng()
        if here.bit_generator.state["bit_generator"] != state["bit_generator"]:
            here = np.random.Generator(_BIT_GENERATORS[state["bit_generator"]]())
        here.bit_generator.state = state
        return here
    if kind == "variables":
        variables = _variables(here) if isinstance(here, _WITH_VARIABLES) else []
        for variable, item in zip(variables, value[_ITEMS], strict=True):
            variable.assign(arrays[item[_ARRAY]])
        return here
    numbers = arrays[value[_ITEMS][_ARRAY]]
    if kind == "scalar array":
        return numbers
    if kind == "tensor":
        return tf.constant(numbers)
    if isinstance(here, (tf.Variable, keras.Variable)) and tuple(here.shape) == numbers.shape:
        here.assign(numbers)
        return here
    return (keras.Variable if kind == "keras.Variable" else tf.Variable)(numbers)


def _restored_dict(pairs, arrays, here):
    beside = here if isinstance(here, dict) else {}
    return {key: _restored(item, arrays, beside.get(key)) for key, item in pairs}


def _items(here, others):
    """The items of a sequence beside those of another of the same length; None for each if not."""
    is_sequence = isinstance(here, (list, tuple, collections.deque))
    return here if is_sequence and len(here) == len(others) else [None] * len(others)


def _variables(value):
    if isinstance(value, (tf.Variable, keras.Variable)):
        return [value]
    return [value.state] if isinstance(value, keras.random.SeedGenerator) else value.variables


def _numbers(variable):
    return np.asarray(variable.numpy())
