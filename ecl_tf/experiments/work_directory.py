"""The work directory: which experiment it belongs to, and what its results come from."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from ecl_tf._internal import files
from ecl_tf._internal.identity import differences
from ecl_tf.experiments import grid, jobs, locks, settings, strategies

_HASHES = "hashes.json"
_DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(settings.Settings)
    if isinstance(field.default, (int, tuple))
}
# Settings of `config.data` that say where it lies, which another machine may have elsewhere.
PLACES = ("data_dir", "manual_dir", "path")
# What scripts write there, besides a directory for each fold or split, and `logs`, where others'
# files do no harm.
_WRITTEN = {
    *(
        "best",
        "cells",
        "checkpoints",
        "evaluation.json",
        "export",
        _HASHES,
        "headroom",
        "headroom.json",
    ),
    *("log.csv", "plot.png", "replay", "report.html", "results.json", "stores", "student.keras"),
    *("students", "suite.json", "suite.md", "table.md", "teacher", "teachers"),
}


def check(
    workdir: str | pathlib.Path, config: ConfigDict, shares: bool = False, joins: bool = False
) -> pathlib.Path:
    """Refuses a work directory that this experiment can't have; writes nothing.

    Args:
        shares: whether another process may work in it; False by default.
        joins: whether others may that join, as `working_in` has it; False by default.

    Returns:
        Its path.

    Raises:
        ValueError: if it is an empty text, can't be made, is another experiment's, holds files
            that would be mixed up with this one's, or another process works in it.
    """
    if not str(workdir):
        raise ValueError(
            "The work directory is an empty text (--workdir=). Name a directory; a point is the "
            "current one."
        )
    path = pathlib.Path(workdir)
    place = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    if not place.is_dir():
        raise ValueError(
            f"The work directory {path} can't be written: {place} is a file. Choose another "
            "--workdir."
        )
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".tmp", dir=place))  # Permissions do not tell of all.
    except OSError as error:
        raise ValueError(
            f"The work directory {path} can't be written: in {place} nothing can be made "
            f"({error.strerror}). Choose another --workdir."
        ) from error
    if strategies.is_chief() and not shares:  # Which holds the lock for all workers.
        locks.require_free(path, joins)
    _require_own(path, config)
    _require_hashes(path, read_hashes(path), _hashes(config))
    return path


@contextlib.contextmanager
def working_in(
    workdir: str | pathlib.Path, config: ConfigDict, joins: bool = False
) -> Iterator[pathlib.Path]:
    """Claims a work directory; holds its lock until it is left. The chief does, for all workers.

    Args:
        joins: whether other processes that join may do its jobs, too; False by default.

    Raises:
        ValueError: as `claim` does, or if another process works in it.
    """
    path = pathlib.Path(workdir)
    with contextlib.ExitStack() as stack:

        def hold():
            _require_own(path, config)
            path.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locks.held(path, joins))
            if joins:
                stack.enter_context(jobs.shared(path))

        strategies.on_chief(hold)
        yield claim(path, config)


def claim(workdir: str | pathlib.Path, config: ConfigDict) -> pathlib.Path:
    """Makes the work directory this experiment's; returns its path.

    Args:
        workdir: the directory: new, of the same experiment, or with nothing in it but files that
            no script of this package writes, such as a log.

    Raises:
        ValueError: if it is another experiment's, or holds files that would be mixed up with this
            one's.
    """
    path = pathlib.Path(workdir)
    record = path / "config.json"

    def write():
        with jobs.turn(record):  # Of several processes each claims it.
            _require_own(path, config)
            path.mkdir(parents=True, exist_ok=True)
            if not record.exists():
                files.write_json(record, _as_json(config))

    strategies.on_chief(write)
    if not record.exists():
        raise ValueError(
            f"This worker does not see the work directory {workdir} that the chief has made. Give "
            "one that all workers share."
        )
    _require_own(path, config)
    require_same(path, **_hashes(config))
    return path


def _hashes(config):
    """Of the data file, if there is one: else its loading says what is missing."""
    data_file = config.get("data", {}).get("path")
    is_file = data_file and pathlib.Path(data_file).is_file()
    return {"data": hash_of_file(data_file)} if is_file else {}


def _require_own(path, config):
    """Refuses a directory of another experiment, or of none with files that would be mixed up."""
    if (path / "config.json").exists():
        there = read_json(path / "config.json")
        own = _as_json(config)
        for each in (there, own):
            for name, default in _DEFAULTS.items():  # A setting may be younger than a directory.
                each.setdefault(name, default)
            for name in ("export", "suite"):  # Of what is trained they change nothing.
                each.pop(name, None)
        _leave_places_out(path, there.get("data"), own.get("data"), config)
        if differing := sorted(differences(there, own)):
            raise ValueError(
                f"The work directory {path} holds another experiment; these settings "
                f"differ: {', '.join(differing)}. Choose another --workdir, or give the "
                "same settings to continue it."
            )
    elif path.is_dir():
        written = _WRITTEN.union(grid.directories(config))
        if found := sorted(written.intersection(os.listdir(path))):
            raise ValueError(
                f"The work directory {path} holds {found[0]!r}, but no experiment (it has no "
                f"config.json), and a run would mix its own {found[0]!r} with it. Choose another "
                "--workdir."
            )


def _leave_places_out(path, there, here, config):
    """Takes where the data lies out of two settings: another machine has it elsewhere."""
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return
    known = read_hashes(path).get("data")
    is_same = there.get("path") == here.get("path") or known == _hashes(config).get("data", "")
    for name in PLACES if is_same else PLACES[:2]:
        there.pop(name, None)
        here.pop(name, None)


def _as_json(config):
    return json.loads(json.dumps(config.to_dict()))


def hash_of_file(path: str | pathlib.Path) -> str:
    """SHA-256 of a file's bytes, as `require_same` keeps it of the data, or of a directory's."""
    if (found := pathlib.Path(path)).is_dir():
        parts = [each for each in sorted(found.rglob("*")) if each.is_file()]
        parts = [each for each in parts if not files.is_of_a_file_browser(each)]
        told = [[str(each.relative_to(found)), hash_of_file(each)] for each in parts]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_same(workdir: pathlib.Path, **hashes: str) -> None:
    """Compares what the results of a work directory come from, or keeps it the first time.

    Args:
        **hashes: of its data file (`data`), or of its teacher.

    Raises:
        ValueError: if one differs.
    """
    _require_hashes(workdir, read_hashes(workdir), hashes)

    def keep():  # Asked by the chief alone: the others may read what it has written.
        with jobs.turn(workdir / _HASHES):
            found = read_hashes(workdir)
            if hashes.items() - found.items():
                files.write_json(workdir / _HASHES, {**found, **hashes})

    strategies.on_chief(keep)


def _require_hashes(workdir, found, hashes):
    for name, own in hashes.items():
        if found.get(name, own) != own:
            raise ValueError(
                f"The {name} has changed: it is not what the results in {workdir} come from. Give "
                "the same to continue them, or choose another --workdir."
            )


def read_hashes(workdir: pathlib.Path) -> dict[str, str]:
    """What `require_same` keeps, a dict from name to hash."""
    path = workdir / _HASHES
    return read_json(path) if path.exists() else {}


def read_json(path: pathlib.Path) -> Any:
    """Reads what `write_json` wrote.

    Raises:
        ValueError: if the file is damaged.
    """
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged: it is not the JSON that was written ({error}). Restore it, or "
            "choose another --workdir."
        ) from error


def write_json(path: pathlib.Path, content: Any) -> None:
    """Has the chief write a file whole or not at all, whenever the process is killed."""
    strategies.on_chief(lambda: files.write_json(path, content))
