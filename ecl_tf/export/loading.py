"""The student alone, as a SavedModel that answers with its distribution."""

import json
import os
import pathlib
import re
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf._internal import files, finite, legacy, probabilities, ranges, symbolic
from ecl_tf.data.columns import Columns
from ecl_tf.prediction_sets import PredictionSets

# SavedModel's own place for files that travel with a model.
_DESCRIPTION = pathlib.Path("assets.extra") / "ecl_tf_student.json"
# In the description, beside the output.
_RANGES, _COLUMNS, _CLASS_NAMES = "ranges_of_inputs", "columns", "class_names"
_CONFORMAL = "conformal"
# What an export holds; layers with vocabularies name the files in `assets`.
_WRITTEN = re.compile(
    rf"saved_model\.pb|fingerprint\.pb|variables|variables/variables\.[^/]*|assets|assets/.*"
    rf"|assets\.extra|{re.escape(str(_DESCRIPTION))}"
)
# Keras numbers the inputs that have no name of their own, and counts on in a process.
_AUTOMATIC = re.compile(r"(keras_tensor|input_layer)(_\d+)?")


def export_student(
    student: keras.Model,
    output: outputs.Output,
    path: str | os.PathLike,
    inputs: Any = None,
    columns: Columns | None = None,
    class_names: Sequence[str] | None = None,
    conformal: PredictionSets | None = None,
) -> None:
    """Writes a student as a SavedModel for TensorFlow Serving and its kin.

    Its signature `serving_default` takes the student's inputs by name, at any batch size,
    and returns the named parameters of its distribution: `probabilities`; or `mean` and
    `stddev`. A joint output's have the output's name and an underscore before them. With
    `conformal` it also returns `lower` and `upper`, or `prediction_set`.

    An input has the name that was given to its `keras.Input`, or its key in a dict of inputs.
    One without a name is `inputs`, and in a list of several `inputs_0`, `inputs_1`, and so on. So
    the same student has the same names whenever it is made, loaded or exported.

    With `columns` it takes those of a table as they are, each (batch,) by its name: numbers and
    dates, in days since 1970-01-01, as float32, with NaN for a missing one; categories as text.
    Where a name has other characters than letters, digits, dots and underscores these are
    underscores. `load_student` takes the table's own names, and a `pandas.DataFrame`.

    An earlier export at the same place is replaced once the new one is complete. A directory of
    other files is left as it is: the student is written to `student` in there, and a warning says
    so, because a long training should not be lost at its last line.

    Args:
        student: a Keras model giving raw outputs.
        output: its `ecl_tf.outputs.Output`, typically a distiller's `output_kind`.
        path: the directory to write.
        inputs: specs of a batch of inputs, for a student without symbolic inputs; None, the
            default, for others.
        columns: the `ecl_tf.data.Columns` of the table that it learned on, which encode its rows:
            `Splits.columns`. None, the default, for a student of other inputs.
        class_names: what the classes are called, in their order, for those who load the student:
            `Splits.class_names`. None, the default, if that is not known.
        conformal: what `ecl_tf.conformal` measured of this student; None, the default, for no
            prediction sets.

    Raises:
        ValueError: if the shapes of the student's inputs are not known, two inputs would have the
            same name, the student answers with probabilities, a weight is NaN or infinite,
            `path` is a file, or it holds an earlier export and other files as well.

    Example:
    >>> import tempfile
    >>> student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> directory = tempfile.mkdtemp()
    >>> export_student(student, outputs.Categorical(), directory)
    >>> exported = load_student(directory)
    >>> exported.input_names
    ['inputs']
    >>> exported(tf.zeros((5, 4))).batch_shape
    TensorShape([5])
    """
    about = {"columns": columns, "class_names": class_names, "conformal": conformal}
    write(student, output, path, inputs, **about)


