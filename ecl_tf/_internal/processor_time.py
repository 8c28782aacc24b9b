"""How long calls take on one core.

TensorFlow has as many threads as its process has cores, and hands even small networks from one to
the other. So SavedModels are timed in a process of one core, which runs this file as a script. It
imports nothing of `ecl_tf`.
"""

import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

_LEAST_RUNS, _WARM_UP = 5, 2


def of_call(call: Callable[[], object], seconds: float) -> float:
    """Returns the processor time of a call in seconds: the median of runs after a warm-up.

    It is that of all threads of this process together. Unlike the time on a clock it does not
    depend on what else runs on the machine.

    Args:
        call: a function without arguments.
        seconds: how long runs are repeated; at least 5 are made.
    """
    for _ in range(_WARM_UP):
        call()
    begun = time.perf_counter()
    found: list[float] = []
    while time.perf_counter() - begun < seconds or len(found) < _LEAST_RUNS:
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return statistics.median(found)


def of_saved_models(
    models: Mapping[str, tuple[str | os.PathLike, Mapping[str, Any]]],
    batch_sizes: Sequence[int],
    seconds: float,
) -> dict[str, list[float]]:
    """Returns the processor time of each SavedModel's signature, for every size of a batch.

    Args:
        models: by any name pairs of a SavedModel's directory, and of a row or more of its inputs,
            arrays by name, with text as bytes.
        batch_sizes: the sizes.
        seconds: as in `of_call`.

    Raises:
        RuntimeError: if one can't be run.
    """
    if not models:
        return {}
    with tempfile.TemporaryDirectory() as directory:
        listed = {}
        for number, (name, (path, rows)) in enumerate(models.items()):
            file = os.path.join(directory, f"{number}.npz")
            np.savez(file, **{key: _storable(each) for key, each in rows.items()})
            listed[name] = os.path.abspath(path), file
        job = {"models": listed, "batch_sizes": [*batch_sizes], "seconds": seconds}
        pathlib.Path(directory, "job.json").write_text(json.dumps(job))
        # Without devices beside the processor, and without TensorFlow's notes.
        quiet = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            # Without -P modules beside this file would pass for those of Python.
            [sys.executable, "-P", __file__, directory],
            env=os.environ | quiet,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            words = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise RuntimeError(f"A process of one core can't run what it was to time: {words[-1]}")
        return json.loads(pathlib.Path(directory, "times.json").read_text())


def _storable(array):
    """Text as bytes of one length, which files hold without Python's objects."""
    return array.astype("S") if array.dtype == object else array


def batch(array: Any, rows: int) -> np.ndarray:
    """Returns so many rows of an array, which are repeated where it has fewer."""
    return np.resize(array, (rows, *np.shape(array)[1:]))


def _alone(directory):
    """Does a job of `of_saved_models`, on one core."""
    if hasattr(os, "sched_setaffinity"):  # Before TensorFlow counts the cores.
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    job = json.loads(pathlib.Path(directory, "job.json").read_text())
    pathlib.Path(directory, "times.json").write_text(json.dumps(_timed(**job)))


def _timed(models, batch_sizes, seconds):
    """What `of_saved_models` returns, with the threads of this process."""
    import tensorflow as tf

    def call(serve, rows):
        return serve(**{name: tf.constant(each) for name, each in rows.items()})

    times = {}
    for name, (path, file) in models.items():
        model = tf.saved_model.load(path)
        with np.load(file) as given:
            rows = {size: {key: batch(given[key], size) for key in given} for size in batch_sizes}
        serve = functools.partial(call, model.signatures["serving_default"])
        times[name] = [of_call(functools.partial(serve, rows[n]), seconds) for n in batch_sizes]
    return times


if __name__ == "__main__":
    _alone(sys.argv[1])
