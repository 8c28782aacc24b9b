"""The experiments that one configuration stands for: cells of a grid, folds of a data set."""

import itertools
from collections.abc import Iterator

from ml_collections import ConfigDict

_LONGEST_LABEL = 80  # File systems take names of 255 bytes, for all labels of a cell together.


def cells(config: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    """Yields the name and the config of every cell of config.grid; without one, of the whole.

    Args:
        config: a `ConfigDict`.

    Raises:
        ValueError: if the grid is no sequence of pairs, a name in it is no setting of the config,
            or its values are none, or two of them the same.
    """
    axes = []
    for axis in config.get("grid", ()):
        key, named = _axis(axis)
        axes.append([(key, label, value) for label, value in named.items()])
    for cell in itertools.product(*axes):
        own = config.copy_and_resolve_references()
        with own.unlocked(), own.ignore_type():
            if "grid" in own:
                del own.grid
            for key, _, value in cell:
                *path, last = key.split(".")
                section = own
                for part in path:
                    section = section.get(part, ConfigDict())
                if last not in section:
                    raise ValueError(f"config.grid names {key!r}, which is no setting.")
                section[last] = ConfigDict(value) if isinstance(value, dict) else value
        yield ", ".join(f"{key}={label}" for key, label, _ in cell), own


def _axis(axis):
    """A setting's dotted name, and its values by label."""
    if not isinstance(axis, (list, tuple)) or len(axis) != 2 or not isinstance(axis[0], str):
        raise ValueError(
            f"config.grid holds {axis!r}; expected pairs of a setting's name and its values, such "
            'as (("student.train.steps", (2000, 6000)),).'
        )
    key, values = axis
    if hasattr(values, "items"):
        named = {str(label): value for label, value in values.items()}
    elif isinstance(values, (list, tuple)):
        named = {str(value): value for value in values}
    else:
        raise ValueError(f"config.grid gives {key} the value {values!r}; expected several values.")
    if not named or len(named) < len(values):
        raise ValueError(f"config.grid gives {key} the values {values!r}; expected each once.")
    if longest := [label for label in named if len(label) > _LONGEST_LABEL]:
        raise ValueError(
            f"config.grid gives {key} the value {longest[0]!r}, too long for the name of a "
            'directory. Give a dict of named values, such as {"small": ..., "large": ...}.'
        )
    return key, named


def has_folds(config: ConfigDict) -> bool:
    """Whether a config stands for one experiment for each of config.folds."""
    return config.data.get("held_out") == "all"


def folds(config: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    """Yields the name and the config of every fold of config.folds.

    Raises:
        ValueError: if there are none.
    """
    if not config.get("folds"):
        raise ValueError(
            "config.data.held_out is 'all', and config.folds is empty. Name the folds, e.g. "
            'config.folds = ("p00", "p01").'
        )
    for fold in config.folds:
        own = config.copy_and_resolve_references()
        own.data.held_out = fold
        yield fold, own


def first(config: ConfigDict) -> ConfigDict:
    """The first experiment that a config stands for."""
    _, config = next(cells(config))
    if has_folds(config):
        _, config = next(folds(config))
    return config
