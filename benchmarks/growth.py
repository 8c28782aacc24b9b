"""How the time of a live step grows: with networks, rows, candidates and replicas.

    python -m benchmarks.growth [--turns=7] [--short]

A convolutional network of width 16 is the student, and as many of width 32 as said the teacher, on
random images of 16 x 16; 2 networks, 64 rows, 1 candidate and no strategy where nothing else is
said. Replicas are virtual devices of this process's processors, which add no processor, so that
what they cost beyond one is all that they show. Each turn takes all of a line by turns; ratios are
to the first one, medians over turns, of processor time and (in brackets) of the clock.
"""

import argparse
import contextlib
import time

import keras
import numpy as np
import tensorflow as tf

import ecl_tf
from ecl_tf import samplers
from ecl_tf.data import splits

SHAPE, CLASSES, STEPS = (16, 16, 1), 10, 20
LINES = {
    "members": [1, 2, 4, 8],
    "rows": [32, 64, 128, 256, 512],
    "candidates": [1, 2, 4, 8],
    "replicas": [1, 2, 4],
}


def training(members=2, rows=64, candidates=1, replicas=0):
    """A function that trains for `STEPS` steps."""
    scope = contextlib.nullcontext()
    if replicas:
        devices = [f"CPU:{number}" for number in range(replicas)]
        scope = tf.distribute.MirroredStrategy(devices).scope()
    rng = np.random.default_rng(0)
    held = (tf.constant(rng.random((1024, *SHAPE), "float32")),)
    data = splits.shuffled_batches(held, rows, seed=0).prefetch(2)
    sampler = samplers.Mix()
    if candidates > 1:
        sampler = samplers.Uncertain(sampler, candidates=candidates)
    with scope:
        teacher = [ecl_tf.models.build("convnet", SHAPE, CLASSES, width=32) for _ in range(members)]
        student = ecl_tf.models.build("convnet", SHAPE, CLASSES, width=16)
        distiller = ecl_tf.Distiller(student, teacher, sampler=sampler)
        distiller.compile(keras.optimizers.SGD(1e-3, 0.9), jit_compile=False)

    def run():
        distiller.fit(data, steps_per_epoch=STEPS, shuffle=False, verbose=0)

    return run


def measure(name, values, turns):
    """The medians of ratios to the first value, of processor time and of the clock."""
    runs = [training(**{name: value}) for value in values]
    taken = []
    for _ in range(1 + turns):
        turn = []
        for run in runs:
            begun, clock = time.process_time(), time.perf_counter()
            run()
            turn.append((time.process_time() - begun, time.perf_counter() - clock))
        taken.append(turn)
    taken = np.array(taken[1:])  # (turns, values, kinds of time), after a turn of warm-up.
    first = 1000 * np.median(taken[:, 0, 0]) / STEPS
    return first, np.median(taken / taken[:, :1], 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--short", action="store_true", help="The first two of each line.")
    flags = parser.parse_args()
    most = max(LINES["replicas"])
    devices = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        devices[0], [tf.config.LogicalDeviceConfiguration()] * most
    )
    print("| | ms of the first | ratio to it |\n|---|---|---|")
    for name, values in LINES.items():
        values = values[:2] if flags.short else values
        first, ratios = measure(name, values, flags.turns)
        told = [
            f"{value}: {processor:.2f} ({clock:.2f})"
            for value, (processor, clock) in zip(values, ratios, strict=True)
        ]
        print(f"| {name} | {first:.1f} | {', '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()
