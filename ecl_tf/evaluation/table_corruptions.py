"""Corruptions of tables, at 5 severities: of columns of numbers, and of categories.

What a column's numbers are like, and which other values a cell may take, is measured on reference
rows. Where these are not the rows themselves, no row depends on those beside it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd

from ecl_tf.data import Columns
from ecl_tf.evaluation.draws import Draws

# The constants of each severity: standard deviations, shares of cells, and a factor.
CONSTANTS: dict[str, tuple[float, ...]] = {
    "noise": (0.1, 0.2, 0.3, 0.5, 0.8),
    "missing": (0.05, 0.1, 0.2, 0.3, 0.5),
    "swapped": (0.05, 0.1, 0.2, 0.3, 0.5),
    "shifted": (0.1, 0.25, 0.5, 0.75, 1.0),
    "scaled": (1.1, 1.25, 1.5, 2.0, 3.0),
}
OF_NUMBERS = ("noise", "shifted", "scaled")  # These leave categories as they are.


def corrupt(
    x: Any,
    name: str,
    severity: int,
    draws: Draws,
    reference: Any = None,
    missing: Any = None,
    columns: Columns | None = None,
) -> Any:
    """Returns corrupted rows, like `x`.

    Args:
        x: (rows, columns), or a dict of such arrays and of columns (rows,); encoded rows if there
            are `columns`.
        reference: rows like `x`; None, the default, for these.
        columns: that encoded the rows; None, the default, if none did.
    """
    reference = x if reference is None else reference
    if columns is not None:
        x, reference = columns.decode(x), columns.decode(reference)
        empty = {each: "" if each in columns.categories else np.nan for each in columns.names}
        cells = corrupt(x, name, severity, draws, reference, empty)
        return keras.tree.map_structure(np.asarray, columns.encode_cells(cells))
    given, known = named(x), named(reference)
    require_alike(given, known)
    corrupted = {}
    for number, (key, cells) in enumerate(given.items()):
        filler = missing.get(key) if isinstance(missing, Mapping) else missing
        # A column is (rows, 1).
        shape = (len(cells), -1)
        block, other = cells.reshape(shape), known[key].reshape(len(known[key]), -1)
        own = Draws(draws.seed, f"{draws.purpose} {number}", draws.first_row)
        block = _block(block, name, CONSTANTS[name][severity - 1], own, other, filler)
        if cells.dtype.kind not in "SU":  # Which cut longer texts.
            block = block.astype(cells.dtype)
        corrupted[key] = block.reshape(cells.shape)
    return corrupted if isinstance(x, Mapping) else corrupted[""]


def named(x: Any) -> dict[str, np.ndarray]:
    """The arrays of a table by name, a single one by "".

    Raises:
        ValueError: if it is no table.
    """
    if isinstance(x, pd.DataFrame) and np.asarray(x).dtype == object:
        raise ValueError(
            "The columns of the DataFrame are of several types, or of texts. Give a dict of them: "
            "{name: frame[name].to_numpy() for name in frame}."
        )
    arrays = {
        key: np.asarray(each) for key, each in (x if isinstance(x, Mapping) else {"": x}).items()
    }
    shapes = {key or "x": each.shape for key, each in arrays.items()}
    if not arrays or not all(len(shape) in (1, 2) and shape[0] for shape in shapes.values()):
        raise ValueError(
            "A table is an array (rows, columns), or a dict of columns (rows,) and of such arrays, "
            f"of one row at least; got the shapes {shapes}. Of one row give x[None]."
        )
    if len({shape[0] for shape in shapes.values()}) > 1:
        raise ValueError(f"The columns of a table have the same rows; got the shapes {shapes}.")
    return arrays


def holds_numbers(x: np.ndarray) -> bool:
    """Whether cells are amounts. Whole numbers are ids, as text and booleans are."""
    return x.dtype.kind == "f" or x.dtype.name == "bfloat16"


def require_alike(x: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> None:
    """Raises ValueError if reference rows have other columns than the rows to corrupt.

    Args:
        x: the arrays by name.
        reference: the same of the reference.
    """
    kinds, others = (
        {key: (each.shape[1:], holds_numbers(each)) for key, each in arrays.items()}
        for arrays in (x, reference)
    )
    if kinds != others:
        shapes = [
            {key or "x": (each.shape, each.dtype.name) for key, each in arrays.items()}
            for arrays in (x, reference)
        ]
        raise ValueError(
            f"The reference has other columns than the inputs: {shapes[1]} in place of "
            f"{shapes[0]}. Give inputs of the same data set, such as those of training."
        )


def filled_with(missing: Any, reference: np.ndarray) -> np.ndarray:
    """What stands for missing cells: as given, else the mean or the most frequent value.

    Args:
        missing: the value; None for that of each column.
        reference: (rows, columns).

    Returns:
        (columns,)

    Raises:
        ValueError: if the columns can't hold the value.
    """
    if missing is not None:
        is_text, kind = isinstance(missing, (str, bytes)), reference.dtype.kind
        if is_text != (kind in "OSU") or (kind in "biu" and not float(missing).is_integer()):
            raise ValueError(
                f"missing={missing!r} is no value of cells of {reference.dtype.name}. Give one, of "
                "columns that differ a dict by name, or None for the mean or most frequent value."
            )
        return np.full(reference.shape[1], missing)
    if holds_numbers(reference):
        return _moment(np.nanmean, reference)
    modes = [pd.Series(column).mode() for column in reference.T]
    return np.array([None if mode.empty else mode[0] for mode in modes], reference.dtype)


def spread(reference: np.ndarray) -> np.ndarray:
    """The standard deviation of each column of numbers, without those that are missing.

    Args:
        reference: (rows, columns).
    """
    return _moment(np.nanstd, reference)


def _moment(function: Callable, reference):
    known = ~np.isnan(reference).all(0)
    found = np.zeros(reference.shape[1], "float64")
    found[known] = function(reference[:, known].astype("float64"), 0)
    return found.astype(reference.dtype)


def _block(x, name, constant, draws, reference, missing):
    """Corrupted columns (rows, columns) of one dtype."""
    rows, columns = x.shape
    if name in OF_NUMBERS:
        if not holds_numbers(x):
            return x
        if name == "noise":
            return x + constant * draws.normal(rows, (columns,)) * spread(reference)
        # A unit is another for all rows.
        up = Draws(draws.seed, draws.purpose).uniform(1, (columns,)) < 0.5
        if name == "shifted":
            return x + np.where(up, constant, -constant) * spread(reference)
        return x * np.where(up, constant, 1 / constant)
    changed = draws.uniform(rows, (columns,)) < constant
    if name == "missing":
        return np.where(changed, filled_with(missing, reference), x)
    row = draws.whole(rows, (columns,), len(reference), 1)
    return np.where(changed, reference[row, np.arange(columns)], x)
