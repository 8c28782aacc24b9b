"""Tables from a file or a DataFrame, whatever their columns hold."""

import dataclasses
import functools
import os
import unicodedata
from collections.abc import Sequence

import numpy as np
import pandas as pd
import tensorflow as tf

from ecl_tf._internal import files
from ecl_tf.data import cells, float32, kinds, row_order, table_files, table_notes
from ecl_tf.data.columns import Columns
from ecl_tf.data.splits import Splits


def table(
    path: str | os.PathLike | pd.DataFrame,
    inputs: str | Sequence[str] | None = None,
    target: str | Sequence[str] = "y",
    classes: bool | None = None,
    train_size: int | None = None,
    validation_size: float = 0.1,
    test_size: float = 0.1,
    seed: int = 0,
    numbers: str | Sequence[str] | None = None,
    categories: str | Sequence[str] | None = None,
    dates: str | Sequence[str] | None = None,
    groups: str | None = None,
    time: str | None = None,
    unlabelled: str | os.PathLike | pd.DataFrame | None = None,
    stratify: bool | None = None,
) -> Splits:
    """Rows of a table to their target (e,) in its own units, or to its class ().

    What a column is follows from its cells: numbers, dates (such as 2024-03-05, perhaps with a
    time), or categories (texts and booleans). A column that is the same in all training rows is
    left out, and one of texts of which most are in a single row (names, numbers of documents). A
    number or date that is missing is filled by the training rows' mean and marked; a missing
    category is one of its own. Categories of fewer than 5 training rows share one, with those
    that training rows lack. `Splits.columns` encodes rows, and `Splits.notes` tells of all this.

    Numbers are read in float64 and given in float32, in which networks compute. Names may be
    given as a list, or with commas between them.

    Args:
        path: a `pandas.DataFrame`; or a .csv file (UTF-8) whose first line names its columns, with
            commas between the cells, or semicolons, tabs or |, if that line has no comma; or a
            .parquet file; or an .npz file whose arrays `inputs` (rows, d) and `target` (rows,) or
            (rows, e) are read, which have no kinds of columns: all are numbers, and none is
            missing.
        inputs: the columns' names; None, the default, for all but `target`, `groups` and `time`.
            Of an .npz file, the array's name, "x" by default.
        target: the name of the target's column or array, or of several columns; "y" by default.
        classes: True if the target is a class: text, booleans, or whole numbers; False if it is a
            real number; None, the default, for a class if it is text, boolean, or
            of pandas' type `category`.
        train_size: the number of training rows; None, the default, takes all that are left.
        validation_size: the number of validation rows, or their share if below 1; 0.1 by
            default.
        test_size: the same for the test; 0.1 by default.
        seed: of the split; 0 by default.
        numbers: names of columns that are numbers, whatever they look like; None by default.
        categories: the same of columns that are categories, such as numbers of places; None by
            default.
        dates: the same of columns that are dates; None by default.
        groups: the name of a column, such as a patient's number: rows of one group are in one
            split. None, the default, for no groups.
        time: the name of a column of dates or numbers: the latest rows are the test, those before
            them the validation, and training rows come before. Rows of one time are in one split,
            which may make it larger. None, the default, for a random split.
        unlabelled: further rows without a target, of the same columns: a file or DataFrame as
            `path`. They become spare inputs. None by default.
        stratify: True if each split is to have nearly the whole table's shares of the classes;
            None, the default, or False draws rows whatever their class. With `groups` or `time` it
            does nothing. The config `table:classes` has True.

    Returns:
        `Splits` of examples (row, target), float32, with the training targets' mean and
        standard deviation; or of (row, class), int64, with `event_size` K and K `class_names`:
        the labels that are in the table, numbers by their size and text by the alphabet, become
        0 to K - 1. A row is what `ecl_tf.data.Columns` describes: numbers (d,), or a dict of
        `numbers` and `categories`. Rows that are left are spare.

    Raises:
        ValueError: naming the column and the line, if the file or a name in it is missing, a name
            is there twice or is both input and target, lines have other numbers of cells, a target
            is missing, a cell is of another kind than its column, is not finite, or is another
            number in float32 (time stamps and other large numbers), or the labels are no classes;
            or if the sizes don't fit, or rows of numbers are to be stratified.

    Example:
    >>> frame = pd.DataFrame({
    ...     "weight": np.arange(60) / 4,
    ...     "colour": ["red", "green", "green"] * 20,
    ...     "kind": ["apple", "pear", "pear"] * 20,
    ... })
    >>> splits = table(frame, target="kind")
    >>> print(splits.columns)
    1 number (weight), 1 category (colour: 2)
    >>> splits.input_shape, splits.class_names
    ({'numbers': (1,), 'categories': (1,)}, ('apple', 'pear'))
    """
    path = _found(path, "Name an .npz, .csv or .parquet file with --config.data.path=FILE.")
    if not isinstance(path, pd.DataFrame):
        table_files.require_form(path)
    if unlabelled is not None:
        unlabelled = more = _found(unlabelled, "Name another with unlabelled.")
        if not isinstance(more, pd.DataFrame):
            table_files.require_form(more, table_files.WITH_NAMES)
    sizes = {"train_size": train_size, "validation_size": validation_size, "test_size": test_size}
    said = {"numbers": numbers, "categories": categories, "dates": dates}
    if not isinstance(path, pd.DataFrame) and path.suffix.lower() == ".npz":
        of_columns = {**said, "groups": groups, "time": time, "unlabelled": unlabelled}
        if given := [name for name, value in of_columns.items() if value is not None]:
            raise ValueError(
                f"{path} has arrays of numbers and no named columns, of which {given[0]} tells. "
                "Save them as a CSV or Parquet file, such as by pandas.DataFrame(x, columns=names)"
                f".assign(y=y).to_csv('table.csv', index=False); or leave {given[0]} out."
            )
        x, y = table_files.read_arrays(path, inputs, target)
        return _of_arrays(x, y, str(path), classes, seed, sizes, stratify)
    parted = {"groups": groups, "time": time, "stratify": stratify}
    return _of_columns(path, inputs, target, classes, seed, sizes, said, unlabelled, **parted)


