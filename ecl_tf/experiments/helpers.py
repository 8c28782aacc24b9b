"""Further processes on this machine, which do jobs of a comparison beside this one."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ecl_tf.experiments import comparison, logs, progress, work_directory


def share_cores(processes: int) -> None:
    """Gives each of several processes its share of the cores, before TensorFlow has computed.

    Small networks gain nothing by a second core. What the environment says already stays.

    Raises:
        ValueError: if there are more than cores, and more than two.
    """
    if processes > 1:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        if processes > max(cores or 1, 2):
            raise ValueError(
                f"--processes={processes} are more than the {cores} cores of this machine, and "
                f"each takes about 1 GB of memory. Give at most {max(cores or 1, 2)}."
            )
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, (cores or 1) // processes)))
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")


class Helper(NamedTuple):
    """A process that waits, or works.

    Attributes:
        process: it.
        told: where it is told what to do.
    """

    process: multiprocessing.process.BaseProcess
    told: multiprocessing.connection.Connection


@contextlib.contextmanager
def waiting(count: int) -> Iterator[list[Helper]]:
    """Within it processes wait for `begin`; they import TensorFlow while this one rehearses.

    At its end it waits for those that work. If this process fails, they are ended.

    Args:
        count: how many, perhaps 0.

    Yields:
        A list of them.
    """
    context = multiprocessing.get_context("spawn")  # A fork of TensorFlow's threads hangs.
    started = []
    for _ in range(count):
        theirs, own = context.Pipe(duplex=False)
        process = context.Process(target=_help, args=(theirs,), daemon=True)
        process.start()
        theirs.close()  # Theirs ends with the last that holds it.
        started.append(Helper(process, own))
    try:
        yield started
    except BaseException:
        for helper in started:
            helper.process.terminate()  # A training writes a checkpoint first.
        raise
    finally:
        for helper in started:
            helper.told.close()  # One that was told nothing ends.
            helper.process.join()


def begin(
    helpers: list[Helper],
    config: ConfigDict,
    workdir: pathlib.Path,
    teacher_directory: str | pathlib.Path | None,
    checkpoint_every: dict[str, Any] | None,
) -> None:
    """Has processes do what is left of a comparison, until it is complete.

    They print nothing. What fails in one of them is done by this process, which then tells why.
    """
    for helper in helpers:
        with contextlib.suppress(BrokenPipeError):  # It has ended, and this process does all.
            helper.told.send((config, workdir, teacher_directory, checkpoint_every, logs.chosen()))


def _help(told):
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        config, workdir, teacher_directory, checkpoint_every, chosen = told.recv()
        logs.use(*chosen)
        with progress.quiet(), work_directory.working_in(workdir, config, joins=True):
            comparison.run(config, workdir, teacher_directory, checkpoint_every)
    except (Exception, KeyboardInterrupt):
        sys.exit(1)  # The job is this one's no longer.


def _end_with_the_parent():
    """A parent that is killed can't end its helpers, which would go on unseen."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)  # A training writes a checkpoint.
