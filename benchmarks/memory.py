"""The memory that each training of `benchmarks.steps` takes, at its peak.

Every training has a process of its own. What counts is the largest resident size that it reached in
12 steps (of 20 in the small case), less that of the process with TensorFlow and the training data
loaded. The replayed training's process finds its store written: no teacher was ever in it.
`python -m benchmarks` prints it.
"""

import multiprocessing
import resource
import tempfile

from benchmarks import steps


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _record(case, directory):
    steps.Bench(case).store(directory)


def _train(case, kind, directory, queue):
    bench = steps.Bench(case)
    before = _peak()
    model, data = bench.training(kind, directory)
    model.fit(data, steps_per_epoch=4 * case["execution"], epochs=3, shuffle=False, verbose=0)
    queue.put(_peak() - before)


def measure(case):
    """Yields each training's name and its peak in MB."""
    spawn = multiprocessing.get_context("spawn")

    def alone(function, *arguments):
        process = spawn.Process(target=function, args=arguments)
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{function.__name__}{arguments[1:2]} ended with {process.exitcode}.")

    with tempfile.TemporaryDirectory() as directory:
        alone(_record, case, directory)
        for kind in steps.trainings(case):
            queue = spawn.SimpleQueue()
            alone(_train, case, kind, directory, queue)
            yield f"{kind}, MB", f"{queue.get():.0f}"
