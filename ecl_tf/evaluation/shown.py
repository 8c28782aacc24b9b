"""What the suite shows to networks: the data, corrupted data, and inputs unlike the data."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd

from ecl_tf.evaluation import corruptions

OTHER = "other"  # Sets of this kind are unlike the data; inputs of it are not corrupted.
# Corruptions after which the labels of positions would be at other places.
_MOVING = ("elastic_transform", "cut", "swapped")


class Shown:
    """Corrupted and other inputs, each made when it is needed.

    Args:
        x: as in `measure`.
        y: as in `measure`.
        kind: as in `measure`; None by default.
        names: as in `measure`; None by default.
        severities: as in `measure`; all by default.
        other: as in `measure`; None by default.
        seed: as in `measure`; 0 by default.
        arguments: as in `measure`; None by default.

    Raises:
        ValueError: if there is no corruption of a name, kind or severity.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        kind: str | None = None,
        names: Sequence[str] | None = None,
        severities: Sequence[int] = corruptions.SEVERITIES,
        other: Mapping[str, Any] | None = None,
        seed: int = 0,
        arguments: Mapping[str, Any] | None = None,
    ):
        """Takes the arguments that the class describes."""
        self.x, self.y, self.seed = x, y, seed
        self._arguments, self._other = dict(arguments or {}), other
        columns = self._arguments.get("columns")
        self.kind = "table" if columns is not None else kind_of(x, kind)
        if self.kind == "image":  # Of several inputs those that are images.
            if not any(map(_is_image, keras.tree.flatten(x))):
                raise ValueError(
                    "kind='image' needs images (rows, height, width, channels), and there are "
                    "none. Of grey ones give images[..., None]."
                )
            known = corruptions.NAMES["image"]
        elif self.kind == OTHER:
            known = ()
        else:
            known = corruptions.suitable(x, self.kind, columns)
        self.names = known if names is None else _tuple(names)
        self.severities = _tuple(severities)
        if self.names and not known:
            raise ValueError(
                "Nothing but images, tables and sequences is corrupted: no videos, no several "
                "sequences, and no several inputs without names. Give names=(), or a dict of "
                "columns."
            )
        if unknown := sorted({*self.names} - {*known}):
            raise ValueError(
                f"There is no corruption {unknown[0]!r} of the kind {self.kind!r}; expected some "
                f"of {list(known)}."
            )
        if not {*self.severities} <= {*corruptions.SEVERITIES}:
            raise ValueError(f"severities are of {corruptions.SEVERITIES}; got {self.severities}.")

    @property
    def sets(self) -> list[str]:
        """The names of all sets of inputs."""
        corrupted = [f"{name} {severity}" for name in self.names for severity in self.severities]
        return [*corrupted, *self.others()]

    @property
    def versions(self) -> dict[str, int]:
        """The version of each corruption, and of the code that draws other inputs, by name."""
        of = {name: f"{self.kind} {name}" for name in self.names}
        of |= {name: name for name in self.others()}
        return {name: corruptions.VERSIONS.get(full, 1) for name, full in of.items()}

    def corrupted(self) -> Iterator[tuple[str, dict[str, Callable[[], Any]]]]:
        """Yields each corruption, and functions that make its inputs, by the names of the sets."""
        for name in self.names:
            yield (
                name,
                {
                    f"{name} {severity}": functools.partial(self._corrupted, name, severity)
                    for severity in self.severities
                },
            )

    def others(self) -> dict[str, Callable[[], Any]]:
        """Functions that make inputs unlike the data, by their names."""
        if self._other is None:
            makers = _drawn(self.x, self.seed)
        else:
            makers = {name: (lambda each=each: each) for name, each in self._other.items()}
        return {f"{OTHER} {name}": make for name, make in makers.items()}

    def require_range(self) -> None:
        """Raises ValueError if images that will be corrupted exceed their range."""
        if self.kind == "image" and self.names:
            for leaf in filter(_is_image, keras.tree.flatten(self.x)):
                corruptions.limits(np.asarray(leaf), self._arguments.get("value_range"))

    def leave_out_moving(self, names: Sequence[str] | None = None) -> None:
        """Leaves out the corruptions after which labels of positions would not fit.

        Args:
            names: those that were asked for; None, the default, for all of the kind.

        Raises:
            ValueError: if one of these moves positions.
        """
        if self.kind in ("table", OTHER):
            return
        if names is not None and (moving := sorted({*_tuple(names)} & {*_MOVING})):
            raise ValueError(
                f"The corruption {moving[0]!r} moves positions, and their labels would stay where "
                f"they are. Leave it out: names={[n for n in self.names if n not in _MOVING]}."
            )
        self.names = tuple(name for name in self.names if name not in _MOVING)

    def _corrupted(self, name, severity):
        def corrupt(inputs):
            given = {"seed": self.seed, "kind": self.kind, **self._arguments}
            return corruptions.corrupt(inputs, name, severity, **given)

        if self.kind != "image":
            return corrupt(self.x)
        return keras.tree.map_structure(
            lambda leaf: corrupt(leaf) if _is_image(leaf) else leaf, self.x
        )


