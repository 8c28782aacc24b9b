"""Starts test scripts beside this process, alone or as the workers of a cluster on 127.0.0.1."""

import contextlib
import json
import os
import socket
import subprocess
import sys

RUNNING_LIMIT = 300  # Seconds.


def start(script, *arguments, **environment):
    """A Python script of the tests as a process."""
    path = os.path.join(os.path.dirname(__file__), script)
    return subprocess.Popen(
        [sys.executable, path, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


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


def results(processes):
    """What each process printed last, as JSON; none of them is left behind."""
    try:
        said = [process.communicate(timeout=RUNNING_LIMIT) for process in processes]
        failures = [errors[-3000:] for _, errors in said]
        assert not any(process.returncode for process in processes), "\n\n".join(failures)
        return [json.loads(printed.strip().splitlines()[-1]) for printed, _ in said]
    finally:
        for process in processes:
            process.kill()
            process.wait()
