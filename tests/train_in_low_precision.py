"""Trains in each dtype policy on one and two virtual CPU devices; prints results as JSON."""

import json

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import Distiller, losses, outputs
from ecl_tf._internal import keras_fit

POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")


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


def distilled(strategy, policy, teacher_policy, rows):
    with strategy.scope():
        student = network(policy, 1)
        distiller = Distiller(student, network(teacher_policy, 2), sampler="Empirical")
        distiller.compile(keras.optimizers.SGD(0.5))
    history = distiller.fit(rows, epochs=5, verbose=0).history
    return result(distiller, student, history)


def supervised(strategy, rows, patch):
    with strategy.scope():
        model = network("mixed_float16", 1)
        model.dtype_policy = "mixed_float16"
        model.compile(
            keras.optimizers.SGD(0.5), losses.NegativeLogLikelihood(outputs.Categorical())
        )
    patch(model)
    return result(model, model, model.fit(rows, epochs=5, verbose=0).history)


def main():
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    plain, overflowing = data(), data(1e6)
    found = {
        **{name: distilled(one, name, "float32", plain) for name in POLICIES},
        "two replicas": distilled(two, "mixed_float16", "float32", plain),
        "teacher": distilled(one, "float32", "mixed_float16", plain),
        "overflow on one": distilled(one, "mixed_float16", "float32", overflowing),
        "overflow on two": distilled(two, "mixed_float16", "float32", overflowing),
        "stock": supervised(two, overflowing, lambda model: model),
        "patched": supervised(two, overflowing, keras_fit.patch_fit),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