def write(
    student,
    output,
    path,
    inputs=None,
    others=None,
    columns=None,
    class_names=None,
    conformal=None,
):
    """`export_student`, with the ranges of inputs that are known of the training.

    Args:
        student: as there.
        output: as there.
        path: as there.
        inputs: as there.
        others: the Keras models that got the same inputs in the training; None, the default, if
            that is not known.
        columns: as there; None by default.
        class_names: as there; None by default.
        conformal: as there; None by default.
    """
    legacy.refuse(student, "student")
    known = symbolic.inputs_of(student)
    inputs = inputs if known is None else known
    if inputs is None:
        raise ValueError(
            f"The inputs of student {student.name!r} are not known. Fit the distiller first, "
            "or build the student as a functional or sequential model."
        )
    if conformal is not None and conformal.output != output:
        raise ValueError(
            f"The prediction sets were measured for {conformal.output!r}, and the student's output "
            f"is {output!r}. Measure them again: ecl_tf.conformal(student, x, y, output=...)."
        )
    finite.require_weights(student, "student")
    probabilities.require_logits(output, student, "student", inputs if known is None else None)
    signature = _signature(inputs, student)
    expected = _expected(student, others, signature)
    path = _place(files.at_home(path).resolve())

    def serve(features):
        distribution = output(student(features, training=False))
        sets = {} if conformal is None else conformal.parameters(distribution)
        return {**output.parameters(distribution), **sets}

    archive = keras.export.ExportArchive()
    archive.track(student)
    if columns is not None:
        _require_encoded(inputs, columns, student)
        serve, signature, expected = _of_columns(columns, serve, archive), columns.signature(), {}
    archive.add_endpoint("serve", serve, input_signature=[signature])
    with files.whole_directory(path) as temporary:
        archive.write_out(str(temporary), verbose=False)
        description = temporary / _DESCRIPTION
        description.parent.mkdir(exist_ok=True)
        about = {**keras.saving.serialize_keras_object(output), _RANGES: expected}
        if columns is not None:
            about[_COLUMNS] = columns.get_config()
        if class_names is not None:
            about[_CLASS_NAMES] = [*class_names]
        if conformal is not None:
            about[_CONFORMAL] = conformal.describe()
        description.write_text(json.dumps(about, indent=2))


def _require_encoded(inputs, columns, student):
    """Raises ValueError if a student is for other rows than columns are encoded to."""
    shapes = keras.tree.map_structure(lambda tensor: tuple(tensor.shape[1:]), inputs)
    if shapes != columns.shape:
        raise ValueError(
            f"The student {student.name!r} takes inputs of shape {shapes}, and the columns are "
            f"encoded as {columns.shape}. Give those of the table that it was trained on."
        )


def _of_columns(columns, serve, archive):
    """The function `serve` of encoded rows, of the columns by their served names."""
    encoder = columns.encoder()
    archive.track(encoder)
    served = [*columns.served.values()]

    def serve_columns(features):
        return serve(encoder([features[name] for name in served], training=False))

    return serve_columns


def _expected(student, others, signature):
    """The ranges of the inputs in training, as far as they are known, by name."""
    if symbolic.inputs_of(student) is None:
        return {}
    if others is None:  # It was trained somewhere.
        found = ranges.expected_by(student)
    else:
        found = ranges.expected_in_training(student, others)
    names = {path: spec.name for path, spec in keras.tree.flatten_with_path(signature)}
    described = {names[path]: ranges.described(each) for path, each in found.items()}
    return {name: each for name, each in described.items() if each is not None}


def _place(path):
    """The directory to write: the path, or one in it if it holds what no export wrote."""
    remedy = "Nothing was written. Give the path of a new directory, or move this one away."
    if path.exists() and not path.is_dir():
        raise ValueError(f"The student can't be exported to {path}: it is a file. {remedy}")
    for parent in path.parents:
        if parent.exists() and not parent.is_dir():
            raise ValueError(f"The student can't be exported to {path}: {parent} is a file.")
    if (foreign := _foreign(path)) is None:
        return path
    place = path / "student"
    # Beside an earlier export a new one would be overlooked.
    if (path / _DESCRIPTION).is_file() or place.is_file() or _foreign(place) is not None:
        raise ValueError(
            f"The student can't be exported to {path}: it holds {foreign!r}, which no export of a "
            f"student wrote. {remedy}"
        )
    warnings.warn(
        f"{path} holds {foreign!r}, which no export of a student wrote, and which stays. The "
        f"student is exported to {place} instead.",
        stacklevel=4,
    )
    return place


