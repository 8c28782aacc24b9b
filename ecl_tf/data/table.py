"""Tables of numbers from a file that the configuration names."""

import os
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ecl_tf._internal import files
from ecl_tf.data import table_files
from ecl_tf.data.splits import Splits

# Text that stands for a class that is not known, in lower case.
_MISSING = ["", "?", "#n/a", "<na>", "n/a", "na", "nan", "null"]


def table(
    path: str | os.PathLike,
    inputs: str | Sequence[str] | None = None,
    target: str | Sequence[str] = "y",
    classes: bool | None = None,
    train_size: int | None = None,
    validation_size: float = 0.1,
    test_size: float = 0.1,
    seed: int = 0,
) -> Splits:
    """A row of d numbers (d,) to its target (e,), both in their own units, or to its class ().

    Numbers are read in float64 and given in float32, in which networks compute.

    Args:
        path: an .npz file whose arrays `inputs` (rows, d) and `target` (rows,) or (rows, e)
            are read, or a .csv file (UTF-8) whose first line names its columns, with commas
            between the cells; or semicolons, tabs or |, if that line has no comma.
        inputs: of an .npz file, the array's name ("x" by default). Of a .csv file, the
            columns' names, a list or with commas between them; by default all but the target.
        target: the name of the target's array or column, or of several columns; "y" by
            default.
        classes: True if the target is a class: text, or whole numbers; None, the default, if
            it is a real number.
        train_size: the number of training rows; None, the default, takes all that are left.
        validation_size: the number of validation rows, or their share if below 1; 0.1 by
            default.
        test_size: the same for the test; 0.1 by default.
        seed: of the split; 0 by default.

    Returns:
        `Splits` of examples (row, target), float32, with the training targets' mean and
        standard deviation; or of (row, class), int64, with `event_size` K and K `class_names`:
        the labels that are in the file, numbers by their size and text by the alphabet, become
        0 to K - 1. Rows that are left are spare.

    Raises:
        ValueError: naming the column and the line, if the file or a name in it is missing, a name
            is there twice or is both input and target, lines have other numbers of cells, a value
            is missing, no number, not finite, or another one in float32 (time stamps and other
            large numbers), or the labels are no classes; or if the sizes don't fit.

    Example:
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp(), "fruit.csv")
    >>> rows = [f"{10 + n},{n % 3},{'pear' if n % 3 else 'apple'}" for n in range(30)]
    >>> _ = file.write_text("\\n".join(["weight,shade,kind", *rows]))
    >>> splits = table(file, target="kind", classes=True)
    >>> splits.input_shape, splits.event_size, splits.class_names
    ((2,), 2, ('apple', 'pear'))
    """
    path = files.at_home(path)
    if not path.is_file():
        raise ValueError(
            f"There is no table at {str(path)!r}. Name an .npz or .csv file with "
            "--config.data.path=FILE."
        )
    columns, targets = table_files.read(path, inputs, target)
    x = _numbers(columns, path, "Leave a column of text out with --config.data.inputs.")
    if classes:
        y, names = _classes(targets, path)
    else:
        y, names = (
            _numbers(targets, path, "If it is a class, say so: --config=table:classes."),
            None,
        )
    order = np.random.default_rng(seed).permutation(len(x))
    test, validation, train, spare = _split(order, train_size, validation_size, test_size, path)
    event_size, statistics = y.shape[-1], {}
    if names:
        event_size = len(names)
        if len(np.unique(y[train])) < 2:
            raise ValueError(
                f"All {len(train)} training rows of {path} are of one class, "
                f"{names[y[train][0]]!r}: nothing to learn."
            )
    else:
        mean, stddev = y[train].mean(0, dtype="float64"), y[train].std(0, dtype="float64")
        statistics = {"target_mean": mean.tolist(), "target_stddev": stddev.tolist()}
        if not np.all(stddev > 0.0):
            raise ValueError(
                f"A target of {path} is the same in all {len(train)} training rows (standard "
                f"deviation {stddev.tolist()}), so there is nothing to learn. Name another target."
            )
    train, validation, test, spare = (
        tf.data.Dataset.from_tensor_slices((x[part], y[part])) if len(part) else None
        for part in (train, validation, test, spare)
    )
    return Splits(train, validation, test, event_size, class_names=names, spare=spare, **statistics)


