"""Lines of progress, which the chief alone prints."""

import sys

from ecl_tf.experiments import strategies


def announce(message: str) -> None:
    """Prints the chief's line of progress at once, also into a pipe."""
    if strategies.is_chief():
        print(message, flush=True)


def describe(scores: dict[str, float]) -> str:
    """One line of named scores."""
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())


def verbosity() -> int:
    """Keras's `verbose`: a moving bar in a terminal, a line an epoch in a log file."""
    if not strategies.is_chief():
        return 0
    return 1 if sys.stdout.isatty() else 2
