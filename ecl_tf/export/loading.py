"""Reads an exported student back, and asks it."""

import os
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf._internal import files, first_layers, own_inputs, ranges, whole_numbers
from ecl_tf.data.columns import Category, Columns, Number
from ecl_tf.export import litert, onnx_files, running, saved_model, served


class ExportedStudent:
    """What `export` wrote, as a callable: a batch of inputs to a distribution.

    Args:
        path: the directory of a SavedModel, or the LiteRT or ONNX file.
        threads: of LiteRT or ONNX Runtime; None, the default, leaves the number to them.

    Attributes:
        output: the `ecl_tf.outputs.Output` of the student.
        input_names: the names of its inputs.
        input_specs: the `tf.TensorSpec` of each, by name.
        parameter_specs: the `tf.TensorSpec` of each parameter that it answers with, by name.
        columns: the `ecl_tf.data.Columns` of the table that it takes; None for other inputs.
        class_names: what its classes are called, in their order; None if that is not known.
        target_units: what its numbers are measured in, as `export` was given it; None if that is
            not known.
        conformal: of its prediction sets a dict of their `coverage`, the number of `rows` that it
            was measured on, the `score` and its `thresholds`; None if it has none.
        counts: a dict of the student's `parameters`, the number of its weights, and of its
            `multiply_adds` for a row; None for what is not known, as of files of earlier versions.
        runner: what answers named arrays with named arrays, without a look at either.
    """

    def __init__(self, path: str | os.PathLike, threads: int | None = None):
        path = files.at_home(path)
        if not path.exists():
            raise FileNotFoundError(f"There is no exported student at {path}.")
        kind: Any = saved_model
        if path.is_file():
            is_litert = litert.is_one(path)
            if path.suffix == litert.SUFFIX and not is_litert:
                raise ValueError(
                    f"{path} is damaged, or no LiteRT file: it does not begin as one. Export the "
                    "student again, or give another copy of the file."
                )
            kind = litert if is_litert else onnx_files
            if path.suffix == ".keras":
                raise FileNotFoundError(
                    f"{path} is Keras's own file of a network, and no exported student; "
                    "keras.models.load_model reads it. Write one with distiller.export(path)."
                )
        remedy = "Export it again with distiller.export(path)."
        config: Any = None
        try:
            config = kind.description(path)
            if config is not None:
                self.runner = kind.Runner(path, config, threads)
                self._describe(config)
                output_class = config["class_name"]
            elif path.suffix == getattr(kind, "SUFFIX", None):
                kind.require_whole(path)  # What is cut off ends without the description.
        except ImportError:
            raise
        except Exception as error:  # Every runtime has many for damaged files.
            raise ValueError(
                f"The exported student in {path} is damaged or not complete. {remedy}"
            ) from error
        if config is None:
            raise FileNotFoundError(
                f"{path} holds no exported student ({kind.MISSING}). Write one with "
                f"distiller.export(path); {kind.OTHERS}."
            )
        if kind is not saved_model and not kind.is_as_written(path):  # TensorFlow sums up its own.
            warnings.warn(
                f"{path} is damaged, or another program has changed it: it has other bytes than "
                f"when it was written, so it may answer otherwise. {remedy}",
                stacklevel=3,
            )
        self._has_warned = self._has_warned_of_nan = False
        try:
            self.output = outputs.get(keras.saving.deserialize_keras_object(config))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The exported student in {path} has an output of the class {output_class!r}, "
                "which can't be made here. Import the module that defines it; if ecl_tf does, "
                "update ecl_tf."
            ) from error
        self.input_specs = self.runner.input_specs
        self.parameter_specs = self.runner.parameter_specs
        self.input_names = sorted(self.input_specs)

    def _describe(self, config):
        """Takes what it tells out of a description, which leaves the output's configuration."""
        for own in (served.INPUTS, served.PARAMETERS):
            config.pop(own, None)
        expected = config.pop(served.RANGES, {})  # Earlier versions wrote none.
        self._expected = {
            name: first_layers.of_description(each) for name, each in expected.items()
        }
        columns = config.pop(served.COLUMNS, None)
        self.columns = None if columns is None else Columns.from_config(columns)
        names = config.pop(served.CLASS_NAMES, None)
        self.class_names = None if names is None else tuple(names)
        self.target_units = config.pop(served.TARGET_UNITS, None)
        self.conformal = config.pop(served.CONFORMAL, None)
        unknown = dict.fromkeys(served.COUNTED)
        self.counts = {**unknown, **config.pop(served.COUNTS, {})}

    def parameters(self, inputs: Any) -> dict[str, tf.Tensor]:
        """Returns the named parameters, as a server would answer them.

        Args:
            inputs: a tensor (batch, ...), or a dict of them by the names of `input_names`. For a
                student with `columns` a `pandas.DataFrame` that has them, or a dict of lists by
                their names; other columns are ignored. Of categories that training did not know
                a warning says how many there are. Of other inputs that hold NaN or Inf it warns
                once.

        Raises:
            ValueError: if a column is not there, or holds cells of another kind; or if the inputs
                have other names or shapes, are no numbers where numbers are expected, are images
                of whole numbers where the student takes floating point (it learned on images of
                one scale, which the type does not tell), are fractions or numbers that its type
                does not hold, or lie far outside of the range on which it learned, where that is
                known, as ids do that its embedding does not know; and in a `tf.function`, if a
                LiteRT or ONNX file is asked.
        """
        if self.columns is not None:
            found = self.columns.cells(_named(self.columns, inputs))
            self._compare_amounts(self.columns, found)
            return running.run(self.runner, _served(self.columns, found))
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
        self._warn_of_nan(tensors)
        for name, expected in self._expected.items():
            if hasattr(tensors[name], "numpy"):  # Not in a graph.
                self._compare(name, expected, tensors[name])
        return running.run(self.runner, tensors)

    def _warn_of_nan(self, tensors):
        """Warns once of values that are no numbers, to which networks give answers all the same."""
        if self._has_warned_of_nan:
            return
        for name, tensor in tensors.items():
            if tensor.dtype.is_floating and hasattr(tensor, "numpy"):  # Not in a graph.
                if np.isfinite(tensor.numpy().astype("float32", copy=False)).all():
                    continue
                self._has_warned_of_nan = True
                warnings.warn(
                    f"The input {name!r} holds NaN or Inf, and the student may answer with numbers "
                    "all the same. Leave out these rows, or fill them in.",
                    stacklevel=4,
                )
                return

    def _compare_amounts(self, columns, found):
        """`_compare`, of the columns that are numbers; dates go on with time."""
        amounts = [spec for spec in columns.specs if not isinstance(spec, Category)]
        places = [n for n, spec in enumerate(amounts) if isinstance(spec, Number)]
        names = [amounts[place].name for place in places]
        for expected in self._expected.values() if names else ():
            if getattr(expected, "is_range", True) or expected.mean.size < len(amounts):
                continue
            # Numbers and dates come first in a row.
            of_numbers = (np.ravel(each)[places] for each in (expected.mean, expected.spread))
            tensor = tf.stack([found[name] for name in names], 1)
            self._compare("", first_layers.of_features(*of_numbers), tensor, names)

    def _compare(self, name, expected, tensor, features=None):
        """Refuses a batch outside of the range of the training, and warns once of a narrow one.

        Of features it warns only: a batch may hold just the rows of a rare event.
        """
        is_id = isinstance(expected, whole_numbers.Whole)
        are_features = not is_id and not expected.is_range
        if are_features and (self._has_warned or not len(tensor)):
            return
        found = ranges.off(expected, tensor)
        if are_features:  # That which is farthest away is shown.
            place, expected, tensor, is_far = _farthest(expected, np.asarray(tensor))
            name = features[place] if features else f"{name}[..., {place}]"
            found = found or is_far
        is_refused = found == "outside" and not are_features
        if not found or (self._has_warned and not is_refused):
            return
        low, high = (float(bound(tensor)) for bound in (np.nanmin, np.nanmax))
        said = (
            f"The student learned on {expected.words} as input {name!r}, and these lie between "
            f"{low:g} and {high:g}. "
            + ("It knows no others." if is_id else "Give inputs of the scale that it learned on.")
        )
        if is_refused:
            raise ValueError(said)
        self._has_warned = True
        are = "rows that are alike" if are_features else "only dark"
        warnings.warn(f"{said} If they are {are}, all is right.", stacklevel=4)

    def __call__(self, inputs: Any) -> Any:
        """Returns the student's distribution (a dict of them for joint outputs)."""
        return self.output.from_parameters(self.parameters(inputs))


