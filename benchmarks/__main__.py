"""Prints as a table what a training step costs: ratios of steps, bytes of a store, memory.

    python -m benchmarks [small] [medium] [heavy]

See `benchmarks.steps` and `benchmarks.memory`. About 25 minutes for all three cases; the ratios
with PyTorch need `pip install -e ".[benchmarks]"`. Measured with tensorflow 2.21 on 2 shared CPU
cores with AVX-512 BF16, medians of 7 turns (replayed / ERM, small: the median of
nine processes of 15 turns and more, 0.983 to 1.070, one above 1.05):

| | small | medium | heavy |
|---|---|---|---|
| replayed / ERM | 1.029 | 0.994 | 1.017 |
| live / parts | 0.902 | 0.933 | 0.953 |
| live / keras | 1.034 | 0.880 | 0.996 |
| folded / keras | 0.971 | 0.720 | 0.958 |
| bfloat16 / keras | 0.900 | 0.607 | 0.758 |
| live / PyTorch 2.15, another day | 0.955 | 1.030 | 1.291 |
| bfloat16 / PyTorch 2.15, another day | 0.884 | 0.506 | 0.959 |
| sampler / live | 0.112 | 0.003 | 0.007 |
| store, bytes a row | 30.1 | 42.8 | 50.1 |
| folded, nats off at most | 0 | 2e-7 | 2e-7 |
| bfloat16, nats off at most (random weights) | 3e-7 | 6e-4 | 0.2 |
| ERM, MB | 99 | 294 | 616 |
| replayed, MB | 106 | 297 | 577 |
| live, MB | 123 | 2240 | 2336 |
| folded, MB | 124 | 2223 | 2368 |
| bfloat16, MB | 126 | 2226 | 2314 |
| keras, MB | 78 | 2326 | 2404 |

The table is from before ensembles folded batch normalisation by themselves; with that live / keras
is 0.860 in the medium case (folded / keras 0.838 in the same turns). In another quiet hour the
medium case's live / keras was 0.984, its bfloat16 / keras 0.485. What a small replayed step has
more than ERM's: the check for NaN (0.03), the logged means (0.02), reading.
"""

import sys

from benchmarks import cases, memory, steps


def main():
    names = sys.argv[1:] or list(cases.CASES)
    columns: dict[str, dict[str, str]] = {}
    # Memory first: a process that is started counts its parent's peak as its own.
    for measure in (memory.measure, steps.measure):
        for name in names:
            steps.collect(columns, name, measure(cases.CASES[name]))
    print(steps.table(columns))


if __name__ == "__main__":
    main()