def _tuple(given):
    """Names or numbers as a tuple; one alone stands for itself."""
    return (given,) if isinstance(given, (str, int)) else tuple(given)


def kind_of(x: Any, kind: str | None = None) -> str:
    """Returns how inputs are corrupted: "image", "table" or "sequence"; "other" if they are not.

    Args:
        x: as in `measure`.
        kind: as in `measure`; None by default.

    Raises:
        ValueError: if there is no such `kind`.
    """
    if kind is not None:
        if kind not in corruptions.NAMES:
            raise ValueError(f"kind must be one of {tuple(corruptions.NAMES)}; got {kind!r}.")
        return kind
    leaves = keras.tree.flatten(x)
    if any(map(_is_image, leaves)):
        return "image"
    if not keras.tree.is_nested(x):
        leaf = np.asarray(x)
        if leaf.ndim == 3 or (leaf.ndim == 2 and leaf.dtype.kind in "iu"):
            return "sequence"
    has_names = isinstance(x, Mapping) or not keras.tree.is_nested(x)
    return "table" if has_names and all(np.ndim(leaf) in (1, 2) for leaf in leaves) else OTHER


def drawn_inputs(x: Any, seed: int = 0) -> dict[str, Any]:
    """Inputs unlike the data that need no other data set.

    `noise` is uniform and without structure: of images in the range of all pixels, of other inputs
    in a range twice as wide as that of each column, around its middle. `shuffled` has the right
    numbers at wrong places: of images and sequences the positions of every row are shuffled, of
    tables every column over the rows, by itself. (A table of one column has no `shuffled`.)

    Args:
        x: inputs of all rows, as arrays.
        seed: an integer; 0 by default.

    Returns:
        A dict of two such inputs, `noise` and `shuffled`, each in the form of `x`.

    Example:
    >>> found = drawn_inputs(np.array([[0.0, 5.0], [1.0, 6.0]]))
    >>> bool((abs(found["noise"] - [0.5, 5.5]) <= 1.0).all())
    True
    >>> found["shuffled"].sum(0)
    array([ 1., 11.])
    """
    return {name: make() for name, make in _drawn(x, seed).items()}


def _is_image(leaf):
    return np.ndim(leaf) == 4


def _drawn(x, seed):
    """Functions that make inputs of `drawn_inputs`, by their names."""
    found = {"noise": functools.partial(_drawn_leaves, x, seed, _noise)}
    leaves = [np.asarray(leaf) for leaf in keras.tree.flatten(x)]
    if sum(np.size(leaf[0]) for leaf in leaves) > 1:
        found["shuffled"] = functools.partial(_drawn_leaves, x, seed, _shuffled)
    return found


def _drawn_leaves(x, seed, draw):
    """A nest whose arrays are drawn by a function, each from its own numbers."""
    numbers = itertools.count()
    return keras.tree.map_structure(
        lambda leaf: draw(np.asarray(leaf), np.random.default_rng([seed, next(numbers)])), x
    )


def _noise(leaf, rng):
    if leaf.dtype.kind not in "iuf":  # Texts and truths.
        return rng.choice(pd.unique(leaf.ravel()), leaf.shape)
    if _is_image(leaf):
        low, high = np.full(leaf.shape[1:], leaf.min()), np.full(leaf.shape[1:], leaf.max())
    elif np.isnan(leaf).all(0).any():
        raise ValueError(
            "A column of the inputs is NaN in all rows. Leave it out, or give `other`."
        )
    else:
        low, high = np.nanmin(leaf, 0), np.nanmax(leaf, 0)
    if leaf.dtype.kind in "iu":  # Ids and bytes have no others.
        return rng.integers(low, high, leaf.shape, leaf.dtype, endpoint=True)
    margin = 0.0 if _is_image(leaf) else (high - low) / 2
    return rng.uniform(low - margin, high + margin, leaf.shape).astype(leaf.dtype)


def _shuffled(leaf, rng):
    is_sequence = leaf.ndim == 2 and leaf.dtype.kind in "iu"
    if leaf.ndim < 3 and not is_sequence:
        return rng.permuted(leaf, axis=0)
    positions = leaf if is_sequence else leaf.reshape(len(leaf), -1, leaf.shape[-1])
    order = rng.permuted(np.tile(np.arange(positions.shape[1]), (len(leaf), 1)), axis=1)
    order = order if is_sequence else order[..., None]
    return np.take_along_axis(positions, order, 1).reshape(leaf.shape)
