"""The experiments that one configuration stands for: cells of a grid, folds of a data set."""

import itertools
from collections.abc import Iterator

from ml_collections import ConfigDict


def cells(config: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    """Yields the name and the config of every cell of config.grid; without one, of the whole.

    Args:
        config: a `ConfigDict`.

    Raises:
        ValueError: if a name in the grid is no setting of the config.
    """
    axes = []
    for key, values in config.get("grid", ()):
        named = dict(values) if hasattr(values, "items") else {str(v): v for v in values}
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
