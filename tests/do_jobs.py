"""Does the jobs of a directory beside other processes: [directory, number of jobs, holds].

With `holds` the first job is never finished.
"""

import functools
import json
import pathlib
import sys
import time

from ecl_tf.experiments import jobs

directory, done = pathlib.Path(*sys.argv[1:2]), []


def do(number):
    if len(sys.argv) > 3:
        print("held", flush=True)
        time.sleep(1000.0)
    with open(directory / str(number), "a") as file:
        file.write("done\n")
    done.append(number)
    time.sleep(0.02)


if __name__ == "__main__":
    with jobs.shared(directory):
        jobs.complete(
            jobs.Job(path := directory / str(number), path.exists, functools.partial(do, number))
            for number in range(int(sys.argv[2]))
        )
    print(json.dumps(done))
