"""Jobs that several processes part among themselves: each is done once, by whoever is free."""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO

FILE = "ecl_tf.jobs"  # No name of a user's own file.
# Of a file system that has no locks.
WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_PLACES = 2**31  # Of which a job locks one.
_BETWEEN_LOOKS = 0.2  # Seconds.
_file: IO | None = None


@dataclasses.dataclass(frozen=True)
class Job:
    """Something that is to be done once.

    Attributes:
        place: what it writes, or a path beneath; jobs of other places are others.
        is_done: whether it is done, by this process or another one.
        do: does it. `is_done` is true afterwards.
    """

    place: pathlib.Path
    is_done: Callable[[], bool]
    do: Callable[[], None]


@contextlib.contextmanager
def shared(directory: pathlib.Path) -> Iterator[None]:
    """Within it, other processes may do jobs in the same directory.

    A job's lock is `lockf`'s on one byte of DIRECTORY/ecl_tf.jobs, by the hash of its place. The
    kernel ends it with the process, so the job of a killed process is another one's. NFS shares
    such locks between machines.

    Args:
        directory: an existing directory that all of them see.

    Raises:
        ValueError: if its file system has no locks.
    """
    global _file
    with open(directory / FILE, "a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH, 1, _PLACES)  # Of no job.
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            raise ValueError(
                f"The file system of {directory} has no locks ({error.strerror}), by which "
                "processes part the trainings. Choose a --workdir on another one, or leave --join "
                "and --processes away."
            ) from error
        _file = file
        try:
            yield
        finally:
            _file = None


def are_shared() -> bool:
    """Whether other processes may do jobs in the same directory."""
    return _file is not None


@contextlib.contextmanager
def turn(place: pathlib.Path, waits: bool = True) -> Iterator[bool]:
    """Within it, no other process is at the same place.

    Args:
        place: a path in the directory that is shared; it need not exist.
        waits: whether to wait while another process is there; True by default.

    Yields:
        True; or False if another process is there, and `waits` is False.
    """
    if _file is None:
        yield True
        return
    name = os.path.relpath(place, pathlib.Path(_file.name).parent)
    byte = int(hashlib.sha256(name.encode()).hexdigest(), 16) % _PLACES
    try:
        fcntl.lockf(_file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB), 1, byte)
    except (BlockingIOError, PermissionError):  # Which one depends on the system.
        yield False
        return
    try:
        yield True
    finally:
        fcntl.lockf(_file, fcntl.LOCK_UN, 1, byte)


def complete(jobs: Iterable[Job]) -> None:
    """Returns when all jobs are done, those by other processes, too.

    Args:
        jobs: in the order in which they are begun. None may wait for a later one.
    """
    left = [job for job in jobs if not job.is_done()]
    while left:
        taken = []  # By other processes.
        for job in left:
            with turn(job.place, waits=False) as is_mine:
                if not is_mine:
                    taken.append(job)
                elif not job.is_done():
                    job.do()
        if len(taken) == len(left):
            time.sleep(_BETWEEN_LOOKS)
        left = [job for job in taken if not job.is_done()]
