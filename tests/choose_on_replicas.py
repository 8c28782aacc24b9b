"""A step that chooses uncertain samples on two virtual CPU devices; prints results as JSON."""

import json

import keras
import tensorflow as tf
from by_hand import RATE, dataset
from test_distiller_uncertain import LABELS, ROW_WEIGHTS, X, uncertain_rows


def main():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        distiller = uncertain_rows("disagreement")
        distiller.compile(keras.optimizers.SGD(RATE), metrics=["accuracy"])
    history = distiller.fit(dataset(X, LABELS, ROW_WEIGHTS).batch(8), verbose=0).history
    weights = [weight.tolist() for weight in distiller.student.get_weights()]
    print(json.dumps({"history": history, "weights": weights}))


if __name__ == "__main__":
    main()
