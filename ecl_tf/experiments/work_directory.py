"""The work directory: which experiment it belongs to, and what its results come from."""

import hashlib
import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

from ecl_tf._internal.files import write_json as _write_json
from ecl_tf._internal.identity import differences
from ecl_tf.experiments import strategies

_HASHES = "hashes.json"


def claim(workdir: str | pathlib.Path, config: ConfigDict) -> pathlib.Path:
    """Makes the work directory this experiment's; returns its path.

    Args:
        workdir: the directory, new, empty, or of the same experiment.
        config: the experiment's `ConfigDict`.

    Raises:
        ValueError: if the directory holds another experiment or other files.
    """
    path = pathlib.Path(workdir)
    wanted = json.loads(json.dumps(config.to_dict()))
    record = path / "config.json"
    strategies.on_chief(lambda: _claim(record, wanted))
    if not record.exists():
        raise ValueError(
            f"This worker does not see the work directory {workdir} that the chief has made. Give "
            "one that all workers share."
        )
    if differing := sorted(differences(json.loads(record.read_text()), wanted)):
        raise ValueError(
            f"The work directory {path} holds another experiment; these settings "
            f"differ: {', '.join(differing)}. Choose another --workdir, or give the "
            "same settings to continue it."
        )
    data_file = config.get("data", {}).get("path")
    if data_file and pathlib.Path(data_file).is_file():  # Else its loading says what is missing.
        require_same(path, data=hash_of_file(data_file))
    return path


def is_claimed(workdir: str | pathlib.Path) -> bool:
    """Whether a work directory is some experiment's already."""
    return (pathlib.Path(workdir) / "config.json").exists()


def _claim(record, wanted):
    record.parent.mkdir(parents=True, exist_ok=True)
    if record.exists():
        return
    if any(record.parent.iterdir()):
        raise ValueError(
            f"The work directory {record.parent} is not empty and holds no experiment (it has no "
            "config.json). Choose a new --workdir."
        )
    _write_json(record, wanted)


def hash_of_file(path: str | pathlib.Path) -> str:
    """SHA-256 of a file's bytes, as `require_same` keeps it of the data."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_same(workdir: pathlib.Path, **hashes: str) -> None:
    """Compares what the results of a work directory come from, or keeps it the first time.

    Args:
        workdir: the work directory.
        **hashes: of its data file (`data`), or of its teacher.

    Raises:
        ValueError: if one differs.
    """
    found = read_hashes(workdir)
    for name, own in hashes.items():
        if found.get(name, own) != own:
            raise ValueError(
                f"The {name} has changed: it is not what the results in {workdir} come from. Give "
                "the same to continue them, or choose another --workdir."
            )
    write_json(workdir / _HASHES, {**found, **hashes})


def read_hashes(workdir: pathlib.Path) -> dict[str, str]:
    """What `require_same` keeps, a dict from name to hash."""
    path = workdir / _HASHES
    return json.loads(path.read_text()) if path.exists() else {}


def write_json(path: pathlib.Path, content: Any) -> None:
    """Has the chief write a file whole or not at all, whenever the process is killed."""
    strategies.on_chief(lambda: _write_json(path, content))
