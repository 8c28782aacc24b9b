"""The memory that each training of `benchmarks.steps` takes, at its peak.

    python -m benchmarks.memory [small] [medium] [heavy]

Every training has a process of its own. Printed is the largest resident size in MB that it reached
in 12 steps, less that of the process with TensorFlow and the training data loaded. The replayed
training's process finds its store written: no teacher was ever in it. Measured with tensorflow 2.21
(12 steps of 20 in the small case):

| | small | medium | heavy |
|---|---|---|---|
| ERM | 99 | 294 | 616 |
| replayed | 106 | 297 | 577 |
| live | 123 | 2240 | 2336 |
| folded | 124 | 2223 | 2368 |
| bfloat16 | 126 | 2226 | 2314 |
| keras | 78 | 2326 | 2404 |
"""

import multiprocessing
import resource
import sys
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


def main():
    spawn = multiprocessing.get_context("spawn")

    def alone(function, *arguments):
        process = spawn.Process(target=function, args=arguments)
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{function.__name__}{arguments[1:2]} ended with {process.exitcode}.")

    for name in sys.argv[1:] or steps.CASES:
        case = steps.CASES[name]
        with tempfile.TemporaryDirectory() as directory:
            alone(_record, case, directory)
            for kind in steps.TRAININGS:
                queue = spawn.SimpleQueue()
                alone(_train, case, kind, directory, queue)
                print(f"{name}: {kind:9}{queue.get():7.0f} MB", flush=True)


if __name__ == "__main__":
    main()