def _foreign(path):
    """The first thing in a directory that no export of a student wrote, or None."""
    found = (str(each.relative_to(path)) for each in sorted(path.rglob("*")))
    is_ours = (path / _DESCRIPTION).is_file()
    return next((name for name in found if not (is_ours and _WRITTEN.fullmatch(name))), None)


def _signature(inputs, student):
    """Specs of the inputs, each with its name in the signature."""

    def named(place, tensor):
        own = getattr(tensor, "name", None)
        keys = [each for each in place if not isinstance(each, int)]
        if own and not keys and not _AUTOMATIC.fullmatch(own):
            name = own
        elif len(leaves) == 1 and not keys:
            name = "inputs"
        else:
            name = "_".join(map(str, place if keys else ("inputs", *place)))
        return tf.TensorSpec((None, *tensor.shape[1:]), tf.as_dtype(tensor.dtype), name)

    leaves = keras.tree.flatten(inputs)
    specs = _map_with_places(named, inputs)
    names = [spec.name for spec in keras.tree.flatten(specs)]
    if len(set(names)) < len(names):
        raise ValueError(
            f"The inputs of student {student.name!r} would be served under the names {names}, "
            "which must differ. Give each keras.Input a name of its own."
        )
    return specs


def _map_with_places(function, nest, place=()):
    """The nesting with function(keys and indices, leaf) in place of each leaf."""
    if isinstance(nest, dict):
        return {k: _map_with_places(function, v, (*place, k)) for k, v in nest.items()}
    if isinstance(nest, (list, tuple)):
        return [_map_with_places(function, v, (*place, i)) for i, v in enumerate(nest)]
    return function(place, nest)


class ExportedStudent:
    """What `export` wrote, as a callable: a batch of inputs to a distribution.

    Args:
        path: the directory.

    Attributes:
        output: the `ecl_tf.outputs.Output` of the student.
        input_names: the names of the serving signature's inputs.
        input_specs: the `tf.TensorSpec` of each, by name.
        parameter_specs: the `tf.TensorSpec` of each parameter that it answers with, by name.
        columns: the `ecl_tf.data.Columns` of the table that it takes; None for other inputs.
        class_names: what its classes are called, in their order; None if that is not known.
        conformal: of its prediction sets a dict of their `coverage`, the number of `rows` that it
            was measured on, the `score` and its `thresholds`; None if it has none.
    """

    def __init__(self, path: str | os.PathLike):
        path = files.at_home(path)
        description = path / _DESCRIPTION
        if not description.is_file():
            raise FileNotFoundError(
                f"{path} holds no exported student ({_DESCRIPTION} is missing). Write one "
                "with distiller.export(path); other SavedModels load with "
                "tf.saved_model.load."
            )
        try:
            config = json.loads(description.read_text())
            self._model = tf.saved_model.load(str(path))
        except Exception as error:  # TensorFlow has many for damaged files.
            raise ValueError(
                f"The exported student in {path} is damaged or not complete: {error} Export it "
                "again with distiller.export(path)."
            ) from error
        expected = config.pop(_RANGES, {})  # Earlier versions wrote none.
        self._expected = {name: ranges.of_description(each) for name, each in expected.items()}
        columns = config.pop(_COLUMNS, None)
        self.columns = None if columns is None else Columns.from_config(columns)
        names = config.pop(_CLASS_NAMES, None)
        self.class_names = None if names is None else tuple(names)
        self.conformal = config.pop(_CONFORMAL, None)
        self._has_warned = False
        self.output = outputs.get(keras.saving.deserialize_keras_object(config))
        self._serve = self._model.signatures["serving_default"]
        self.input_specs = self._serve.structured_input_signature[1]
        self.parameter_specs = self._serve.structured_outputs
        self.input_names = sorted(self.input_specs)

    def parameters(self, inputs: Any) -> dict[str, tf.Tensor]:
        """Returns the named parameters, as a server would answer them.

        Args:
            inputs: a tensor (batch, ...), or a dict of them by the names of `input_names`. For a
                student with `columns` a `pandas.DataFrame` that has them, or a dict of lists by
                their names; other columns are ignored. Of categories that training did not know
                a warning says how many there are.

        Raises:
            ValueError: if a column is not there, or holds cells of another kind; or if the inputs
                have other names or shapes, are no numbers where numbers are expected, are images
                of whole numbers where the student takes floating point (it learned on images of
                one scale, which the type does not tell), or lie far outside of the range on which
                it learned, where that is known.
        """
        if self.columns is not None:
            return self._serve(**_cells(self.columns, inputs))
        has = f"The student has the inputs {self.input_names}"
        if not isinstance(inputs, dict):
            if len(self.input_names) != 1:
                raise ValueError(f"{has}; give a dict of them.")
            inputs = {self.input_names[0]: inputs}
        if sorted(inputs) != self.input_names:
            raise ValueError(f"{has}; got {sorted(inputs)}.")
        specs = self.input_specs
        tensors = {name: _as(specs[name], inputs[name], name) for name in inputs}
        rows = {name: tensor.shape[0] for name, tensor in tensors.items()}
        if len(set(rows.values()) - {None}) > 1:
            raise ValueError(f"{has}, of one row each for every row; got so many rows: {rows}.")
        for name, expected in self._expected.items():
            if hasattr(tensors[name], "numpy"):  # Not in a graph.
                self._compare(name, expected, tensors[name])
        return self._serve(**tensors)

    def _compare(self, name, expected, tensor):
        """Refuses a batch outside of the range of the training, and warns once of a narrow one."""
        found = ranges.off(expected, tensor)
        if not found or (found == "narrow" and self._has_warned):
            return
        low, high = float(tf.reduce_min(tensor)), float(tf.reduce_max(tensor))
        said = (
            f"The student learned on {expected.words} as input {name!r}, and these lie between "
            f"{low:g} and {high:g}. Give inputs of the scale that it learned on."
        )
        if found == "outside":
            raise ValueError(said)
        self._has_warned = True
        warnings.warn(f"{said} If they are only dark, all is right.", stacklevel=4)

    def __call__(self, inputs: Any) -> Any:
        """Returns the student's distribution (a dict of them for joint outputs)."""
        return self.output.from_parameters(self.parameters(inputs))


