"""A step that chooses uncertain samples on two virtual CPU devices; prints results as JSON.

Argument: weights and rows as JSON.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import Distiller, samplers


def linear(weights):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.set_weights([np.array(weight, "float32") for weight in weights])
    return model


def main():
    given = json.loads(sys.argv[1])
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        student = linear(given["student"])
        teachers = [linear(weights) for weights in given["teachers"]]
        sampler = samplers.Uncertain("Empirical", 2, "disagreement", 0.0)
        distiller = Distiller(student, teachers, sampler=sampler)
        distiller.compile(keras.optimizers.SGD(0.5), metrics=["accuracy"])
    x, y, w = (np.array(given[name]) for name in ("x", "y", "w"))
    data = tf.data.Dataset.from_tensor_slices((x.astype("float32"), y, w)).batch(8)
    history = distiller.fit(data, verbose=0).history
    print(
        json.dumps(
            {
                "replicas": strategy.num_replicas_in_sync,
                "history": history,
                "weights": [weight.tolist() for weight in student.get_weights()],
            }
        )
    )


if __name__ == "__main__":
    main()
