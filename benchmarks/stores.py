"""Stores of a million rows: memory, bytes, and rows a second when they are recorded and read.

    python -m benchmarks.stores [table] [images] [--rows=1000000]

A case writes random rows to files, records a pass of the default sampler's samples over them, and
reads the store by turns with the steps of a student, each as `fit` does with 20 steps an
execution. Rows a second are of processor time, which says more than the clock on a shared machine.
Recording and reading have a process each, and what counts of it is its largest resident size, with
TensorFlow (about 650 MB) and all that is in memory.

    table    32 numbers, an array in memory (128 MB); 4 networks of 256 units, a student of 64
    images   32 x 32 x 3, examples that stay in their TFRecord files (3.1 GB) and are found by
             their ids; a convolutional teacher, ResNet-8 as the student
"""

import argparse
import math
import pathlib
import statistics
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

import ecl_tf
from benchmarks.processes import alone, peak, steps_a_second
from ecl_tf import data, replay

CASES = {
    "table": {
        "shape": (32,),
        "kind": "float32",
        "teacher": ("mlp", {"widths": (256,)}, 4),
        "student": ("mlp", {"widths": (64,)}),
    },
    "images": {
        "shape": (32, 32, 3),
        "kind": "uint8",
        "teacher": ("convnet", {"width": 8}, 1),
        "student": ("resnet", {"depth": 8}),
    },
}
CLASSES, BATCH, EXECUTION, TURNS = 10, 64, 20, 5
_FILES = 8


def write(directory, case, rows):
    """Writes random rows to files of a directory."""
    generator, shape = np.random.default_rng(0), case["shape"]
    if case["kind"] == "float32":
        np.save(directory / "rows.npy", generator.normal(size=(rows, *shape)).astype("float32"))
        return
    for number in range(_FILES):
        with tf.io.TFRecordWriter(str(directory / f"rows-{number}.tfrecord")) as writer:
            for _ in range(number, rows, _FILES):
                writer.write(generator.bytes(math.prod(shape)))


def read_rows(directory, case):
    """What is given to `record` and `batches`."""
    if case["kind"] == "float32":
        return {"x": np.load(directory / "rows.npy")}

    def parse(record):
        return (tf.reshape(tf.io.decode_raw(record, tf.uint8), case["shape"]),)

    examples = data.IndexedExamples(sorted(directory.glob("*.tfrecord")), parse)
    return {"x": examples, "prepare": lambda x, seed: data.to_float(x)}


def build(case, name, arguments):
    return ecl_tf.models.build(name, case["shape"], CLASSES, **arguments)


def record(case, path, directory):
    name, arguments, count = case["teacher"]
    keras.utils.set_random_seed(0)
    members = [build(case, name, arguments) for _ in range(count)]
    begun, clock = time.perf_counter(), time.process_time()
    settings = {"epochs": 1, "batch_size": BATCH, "verbose": 0}
    replay.record(members, directory=directory, **read_rows(path, case), **settings)
    return time.perf_counter() - begun, time.process_time() - clock, peak()


def read(case, path, directory):
    begun = time.perf_counter()
    store = replay.Store(directory)
    batches = iter(store.batches(**read_rows(path, case)))
    first = next(batches)
    started = time.perf_counter() - begun
    distiller = ecl_tf.Distiller(
        build(case, *case["student"]), store.teacher, sampler=store.sampler
    )
    settings = {"steps_per_execution": EXECUTION, "jit_compile": False}
    distiller.compile(keras.optimizers.SGD(1e-3, 0.9), **settings)
    same = tf.data.Dataset.from_tensors(first).repeat()

    def train(steps):
        distiller.fit(same, steps_per_epoch=steps, shuffle=False, verbose=0)

    @tf.function(autograph=False)
    def execution(iterator):  # As `fit` reads.
        for _ in range(EXECUTION):
            next(iterator)

    def advance(steps):
        for _ in range(steps // EXECUTION):
            execution(batches)

    def rate(function):
        """Rows a second of the processors."""
        return BATCH * steps_a_second(function, time.process_time, EXECUTION)

    pairs = [(rate(advance), rate(train)) for _ in range(TURNS + 1)][1:]
    advance(store.steps)  # A whole pass, for what memory grows to.
    return started, pairs, peak()


def measure(case, rows):
    """Yields lines of what is measured."""
    with tempfile.TemporaryDirectory() as directory:
        path, store = pathlib.Path(directory), pathlib.Path(directory, "store")
        write(path, case, rows)
        seconds, processor, megabytes = alone(record, case, path, store)
        bytes_there = sum(each.stat().st_size for each in store.iterdir())
        yield (
            f"recorded {rows:,} rows in {seconds:.0f} s ({processor:.0f} s of the processors), "
            f"{rows / seconds:,.0f} rows/s, {megabytes:,.0f} MB at most, "
            f"{bytes_there / rows:.1f} bytes a row"
        )
        started, pairs, megabytes = alone(read, case, path, store)
        reading, training = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratios = sorted(one / other for one, other in pairs)
        yield (
            f"read {reading:,.0f} rows/s of the processors, the student's step {training:,.0f}, "
            f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}); the "
            f"first batch after {started:.1f} s; {megabytes:,.0f} MB at most"
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], default=[])
    parser.add_argument("--rows", type=int, default=1_000_000)
    flags = parser.parse_args()
    for name in flags.cases or CASES:
        for line in measure(CASES[name], flags.rows):
            print(f"{name}: {line}", flush=True)


if __name__ == "__main__":
    main()
