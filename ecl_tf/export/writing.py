"""Writes a student, once its file answers as the student does."""

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import keras

from ecl_tf import outputs
from ecl_tf._internal import (
    extras,
    files,
    finite,
    first_layers,
    identity,
    legacy,
    own_inputs,
    probabilities,
    require,
    symbolic,
    whole_numbers,
)
from ecl_tf._internal.fake_quantization import FakeQuantized
from ecl_tf.data.columns import Columns
from ecl_tf.export import litert, onnx_files, parity, quantizing, running, saved_model
from ecl_tf.export.served import LackingError, Served, signature
from ecl_tf.prediction_sets import PredictionSets

FORMATS: dict[str, Any] = {"saved_model": saved_model, "litert": litert, "onnx": onnx_files}
_OTHER_NAMES = {"tf_saved_model": "saved_model"}  # Keras's.


def export_student(
    student: keras.Model,
    output: outputs.Output | str,
    path: str | os.PathLike,
    inputs: Any = None,
    columns: Columns | None = None,
    class_names: Sequence[str] | None = None,
    conformal: PredictionSets | None = None,
    *,
    format: str = "saved_model",
    target_units: Any = None,
    examples: Any = None,
    quantization: str | None = None,
) -> None:
    """Writes a student as a SavedModel, a LiteRT file or an ONNX file, for those who serve it.

    In every format it takes the student's inputs by name, at any batch size, and returns the named
    parameters of its distribution: `probabilities`; or `mean` and `stddev`. A joint output's have
    the output's name and an underscore before them. With `conformal` it also returns `lower` and
    `upper`, or `prediction_set`. Of a SavedModel or LiteRT file that is the signature
    `serving_default`.

    An input has the name that was given to its `keras.Input`, or its key in a dict of inputs.
    One without a name is `inputs`, and in a list of several `inputs_0`, `inputs_1`, and so on. So
    the same student has the same names whenever it is made, loaded or exported. Spaces and other
    characters than letters, digits, dots, dashes, slashes and underscores become underscores.

    With `columns` it takes those of a table as they are, each (batch,) by its name: numbers and
    dates, in days since 1970-01-01, as float32, with NaN for a missing one; categories as text.
    Where a name has other characters than letters, digits, dots and underscores these are
    underscores. `load_student` takes the table's own names, and a `pandas.DataFrame`.

    Before a file takes its place it is loaded, and its answers are compared with the student's, at
    two batch sizes: they may differ by 1e-5 of the largest value of a parameter, or of 1 if that
    is larger. Layers of half precision compute in float32 in LiteRT and ONNX, and may differ by
    eight times their rounding error.

    An earlier export at the same place is replaced once the new one is complete. A directory of
    other files is left as it is: a SavedModel is written to `student` in there, and a warning says
    so, because a long training should not be lost at its last line.

    Args:
        student: a Keras model giving raw outputs; of a `Distiller` its student.
        output: its `ecl_tf.outputs.Output`, typically a distiller's `output_kind`, or its name.
        path: the directory to write; of LiteRT a file called *.tflite, of ONNX one called *.onnx.
        inputs: specs of a batch of inputs, for a student without symbolic inputs; None, the
            default, for others.
        columns: the `ecl_tf.data.Columns` of the table that it learned on, which encode its rows:
            `Splits.columns`. None, the default, for a student of other inputs.
        class_names: what the classes are called, in their order, for those who load the student:
            `Splits.class_names`. None, the default, if that is not known.
        conformal: what `ecl_tf.conformal` measured of this student; None, the default, for no
            prediction sets.
        format: "saved_model", the default, "litert" or "onnx". The latter two need
            `pip install "ecl_tf[export]"`.
        target_units: what the numbers are measured in, for those who load the student, such as
            "EUR"; of several targets a list of as many texts, of named outputs a dict by their
            names. Classes have none. None, the default, if that is not known.
        examples: a batch of inputs, as the student takes them (of `columns` encoded rows), on which
            the file is compared with the student. None, the default, makes eight rows up, in the
            inputs' range where that is known; where these can't be answered, a warning says that
            nothing was compared.
        quantization: "float16" or "int8" makes a LiteRT file smaller; None, the default, writes
            all in float32. "float16" halves the weights; what computes is float32. "int8" has
            weights and activations of 8 bits, with the ranges that the activations have on
            `examples`, which should be some hundreds of typical rows. The file answers as the
            student rounded in this way, to within two steps of its raw output. A warning says by
            how much its answers differ where rounding changes the raw output by more than a
            quarter of how far it lies from its median over the examples (medians of both), as an
            outlier among these makes it, or where there are fewer than 16 rows. What was trained
            with `Distiller(quantization="int8")` loses less, and is exported by its `export`.

    Raises:
        ImportError: if the format needs a package that is not installed.
        ValueError: if the format is not one of these, or the path has the suffix of another one;
            there is not one unit for each target; the shapes of the student's inputs are not known,
            two inputs would have the same name, the student answers with probabilities, a weight or
            an example is NaN or infinite; the format lacks an operation of the student, or what was
            written would answer otherwise than the student; or if `path` is a file of somebody
            else, or a directory with an earlier export and other files as well.

    Example:
    >>> import tempfile
    >>> import ecl_tf
    >>> student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> directory = tempfile.mkdtemp()
    >>> ecl_tf.export_student(student, outputs.Categorical(), directory)
    >>> exported = ecl_tf.load_student(directory)
    >>> exported.input_names
    ['inputs']
    >>> exported([[0.0] * 4] * 5).batch_shape
    TensorShape([5])
    """
    about = {"columns": columns, "class_names": class_names, "conformal": conformal}
    how = {"format": format, "target_units": target_units, "examples": examples}
    output = outputs.get(output)
    outputs.joint.require_fit(output, student)
    student = getattr(student, "student", student)  # A distiller's.
    batches = quantizing.parted(examples, student)
    prepared = quantizing.prepared(student, quantization, batches, output)
    write(student, output, path, inputs, **about, **how, quantization=prepared)


