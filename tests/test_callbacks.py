"""Training in cycles: their learning rates, their ends, and what a kill leaves of them."""

import math
import re

import keras
import numpy as np
import pytest
from by_hand import assert_arrays, assert_same_weights

from ecl_tf import Distiller, callbacks, resume


def trained(scores, cycles=5, epochs=31, **arguments):
    """Trains by cycles of 2, 4, 8, ... steps; cycle by cycle the scores are these.

    Returns the callback, the model, and its weights at the end of each cycle.
    """
    seen = []

    def score(model):
        seen.append(model.get_weights())
        return scores[len(seen) - 1]

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    restarts = callbacks.WarmRestarts(2, cycles, score, **arguments)
    model.compile(keras.optimizers.SGD(restarts.schedule(0.1)), "mse")
    x = np.random.default_rng(0).normal(size=(8, 3))
    model.fit(x, x[:, :1], batch_size=4, epochs=epochs, callbacks=[restarts], verbose=0)
    return restarts, model, seen


@pytest.mark.parametrize(
    ("scores", "steps", "kept"),
    [
        ([1.0, 0.5, 0.4, 0.395], 2 * 15, 3),  # 1.25 % lower: too little, but lower.
        ([1.0, 0.9, 0.95], 2 * 7, 1),
        ([-1.0, -1.03, -1.04], 2 * 7, 2),  # By 3 %, then by 1 %.
        ([1.0, 0.5, math.nan], 2 * 7, 1),
        ([3.0, 2.0, 1.0, 0.5, 0.2], 2 * 31, 4),  # The last one.
    ],
)
def test_training_stops_after_a_cycle_that_hardly_helps(scores, steps, kept):
    restarts, model, at_ends = trained(scores)
    assert (restarts.step, model.optimizer.iterations.numpy()) == (steps, steps)
    assert restarts.best_cycle == kept
    np.testing.assert_array_equal(restarts.scores, scores)
    for left, wanted in zip(model.get_weights(), at_ends[kept], strict=True):
        np.testing.assert_array_equal(left, wanted)


def test_every_cycle_says_what_it_came_to_and_what_is_next(capsys):
    trained([1.0, 0.5, 0.55], verbose=1)
    assert capsys.readouterr().out.strip().split("\n\n") == [
        "Cycle 1 of at most 5 ended at step 2: score 1. Next is a cycle of 4 steps.",
        "Cycle 2 of at most 5 ended at step 6: score 0.5 (50.0 % lower than the best). Next is a "
        "cycle of 8 steps.",
        "Cycle 3 of at most 5 ended at step 14: score 0.55 (10.0 % higher than the best). Training "
        "stops: 2 % lower was asked for. The weights of cycle 2 are kept.",
    ]


@pytest.mark.parametrize("first", [20, 40_000])
def test_the_rate_falls_in_every_cycle_to_its_last_step(first):
    """Also where float32 holds hardly more than the steps."""
    rates = callbacks.WarmRestarts(first, 6).schedule(0.2)
    for cycle in range(6):
        begun, length = first * (2**cycle - 1), first * 2**cycle
        for step in (0, 1, length // 2, length - 2, length - 1):
            wanted = 0.1 * (1 + math.cos(math.pi * step / length))
            assert float(rates(begun + step)) == pytest.approx(wanted, abs=2e-4), (cycle, step)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"first_cycle": 0}, "first_cycle must be a whole number >= 1; got 0"),
        ({"cycles": 0}, "cycles must be a whole number >= 1; got 0"),
        ({"min_gain": 1.0}, "min_gain must be at least 0 and less than 1; got 1.0"),
        ({"first_cycle": 100_000}, "are 6300000 steps; expected at most 3,000,000"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        callbacks.WarmRestarts(**{"first_cycle": 2, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 62}, "would end after 124 steps, and 6 cycles, .* after 126. Give epochs=63"),
        ({"first_cycle": 3}, "first_cycle=3 is no multiple of an epoch's 2 steps"),
        ({"monitor": "val_loss"}, r"Nothing is logged as monitor='val_loss', only \['loss'\]"),
    ],
)
def test_what_does_not_fit_the_training_is_refused(arguments, message):
    arguments = {"first_cycle": 2, "epochs": 63, "monitor": "loss", **arguments}
    epochs = arguments.pop("epochs")
    restarts = callbacks.WarmRestarts(**arguments)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(restarts.schedule(0.1)), "mse")
    x = np.zeros((8, 3))
    with pytest.raises(ValueError, match=message):
        model.fit(x, x[:, :1], batch_size=4, epochs=epochs, callbacks=[restarts], verbose=0)
    assert model.optimizer.iterations.numpy() <= 2  # Not after hours.


