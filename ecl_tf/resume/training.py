"""Training that ends in the same bits however often it was killed."""

import numbers
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf._internal import endless, legacy, replicas, require, symbolic
from ecl_tf.resume import data as data_of_steps
from ecl_tf.resume.callbacks import Callbacks
from ecl_tf.resume.checkpointing import Checkpointing
from ecl_tf.resume.files import Files
from ecl_tf.resume.run import Run
from ecl_tf.resume.state import State
from ecl_tf.resume.workers import Workers


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
    accept_changes: Sequence[str] = (),
    **kwargs: Any,
) -> keras.callbacks.History:
    """`model.fit` for a number of steps; the same call continues a run that was killed.

    A checkpoint holds all that the next step depends on: the variables of the model and its
    optimizer, those of optimizers and `tf.Variable`s that are attributes of it or of its layers,
    the states of random generators (dropout) and of metrics, the history, and what callbacks keep
    (patience, best value, best weights). With data that is a function of the step the continued
    run ends with the bits of one that was never stopped, on the same machine and number of
    devices; but not if layers draw random numbers without a `keras.random.SeedGenerator`, as
    `tf.random.normal` does.

    The same call with more `steps` lengthens a run, finished or not. It goes on from the state
    before the end of the last epoch's `fit`, so it ends with the bits of a run of as many steps.
    A run that a callback stopped stays finished.

    SIGTERM, which announces a preemption, ends the run after the step under way with a
    checkpoint and the exit code 143. Ctrl-C does it with a `KeyboardInterrupt`; pressed a second
    time it ends the run at once.

    Under MultiWorkerMirroredStrategy all workers make the same call, with one directory that all
    of them see; the chief writes, all read. They ask each other about once a second whether a
    checkpoint is due, or one of them was told to end: then all do, with code 143.

    Args:
        model: a compiled `keras.Model`, or `Distiller`.
        batches: a function from a number of steps to an endless `tf.data.Dataset` that leaves
            out as many batches: `ecl_tf.resume.batches`, or yours. Yours is known by its
            `element_spec` and by its first batch, which is read twice for that, and the second
            once, from data of calls of its own; or by the dict that its method `describe`, if it
            has one, returns.
        directory: the path of a directory, for checkpoints. Only files that `fit` wrote are read
            or removed.
        steps: the number of steps in all, typically some thousands.
        steps_per_epoch: after how many steps callbacks see the end of an epoch. None, the
            default, is one epoch of all steps; in a longer run, epochs as before.
        every_steps: write a checkpoint after so many steps; None, the default, for none.
        every_seconds: write one at the first step after so many seconds, 60 by default; None
            for none.
        keep: the number of last checkpoints to keep, at least 1; 2 by default.
        callbacks: of `fit`, none by default. They see the rest of an epoch as an epoch with
            fewer batches. What they do to variables, to a distiller's temperature and label
            weight, and to what is kept of them, as the run or that epoch begins, is not done
            twice. Kept are their attributes that are numbers, texts, NumPy arrays and generators,
            variables, metrics, and lists, tuples, sets, deques and dicts of these. Not kept are
            arguments of their constructors (but for variables) and paths. What is lost is named in
            a warning. A `CSVLogger` goes on with its file, and `TensorBoard` with a new one in its
            directory. Both have an epoch that ended after the checkpoint twice.
        accept_changes: names in which this run differs from its checkpoint on purpose, as the
            refusal gives them, such as ["optimizer.learning_rate"]; none by default. From here
            on this call's values hold.
        **kwargs: of `model.fit`, like `validation_data` and `verbose`, with its defaults.

    Returns:
        The `keras.callbacks.History` of all epochs, those before a kill included.

    Raises:
        ValueError: if an argument is out of range, `BackupAndRestore` is among the callbacks, an
            optimizer among the attributes is not built, the validation data is endless, the data
            ends too early, or the newest whole checkpoint is of another model, method, teacher,
            optimizer, loss, schedule, list of callbacks or number of replicas, of other data or
            class weights, or of more steps; or if workers see different checkpoints.
        OSError: if a checkpoint can't be read or written.
        RuntimeError: if another worker was lost.
        KeyboardInterrupt: after Ctrl-C, when a checkpoint is written.

    Example:
    >>> import tempfile
    >>> import numpy as np
    >>> from ecl_tf import resume
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> data = resume.batches((np.ones((32, 4)), np.zeros((32, 1))), batch_size=8, seed=0)
    >>> history = resume.fit(model, data, tempfile.mkdtemp(), steps=8, steps_per_epoch=4, verbose=0)
    >>> history.epoch
    [0, 1]
    """
    _require_arguments(model, directory, accept_changes, kwargs)
    steps, steps_per_epoch = _schedule(steps, steps_per_epoch)
    _require_intervals(every_steps, every_seconds)
    callbacks = _listed(callbacks)
    data = data_of_steps.call(batches, 0)
    state = State(model, data.element_spec)
    workers = Workers(state.strategy)
    files = Files(directory, keep)
    is_chief = workers.own_number == 0
    accepted = [accept_changes] if isinstance(accept_changes, str) else accept_changes
    run = Run(state, batches, callbacks, accepted, kwargs, is_chief)
    checkpointing = Checkpointing(
        run, files, workers, steps, steps_per_epoch, every_steps, every_seconds
    )
    with replicas.explaining_a_lost_worker():
        checkpointing.restore()
    steps_per_epoch = checkpointing.steps_per_epoch
    if checkpointing.finished:
        checkpointing.restore_callbacks()
    verbose = kwargs.get("verbose", "auto")
    listening = Callbacks(
        callbacks,
        checkpointing,
        add_history=True,
        add_progbar=verbose != 0,
        model=model,
        verbose=1 if verbose == "auto" else verbose,
        epochs=steps // steps_per_epoch,
        steps=steps_per_epoch,
    )
    if checkpointing.finished:
        return checkpointing.as_history()
    if getattr(model, "teacher_precision", None) == "auto":
        # By data of its own call, as what a dataset shuffles depends on how often it was read.
        model.settle_teacher_precision(data_of_steps.call(batches, 0), verbose=verbose)
    with checkpointing.interruptions.noticed(), replicas.explaining_a_lost_worker():
        try:
            _run(model, batches, data, checkpointing, listening, kwargs)
            listening.end()
            checkpointing.finish()
        finally:
            files.wait()
    return checkpointing.as_history()


