"""The experiments that one configuration stands for: cells of a grid, folds or splits of data."""

import itertools
from collections.abc import Iterator

from ml_collections import ConfigDict

_LONGEST_LABEL = 80  # File systems take names of 255 bytes, for all labels of a cell together.
_BETWEEN_SPLITS = 100  # Seeds: more than one split takes for its teacher and its students.


def cells(config: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    """Yields the name and the config of every cell of config.grid; without one, of the whole.

    A setting may be one that the config leaves out. One that there is not is for
    `settings.parse` to refuse.

    Raises:
        ValueError: if the grid is no sequence of pairs, a name in it goes through a setting that
            is no section, or its values are none, or two of them the same.
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
                    if section.get(part) is None:
                        section[part] = ConfigDict()
                    section = section[part]
                    if not isinstance(section, ConfigDict):
                        raise ValueError(
                            f"config.grid names {key!r}, and {part!r} is {section!r}, which has no "
                            "settings. Write it as a dict in the config."
                        )
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


def kind_of_repetition(config: ConfigDict) -> str | None:
    """What `repetitions` gives: "fold" or "split"; None for a single experiment.

    Raises:
        ValueError: if a config asks for both, or for folds of data that has none.
    """
    has_folds, splits = config.data.get("held_out") == "all", config.get("splits", 1)
    if has_folds and splits > 1:
        raise ValueError(
            f"config.splits={splits} and config.data.held_out='all' both repeat the experiment on "
            "other data. Leave one of them away."
        )
    if config.get("folds") and "held_out" not in config.data:
        raise ValueError(
            f"config.folds={tuple(config.folds)} are values of config.data.held_out, which this "
            "config's data has not, so nothing would be averaged. Leave config.folds out; "
            "config.splits repeats the experiment on other splits of any data."
        )
    if splits > 1:
        return "split"
    return "fold" if has_folds else None


def repetitions(config: ConfigDict) -> list[tuple[str, ConfigDict]]:
    """The name and the config of every fold of config.folds, or of every one of config.splits.

    Split i has `data.seed` + i, and `seed` + 100 i, so that its networks begin otherwise, too.
    There are none for a single experiment.

    Raises:
        ValueError: if a config asks for both, or for folds and names none.
    """
    kind = kind_of_repetition(config)
    if kind is None:
        return []
    if kind == "fold" and not config.get("folds"):
        raise ValueError(
            "config.data.held_out is 'all', and config.folds is empty. Name the folds, e.g. "
            'config.folds = ("p00", "p01").'
        )
    found = []
    for number, name in enumerate(directories(config)):
        own = config.copy_and_resolve_references()
        with own.unlocked():
            if kind == "fold":
                own.data.held_out = name
            else:
                own.data.seed = own.data.get("seed", 0) + number
                own.seed = own.get("seed", 0) + _BETWEEN_SPLITS * number
                own.splits = 1
        found.append((name, own))
    return found


def directories(config: ConfigDict) -> list[str]:
    """The names of the directories that folds or splits have in a work directory."""
    if (splits := config.get("splits", 1)) > 1:
        return [f"split_{number}" for number in range(splits)]
    return list(config.get("folds") or ())
