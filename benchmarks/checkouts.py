"""What a training step costs in this checkout against another one: is a change slower?

    git worktree add ../before COMMIT
    python -m benchmarks.checkouts ../before [case ...] [--turns=N]

Each checkout has a process of its own, in this environment, on one core. They take turns of one
execution (in the cases medium and heavy of two), first label training by Keras alone, which tells
how much of a ratio is noise, then the live step with mixup. Ratios are this checkout's to the other
one's, of processor time, medians over turns with their quartiles. The other checkout must have
`benchmarks.steps.Bench`.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

KINDS = ("ERM", "live")


def work():
    """Reads a case and then names of trainings, and answers with each one's processor time."""
    import keras

    import ecl_tf
    from benchmarks import steps
    from ecl_tf import samplers

    case = json.loads(sys.stdin.readline())
    bench = steps.Bench(case)
    bench.sampler = samplers.Mixup()
    trainings = {}
    for kind in KINDS:
        model, data = bench.training(kind)
        model.fit(data, steps_per_epoch=2 * case["execution"], epochs=2, shuffle=False, verbose=0)
        trainings[kind] = model.train_function, iter(data.repeat())
    print(ecl_tf.__file__, flush=True)
    for line in sys.stdin:
        train, batches = trainings[line.strip()]
        begun = time.process_time()
        for _ in range(1 if case["execution"] > 1 else 2):
            logs = train(batches)
        keras.tree.map_structure(float, logs)  # Waits for the step.
        print(time.process_time() - begun, flush=True)


class Checkout:
    """A process that trains with the sources of a directory."""

    def __init__(self, directory, case):
        environment = {**os.environ, "PYTHONPATH": str(directory)}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=directory,
            env=environment,
            text=True,
        )
        sources = self._ask(json.dumps(case))
        if not sources.startswith(str(directory)):
            sys.exit(f"{directory} did not train: {sources or 'its process ended.'}")

    def _ask(self, line):
        print(line, file=self._process.stdin, flush=True)
        return self._process.stdout.readline()

    def seconds(self, kind):
        return float(self._ask(kind))

    def end(self):
        self._process.kill()


def main():
    from benchmarks.cases import CASES

    parser = argparse.ArgumentParser()
    parser.add_argument("before", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("cases", nargs="*", default=["small", "table"])
    parser.add_argument("--turns", type=int, default=100)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    here = pathlib.Path(__file__).resolve().parent.parent
    for name in arguments.cases:
        checkouts = [Checkout(directory, CASES[name]) for directory in (here, arguments.before)]
        ratios = {kind: [] for kind in KINDS}
        for turn in range(arguments.turns):
            order = checkouts[:: 1 if turn % 2 else -1]  # Neither is always the first.
            for kind in KINDS:
                taken = {checkout: checkout.seconds(kind) for checkout in order}
                ratios[kind].append(taken[checkouts[0]] / taken[checkouts[1]])
        for checkout in checkouts:
            checkout.end()
        for kind, each in ratios.items():
            low, middle, high = statistics.quantiles(each)
            print(f"{name}: {kind}: {middle:.3f} ({low:.3f} to {high:.3f})", flush=True)


if __name__ == "__main__":
    work() if not sys.argv[1:] else main()
