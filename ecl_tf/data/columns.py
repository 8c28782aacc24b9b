"""The columns of a table, and how a network sees them: numbers, and ids of categories."""

import collections
import dataclasses
import functools
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import ops

from ecl_tf import models, preprocessing
from ecl_tf._internal import in_place
from ecl_tf.data import cells

_YEAR, _WEEK = 365.2425, 7.0  # In days.
# In days: those of Excel count from 70 years earlier, and years are about 2,000.
_FAR = 40 * 365
_BATCH = 8192
_SHOWN = 5  # Names in a line of words.


@dataclasses.dataclass(frozen=True)
class Number:
    """A column of amounts.

    Attributes:
        name: of the column.
        mean: of the training rows, which fills a cell that is missing.
        marked: whether a 0 or 1 of its own says that the cell was missing; False by default.
    """

    name: str
    mean: float
    marked: bool = False


@dataclasses.dataclass(frozen=True)
class Date:
    """A column of dates, which become days since 1970-01-01, and where they are in a cycle.

    Attributes:
        name: of the column.
        mean: as of a `Number`, in days.
        marked: as of a `Number`; False by default.
        periods: of the cycles in days, each seen as 1 + sine and 1 + cosine; the year and
            the week by default, and the day where there are times.
    """

    name: str
    mean: float
    marked: bool = False
    periods: tuple[float, ...] = (_YEAR, _WEEK)


@dataclasses.dataclass(frozen=True)
class Category:
    """A column of texts or booleans, which become ids.

    Attributes:
        name: of the column.
        values: the categories 1, 2, ... as text, "" for a cell that is missing. All others are
            the category 0: those that training rows lack, and rare ones.
    """

    name: str
    values: tuple[str, ...]


for _kind in (Number, Date, Category):
    _kind.__init__.__doc__ = "Takes the attributes that the class describes."
_KINDS: dict[str, Any] = {"number": Number, "category": Category, "date": Date}