def write(
    student,
    output,
    path,
    inputs=None,
    others=None,
    columns=None,
    class_names=None,
    conformal=None,
    format="saved_model",
    target_units=None,
    examples=None,
    quantization=None,
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
        format: as there; "saved_model" by default.
        target_units: as there; None by default.
        examples: as there; None by default.
        quantization: what `quantizing.prepared` gave; None by default.
    """
    kind = _kind_of(format)
    is_litert = kind is FORMATS["litert"]
    if quantization is not None and not is_litert:
        raise ValueError(
            f'quantization needs format="litert"; got format={format!r}. {kind.NAME} holds the '
            "student in float32: leave quantization out."
        )
    if examples is not None:
        examples = own_inputs.of(student, quantizing.require_examples(examples, student))
    given = student
    student, quantization = quantizing.of_trained(student, quantization, is_litert)
    for module, package in kind.PACKAGES.items():
        extras.require(module, package, f"An export to {kind.NAME}", "export")
    legacy.refuse(student, "student")
    known = symbolic.inputs_of(getattr(student, "members", [student])[0])
    inputs = inputs if known is None else known
    if inputs is None:
        raise ValueError(
            f"The inputs of student {student.name!r} are not known. Fit the distiller first, "
            "or build the student as a functional or sequential model."
        )
    output = outputs.get(output)
    if target_units is not None:
        _require_units(target_units, output)
    if conformal is not None:
        _require_sets_of(conformal, student, output, quantization, given)
    asked = inputs if known is None else None
    shape = symbolic.shape_for(output, student, "student", asked)
    outputs.joint.require_shape(output, shape)
    if class_names is not None:
        is_one_of_them = output.family == "categorical" and shape
        class_names = require.class_names(class_names, shape[-1] if is_one_of_them else None)
    finite.require_weights(student, "student")
    probabilities.require_logits(output, student, "student", asked)
    if columns is not None:
        _require_encoded(inputs, columns, student)
    specs = signature(inputs, student)
    expected = _expected(student, others, specs)
    known_of_inputs = {**_ids(student, specs), **expected}
    ranges = {name: first_layers.described(each) for name, each in known_of_inputs.items()}
    about = columns, class_names, target_units, conformal, quantization
    served = Served(student, output, specs, ranges, *about)
    place = kind.place(files.at_home(path).resolve())
    _write_compared(served, kind, place, expected, examples)


def _kind_of(format):
    """The module that writes a format."""
    name = _OTHER_NAMES.get(format, format)
    if name not in FORMATS:
        raise ValueError(
            f"A student is exported as one of {sorted(FORMATS)}, a SavedModel if nothing is said; "
            f"got format={format!r}."
        )
    return FORMATS[name]


def _write_compared(served, kind, place, expected, examples):
    """Writes a file that takes its place once it answers as the student does."""
    with kind.whole(place) as temporary:
        try:
            kind.write(served, temporary)
        except LackingError as error:
            sizes = [n for spec in keras.tree.flatten(served.inputs) for n in spec.shape[1:]]
            fixed = "Build it with keras.Input of fixed sizes, whose own are open. "
            raise ValueError(
                f"{kind.NAME} can't hold the student {served.student.name!r}: {error}. "
                f"{fixed * (None in sizes)}Nothing was "
                'written. Give format="saved_model", or take the layer that needs them out of the '
                "student and in front of it."
            ) from error
        with _blaming(kind.NAME):
            runner = kind.Runner(temporary, kind.description(temporary))

        def ask(tensors):
            with _blaming(kind.NAME):
                return running.run(runner, tensors)

        parity.require(served, ask, expected, examples, kind.NAME)


@contextlib.contextmanager
def _blaming(name):
    """Says of any error that the file can't be run."""
    try:
        yield
    except Exception as error:  # Every runtime has exceptions of its own.
        raise ValueError(
            f"The {name} of the student can't be run: {error} Nothing was written. Give "
            'format="saved_model", and report the layers of the student.'
        ) from error


def _require_units(units, output):
    """Raises ValueError unless there is a text for each target, and none for classes."""
    kinds, given = {"": output}, {"": units}
    if isinstance(output, outputs.Joint):
        kinds, given = output.outputs, units
        if not isinstance(units, dict) or not units.keys() <= kinds.keys():
            raise ValueError(
                f"target_units of named outputs takes a dict by their names, {sorted(kinds)}; got "
                f"{units!r}."
            )
    for name, its in given.items():
        size, of = getattr(kinds[name], "size", None), f" of output {name!r}" if name else ""
        if size is None:
            raise ValueError(
                f"target_units{of} are those of numbers, and {kinds[name]!r} has none; got "
                f"{its!r}. Leave them out."
            )
        texts = [its] if isinstance(its, str) else its
        is_list = isinstance(texts, (list, tuple)) and all(isinstance(each, str) for each in texts)
        if not is_list or len(texts) != size:
            expected = "a text" if size == 1 else f"a list of {size} texts"
            raise ValueError(f"target_units{of} takes {expected}; got {its!r}.")


def _require_sets_of(conformal, student, output, quantization, given):
    """Raises ValueError unless prediction sets were measured of this student, as it is served."""
    if not isinstance(conformal, PredictionSets):
        raise ValueError(
            f"conformal takes what ecl_tf.conformal(student, x, y) measured; got {conformal!r}."
        )
    if conformal.output != output:
        raise ValueError(
            f"The prediction sets were measured for {conformal.output!r}, and the student's output "
            f"is {output!r}. Measure them again: ecl_tf.conformal(student, x, y, output=...)."
        )
    if isinstance(quantization, FakeQuantized):
        raise ValueError(
            "Prediction sets have their coverage for the student in float32, on which they are "
            "measured, and not for its answers in 8 bits. Leave conformal out, or export without "
            "8 bits."
        )
    if given is not student and conformal.weights == identity.fingerprint_of_models([given]):
        raise ValueError(
            f"The prediction sets were measured on the student {given.name!r} in 8 bits, and this "
            "format holds its network in float32. Measure them on that: "
            "ecl_tf.conformal(student.network, x, y)."
        )
    conformal.require_student(student)


def _require_encoded(inputs, columns, student):
    """Raises ValueError if a student is for other rows than columns are encoded to."""
    shapes = keras.tree.map_structure(lambda tensor: tuple(tensor.shape[1:]), inputs)
    if shapes != columns.shape:
        raise ValueError(
            f"The student {student.name!r} takes inputs of shape {shapes}, and the columns are "
            f"encoded as {columns.shape}. Give those of the table that it was trained on."
        )


def _expected(student, others, specs):
    """What is expected of the inputs in training, as far as that is known, by name."""
    if symbolic.inputs_of(student) is None:
        return {}
    if others is None:  # It was trained somewhere.
        found = first_layers.expected_by(student)
    else:
        found = first_layers.expected_in_training(student, others)
    names = {path: spec.name for path, spec in keras.tree.flatten_with_path(specs)}
    return {names[path]: each for path, each in found.items()}


def _ids(student, specs):
    """The ids that the student's embeddings know, by the names of inputs that are such ids."""
    own = symbolic.inputs_of(student)
    if own is None:
        return {}
    pairs = zip(keras.tree.flatten(own), keras.tree.flatten(specs), strict=True)
    found = {spec.name: whole_numbers.known_ids(student, tensor) for tensor, spec in pairs}
    return {name: ids for name, ids in found.items() if ids}