def _run(model, batches, data, checkpointing, listening, kwargs):
    """Calls the model's `fit` until all steps are done: the rest of an epoch by itself, then all.

    Args:
        data: of `batches` from step 0 on.
        listening: the `Callbacks`.
        kwargs: further arguments of the model's `fit`.
    """
    steps, steps_per_epoch = checkpointing.steps, checkpointing.steps_per_epoch
    while checkpointing.step < steps:
        epoch, within = divmod(checkpointing.step, steps_per_epoch)
        if checkpointing.step:
            data = data_of_steps.call(batches, checkpointing.step)
        data_of_steps.require_steps(data, checkpointing.step, steps)
        model.fit(
            data,
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
            checkpointing.state.write(checkpointing.at_epoch_end)


def _require_arguments(model, directory, accept_changes, kwargs):
    """Refuses a model that is not compiled, and arguments of `model.fit` that steps replace."""
    if not isinstance(directory, (str, os.PathLike)) or not str(directory):
        raise ValueError(f"directory must be the path of a directory; got {directory!r}.")
    legacy.refuse(model, "model")
    if not getattr(model, "compiled", False):
        raise ValueError("Compile the model before resume.fit, as before every other fit.")
    require.counts(
        **{name: kwargs.get(name) for name in ("validation_steps", "validation_batch_size")}
    )
    validation = kwargs.get("validation_data"), kwargs.get("validation_steps")
    endless.require_end(*validation, "validation_steps")  # As a distiller does itself.
    is_list = isinstance(accept_changes, (str, list, tuple, set))
    if not is_list or not all(isinstance(name, str) for name in accept_changes):
        raise ValueError(
            "accept_changes must be a list of names, such as ['optimizer.learning_rate']; got "
            f"{accept_changes!r}."
        )
    if (class_weight := kwargs.get("class_weight")) is not None:
        shape = symbolic.output_shape(model)  # A distiller looks for itself.
        classes = shape[-1] if isinstance(shape, tuple) and shape[-1] != 1 else None
        require.class_weight(class_weight, classes, all_of_them=True)
    taken = {"x", "y", "batch_size", "epochs", "initial_epoch", "validation_split", "sample_weight"}
    if given := sorted(taken & kwargs.keys()):
        raise ValueError(
            f"resume.fit takes no {', '.join(given)}: steps and steps_per_epoch say how long it "
            "trains, and `batches` gives inputs, labels and weights in batches."
        )


def _require_intervals(every_steps, every_seconds):
    """Refuses other intervals between checkpoints than None, a number of steps, and seconds."""
    require.counts(every_steps=every_steps)
    is_number = isinstance(every_seconds, numbers.Real)
    if every_seconds is not None and not (is_number and every_seconds >= 0):
        raise ValueError(f"every_seconds must be None or a number >= 0; got {every_seconds!r}.")


def _schedule(steps, steps_per_epoch):
    """The numbers of steps, in all and of an epoch; ValueError if they don't divide each other."""
    steps = require.whole("steps", steps, 1)
    if steps_per_epoch is not None:
        steps_per_epoch = require.whole("steps_per_epoch", steps_per_epoch, 1)
    if steps % (steps_per_epoch or steps):
        raise ValueError(
            f"steps must be a multiple of steps_per_epoch; got steps={steps}, "
            f"steps_per_epoch={steps_per_epoch}."
        )
    return steps, steps_per_epoch


def _listed(callbacks):
    """The callbacks as a list, also one by itself."""
    is_one = isinstance(callbacks, keras.callbacks.Callback)
    listed = [callbacks] if is_one else list(callbacks or ())
    for callback in listed:
        if not isinstance(callback, keras.callbacks.Callback):
            raise ValueError(
                f"callbacks must be keras.callbacks.Callback instances; got {callback!r}."
            )
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                "resume.fit does what BackupAndRestore does, which would have Keras begin at the "
                "epoch of its own backup. Leave it out of callbacks."
            )
    return listed
