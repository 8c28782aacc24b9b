"""A step by the divergence "correlation" on two virtual CPU devices; prints its loss."""

import json

import by_hand
import keras
import tensorflow as tf

from ecl_tf import Distiller


def main():
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        student, teacher = (by_hand.linear(by_hand.weights(seed=seed)) for seed in (1, 2))
        distiller = Distiller(student, teacher, sampler="Empirical", divergence="correlation")
        distiller.compile(keras.optimizers.SGD(by_hand.RATE))
    x = by_hand.numbers(16, 4)
    fitted = distiller.fit(x, batch_size=16, shuffle=False, verbose=0)
    print(json.dumps(fitted.history["loss"][0]))


if __name__ == "__main__":
    main()
