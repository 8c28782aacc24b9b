"""The memory that each training of `benchmarks.steps` takes, at its peak.

Every training has a process of its own. What counts is the largest resident size that it reached in
12 steps (of 20 in the small case), less that of the process with TensorFlow and the training data
loaded. The replayed training's process finds its store written: no teacher was ever in it.
`python -m benchmarks` prints it.
"""

import tempfile

from benchmarks import steps
from benchmarks.processes import alone, peak


def _record(case, directory):
    steps.Bench(case).store(directory)


def _train(case, kind, directory):
    bench = steps.Bench(case)
    before = peak()
    model, data = bench.training(kind, directory)
    model.fit(data, steps_per_epoch=4 * case["execution"], epochs=3, shuffle=False, verbose=0)
    return peak() - before


def measure(case):
    """Yields each training's name and its peak in MB."""
    with tempfile.TemporaryDirectory() as directory:
        alone(_record, case, directory)
        for kind in steps.trainings(case):
            yield f"{kind}, MB", f"{alone(_train, case, kind, directory):.0f}"
