"""Tables of numbers from a file that the configuration names."""

import csv
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ecl_tf.data.splits import Splits


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

    Args:
        path: an .npz file whose arrays `inputs` (rows, d) and `target` (rows,) or (rows, e)
            are read, or a .csv file whose first line names its columns.
        inputs: of an .npz file, the array's name ("x" by default). Of a .csv file, the
            columns' names, a list or with commas between them; by default all but the target.
        target: the name of the target's array or column, or of several columns; "y" by
            default.
        classes: True if the target is a class, a whole number from 0; None, the default, if
            it is a real number.
        train_size: the number of training rows; None, the default, takes all that are left.
        validation_size: the number of validation rows, or their share if below 1; 0.1 by
            default.
        test_size: the same for the test; 0.1 by default.
        seed: of the split; 0 by default.

    Returns:
        `Splits` of examples (row, target), float32, with the training targets' mean and
        standard deviation; or of (row, class), int64, `event_size` being the number of classes.

    Raises:
        ValueError: if the file or a name in it is missing, a value is not finite, classes are
            not whole numbers from 0, or the sizes don't fit.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(
            f"There is no table at {str(path)!r}. Name an .npz or .csv file with "
            "--config.data.path=FILE."
        )
    if path.suffix not in _READERS:
        raise ValueError(f"A table is one of {sorted(_READERS)}; got {str(path)!r}.")
    x, y = _READERS[path.suffix](path, inputs, target)
    if y.ndim == 1:
        y = y[:, None]
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not len(x):
        raise ValueError(
            f"Inputs of shape {x.shape} and targets of shape {y.shape} in {path} are no table; "
            "expected (rows, columns) and as many targets, at least one row."
        )
    bad = np.flatnonzero(~(np.isfinite(x).all(1) & np.isfinite(y).all(1)))
    if len(bad):
        raise ValueError(
            f"{len(bad)} of the {len(x)} rows of {path} hold values that are missing or not "
            f"finite, the first in row {bad[0]} (from 0). Remove or fill them."
        )
    order = np.random.default_rng(seed).permutation(len(x))
    test, validation, train = _split(order, train_size, validation_size, test_size, path)
    event_size, statistics = y.shape[1], {}
    if classes:
        y = _classes(y, path)
        event_size = int(y.max()) + 1
    else:
        mean, stddev = y[train].mean(0, dtype="float64"), y[train].std(0, dtype="float64")
        statistics = {"target_mean": mean.tolist(), "target_stddev": stddev.tolist()}
        if not np.all(stddev > 0.0):
            raise ValueError(
                f"A target of {path} is the same in all {len(train)} training rows (standard "
                f"deviation {stddev.tolist()}), so there is nothing to learn. Name another target."
            )
    train, validation, test = (
        tf.data.Dataset.from_tensor_slices((x[part], y[part])) for part in (train, validation, test)
    )
    return Splits(train, validation, test, event_size, **statistics)


def _classes(targets, path):
    """Whole numbers (rows,) of one column of them."""
    values = np.unique(targets)
    if targets.shape[1] != 1 or values[0] < 0 or np.any(values != np.floor(values)):
        raise ValueError(
            f"Classes are one column of whole numbers from 0; the target of {path} has "
            f"{targets.shape[1]}, with values like {values[:5].tolist()}. Number the classes."
        )
    if len(values) < 2:
        raise ValueError(f"All rows of {path} are of one class, {values[0]:g}: nothing to learn.")
    return targets[:, 0].astype("int64")


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
    return np.split(order, np.cumsum(sizes))[:3]


def _read_npz(path, inputs, target):
    with np.load(path) as arrays:
        names = ["x" if inputs is None else inputs, target]
        _require(names, arrays.files, path)
        return tuple(arrays[name].astype("float32") for name in names)


def _read_csv(path, inputs, target):
    with open(path, encoding="utf-8-sig", newline="") as file:
        columns = [name.strip() for name in next(csv.reader(file), [])]
    targets = _names(target, columns)
    if inputs is None:
        inputs = [name for name in columns if name not in targets]
    inputs = _names(inputs, columns)
    _require([*inputs, *targets], columns, path)
    try:
        values = np.genfromtxt(path, delimiter=",", skip_header=1, dtype="float32", ndmin=2)
    except ValueError as error:
        raise ValueError(
            f"{path} is no table of numbers with {len(columns)} columns in every line: {error}"
        ) from error
    if values.size and values.shape[1] != len(columns):
        raise ValueError(
            f"The first line of {path} names {len(columns)} columns ({columns}), and the lines "
            f"below hold {values.shape[1]}. Name each column."
        )
    values = values.reshape(-1, len(columns))
    return tuple(values[:, [columns.index(name) for name in names]] for names in (inputs, targets))


def _names(given, columns):
    """A list of names; a string is one of the columns, or several with commas between them."""
    if isinstance(given, str):
        return [given] if given in columns else [name.strip() for name in given.split(",")]
    return list(given)


def _require(names, found, path):
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(
            f"{path} has no {missing}; it has {list(found)}. Name its arrays or columns with "
            "--config.data.inputs and --config.data.target."
        )


_READERS = {".npz": _read_npz, ".csv": _read_csv}
