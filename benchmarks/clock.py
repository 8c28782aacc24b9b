"""The clock of `benchmarks.steps` and of all that it starts.

With one core (`taskset -c 0 python -m benchmarks.steps`) it is the processor time of the process,
which says the same on a machine that is shared; with several, the time that passes.
"""

import os
import time

now = time.process_time if len(os.sched_getaffinity(0)) == 1 else time.perf_counter
