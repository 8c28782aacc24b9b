"""What a network costs whoever serves it: bytes, multiply-adds, and time on one core."""

import functools
import math
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import (
    batches,
    files,
    keras_files,
    multiply_adds,
    own_inputs,
    probing,
    processor_time,
    symbolic,
)
from ecl_tf._internal.quantized_model import QuantizedModel
from ecl_tf.export.loading import ExportedStudent, is_exported
from ecl_tf.teachers import Teacher


def costs(
    model: keras.Model | str | os.PathLike,
    examples: Any = None,
    *,
    batch_sizes: Sequence[int] = (1, 32),
    seconds: float = 0.4,
) -> dict[str, float | int | None]:
    """Measures what a student, a teacher or an exported file costs whoever serves it.

    Time is the processor time of one core for a row, the median of calls after a warm-up: what
    TensorFlow, LiteRT or ONNX Runtime takes in Python, with one thread, from NumPy arrays to
    answers. It is without the checks of `load_student`, which a server does not make either. Of a
    Keras model it is that of its call as a SavedModel, of a teacher that of its distribution's
    parameters. Other programs on the machine hardly change it. For what TensorFlow runs a process
    of one core is started, which takes some seconds; functions of Python run in this one.

    Multiply-adds are those of matrix products and convolutions for one row, for example:

        Dense    inputs * units
        Conv2D   pixels of the output * pixels of the kernel * channels in * channels out

    Biases, activations and normalisations have none. A file in 8 bits has those of the network.

    Args:
        model: a Keras model, a `Distiller` (for its student), an `ecl_tf.Teacher`; or the path of a
            .keras file, or of what `export` wrote.
        examples: a batch of inputs, arrays as the model takes them, to measure with; of an exported
            student an array, or a dict by its names. None, the default, makes them up, with 32 for
            sizes that are not fixed.
        batch_sizes: how many rows are asked about at a time; by default 1 and 32.
        seconds: how long calls are repeated for each of them, 0.4 by default; at least 5 are made.

    Returns:
        A dict, which JSON can hold, of `bytes`: of the file, of all files of a SavedModel but its
        fingerprint.pb, or of the .keras file that a model in memory would be; `parameters`: the
        number of weights, those that are not trained among them; `multiply_adds`; and `seconds` of
        a row, a dict by how many are asked about at a time, "1" and "32". None stands for what
        can't be known: all but the time of a teacher that is a function, and the multiply-adds of
        loops, of inputs without a fixed size, of functions of Python, and of exports of earlier
        versions.

    Raises:
        FileNotFoundError: if there is no file at the path.
        ImportError: if the package that runs the file is not installed.
        RuntimeError: if TensorFlow can't run the model in a process of its own.
        ValueError: if the file is damaged, or the inputs of a model are not known and no
            `examples` are given.

    Example:
    >>> import ecl_tf
    >>> student = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    >>> path = os.path.join(tempfile.mkdtemp(), "student.tflite")
    >>> ecl_tf.export_student(student, ecl_tf.outputs.Categorical(), path, format="litert")
    >>> found = costs(path)
    >>> found["parameters"], found["multiply_adds"]  # 8 * 3 and 3 biases; 8 * 3.
    (27, 24)
    >>> found["bytes"] == os.path.getsize(path) and found["seconds"]["1"] > 0.0
    True
    """
    about = {"": (model, examples)}
    return costs_of_all(about, batch_sizes=batch_sizes, seconds=seconds)[""]


def costs_of_all(
    models: Mapping[str, tuple[Any, Any]],
    *,
    batch_sizes: Sequence[int] = (1, 32),
    seconds: float = 0.4,
) -> dict[str, dict[str, float | int | None]]:
    """`costs` of several, by any names, for which one process is started.

    Args:
        models: pairs of a model and examples, as there.
        batch_sizes: as there; by default 1 and 32.
        seconds: as there; 0.4 by default.
    """
    found, elsewhere = {}, {}
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        for number, (name, (model, examples)) in enumerate(models.items()):
            place = pathlib.Path(directory, str(number))
            found[name], run, rows = _of(model, examples, place)
            if isinstance(run, pathlib.Path):
                elsewhere[name] = run, rows
                continue
            times[name] = []
            for count in batch_sizes:
                some = {key: processor_time.batch(each, count) for key, each in rows.items()}
                call = functools.partial(run, **some)
                times[name].append(processor_time.of_call(call, seconds))
        times |= processor_time.of_saved_models(elsewhere, batch_sizes, seconds)
    for name, counts in found.items():
        taken = zip(batch_sizes, times[name], strict=True)
        counts["seconds"] = {str(count): each / count for count, each in taken}
    return found


