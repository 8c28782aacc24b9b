"""Reads columns of a .csv or .npz file as they are, or says in which line they are no table."""

import csv
import dataclasses
import io
import pathlib
import zipfile
from collections.abc import Iterable, Sequence

import numpy as np

_OTHER_PROGRAMS = {b"PK\x03\x04": "Excel's", b"\xd0\xcf\x11\xe0": "Excel's", b"\x1f\x8b": "gzip's"}
_DELIMITERS = ",;\t|"


@dataclasses.dataclass
class Columns:
    """Some columns of a table.

    Attributes:
        values: (rows, columns), as they are in the file: numbers, or objects that are text.
        names: of the columns, for messages.
        lines: the line of each row in a file of text, counted from 1; None in other files.
    """

    values: np.ndarray
    names: Sequence[str]
    lines: Sequence[int] | None = None

    def place(self, row: int, column: int) -> str:
        """Where a value is, in words."""
        line = f"row {row} (from 0)" if self.lines is None else f"line {self.lines[row]}"
        return f"{line}, {self.names[column]}"


def read(
    path: pathlib.Path, inputs: str | Sequence[str] | None, target: str | Sequence[str]
) -> tuple[Columns, Columns]:
    """Returns the inputs and the targets; for the arguments see `ecl_tf.data.table`.

    Raises:
        ValueError: if the file is no table, or a name in it is missing or there twice.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"A table is one of {sorted(_READERS)}; got {str(path)!r}.")
    x, y = reader(path, inputs, target)
    rows = len(x.values)
    if not rows or rows != len(y.values) or not all(len(each.names) for each in (x, y)):
        raise ValueError(
            f"{path} is no table: inputs of shape {x.values.shape} and targets of shape "
            f"{y.values.shape}; expected (rows, columns) and as many targets, at least one row."
        )
    return x, y


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
    return (
        Columns(table, [f"column {number} of {name!r}" for number in range(table.shape[1])])
        for name, array in zip(names, arrays, strict=True)
        for table in [array[:, None] if array.ndim == 1 else array]
    )


def _read_csv(path, inputs, target):
    found, rows, lines = _cells(path)
    targets = _names(target, found)
    inputs = [n for n in found if n not in targets] if inputs is None else _names(inputs, found)
    _require([*inputs, *targets], found, path)
    _require_apart(inputs, targets, path)
    for name in [*inputs, *targets]:
        places = [number for number, each in enumerate(found, 1) if each == name]
        if len(places) > 1:
            raise ValueError(
                f"The first line of {path} names {len(places)} columns {name!r}, those number "
                f"{' and '.join(map(str, places))}. Give each column a name of its own."
            )
        if not name:
            raise ValueError(
                f"Column number {places[0]} of {path} has no name in the first line. Name it, or "
                "choose other columns with --config.data.inputs. (Row numbers that pandas writes "
                "have no name; DataFrame.to_csv(index=False) leaves them out.)"
            )
    return (
        Columns(
            np.array([[row[place] for place in places] for row in rows], object),
            [f"column {found[place]!r}" for place in places],
            lines,
        )
        for places in ([found.index(name) for name in names] for names in (inputs, targets))
    )


def _cells(path):
    """The names in the first line, the cells of each row below, and the number of its line."""
    text = list(io.StringIO(_text(path), newline=""))
    above = next((number for number, line in enumerate(text, 1) if line.strip()), 0)
    if not above:
        raise ValueError(f"{path} is empty; expected a line of column names, and rows below it.")
    header, delimiter = _header(text[above - 1], path)
    reader = csv.reader(text[above:], delimiter=delimiter, skipinitialspace=True, strict=True)
    rows, lines = [], []
    line = above + 1
    try:
        for row in reader:
            if len(row) > 1 or (row and row[0].strip()):  # Other lines are blank.
                if len(row) != len(header):
                    raise ValueError(
                        f"Line {line} of {path} has {len(row)} cells, and the first line names "
                        f"{len(header)} columns. Look there for a cell that is left out, or for "
                        f"a {delimiter!r} within a cell without quotation marks."
                    )
                rows.append(row)
                lines.append(line)
            line = above + 1 + reader.line_num
    except csv.Error as error:
        raise ValueError(
            f"Line {line} of {path} can't be read: {error}. Look there for a quotation mark that "
            "is not closed."
        ) from error
    return header, rows, lines


def _header(line, path):
    """The names of the columns, and the delimiter: a comma, unless the line has none."""
    parsed = {
        delimiter: next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
        for delimiter in _DELIMITERS
    }
    delimiter = next((each for each in _DELIMITERS if len(parsed[each]) > 1), ",")
    header = [name.strip() for name in parsed[delimiter]]
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


def _text(path):
    content = path.read_bytes()
    for start, program in _OTHER_PROGRAMS.items():
        if content.startswith(start):
            raise ValueError(f"{path} is one of {program} files, not text. Save it as a CSV file.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + content[: error.start].count(b"\n")
        raise ValueError(
            f"{path} is not text in UTF-8; the first byte that can't be read is in line {line}. "
            "Save it as CSV UTF-8."
        ) from error
    if "\0" in text:
        raise ValueError(f"{path} holds zero bytes, so it is not text. Save it as CSV UTF-8.")
    return text


def _names(given, columns):
    """A list of names; a string is one of the columns, or several with commas between them."""
    if isinstance(given, str):
        given = [given] if given in columns else given.split(",")
    return [name.strip() if isinstance(name, str) else name for name in given]


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


_READERS = {".npz": _read_npz, ".csv": _read_csv}
