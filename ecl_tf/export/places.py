"""Where a student may be written: never over what no export wrote."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator

from ecl_tf._internal import files

_REMEDY = "Nothing was written. Give the path of a new {0}, or move this one away."


def refusal(path: pathlib.Path, reason: str, kind: str = "directory") -> ValueError:
    """The error of a path that can't be written.

    Args:
        reason: why not.
        kind: what was to be written; "directory" by default.
    """
    remedy = _REMEDY.format(kind)
    return ValueError(f"The student can't be exported to {path}: {reason}. {remedy}")


def require_parents(path: pathlib.Path) -> None:
    """Raises ValueError if a file is where a directory should be."""
    for parent in path.parents:
        if parent.exists() and not parent.is_dir():
            raise ValueError(f"The student can't be exported to {path}: {parent} is a file.")


def file(path: pathlib.Path, suffix: str, is_ours: Callable[[pathlib.Path], bool]) -> pathlib.Path:
    """The path of a file, which is not there or which an export wrote.

    Args:
        suffix: that it must have.
        is_ours: whether an export wrote the file that is there.

    Raises:
        ValueError: if it has another suffix, or is something else.
    """
    if path.suffix != suffix:
        named = path.with_name(path.name + suffix)
        raise ValueError(f"A file of this format is called *{suffix}; got {path}. Give {named}.")
    require_parents(path)
    if path.is_dir():
        raise refusal(path, "it is a directory", "file")
    if path.exists() and not is_ours(path):
        raise refusal(path, "no export of a student wrote the file that is there", "file")
    return path


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """As `files.whole`, in a directory that is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(path) as temporary:
        yield temporary
