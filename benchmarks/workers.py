"""Rows a second of two workers with a core each, against one process with one core.

    python -m benchmarks.workers

distils three ResNet-20 into a ResNet-8 on random images of 32 x 32, 64 rows on each replica, by
`Distiller.fit`: in turns of 20 steps one process, and two under MultiWorkerMirroredStrategy on
127.0.0.1, all pinned to their core. The median of the turns' ratios, after two of warm-up.

Measured with tensorflow 2.21 on 2 CPU cores, shared with other work: 214 and 374 rows/s, ratio
1.754 (1.48 to 1.95). With 32 rows, in turns of 10 steps, 1.65 and 1.60; two processes that share
nothing reached 1.92.
"""

import json
import multiprocessing
import os
import socket
import statistics
import time

ROWS, STEPS, TURNS = 64, 20, 10
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["ecl_tf"])


def train(core, tf_config, pipe):
    """Trains for a turn whenever it is told to; answers with its seconds."""
    os.sched_setaffinity(0, {core})
    import keras
    import numpy as np
    import tensorflow as tf

    import ecl_tf

    strategy = tf.distribute.get_strategy()
    if tf_config:
        os.environ["TF_CONFIG"] = json.dumps(tf_config)
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    rows = ROWS * strategy.num_replicas_in_sync
    images = np.random.default_rng(0).random((rows, 32, 32, 3), "float32")
    data = tf.data.Dataset.from_tensors(images).repeat()
    with strategy.scope():
        members = [ecl_tf.models.build("resnet", (32, 32, 3), 100, depth=20) for _ in range(3)]
        student = ecl_tf.models.build("resnet", (32, 32, 3), 100, depth=8)
        distiller = ecl_tf.Distiller(student, members)
        distiller.compile(keras.optimizers.SGD(0.1, 0.9))

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.begun = time.monotonic()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds = time.monotonic() - self.begun

    clock = Clock()
    for _ in range(TURNS):
        pipe.recv()
        distiller.fit(data, steps_per_epoch=STEPS, callbacks=[clock], shuffle=False, verbose=0)
        pipe.send(clock.seconds)


def start(cores):
    """One process, or the workers of a cluster, each on its core; returns their pipes."""
    sockets = [socket.socket() for _ in cores]
    for held in sockets:
        held.bind(("127.0.0.1", 0))
    cluster = {"worker": [f"127.0.0.1:{held.getsockname()[1]}" for held in sockets]}
    for held in sockets:
        held.close()
    pipes = []
    for index, core in enumerate(cores):
        tf_config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        ours, its = _SERVER.Pipe()
        arguments = (core, tf_config if len(cores) > 1 else None, its)
        _SERVER.Process(target=train, args=arguments).start()
        pipes.append(ours)
    return pipes


def rows_a_second(pipes):
    for pipe in pipes:
        pipe.send("go")
    return len(pipes) * ROWS * STEPS / max([pipe.recv() for pipe in pipes])


def main():
    one, two = start([0]), start([0, 1])
    rates = [(rows_a_second(one), rows_a_second(two)) for _ in range(TURNS)][2:]
    ratios = [several / single for single, several in rates]
    medians = [statistics.median(rate) for rate in zip(*rates, strict=True)]
    print(
        f"{medians[0]:.0f} and {medians[1]:.0f} rows/s, ratio {statistics.median(ratios):.3f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
