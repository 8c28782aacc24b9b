"""Inputs as production has them: corrupted images, tables and sequences, at 5 severities."""

from typing import Any

import numpy as np

from ecl_tf._internal import require
from ecl_tf.data import Category, Columns
from ecl_tf.evaluation import image_corruptions, sequence_corruptions, table_corruptions
from ecl_tf.evaluation.draws import Draws

SEVERITIES = (1, 2, 3, 4, 5)

# The corruptions of each kind of input.
NAMES: dict[str, tuple[str, ...]] = {
    "image": tuple(image_corruptions.CORRUPTIONS),
    "table": tuple(table_corruptions.CONSTANTS),
    "sequence": tuple(sequence_corruptions.CONSTANTS),
}
# The version of a corruption, such as "image fog", whose code has changed what it returns; 1 of all
# others. What work directories keep of another version is measured anew.
VERSIONS: dict[str, int] = {"image zoom_blur": 2}
# The arguments of `corrupt` that a kind takes.
_ARGUMENTS = {
    "image": ("value_range",),
    "table": ("reference", "missing", "columns"),
    "sequence": ("reference", "missing", "padding", "mask"),
}


def corrupt(
    x: Any,
    name: str,
    severity: int = 3,
    seed: int = 0,
    kind: str = "image",
    *,
    first_row: int = 0,
    value_range: tuple[float, float] | None = None,
    reference: Any = None,
    missing: Any = None,
    columns: Columns | None = None,
    padding: Any = None,
    mask: Any = None,
) -> Any:
    """Returns inputs that are corrupted, as NumPy arrays of the shapes and dtypes of `x`.

    The guide "Corruptions" lists the names and their formulas. The seed and the row's number
    decide what becomes of a row: it is the same in any batch, and at all severities it is drawn
    from the same random numbers.

    Args:
        x: a batch. Images are (batch, height, width, channels), with any number of channels. A
            table is (batch, columns), or a dict from names to such arrays and to columns (batch,):
            floating-point numbers are amounts, NaN where they are missing; whole numbers, texts
            and booleans are categories. Sequences are (batch, steps, features), or (batch, steps)
            of token ids, whole numbers.
        name: of the corruption, one of `ecl_tf.evaluation.corruptions.NAMES[kind]`.
        severity: from 1 to 5, the worst; 3 by default.
        seed: a whole number from 0; 0 by default.
        kind: "image", the default, "table" or "sequence".
        first_row: the number of the first row of `x` in the whole set, 0 by default.
        value_range: of images, the values of black and white. None, the default, is (0, 255) of
            integers, and (0, 1) of floating-point numbers. Results stay within it.
        reference: of tables and sequences, inputs like `x`, such as those of training. Standard
            deviations, means, and the values that replace others are theirs. None, the default,
            takes `x` itself; then a row depends on the others of its batch.
        missing: of tables and sequences, the value of a cell or of a step's features that is
            missing, such as `float("nan")`, or a dict by the names of a table's columns. None, the
            default, is the column's mean, and of categories and token ids the most frequent one.
        columns: the `ecl_tf.data.Columns` that encoded a table, as `Splits.columns` holds them.
            Then `x` and `reference` are encoded rows, their cells are corrupted, and cells are
            missing as they are in files. None, the default, if none encoded it.
        padding: of sequences, the value that fills them up to their length, such as 0, or NaN.
            Steps that hold nothing else stay as they are, and cut steps become padding. None, the
            default, for no padding; then cut steps repeat the last one that is left.
        mask: of sequences, (batch, steps), True where a step is real; None, the default, for all
            that is no padding.

    Raises:
        ValueError: if there is no such corruption, `x` has another rank or dtype, an argument does
            not fit the kind, images or sequences hold NaN, or images exceed their range.

    Example:
    >>> images = np.full((2, 8, 8, 1), 0.5, "float32")
    >>> images[:, :4] = 1.0
    >>> corrupt(images, "contrast", severity=2)[0, ::4, 0, 0]  # Half as far from the mean, 0.75.
    array([0.875, 0.625], dtype=float32)
    >>> tokens = np.array([[5, 6, 7, 8, 0], [1, 2, 0, 0, 0]])
    >>> corrupt(tokens, "cut", severity=5, kind="sequence", padding=0)
    array([[5, 6, 0, 0, 0],
           [1, 0, 0, 0, 0]])

    Reference: of images, Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to
    Common Corruptions and Perturbations", ICLR 2019.
    """
    own: dict[str, Any] = {
        "value_range": value_range,
        "reference": reference,
        "missing": missing,
        "columns": columns,
        "padding": padding,
        "mask": mask,
    }
    given = {key for key, value in own.items() if value is not None}
    _require_fitting(kind, name, severity, given)
    if missing is not None and columns is not None:
        raise ValueError("Give missing or columns: cells of columns are missing as in files.")
    seed = require.whole("seed", seed, 0)
    first_row = require.whole("first_row", first_row, 0)
    draws = Draws(seed, f"{kind} {name}", first_row)
    if kind == "image":
        images = np.asarray(x)
        span = limits(images, value_range)
        return image_corruptions.corrupt(images, name, int(severity), draws, span)
    of_kind = table_corruptions if kind == "table" else sequence_corruptions
    return of_kind.corrupt(x, name, int(severity), draws, **{k: own[k] for k in _ARGUMENTS[kind]})


