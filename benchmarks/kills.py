"""Kills trainings at random moments, and looks whether they end in the undisturbed bits.

    python -m benchmarks.kills

trains a small distiller of dropout, averaged weights and Adam by `ecl_tf.resume.fit`, with a
checkpoint every 5 steps, again and again. Each training is killed by SIGKILL 8 times, after a time
drawn from its start to the median time of an undisturbed one (start of the process, building,
training and writing), and then left to end.

Result (2 cores): 101 kills in 17 trainings; all 17 ended in the undisturbed weights, optimizer and
logs, bit for bit, and no file was left that is neither whole nor ignored.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import random
import signal
import statistics
import tempfile
import time

STEPS, STEPS_PER_EPOCH = 240, 60
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["ecl_tf"])


def train(directory, result):
    """One start of the training; writes what it ended in."""
    import keras
    import numpy as np

    import ecl_tf

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(500, 8)).astype("float32"), rng.integers(0, 5, 500)
    keras.utils.set_random_seed(1)

    def network(units):
        layers = [keras.layers.Dense(units, "relu"), keras.layers.Dropout(0.2)]
        return keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(5)])

    distiller = ecl_tf.Distiller(network(64), network(64), seed=3)
    distiller.compile(keras.optimizers.Adam(0.01, use_ema=True), metrics=["accuracy"])
    history = ecl_tf.resume.fit(
        distiller,
        ecl_tf.resume.batches((x, y), batch_size=32, seed=5),
        directory,
        steps=STEPS,
        steps_per_epoch=STEPS_PER_EPOCH,
        every_steps=5,
        every_seconds=None,
        callbacks=[keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=1.0)],
        validation_data=(x, y),
        verbose=0,
    )
    variables = [*distiller.variables, *distiller.optimizer.variables]
    state = [variable.numpy().tobytes().hex() for variable in variables]
    pathlib.Path(result).write_text(json.dumps([history.history, history.epoch, state]))


def start(directory, result):
    process = _SERVER.Process(target=train, args=(str(directory), str(result)))
    process.start()
    return process


def run(directory, moments):
    """Kills a training after each of some seconds; returns its result and how many it met."""
    met, result = 0, directory / "result.json"
    for seconds in moments:
        process = start(directory / "checkpoints", result)
        process.join(seconds)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        met += process.exitcode == -signal.SIGKILL
        if process.exitcode == 0:
            break
    else:
        start(directory / "checkpoints", result).join()
    return result.read_text(), met


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, times, kills, exact, runs, left = random.Random(arguments.seed), [], 0, 0, 0, []
    with tempfile.TemporaryDirectory() as name:
        for number in range(4):  # The first one starts the server.
            begun, directory = time.monotonic(), pathlib.Path(name) / f"undisturbed_{number}"
            directory.mkdir()
            wanted, _ = run(directory, [])
            times.append(time.monotonic() - begun)
        limit = statistics.median(times[1:])
        while kills < arguments.kills:
            directory = pathlib.Path(name) / f"run_{runs}"
            directory.mkdir()
            result, met = run(directory, [rng.uniform(0.0, limit) for _ in range(8)])
            kills, runs = kills + met, runs + 1
            exact += result == wanted
            left += [p.name for p in (directory / "checkpoints").iterdir() if p.suffix != ".npz"]
            print(
                f"{kills} kills, {exact} of {runs} runs exact, files left over: {left}", flush=True
            )


if __name__ == "__main__":
    main()
