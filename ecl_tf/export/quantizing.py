"""Students in fewer bits: 8-bit integers, or weights of 16 bits."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf._internal import batches, finite, first_layers, own_inputs, positions, ranges
from ecl_tf._internal.fake_quantization import FakeQuantized
from ecl_tf._internal.quantized_model import QuantizedModel
from ecl_tf.export.served import Served

# LiteRT adds up whole numbers, where floating point may be a hair off an edge of rounding: the raw
# output then differs by a step, and by one more where that happens in several layers.
_STEPS = 2.0
_DRAWS = 8
# Ranges of fewer rows leave out what others have.
_FEWEST = 16
# What 8 bits may change of the raw output, as a share of how far it lies from its median.
_MOST_ROUNDED = 0.25
_ROUNDING = 8 * 2.0**-11  # Weights of 16 bits are rounded in every layer.


def prepared(
    student: keras.Model,
    quantization: str | None,
    rows: Iterable[Any],
    output: outputs.Output,
    takes_scaled: bool = False,
) -> FakeQuantized | str | None:
    """Returns what `Served` takes as its quantization, with ranges measured.

    Args:
        quantization: "int8", "float16" or None.
        rows: batches of inputs, whose ranges are measured for "int8"; a batch of None is none. On
            the first one the rounded student is compared with that in floating point.
        takes_scaled: whether images that the student does not scale were scaled in its training;
            False, the default, where that is not known.

    Raises:
        ValueError: if it is another one, there are no batches, they are of another scale than the
            student expects, or nothing can be rounded.
    """
    if quantization not in ("int8", "float16", None):
        raise ValueError(
            f'quantization must be "int8", "float16" or None, for float32; got {quantization!r}.'
        )
    if quantization != "int8":
        return quantization
    if isinstance(student, QuantizedModel):
        return student.quantized
    quantized, first = FakeQuantized(student), None
    for batch in rows:
        if batch is not None:
            if takes_scaled or first_layers.expected_by(student):
                ranges.require_within([("student", student)], batch)
            quantized.measure(batch)
            first = batch if first is None else first
    if first is None:
        raise ValueError(
            'quantization="int8" measures the ranges of activations on rows: give '
            "export(..., examples=x) some hundreds of typical ones, or train with "
            'Distiller(..., quantization="int8").'
        )
    _require_finite(quantized)
    _warn_of_rounding(quantized, first, output)
    return quantized


def _warn_of_rounding(quantized, rows, output):
    """Warns if ranges are those of few rows, or so wide that little is left of the answers.

    Medians are compared: an outlier widens a range for all rows, and has itself the least error.
    """
    student = quantized.model
    count = len(keras.tree.flatten(rows)[0])
    if count < _FEWEST:
        warnings.warn(
            f"The ranges of 8 bits of the student {student.name!r} were measured on {count} rows. "
            "What is beyond them is cut off. Give examples of some hundreds of typical rows.",
            stacklevel=4,
        )
    exact, rounded = student(own_inputs.of(student, rows), training=False), quantized(rows)
    shares = []
    for one, other in zip(keras.tree.flatten(exact), keras.tree.flatten(rounded), strict=True):
        one, other = np.asarray(one, "float64"), np.asarray(other, "float64")
        error, spread = np.median(np.abs(other - one)), np.median(np.abs(one - np.median(one, 0)))
        shares.append(error / spread if spread else 0.0)
    if max(shares) <= _MOST_ROUNDED:
        return
    first, second = (output.parameters(output(raw)) for raw in (exact, rounded))
    off = {name: np.abs(np.asarray(second[name]) - np.asarray(first[name])) for name in first}
    said = [f"{name!r} by up to {each.max():.2g}" for name, each in off.items()]
    if output.family == "categorical":
        other_class = np.argmax(first["probabilities"], -1) != np.argmax(
            second["probabilities"], -1
        )
        said.append(f"the likeliest class in {other_class.mean():.0%} of the answers")
    warnings.warn(
        f"8 bits change the answers of the student {student.name!r} to the examples: "
        f"{', '.join(said)}. Look for outliers among the examples, which widen the ranges of "
        'activations, or train with Distiller(..., quantization="int8").',
        stacklevel=4,
    )


def of_trained(
    student: keras.Model, quantization: FakeQuantized | str | None, is_litert: bool
) -> tuple[keras.Model, FakeQuantized | str | None]:
    """Returns the network of a student in float32, and what `Served` takes as its quantization.

    Args:
        student: the Keras model; of a `QuantizedModel` LiteRT files have the ranges that it has
            learned, and others its weights in float32.
        quantization: what `prepared` gave.
        is_litert: whether a LiteRT file is to be written.

    Raises:
        ValueError: if a student that was trained in 8 bits is to have others, or has no ranges.
    """
    if not isinstance(student, QuantizedModel):
        return student, quantization
    if quantization not in (None, student.quantized):
        raise ValueError(
            f"The student {student.name!r} was trained in 8 bits, and has the ranges for them; got "
            f"quantization={quantization!r}. Leave it out."
        )
    if is_litert:
        require_ranges(student.quantized)
    return student.network, student.quantized if is_litert else None


def require_examples(examples: Any, student: keras.Model) -> Any:
    """Returns examples as tensors, or raises ValueError if they are no batch of a student's inputs.

    Args:
        examples: a nesting of arrays.
        student: the Keras model.
    """
    try:
        if batches.is_list_of_values(examples):
            raise ValueError("They are a list. Give np.asarray(examples).")
        own_inputs.require_dense(examples)
        tensors = keras.tree.map_structure(tf.convert_to_tensor, examples)
        batches.require_rows(tensors, "compare")
        own_inputs.require_fit(tensors, [("student", student)], may_hold_others=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"examples must be a batch of the student's inputs. {error}") from error
    finite.require_rows(tensors, "examples")
    return tensors


def parted(examples: Any, student: keras.Model, rows: int = 256) -> Iterator[Any]:
    """Yields batches of examples, none if there are none.

    Args:
        examples: as `require_examples` takes them, or None.
        student: the same.
        rows: of a batch, 256 by default.
    """
    if examples is None:
        return
    examples = require_examples(examples, student)
    for start in range(0, len(keras.tree.flatten(examples)[0]), rows):
        yield positions.rows(examples, slice(start, start + rows))


def require_ranges(quantized: FakeQuantized) -> None:
    """Raises ValueError if no training has given ranges to a quantised student.

    Args:
        quantized: of a distiller, or of a model.
    """
    if not any(np.any(keras.ops.convert_to_numpy(each)) for each in quantized.variables):
        raise ValueError(
            "The training has not seen the ranges of activations that 8 bits need. Fit the "
            "distiller first, or load its weights."
        )
    _require_finite(quantized)


def _require_finite(quantized):
    """Raises ValueError if a range can't be parted into 256 numbers, which ends the converter."""
    for its_range in quantized.ranges:
        low, high = keras.ops.convert_to_numpy(its_range.bounds).astype("float32")
        with np.errstate(over="ignore", invalid="ignore"):
            width = high - low
        if not np.isfinite(width):
            raise ValueError(
                f"An activation of the student {quantized.model.name!r} goes from {low:g} to "
                f"{high:g}, which 8 bits can't hold. Give inputs of the scale on which it learned, "
                "or train it again with a lower learning rate."
            )


