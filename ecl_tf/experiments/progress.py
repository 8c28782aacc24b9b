"""Lines of progress, which the chief alone prints."""

import contextlib
import sys
from collections.abc import Iterator

from ecl_tf.experiments import jobs, strategies

_is_quiet = False


def announce(message: str) -> None:
    """Prints the chief's line of progress at once, also into a pipe."""
    if strategies.is_chief() and not _is_quiet:
        print(message, flush=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within it nothing is announced."""
    global _is_quiet
    before, _is_quiet = _is_quiet, True
    try:
        yield
    finally:
        _is_quiet = before


def describe(scores: dict[str, float]) -> str:
    """One line of named scores."""
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())


def announce_scores(name: str, split: str, scores: dict[str, float]) -> None:
    """Prints the chief's line of a model's scores on a split."""
    announce(f"{name}: {split} {describe(scores)}")


def verbosity() -> int:
    """Keras's `verbose`: a moving bar in a terminal, a line an epoch in a log file.

    It is 0 where several processes would write into each other's lines.
    """
    if not strategies.is_chief() or jobs.are_shared():
        return 0
    return 1 if sys.stdout.isatty() else 2