class Columns:
    """How rows of named columns become what a network takes.

    A network sees one tensor of numbers (d,), float32; or, if there are categories, a dict of
    `numbers`, and of `categories`, their ids (k,), int32, which samplers swap in place of
    averaging them. Numbers keep their units. `str(columns)` says what the columns are.

    Args:
        specs: a `Number`, `Date` or `Category` for each column, in their order.

    Attributes:
        specs: the same.
        names: of the columns.
        categories: the names of those that are categories.

    Example:
    >>> columns = Columns([Number("age", 30.0, True), Category("city", ("Basel", "Bern"))])
    >>> rows = columns.encode({"age": [20.0, None], "city": ["Bern", "Chur"]})
    >>> print(rows["numbers"], rows["categories"].ravel())  # The mean, and a mark.
    [[20.  0.]
     [30.  1.]] [2 0]
    >>> columns.shape
    {'numbers': (2,), 'categories': (1,)}
    """

    def __init__(self, specs: Sequence[Number | Date | Category]):
        """Takes the arguments that the class describes."""
        self.specs = tuple(specs)
        self.names = [spec.name for spec in specs]
        self._amounts = [spec for spec in specs if not isinstance(spec, Category)]
        self._categories = [spec for spec in specs if isinstance(spec, Category)]
        self.categories = [spec.name for spec in self._categories]

    @property
    def shape(self) -> Any:
        """The shape of one encoded row, or the dict of shapes."""
        size = len(self._amounts) + sum(spec.marked for spec in self._amounts)
        size += sum(2 * len(spec.periods) for spec in self._amounts if isinstance(spec, Date))
        if not self._categories:
            return (size,)
        return {**({"numbers": (size,)} if size else {}), "categories": (len(self._categories),)}

    @property
    def swap(self) -> tuple[str, ...]:
        """The names of the encoded inputs that samplers swap."""
        return ("categories",) if self._categories else ()

    def encoder(self, of_ids: bool = False) -> keras.Model:
        """A new Keras model from the columns of a batch, a list in their order, to encoded rows.

        A number is float32 (batch,), NaN where it is missing, a date the same in days since
        1970-01-01, a category a string (batch,).

        Args:
            of_ids: whether categories are given as their ids, int64, in place of strings; False by
                default.
        """
        of_category = "int64" if of_ids else "string"
        given = {
            spec: keras.Input((), dtype=of_category if spec in self._categories else "float32")
            for spec in self.specs
        }
        encoded = {}
        if self._amounts:
            encoded["numbers"] = self._encode_amounts([given[spec] for spec in self._amounts])
        if self._categories:
            lookup = functools.partial(keras.layers.StringLookup, mask_token=None)
            ids = [given[each] for each in self._categories]
            if not of_ids:
                ids = [lookup(vocabulary=[*e.values])(given[e]) for e in self._categories]
            encoded["categories"] = ops.cast(ops.stack(ids, -1), "int32")
        outputs = encoded if self._categories else encoded["numbers"]
        return keras.Model(list(given.values()), outputs, name="columns")

    def _encode_amounts(self, tensors):
        specs = self._amounts
        amounts = ops.stack(tensors, -1)
        missing = ops.isnan(amounts)
        means = np.array([spec.mean for spec in specs], "float32")
        amounts = ops.where(missing, means, amounts)
        parts = [amounts]
        for place, spec in enumerate(specs):
            for period in spec.periods if isinstance(spec, Date) else ():
                # Of the remainder: a sine of a large number is not exact.
                angle = ops.mod(amounts[:, place : place + 1], period) * (2.0 * np.pi / period)
                # Above 0, so that one that is constant is told from rounding.
                parts += [1.0 + ops.sin(angle), 1.0 + ops.cos(angle)]
        if marked := [place for place, spec in enumerate(specs) if spec.marked]:
            parts.append(ops.cast(ops.take(missing, marked, axis=1), "float32"))
        return ops.concatenate(parts, -1) if len(parts) > 1 else amounts

    def are_in(self, rows: Any) -> bool:
        """Returns whether rows are a table, or a dict, with all of these columns.

        Args:
            rows: anything.
        """
        return hasattr(rows, "keys") and {*self.names} <= {*map(str, rows.keys())}

    def cells(
        self, frame: Any, table: str = "", place: cells.Place = cells.BY_NUMBER
    ) -> dict[str, np.ndarray]:
        """The columns' cells as the encoder takes them, by their names; others are ignored.

        Args:
            frame: a `pandas.DataFrame`, or a dict from name to a sequence of cells.
            table: what the frame was read from, for messages; "" by default.
            place: from a row to where it is in there, in words; by default its number.

        Raises:
            ValueError: naming the column, if one is not there or holds cells of another kind.
        """
        if not isinstance(frame, pd.DataFrame):
            frame = pd.DataFrame(_arrays(frame))
        frame = frame.set_axis([*map(str, frame.columns)], axis=1)
        if missing := [name for name in self.names if name not in frame]:
            raise ValueError(
                f"The rows have no column {_listed(missing)}; expected {_listed(self.names, 50)}. "
                "Give all columns that training had; a cell that is not known is None."
            )
        found = {}
        for spec in self.specs:
            column = frame[spec.name]
            if isinstance(column, pd.DataFrame):
                raise ValueError(f"The rows have two columns {spec.name!r}. Leave one out.")
            name = f"column {spec.name!r}" + (f" of {table}" if table else "")
            if isinstance(spec, Category):
                found[spec.name] = cells.texts(column, name)
                continue
            read = cells.amounts if isinstance(spec, Number) else cells.days
            found[spec.name] = read(column, name, place).astype("float32")
            if isinstance(spec, Date) and cells.is_number(column):
                _warn_of_other_days(spec, found[spec.name], name)
        return found

    def encode(self, frame: Any) -> Any:
        """Returns encoded rows, as arrays.

        Args:
            frame: as in `cells`.
        """
        rows = self.encode_cells(self.cells(frame))
        return keras.tree.map_structure(lambda tensor: tensor.numpy(), rows)

    def encode_cells(self, found: Mapping[str, np.ndarray], rows: Any = None) -> Any:
        """Returns encoded rows, as tensors.

        Args:
            found: what `cells` returned.
            rows: the numbers of the rows to encode; None, the default, for all in their order.
        """
        encoder = self.encoder()
        if rows is None:
            rows = np.arange(len(found[self.names[0]]))
        # In batches, so that what is computed on the way takes little memory.
        batches = (
            encoder([tf.convert_to_tensor(found[name][part]) for name in self.names])
            for part in np.split(rows, range(_BATCH, len(rows), _BATCH))
        )
        return in_place.joined(batches, len(rows))

    def decode(self, rows: Any) -> dict[str, np.ndarray]:
        """Returns cells that are encoded to the same rows, by their columns' names.

        Of a category that training does not know the text is not known, and is another such.

        Args:
            rows: a batch of encoded rows.
        """
        rows = rows if isinstance(rows, Mapping) else {"numbers": rows}
        found: dict[str, Any] = {}
        if self._amounts:
            numbers = np.array(rows["numbers"])
            marked = [place for place, spec in enumerate(self._amounts) if spec.marked]
            marks = numbers[:, numbers.shape[1] - len(marked) :]
            for mark, place in zip(marks.T, marked, strict=True):
                numbers[mark > 0.5, place] = np.nan
            found = {spec.name: numbers[:, place] for place, spec in enumerate(self._amounts)}
        if self._categories:
            for spec, ids in zip(self._categories, np.asarray(rows["categories"]).T, strict=True):
                found[spec.name] = np.array([_UNKNOWN, *spec.values], object)[ids]
        return {name: found[name] for name in self.names}

    def layers(self, of_numbers: Any) -> Any:
        """New preprocessing layers in front of a network of encoded rows.

        Args:
            of_numbers: layers of the numbers, as `ecl_tf.preprocessing.layers` takes them.

        Returns:
            As `ecl_tf.preprocessing.layers` returns them; categories become learned vectors.
        """
        built = preprocessing.layers(of_numbers)
        if not self._categories:
            return built
        if not isinstance(built, dict):
            built = {"numbers": built} if self._amounts else {}
        sizes = [len(spec.values) for spec in self._categories]
        return {"categories": [models.CategoryEmbedding(sizes)], **built}

    def unknown(self, found: Mapping[str, np.ndarray]) -> dict[str, collections.Counter]:
        """The categories that training does not know, and how many cells hold each, by column.

        Args:
            found: what `cells` returned.
        """
        counted = {}
        for spec in self._categories:
            counts = collections.Counter(found[spec.name].tolist())
            others = collections.Counter({v: n for v, n in counts.items() if v not in spec.values})
            if others:
                counted[spec.name] = others
        return counted

    def warn_of_unknown(self, found: Mapping[str, np.ndarray]) -> None:
        """Warns of categories that training does not know.

        Args:
            found: as in `unknown`.
        """
        for name, counts in self.unknown(found).items():
            most = _listed([each for each, _ in counts.most_common(3)])
            warnings.warn(
                f"{counts.total()} of {len(found[name])} rows have a {name!r} that training had in "
                f"no row, or in too few ({most}). They share one category.",
                stacklevel=5,
            )

    @property
    def served(self) -> dict[str, str]:
        """From each column's name to that of an exported student's input.

        A name of TensorFlow has letters, digits, dots and underscores, and is told from others
        without regard to case.
        """
        names: dict[str, str] = {}
        for name in self.names:
            plain = re.sub(r"[^A-Za-z0-9_.]", "_", name)
            plain = plain if re.match(r"[A-Za-z]", plain) else f"column_{plain.lstrip('_')}"
            taken = {each.lower() for each in names.values()}
            number, unique = 1, plain
            while unique.lower() in taken:
                number += 1
                unique = f"{plain}_{number}"
            names[name] = unique
        return names

    def signature(self) -> dict[str, tf.TensorSpec]:
        """Specs of a batch of the columns, as an exported student takes them."""
        served = self.served
        return {
            served[spec.name]: tf.TensorSpec(
                (None,), "string" if isinstance(spec, Category) else "float32", served[spec.name]
            )
            for spec in self.specs
        }

    def get_config(self) -> list[dict[str, Any]]:
        """The columns as JSON holds them; `from_config` makes them again."""
        kinds = {cls: kind for kind, cls in _KINDS.items()}
        return [{"kind": kinds[type(spec)], **dataclasses.asdict(spec)} for spec in self.specs]

    @classmethod
    def from_config(cls, config: Sequence[Mapping[str, Any]]) -> "Columns":
        """Returns the columns of a `get_config`.

        Args:
            config: what it returned, perhaps from JSON.
        """
        specs = []
        for each in config:
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in each.items()}
            kind = str(values.pop("kind"))
            specs.append(_KINDS[kind](**values))
        return cls(specs)

    def __str__(self) -> str:
        words = []
        for kind, cls in _KINDS.items():
            of_kind = [spec for spec in self.specs if isinstance(spec, cls)]
            if not of_kind:
                continue
            named = [
                f"{spec.name}: {len(spec.values)}" if isinstance(spec, Category) else spec.name
                for spec in of_kind
            ]
            plural = {"category": "categories"}.get(kind, f"{kind}s")
            shown = _listed(named, quoted=False)
            words.append(f"{len(of_kind)} {kind if len(of_kind) == 1 else plural} ({shown})")
        return ", ".join(words)