def settings(served: Served) -> dict[str, Any]:
    """Returns attributes of a `tf.lite.TFLiteConverter`."""
    found: dict[str, Any] = {}
    if served.quantization is not None:
        found["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if served.quantization == "float16":
        found["target_spec"] = tf.lite.TargetSpec(supported_types=[tf.float16])
    return found


def allowed(
    served: Served,
    rows: Any,
    answered: Mapping[str, Any],
    difference: Callable[[Any, Any], float],
) -> dict[str, float]:
    """Returns by how much each answer of a file may differ for its bits.

    Args:
        rows: encoded ones.
        answered: its answers to them.
        difference: of two arrays, in the units that are wanted.
    """
    if not isinstance(served.quantization, FakeQuantized):
        share = 0.0 if served.quantization is None else _ROUNDING
        return dict.fromkeys(answered, share)
    raw, random = served.raw(rows), np.random.default_rng(0)
    steps = served.quantization.steps(raw)

    def move(values, step):
        signs = random.choice([-1.0, 1.0], values.shape).astype("float32")
        return values + _STEPS * step * signs

    found = dict.fromkeys(answered, 0.0)
    for _ in range(_DRAWS):
        moved = served.parameters(keras.tree.map_structure(move, raw, steps))
        for key, value in moved.items():
            found[key] = max(found[key], difference(np.asarray(value), answered[key]))
    return found
