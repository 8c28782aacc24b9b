"""Trains from a store on one device and on two virtual ones; prints logs and weights of both."""

import json
import tempfile

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import Distiller, replay


def network(seed):
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(8, "tanh"), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((4,)), *layers])


def main():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 4)).astype("float32"), rng.integers(0, 3, 64)
    directory = tempfile.mkdtemp()
    teacher = [network(1), network(2)]
    replay.record(
        teacher, x, y, directory=directory, sampler="Mixup", batch_size=16, epochs=4, verbose=0
    )
    store = replay.Store(directory)
    ends = []
    for strategy in (
        tf.distribute.get_strategy(),
        tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
    ):
        with strategy.scope():
            distiller = Distiller(network(3), store.teacher, sampler=store.sampler)
            is_one = strategy.num_replicas_in_sync == 1
            distiller.compile(keras.optimizers.SGD(0.3), metrics=["accuracy"], run_eagerly=is_one)
        history = distiller.fit(
            store.batches(x, y), steps_per_epoch=16, epochs=2, validation_data=(x, y), verbose=0
        )
        weights = [weight.tolist() for weight in distiller.student.get_weights()]
        ends.append([history.history, weights])
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