def suitable(x: Any, kind: str = "image", columns: Columns | None = None) -> tuple[str, ...]:
    """Returns the names of the corruptions that change inputs: noise changes no category.

    Args:
        x: as in `corrupt`.
        kind: as in `corrupt`; "image" by default.
        columns: as in `corrupt`; None by default.

    Example:
    >>> suitable({"city": np.array(["Bern", "Basel"])}, "table")
    ('missing', 'swapped')
    """
    if kind != "table":
        return NAMES[kind]
    if columns is not None:
        has_numbers = any(not isinstance(spec, Category) for spec in columns.specs)
    else:
        has_numbers = any(map(table_corruptions.holds_numbers, table_corruptions.named(x).values()))
    return tuple(
        name for name in NAMES["table"] if has_numbers or name not in table_corruptions.OF_NUMBERS
    )


def _require_fitting(kind, name, severity, given):
    """Raises ValueError unless the arguments of `corrupt` fit one another."""
    if kind not in NAMES:
        raise ValueError(f"kind must be one of {', '.join(NAMES)}; got {kind!r}.")
    if name not in NAMES[kind]:
        listed = ", ".join(NAMES[kind])
        raise ValueError(f"There is no corruption {name!r} of kind {kind!r}; expected {listed}.")
    if isinstance(severity, bool) or severity not in SEVERITIES:
        raise ValueError(f"severity must be a whole number from 1 to 5; got {severity!r}.")
    if others := sorted(given - set(_ARGUMENTS[kind])):
        raise ValueError(
            f"{others[0]} is no argument of kind {kind!r}, which takes "
            f"{', '.join(_ARGUMENTS[kind])}. Leave it out, or give another kind."
        )


def limits(x: np.ndarray, value_range: tuple[float, float] | None = None) -> tuple[float, float]:
    """Returns the values of black and white.

    Args:
        x: images.
        value_range: as in `corrupt`; None by default.

    Raises:
        ValueError: if they are no images in this range.
    """
    if x.ndim != 4 or x.size == 0:
        raise ValueError(
            "Images are a batch (batch, height, width, channels) of one at least; got the shape "
            f"{x.shape}. Of one image give image[None], of grey ones images[..., None]."
        )
    is_integer = np.issubdtype(x.dtype, np.integer)
    if not is_integer and x.dtype.kind != "f" and x.dtype.name != "bfloat16":
        raise ValueError(f"Images hold numbers; got the dtype {x.dtype}. Give uint8 or float32.")
    low, high = value_range or ((0, 255) if is_integer else (0, 1))
    if not is_integer:  # In the precision of the images, as 0.1 is another number in float32.
        low, high = (float(np.asarray(bound).astype(x.dtype)) for bound in (low, high))
    if not low < high:
        raise ValueError(f"value_range must be (black, white), black < white; got {value_range}.")
    least, most = float(x.min()), float(x.max())
    if not (low <= least and most <= high):
        if np.isnan(least):
            raise ValueError("The images hold NaN. Remove or fill such values.")
        raise ValueError(
            f"The images hold values from {least:g} to {most:g}; expected {low:g} to {high:g}, "
            f"{'as given' if value_range else f'the default of {x.dtype}'}. Scale the images, or "
            "give value_range=(black, white), such as (0, 255) or (-1, 1). (Give measure "
            "arguments={'value_range': (black, white)}.)"
        )
    return low, high