def _cells(columns, inputs):
    """The columns of a batch, by their served names."""
    served = columns.served
    if not hasattr(inputs, "keys"):
        raise ValueError(
            f"The student takes a DataFrame, or a dict, with the columns {[*served]}; got "
            f"{type(inputs).__name__}."
        )
    if set(inputs.keys()) == set(served.values()):
        inputs = {name: inputs[its] for name, its in served.items()}
    found = columns.cells(inputs)
    columns.warn_of_unknown(found)
    return {served[name]: tf.convert_to_tensor(cells) for name, cells in found.items()}


def _as(spec, value, name):
    """A value as the tensor that a signature's input takes; ValueError if it can't be one."""
    expected = f"The student's input {name!r} takes {spec.dtype.name} of shape {tuple(spec.shape)}"
    remedy = "Give a batch, with its rows first: x[None] makes one of a single row."
    try:
        tensor = tf.convert_to_tensor(value)
        is_text = tensor.dtype == tf.string
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected}; got what is no tensor: {error}") from error
    if is_text != (spec.dtype == tf.string):
        raise ValueError(f"{expected}; got {tensor.dtype.name}. Give values of that kind.")
    if not spec.shape.is_compatible_with(tensor.shape):
        raise ValueError(f"{expected}; got the shape {tuple(tensor.shape)}. {remedy}")
    is_image = spec.shape.rank == 4 and spec.shape[-1] in (1, 3, 4)
    if is_image and spec.dtype.is_floating and tensor.dtype.is_integer:
        raise ValueError(
            f"The student takes {spec.dtype.name} images as input {name!r}, and got "
            f"{tensor.dtype.name}. Give them as it learned them. If it learned on [0, 1], as with "
            "the commands, divide by 255: tf.cast(images, tf.float32) / 255. If it learned on 0 to "
            "255, cast only: tf.cast(images, tf.float32)."
        )
    return tf.cast(tensor, spec.dtype)


def load_student(path: str | os.PathLike) -> ExportedStudent:
    """Reads an exported student back.

    Args:
        path: the directory that `Distiller.export` or `export_student` wrote.

    Raises:
        FileNotFoundError: if `path` was not written by `export`.
        ValueError: if its files are damaged.
    """
    return ExportedStudent(path)
