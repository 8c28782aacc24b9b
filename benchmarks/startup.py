"""What is waited for before any work: imports, and --help of every script.

    python -m benchmarks.startup

Each command runs in a new process, all of them in turn, 8 times; printed are medians without the
first turn, and for imports the median of the differences within a turn.

Measured on 2 CPU cores, one of them busy, Python 3.11, tensorflow 2.21, keras 3.15: keras and
tensorflow alone 3.03 s, with ecl_tf 0.07 s more; --help of each script 0.07 s (it was 4.9 s).
"""

import statistics
import subprocess
import sys
import time

TURNS = 8
LIBRARIES = "import keras, tensorflow"
SCRIPTS = (
    "compare",
    "distill",
    "evaluate",
    "reinforce",
    "report",
    "train_teacher",
)


def seconds(*arguments):
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True)
    return time.perf_counter() - begun


def main():
    commands = {
        "keras and tensorflow": ("-c", LIBRARIES),
        "with ecl_tf": ("-c", f"{LIBRARIES}, ecl_tf"),
        **{f"{name} --help": ("-m", f"trainers.{name}", "--help") for name in SCRIPTS},
    }
    turns = [{name: seconds(*given) for name, given in commands.items()} for _ in range(TURNS)][1:]
    for name in commands:
        print(f"{name:24}{statistics.median(turn[name] for turn in turns):7.2f} s")
    more = [turn["with ecl_tf"] - turn["keras and tensorflow"] for turn in turns]
    print(f"{'ecl_tf over the others':24}{statistics.median(more):7.2f} s")


if __name__ == "__main__":
    main()
