"""Lines of progress, which the chief alone prints."""

import contextlib
import sys
from collections.abc import Iterable, Iterator

from ecl_tf.experiments import jobs, strategies

_is_quiet = _is_silent = False
_said: set[str] = set()


def announce(message: str) -> None:
    """Prints the chief's line of progress at once, also into a pipe."""
    if strategies.is_chief() and not _is_quiet:
        print(message, flush=True)


def announce_once(lines: Iterable[str]) -> None:
    """Prints what the data is: lines that were not printed yet, however often it is loaded."""
    for line in lines:
        if line not in _said and strategies.is_chief() and not _is_silent:
            _said.add(line)
            print(line, flush=True)


@contextlib.contextmanager
def quiet(says_data: bool = False) -> Iterator[None]:
    """Within it nothing is announced.

    Args:
        says_data: whether lines of `announce_once` are; False by default.
    """
    global _is_quiet, _is_silent
    before = _is_quiet, _is_silent
    _is_quiet, _is_silent = True, not says_data
    try:
        yield
    finally:
        _is_quiet, _is_silent = before


def describe(scores: dict[str, float]) -> str:
    """One line of named scores."""
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())


def announce_scores(name: str, split: str, scores: dict[str, float]) -> None:
    """Prints the chief's line of a model's scores on a split."""
    announce(f"{name}: {split} {describe(scores)}")


def duration(seconds: float) -> str:
    """A time in words, in the unit that suits it."""
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.{int(unit > 60)}f} {name}"
    return f"{seconds:,.0f} seconds"


def verbosity() -> int:
    """Keras's `verbose`: a moving bar in a terminal, a line an epoch in a log file.

    It is 0 where several processes would write into each other's lines.
    """
    if not strategies.is_chief() or jobs.are_shared():
        return 0
    return 1 if sys.stdout.isatty() else 2
