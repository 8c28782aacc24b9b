"""Files that are whole or not there, whenever the process is killed."""

import contextlib
import errno
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

# Names of files begin with it while they are written. A killed process leaves such a file.
UNFINISHED = "tmp."
_FULL = (errno.ENOSPC, errno.EDQUOT)  # A disk, and what one user may write to it.


@contextlib.contextmanager
def whole(path: str | os.PathLike, writer: int | None = None) -> Iterator[pathlib.Path]:
    """Gives a temporary path beside `path` to write to, which becomes `path` at the end.

    A reader sees the old file or the new one, both whole. Nothing is left if writing fails; the
    next writer of the same file replaces what a killed one left. The temporary's name has the
    same ending, by which some writers choose their format.

    Args:
        path: the file to write.
        writer: the number of this process, where several may write the same file at once.

    Raises:
        OSError: naming `path`, if the disk is full, whichever library writes.

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
        with _full_disk_named(path):
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _full_disk_named(path):
    try:
        yield
    except Exception as error:  # TensorFlow has one of its own, and Python's names no file.
        for number in _FULL:
            reason = os.strerror(number)
            if reason in str(error) and getattr(error, "filename", None) is None:
                raise OSError(number, reason, str(path)) from error
        raise


def is_unfinished(path: pathlib.Path) -> bool:
    """Whether a name is that of a file that was still being written, here or by other programs."""
    name = path.name
    return name.startswith((UNFINISHED, ".")) or ".tmp." in name or name.endswith(".tmp")


def is_of_a_file_browser(path: pathlib.Path) -> bool:
    """Whether a name is that of a file that macOS or Windows leaves where somebody looks."""
    return path.name in (".DS_Store", "Thumbs.db", "desktop.ini") or path.name.startswith("._")


def at_home(path: str | os.PathLike) -> pathlib.Path:
    """The path, with the user's home in place of a `~` at its beginning, as shells have it."""
    return pathlib.Path(path).expanduser()


@contextlib.contextmanager
def whole_directory(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """As `whole`, of a directory: gives a path to make one at, which becomes `path` at the end.

    A directory can't be moved to the place of one that holds files, so the old one is moved aside
    first. A process that is killed between these two moves leaves both of them, in the temporary
    directory beside `path`.

    Args:
        path: the directory to write. What is in it is replaced.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f"{UNFINISHED}{path.name}."
    # Of a new name: a directory that is there already may be somebody's.
    in_holder = tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent)
    with _full_disk_named(path), in_holder as holder:
        new, old = (pathlib.Path(holder) / name for name in ("new", "old"))
        yield new
        if path.exists():
            os.replace(path, old)
        try:
            os.replace(new, path)
        except OSError:
            if old.exists():
                os.replace(old, path)
            raise


def write_json(path: str | os.PathLike, content: Any, writer: int | None = None) -> None:
    """Writes a JSON file whole or not at all; for the arguments see `whole`."""
    with whole(path, writer) as temporary:
        temporary.write_text(json.dumps(content, indent=2))