def _numbers(columns, path, remedy):
    """The columns as float32 (rows, columns).

    Raises:
        ValueError: naming the first value that is none, is not finite, or that float32 would
            change by so much that it is another one.
    """
    values = columns.values
    floats = _parsed(values)
    bad = np.argwhere(~np.isfinite(floats))
    if len(bad):
        rows, held = len(np.unique(bad[:, 0])), str(values[tuple(bad[0])]).strip()
        raise ValueError(
            f"{rows} of the {len(values)} rows of {path} hold values that are missing, not finite "
            f"or no numbers, the first in {columns.place(*bad[0])}: {held!r}. Remove or fill them, "
            f"and write numbers like 1234.5. {remedy}"
        )
    with np.errstate(over="ignore"):
        rounded = floats.astype("float32")
    errors = np.abs(floats - rounded)
    for column in np.flatnonzero(errors.any(0)):
        given, kept = floats[:, column], rounded[:, column]
        row = errors[:, column].argmax()
        is_whole = np.all(given == np.floor(given))
        # The last digits of real numbers are noise, unless rows differ in nothing else.
        is_coarse = np.ptp(given) > 0.0 and errors[row, column] > 1e-3 * given.std()
        if is_coarse or (is_whole and len(np.unique(given)) > len(np.unique(kept))):
            _refuse_rounding(columns, path, row, column, kept[row])
    far = np.abs(floats) > 2.0**53 if values.dtype.kind in "iuO" else np.zeros((0, 0))
    for row, column in np.argwhere(far):
        if _is_whole(values[row, column]) and int(values[row, column]) != int(floats[row, column]):
            _refuse_rounding(columns, path, row, column, rounded[row, column])
    return rounded


def _parsed(values):
    """Numbers or text as float64, NaN where the text is no number."""
    if values.dtype.kind != "O":
        return values.astype("float64")

    def number(text):
        try:
            return np.nan if "_" in text else float(text)
        except ValueError:
            return np.nan

    return np.array([[number(text) for text in row] for row in values.tolist()])


def _is_whole(value):
    """Whether a value is an integer, or written like one."""
    return isinstance(value, np.integer) or re.fullmatch(r"[+-]?[0-9]+", str(value))


def _refuse_rounding(columns, path, row, column, rounded):
    raise ValueError(
        f"Networks compute in float32, of 7 digits, and {columns.names[column]} of {path} needs "
        f"more: {columns.values[row, column]} in {columns.place(row, column)} becomes "
        f"{rounded:.12g}, as others may. Subtract the column's smallest value; or divide it by "
        "1000, if such small differences don't matter; or name other columns."
    )


def _classes(columns, path):
    """The number of each row's class, int64 (rows,), and the classes' names in their order."""
    if columns.values.shape[1] != 1:
        raise ValueError(
            f"Classes are one column; the target of {path} has {columns.values.shape[1]}. Name "
            "one with --config.data.target."
        )
    labels, numbers = columns.values[:, 0], _parsed(columns.values)[:, 0]
    is_number = np.abs(numbers) <= 2.0**53  # Larger ones may be others in float64.
    missing = ~is_number
    if labels.dtype.kind == "O":
        # What looks alike may be written in two ways: é as one character, and as e with an accent.
        written = (unicodedata.normalize("NFC", each.strip()) for each in labels.astype(str))
        labels = np.array(list(written))
        missing = np.isin(np.char.lower(labels), _MISSING)
    if missing.any():
        raise ValueError(
            f"{missing.sum()} of the {len(labels)} rows of {path} have no class, the first in "
            f"{columns.place(missing.argmax(), 0)}. Remove them."
        )
    if is_number.any() and not is_number.all():
        raise ValueError(
            f"The target of {path} is a number in {columns.place(is_number.argmax(), 0)}, and text "
            f"in {columns.place(is_number.argmin(), 0)}: {str(labels[is_number.argmin()])!r}. "
            "Classes are all numbers, or all text."
        )
    kinds, y = np.unique(numbers if is_number.all() else labels, return_inverse=True)
    if is_number.all():
        # A negative number among others mostly stands for a class that is not known.
        if np.any(kinds != np.floor(kinds)) or (kinds[0] < 0 and kinds.tolist() != [-1, 1]):
            row = int(((numbers < 0) | (numbers != np.floor(numbers))).argmax())
            raise ValueError(
                f"Classes are text, whole numbers from 0, or -1 and 1; the target of {path} is "
                f"{labels[row]} in {columns.place(row, 0)}. For a number as target leave "
                "`classes` out; number the classes otherwise."
            )
        kinds = kinds.astype("int64")
    if 2 * len(kinds) > len(labels):
        raise ValueError(
            f"The target of {path} has {len(kinds)} different values in {len(labels)} rows, so it "
            "is no class. Name another target, or leave `classes` out."
        )
    return y.astype("int64"), tuple(map(str, kinds))


def _split(order, train_size, validation_size, test_size, path):
    held_out = [round(s * len(order)) if 0 < s < 1 else s for s in (test_size, validation_size)]
    left = len(order) - sum(held_out)
    train_size = left if train_size is None else train_size
    # A share in a configuration makes whole numbers from the command line floats, too.
    sizes = [int(s) if float(s).is_integer() else s for s in (*held_out, train_size)]
    if not all(isinstance(s, int) and s >= 1 for s in sizes) or train_size > left:
        raise ValueError(
            f"test_size={test_size}, validation_size={validation_size} and train_size="
            f"{train_size} must be whole numbers of rows, the first two perhaps shares below "
            f"1, of at least one row each and at most {len(order)} together: so many {path} has."
        )
    return np.split(order, np.cumsum(sizes))