def _warn_of_other_days(spec, values, name):
    """Warns of numbers in a column of dates that are likely no days since 1970."""
    known = values[~np.isnan(values)]
    if known.size and np.median(np.abs(known - spec.mean)) > _FAR:
        first, mean = (np.datetime64(0, "D") + int(days) for days in (known[0], spec.mean))
        warnings.warn(
            f"The numbers in {name} are taken for days since 1970-01-01, such as {known[0]:g} for "
            f"{first}, and training had dates around {mean}. Years and the days of Excel are "
            "others: write dates like 2024-03-05.",
            stacklevel=4,
        )


def _arrays(rows):
    """The columns (rows,) of a dict; ValueError if it is none, or holds other columns."""
    if not isinstance(rows, Mapping):
        raise ValueError(
            "The rows are a DataFrame, or a dict from name to a sequence of cells; got a "
            f"{type(rows).__name__}. Of a single row give frame.iloc[[0]], of records "
            "pandas.DataFrame(records)."
        )
    arrays = {name: np.asarray(column) for name, column in rows.items()}
    if any(array.ndim == 0 for array in arrays.values()):
        raise ValueError(
            "The rows are a batch, and a column is a sequence of cells; got one row. Give "
            "frame.iloc[[0]], or lists of one cell."
        )
    arrays = {name: a[:, 0] if a.shape[1:] == (1,) else a for name, a in arrays.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len({*shapes.values()}) > 1 or max(map(len, shapes.values()), default=1) > 1:
        raise ValueError(f"Columns are of as many cells each, (rows,); got the shapes {shapes}.")
    return arrays


_UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # Of what can't be read: hardly a category.


def _listed(names, most=_SHOWN, quoted=True):
    shown = [repr(name) if quoted else name for name in names[:most]]
    return ", ".join(shown) + ", ..." * (len(names) > most)
