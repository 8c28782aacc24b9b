"""Trains a student on mixed embeddings, on one and on two virtual CPU devices."""

import json

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import Distiller, samplers


def network(seed, width):
    keras.utils.set_random_seed(seed)
    ids = keras.Input((5,), dtype="int32")
    x = keras.layers.Embedding(9, width, mask_zero=True)(ids)
    x = keras.layers.GlobalAveragePooling1D()(x)
    # Its statistics are gathered within the network, where replicas wait for each other.
    x = keras.layers.BatchNormalization(synchronized=True)(x)
    return keras.Model(ids, keras.layers.Dense(4)(x))


def train(strategy, data):
    mixed = samplers.Embedded(samplers.Mixup(group_size=4), padding=0)
    sampler = samplers.Choice(["Empirical", mixed], [0.25, 0.75])
    with strategy.scope():
        distiller = Distiller(network(1, 3), network(2, 6), sampler=sampler, label_weight=0.5)
        is_one = strategy.num_replicas_in_sync == 1
        distiller.compile(keras.optimizers.SGD(0.5), run_eagerly=is_one)
    history = distiller.fit(data, epochs=1, verbose=0).history
    return {
        "replicas": strategy.num_replicas_in_sync,
        "loss": history["loss"],
        "weights": [weight.tolist() for weight in distiller.student.get_weights()],
    }


def main():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, (32, 5)).astype("int32")
    data = tf.data.Dataset.from_tensor_slices((x, rng.integers(0, 4, 32))).batch(
        16, drop_remainder=True
    )
    both = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    print(json.dumps([train(strategy, data) for strategy in both], default=float))


if __name__ == "__main__":
    main()