def _found(table, remedy):
    """A DataFrame, or the path of a file that is there."""
    if isinstance(table, pd.DataFrame):
        return table
    if not isinstance(table, (str, os.PathLike)):
        raise ValueError(
            f"A table is the path of a file, or a pandas.DataFrame; got a {type(table).__name__}. "
            "Give pandas.DataFrame of it."
        )
    path = files.at_home(table)
    if path.is_dir():
        raise ValueError(
            f"{str(path)!r} is a directory. Of a table in several files give a DataFrame, such as "
            "pandas.read_parquet makes of it."
        )
    if not path.is_file():
        raise ValueError(f"There is no table at {str(path)!r}. {remedy}")
    return path


def _of_arrays(x, y, name, classes, seed, sizes, stratify):
    """`table`, of an .npz file: all inputs are numbers."""
    rows = _numbers(x, name, "Leave a column of text out with --config.data.inputs.")
    labels, class_names = _labels(y, name, classes)
    order = _random_order(labels, class_names, name, seed, stratify)
    parts = row_order.split(order, **sizes, table=name)
    return _splits(rows.__getitem__, labels, class_names, parts, name)


def _of_columns(
    path, inputs, target, classes, seed, sizes, said, unlabelled, groups, time, stratify
) -> Splits:
    if groups is not None and time is not None:
        raise ValueError(
            f"groups={groups!r} and time={time!r} can't both part the rows. Give one of them."
        )
    others = [each for each in (groups, time) if each is not None]
    source, inputs, targets, said = table_files.read(path, inputs, target, others, said)
    labels, class_names = _labels(source.columns(targets), source.name, classes)
    if groups is None and time is None:
        order, together = _random_order(labels, class_names, source.name, seed, stratify), None
    else:
        order, together = _order(source, seed, groups, time)
    parts = row_order.split(order, **sizes, table=source.name, groups=together)
    found = kinds.find(source, inputs, parts[2], said)
    rows = functools.partial(found.columns.encode_cells, found.cells)
    by_target = dict(zip(targets, labels.reshape(len(labels), -1)[parts[2]].T, strict=True))
    of_train = {name: column[parts[2]] for name, column in found.cells.items()}
    notes = [
        *found.notes,
        *table_notes.of_names(class_names or (), targets[0]),
        *kinds.notes_of_units(class_names or () if classes is None else (), targets[0], "class"),
        *table_notes.of_copies(of_train, by_target, class_names is not None),
    ]
    splits = _splits(rows, labels, class_names, parts, source.name, found.columns, notes)
    return splits if unlabelled is None else _with_unlabelled(splits, unlabelled)


