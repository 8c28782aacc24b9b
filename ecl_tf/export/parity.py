"""Compares a student's file with the student."""

import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import probing
from ecl_tf.data.columns import Category, Columns
from ecl_tf.export import quantizing
from ecl_tf.export.served import Served

_ROWS, _MOST = 8, 256  # Made up, and of those that are given.
_TOLERANCE = 1e-5
# Half precision rounds in every layer, by so much.
_ROUNDING = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
_OF_ROUNDING = 8.0


def require(
    served: Served, run: Callable[..., Any], expected: Mapping[str, Any], examples: Any, name: str
) -> None:
    """Raises ValueError if a file answers otherwise than its student.

    Args:
        run: asks the file: from named tensors to named arrays.
        expected: the `first_layers.Expected` of the inputs that are known, by name.
        examples: a batch of inputs, or None to make one up.
        name: of the format, for the message.
    """
    batch = _batch(served, expected, examples)
    answered = None
    if batch is not None:
        batch = keras.tree.map_structure(lambda leaf: leaf[:_MOST], batch)
        answered = _answers(served, batch, examples is not None)
    if answered is None:
        warnings.warn(
            f"The {name} was not compared with the student {served.student.name!r}, which has no "
            "answers to made-up inputs, or other ones each time. Give "
            "export(..., examples=x) a batch of inputs.",
            stacklevel=4,
        )
        return
    _require_numbers(answered, served.student, examples is not None)
    tolerance = _tolerance(served.student)
    rows = batch if served.columns is None else served.columns.encode_cells(batch)
    of_bits = quantizing.allowed(served, rows, answered, _difference)
    largest = _largest(answered)
    for count in {1, len(next(iter(answered.values())))}:
        tensors = {key: value[:count] for key, value in _served(served, batch).items()}
        found = run(tensors)
        for key, value in answered.items():
            # Limits of counts are rounded to whole numbers.
            is_rounded = key.endswith(("lower", "upper"))
            off = _difference(np.asarray(found[key]), value[:count], is_rounded, largest[key])
            allowed = max(tolerance, of_bits[key])
            if not off <= allowed:
                raise ValueError(
                    f"The {name} would answer otherwise than the student "
                    f"{served.student.name!r}: its {key!r} is off by {off:.2g} of the largest "
                    f"value with {count} rows, and {allowed:.2g} is allowed. Nothing was "
                    'written. Give format="saved_model", and report the layers of the student.'
                )


def _batch(served, expected, examples):
    """Inputs of the student, or cells of its columns; None if none can be made."""
    if served.columns is not None:
        columns = served.columns
        return _cells(columns) if examples is None else columns.decode(examples)
    if examples is not None:
        if type(examples) in (list, tuple) and isinstance(served.inputs, (list, tuple)):
            examples = type(served.inputs)(examples)
        try:
            return keras.tree.map_structure(_cast, served.inputs, examples)
        except (TypeError, ValueError) as error:  # Of inputs that only `inputs` tells.
            raise ValueError(
                f"examples must be a batch of the student's inputs, {served.inputs}: {error}"
            ) from error
    highest = probing.highest_whole_number(served.student)
    random = np.random.default_rng(0)
    try:
        return keras.tree.map_structure(
            lambda spec: _made_up(spec, expected.get(spec.name), highest, random), served.inputs
        )
    except TypeError:
        return None


def _cast(spec, values):
    return tf.cast(values, spec.dtype)


def _made_up(spec, expected, highest, random):
    """Rows of an input, within its range or about its mean where these are known."""
    shape = [_ROWS, *(probing.UNKNOWN_SIZE if n is None else n for n in spec.shape[1:])]
    if not spec.dtype.is_floating or (highest is not None and expected is None):
        return probing.rows(tf.TensorSpec(shape, spec.dtype), highest, random)
    if expected is None:
        return tf.cast(random.normal(size=shape), spec.dtype)
    of_unit = random.uniform(-2.0, 2.0, shape)
    return tf.cast(expected.mean + expected.spread * of_unit, spec.dtype)