def test_what_is_watched_has_to_be_there_at_the_ends_of_cycles_alone():
    restarts = callbacks.WarmRestarts(4, cycles=2)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(restarts.schedule(0.1)), "mse")
    x = np.random.default_rng(0).normal(size=(8, 3))
    arguments = {"validation_data": (x, x[:, :1]), "validation_freq": 2, "callbacks": [restarts]}
    history = model.fit(x, x[:, :1], 4, 6, verbose=0, **arguments).history
    assert restarts.scores == [history["val_loss"][0], history["val_loss"][2]]  # Of steps 4, 12.


def test_a_schedule_of_ones_own_is_taken():
    class Slower(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.5 * rates(step)

    restarts = callbacks.WarmRestarts(2, 2, lambda model: 1.0)
    rates = restarts.schedule(0.1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(Slower()), "mse")
    model.fit(np.zeros((8, 3)), np.zeros(8), 4, 3, callbacks=[restarts], verbose=0)
    assert int(model.optimizer.iterations) == 6


def test_an_optimizer_of_other_cycles_is_refused(subtests):
    restarts, used, _ = trained([1.0, 2.0], cycles=2)
    schedules = keras.optimizers.schedules
    for rate, message in [
        (None, "has done 6 steps before"),
        (0.1, "has no learning rate of cycles of 2 steps"),
        (schedules.CosineDecay(0.1, 6), "has no learning rate of cycles"),
        (schedules.CosineDecayRestarts(0.1, 3), "has no learning rate of cycles"),
    ]:
        if rate is not None:
            used.compile(keras.optimizers.SGD(rate), "mse")
        with subtests.test(message), pytest.raises(ValueError, match=message):
            used.fit(np.zeros((8, 3)), np.zeros(8), 4, 3, callbacks=[restarts], verbose=0)


class Interrupt(keras.callbacks.Callback):
    """Ends a training without a checkpoint, as a kill does."""

    def __init__(self, moment):
        super().__init__()
        self.moment = moment

    def on_train_batch_end(self, batch, logs=None):
        if self.moment == int(self.model.step.numpy()):
            raise InterruptedError

    def on_epoch_end(self, epoch, logs=None):
        if self.moment == f"epoch {epoch}":
            raise InterruptedError


@pytest.mark.slow
def test_killed_trainings_end_with_the_same_bits(tmp_path):
    """At the end of a cycle before it is kept, right after it, and in the midst of another."""
    losses = {4: 1.0, 12: 0.5, 28: 0.6}  # At the ends of three cycles, of four at most.
    x = np.random.default_rng(0).normal(size=(70, 4)).astype("float32")

    def network(units):
        layers = [keras.layers.Dense(units, "relu"), keras.layers.Dropout(0.3)]
        return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3)])

    def train(name, moment=None):
        kept = []

        def score(model):
            step = int(model.step.numpy())
            if step == 12:
                kept[:] = model.student.get_weights()
            return losses[step]

        keras.utils.set_random_seed(1)
        restarts = callbacks.WarmRestarts(4, cycles=4, monitor=score)
        distiller = Distiller(network(8), network(16), sampler="Mixup", seed=3)
        distiller.compile(keras.optimizers.Adam(restarts.schedule(0.01)))
        resume.fit(
            distiller,
            resume.batches((x,), batch_size=8, seed=5),
            tmp_path / name,
            steps=restarts.max_steps,
            steps_per_epoch=4,
            every_steps=3,
            every_seconds=None,
            callbacks=[restarts, Interrupt(moment)],
            verbose=0,
        )
        return restarts, distiller.student, kept

    undisturbed, wanted, kept = train("undisturbed")
    assert undisturbed.step == 28 and undisturbed.scores == [1.0, 0.5, 0.6]
    assert_arrays(wanted.get_weights(), kept)
    for moment in ("epoch 2", 13, 17):
        with pytest.raises(InterruptedError):
            train("killed", moment)
    again, student, _ = train("killed")
    assert (again.step, again.scores) == (undisturbed.step, undisturbed.scores)
    assert_same_weights(student, wanted)
