"""Training that ends in the same bits however often it was killed."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf._internal import replicas
from ecl_tf.data import splits
from ecl_tf.resume.callbacks import Callbacks, Checkpointing
from ecl_tf.resume.files import Files
from ecl_tf.resume.state import State


def fit(
    model: keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    directory: str | os.PathLike,
    *,
    steps: int,
    steps_per_epoch: int | None = None,
    every_steps: int | None = None,
    every_seconds: float | None = 60.0,
    keep: int = 2,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    **kwargs: Any,
) -> keras.callbacks.History:
    """`model.fit` for a number of steps; the same call continues a run that was killed.

    A checkpoint holds all that the next step depends on: the model's and the optimizer's
    variables, the states of random generators (dropout) and of metrics, the history, and what
    callbacks keep (patience, best value, best weights). With data that is a function of the
    step the continued run ends with the bits of one that was never stopped, on the same machine
    and number of devices.

    SIGTERM, which announces a preemption, ends the run after the step under way with a
    checkpoint and the exit code 143. Ctrl-C does it with a `KeyboardInterrupt`; pressed a second
    time it ends the run at once.

    Under MultiWorkerMirroredStrategy all workers make the same call, with one directory that all
    of them see; the chief writes, all read. They ask each other about once a second whether a
    checkpoint is due, or one of them was told to end: then all do, with code 143.

    Args:
        model: a compiled `keras.Model`, or `Distiller`.
        batches: a function from a number of steps to an endless `tf.data.Dataset` that leaves
            out as many batches: `ecl_tf.resume.batches`, or yours.
        directory: where checkpoints are written.
        steps: the number of steps in all, typically some thousands.
        steps_per_epoch: after how many steps callbacks see the end of an epoch. None, the
            default, is one epoch of all steps.
        every_steps: write a checkpoint after so many steps; None, the default, for none.
        every_seconds: write one at the first step after so many seconds, 60 by default; None
            for none.
        keep: the number of last checkpoints to keep, at least 1; 2 by default.
        callbacks: of `fit`, none by default. They see the rest of an epoch as an epoch with
            fewer batches. Their attributes that are numbers, strings, arrays, or lists and
            dicts of these are kept, but no arguments of their constructors. A `CSVLogger` goes
            on with its file, and has an epoch that ended after the checkpoint twice.
        **kwargs: of `model.fit`, like `validation_data` and `verbose`, with its defaults.

    Returns:
        The `keras.callbacks.History` of all epochs, those before a kill included.

    Raises:
        ValueError: if an argument is out of range, the newest whole checkpoint is of another
            model, method, teacher, schedule, list of callbacks or number of replicas, or
            workers see different checkpoints.
        RuntimeError: if another worker was lost.
        KeyboardInterrupt: after Ctrl-C, when a checkpoint is written.

    Example:
    >>> import tempfile
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> data = batches((np.ones((32, 4)), np.zeros((32, 1))), batch_size=8, seed=0)
    >>> history = fit(model, data, tempfile.mkdtemp(), steps=8, steps_per_epoch=4, verbose=0)
    >>> history.epoch
    [0, 1]
    """
    steps_per_epoch = steps if steps_per_epoch is None else steps_per_epoch
    if steps < 1 or steps_per_epoch < 1 or steps % steps_per_epoch:
        raise ValueError(
            f"steps must be a multiple of steps_per_epoch, both at least 1; got steps={steps}, "
            f"steps_per_epoch={steps_per_epoch}."
        )
    if steps_per_epoch % model.steps_per_execution:
        raise ValueError(
            f"steps_per_epoch={steps_per_epoch} must be a multiple of "
            f"steps_per_execution={model.steps_per_execution}."
        )
    data = batches(0)
    state = State(model, data.element_spec)
    files = Files(directory, keep)
    checkpointing = Checkpointing(
        state, files, callbacks, steps, steps_per_epoch, every_steps, every_seconds
    )
    with replicas.explaining_a_lost_worker():
        checkpointing.restore()
    if checkpointing.finished:
        checkpointing.restore_callbacks()
    verbose = kwargs.get("verbose", "auto")
    listening = Callbacks(
        [*callbacks, checkpointing],
        add_history=True,
        add_progbar=verbose != 0,
        model=model,
        verbose=1 if verbose == "auto" else verbose,
        epochs=steps // steps_per_epoch,
        steps=steps_per_epoch,
    )
    with checkpointing.interruptions.noticed(), replicas.explaining_a_lost_worker():
        try:
            while checkpointing.step < steps and not checkpointing.finished:
                epoch, within = divmod(checkpointing.step, steps_per_epoch)
                model.fit(
                    batches(checkpointing.step) if checkpointing.step else data,
                    # The rest of an epoch by itself, then all others.
                    initial_epoch=epoch,
                    epochs=epoch + 1 if within else steps // steps_per_epoch,
                    steps_per_epoch=steps_per_epoch - within,
                    callbacks=listening,
                    **{"shuffle": False, **kwargs},  # Keras warns of the default.
                )
                if model.stop_training:
                    break
                if within and checkpointing.step < steps:
                    # Undo what fit did at its end: an optimizer's averages became the weights.
                    state.write(checkpointing.at_epoch_end)
            if not checkpointing.finished:
                listening.end()
                checkpointing.finish()
        finally:
            files.wait()
    return checkpointing.as_history()


def batches(data: Any, batch_size: int, seed: int) -> Callable[[int], tf.data.Dataset]:
    """Shuffled batches of arrays as a function of the step, for `fit`.

    Every pass is in another order, which follows from the seed and the pass; rows beyond its
    last full batch are left out.

    Args:
        data: nested arrays or tensors (inputs, labels, ...) of shape (rows, ...).
        batch_size: rows of each batch, typically 32 to 256.
        seed: an integer, typically 0.

    Returns:
        A function from a number of steps to the endless `tf.data.Dataset` after them.

    Raises:
        ValueError: if there are fewer rows than a batch has.

    Example:
    >>> import numpy as np
    >>> data = batches((np.arange(10),), batch_size=5, seed=0)
    >>> (first,), (second,) = data(0).take(2)
    >>> sorted(int(row) for row in (*first, *second))
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    >>> bool(tf.reduce_all(next(iter(data(1)))[0] == second))
    True
    """
    rows = keras.tree.map_structure(tf.convert_to_tensor, data)
    return lambda first_step: splits.shuffled_batches(rows, batch_size, seed, first_step)
