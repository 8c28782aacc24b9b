"""Trains a student of 8 bits on one and on two virtual CPU devices."""

import json

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import Distiller


def network(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(4)]
    )


def train(strategy, data):
    with strategy.scope():
        distiller = Distiller(network(1), network(2), sampler="Empirical", quantization="int8")
        is_one = strategy.num_replicas_in_sync == 1
        distiller.compile(keras.optimizers.SGD(0.05), run_eagerly=is_one)
    history = distiller.fit(data, epochs=2, verbose=0).history
    return {
        "replicas": strategy.num_replicas_in_sync,
        "loss": history["loss"],
        "weights": [weight.tolist() for weight in distiller.student.get_weights()],
        "ranges": [each.numpy().tolist() for each in distiller.quantized.variables],
    }


def main():
    x = np.random.default_rng(0).normal(size=(35, 3)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices(x).batch(16)  # The last batch leaves them 2 and 1.
    both = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    print(json.dumps([train(strategy, data) for strategy in both], default=float))


if __name__ == "__main__":
    main()
