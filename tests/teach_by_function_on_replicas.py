"""Distils a function on one and on two virtual CPU devices; prints results as JSON."""

import json

import keras
import numpy as np
import tensorflow as tf

import ecl_tf
from ecl_tf import teachers

# The last batch of 7 has 1 row, which leaves a replica without any.
X = np.random.default_rng(0).normal(size=(22, 3)).astype("float32")


def train(strategy):
    keras.utils.set_random_seed(0)
    teacher = teachers.FunctionTeacher(lambda x: x * [1.0, 2.0, 3.0], "categorical", X, "logits")
    with strategy.scope():
        student = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
        distiller = ecl_tf.Distiller(student, teacher, sampler="Empirical")
        distiller.compile("sgd", run_eagerly=strategy.num_replicas_in_sync == 1)
    data = tf.data.Dataset.from_tensor_slices(X).batch(7)
    history = distiller.fit(data, epochs=2, verbose=0).history
    weights = [weight.tolist() for weight in student.get_weights()]
    return {"history": history, "weights": weights}


def main():
    both = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    print(json.dumps([train(strategy) for strategy in both]))


if __name__ == "__main__":
    main()
