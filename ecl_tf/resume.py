"""Training that ends in the same bits however often it was killed."""

import concurrent.futures
import contextlib
import inspect
import json
import os
import pathlib
import signal
import threading
import time
import warnings
import zipfile
import zlib

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import identity, replicas
from ecl_tf.data import splits

_ARRAY = "array in this file"
_DAMAGES = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
PREEMPTED = 143  # 128 + SIGTERM, on which schedulers restart, and TensorFlow's own choice.


def fit(
    model,
    batches,
    directory,
    *,
    steps,
    steps_per_epoch=None,
    every_steps=None,
    every_seconds=60.0,
    keep=2,
    callbacks=(),
    **kwargs,
):
    """`model.fit` for a number of steps; the same call continues a run that was killed.

    A checkpoint holds all that the next step depends on: the model's and the optimizer's
    variables, the states of random generators (dropout) and of metrics, the history, and what
    callbacks keep (patience, best value, best weights). With data that is a function of the
    step the continued run ends with the bits of one that was never stopped, on the same machine
    and number of devices.

    `keras.callbacks.BackupAndRestore` does not do that: within an epoch it repeats steps, after
    a second crash it begins at epoch 0, and it keeps neither the states of dropout and metrics
    nor the order of the data; writing weights and metadata one after the other, it may leave
    them apart. An iterator saved by `tf.train.Checkpoint` holds its whole shuffle buffer,
    and `fit` does not show it.

    SIGTERM, which announces a preemption, ends the run after the step under way with a
    checkpoint and the exit code 143.

    Under MultiWorkerMirroredStrategy all workers make the same call, with one directory that all
    of them see; the chief writes, all read. They ask each other about once a second whether a
    checkpoint is due, or one of them was told to end: then all do, with code 143.

    Args:
        model: a compiled `keras.Model`, or `Distiller`.
        batches: a function from a number of steps to an endless `tf.data.Dataset` that leaves
            out as many batches: `ecl_tf.resume.batches`, or yours.
        directory: where checkpoints are written.
        steps: the number of steps in all.
        steps_per_epoch: after how many steps callbacks see the end of an epoch; by default
            there is one epoch.
        every_steps: write a checkpoint after so many steps, if not None.
        every_seconds: write one at the first step after so many seconds, if not None.
        keep: the number of last checkpoints to keep, at least 1.
        callbacks: of `fit`. They see the rest of an epoch as an epoch with fewer batches. Kept
            are their attributes that are numbers, strings, arrays, or lists and dicts of
            these, and no arguments of their constructors. A `CSVLogger` goes on with its file,
            where an epoch that ended after the checkpoint stands twice.
        **kwargs: of `model.fit`, like `validation_data` and `verbose`.

    Returns:
        The `keras.callbacks.History` of all epochs, those before a kill included.

    Raises:
        ValueError: if an argument is out of range, the newest whole checkpoint is of another
            model, method, teacher, schedule, list of callbacks or number of replicas, or
            workers see different checkpoints.
        RuntimeError: if another worker was lost.

    Example:
    >>> import tempfile
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
    state = _State(model, data.element_spec)
    files = _Files(directory, keep)
    checkpointing = _Checkpointing(
        state, files, callbacks, steps, steps_per_epoch, every_steps, every_seconds
    )
    with replicas.explaining_a_lost_worker():
        checkpointing.restore()
    if checkpointing.finished:
        checkpointing.restore_callbacks()
    verbose = kwargs.get("verbose", "auto")
    listening = _Callbacks(
        [*callbacks, checkpointing],
        add_history=True,
        add_progbar=verbose != 0,
        model=model,
        verbose=1 if verbose == "auto" else verbose,
        epochs=steps // steps_per_epoch,
        steps=steps_per_epoch,
    )
    with checkpointing.noticing_sigterm(), replicas.explaining_a_lost_worker():
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


def batches(data, batch_size, seed):
    """Shuffled batches of arrays as a function of the step, for `fit`.

    Every pass is in another order, which follows from the seed and the pass; rows beyond its
    last full batch are left out.

    Args:
        data: nested arrays or tensors (inputs, labels, ...) of shape (rows, ...).
        batch_size: rows of each batch.
        seed: an integer.

    Returns:
        A function from a number of steps to the endless `tf.data.Dataset` after them.

    Raises:
        ValueError: if there are fewer rows than a batch has.
    """
    rows = keras.tree.map_structure(tf.convert_to_tensor, data)
    return lambda first_step: splits.shuffled_batches(rows, batch_size, seed, first_step)


class _Files:
    """The last `keep` checkpoints of a directory, each one file that is whole or not there."""

    def __init__(self, directory, keep):
        if keep < 1:
            raise ValueError(f"keep must be at least 1 checkpoint; got {keep}.")
        self.directory, self.keep = pathlib.Path(directory), keep
        self.directory.mkdir(parents=True, exist_ok=True)
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._writing = None

    def write(self, step, about, arrays):
        """Begins to write one, while training goes on, after the one before."""
        self.wait()
        self._writing = self._thread.submit(self._write, step, json.dumps(about), arrays)

    def wait(self):
        """Waits until all is written; raises what went wrong."""
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def _write(self, step, about, arrays):
        """Writes one, then removes what is too old, damaged, or was half written at a kill."""
        path = self.directory / f"step-{step}.npz"
        temporary = path.with_suffix(".tmp")
        with open(temporary, "wb") as file:
            np.savez(file, about=about, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        found = self._newest_first()
        place = found.index(path)  # Those of later steps were damaged.
        useless = [*found[:place], *found[place + self.keep :], *self.directory.glob("step-*.tmp")]
        for old in useless:
            old.unlink()

    def read(self):
        """Path, description and arrays of the newest one that is whole; None if there is none."""
        for path in self._newest_first():
            try:
                with np.load(path) as file:  # Its zip format has a checksum for each array.
                    arrays = dict(file)
                    return path, json.loads(str(arrays.pop("about"))), arrays
            except _DAMAGES as error:
                warnings.warn(
                    f"The checkpoint {path} is damaged and not used: {error}", stacklevel=2
                )
        return None

    def _newest_first(self):
        found = self.directory.glob("step-*.npz")
        return sorted(found, key=lambda path: int(path.stem.split("-")[1]), reverse=True)


class _State:
    """All variables on which the next step of a model depends."""

    def __init__(self, model, spec):
        self.model, self.strategy = model, model.distribute_strategy
        with self.strategy.scope():
            # Metrics and optimizers have no variables before they see data.
            model._symbolic_build(data_batch=spec)
        describe = getattr(model, "describe_method", None)  # A distiller's, built by now.
        self.method = describe and describe()
        trained = [*model.trainable_variables, *model.optimizer.variables]
        variables = [*model.variables, *model.metrics_variables, *trained]
        teacher = getattr(model, "teacher", None)  # A distiller's, which nothing changes.
        fixed = {id(v) for v in teacher.variables} if isinstance(teacher, keras.Model) else set()
        self.variables = list({id(v): v for v in variables if id(v) not in fixed}.values())
        self.metrics = {id(variable) for variable in model.metrics_variables}
        # Of the others every replica has a copy of its own: metrics' sums differ.
        self.alike = {id(variable) for variable in trained}

    def shapes(self):
        """What tells one model's variables from another's; their names count models."""
        count = self.strategy.num_replicas_in_sync
        return [
            [1 if id(variable) in self.alike else count, str(variable.dtype), *variable.shape]
            for variable in self.variables
        ]

    def read(self):
        """All arrays by name; where there are several workers, all of them have to call it."""
        arrays, own = {}, {}
        for number, variable in enumerate(self.variables):
            copies = [_bytes(part) for part in self._copies(variable)]
            if id(variable) in self.alike:
                arrays[f"{number}"] = copies[0]
            else:
                own[number] = copies
        ends = np.cumsum([copies[0].size for copies in own.values()])[:-1]
        of_local = [np.concatenate(copies) for copies in zip(*own.values(), strict=True)]
        for replica, row in enumerate(replicas.gather(self.strategy, of_local)):
            for number, part in zip(own, np.split(row, ends), strict=True):
                arrays[f"{number}.{replica}"] = part
        return arrays

    def write(self, arrays, only_metrics=False):
        for number, variable in enumerate(self.variables):
            if only_metrics and id(variable) not in self.metrics:
                continue
            copies = self._copies(variable)
            first = replicas.worker_number(self.strategy) * len(copies)
            for replica, part in enumerate(copies, first):
                name = f"{number}" if id(variable) in self.alike else f"{number}.{replica}"
                value = np.frombuffer(arrays[name], part.dtype.as_numpy_dtype)
                part.assign(value.reshape(part.shape))

    def _copies(self, variable):
        """Those of this worker's replicas."""
        return self.strategy.experimental_local_results(variable.value)


