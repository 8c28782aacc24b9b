"""Prints as a table what a training step costs: ratios of steps, bytes of a store, memory.

    python -m benchmarks [small] [medium] [heavy]

See `benchmarks.steps` and `benchmarks.memory`. 25 minutes for all three cases.

Measured with tensorflow 2.21 on 2 CPU cores with AVX-512 BF16:

| | small | medium | heavy |
|---|---|---|---|
| replayed / ERM | 1.061 | 1.010 | 1.024 |
| live / parts | 0.912 | 0.956 | 0.897 |
| live / keras | 1.044 | 0.984 | 1.002 |
| folded / keras | 1.050 | 0.823 | 0.931 |
| bfloat16 / keras | 0.939 | 0.485 | 0.748 |
| live / PyTorch | 0.955 | 1.030 | 1.291 |
| bfloat16 / PyTorch | 0.884 | 0.506 | 0.959 |
| sampler / live | 0.102 | 0.005 | 0.008 |
| nats, folded | 0 | 2e-7 | 3e-7 |
| nats, bfloat16 | 2e-7 | 5e-4 | 0.2 |

(PyTorch 2.15. In the small case the check for NaN takes 0.03 of a replayed step, the logged means
0.02, the rest is reading.)

Measured with tensorflow 2.21
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

import sys

from benchmarks import memory, steps


def main():
    names = sys.argv[1:] or list(steps.CASES)
    columns: dict[str, dict[str, str]] = {name: {} for name in names}
    # Memory first: a process that is started counts its parent's peak as its own.
    for measure in (memory.measure, steps.measure):
        for name, column in columns.items():
            for what, result in measure(steps.CASES[name]):
                print(f"{name}: {what}: {result}", file=sys.stderr, flush=True)
                column[what] = result
    print(f"| | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for what in columns[names[0]]:
        print(f"| {what} | {' | '.join(column[what] for column in columns.values())} |")


if __name__ == "__main__":
    main()
