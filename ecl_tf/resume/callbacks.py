"""Callbacks of one training that several calls of `fit` make up, and what is kept of them."""

import contextlib
import inspect
import time
import warnings

import keras
import numpy as np

from ecl_tf._internal import identity
from ecl_tf.resume.interruptions import Interruptions
from ecl_tf.resume.workers import Workers

_ARRAY = "array in this file"


class Callbacks(keras.callbacks.CallbackList):
    """Callbacks of one training that several calls of `fit` make up."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._begun = []

    def on_train_begin(self, logs=None):
        for callback in self.callbacks:
            if callback not in self._begun:
                self._begun.append(callback)
                callback.on_train_begin(logs)

    def on_train_end(self, logs=None):
        pass

    def end(self):
        for callback in self._begun:
            callback.on_train_end()


class Checkpointing(keras.callbacks.Callback):
    """Counts steps, and writes checkpoints when they are due."""

    def __init__(self, state, files, callbacks, steps, steps_per_epoch, every_steps, every_seconds):
        super().__init__()
        self.state, self.files, self.callbacks = state, files, callbacks
        self.steps, self.steps_per_epoch = steps, steps_per_epoch
        self.every_steps, self.every_seconds = every_steps, every_seconds
        self.step, self.finished, self.history = 0, False, []
        self.at_epoch_end = None  # All variables, where `fit` ends after the rest of an epoch.
        self._workers = Workers(state.strategy)
        self.interruptions = Interruptions()
        self._restored = None
        self._mark()

    def restore(self):
        found = self.files.read()
        found_by_all = self._workers.ask(-1 if found is None else found[1]["step"])
        if len(set(found_by_all.tolist())) > 1:
            raise ValueError(
                f"The workers found different checkpoints in {self.files.directory}, of the steps "
                f"{found_by_all.tolist()} (-1: none). Give a directory that all of them see."
            )
        if found is None:
            return
        path, about, arrays = found
        here = self._about()
        # Version 0.1.0 wrote neither of them.
        about.setdefault("replicas", max(copies for copies, *_ in about["variables"]))
        about.setdefault("metrics", here["metrics"])
        settings = ["steps", "steps_per_epoch", "replicas", "method"]
        settings += ["callbacks"] if self._workers.own_number == 0 else []  # Others write nothing.
        parted, compared = [], []
        for run in (about, here):
            variables, metrics = self.state.parted(run["variables"])
            parted.append([metrics, run["metrics"]])
            compared.append({name: run[name] for name in settings if name in about})
            compared[-1]["variables"] = variables
        if differing := sorted({name for name, *_ in identity.differing(*compared)}):
            raise ValueError(
                f"The checkpoint {path} is of a run with other {' and '.join(differing)} than "
                "this one. Give the same model, teacher, method, schedule, callbacks and number "
                "of replicas to continue it, or another directory."
            )
        if parted[0] != parted[1]:
            arrays = self.state.numbered_as_here(arrays, about["variables"])
            warnings.warn(
                f"The checkpoint {path} has other metrics than this model, so the means that are "
                "logged for the epoch under way begin anew. All else continues exactly.",
                stacklevel=3,
            )
        self.state.write(arrays)
        self.step, self.finished, self.history = about["step"], about["finished"], about["history"]
        self._restored = about, arrays
        for callback in self.callbacks:
            if isinstance(callback, keras.callbacks.CSVLogger):
                callback.append = True  # It would begin its file anew.
        self._mark()

    def finish(self):
        self.finished = True
        self._write()

    def _about(self):
        return {
            "step": self.step,
            "finished": self.finished,
            "steps": self.steps,
            "steps_per_epoch": self.steps_per_epoch,
            "replicas": self.state.strategy.num_replicas_in_sync,
            "variables": self.state.shapes(),
            "metrics": self.state.metric_names(),
            "method": self.state.method,
            "history": self.history,
            "callbacks": [type(callback).__name__ for callback in self.callbacks],
        }

    def _write(self):
        arrays = self.state.read()
        if self._workers.own_number == 0:
            kept = [kept_of(callback, arrays) for callback in self.callbacks]
            self.files.write(self.step, {**self._about(), "kept": kept}, arrays)
        self._mark()

    def _mark(self):
        self._last_step, self._last_time = self.step, time.monotonic()

    def _write_if_due(self):
        due = self.every_steps is not None and self.step - self._last_step >= self.every_steps
        if not due and not self._workers.meet(self.step):
            return
        seconds = time.monotonic() - self._last_time
        due |= self.every_seconds is not None and seconds >= self.every_seconds
        signals = self.interruptions
        asked = self._workers.ask([due, signals.terminated, signals.interrupted]).any(0)
        due, signals.terminated, signals.interrupted = (bool(answer) for answer in asked)
        if asked.any():
            self._write()
        if signals.terminated or signals.interrupted:
            signals.end()

    def on_train_begin(self, logs=None):
        self.restore_callbacks()  # The others have just begun from zero.

    def restore_callbacks(self):
        """Gives callbacks what the checkpoint kept of them, if one was found."""
        if not self._restored:
            return
        about, arrays = self._restored
        saved = list(zip(about["callbacks"], about["kept"], strict=True))
        for callback in self.callbacks:
            for place, (name, kept) in enumerate(saved):
                if name == type(callback).__name__:
                    vars(callback).update(with_arrays(kept, arrays))
                    del saved[place]
                    break

    def on_epoch_begin(self, epoch, logs=None):
        self._begun_at = self.step
        if self._restored and self.step % self.steps_per_epoch:
            self.state.write(self._restored[1], only_metrics=True)  # Keras has just reset them.
        self._restored = None

    def on_train_batch_end(self, batch, logs=None):
        self.step = self._begun_at + batch + 1
        if self.step % self.steps_per_epoch:  # At an epoch's end: after validation.
            self._write_if_due()

    def on_epoch_end(self, epoch, logs=None):
        self.history.append(
            [epoch, {name: np.asarray(value).tolist() for name, value in logs.items()}]
        )
        if self._begun_at % self.steps_per_epoch:
            self.at_epoch_end = self.state.read()
        if self.step < self.steps and not self.model.stop_training:
            self._write_if_due()  # The last one is written when callbacks have ended.

    def as_history(self):
        history = keras.callbacks.History()
        history.set_model(self.state.model)
        history.on_train_begin()
        for epoch, logs in self.history:
            history.on_epoch_end(epoch, logs)
        return history


def kept_of(callback, arrays):
    """What a callback keeps: patience used up, the best weights, but none of its arguments.

    Its arrays are added to `arrays`, and referred to.
    """
    kept: dict = {}
    if isinstance(callback, keras.callbacks.CSVLogger):
        return kept  # Its file keeps all.
    arguments = inspect.signature(type(callback)).parameters
    for name, value in vars(callback).items():
        if name not in arguments and name != "params":
            found: dict = {}
            with contextlib.suppress(TypeError):
                kept[name] = _without_arrays(value, f"callback.{len(arrays)}", found)
                arrays |= found
    return kept


def _without_arrays(value, name, arrays):
    """A nest of lists and dicts as JSON holds it; raises TypeError for other objects."""
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf":
        key = f"{name}.{len(arrays)}"
        arrays[key] = np.array(value)  # A copy: the callback goes on while it is written.
        return {_ARRAY: key}
    if isinstance(value, list):
        return [_without_arrays(item, name, arrays) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _without_arrays(item, name, arrays) for key, item in value.items()}
    raise TypeError


def with_arrays(value, arrays):
    if isinstance(value, list):
        return [with_arrays(item, arrays) for item in value]
    if isinstance(value, dict):
        if _ARRAY in value:
            return arrays[value[_ARRAY]][()]
        return {key: with_arrays(item, arrays) for key, item in value.items()}
    return value