def _farthest(expected, values):
    """Of all features that which is farthest from what is expected.

    Returns:
        Its place, what is expected of it, its values, and whether nearly all rows, of eight or
        more, are more than 30 standard deviations away.
    """
    deviations = np.nan_to_num(np.abs(values - expected.mean) / expected.spread)
    deviations = deviations.reshape(-1, values.shape[-1])
    place = int(deviations.mean(0).argmax())
    share = (deviations > ranges.FAR).mean(0).max()
    is_far = len(values) >= ranges.FEWEST_ROWS and bool(share > 0.9)
    its = first_layers.of_features(
        *(
            np.broadcast_to(each, (1, *values.shape[1:]))[..., place]
            for each in (expected.mean, expected.spread)
        )
    )
    return place, its, values[..., place], is_far


def _named(columns, inputs):
    """The columns of a batch, by their own names, of which others are left as they are."""
    served = columns.served
    if not hasattr(inputs, "keys"):
        raise ValueError(
            f"The student takes a DataFrame, or a dict, with the columns {[*served]}; got "
            f"{type(inputs).__name__}."
        )
    if set(inputs.keys()) == set(served.values()):
        inputs = {name: inputs[its] for name, its in served.items()}
    return inputs


def _served(columns, found):
    """The cells of the columns as tensors, by their served names."""
    columns.warn_of_unknown(found)
    served = columns.served
    return {served[name]: tf.convert_to_tensor(cells) for name, cells in found.items()}


