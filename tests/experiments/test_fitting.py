"""Trainings for a number of steps."""

import contextlib
import itertools
import types

import keras
import numpy as np
import pytest

from ecl_tf import resume
from ecl_tf.experiments import fitting, settings


@pytest.mark.parametrize("kills", [(), (3,), (6, 7)])
def test_the_stopwatch_adds_up_what_was_kept_of_killed_trainings(tmp_path, monkeypatch, kills):
    """By a clock that ticks when it is read."""
    clock = itertools.count()
    monkeypatch.setattr(fitting, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    data = resume.batches((np.ones((32, 4)), np.zeros((32, 1))), batch_size=8, seed=0)
    train = settings.Train(steps=8, epochs=2, learning_rate=0.1)
    every = {"every_steps": 1, "every_seconds": None}

    def preempt(batch, logs):
        if int(model.optimizer.iterations) == kill:
            raise KeyboardInterrupt

    for kill in (*kills, None):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", run_eagerly=True)
        stopwatch = fitting.Stopwatch()
        callbacks = [stopwatch, keras.callbacks.LambdaCallback(on_train_batch_end=preempt)]
        with pytest.raises(KeyboardInterrupt) if kill else contextlib.nullcontext():
            fitting.fit(model, data, train, tmp_path, callbacks, every)
    assert stopwatch.seconds == 8 + 2  # Of every step, and of what comes at the end of an epoch.
