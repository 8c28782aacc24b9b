"""One worker of a cluster: fit, evaluate, predict, callbacks, save and export; prints results.

Argument: the directory to which the chief writes.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf
from by_hand import network

from ecl_tf import Distiller, losses, outputs
from ecl_tf._internal import keras_fit


def supervised(strategy, data, patch):
    """A model of Keras's own trained under the strategy; the message, if it fails."""
    with strategy.scope():
        model = network(1)
        model.compile(
            "sgd", losses.NegativeLogLikelihood(outputs.Categorical()), metrics=["accuracy"]
        )
    patch(model)
    try:
        history = model.fit(data, epochs=2, validation_data=data, verbose=0).history
        return {"history": history, "evaluated": model.evaluate(data, verbose=0, return_dict=True)}
    except ValueError as error:
        return str(error)


def distilled(strategy, data, directory):
    with strategy.scope():
        distiller = Distiller(network(1), network(2))
        distiller.compile("sgd", metrics=["accuracy"], teacher_metrics=True)
    callbacks = [keras.callbacks.ReduceLROnPlateau("val_loss")]
    is_chief = strategy.cluster_resolver.task_id == 0
    if is_chief:
        callbacks.append(keras.callbacks.ModelCheckpoint(f"{directory}/checkpoint.keras"))
        callbacks.append(keras.callbacks.CSVLogger(f"{directory}/log.csv"))
    history = distiller.fit(data, epochs=2, validation_data=data, callbacks=callbacks, verbose=0)
    predicted = distiller.predict(data, verbose=0)
    if is_chief:
        distiller.save(f"{directory}/distiller.keras")
        distiller.export(f"{directory}/export")
    return {
        "history": history.history,
        "evaluated": distiller.evaluate(data, verbose=0, return_dict=True),
        "predicted": predicted.tolist(),
    }


def main():
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(48, 4)).astype("float32"), rng.integers(0, 3, 48)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    found = {
        "stock": supervised(strategy, data, lambda model: model),
        "patched": supervised(strategy, data, keras_fit.patch_fit),
        "distilled": distilled(strategy, data, sys.argv[1]),
    }
    print(json.dumps(found, default=float))


if __name__ == "__main__":
    main()
