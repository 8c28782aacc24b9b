"""A run that is killed at moments of the test's choice; prints its history and final state.

Arguments: the directory, what trains ("distiller", "keras", "mirrored", a distiller on two
replicas, or "workers", one of those of TF_CONFIG), and the moment to die at. Of workers the first
dies of the moment before a slash, the second of the one after it; {} in the directory is the
worker's number.
"""

import json
import os
import signal
import sys

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import Distiller, callbacks, resume

STEPS, STEPS_PER_EPOCH = 24, 8


def network(units, dropout):
    layers = [keras.layers.Dense(units, "relu"), keras.layers.Dropout(dropout)]
    return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3)])


def build(kind, restarts):
    keras.utils.set_random_seed(1)
    student = network(8, 0.3)
    accumulation = 2 if kind == "distiller" else None
    optimizer = keras.optimizers.Adam(
        restarts.schedule(0.01) if kind == "workers" else 0.01,
        use_ema=True,
        ema_momentum=0.9,
        gradient_accumulation_steps=accumulation,
    )
    if kind == "keras":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        student.compile(optimizer, loss, metrics=["accuracy"])
        return student
    steps = 2 if kind == "distiller" else 1
    distiller = Distiller(student, network(16, 0.5), sampler="Mixup", seed=3, label_weight=0.1)
    distiller.compile(optimizer, metrics=["accuracy"], steps_per_execution=steps)
    return distiller


class Killer(keras.callbacks.Callback):
    def __init__(self, moment):
        super().__init__()
        self.moment = moment

    def on_train_batch_begin(self, batch, logs=None):
        step = self.epoch * STEPS_PER_EPOCH + batch
        self.die(f"step {step}")
        if self.moment == f"terminated {step}":
            os.kill(os.getpid(), signal.SIGTERM)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        self.die(f"epoch {epoch}")

    def die(self, moment):
        if moment == self.moment:
            os.kill(os.getpid(), signal.SIGKILL)


def main():
    directory, kind, moment = sys.argv[1:]
    if moment.startswith("write "):
        # In the midst of the checkpoint of that step, of which a half is written.
        def half(file, **arrays):
            if int(json.loads(str(arrays["about"]))["step"]) == int(moment.split()[1]):
                file.write(b"PK" * 100)
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            savez(file, **arrays)

        savez, np.savez = np.savez, half
    strategy = tf.distribute.get_strategy()
    if kind == "workers":
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        number = strategy.cluster_resolver.task_id
        directory, moment = directory.format(number), moment.split("/")[number]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(70, 4)).astype("float32"), rng.integers(0, 3, 70)
    if kind == "mirrored":
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        # Cycles of 8 and 16 steps; the weights of the first one are kept to the end.
        restarts = callbacks.WarmRestarts(8, 2, monitor=lambda model: float(model.step.numpy()))
        model = build(kind, restarts)
    plateau = keras.callbacks.ReduceLROnPlateau("loss", min_delta=1.0, patience=2)
    history = resume.fit(
        model,
        resume.batches((x, y), batch_size=8, seed=5),
        directory,
        steps=STEPS,
        steps_per_epoch=STEPS_PER_EPOCH,
        every_steps=4,
        every_seconds=None,
        callbacks=[restarts if kind == "workers" else plateau, Killer(moment)],
        validation_data=tf.data.Dataset.from_tensor_slices((x, y)).batch(32),
        verbose=0,
    )
    variables = [*model.variables, *model.optimizer.variables]
    state = {f"{n} {v.path}": v.numpy().tobytes().hex() for n, v in enumerate(variables)}
    ended = {"history": history.history, "epochs": history.epoch, "scores": restarts.scores}
    print(json.dumps({**ended, "state": state}))


if __name__ == "__main__":
    main()
