"""Trainings by warm restarts that are interrupted, on one and two virtual devices; prints JSON."""

import json
import tempfile

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import Distiller, callbacks, resume

SCORES = {4: 1.0, 12: 0.5, 28: 0.6, 60: 0.1}


class Interrupt(keras.callbacks.Callback):
    """Ends the process's training without a checkpoint, as a kill does."""

    def __init__(self, moment):
        super().__init__()
        self.moment = moment

    def on_train_batch_end(self, batch, logs=None):
        if self.moment == int(self.model.step.numpy()):
            raise InterruptedError

    def on_epoch_end(self, epoch, logs=None):
        if self.moment == f"epoch {epoch}":
            raise InterruptedError


def network(units):
    layers = [keras.layers.Dense(units, "relu"), keras.layers.Dropout(0.3)]
    return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3)])


def train(strategy, moments):
    """Trains once more after each interruption; returns where it ended."""
    x = np.random.default_rng(0).normal(size=(70, 4)).astype("float32")
    kept = []

    def score(model):
        step = int(model.step.numpy())
        if step == 12:
            kept[:] = lists(model)
        return SCORES[step]

    with tempfile.TemporaryDirectory() as directory:
        for moment in (*moments, None):
            keras.utils.set_random_seed(1)
            restarts = callbacks.WarmRestarts(4, cycles=4, monitor=score)
            with strategy.scope():
                distiller = Distiller(network(8), network(16), sampler="Mixup", seed=3)
                distiller.compile(keras.optimizers.Adam(restarts.schedule(0.01)))
            try:
                resume.fit(
                    distiller,
                    resume.batches((x,), batch_size=8, seed=5),
                    directory,
                    steps=restarts.max_steps,
                    steps_per_epoch=4,
                    every_steps=3,
                    every_seconds=None,
                    callbacks=[restarts, Interrupt(moment)],
                    verbose=0,
                )
            except InterruptedError:
                assert moment is not None
    return {
        "steps": restarts.step,
        "scores": restarts.scores,
        "weights": lists(distiller),
        "at step 12": kept,
    }


def lists(distiller):
    return [weight.ravel().tolist() for weight in distiller.student.get_weights()]


def main():
    one = tf.distribute.get_strategy()
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    cases = {
        "one": {"never": (), "in a cycle": (17,), "before and after an end": ("epoch 2", 13)},
        "two": {"never": ()},
    }
    found = {
        name: {moment: train(strategy, moments) for moment, moments in cases[name].items()}
        for name, strategy in (("one", one), ("two", two))
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
