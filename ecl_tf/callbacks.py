"""Callbacks for `fit`, of a `Distiller` or of any other Keras model."""

import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from ecl_tf._internal import require

# Beyond them `CosineDecayRestarts` in float32 takes a cycle's last step for the next one's first.
_MOST_STEPS = 3_000_000


class WarmRestarts(keras.callbacks.Callback):
    """Trains in cycles, each twice as long as the one before, until one of them hardly helps.

    Cycle c = 0, 1, ... has n = 2^c * first_cycle steps. In its step s the `schedule` has the
    learning rate r / 2 * (1 + cos(pi s / n)), which falls from r to 0. So at the end of every cycle
    the model has settled as at the end of a training, and is measured. Training stops after a cycle
    that did not lower the lowest score before it by `min_gain` of that score's magnitude, and after
    the last of `cycles`. The weights of the cycle with the lowest score remain.

    Cycles have to end where epochs end: give `fit` steps_per_epoch=first_cycle and data that
    repeats, or a first_cycle of so many whole epochs. `ecl_tf.resume.fit` continues a killed
    training in the midst of a cycle, with the same bits; its checkpoints hold the best weights.
    The optimizer has to be a new one, because its steps are what the schedule counts.

    Args:
        first_cycle: steps of the first cycle; typically 500, or those of 2 passes over the data.
        cycles: the largest number of cycles, at least 1; 6 by default, and typically: 63 times the
            steps of the first one.
        monitor: what is to fall: the name of a value that `fit` logs, "val_loss" by default, or a
            function from the model to a number, which is called at the end of every cycle.
        min_gain: the share by which a cycle has to lower the score, at least 0 and less than 1;
            0.02 by default, typically 0.01 to 0.05.
        verbose: 1 prints a line for every cycle; 0, the default, none.

    Attributes:
        step: how many were done.
        scores: that of each cycle that has ended.
        best_cycle: the number, from 0, of that with the lowest score; None before the first end.
        best_weights: the model's weights at its end, of a distiller the student's.

    Raises:
        ValueError: if an argument is out of its range, or max_steps above 3,000,000; when training
            begins, if the optimizer is none of new cycles, cycles can't end where epochs end, or
            `fit` would end before the last cycle; after a cycle, if nothing is logged as `monitor`.

    Example:
    >>> import ecl_tf
    >>> def network(width):
    ...     return ecl_tf.models.build("mlp", (4,), 3, widths=(width,))
    >>> x = np.random.default_rng(0).random((64, 4), "float32")
    >>> restarts = WarmRestarts(first_cycle=2, cycles=3)
    >>> distiller = ecl_tf.Distiller(network(4), network(32))
    >>> distiller.compile(keras.optimizers.Adam(restarts.schedule(0.01)))
    >>> # An epoch is 2 steps of 32 rows, and 7 epochs are cycles of 2, 4 and 8 steps.
    >>> history = distiller.fit(x, epochs=7, validation_data=(x,), callbacks=[restarts], verbose=0)
    >>> restarts.max_steps, len(restarts.scores)
    (14, 3)

    Reference: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017.
    """

    def __init__(
        self,
        first_cycle: int,
        cycles: int = 6,
        monitor: str | Callable[[keras.Model], float] = "val_loss",
        min_gain: float = 0.02,
        verbose: int = 0,
    ):
        """Takes the arguments that the class describes."""
        super().__init__()
        self.first_cycle = require.whole("first_cycle", first_cycle, 1)
        self.cycles = require.whole("cycles", cycles, 1)
        self.monitor = monitor
        self.min_gain = require.number("min_gain", min_gain)
        if not 0.0 <= self.min_gain < 1.0:
            raise ValueError(f"min_gain must be at least 0 and less than 1; got {min_gain!r}.")
        self.verbose = verbose
        if self.max_steps > _MOST_STEPS:
            raise ValueError(
                f"{cycles} cycles, of which the first has {first_cycle} steps, are "
                f"{self.max_steps} steps; expected at most {_MOST_STEPS:,}, as Keras computes the "
                "learning rate in float32. Give fewer cycles, or a shorter first_cycle."
            )
        self._begin()

    @property
    def max_steps(self) -> int:
        """The steps of all cycles, which training does not exceed: first_cycle * (2^cycles - 1)."""
        return self._end(self.cycles)

    def schedule(self, learning_rate: float) -> keras.optimizers.schedules.CosineDecayRestarts:
        """The learning rate of every step, for the optimizer.

        Args:
            learning_rate: r, with which every cycle begins; typically 0.003 for Adam.
        """
        return keras.optimizers.schedules.CosineDecayRestarts(learning_rate, self.first_cycle)

    def _begin(self):
        self.step, self._epoch_begun_at = 0, 0
        self.scores: list[float] = []
        self.best_cycle: int | None = None
        self.best_weights: list[np.ndarray] = []

    def _end(self, cycles):
        """The step at which so many cycles have ended."""
        return self.first_cycle * (2**cycles - 1)

    def on_train_begin(self, logs: Any = None) -> None:
        self._begin()
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # Of one that scales the loss.
        rate = optimizer._learning_rate
        cycles = getattr(rate, "first_decay_steps", None), getattr(rate, "_t_mul", None)
        is_of_a_user = not type(rate).__module__.startswith("keras.") and callable(rate)
        if cycles != (self.first_cycle, 2.0) and not is_of_a_user:
            raise self._no_cycles(f"has no learning rate of cycles of {self.first_cycle} steps")
        steps, epochs = self.params.get("steps"), self.params.get("epochs")
        if not steps:
            return
        if self.first_cycle % steps:
            raise self._no_end(steps)
        if epochs * steps < self.max_steps:
            raise ValueError(
                f"fit would end after {epochs * steps} steps, and {self.cycles} cycles, of which "
                f"the first has {self.first_cycle} steps, end after {self.max_steps}. Give "
                f"epochs={self.max_steps // steps}, or fewer cycles."
            )

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if batch == self.step == 0 and (done := int(self.model.optimizer.iterations.numpy())):
            raise self._no_cycles(f"has done {done} steps before, which its schedule counts")
        # Of a continued epoch the rest is counted from 0.
        self._epoch_begun_at = self.step - batch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.step = self._epoch_begun_at + batch + 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        end = self._end(len(self.scores) + 1)
        if self.step > end:
            raise self._no_end(self.step - self._epoch_begun_at)
        if self.step == end and not self.model.stop_training:
            self._end_cycle(epoch, logs or {})

    def on_train_end(self, logs: Any = None) -> None:
        if self.best_cycle is not None and self.step != self._end(self.best_cycle + 1):
            self._trained().set_weights(self.best_weights)

    def _end_cycle(self, epoch, logs):
        if isinstance(self.monitor, str) and self.monitor not in logs:
            raise ValueError(
                f"Nothing is logged as monitor={self.monitor!r}, only {sorted(logs)}. Give fit "
                "validation_data, with a validation_freq that meets the ends of cycles, or another "
                "monitor: one of these, or a function of the model."
            )
        score = logs[self.monitor] if isinstance(self.monitor, str) else self.monitor(self.model)
        before = None if self.best_cycle is None else self.scores[self.best_cycle]
        self.scores.append(float(score))
        # Comparisons with NaN are false: it never counts as better.
        is_better = np.isfinite(score) and (before is None or score < before)
        helps = is_better and (
            before is None or before - score >= self.min_gain * max(abs(before), 1e-12)
        )
        if is_better:
            self.best_cycle = len(self.scores) - 1
            self.best_weights = [np.array(weight) for weight in self._trained().get_weights()]
        is_last = len(self.scores) == self.cycles
        if self.verbose:
            print(f"\n{self._said(before, helps, is_last)}", flush=True)
        epochs = self.params.get("epochs")
        if not is_last:
            self.model.stop_training = not helps
        elif epochs is None or epoch + 1 < epochs:  # Otherwise `fit` ends by itself.
            self.model.stop_training = True

    def _said(self, before, helps, is_last):
        """One line of a cycle that has ended, and of what is next."""
        name = self.monitor if isinstance(self.monitor, str) else "score"
        score = self.scores[-1]
        text = f"Cycle {len(self.scores)} of at most {self.cycles} ended at step {self.step:,}: "
        text += f"{name} {score:.4g}"
        if before is not None:
            gain = 100.0 * (before - score) / max(abs(before), 1e-12)
            text += f" ({abs(gain):.1f} % {'lower' if gain >= 0.0 else 'higher'} than the best)"
        if is_last:
            text += ". It is the last one."
        elif helps:
            length = self._end(len(self.scores) + 1) - self.step
            return f"{text}. Next is a cycle of {length:,} steps."
        else:
            text += f". Training stops: {100 * self.min_gain:g} % lower was asked for."
        if self.best_cycle is not None and self.best_cycle != len(self.scores) - 1:
            text += f" The weights of cycle {self.best_cycle + 1} are kept."
        return text

    def _trained(self):
        """The network that is trained: of a distiller the student."""
        return getattr(self.model, "student", self.model)

    def _no_cycles(self, reason):
        return ValueError(
            f"The model's optimizer {reason}. Compile it with a new one of this callback's "
            "schedule, such as keras.optimizers.Adam(restarts.schedule(0.003))."
        )

    def _no_end(self, steps):
        return ValueError(
            f"Cycles must end where epochs end, and first_cycle={self.first_cycle} is no multiple "
            f"of an epoch's {steps} steps. Give fit steps_per_epoch={self.first_cycle} and data "
            f"that repeats, or a first_cycle such as {max(self.first_cycle // steps, 1) * steps}."
        )