def _random_order(labels, class_names, name, seed, stratify):
    """All rows in a random order in which they are parted."""
    if not stratify:
        return np.random.default_rng(seed).permutation(len(labels))
    if class_names is None:
        raise ValueError(
            f"stratify=True is of classes, and the target of {name} is of numbers. Leave it out, "
            "--config.data.stratify=None; or say that it is a class, --config.data.classes=True."
        )
    return row_order.by_class(labels, seed)


def _order(source, seed, groups, time):
    """All rows in the order in which they are parted, and the group or time of each."""
    if groups is not None:
        found, names = cells.unique(source.series[groups], f"column {groups!r}")
        if "" in names:
            row = int((found == names.index("")).argmax())
            raise ValueError(
                f"The group {groups!r} of {source.name} is missing in {source.row_place(row)}. "
                "Fill it, or remove such rows."
            )
        return row_order.by_group(found, seed), found
    column = source.series[time]
    read = cells.amounts if cells.is_number(column) else cells.days
    times = read(column, f"column {time!r} of {source.name}", source.row_place)
    if np.isnan(times).any():
        row = int(np.isnan(times).argmax())
        raise ValueError(
            f"The time {time!r} of {source.name} is missing in {source.row_place(row)}. Fill "
            "it, or remove such rows."
        )
    return row_order.by_time(times), times


def _splits(rows, labels, class_names, parts, name, columns=None, notes=()):
    """The `Splits` of rows whose numbers are given for each part.

    Args:
        rows: a function from the rows' numbers to encoded rows.
        labels: of all rows.
        class_names: of their classes, or None.
        parts: as `row_order.split` returns them.
        name: of the table, for messages.
        columns: the `Columns`, or None.
        notes: of the `Splits`.
    """
    test, validation, train, spare = parts
    event_size, statistics = labels.shape[-1], {}
    if class_names:
        event_size = len(class_names)
        if len(np.unique(labels[train])) < 2:
            raise ValueError(
                f"All {len(train)} training rows of {name} are of one class, "
                f"{class_names[labels[train][0]]!r}: nothing to learn."
            )
    else:
        of_train = labels[train]
        mean, stddev = of_train.mean(0, dtype="float64"), of_train.std(0, dtype="float64")
        statistics = {"target_mean": mean.tolist(), "target_stddev": stddev.tolist()}
        if not np.all(stddev > 0.0):
            raise ValueError(
                f"A target of {name} is the same in all {len(train)} training rows (standard "
                f"deviation {stddev.tolist()}), so there is nothing to learn. Name another target."
            )

    def dataset(part):
        if not len(part):
            return None
        return tf.data.Dataset.from_tensor_slices((rows(part), labels[part]))

    train, validation, test, spare = map(dataset, (train, validation, test, spare))
    swap = columns.swap if columns else ()
    return Splits(
        train,
        validation,
        test,
        event_size,
        class_names=class_names,
        spare=spare,
        swap=swap,
        columns=columns,
        notes=tuple(notes),
        **statistics,
    )


def _with_unlabelled(splits, path):
    """Splits with the rows of another table among the spare inputs."""
    columns: Columns = splits.columns
    said = {"categories": columns.categories}
    source, *_ = table_files.read(path, columns.names, [], said=said)
    found = columns.cells(pd.DataFrame(source.series), source.name, source.row_place)
    columns.warn_of_unknown(found)
    rows = columns.encode_cells(found)
    more = tf.data.Dataset.from_tensor_slices((rows,))
    if splits.spare is not None:
        more = splits.spare.map(lambda x, *_: (x,)).concatenate(more)
    return dataclasses.replace(splits, spare=more)


