"""The student alone, as a SavedModel that answers with its distribution."""

import json
import os
import pathlib
from typing import Any

import keras
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf._internal import symbolic

# SavedModel's own place for files that travel with a model.
_DESCRIPTION = pathlib.Path("assets.extra") / "ecl_tf_student.json"


def export_student(
    student: keras.Model, output: outputs.Output, path: str | os.PathLike, inputs: Any = None
) -> None:
    """Writes a student as a SavedModel for TensorFlow Serving and its kin.

    Its signature `serving_default` takes the student's named inputs, at any batch size,
    and returns the named parameters of its distribution: `probabilities`; or `mean` and
    `stddev`. A joint output's have the output's name and an underscore before them.

    Args:
        student: a Keras model giving raw outputs.
        output: its `ecl_tf.outputs.Output`, typically a distiller's `output_kind`.
        path: the directory to write.
        inputs: specs of a batch of inputs, for a student without symbolic inputs; None, the
            default, for others.

    Raises:
        ValueError: if the shapes of the student's inputs are not known.

    Example:
    >>> import tempfile
    >>> student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> directory = tempfile.mkdtemp()
    >>> export_student(student, outputs.Categorical(), directory)
    >>> load_student(directory)(tf.zeros((5, 4))).batch_shape
    TensorShape([5])
    """
    known = symbolic.inputs_of(student)
    inputs = inputs if known is None else known
    if inputs is None:
        raise ValueError(
            f"The inputs of student {student.name!r} are not known. Fit the distiller first, "
            "or build the student as a functional or sequential model."
        )

    def serve(features):
        return output.parameters(output(student(features, training=False)))

    archive = keras.export.ExportArchive()
    archive.track(student)
    archive.add_endpoint("serve", serve, input_signature=[_signature(inputs)])
    archive.write_out(str(path), verbose=False)
    description = pathlib.Path(path) / _DESCRIPTION
    description.parent.mkdir(exist_ok=True)
    description.write_text(json.dumps(keras.saving.serialize_keras_object(output), indent=2))


def _signature(inputs):
    if isinstance(inputs, dict):
        return {name: _spec(tensor, name) for name, tensor in inputs.items()}
    if isinstance(inputs, (list, tuple)):
        return [_spec(tensor, tensor.name) for tensor in inputs]
    return _spec(inputs, getattr(inputs, "name", None) or "inputs")


def _spec(tensor, name):
    return tf.TensorSpec((None, *tensor.shape[1:]), tf.as_dtype(tensor.dtype), name)


class ExportedStudent:
    """What `export` wrote, as a callable: a batch of inputs to a distribution.

    Args:
        path: the directory.

    Attributes:
        output: the `ecl_tf.outputs.Output` of the student.
        input_names: the names of the serving signature's inputs.
    """

    def __init__(self, path: str | os.PathLike):
        description = pathlib.Path(path) / _DESCRIPTION
        if not description.is_file():
            raise FileNotFoundError(
                f"{path} holds no exported student ({_DESCRIPTION} is missing). Write one "
                "with distiller.export(path); other SavedModels load with "
                "tf.saved_model.load."
            )
        config = json.loads(description.read_text())
        self.output = outputs.get(keras.saving.deserialize_keras_object(config))
        self._model = tf.saved_model.load(str(path))
        self._serve = self._model.signatures["serving_default"]
        self.input_names = sorted(self._serve.structured_input_signature[1])

    def parameters(self, inputs: Any) -> dict[str, tf.Tensor]:
        """Returns the named parameters, as a server would answer them.

        Args:
            inputs: a tensor (batch, ...), or a dict of them by the names of `input_names`.

        Raises:
            ValueError: if the inputs have other names.
        """
        has = f"The student has the inputs {self.input_names}"
        if not isinstance(inputs, dict):
            if len(self.input_names) != 1:
                raise ValueError(f"{has}; give a dict of them.")
            inputs = {self.input_names[0]: inputs}
        if sorted(inputs) != self.input_names:
            raise ValueError(f"{has}; got {sorted(inputs)}.")
        specs = self._serve.structured_input_signature[1]
        return self._serve(
            **{name: tf.cast(value, specs[name].dtype) for name, value in inputs.items()}
        )

    def __call__(self, inputs: Any) -> Any:
        """Returns the student's distribution (a dict of them for joint outputs)."""
        return self.output.from_parameters(self.parameters(inputs))


def load_student(path: str | os.PathLike) -> ExportedStudent:
    """Reads an exported student back.

    Args:
        path: the directory that `Distiller.export` or `export_student` wrote.

    Raises:
        FileNotFoundError: if `path` was not written by `export`.
    """
    return ExportedStudent(path)
