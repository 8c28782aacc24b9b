"""Starts test scripts beside this process, alone or as the workers of a cluster on 127.0.0.1.

They are forked from a server that has imported TensorFlow and run nothing of it: the imports
take 7 seconds, a fork none.
"""

import contextlib
import json
import multiprocessing
import os
import pathlib
import runpy
import socket
import sys
import tempfile
import time

import tensorflow as tf

RUNNING_LIMIT = 1800  # Seconds: whatever runs longer hangs.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["ecl_tf", "ecl_tf.experiments.comparison", "tensorflow_probability.python.distributions"]
)


class Process:
    """A Python script of the tests, or a module, as a process of its own."""

    def __init__(self, script, arguments, environment):
        self._printed = pathlib.Path(tempfile.mkstemp(suffix=".out")[1])
        self._errors = pathlib.Path(tempfile.mkstemp(suffix=".err")[1])
        files = str(self._printed), str(self._errors)
        self._process = _SERVER.Process(target=_run, args=(script, arguments, environment, *files))
        self._process.start()

    def read(self):
        """What it printed up to now."""
        return self._printed.read_text()

    def wait(self):
        """Waits for its end; returns its exit code, what it printed, and its errors."""
        self._process.join(RUNNING_LIMIT)
        code = self._process.exitcode
        self.kill()
        assert code is not None, (
            f"It runs longer than {RUNNING_LIMIT} s: {self._errors.read_text()}"
        )
        return code, self.read(), self._errors.read_text()

    def wait_for(self, text):
        """Waits until it has printed a text."""
        deadline = time.monotonic() + RUNNING_LIMIT
        while text not in self.read():
            running = self._process.is_alive() and time.monotonic() < deadline
            assert running, self._errors.read_text()[-3000:]
            self._process.join(0.05)

    def kill(self):
        self._process.kill()
        self._process.join()


def _run(script, arguments, environment, printed, errors):
    for path, descriptor in ((printed, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY), descriptor)
    os.environ.update(environment)
    sys.argv = [script, *arguments]
    if "VIRTUAL_DEVICES" in environment:
        devices = [tf.config.LogicalDeviceConfiguration()] * int(environment["VIRTUAL_DEVICES"])
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], devices
        )
    if script.endswith(".py"):
        runpy.run_path(os.path.join(os.path.dirname(__file__), script), run_name="__main__")
    else:
        runpy.run_module(script, run_name="__main__", alter_sys=True)


def start(script, *arguments, **environment):
    """A file name, or the dotted name of a module, with its arguments.

    VIRTUAL_DEVICES in the environment is the number of its CPU devices.
    """
    return Process(script, arguments, environment)


def start_workers(number, script, *arguments):
    """The same script as the workers of one cluster; TF_CONFIG tells each which it is."""
    with contextlib.ExitStack() as stack:
        # All ports are held until all are known, so that none is given twice.
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{held.getsockname()[1]}" for held in sockets]
    return [
        start(
            script,
            *arguments,
            TF_CONFIG=json.dumps(
                {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            ),
        )
        for index in range(number)
    ]


@contextlib.contextmanager
def none_left(processes):
    """Ends them when it is left, whatever happened."""
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


def results(processes):
    """What each process printed last, as JSON; none of them is left behind."""
    with none_left(processes):
        ends = [process.wait() for process in processes]
        failures = [errors[-3000:] for _, _, errors in ends]
        assert not any(code for code, _, _ in ends), "\n\n".join(failures)
        return [json.loads(printed.strip().splitlines()[-1]) for _, printed, _ in ends]
