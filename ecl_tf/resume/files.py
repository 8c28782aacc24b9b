"""Checkpoints as files, each whole or not there."""

import concurrent.futures
import errno
import json
import os
import re
import tempfile
import warnings

import numpy as np

from ecl_tf._internal import files, require

_NAME = re.compile(r"step-(\d+)\.npz")
_HALF_WRITTEN = re.compile(re.escape(files.UNFINISHED) + _NAME.pattern)


class Files:
    """The last `keep` checkpoints of a directory, each one file that is whole or not there.

    A file is one of its own if its content says so. Others of the same names are the user's.

    Raises:
        ValueError: if `keep` is no whole number from 1 on.
        OSError: if the directory can't be made.
    """

    def __init__(self, directory, keep):
        self.directory, self.keep = files.at_home(directory), require.whole("keep", keep, 1)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _explained(error, "The directory of checkpoints can't be made") from error
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._writing = None
        self._own = set()  # Paths of its checkpoints, and of what was read and found broken.

    def require_writable(self):
        """Raises OSError where no checkpoint could be written, before there is one to lose."""
        try:
            with tempfile.TemporaryFile(dir=self.directory):
                pass
        except OSError as error:
            raise _explained(error, "No checkpoint can be written") from error

    def write(self, step, about, arrays):
        """Begins to write one, while training goes on, after the one before."""
        self.wait()
        self._writing = self._thread.submit(self._write, step, json.dumps(about), arrays)

    def wait(self):
        """Waits until all is written; raises what went wrong."""
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def _write(self, step, about, arrays):
        """Writes one, then removes what is too old, damaged, or was half written at a kill."""
        path = self.directory / f"step-{step}.npz"
        with files.whole(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, about=about, **arrays)
        self._own.add(path)
        own = [found for found in self._newest_first() if found in self._own]
        place = own.index(path)  # Its own checkpoints of later steps were damaged.
        half_written = (p for p in self.directory.iterdir() if _HALF_WRITTEN.fullmatch(p.name))
        for old in [*own[:place], *own[place + self.keep :], *half_written]:
            old.unlink()
            self._own.discard(old)

    def read(self, steps):
        """Path, description and arrays of the newest one that is whole; None if there is none.

        Args:
            steps: of the run, whose names must be free.

        Raises:
            ValueError: if a file of the user's has the name of a checkpoint to come.
            OSError: if a file can't be read, which does not mean that it is damaged.
        """
        found = None
        for path in self._newest_first():
            try:
                about, arrays = _read(path, with_arrays=found is None)
            except _DamagedError as error:
                self._own.add(path)
                warnings.warn(
                    f"The checkpoint {path} is damaged and not used: {error}", stacklevel=2
                )
                continue
            if about is not None:
                self._own.add(path)
                found = found or (path, about, arrays)
            elif _step(path) <= steps:
                raise ValueError(
                    f"{path} is no checkpoint of ecl_tf.resume.fit, which would write one of that "
                    "name. Move the file, or give another directory."
                )
        return found

    def _newest_first(self):
        found = (path for path in self.directory.iterdir() if _NAME.fullmatch(path.name))
        return sorted(found, key=_step, reverse=True)


class _DamagedError(Exception):
    """A file was read, and is broken."""


def _step(path):
    return int(path.stem.split("-")[1])


def _read(path, with_arrays):
    """The description and the arrays of a checkpoint; no description of another file."""
    try:
        with open(path, "rb") as file:
            content = np.load(file)
            about = _about(content, _step(path))
            if about is None or not with_arrays:
                return about, {}
            # The zip format has a checksum for each array.
            return about, {name: content[name] for name in content.files if name != "about"}
    except MemoryError:
        raise
    except OSError as error:
        if error.errno == errno.EINVAL:  # A seek to before its beginning.
            raise _DamagedError(error) from error
        raise _explained(
            error,
            "A checkpoint can't be read. That does not mean it is damaged, so nothing is trained "
            "over it",
        ) from error
    except Exception as error:  # Of zip, zlib, NumPy and JSON, whose kinds depend on the damage.
        raise _DamagedError(error) from error


def _about(content, step):
    """The description in a checkpoint's file; None in a whole file of another writer."""
    if isinstance(content, np.ndarray) or "about" not in content.files:
        return None
    try:
        about = json.loads(str(content["about"]))
    except json.JSONDecodeError:
        return None
    if not isinstance(about, dict) or not {"finished", "variables"} <= about.keys():
        return None
    return about if about.get("step") == step else None


def _explained(error, what):
    """The same error with words of what could not be done."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    text = f"{what}: {reason}. Look at the permissions and at the disk, then start again"
    return type(error)(error.errno, text, error.filename)
