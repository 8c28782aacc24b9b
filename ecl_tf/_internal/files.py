"""Files that are whole or not there, whenever the process is killed."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

# Names of files begin with it while they are written. A killed process leaves such a file.
UNFINISHED = "tmp."


@contextlib.contextmanager
def whole(path: str | os.PathLike, writer: int | None = None) -> Iterator[pathlib.Path]:
    """Gives a temporary path beside `path` to write to, which becomes `path` at the end.

    A reader sees the old file or the new one, both whole. Nothing is left if writing fails; the
    next writer of the same file replaces what a killed one left. The temporary's name has the
    same ending, by which some writers choose their format.

    Args:
        path: the file to write.
        writer: the number of this process, where several may write the same file at once.

    Example:
    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "result.txt")
    >>> with whole(path) as temporary:
    ...     _ = temporary.write_text("42")
    >>> path.read_text()
    '42'
    """
    path = pathlib.Path(path)
    number = "" if writer is None else f"{writer}."
    temporary = path.with_name(f"{UNFINISHED}{number}{path.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, content: Any, writer: int | None = None) -> None:
    """Writes a JSON file whole or not at all; for the arguments see `whole`."""
    with whole(path, writer) as temporary:
        temporary.write_text(json.dumps(content, indent=2))
