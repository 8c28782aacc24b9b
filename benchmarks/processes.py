"""What the benchmarks share: processes of their own, their memory, and rates."""

import multiprocessing
import resource


def peak():
    """The largest resident size of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alone(function, *arguments):
    """What a function returns, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.SimpleQueue()
    process = spawn.Process(target=_put, args=(queue, function, arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{function.__name__} ended with {process.exitcode}.")
    return queue.get()


def _put(queue, function, arguments):
    queue.put(function(*arguments))


def steps_a_second(function, clock, least, seconds=1.0):
    """Of a function of a number of steps: of at least so many, over at least so many seconds."""
    steps = least
    while True:
        begun = clock()
        function(steps)
        taken = clock() - begun
        if taken > seconds:
            return steps / taken
        steps *= 2