class StudentCheckpoint(keras.callbacks.ModelCheckpoint):
    """Keras's `ModelCheckpoint` of the student alone: a file without teacher and optimizer.

    `keras.models.load_model` reads it, and `ecl_tf.export_student` exports it. To continue a
    training all of the distiller is needed: `keras.callbacks.ModelCheckpoint`, or
    `ecl_tf.resume.fit`.

    Args:
        filepath: of the file, ending with .keras; it may name values that `fit` logs, as in
            "student_{epoch:02d}.keras".
        monitor: the name of a logged value that tells the best; "val_loss" by default.
        verbose: 1 prints a line for every file; 0, the default, none.
        save_best_only: whether only the best so far is kept; False by default.
        save_weights_only: whether only weights are kept, in a file ending with .weights.h5; False
            by default.
        mode: "min" or "max", what is best; "auto", the default, knows it by the name.
        save_freq: "epoch", the default, or after how many steps.
        initial_value_threshold: what the first value has to be better than; None by default.

    Raises:
        ValueError: if an argument is out of its range; when training begins, if the model is no
            distiller, or is one of 8 bits (`quantization="int8"`).

    Example:
    >>> import ecl_tf, pathlib, tempfile
    >>> def network(width):
    ...     return ecl_tf.models.build("mlp", (4,), 3, widths=(width,))
    >>> x = np.random.default_rng(0).random((64, 4), "float32")
    >>> distiller = ecl_tf.Distiller(network(4), network(32))
    >>> distiller.compile("adam")
    >>> path = pathlib.Path(tempfile.mkdtemp(), "best.keras")
    >>> best = StudentCheckpoint(path, save_best_only=True)
    >>> history = distiller.fit(x, validation_data=(x,), callbacks=[best], verbose=0)
    >>> keras.models.load_model(path).count_params()  # Of 4 -> 4 -> 3.
    35
    """

    def __init__(
        self,
        filepath: str | os.PathLike,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ):
        """Takes the arguments that the class describes."""
        super().__init__(
            filepath,
            monitor=monitor,
            verbose=verbose,
            save_best_only=save_best_only,
            save_weights_only=save_weights_only,
            mode=mode,
            save_freq=save_freq,
            initial_value_threshold=initial_value_threshold,
        )

    def set_model(self, model: keras.Model) -> None:
        """Takes the model that is trained; Keras calls it.

        Args:
            model: a `Distiller`.
        """
        if not hasattr(model, "student"):
            raise ValueError(
                f"A StudentCheckpoint keeps the student of a Distiller; got {model.name!r}, a "
                f"{type(model).__name__}. Use keras.callbacks.ModelCheckpoint."
            )
        if getattr(model, "quantized", None):
            raise ValueError(
                "A StudentCheckpoint keeps the student in float32, without its ranges of 8 bits. "
                "Use keras.callbacks.ModelCheckpoint, which keeps the distiller."
            )
        super().set_model(_SavedAsStudent(model))


class _SavedAsStudent:
    """A distiller to callbacks, but for what is saved."""

    def __init__(self, distiller):
        self._distiller = distiller
        self.save, self.save_weights = distiller.student.save, distiller.student.save_weights

    def __getattr__(self, name):
        return getattr(self._distiller, name)