def _bytes(part):
    # NumPy's files know no bfloat16.
    return np.ravel(part.numpy()).view(np.uint8)


class _Callbacks(keras.callbacks.CallbackList):
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


class _Checkpointing(keras.callbacks.Callback):
    """Counts steps, and writes checkpoints when they are due."""

    def __init__(self, state, files, callbacks, steps, steps_per_epoch, every_steps, every_seconds):
        super().__init__()
        self.state, self.files, self.callbacks = state, files, callbacks
        self.steps, self.steps_per_epoch = steps, steps_per_epoch
        self.every_steps, self.every_seconds = every_steps, every_seconds
        self.step, self.finished, self.history = 0, False, []
        self.at_epoch_end = None  # All variables, where `fit` ends after the rest of an epoch.
        self._workers = _Workers(state.strategy)
        self._preempted = False
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
        settings = ["steps", "steps_per_epoch", "variables", "method"]
        settings += ["callbacks"] if self._workers.own_number == 0 else []  # Others write nothing.
        settings = [name for name in settings if name in about]  # Older ones have fewer.
        there, here = ({name: run[name] for name in settings} for run in (about, here))
        if differing := sorted({name for name, *_ in identity.differing(there, here)}):
            raise ValueError(
                f"The checkpoint {path} is of a run with other {' and '.join(differing)} than "
                "this one. Give the same model, teacher, method, schedule, callbacks and number "
                "of replicas to continue it, or another directory."
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
            "variables": self.state.shapes(),
            "method": self.state.method,
            "history": self.history,
            "callbacks": [type(callback).__name__ for callback in self.callbacks],
        }

    def _write(self):
        arrays = self.state.read()
        if self._workers.own_number == 0:
            kept = [_kept(callback, arrays) for callback in self.callbacks]
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
        due, preempted = self._workers.ask([due, self._preempted]).any(0)
        if due or preempted:
            self._write()
        if preempted:
            raise SystemExit(PREEMPTED)

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
                    vars(callback).update(_with_arrays(kept, arrays))
                    del saved[place]
                    break

    def on_epoch_begin(self, epoch, logs=None):
        self._begun_at = self.step
        if self._restored and self.step % self.steps_per_epoch:
            self.state.write(self._restored[1], only_metrics=True)  # Keras has just reset them.
        self._restored = None

    def on_train_batch_end(self, batch, logs=None):
        self.step = self._begun_at + batch + 1
        if self.step % self.steps_per_epoch:  # Else at the end of the epoch, after validation.
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

    @contextlib.contextmanager
    def noticing_sigterm(self):
        def notice(signal_number, frame):
            self._preempted = True

        if threading.current_thread() is not threading.main_thread():
            yield  # Only there can signals be handled.
            return
        before = signal.signal(signal.SIGTERM, notice)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