def _cells(columns: Columns):
    """Cells of a table, a missing number and an unknown category among them."""
    random, found = np.random.default_rng(0), {}
    for spec in columns.specs:
        if isinstance(spec, Category):
            texts = [*spec.values[: _ROWS - 1], "an unknown one"]
            found[spec.name] = np.array(np.resize(texts, _ROWS), object)
        else:
            values = spec.mean * random.uniform(0.5, 1.5, _ROWS)
            values[0] = np.nan
            found[spec.name] = values.astype("float32")
    return found


def _answers(served, batch, is_given):
    """The student's own answers; None if it has none to made-up inputs, or other ones each time."""

    def ask():
        rows = batch if served.columns is None else served.columns.encode_cells(batch)
        return {key: np.asarray(value) for key, value in served.answers(rows).items()}

    try:
        first, second = ask(), ask()
    except Exception:  # A user's layers may want anything of their inputs.
        if is_given:
            raise
        return None
    same = all(np.array_equal(first[key], second[key], equal_nan=True) for key in first)
    return first if same else None


def _require_numbers(answered, student, is_given):
    """Refuses NaN as answers to examples; of made-up inputs, that may be none, a warning tells."""
    are_nan = [np.isnan(each).reshape(len(each), -1).any(1) for each in answered.values()]
    rows = np.logical_or.reduce(are_nan)
    said = f"The student {student.name!r} answers with NaN to {rows.sum()} of {len(rows)}"
    look = "Look at its weights, and at statistics such as those of BatchNormalization."
    if is_given and rows.any():
        raise ValueError(f"{said} examples. {look} Nothing was written.")
    if rows.all():
        warnings.warn(f"{said} made-up inputs. {look} Or give examples.", stacklevel=5)


def _served(served, batch):
    """The batch by the names in the file."""
    if served.columns is not None:
        names = served.columns.served
        return {names[key]: tf.convert_to_tensor(cells) for key, cells in batch.items()}
    specs, leaves = keras.tree.flatten(served.inputs), keras.tree.flatten(batch)
    return {spec.name: leaf for spec, leaf in zip(specs, leaves, strict=True)}


def _tolerance(student):
    """What rounding may make of the answers, as a share of the largest."""
    types = {layer.compute_dtype for layer in student._flatten_layers()}
    return max([_TOLERANCE, *(_OF_ROUNDING * _ROUNDING[each] for each in types & {*_ROUNDING})])


def _largest(answered):
    """The largest value of every answer, or 1; of means and limits of one together.

    A limit is a mean and a multiple of a deviation, which may nearly cancel.
    """
    kinds = {key: re.sub(r"(mean|lower|upper)$", "", key) for key in answered}
    found = dict.fromkeys(kinds.values(), 1.0)
    for key, kind in kinds.items():
        values = np.abs(answered[key].astype("float64"))
        found[kind] = max(found[kind], values[np.isfinite(values)].max(initial=0.0))
    return {key: found[kind] for key, kind in kinds.items()}


def _difference(found, expected, is_rounded=False, largest=None):
    """The largest difference, in units of the largest value, or of 1 if that is larger.

    Args:
        is_rounded: whether whole numbers were rounded, so that they may be the next ones; False by
            default.
        largest: the unit; None, the default, for that of the expected values.
    """
    if found.shape != expected.shape:
        return np.inf
    if expected.dtype == bool:  # A value at the edge of a set may be in it or not.
        return float((found != expected).sum() > 1)
    found, expected = (each.astype("float64") for each in (found, expected))
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    if not expected.size or same.all():
        return 0.0
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0.0, np.abs(found - expected)).max()
    if largest is None:
        largest = np.abs(expected[np.isfinite(expected)]).max(initial=1.0)
    is_whole = (expected == np.rint(expected)).all() and (found == np.rint(found)).all()
    return max(off - 1.0, 0.0) / largest if is_rounded and is_whole else off / largest
