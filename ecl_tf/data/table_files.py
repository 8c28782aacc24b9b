"""Reads the columns of a file or DataFrame as they are, or says where they are no table."""

import csv
import dataclasses
import functools
import pathlib
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ecl_tf.data import cells

_OTHER_PROGRAMS = {b"PK\x03\x04": "Excel's", b"\xd0\xcf\x11\xe0": "Excel's", b"\x1f\x8b": "gzip's"}
# First lines of text that is no table, what it is, and what helps.
_OTHER_TEXTS = (
    (
        r'[\[{]|\[ *[\[{].*|\{ *".*',
        "JSON",
        "Give pandas.read_json(path) to ecl_tf.data.table, with lines=True if each line is a row",
    ),
    (r"<(!doctype|html|\?xml).*", "a page of the web or XML", "Download the file itself"),
    (r"version https://git-lfs.*", "a pointer to Git LFS", "Fetch the file: git lfs pull"),
    (r'"?sep=."?', "Excel's note of what parts cells", "Remove that line above the names"),
)
_DELIMITERS = ",;\t|"
FORMS = (".csv", ".npz", ".parquet")
WITH_NAMES = (".csv", ".parquet")  # Of columns.


@dataclasses.dataclass
class Columns:
    """Some columns of a table.

    Attributes:
        values: (rows, columns), as they are in the file: numbers, or objects that are text.
        names: of the columns, for messages.
        row_place: from a row to where it is, in words; by default by its number.
        are_categories: whether one is a category by its type in pandas, whatever it looks like;
            False by default.
    """

    values: np.ndarray
    names: Sequence[str]
    row_place: Callable[[int], str] = "row {} (from 0)".format
    are_categories: bool = False

    def place(self, row: int, column: int) -> str:
        """Where a value is, in words."""
        return f"{self.row_place(row)}, {self.names[column]}"


@dataclasses.dataclass
class Source:
    """A table with named columns.

    Attributes:
        series: the columns that were asked for, by their names. Who needs one no more takes it
            out, so that its memory is free.
        name: of the table, for messages.
        row_place: from a row to where it is, in words.
    """

    series: dict[str, pd.Series]
    name: str
    row_place: Callable[[int], str] = "row {} (from 0)".format

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(next(iter(self.series.values()), ()))

    def columns(self, names: Sequence[str]) -> Columns:
        """Some columns as numbers, if all of them are, and as text otherwise.

        Args:
            names: of the columns.
        """
        chosen = [self.series[name] for name in names]
        named = [f"column {name!r}" for name in names]
        if all(map(cells.is_number, chosen)):
            if chosen[0].dtype.kind in "iu":  # All digits of whole numbers.
                arrays = [column.to_numpy() for column in chosen]
            else:
                arrays = [column.to_numpy("float64", na_value=np.nan) for column in chosen]
        else:
            arrays = [cells.texts(*each) for each in zip(chosen, named, strict=True)]
        are_categories = any(isinstance(each.dtype, pd.CategoricalDtype) for each in chosen)
        return Columns(np.stack(arrays, 1), named, self.row_place, are_categories)


