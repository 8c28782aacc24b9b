"""What the columns of a table are: found from their cells, or as somebody says."""

import dataclasses
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ecl_tf.data import cells, float32, table_notes
from ecl_tf.data.columns import Category, Columns, Date, Number
from ecl_tf.data.table_files import Source

_RARE = 5  # Training rows below which a category has none of its own.
_MOST = 1000  # Categories of a column.
_MONTH = (
    "(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    "|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_NUMBER = r"[+-]? ?\d{1,3}(?:[.,' _]?\d{3})*(?:[.,]\d+)?(?:e[+-]?\d+)? ?%?"
_DATES = (
    r"\d{1,2}([-/.])\d{1,2}\1\d{4}",
    r"\d{4}([-/.])\d{1,2}\2\d{1,2}",
    r"\d{1,2}/\d{1,2}/\d{2}",
    r"(?:0[1-9]|[12]\d|3[01])-(?:0[1-9]|1[0-2])-\d{2}",
    r"\d{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])",
    r"\d{4}-(?:0[1-9]|1[0-2])",
    r"\d{8}t\d{4,6}",
    rf"\d{{1,2}}\.?[ -]{_MONTH}\.?,?[ -]\d{{2,4}}",
    rf"{_MONTH}\.? \d{{1,2}},? \d{{4}}",
)
# What is a number or a date to people, and none to a parser: decimal commas, separators of
# thousands, percentages, a bookkeeper's (3.5); days and months in other orders, or in words. With
# an example of what a parser takes.
_NEARLY = {
    "numbers": (re.compile(rf"{_NUMBER}|\({_NUMBER}\)"), "1234.5"),
    "dates": (re.compile(rf"(?:{'|'.join(_DATES)})(?:[ t,].*)?"), "2024-03-05"),
    "times": (re.compile(r"\d{1,3}:[0-5]\d(?::[0-5]\d(?:\.\d+)?)?(?: ?[ap]m)?"), "3.5, in hours"),
}
_DECADES = 20 * 365  # In days.
_NINES = re.compile(r"-?9{2,}(?:\.9+|\.25)?")  # -999.25 stands for none in logs of wells.
_APART = 5.0  # So many times as large as any other number.
_FEW = 3  # Numbers beside it.
_FEWEST_TIMES = 20  # Different ones: scores and ratios look like times.
# With a unit, such as 5 km or 12°.
_AMOUNT = re.compile(r"[+-]?\d+(?:[.,]\d+)? ?(?:°[cf]?|[^\W\d_]+(?:/[^\W\d_]+)?[²³]?)")


@dataclasses.dataclass
class Found:
    """What `find` tells of a table.

    Attributes:
        columns: the `Columns`.
        cells: of all rows, by the columns' names, as the encoder takes them.
        notes: sentences of what was left out, filled, or not known.
    """

    columns: Columns
    cells: dict[str, np.ndarray]
    notes: list[str]


def find(
    source: Source, inputs: Sequence[str], train: np.ndarray, said: dict[str, Sequence[str]]
) -> Found:
    """Finds the kinds of columns, and their statistics and categories in the training rows.

    Args:
        source: the table.
        inputs: the names of its columns that are inputs.
        train: the training rows' numbers.
        said: from "numbers", "categories" and "dates" to the names of columns that are such.

    Raises:
        ValueError: naming the column and a place, if cells are of several kinds or of none that a
            network takes, or if no column tells rows apart.
    """
    kinds = _said(inputs, said, source.name)
    specs, found, left_out, notes = [], {}, [], []
    missing: dict[str, float] = {}
    for name in inputs:
        kind = kinds.get(name) or _kind(source, name)
        if kind == "category":
            fitted = _category(source, name, train, name in kinds)
        else:
            fitted = _amount(source, name, train, kind)
        del source.series[name]
        if isinstance(fitted.spec, str):
            left_out.append(f"{name} ({fitted.spec})")
            continue
        specs.append(fitted.spec)
        found[name] = fitted.cells
        if share := fitted.missing.mean():
            missing[name] = share
        notes += fitted.notes
    if not specs:
        raise ValueError(
            f"No column of {source.name} tells rows apart: {'; '.join(left_out)}. Name other "
            "inputs, or say what they are with --config.data.categories, numbers or dates."
        )
    if missing:
        named = [f"{name} {share:.1%}" for name, share in missing.items()]
        total = sum(missing.values()) / len(specs)
        notes.insert(0, f"missing cells: {total:.1%} of all ({_shortened(named)})")
    if left_out:
        notes.insert(0, f"left out: {_shortened(left_out)}")
    return Found(Columns(specs), found, notes)


@dataclasses.dataclass
class _Fitted:
    """A column: its spec, or why it is left out; its cells; which are missing; and notes."""

    spec: Any
    cells: np.ndarray
    missing: np.ndarray
    notes: list[str] = dataclasses.field(default_factory=list)


def _said(inputs, said, table):
    kinds: dict[str, str] = {}
    singular = {"numbers": "number", "categories": "category", "dates": "date"}
    for argument, names in said.items():
        for name in names:
            if name not in inputs:
                raise ValueError(
                    f"{argument} names {name!r}, which is no input of {table}; these are "
                    f"{[*inputs]}."
                )
            if name in kinds:
                raise ValueError(f"{argument} names {name!r}, which is said to be a {kinds[name]}.")
            kinds[name] = singular[argument]
    return kinds


def _kind(source, name):
    """The kind of a column, from its type and its texts."""
    column = source.series[name]
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "category"
    if cells.is_number(column):
        return "number"
    if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M":
        return "date"
    if column.dtype.kind in "mc":
        raise ValueError(
            f"Column {name!r} of {source.name} is of type {column.dtype}; expected numbers, texts, "
            "booleans or dates."
        )
    codes, texts = cells.unique(column, f"column {name!r} of {source.name}")
    counts = np.bincount(codes, minlength=len(texts))
    known = np.array([text != "" for text in texts])
    rows = counts[known].sum()
    if not rows:
        return "number"  # Of nothing but missing cells, which is left out.
    for kind, test in {"number": cells.are_numbers, "date": cells.are_iso_dates}.items():
        if 2 * counts[test(texts) & known].sum() >= rows:
            # Others among them are told by whoever reads them as such.
            return kind
    if found := nearly(codes, texts):
        what, example, row = found
        raise ValueError(
            f"Cells of {source.name} are nearly {what}, the first in {source.row_place(row)}, "
            f"column {name!r}: {texts[codes[row]]!r}. Write {what} like {example}; or say that "
            f"the column is a category, with --config.data.categories={name}."
        )
    return "category"


def nearly(codes: np.ndarray, texts: Sequence[str]) -> tuple[str, str, int] | None:
    """What most cells are to people, though not to a parser: "numbers", "dates" or "times".

    Args:
        codes: the number of each cell's text, (rows,).
        texts: different ones; "" for cells that are missing.

    Returns:
        What they are, an example that a parser takes, and the row of the first one; or None.

    Example:
    >>> nearly(np.array([1, 0, 1]), ["none", "2,5"])
    ('numbers', '1234.5', 0)
    """
    counts = np.bincount(codes, minlength=len(texts))
    rows = sum(count for count, text in zip(counts, texts, strict=True) if text)
    plain = [*map(_plain, texts)]
    for what, (form, example) in _NEARLY.items():
        is_nearly = np.array([bool(form.fullmatch(text)) for text in plain])
        are_others = all(_is_season(plain[n]) for n in np.flatnonzero(is_nearly)) or (
            what == "times" and is_nearly.sum() < _FEWEST_TIMES
        )
        if 2 * counts[is_nearly].sum() >= rows and not are_others:
            return what, example, int(is_nearly[codes].argmax())
    return None


def notes_of_units(texts: Sequence[str], name: str, kind: str) -> Iterator[str]:
    """A note if most texts are amounts with a unit, which are not read as numbers.

    Args:
        texts: different ones.
        name: of their column.
        kind: what it is in place of numbers.

    Example:
    >>> print(*notes_of_units(["5 km", "12 km", "far"], "way", "category"))
    way is a category, though it looks like amounts (5 km, 12 km): if it is one of numbers, write \
them without a unit
    """
    if found := _with_unit(texts):
        yield (
            f"{name} is a {kind}, though it looks like amounts ({_shortened(found, 3)}): if it is "
            "one of numbers, write them without a unit"
        )


def _with_unit(texts):
    found = [text for text in texts if _AMOUNT.fullmatch(_plain(text))]
    return found if 2 * len(found) > len(texts) else []


def _is_season(text):
    """Whether it is two years, such as 2010-11."""
    years = re.fullmatch(r"\d\d(\d\d)-(\d\d)", text)
    return years is not None and int(years[2]) == (int(years[1]) + 1) % 100


def _plain(text):
    """A text in lower case with plain spaces, minus signs and apostrophes, and no currencies."""
    text = re.sub(r"\s", " ", text).replace("\N{MINUS SIGN}", "-").lower()
    text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return "".join(each for each in text if unicodedata.category(each) != "Sc").strip()


def _amount(source, name, train, kind):
    column = source.series[name]

    def place(row):
        return f"{source.row_place(row)}, column {name!r}"

    described = f"column {name!r} of {source.name}"
    if kind == "date" and cells.is_number(column) and column.notna().any():
        raise ValueError(
            f"Column {name!r} of {source.name} holds numbers, and is said to be of dates. Write "
            "dates like 2024-03-05."
        )
    read = cells.amounts if kind == "number" else cells.days
    try:
        values = read(column, described, place)
    except ValueError as error:
        raise ValueError(
            f"{error} Or say that it is a category, with --config.data.categories={name}."
        ) from error
    missing = np.isnan(values)
    known = values[train][~missing[train]]
    if not known.size:
        return _Fitted("no value in the training rows", values, missing)
    if kind == "number":
        exact = column.to_numpy() if column.dtype.kind in "iu" else values
        filled = np.where(missing, known[0], exact) if missing.any() else exact
        float32.rounded(filled, f"column {name!r}", source.name, place)
    if known.min() == known.max() and not missing[train].any():
        return _Fitted("the same in all training rows", values, missing)
    marked = bool(missing[train].any())
    spec: Number | Date = Number(name, float(known.mean()), marked)
    if kind == "date":
        times = () if np.all(known == np.floor(known)) else (1.0,)
        spec = Date(name, float(known.mean()), marked)
        spec = dataclasses.replace(spec, periods=(*spec.periods, *times))
    notes = []
    if missing.any() and not marked:
        notes.append(
            f"{name} is missing in {missing.sum():,} rows and in no training row, where it is "
            "filled by the mean"
        )
    of_kind = _far_dates if kind == "date" else _nines
    for value, count in of_kind(values[~missing]):
        shown = np.datetime64(0, "D") + int(np.floor(value)) if kind == "date" else f"{value:.15g}"
        notes.append(
            f"{name} is {shown} in {count:,} rows, apart from other {kind}s. It is taken for that "
            f"{kind}, and stretches the column's scale: leave such cells empty if they mean that "
            "there is none"
        )
    return _Fitted(spec, values.astype("float32"), missing, notes)


def _far_dates(days):
    """The first or last dates that lie apart from others, as 9999-12-31 does, and their counts."""
    dates, counts = np.unique(days, return_counts=True)
    while len(dates) > 2:
        before, after = dates[1] - dates[0], dates[-1] - dates[-2]
        place, gap = (0, before) if before > after else (-1, after)
        if gap <= max(_DECADES, np.ptp(dates) - gap):
            return
        yield dates[place], counts[place]
        dates, counts = (np.delete(each, place) for each in (dates, counts))


def _nines(numbers):
    """The least or greatest numbers that look as if they stood for none, as -999; their counts.

    Prices end in nines, too, so a number counts that is the only negative one, or far from others.
    """
    if not any(_NINES.fullmatch(f"{end:.15g}") for end in (numbers.min(), numbers.max())):
        return
    values, counts = np.unique(numbers, return_counts=True)
    while len(values) > _FEW:
        for place in (0, -1):
            value, others = values[place], np.delete(values, place)
            is_apart = value < 0.0 <= others.min() or abs(value) > _APART * abs(others).max()
            if _NINES.fullmatch(f"{value:.15g}") and counts[place] >= _RARE and is_apart:
                yield value, counts[place]
                values, counts = others, np.delete(counts, place)
                break
        else:
            return


def _category(source, name, train, is_said):
    codes, texts = cells.unique(source.series[name], f"column {name!r} of {source.name}")
    found = np.array(texts, object)
    missing = (found == "")[codes]
    counts = np.bincount(codes[train], minlength=len(texts))
    known = int((counts[found != ""] > 0).sum())
    rows = int((~missing[train]).sum())
    if np.count_nonzero(counts) < 2:
        return _Fitted("the same in all training rows", found[codes], missing)
    if 2 * known > rows and not is_said:
        told = f"{known:,} different texts in {rows:,} training rows"
        if with_unit := _with_unit(texts):
            told += f", such as {with_unit[0]}: amounts are read without a unit"
        return _Fitted(told, found[codes], missing)
    # Missing cells have a category of their own however few they are.
    kept = [number for number in np.argsort(-counts, kind="stable") if counts[number] >= _RARE]
    kept = sorted({texts[number] for number in kept[:_MOST]} | ({""} & _there(texts, counts)))
    if not kept:
        told = f"none of its {known:,} texts is in {_RARE} training rows"
        return _Fitted(told, found[codes], missing)
    unsaid = [] if is_said else kept
    notes = [*table_notes.of_names(kept, name), *notes_of_units(unsaid, name, "category")]
    is_other = ~np.isin(found, kept)[codes]
    if is_other.any():
        examples = [text or "missing cells" for text in dict.fromkeys(found[codes[is_other]])]
        notes.append(
            f"{name} has categories that fewer than {_RARE} training rows have, or that are not "
            f"among the {_MOST:,} most frequent ({_shortened(examples, 3)}), in "
            f"{is_other.sum():,} rows: they share one"
        )
    return _Fitted(Category(name, tuple(kept)), found[codes], missing, notes)


def _there(texts, counts):
    return {text for text, count in zip(texts, counts, strict=True) if count}


def _shortened(words, most=8):
    return ", ".join(words[:most]) + ", ..." * (len(words) > most)
