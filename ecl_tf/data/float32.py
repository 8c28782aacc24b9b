"""Numbers in float32, in which networks compute, or refused where it would make others of them."""

from collections.abc import Callable

import numpy as np


def rounded(values: np.ndarray, name: str, table: str, place: Callable[[int], str]) -> np.ndarray:
    """A column's numbers in float32.

    Args:
        values: (rows,), finite numbers.
        name: of the column.
        table: the name of the table.
        place: from a row to where it is, in words.

    Raises:
        ValueError: naming the first number that float32 would change by so much that it is another
            one.
    """
    floats = values.astype("float64")
    with np.errstate(over="ignore"):
        kept = floats.astype("float32")
    errors = np.abs(floats - kept)
    bad: int | None = None
    if errors.any():
        row = int(errors.argmax())
        is_whole = np.all(floats == np.floor(floats))
        # The last digits of real numbers are noise, unless rows differ in nothing else.
        is_coarse = np.ptp(floats) > 0.0 and errors[row] > 1e-3 * floats.std()
        if is_coarse or (is_whole and len(np.unique(floats)) > len(np.unique(kept))):
            bad = row
    if bad is None and values.dtype.kind in "iu":
        far = np.flatnonzero(np.abs(floats) > 2.0**53).tolist()
        bad = next((row for row in far if int(values[row]) != int(floats[row])), None)
    if bad is None:
        return kept
    raise ValueError(
        f"Networks compute in float32, of 7 digits, and {name} of {table} needs more: "
        f"{values[bad]} in {place(bad)} becomes {kept[bad]:.12g}, as others may. Subtract the "
        "column's smallest value; or divide it by 1000, if such small differences don't matter; "
        "or name other columns."
    )