def read(
    table: pathlib.Path | pd.DataFrame,
    inputs: Any,
    targets: Any,
    others: Sequence[str] = (),
    said: Mapping[str, Any] | None = None,
) -> tuple[Source, list[str], list[str], dict[str, list[str]]]:
    """Reads a table with named columns.

    Args:
        table: the path of a .csv or .parquet file, or a DataFrame.
        inputs: names, as in `ecl_tf.data.table`.
        targets: names, as `target` there.
        others: columns to read that are neither, unless they are named as inputs.
        said: from "numbers", "categories" and "dates" to names of such columns; None by default.
            Categories stay as they are written: 007 is not 7.

    Returns:
        The table, the names of its inputs, those of its targets, and `said` as lists of names.

    Raises:
        ValueError: if the file is no table, or a name in it is missing or there twice.
    """
    if isinstance(table, pd.DataFrame):
        name, found = "the DataFrame", [str(name) for name in table.columns]
        opened = functools.partial(_of_frame, "the DataFrame", table)
    elif table.suffix.lower() == ".parquet":
        name, frame = str(table), _parquet(table)
        found, opened = [*map(str, frame.columns)], functools.partial(_of_frame, name, frame)
    else:
        name = str(table)
        above, found, delimiter = _validated(table)
        opened = functools.partial(_of_csv, table, above, found, delimiter)
    targets = _names(targets, found, "target") if targets != [] else []
    kinds = {kind: _names(given or [], found, kind) for kind, given in (said or {}).items()}
    if inputs is None:
        inputs = [each for each in found if each not in (*targets, *others)]
    else:
        inputs = _names(inputs, found, "inputs")
    _require([*inputs, *targets, *others], found, name)
    _require_apart(inputs, targets, name)
    if parted := [each for each in others if each in targets]:
        raise ValueError(
            f"The target {parted[0]!r} of {name} can't part its rows: those of the test would have "
            "targets that no training row has. Name another column as groups or time."
        )
    wanted = list(dict.fromkeys([*inputs, *targets, *others]))
    _require_unique(wanted, found, name)
    if not inputs:
        raise ValueError(
            f"{name} is no table: it has no inputs beside the target {targets}; expected at least "
            "one more column."
        )
    source = Source(*opened(wanted, kinds.get("categories", [])))
    if not source.rows:
        raise ValueError(f"{name} is no table: it has names of columns, and not at least one row.")
    _require_names_above(source)
    return source, inputs, targets, kinds


def _require_names_above(source):
    """Refuses a table whose names of columns are a row, or are among its rows once more."""
    of_numbers = {name: each for name, each in source.series.items() if cells.is_number(each)}
    if not of_numbers:
        are_names = [np.asarray(each.astype(str) == name) for name, each in source.series.items()]
        if (is_header := np.logical_and.reduce(are_names)).any():
            raise ValueError(
                f"{source.row_place(int(is_header.argmax())).capitalize()} of {source.name} holds "
                "the names of the columns again, as where files were joined. Remove it."
            )
        return
    names = np.array([cells.number(name) for name in of_numbers])
    # Years, numbers of pixels and, in order, wavelengths are names, too.
    is_in_order = (names == np.floor(names)).all() or (np.diff(names) > 0).all()
    if len(names) < 3 or np.isnan(names).any() or is_in_order:
        return
    ends = zip((each.astype("float64") for each in of_numbers.values()), names, strict=True)
    if all(column.min() <= name <= column.max() for column, name in ends):
        raise ValueError(
            f"The columns of {source.name} have numbers as names, such as cells below them: "
            f"{', '.join([*of_numbers][:5])}. It seems to have no line of names, so that its first "
            "row was taken for one. Write names in a line above, pandas.read_csv(..., header=None, "
            "names=[...]); or choose other names."
        )


def _of_frame(table, frame, wanted, as_text):
    places = [[*map(str, frame.columns)].index(name) for name in wanted]
    return {name: frame.iloc[:, place] for name, place in zip(wanted, places, strict=True)}, table


def _of_csv(path, above, found, delimiter, wanted, as_text):
    places = [found.index(name) for name in wanted]
    texts = {found.index(name): str for name in as_text if name in found}
    missing = {form for text in cells.MISSING for form in (text, text.upper(), text.title())}
    frame = pd.read_csv(
        path,
        sep=delimiter,
        header=None,
        names=range(len(found)),
        usecols=places,
        skiprows=above,
        index_col=False,
        skipinitialspace=True,
        keep_default_na=False,
        na_values=sorted({*missing, "NaN", "#N/A"}),
        dtype=texts,
        low_memory=False,  # Otherwise 01067 is a number in parts of a file that hold digits alone.
        encoding="utf-8-sig",
    )
    series = {name: frame[place] for name, place in zip(wanted, places, strict=True)}
    return series, str(path), lambda row: f"line {_line(path, above, delimiter, row)}"


def _parquet(path):
    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise ValueError(
            f"Parquet files such as {path} need pyarrow: pip install 'ecl_tf[parquet]'. Or save "
            "the table as a CSV file."
        ) from error
    except Exception as error:  # pyarrow has errors of its own.
        raise ValueError(f"{path} can't be read as a Parquet file: {error}") from error


