"""Students as SavedModels, for TensorFlow Serving and its kin."""

import json
import pathlib
import re
import warnings
from typing import Any

import keras
import tensorflow as tf

from ecl_tf._internal import files
from ecl_tf.export import places
from ecl_tf.export.served import Served

NAME = "SavedModel"
PACKAGES: dict[str, str] = {}
# SavedModel's own place for files that travel with a model.
DESCRIPTION = pathlib.Path("assets.extra") / "ecl_tf_student.json"
MISSING = f"{DESCRIPTION} is missing"
OTHERS = "other SavedModels load with tf.saved_model.load"
# What an export holds; layers with vocabularies name the files in `assets`.
_WRITTEN = re.compile(
    rf"saved_model\.pb|fingerprint\.pb|variables|variables/variables\.[^/]*|assets|assets/.*"
    rf"|assets\.extra|{re.escape(str(DESCRIPTION))}"
)
_OF_FILES = {
    ".tflite": 'Give format="litert" for a LiteRT file.',
    ".onnx": 'Give format="onnx" for an ONNX file.',
    ".keras": "A file of Keras is written by student.save(path).",
}

whole = files.whole_directory


def place(path: pathlib.Path) -> pathlib.Path:
    """The directory to write: the path, or one in it if it holds what no export wrote.

    Raises:
        ValueError: if the path is a file or is called as one of another format, or holds an
            earlier export and other files.
    """
    if path.suffix in _OF_FILES:
        raise ValueError(
            f"A SavedModel is a directory, and {path} has the suffix of a file. "
            f"{_OF_FILES[path.suffix]}"
        )
    if path.exists() and not path.is_dir():
        raise places.refusal(path, "it is a file")
    places.require_parents(path)
    if (foreign := _foreign(path)) is None:
        return path
    inner = path / "student"
    # Beside an earlier export a new one would be overlooked.
    if (path / DESCRIPTION).is_file() or inner.is_file() or _foreign(inner) is not None:
        raise places.refusal(path, f"it holds {foreign!r}, which no export of a student wrote")
    warnings.warn(
        f"{path} holds {foreign!r}, which no export of a student wrote, and which stays. The "
        f"student is exported to {inner} instead.",
        stacklevel=4,
    )
    return inner


def _foreign(path):
    """The first thing in a directory that no export of a student wrote, or None."""
    left = (each for each in sorted(path.rglob("*")) if not files.is_of_a_file_browser(each))
    found = (str(each.relative_to(path)) for each in left)
    is_ours = (path / DESCRIPTION).is_file()
    return next((name for name in found if not (is_ours and _WRITTEN.fullmatch(name))), None)


def write(served: Served, path: pathlib.Path) -> None:
    """Writes a student and its description."""
    function, specs, tracked = served.function()
    archive = keras.export.ExportArchive()
    for each in tracked:
        archive.track(each)
    archive.add_endpoint("serve", function, input_signature=[specs])
    archive.write_out(str(path), verbose=False)
    described = path / DESCRIPTION
    described.parent.mkdir(exist_ok=True)
    described.write_text(json.dumps(served.description(), indent=2))


def description(path: pathlib.Path) -> dict[str, Any] | None:
    """The description of the student in a directory; None if it is not one of `write`."""
    described = path / DESCRIPTION
    return json.loads(described.read_text()) if described.is_file() else None


class Runner:
    """A directory of `write`, as a function from named tensors or arrays to named tensors.

    TensorFlow's number of threads is that of the process.
    """

    on_host = False

    def __init__(self, path: pathlib.Path, about: dict[str, Any], threads: int | None = None):
        del about, threads
        self._model = tf.saved_model.load(str(path))
        self._serve = self._model.signatures["serving_default"]
        self.input_specs = self._serve.structured_input_signature[1]
        self.parameter_specs = self._serve.structured_outputs

    def __call__(self, **tensors: Any) -> dict[str, tf.Tensor]:
        return self._serve(**{name: tf.convert_to_tensor(tensors[name]) for name in tensors})
