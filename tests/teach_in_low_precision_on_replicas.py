"""Distils teachers in bfloat16 on one and on two virtual CPU devices; prints results as JSON."""

import json

import keras
import numpy as np
import tensorflow as tf

import ecl_tf
from ecl_tf.teachers import precision

X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")


def network(units):
    layers = [keras.layers.Dense(units, "relu"), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((4,)), *layers])


def train(strategy, chosen):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        distiller = ecl_tf.Distiller(
            network(4), [network(16), network(16)], sampler="Empirical", teacher_precision=chosen
        )
        distiller.compile("sgd", run_eagerly=strategy.num_replicas_in_sync == 1)
    data = tf.data.Dataset.from_tensor_slices(X).batch(8)
    history = distiller.fit(data, epochs=2, verbose=0).history
    weights = [weight.tolist() for weight in distiller.student.get_weights()]
    asked = distiller._networks().teacher.precision
    return {"history": history, "weights": weights, "asked": asked}


def main():
    precision._ratio = lambda *_: 0.5
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    print(json.dumps([train(one, "bfloat16"), train(two, "auto")]))


if __name__ == "__main__":
    main()