def read_arrays(path: pathlib.Path, inputs: Any, target: Any) -> tuple[Columns, Columns]:
    """Returns the inputs and the targets of an .npz file.

    Args:
        path: of the file.
        inputs: as in `ecl_tf.data.table`.
        target: the same.

    Raises:
        ValueError: if the file is no table, or an array is missing or has another shape.
    """
    for name, value in {"inputs": inputs, "target": target}.items():
        if not (isinstance(value, str) or (name == "inputs" and value is None)):
            raise ValueError(
                f"{name}={value!r} is no name of an array of {path}. Give a name: {name}='x'."
            )
    x, y = _read_npz(path, inputs, target)
    rows = len(x.values)
    if not rows or rows != len(y.values) or not all(len(each.names) for each in (x, y)):
        raise ValueError(
            f"{path} is no table: inputs of shape {x.values.shape} and targets of shape "
            f"{y.values.shape}; expected (rows, columns) and as many targets, at least one row."
        )
    return x, y


def require_form(path: pathlib.Path, forms: Sequence[str] = FORMS) -> None:
    """Raises ValueError if a path is not one of a table's by its ending.

    Args:
        path: of a file.
        forms: the endings; all of a table by default.
    """
    if path.suffix.lower() not in forms:
        raise ValueError(f"A table is one of {[*forms]}; got {str(path)!r}.")


def _read_npz(path, inputs, target):
    names = ["x" if inputs is None else inputs, target]
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is damaged, or not an .npz file, as numpy.savez writes it.")
    with np.load(path) as file:
        _require(names, file.files, path)
        _require_apart(names[:1], names[1:], path)
        try:
            arrays = [file[name] for name in names]
        except (ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"The arrays {names} of {path} can't be read: {error}") from error
    for name, array in zip(names, arrays, strict=True):
        # Inputs are a table already, targets perhaps one column of it.
        if array.ndim != 2 and (array.ndim, name) != (1, target):
            raise ValueError(
                f"{path} is no table: its array {name!r} is of shape {array.shape}; expected "
                "inputs of (rows, columns) and targets of (rows,) or (rows, columns)."
            )
        if array.dtype.kind not in "biufUS":
            raise ValueError(
                f"The array {name!r} of {path} is of type {array.dtype}; expected numbers, or "
                "text for classes."
            )
    arrays = [a.astype(str).astype(object) if a.dtype.kind in "US" else a for a in arrays]
    if arrays[1].dtype.kind == "b":  # Classes, as in a file of columns.
        arrays[1] = arrays[1].astype(str).astype(object)
    return (
        Columns(table, [f"column {number} of {name!r}" for number in range(table.shape[1])])
        for name, array in zip(names, arrays, strict=True)
        for table in [array[:, None] if array.ndim == 1 else array]
    )


def _require_unique(names, found, table):
    for name in names:
        places = [number for number, each in enumerate(found, 1) if each == name]
        if len(places) > 1:
            raise ValueError(
                f"The first line of {table} names {len(places)} columns {name!r}, those number "
                f"{' and '.join(map(str, places))}. Give each column a name of its own."
            )
        if not name:
            raise ValueError(
                f"Column number {places[0]} of {table} has no name in the first line. Name it, or "
                "choose other columns with --config.data.inputs. (Row numbers that pandas writes "
                "have no name; DataFrame.to_csv(index=False) leaves them out.)"
            )


