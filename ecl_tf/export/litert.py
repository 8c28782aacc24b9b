"""Students as LiteRT (TensorFlow Lite) files, for phones and small computers.

The description of the student is appended to the file as a ZIP archive, where LiteRT's own tools
look for files that travel with a model. `unzip` and Python's `zipfile` read it.
"""

import hashlib
import json
import pathlib
import re
import tempfile
import threading
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import extras
from ecl_tf.export import litert_size, places, precision, quantizing
from ecl_tf.export.served import INPUTS, PARAMETERS, LackingError, Served, specs_of, traced

NAME, SUFFIX = "LiteRT", ".tflite"
_RUNTIME = "ai_edge_litert.interpreter", "ai-edge-litert"
PACKAGES = dict([_RUNTIME])
_DESCRIPTION, _HASH = "ecl_tf_student.json", "sha256"
MISSING = f"{_DESCRIPTION} is not appended to it"
OTHERS = "other LiteRT files run in ai_edge_litert"
_SIGNATURE = "serving_default"
_MAGIC = b"TFL3"
# How the converter names the operations that the file would lack.
_LACKING = re.compile(r"'tf\.(\w+)' op ")

whole = places.whole_file


def convert(
    function: Callable[[Any], dict[str, tf.Tensor]],
    specs: Any,
    tracked: Sequence[Any] = (),
    **settings: Any,
) -> bytes:
    """Returns a function as the bytes of a LiteRT file, whose signature names inputs and outputs.

    Args:
        function: from one nesting of tensors to a dict of tensors.
        specs: the nesting of `tf.TensorSpec`, each with a name, and None as the number of rows.
        tracked: the Keras models and layers whose weights the function reads; empty by default.
        **settings: attributes of `tf.lite.TFLiteConverter`, such as `optimizations`.

    Raises:
        LackingError: if the function has operations that LiteRT lacks, naming them.
    """
    archive = keras.export.ExportArchive()
    for each in tracked:
        archive.track(each)
    archive.add_endpoint("serve", traced(function, specs))
    with tempfile.TemporaryDirectory() as directory:
        archive.write_out(directory, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=[_SIGNATURE])
        converter.exclude_conversion_metadata = True
        for name, value in settings.items():
            setattr(converter, name, value)
        try:
            content = converter.convert()
        except Exception as error:  # The converter's own kind is not public.
            lacking = sorted(set(_LACKING.findall(str(error))))
            words = f"it has no operations {lacking}" if lacking else str(error)
            raise LackingError(words) from error
    return litert_size.reduced(content)


def place(path: pathlib.Path) -> pathlib.Path:
    """The file to write; ValueError if it has another suffix, or is something else."""
    return places.file(path, SUFFIX, lambda there: description(there) is not None)


def write(served: Served, path: pathlib.Path) -> None:
    """Writes a student and its description."""
    function, specs, tracked = served.function(served.ids_by_comparison)
    with precision.single(served.student):
        function = traced(function, specs)
        answered = function.get_concrete_function().structured_outputs
        try:
            content = convert(function, specs, tracked, **quantizing.settings(served))
        except LackingError as error:
            layers = served.student._flatten_layers()
            rolled = [each for each in layers if isinstance(each, keras.layers.RNN)]
            if rolled := [each.name for each in rolled if not each.unroll]:
                words = f"it takes recurrent layers with unroll=True alone, which {rolled} are not"
                raise LackingError(f"{error}; {words}") from error
            raise
    described = json.dumps(served.full_description(answered), indent=2)
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_DESCRIPTION, described)
        archive.writestr(_HASH, hashlib.sha256(content).hexdigest())


def is_one(path: pathlib.Path) -> bool:
    """Whether a file is a LiteRT file, of a student or not."""
    with open(path, "rb") as file:
        return file.read(8)[4:] == _MAGIC


def description(path: pathlib.Path) -> dict[str, Any] | None:
    """The description of the student in a file; None if it is not one of `write`."""
    if not is_one(path) or not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        if _DESCRIPTION not in archive.namelist():
            return None
        return json.loads(archive.read(_DESCRIPTION))


def is_as_written(path: pathlib.Path) -> bool:
    """Whether a file of `write` has its bytes; True of earlier versions, which kept no hash."""
    with zipfile.ZipFile(path) as archive:
        if _HASH not in archive.namelist():
            return True
        expected = archive.read(_HASH).decode()
        content = path.read_bytes()[: archive.getinfo(_DESCRIPTION).header_offset]
    return hashlib.sha256(content).hexdigest() == expected


def require_whole(path: pathlib.Path) -> None:
    """Raises an error of LiteRT's if it can't read a file, of a student or not."""
    _opened(path)


def _opened(path, threads=None):
    runtime = extras.require(*_RUNTIME, "A LiteRT file", "export")
    return runtime.Interpreter(model_path=str(path), num_threads=threads)


class Runner:
    """A file of `write`, as a function from named arrays to named arrays."""

    on_host = True

    def __init__(self, path: pathlib.Path, about: dict[str, Any], threads: int | None = None):
        # The runner needs its interpreter, and does not keep it.
        self._interpreter = _opened(path, threads)
        self._run = self._interpreter.get_signature_runner(_SIGNATURE)
        self._one_at_a_time = threading.Lock()  # An interpreter holds one batch.
        self.input_specs = specs_of(about[INPUTS])
        self.parameter_specs = specs_of(about[PARAMETERS])

    def __call__(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        with self._one_at_a_time:
            return self._run(**arrays)
