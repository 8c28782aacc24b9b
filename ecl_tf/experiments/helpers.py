"""Further processes on this machine, which do jobs of a comparison beside this one."""

import contextlib
import multiprocessing
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from ecl_tf.experiments import comparison, logs, progress, work_directory


def share_cores(processes: int) -> None:
    """Gives each of several processes its share of the cores, before TensorFlow has computed.

    Small networks gain nothing by a second core. What the environment says already stays.

    Args:
        processes: how many there are.

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


@contextlib.contextmanager
def at_work(
    count: int,
    config: ConfigDict,
    workdir: pathlib.Path,
    teacher_directory: str | pathlib.Path | None,
    checkpoint_every: dict[str, Any] | None,
) -> Iterator[None]:
    """Has processes do what is left of a comparison, until it is complete or this one fails.

    They print nothing. What fails in one of them is done by this process, which then tells why.

    Args:
        count: how many, perhaps 0.
        config: as `comparison.run` takes it.
        workdir: the same.
        teacher_directory: the same.
        checkpoint_every: the same.
    """
    context = multiprocessing.get_context("spawn")  # A fork of TensorFlow's threads hangs.
    arguments = config, workdir, teacher_directory, checkpoint_every, logs.chosen()
    started = [context.Process(target=_help, args=arguments, daemon=True) for _ in range(count)]
    for process in started:
        process.start()
    try:
        yield
    except BaseException:
        for process in started:
            process.terminate()  # It writes a checkpoint first.
        raise
    finally:
        for process in started:
            process.join()


def _help(config, workdir, teacher_directory, checkpoint_every, chosen):
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
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
