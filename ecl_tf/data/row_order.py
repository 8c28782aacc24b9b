"""Which rows of a table are trained on, and which are held out."""

from typing import Any

import numpy as np
import pandas as pd


def by_class(classes: np.ndarray, seed: int) -> np.ndarray:
    """The rows in a random order, of which every part has all classes in nearly equal shares.

    The i-th of the n rows of a class, counted from 0, is at the share (i + 1/2) / n of the order.
    So the rows of a class in a part are n times the part's share, to within one row, and a class
    of one row is in the middle: among the training rows, if less than half of all come before them.

    Args:
        classes: (rows,), the class of each row.
        seed: of the order.
    """
    order = np.random.default_rng(seed).permutation(len(classes))
    rows = pd.Series(classes[order])
    each = rows.groupby(rows)
    places = (each.cumcount() + 0.5) / each.transform("size")
    return order[np.argsort(places.to_numpy(), kind="stable")]


def by_time(times: np.ndarray) -> np.ndarray:
    """The rows from the latest to the earliest, those of equal time in the order of the table.

    Args:
        times: (rows,), numbers that grow with time.
    """
    return np.argsort(-times, kind="stable")


def by_group(groups: np.ndarray, seed: int) -> np.ndarray:
    """The rows with those of a group beside each other, and the groups in a random order.

    Args:
        groups: (rows,), the group of each row.
        seed: of the order.
    """
    numbers, _ = pd.factorize(groups)
    places = np.random.default_rng(seed).permutation(numbers.max() + 1)
    return np.argsort(places[numbers], kind="stable")


def split(
    order: np.ndarray,
    train_size: int | None,
    validation_size: float,
    test_size: float,
    table: str,
    groups: np.ndarray | None = None,
) -> list[np.ndarray]:
    """The numbers of the rows to test, validate and train on, and of those that are left.

    Args:
        order: all rows' numbers; those to test come first.
        train_size: as in `ecl_tf.data.table`.
        validation_size: the same.
        test_size: the same.
        table: its name, for messages.
        groups: the group of each row, or its time, of which no two parts share one: parts become
            larger by the rest of a group. None by default.

    Raises:
        ValueError: if the sizes don't fit.
    """
    given: list[Any] = [test_size, validation_size]
    held_out = [round(s * len(order)) if 0 < s < 1 else s for s in given]
    left = len(order) - sum(held_out)
    of_train = f"{left} (what is left)" if train_size is None else train_size
    train_size = left if train_size is None else train_size
    # A share in a configuration makes whole numbers from the command line floats, too.
    sizes = [int(s) if float(s).is_integer() else s for s in (*held_out, train_size)]
    is_whole = any(isinstance(s, float) and s == 1.0 for s in given)  # Of the table, by a slip.
    if is_whole or not all(isinstance(s, int) and s >= 1 for s in sizes) or train_size > left:
        raise ValueError(
            f"test_size={test_size}, validation_size={validation_size} and train_size="
            f"{of_train} must be whole numbers of rows, the first two perhaps shares below "
            f"1, of at least one row each and at most {len(order)} together: so many {table} has."
        )
    ends = np.cumsum(sizes)
    if groups is not None:
        ends = _whole_groups(groups[order], sizes, table)
    return np.split(order, ends)


def _whole_groups(groups, sizes, table):
    """The ends of the parts, each moved to the end of a group."""
    is_last = np.append(groups[1:] != groups[:-1], True)
    last = np.flatnonzero(is_last) + 1
    ends, end = [], 0
    for size in sizes:
        end = int(last[min(np.searchsorted(last, end + size), len(last) - 1)])
        ends.append(end)
    if len(set(ends)) < len(ends):
        raise ValueError(
            f"The {len(last)} groups, or different times, of {table} leave no row to train on, or "
            f"to hold out: the largest has {np.diff(np.append(0, last)).max()} of {len(groups)} "
            "rows, which stay together. Give smaller --config.data.test_size and validation_size, "
            "or other groups or times."
        )
    return ends
