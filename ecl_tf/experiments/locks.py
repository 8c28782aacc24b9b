"""One process at a time works in a directory."""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import IO

from ecl_tf.experiments import jobs, progress

FILE = "ecl_tf.lock"  # No name of a user's own file.


@contextlib.contextmanager
def held(directory: pathlib.Path, shares: bool = False) -> Iterator[None]:
    """Holds a directory's lock, in which host, process and time are written down.

    The lock is `flock`'s on DIRECTORY/ecl_tf.lock. The kernel ends it with the process, however
    that ends, so that no lock is left by a kill. It also holds between machines where their file
    system shares locks, as NFS does for Linux unless it is mounted with local locks. Where there
    are no locks, the work goes on.

    Args:
        shares: whether other processes may hold it that share it, too; False by default.

    Raises:
        ValueError: if another process holds it.
    """
    with open(directory / FILE, "a+") as file:
        _acquire(file, directory, shares)
        left = {} if shares else _read(file)
        if left.get("host", socket.gethostname()) != socket.gethostname():
            progress.announce(
                f"NOTE: the last run in {directory}, process {left.get('pid')} on "
                f"{left['host']} since {left.get('since')}, was not ended by itself. If it still "
                "runs, stop one of the two."
            )
        now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        _write(file, {"host": socket.gethostname(), "pid": os.getpid(), "since": now})
        try:
            yield
        finally:
            _write(file, {})  # The file stays: who removed it might remove a new one's.


def require_free(directory: pathlib.Path, shares: bool = False) -> None:
    """Refuses a directory whose lock another process holds; writes nothing.

    Raises:
        ValueError: if one does.
    """
    with contextlib.suppress(FileNotFoundError), open(directory / FILE, "r+") as file:
        _acquire(file, directory, shares)


def _acquire(file, directory, shares):
    kind = fcntl.LOCK_SH if shares else fcntl.LOCK_EX
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _read(file)
        raise ValueError(
            f"Another process works in {directory}: process {holder.get('pid', 'unknown')} on "
            f"{holder.get('host', 'this machine')}, since {holder.get('since', 'just now')}. Wait "
            "until it has ended, or choose another --workdir. (`ecl-tf compare` lets several work "
            "together, if all of them are started with --join.)"
        ) from error
    except OSError as error:
        if error.errno not in jobs.WITHOUT_LOCKS:
            raise


def _read(file: IO[str]) -> dict:
    file.seek(0)
    try:
        return dict(json.loads(file.read() or "{}"))
    except ValueError:  # It is being written.
        return {}


def _write(file: IO[str], content: dict) -> None:
    file.seek(0)
    file.truncate()
    file.write(json.dumps(content) if content else "")
    file.flush()
