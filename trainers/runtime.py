"""What every script needs around its experiment: the work directory, and lines of progress."""

import json
import os
import pathlib
import sys

from trainers import strategies


def claim(workdir, config):
    """Makes the work directory this experiment's; returns its path.

    Args:
        workdir: the directory, new, empty, or of the same experiment.
        config: the experiment's `ConfigDict`.

    Raises:
        ValueError: if the directory holds another experiment or other files.
    """
    path = pathlib.Path(workdir)
    wanted = json.loads(json.dumps(config.to_dict()))
    strategies.let_chief(lambda: _claim(path, wanted))
    if not (path / "config.json").exists():
        raise ValueError(
            f"This worker does not see the work directory {workdir} that the chief has made. Give "
            "one that all workers share."
        )
    return path


def _claim(path, wanted):
    path.mkdir(parents=True, exist_ok=True)
    record = path / "config.json"
    if record.exists():
        found = json.loads(record.read_text())
        differing = sorted(differences(found, wanted))
        if differing:
            raise ValueError(
                f"The work directory {path} holds another experiment; these settings "
                f"differ: {', '.join(differing)}. Choose another --workdir, or give the "
                "same settings to continue it."
            )
    elif any(path.iterdir()):
        raise ValueError(
            f"The work directory {path} is not empty and holds no experiment (it has no "
            "config.json). Choose a new --workdir."
        )
    else:
        _write_json(record, wanted)


def differences(a, b, prefix=""):
    """Yields the dotted names of the settings in which two configurations differ."""
    for key in a.keys() | b.keys():
        old, new = a.get(key), b.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key} ({old!r} there, {new!r} here)"


def write_json(path, content):
    """Has the chief write a file whole or not at all, whenever the process is killed."""
    strategies.let_chief(lambda: _write_json(path, content))


def _write_json(path, content):
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w") as file:
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def verbosity():
    """Keras's `verbose`: a moving bar in a terminal, a line an epoch in a log file."""
    if not strategies.is_chief():
        return 0
    return 1 if sys.stdout.isatty() else 2


def announce(message):
    """Prints the chief's line of progress at once, also into a pipe."""
    if strategies.is_chief():
        print(message, flush=True)


def describe(scores):
    """One line of named scores."""
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
