"""A step by every divergence of a relative, on one and on two virtual CPU devices; prints JSON."""

import json

import by_hand
import keras
import tensorflow as tf
from test_relatives import FUNCTIONS

from ecl_tf import Distiller


def step(strategy, name):
    with strategy.scope():
        student, teacher = (by_hand.linear(by_hand.weights(seed=seed)) for seed in (1, 2))
        distiller = Distiller(student, teacher, sampler="Empirical", divergence=name)
        distiller.compile(keras.optimizers.SGD(by_hand.RATE))
    x = by_hand.numbers(16, 4)
    fitted = distiller.fit(x, batch_size=16, shuffle=False, verbose=0)
    return {
        "loss": fitted.history["loss"][0],
        "weights": [weight.tolist() for weight in student.get_weights()],
    }


def main():
    both = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    names = [function.__name__ for function in FUNCTIONS]
    print(json.dumps({name: [step(each, name) for each in both] for name in names}))


if __name__ == "__main__":
    main()
