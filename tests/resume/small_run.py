"""A training of a few steps, which tests stop and continue."""

import functools
import signal

import keras
import numpy as np

from ecl_tf import resume
from ecl_tf.resume.data import Batches

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 40)


def model(units=3, run_eagerly=True):
    """Eager, because a graph takes longer than all of its steps."""
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile("sgd", loss, run_eagerly=run_eagerly)
    return made


def compiled(loss="mse", activation=None, **optimizer):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))  # Of a functional model Keras counts the names of layers.
    made = keras.Model(inputs, keras.layers.Dense(1, activation)(inputs) + 0.0)
    optimizer = keras.optimizers.Adam(**{"learning_rate": 0.125, **optimizer})
    made.compile(optimizer, loss, run_eagerly=True)
    return made


class Remembered(Batches):
    """Makes the data after a number of steps once, which takes longer than eight steps."""

    __call__ = functools.cache(Batches.__call__)


BATCHES = functools.cache(lambda: Remembered((X, Y), batch_size=8, seed=0))


def train(directory, made=None, steps=8, **arguments):
    made = made or model()
    history = resume.fit(
        made,
        BATCHES(),
        directory,
        **{"steps": steps, "steps_per_epoch": 4, "every_steps": 2, "verbose": 0, **arguments},
    )
    return made, history.history


class Preemption(keras.callbacks.Callback):
    def __init__(self, at, epoch=None, number=signal.SIGTERM):
        super().__init__()
        self.at, self.epoch, self.signal = at, epoch, number

    def on_epoch_begin(self, epoch, logs=None):
        self.is_its_epoch = self.epoch in (None, epoch)

    def on_train_batch_end(self, batch, logs=None):
        if self.is_its_epoch and batch == self.at:
            signal.raise_signal(self.signal)
