"""Trains in each dtype policy on one and two virtual CPU devices; prints results as JSON."""

import json

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import Distiller, losses, outputs
from ecl_tf._internal import keras_fit


def network(policy, seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(8, "tanh", dtype=policy)(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, dtype=policy)(hidden))


def data(weight_of_30=1.0):
    """Rows of which number 30 is one of the second replica's."""
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    weight = np.ones(64, "float32")
    weight[30] = weight_of_30
    return tf.data.Dataset.from_tensor_slices((x, np.arange(64) % 3, weight)).batch(16)


def result(trained, network, history):
    scale = getattr(trained.optimizer, "dynamic_scale", None)
    return {
        "history": history,
        "weights": [weight.tolist() for weight in network.get_weights()],
        "updates": int(trained.optimizer.iterations.numpy()),
        "scale": None if scale is None else float(scale.numpy()),
    }


def distilled(strategy, policy, teacher_policy, rows, run_eagerly=False):
    with strategy.scope():
        student = network(policy, 1)
        distiller = Distiller(student, network(teacher_policy, 2), sampler="Empirical")
        distiller.compile(keras.optimizers.SGD(0.5), run_eagerly=run_eagerly)
    history = distiller.fit(rows, epochs=5, verbose=0).history
    return result(distiller, student, history)


def supervised(strategy, rows):
    with strategy.scope():
        model = network("mixed_float16", 1)
        model.dtype_policy = "mixed_float16"
        model.compile(
            keras.optimizers.SGD(0.5), losses.NegativeLogLikelihood(outputs.Categorical())
        )
    keras_fit.patch_fit(model)
    return result(model, model, model.fit(rows, epochs=5, verbose=0).history)


def main():
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    plain, overflowing = data(), data(1e6)
    found = {
        # Eager where no condition of a graph scales the loss, or skips a step.
        "float32": distilled(one, "float32", "float32", plain, run_eagerly=True),
        "mixed_float16": distilled(one, "mixed_float16", "float32", plain),
        "mixed_bfloat16": distilled(one, "mixed_bfloat16", "float32", plain, run_eagerly=True),
        "teacher": distilled(one, "float32", "mixed_float16", plain, run_eagerly=True),
        "overflow on one": distilled(one, "mixed_float16", "float32", overflowing),
        "overflow on two": distilled(two, "mixed_float16", "float32", overflowing),
        "of labels": supervised(two, overflowing),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
