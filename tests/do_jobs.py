"""Does the jobs of a directory beside other processes: [directory, number of jobs, holds].

With `holds` the first job is never finished.
"""

import json
import pathlib
import sys
import time

from ecl_tf.experiments import jobs

directory, count, holds = pathlib.Path(sys.argv[1]), int(sys.argv[2]), len(sys.argv) > 3
done = []


def do(number):
    if holds:
        print("held", flush=True)
        time.sleep(1000.0)
    with open(directory / str(number), "a") as file:
        file.write("done\n")
    done.append(number)
    time.sleep(0.02)


with jobs.shared(directory):
    jobs.complete(
        jobs.Job(directory / str(number), (directory / str(number)).exists, lambda n=number: do(n))
        for number in range(count)
    )
print(json.dumps(done))