def _as(spec, value, name):
    """A value as the tensor that a signature's input takes; ValueError if it can't be one."""
    expected = f"The student's input {name!r} takes {spec.dtype.name} of shape {tuple(spec.shape)}"
    remedy = "Give a batch, with its rows first: x[None] makes one of a single row."
    if kind := own_inputs.not_dense(value):
        raise ValueError(f"{expected}; got a {kind} one. {own_inputs.DENSE[kind]}")
    try:
        tensor = tf.convert_to_tensor(own_inputs.arrays_of_frames(value)[0])
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
    is_whole = spec.dtype.is_integer or spec.dtype.is_bool
    is_known = is_whole and hasattr(tensor, "numpy")  # Not in a graph.
    if is_known and not tensor.dtype.is_bool and tensor.dtype != spec.dtype:
        held = whole_numbers.of_type(spec.dtype)
        if whole_numbers.are_others(held, tensor):
            raise ValueError(
                f"{expected}; got {tensor.dtype.name}, of which some are none of the {held.words} "
                "that this type holds. Give numbers as the student learned them."
            )
    return tf.cast(tensor, spec.dtype)


def is_exported(path: str | os.PathLike) -> bool:
    """Whether a path is a SavedModel, a LiteRT or an ONNX file, rather than one of Keras.

    Args:
        path: of what is there, or not.
    """
    path = files.at_home(path)
    suffixes = (litert.SUFFIX, onnx_files.SUFFIX)  # Of damaged files, too.
    return path.is_dir() or (path.is_file() and (path.suffix in suffixes or litert.is_one(path)))


def load_student(path: str | os.PathLike) -> ExportedStudent:
    """Reads an exported student back.

    Args:
        path: what `Distiller.export` or `export_student` wrote: the directory of a SavedModel, or
            the LiteRT or ONNX file.

    Raises:
        FileNotFoundError: if `path` was not written by `export`.
        ImportError: if the package that runs such a file is not installed.
        ValueError: if its files are damaged.
    """
    return ExportedStudent(path)