def _labels(columns, name, classes):
    """The targets, and the names of their classes or None."""
    if classes not in (None, True, False):
        raise ValueError(
            f"classes must be True, False or None, for what the target looks like; got {classes!r}."
        )
    if classes is not False and _are_one_hot(columns.values):
        raise ValueError(
            f"The target of {name} is one-hot: one of its {columns.values.shape[1]} columns is 1 "
            "in every row, and the others 0. Save the class alone, numpy.argmax(y, 1); or say "
            "that these are numbers, with --config.data.classes=False."
        )
    if classes is None and columns.are_categories:
        classes = True
    if classes is None:
        texts = columns.values.ravel() if columns.values.dtype.kind == "O" else np.empty(0)
        codes, different = pd.factorize(texts)
        is_text = np.array([np.isnan(cells.number(text)) for text in different], bool)
        classes = 2 * is_text[codes].sum() > len(texts)
        classes = bool(classes) and 2 * len(different) <= len(texts)  # Others are bad numbers.
        if classes and (found := kinds.nearly(codes, different)):
            what, example, first = found
            how = "as days since one of them" if what == "dates" else f"like {example}"
            raise ValueError(
                f"The target of {name} looks like {what}, the first in "
                f"{columns.place(*divmod(first, len(columns.names)))}: {texts[first]!r}. Write "
                f"{what} {how}; or say that it is a class, with --config.data.classes=True."
            )
    if classes:
        return _classes(columns, name)
    return _numbers(columns, name, "If it is a class, say so: --config=table:classes."), None


def _are_one_hot(values):
    is_wide = values.shape[1] > 1 and values.dtype.kind in "biuf"
    return is_wide and bool(np.isin(values, (0, 1)).all() and (values.sum(1) == 1).all())


def _numbers(columns, name, remedy):
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
            f"{rows} of the {len(values)} rows of {name} hold values that are missing, not finite "
            f"or no numbers, the first in {columns.place(*bad[0])}: {held!r}. Remove or fill them, "
            f"and write numbers like 1234.5. {remedy}"
        )
    exact = floats if values.dtype.kind == "O" else values
    rounded = [
        float32.rounded(
            exact[:, column], named, name, functools.partial(columns.place, column=column)
        )
        for column, named in enumerate(columns.names)
    ]
    return np.stack(rounded, 1)


def _parsed(values):
    """Numbers or text as float64, NaN where the text is no number."""
    if values.dtype.kind != "O":
        return values.astype("float64")
    places, texts = pd.factorize(values.ravel())
    return np.array([cells.number(text) for text in texts])[places].reshape(values.shape)


def _classes(columns, name):
    """The number of each row's class, int64 (rows,), and the classes' names in their order."""
    if columns.values.shape[1] != 1:
        raise ValueError(
            f"Classes are one column; the target of {name} has {columns.values.shape[1]}. Name "
            "one with --config.data.target."
        )
    labels, numbers = columns.values[:, 0], _parsed(columns.values)[:, 0]
    is_number = np.abs(numbers) <= 2.0**53  # Larger ones may be others in float64.
    missing = ~is_number
    if labels.dtype.kind in "iu" and missing.any():
        labels = labels.astype(str).astype(object)
    if labels.dtype.kind == "O":
        # What looks alike may be written in two ways: é as one character, and as e with an accent.
        written = (unicodedata.normalize("NFC", each.strip()) for each in labels.astype(str))
        labels = np.array(list(written))
        missing = np.isin(np.char.lower(labels), cells.MISSING)
    if missing.any():
        raise ValueError(
            f"{missing.sum()} of the {len(labels)} rows of {name} have no class, the first in "
            f"{columns.place(missing.argmax(), 0)}. Remove them. (Empty cells, ?, NA, NaN and "
            "null are missing: a class of such a name needs another.)"
        )
    if is_number.any() and not is_number.all():
        raise ValueError(
            f"The target of {name} is a number in {columns.place(is_number.argmax(), 0)}, and text "
            f"in {columns.place(is_number.argmin(), 0)}: {str(labels[is_number.argmin()])!r}. "
            "Classes are all numbers, or all text."
        )
    kinds, y = np.unique(numbers if is_number.all() else labels, return_inverse=True)
    if is_number.all():
        # A negative number among others mostly stands for a class that is not known.
        if np.any(kinds != np.floor(kinds)) or (kinds[0] < 0 and kinds.tolist() != [-1, 1]):
            row = int(((numbers < 0) | (numbers != np.floor(numbers))).argmax())
            raise ValueError(
                f"Classes are text, whole numbers from 0, or -1 and 1; the target of {name} is "
                f"{labels[row]} in {columns.place(row, 0)}. For a number as target leave "
                "`classes` out, or give classes=False; number the classes otherwise."
            )
        kinds = kinds.astype("int64")
    if 2 * len(kinds) > len(labels):
        raise ValueError(
            f"The target of {name} has {len(kinds)} different values in {len(labels)} rows, so it "
            "is no class. Name another target, or leave `classes` out, or give classes=False."
        )
    return y.astype("int64"), tuple(map(str, kinds))
