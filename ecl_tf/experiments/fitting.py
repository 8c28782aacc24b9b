"""Training for a number of steps, continued after a kill."""

import contextlib
import pathlib
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf import resume
from ecl_tf.experiments import jobs, lengths, progress, settings, strategies

_BETWEEN_LINES = 60.0  # Seconds.


def steps_at_end(callback: keras.callbacks.Callback, epoch: int) -> int:
    """The steps of a training, which are batches, at the end of an epoch, for a callback of it.

    An optimizer counts otherwise where it adds up several gradients, or leaves out such as are not
    finite.

    Args:
        epoch: its number, from 0.
    """
    return (epoch + 1) * callback.params["steps"]


class Stopwatch(keras.callbacks.Callback):
    """The time of a training, over all its continuations: a checkpoint keeps it.

    Attributes:
        seconds: of all steps so far, and of the callbacks before this one.
    """

    def __init__(self):
        super().__init__()
        self.seconds = 0.0

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:  # Later than `on_epoch_begin`, whose clock a continued epoch would put back.
            self._last = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        self.seconds += now - self._last
        self._last = now

    def on_epoch_end(self, epoch, logs=None):
        self.on_train_batch_end(None)


class Pace(keras.callbacks.Callback):
    """Lines of a training that takes minutes, where Keras prints none: the loss, the time left.

    Args:
        steps: of the whole training.
    """

    def __init__(self, steps):
        super().__init__()
        self.steps = steps
        self._untold = 0.0  # Seconds.

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:  # As of the stopwatch: a killed training's clock has stopped.
            self._began = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        self._done = batch + 1  # Of this epoch, or of the rest of a continued one.

    def on_epoch_end(self, epoch, logs=None):
        seconds, step = time.monotonic() - self._began, steps_at_end(self, epoch)
        self._untold += seconds
        if self._untold >= _BETWEEN_LINES:
            self._untold = 0.0
            left = seconds / self._done * (self.steps - step)
            loss = f", loss {logs['loss']:.4g}" if "loss" in (logs or {}) else ""
            progress.announce(
                f"    step {step:,} of {self.steps:,}{loss}, {progress.duration(left)} left"
            )


class _DescribedElsewhere:
    """A function of steps whose data the work directory compares, so none is read for that."""

    def __init__(self, batches: Callable[[int], tf.data.Dataset]) -> None:
        self.batches = batches

    def __call__(self, step: int) -> tf.data.Dataset:
        return self.batches(step)

    def describe(self) -> dict[str, Any]:
        return {}


def fit(
    model: keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    train: settings.Train,
    checkpoints: pathlib.Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint_every: dict[str, Any] | None = None,
    score: Callable[[keras.Model], float] | None = None,
    **kwargs: Any,
) -> keras.callbacks.History:
    """Trains a model as a section's `train` says.

    Args:
        model: a compiled `keras.Model`.
        batches: a function from a number of steps to the endless batches after them.
        train: the `settings.Train`, `lengths.resolved` if it was "auto".
        checkpoints: the directory of checkpoints, from which a killed training continues; None
            for none. To be removed by `forget` when the result is written.
        callbacks: of `fit`. They see the end of each of train.epochs parts, if the steps
            can be cut so.
        checkpoint_every: `every_steps` and `every_seconds` of `resume.fit`, as a dict; by
            default those of its own, 60 seconds.
        score: a function from the model to what is to fall, which ends a training of "auto"; None,
            the default, for the validation loss that `fit` logs.
        **kwargs: of `fit`.

    Returns:
        The `keras.callbacks.History`.
    """
    epochs = train.epochs
    if train.steps % (epochs * train.steps_per_execution):
        epochs = 1
    callbacks = list(callbacks)
    if lengths.is_auto(train):
        # Before the others: its time is the training's.
        callbacks.insert(0, lengths.warm_restarts(train, score, int(strategies.is_chief())))
    if jobs.are_shared():
        callbacks.append(Pace(train.steps))
    kwargs = {"verbose": progress.verbosity(), "callbacks": callbacks, **kwargs}
    steps_per_epoch = train.steps // epochs
    if checkpoints is None:
        kwargs["shuffle"] = False
        return model.fit(batches(0), epochs=epochs, steps_per_epoch=steps_per_epoch, **kwargs)
    return resume.fit(
        model,
        _DescribedElsewhere(batches),
        checkpoints,
        steps=train.steps,
        steps_per_epoch=steps_per_epoch,
        accept_changes=["callbacks"],  # An earlier version's were others, which changes no step.
        **(checkpoint_every or {}),
        **kwargs,
    )


def forget(checkpoints: pathlib.Path) -> None:
    """Removes the checkpoints of a training whose result is written."""

    def remove():
        shutil.rmtree(checkpoints, ignore_errors=True)
        if not jobs.are_shared():  # Another process may be about to write there.
            with contextlib.suppress(OSError):  # Others' are there, too.
                checkpoints.parent.rmdir()

    strategies.on_chief(remove)
