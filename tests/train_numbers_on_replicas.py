"""Trains on one and on two virtual CPU devices, on a divergence without a closed form."""

import json

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import Distiller, outputs, samplers

OUTPUT = outputs.NormalMixture(1, 2)


def network(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(6)])


def train(strategy, data):
    with strategy.scope():
        sampler = samplers.GaussianNoise(0.5)  # Of each row by itself.
        teacher = [network(2), network(3)]
        distiller = Distiller(network(1), teacher, output=OUTPUT, sampler=sampler, seed=5)
        distiller.compile(keras.optimizers.SGD(0.05))
    history = distiller.fit(data, epochs=2, verbose=0).history
    weights = [weight.tolist() for weight in distiller.student.get_weights()]
    return {"replicas": strategy.num_replicas_in_sync, "history": history, "weights": weights}


def main():
    # The last batch has one row, so of two replicas one has none.
    x = np.random.default_rng(0).normal(size=(33, 3)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices(x).batch(16)
    both = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    print(json.dumps([train(strategy, data) for strategy in both], default=float))


if __name__ == "__main__":
    main()