class _Workers:
    """What the workers of a strategy agree on, at steps of which all know."""

    def __init__(self, strategy):
        self.strategy, self.own_number = strategy, replicas.worker_number(strategy)
        self.are_several = replicas.workers(strategy) > 1
        self._next_step, self._last_step, self._last_time = 0, 0, time.monotonic()

    def ask(self, answer):
        """Every worker's answer, in their order; all of them have to ask."""
        answer = np.asarray(answer)
        local = self.strategy.num_replicas_in_sync // replicas.workers(self.strategy)
        return np.stack(replicas.gather(self.strategy, [answer] * local)[::local])

    def meet(self, step):
        """Whether workers ask each other after this step: after every one, if it is one worker.

        Else about once a second by the chief's clock.
        """
        if not self.are_several:
            return True
        if step < self._next_step:
            return False
        seconds = max(time.monotonic() - self._last_time, 1e-6) / max(step - self._last_step, 1)
        self._next_step = step + int(self.ask(min(max(1.0 / seconds, 1.0), 1000.0))[0])
        self._last_step, self._last_time = step, time.monotonic()
        return True


def _kept(callback, arrays):
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


def _with_arrays(value, arrays):
    if isinstance(value, list):
        return [_with_arrays(item, arrays) for item in value]
    if isinstance(value, dict):
        if _ARRAY in value:
            return arrays[value[_ARRAY]][()]
        return {key: _with_arrays(item, arrays) for key, item in value.items()}
    return value