def _of(model, examples, place):
    """What a model is counted as, what runs it, and a row or more of its inputs, by name.

    What runs it is a SavedModel, or a function where that would not do.
    """
    own_inputs.require_arrays(examples, "costs")
    if isinstance(model, keras.Model):
        return _of_model(model, examples, place)
    path = files.at_home(model)
    if is_exported(path):
        return _of_export(path, examples)
    counts, *others = _of_model(keras_files.load(path), examples, place)
    return {**counts, "bytes": _bytes(path)}, *others


def _of_export(path, examples):
    student = ExportedStudent(path, threads=1)
    inputs = student.input_specs
    if examples is not None:
        given = examples if isinstance(examples, dict) else {student.input_names[0]: examples}
        if student.columns is not None and student.columns.are_in(examples):
            found = student.columns.cells(examples)
            given = {student.columns.served[name]: its for name, its in found.items()}
        # In the types that the file takes, as `load_student` gives them.
        inputs = {
            name: given[name] if spec.dtype == tf.string else tf.cast(given[name], spec.dtype)
            for name, spec in inputs.items()
        }
    rows = {name: _row(leaf) for name, leaf in inputs.items()}
    run = student.runner if student.runner.on_host else path
    return {"bytes": _bytes(path), **student.counts}, run, rows


def _of_model(model, examples, place):
    model = getattr(model, "student", model)  # A distiller's.
    inputs = examples
    if inputs is None:
        inputs = symbolic.inputs_of(getattr(model, "members", [model])[0])
    if inputs is None:
        raise ValueError(
            f"The inputs of {model.name!r} are not known. Give some: costs(model, examples=x)."
        )

    def answers(rows):
        if isinstance(model, Teacher):
            return model.output_kind.parameters(model.distribution(rows))
        return {"raw": model(own_inputs.of(model, rows), training=False)}

    def answers_by_name(**named):
        return answers(keras.tree.pack_sequence_as(inputs, [named[name] for name in names]))

    names = [f"input_{number}" for number in range(len(keras.tree.flatten(inputs)))]
    rows = dict(zip(names, map(_row, keras.tree.flatten(inputs)), strict=True))
    specs = zip(names, keras.tree.flatten(batches.specs(inputs)), strict=True)
    graph = tf.function(answers_by_name, autograph=False).get_concrete_function(
        **{name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs}
    )
    counted = model.network if isinstance(model, QuantizedModel) else model  # Without its ranges.
    weights = sum(math.prod(weight.shape) for weight in counted.weights)
    counts = {
        "bytes": _bytes_of_file(model) if weights else None,
        "parameters": weights or None,
        "multiply_adds": multiply_adds.of_a_row(answers, inputs),
    }
    return counts, _written(graph, model, place), rows


def _written(graph, model, place):
    """A SavedModel of a graph; or a function of arrays, if parts of it are functions of Python."""
    if multiply_adds.needs_python(graph.graph):
        return lambda **rows: graph(**{name: tf.constant(each) for name, each in rows.items()})
    module = tf.Module()
    module.model, module.its_variables = model, graph.variables  # A file holds what it knows of.
    tf.saved_model.save(module, str(place), signatures=graph)
    return place


def _bytes(path):
    parts = path.rglob("*") if path.is_dir() else [path]
    # TensorFlow's hashes of a SavedModel have another size at each writing, of about 100 bytes.
    parts = [part for part in parts if part.is_file() and part.name != "fingerprint.pb"]
    return sum(part.stat().st_size for part in parts)


def _bytes_of_file(model):
    """Those of a model's .keras file; None for a teacher of a user's that can't be saved."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "model.keras")
        try:
            model.save(path)
        except (NotImplementedError, TypeError, ValueError):
            return None
        return _bytes(path)


def _row(leaf):
    """Rows of an input: those that are given, or one that is made up."""
    if not isinstance(leaf, (keras.KerasTensor, tf.TensorSpec)):
        return tf.constant(leaf).numpy()
    shape = [1, *(probing.UNKNOWN_SIZE if size is None else size for size in leaf.shape[1:])]
    dtype = tf.as_dtype(leaf.dtype)
    if dtype == tf.string:
        return np.full(shape, b"", object)
    if not dtype.is_floating:  # Ids, of which the first one is there in any table.
        return np.zeros(shape, dtype.as_numpy_dtype)
    return np.random.default_rng(0).random(shape).astype(dtype.as_numpy_dtype)
