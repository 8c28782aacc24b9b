"""Cells of a column, whatever they are written like: as amounts, days, or texts."""

import datetime
import re
import unicodedata
from collections.abc import Callable

import numpy as np
import pandas as pd

# Text that stands for a cell that is not known, in lower case.
MISSING = ("", "?", "#n/a", "<na>", "n/a", "na", "nan", "null")
_DAYS = 3_000_000  # From 1970 to beyond the year 9999, and less than 20240305.
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")

Place = Callable[[int], str]
BY_NUMBER: Place = "row {} (from 0)".format


def unique(column: pd.Series, name: str) -> tuple[np.ndarray, list[str]]:
    """The number of each cell's text, int64 (rows,), and the texts; missing ones are "".

    Args:
        column: the cells.
        name: of the column in messages.

    Raises:
        ValueError: if cells are lists or other objects that are no single values.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    try:
        codes, values = pd.factorize(column, use_na_sentinel=True)
    except TypeError as error:
        raise ValueError(
            f"{name} holds cells that are no numbers, texts or dates: {error}. Leave it out."
        ) from error
    texts = [_text(value) for value in values]
    texts = ["" if text.lower() in MISSING else text for text in texts]
    places: dict[str, int] = {}
    numbers = [places.setdefault(text, len(places)) for text in texts]
    if (codes < 0).any():
        numbers.append(places.setdefault("", len(places)))  # Which -1 is.
    return np.array(numbers, "int64")[codes], list(places)


def texts(column: pd.Series, name: str) -> np.ndarray:
    """The cells as text, an array of objects; missing ones are "".

    Args:
        column: the cells.
        name: of the column in messages.
    """
    codes, found = unique(column, name)
    return np.array(found, object)[codes]


def amounts(column: pd.Series, name: str, place: Place = BY_NUMBER) -> np.ndarray:
    """The cells as float64, NaN where they are missing.

    Args:
        column: the cells.
        name: of the column in messages.
        place: from a row to where it is in words; by default its number.

    Raises:
        ValueError: naming the first cell that is neither a number nor missing, or is infinite.
    """
    if is_number(column):
        values = column.to_numpy("float64", na_value=np.nan)
    else:
        codes, found = unique(column, name)
        values = np.array([number(text) for text in found])[codes]
        _require_all(np.isnan(values), codes, found, "number", name, place)
    if np.isinf(values).any():
        row = int(np.isinf(values).argmax())
        raise ValueError(f"{name} has {values[row]} in {place(row)}. Remove or fill such values.")
    return values


def days(column: pd.Series, name: str, place: Place = BY_NUMBER) -> np.ndarray:
    """The cells, dates and times, as days since 1970-01-01, NaN where they are missing.

    Args:
        column: the cells.
        name: of the column in messages.
        place: as in `amounts`.

    Raises:
        ValueError: naming the first cell that is neither a date nor missing, or no number of days.
    """
    if is_number(column):  # As exported students take them.
        values = amounts(column, name, place)
        if (outside := np.abs(values) > _DAYS).any():
            row = int(outside.argmax())
            raise ValueError(
                f"{name} holds dates, and {values[row]:.0f} in {place(row)} is no number of days "
                "since 1970-01-01. Write dates like 2024-03-05."
            )
        return values
    if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M":
        return _days(pd.DatetimeIndex(column))
    codes, found = unique(column, name)
    values = dates(found)[codes]
    _require_all(np.isnan(values), codes, found, "date", name, place)
    return values


def dates(found: list[str]) -> np.ndarray:
    """Texts such as 2024-03-05, perhaps with a time, as days since 1970-01-01; NaN for all others.

    Others are not guessed: 03/04/2021 is in March or in April.

    Args:
        found: the texts.
    """
    of_form = [text if _ISO_DATE.fullmatch(text) else "" for text in found]
    read = pd.to_datetime(of_form, errors="coerce", utc=True, format="ISO8601")
    return _days(pd.DatetimeIndex(read))


def are_iso_dates(found: list[str]) -> np.ndarray:
    """Which texts are dates such as 2024-03-05, perhaps with a time.

    Args:
        found: the texts.
    """
    return ~np.isnan(dates(found))


def are_numbers(found: list[str]) -> np.ndarray:
    """Which texts are numbers.

    Args:
        found: the texts.
    """
    return np.array([not np.isnan(number(text)) for text in found])


def is_number(column: pd.Series) -> bool:
    """Whether the cells are real numbers by their type, and no booleans."""
    is_numeric = pd.api.types.is_numeric_dtype(column.dtype)
    return is_numeric and column.dtype.kind != "c" and not pd.api.types.is_bool_dtype(column.dtype)


def number(text: str) -> float:
    """A text as a number, NaN if it is none."""
    try:
        return np.nan if "_" in text else float(text)
    except ValueError:
        return np.nan


def _days(index):
    if index.tz is not None:
        index = index.tz_convert("UTC").tz_localize(None)
    moments = index.to_numpy("datetime64[us]")  # Of any year.
    return (moments - np.datetime64(0, "us")) / np.timedelta64(1, "D")


def _text(value):
    if isinstance(value, bytes):  # As TensorFlow has text.
        value = value.decode(errors="replace")
    if isinstance(value, str):
        # What looks alike may be written in two ways: é as one character, and as e with an accent.
        text = unicodedata.normalize("NFC", value.strip())
        # As pandas writes and reads booleans, and whole numbers of columns with missing cells.
        if text.lower() in ("true", "false"):
            return text.capitalize()
        whole = re.fullmatch(r"([+-]?[0-9]+)\.0", text)
        return whole[1] if whole else text
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime):  # pandas' own, too.
        return value.isoformat(sep=" ")
    return str(value)


def _require_all(is_none, codes, found, kind, name, place):
    """Raises ValueError if a cell is missing by its value, but not by its text."""
    wrong = is_none & (np.array(found, object) != "")[codes]
    if not wrong.any():
        return
    row = int(wrong.argmax())
    example = "numbers like 1234.5" if kind == "number" else "dates like 2024-03-05"
    raise ValueError(
        f"{wrong.sum()} of the {len(codes)} rows hold no {kind} in {name}, the first in "
        f"{place(row)}: {found[codes[row]]!r}. Remove or fill them, and write {example}."
    )