def _validated(path):
    """Reads a .csv file once, line by line, and keeps nothing; refuses what pandas would guess.

    Returns:
        The number of lines down to that of the names, the names, and the delimiter.
    """
    content = _start(path)
    for start, program in _OTHER_PROGRAMS.items():
        if content.startswith(start):
            raise ValueError(f"{path} is one of {program} files, not text. Save it as a CSV file.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = _text_lines(file, path)
            above, line = next(filter(lambda each: each[1].strip(), enumerate(lines, 1)), (0, ""))
            if not above:
                raise ValueError(
                    f"{path} is empty; expected a line of column names, and rows below it."
                )
            header, delimiter = _header(line, path)
            for number, row in _rows(lines, above, delimiter, path):
                if len(row) != len(header):
                    if len(header) == 1 or line.startswith("#"):
                        raise ValueError(
                            f"Line {above} of {path}, {line.strip()[:60]!r}, does not name its "
                            f"columns: line {number} has {len(row)} cells. Remove what stands "
                            "above the line of names."
                        )
                    raise ValueError(
                        f"Line {number} of {path} has {len(row)} cells, and the first line names "
                        f"{len(header)} columns. Look there for a cell that is left out, or for "
                        f"a {delimiter!r} within a cell without quotation marks."
                    )
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not text in UTF-8; the first byte that can't be read is in line "
            f"{_undecodable(path)}. Save it as CSV UTF-8."
        ) from error
    return above, header, delimiter


def _start(path):
    with path.open("rb") as file:
        return file.read(8)


def _text_lines(file, path):
    for line in file:
        if "\0" in line:
            raise ValueError(f"{path} holds zero bytes, so it is not text. Save it as CSV UTF-8.")
        yield line


def _undecodable(path):
    """The number of the first line that is not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def _rows(lines: Iterator[str], above, delimiter, path):
    """Yields each row below the names, and the number of its line; blank lines are left out."""
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    line = above + 1
    try:
        for row in reader:
            if len(row) > 1 or (row and row[0].strip()):
                yield line, row
            line = above + 1 + reader.line_num
    except csv.Error as error:
        raise ValueError(
            f"Line {line} of {path} can't be read: {error}. Look there for a quotation mark that "
            "is not closed."
        ) from error


def _line(path, above, delimiter, row):
    """The number of a row's line, which only messages need."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        for _ in range(above):
            next(file)
        for place, (number, _) in enumerate(_rows(file, above, delimiter, path)):
            if place == row:
                return number
    return row


def _header(line, path):
    """The names of the columns, and the delimiter: a comma, unless the line has none."""
    for form, what, remedy in _OTHER_TEXTS:
        if re.fullmatch(form, line.strip(), re.IGNORECASE):
            raise ValueError(f"The first line of {path} is {what}, and no names. {remedy}.")
    parsed = {
        delimiter: next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
        for delimiter in _DELIMITERS
    }
    delimiter = next((each for each in _DELIMITERS if len(parsed[each]) > 1), ",")
    header = [name.strip() for name in parsed[delimiter]]
    try:
        next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error as error:
        if "end of data" in str(error):
            raise ValueError(
                f"The name {header[-1]!r} in the first line of {path} has a line break, or no "
                "quotation mark at its end. Write all names in one line."
            ) from error
    # NumPy and pandas number the columns of an array, for want of names.
    if all(map(_is_number, header)) and header != [
        str(int(float(header[0])) + number) for number in range(len(header))
    ]:
        raise ValueError(
            f"The first line of {path} holds numbers: {', '.join(header[:5])}. Expected the "
            "columns' names; write them in a line above."
        )
    return header, delimiter


def _is_number(text):
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False


def _names(given, found, argument):
    """A list of names; a string is one of the columns, or several with commas between them."""
    if isinstance(given, str):
        given = [given] if given in found else given.split(",")
    is_list = isinstance(given, (list, tuple)) and all(isinstance(each, str) for each in given)
    if not is_list or not (given or argument != "target"):
        raise ValueError(
            f"{argument}={given!r} is no name of a column, and no list of names. Give one or some "
            f"of {found[:20]}."
        )
    return [name.strip() if name not in found else name for name in given]


def _require(names, found, path):
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(
            f"{path} has no {missing}; it has {list(found)}. Name its arrays or columns with "
            "--config.data.inputs and --config.data.target."
        )


def _require_apart(inputs: Iterable, targets: Iterable, path):
    """Raises ValueError if a name is given twice."""
    names = [*inputs, *targets]
    for name in names:
        if names.count(name) > 1:
            both = name in inputs and name in targets
            what = "is among the inputs, so they give it away" if both else "is named twice"
            raise ValueError(
                f"The {'target' if name in targets else 'input'} {name!r} of {path} {what}. Name "
                "other columns with --config.data.inputs and --config.data.target."
            )
