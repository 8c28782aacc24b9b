"""Trainings for a number of steps."""

import contextlib
import itertools
import types

import keras
import numpy as np
import pytest

from ecl_tf import resume
from ecl_tf.experiments import fitting, jobs, settings


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


def test_a_long_training_beside_others_tells_how_long_is_left(tmp_path, monkeypatch, capsys):
    """Of 8 steps the clock says 10 seconds each, so that after 6 of them 20 are left."""
    now = [0.0]
    monkeypatch.setattr(fitting, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    data = resume.batches((np.ones((32, 4)), np.zeros((32, 1))), batch_size=8, seed=0)
    train = settings.Train(steps=8, epochs=4, learning_rate=0.0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "linear", False)])
    model.layers[0].set_weights([np.full((4, 1), 0.5)])
    optimizer = keras.optimizers.SGD(0.0, gradient_accumulation_steps=4)
    model.compile(optimizer, "mse", run_eagerly=True)

    def tick(batch, logs):
        now[0] += 10

    ticking = keras.callbacks.LambdaCallback(on_train_batch_end=tick)
    with jobs.shared(tmp_path):
        fitting.fit(model, data, train, tmp_path / "checkpoints", [ticking])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["    step 6 of 8, loss 4, 20 seconds left"]  # (4 x 0.5)^2, after a minute.
