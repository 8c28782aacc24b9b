"""How long a mixed table of 100,000 rows and 30 columns takes to read, and how much memory.

    python -m benchmarks.tables

The columns are 22 numbers, 5 texts and booleans, 2 dates and a target; in 10 of them 5 % of the
cells are missing. Each measurement has a process of its own, which has read a small table before.
Memory is the largest resident size while it reads, less that before it.

Measured on one busy core, Python 3.11, pandas 3.1, tensorflow 2.21: 23.4 MB in 1.4 s of that core,
53 MB more, 2.3 times the file; with missing cells in all columns, whose marks are 16 more numbers
of a row, 1.6 s and 2.6 times the file.
"""

import pathlib
import tempfile
import time

import numpy as np

from benchmarks.processes import alone, peak

ROWS = 100_000


def _write(path, rows):
    import pandas as pd

    rng = np.random.default_rng(0)
    numbers = {f"number_{i}": rng.normal(i, 10.0 ** (i % 4), rows).round(4) for i in range(22)}
    frame = pd.DataFrame(numbers)
    for name, size in {"city": 400, "state": 12, "colour": 5, "size": 4}.items():
        frame[name] = np.array([f"{name} {i}" for i in range(size)])[rng.integers(0, size, rows)]
    frame["is_new"] = rng.random(rows) < 0.3
    for name in ("built", "sold"):
        day = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1500, rows), unit="D")
        frame[name] = day.strftime("%Y-%m-%d")
    some = frame.columns[::3]
    frame[some] = frame[some].mask(rng.random((rows, len(some))) < 0.05)
    frame["target"] = rng.normal(size=rows).round(4)
    frame.to_csv(path, index=False)


def _read(small, path):
    from ecl_tf import data

    data.table(small, target="target")
    before, begun = peak(), time.process_time()
    splits = data.table(path, target="target")
    seconds = time.process_time() - begun
    return seconds, peak() - before, str(splits.columns)


def main():
    with tempfile.TemporaryDirectory() as directory:
        small, path = (pathlib.Path(directory, f"{name}.csv") for name in ("small", "large"))
        alone(_write, small, 1000)
        alone(_write, path, ROWS)
        megabytes = path.stat().st_size / 2**20
        for _ in range(2):
            seconds, more, columns = alone(_read, small, path)
            ratio = more / megabytes
            print(f"{megabytes:.1f} MB: {seconds:.2f} s, {more:.0f} MB, {ratio:.2f} times the file")
    print(columns)


if __name__ == "__main__":
    main()
