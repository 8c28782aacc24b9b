"""Checkpoints as files, each whole or not there."""

import concurrent.futures
import json
import pathlib
import warnings
import zipfile
import zlib

import numpy as np

from ecl_tf._internal import files

_DAMAGES = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


class Files:
    """The last `keep` checkpoints of a directory, each one file that is whole or not there."""

    def __init__(self, directory, keep):
        if keep < 1:
            raise ValueError(f"keep must be at least 1 checkpoint; got {keep}.")
        self.directory, self.keep = pathlib.Path(directory), keep
        self.directory.mkdir(parents=True, exist_ok=True)
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._writing = None

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
        found = self._newest_first()
        place = found.index(path)  # Checkpoints of later steps were damaged.
        half_written = self.directory.glob(f"{files.UNFINISHED}step-*")
        for old in [*found[:place], *found[place + self.keep :], *half_written]:
            old.unlink()

    def read(self):
        """Path, description and arrays of the newest one that is whole; None if there is none."""
        for path in self._newest_first():
            try:
                with np.load(path) as file:  # Its zip format has a checksum for each array.
                    arrays = dict(file)
                    return path, json.loads(str(arrays.pop("about"))), arrays
            except _DAMAGES as error:
                warnings.warn(
                    f"The checkpoint {path} is damaged and not used: {error}", stacklevel=2
                )
        return None

    def _newest_first(self):
        found = self.directory.glob("step-*.npz")
        return sorted(found, key=lambda path: int(path.stem.split("-")[1]), reverse=True)
