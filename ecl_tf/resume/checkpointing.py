"""A callback that counts steps, and writes and reads checkpoints."""

import math
import time
import warnings

import keras
import numpy as np

from ecl_tf.resume.interruptions import Interruptions
from ecl_tf.resume.kept import Kept

# Before the names of arrays as they were before the last epoch's averages and best weights.
_BEFORE_END = "before the end."


class Checkpointing(keras.callbacks.Callback):
    """Counts steps, and writes checkpoints when they are due.

    Args:
        steps: the number of steps in all.
        steps_per_epoch: of one epoch; None for those of the checkpoint, or else all.

    Attributes:
        step: how many are done.
        finished: whether nothing is to do.
        history: pairs of an epoch and its logs.
        begun_at: the step at which the epoch, or the rest of it, began.
        at_epoch_end: all variables where `fit` ends after the rest of an epoch, or the run ends.
    """

    def __init__(self, run, files, workers, steps, steps_per_epoch, every_steps, every_seconds):
        super().__init__()
        self.run, self.state, self.files = run, run.state, files
        self.callbacks = run.callbacks
        self.steps, self.steps_per_epoch = steps, steps_per_epoch
        self.every_steps, self.every_seconds = every_steps, every_seconds
        self.step, self.finished, self.history = 0, False, []
        self.begun_at = 0
        self.at_epoch_end = None
        self.interruptions = Interruptions()
        self._kept = Kept(run.callbacks, [*self.state.variables, *self.state.fixed])
        self._kept_at_end = None
        self._workers = workers
        self._restored = None
        self._mark()

    def restore(self):
        """Reads the newest checkpoint, if there is one.

        Raises:
            ValueError: if it is of another run, or of more steps than this one, or what is left to
                train does not part into executions.
        """
        if self._workers.own_number == 0:
            self.files.require_writable()
        found = self.files.read(self.steps)
        found_by_all = self._workers.ask(-1 if found is None else found[1]["step"])
        if len(set(found_by_all.tolist())) > 1:
            raise ValueError(
                f"The workers found different checkpoints in {self.files.directory}, of the steps "
                f"{found_by_all.tolist()} (-1: none). Give a directory that all of them see."
            )
        if found is None:
            self.steps_per_epoch = self.steps_per_epoch or self.steps
            self._require_executions(0)
            return
        path, about, arrays = found
        stopped = about.get("stopped", about["step"] < about["steps"])
        self.finished = about["finished"] and (stopped or about["step"] == self.steps)
        has_same_metrics = self.run.require_same(path, about, self.finished)
        self._schedule(path, about)
        if not self.finished:
            self._require_executions(about["step"], f"The checkpoint {path}")
        kept = about["kept"]
        if about["finished"] and not self.finished:
            arrays, kept = _before_end(path, about, arrays)
        if self.finished and about["steps"] != self.steps:
            _warn(
                f"The run of {path} was stopped by a callback after step {about['step']}, so it is "
                "finished, and nothing is trained. Give another directory for a new run."
            )
        if not has_same_metrics:
            arrays = self.state.numbered_as_here(arrays, about["variables"])
            _warn(
                f"The checkpoint {path} has other metrics than this model. Epochs that ended "
                "before have those of that time, and the means that are logged for an epoch under "
                "way begin anew. All else continues exactly."
            )
        self._restored = about["callbacks"], kept, arrays
        self._write_state()
        self.step, self.history = about["step"], about["history"]
        for callback in self.callbacks:
            if isinstance(callback, keras.callbacks.CSVLogger):
                callback.append = True  # It would begin its file anew.
        self._mark()

    def _schedule(self, path, about):
        there = about["steps_per_epoch"]
        if self.steps_per_epoch is None:
            self.steps_per_epoch = there
        if self.steps_per_epoch != there or self.steps % there:
            raise ValueError(
                f"The checkpoint {path} is of a run with other steps_per_epoch ({there}). Give "
                f"steps_per_epoch={there} and a multiple of it as steps to continue it, or another "
                "directory."
            )
        if about["step"] > self.steps:
            raise ValueError(
                f"The run of {path} has done {about['step']} steps, more than steps={self.steps}. "
                f"Give steps={about['steps']}, or more to lengthen it, or another directory."
            )

    def _require_executions(self, step, checkpoint=None):
        """Refuses executions that would run past the end of an epoch: Keras cuts none short."""
        at_once, length = self.state.model.steps_per_execution, self.steps_per_epoch
        if length % at_once:
            raise ValueError(
                f"steps_per_epoch={length} must be a multiple of steps_per_execution={at_once}."
            )
        if step % at_once:
            divisors = math.gcd(step, length)
            raise ValueError(
                f"{checkpoint} is of step {step}, which executions of {at_once} steps don't meet. "
                f"Compile the model with a steps_per_execution that divides {divisors} to continue "
                "it, or give another directory."
            )

    def finish(self):
        self.finished = True
        self._write()

    def _about(self):
        return {
            "step": self.step,
            "finished": self.finished,
            "stopped": bool(self.model and self.model.stop_training),
            "steps": self.steps,
            "steps_per_epoch": self.steps_per_epoch,
            "history": self.history,
            **self.run.about(),
        }

    def _write(self):
        arrays = self.state.read()
        if self._workers.own_number == 0:
            about = {**self._about(), "kept": self._kept.read(arrays)}
            if self.finished and self.at_epoch_end is not None:
                about["kept_before_end"] = self._kept_at_end
                arrays |= {
                    f"{_BEFORE_END}{name}": array
                    for name, array in self.at_epoch_end.items()
                    if name not in arrays or not np.array_equal(array, arrays[name])
                }
            self.files.write(self.step, about, arrays)
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
        self._write_state()

    def restore_callbacks(self):
        """Gives callbacks what the checkpoint kept of them, if one was found."""
        self._kept.begin()
        if self._restored:
            self._kept.write(*self._restored)

    def on_epoch_begin(self, epoch, logs=None):
        self.begun_at = self.step
        if self._restored and self.step % self.steps_per_epoch:
            # What callbacks do as an epoch begins was done before the checkpoint was written.
            self._kept.write(*self._restored)
            self._write_state()
        self._restored = None

    def _write_state(self):
        """Sets all variables to the checkpoint's, whatever callbacks and Keras did since."""
        if self._restored:
            _, _, arrays = self._restored
            self.state.write(arrays)
            self.run.after_write()

    def on_train_batch_end(self, batch, logs=None):
        self.step = self.begun_at + batch + 1
        if self.step % self.steps_per_epoch:  # At an epoch's end: after validation.
            self._write_if_due()

    def on_epoch_end(self, epoch, logs=None):
        self.history.append(
            [epoch, {name: np.asarray(value).tolist() for name, value in logs.items()}]
        )
        is_last = self.step == self.steps
        if self.begun_at % self.steps_per_epoch or is_last:
            self.at_epoch_end = self.state.read()
        if is_last:  # For a longer run, which goes on as if this one had not ended.
            self._kept_at_end = self._kept.read(self.at_epoch_end)
        elif not self.model.stop_training:
            self._write_if_due()  # The last one is written when callbacks have ended.

    def as_history(self):
        history = keras.callbacks.History()
        history.set_model(self.state.model)
        history.on_train_begin()
        for epoch, logs in self.history:
            history.on_epoch_end(epoch, logs)
        return history


def _before_end(path, about, arrays):
    """Arrays, and what callbacks kept, before the end of a run that now goes on."""
    if "kept_before_end" not in about:
        _warn(
            f"The finished run of {path} was written by an older version, which kept it only after "
            "its end. If callbacks or the optimizer's averages set other weights at the end, the "
            "longer run goes on from those."
        )
        return arrays, about["kept"]
    before = {
        name.removeprefix(_BEFORE_END): array
        for name, array in arrays.items()
        if name.startswith(_BEFORE_END)
    }
    return {**arrays, **before}, about["kept_before_end"]


def _warn(text):
    warnings.warn(text, stacklevel=2)
