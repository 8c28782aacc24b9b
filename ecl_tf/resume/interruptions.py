"""SIGTERM and Ctrl-C, which a training notices at the end of its step."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

PREEMPTED = 143  # 128 + SIGTERM, on which schedulers restart, and TensorFlow's own choice.


class Interruptions:
    """SIGTERM and Ctrl-C, noticed while a training runs, so that it can write a checkpoint first.

    Attributes:
        terminated: whether SIGTERM came.
        interrupted: whether Ctrl-C was pressed. A second one stops at once.
    """

    def __init__(self) -> None:
        self.terminated = self.interrupted = False

    def end(self) -> None:
        """Ends the run as the signal asks.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
            SystemExit: with the code 143 after SIGTERM.
        """
        if self.interrupted:
            raise KeyboardInterrupt
        raise SystemExit(PREEMPTED)

    @contextlib.contextmanager
    def noticed(self) -> Iterator[None]:
        """Notices signals, and ends the run at the end of the block if nobody did before."""
        with self._handled(signal.SIGTERM, self._terminate), contextlib.ExitStack() as stack:
            # Another handler, or none of a command in the background, is the user's choice.
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                stack.enter_context(self._handled(signal.SIGINT, self._interrupt))
            yield
        if self.terminated or self.interrupted:
            self.end()

    @contextlib.contextmanager
    def _handled(self, number: int, handler: Callable[[int, Any], None]) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # Only there can signals be handled.
            return
        before = signal.signal(number, handler)
        try:
            yield
        finally:
            signal.signal(number, before)

    def _terminate(self, number, frame):
        self.terminated = True

    def _interrupt(self, number, frame):
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        with contextlib.suppress(RuntimeError):  # It came while another line was printed.
            print(
                "\nInterrupted: the step under way ends, and a checkpoint is written. "
                "Press Ctrl-C again to stop at once.",
                file=sys.stderr,
                flush=True,
            )
