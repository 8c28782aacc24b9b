"""Sizes of networks and trainings that follow from the data: settings that are None."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from ecl_tf.experiments import settings

# Beginning with so many training rows: units of each hidden layer of the teacher, and of the
# student. From 20,000 rows they are those that were found for CASP.
_WIDTHS = (
    (0, (64, 64), (32, 32)),
    (1_000, (128, 128), (32, 32)),
    (5_000, (256, 256, 256), (64, 64)),
    (20_000, (256, 256, 256, 256), (64, 64)),
    (200_000, (512, 512, 512, 512), (128, 128)),
)
_LEAST_BATCH, _LARGEST_BATCH = 32, 1024
_LEAST_STEPS, _MOST_STEPS, _MULTIPLE = 2000, 20_000, 500
_FEW = 5000  # Rows below which a teacher learns noise by heart.
_WIDE = 200  # Input columns from which layers are twice as wide.


def batch_size(rows: int) -> int:
    """Rows of a batch: the power of two that is nearest to 1.4 times the root of all rows.

    At least 32 and at most 1,024, and never more than half of the rows.
    """
    nearest = 2 ** round(math.log2(1.4 * math.sqrt(max(rows, 1))))
    return max(1, min(max(nearest, _LEAST_BATCH), _LARGEST_BATCH, rows // 2))


def steps(rows: int, is_teacher: bool) -> int:
    """The steps of a training: 27 times the root of the rows, of a teacher 43 times.

    Rounded to 500; of a student between 2,000 and 20,000, of a teacher from 1,000 to 32,000.

    Args:
        is_teacher: whether a teacher is trained.
    """
    root = math.sqrt(max(rows, 1))
    wanted = (43 if is_teacher else 27) * root
    least, most = (1000, 32_000) if is_teacher else (_LEAST_STEPS, _MOST_STEPS)
    return min(max(_MULTIPLE * round(wanted / _MULTIPLE), least), most)


def widths(rows: int, columns: int, is_teacher: bool) -> tuple[int, ...]:
    """Units of each hidden layer of a perceptron.

    Args:
        columns: numbers of a row; from 200 on all layers are twice as wide.
        is_teacher: whether it is the teacher's, whose layers are wider, and more with many rows.
    """
    _, of_teacher, of_student = [each for each in _WIDTHS if each[0] <= rows][-1]
    factor = 2 if columns >= _WIDE else 1
    return tuple(factor * width for width in (of_teacher if is_teacher else of_student))


def dropout(rows: int) -> float:
    """The rate of dropout: 0.3 below 5,000 rows, and 0.1 from there."""
    return 0.3 if rows < _FEW else 0.1


def weight_decay(rows: int) -> float:
    """The weight decay of a training on labels: 0.5 below 5,000 rows, and 0.1 from there."""
    return 0.5 if rows < _FEW else 0.1


def resolved(config: settings.Settings, rows: int, columns: int) -> settings.Settings:
    """The settings with numbers in place of None.

    Raises:
        ValueError: if a setting is None, and the number of rows is not known.
    """
    found = {}
    for name in ("teacher", "student"):
        section = getattr(config, name)
        if not (missing := _missing(section)):
            continue
        if rows < 0:
            raise ValueError(
                f"config.{name}.{missing[0]}=None follows from the number of training rows, which "
                "is not known of this data. Give a number."
            )
        is_teacher = name == "teacher"
        train, network = section.train, section.network
        if train is not None:
            train = dataclasses.replace(
                train,
                batch_size=_given(train.batch_size, batch_size(rows)),
                steps=_given(train.steps, steps(rows, is_teacher)),
                weight_decay=_given(train.weight_decay, weight_decay(rows)),
            )
        if network is not None:
            of_network = {"widths": widths(rows, columns, is_teacher), "dropout": dropout(rows)}
            chosen = {key: value for key, value in of_network.items() if key in network}
            own = {key: value for key, value in network.items() if value is not None}
            network = {**network, **chosen, **own}
        found[name] = dataclasses.replace(section, network=network, train=train)
    return dataclasses.replace(config, **found)


def describe(before: settings.Settings, after: settings.Settings, rows: int) -> str:
    """What was chosen, in a line; "" if there was nothing to choose.

    Args:
        before: the settings as they were given.
    """
    words = []
    for name in ("teacher", "student"):
        missing = _missing(getattr(before, name))
        if missing:
            section = getattr(after, name)
            values = [f"{place}={_shown(_at(section, place))}" for place in missing]
            words.append(f"{name} {', '.join(values)}")
    if not words:
        return ""
    return f"sizes for {rows:,} training rows: {'; '.join(words)}"


def _missing(section) -> list[str]:
    """The settings of a section that are None and follow from the data."""
    of_network, of_train = ("widths", "dropout"), ("batch_size", "steps", "weight_decay")
    network, train = section.network or {}, section.train
    places = [f"network.{key}" for key in of_network if key in network and network[key] is None]
    if train is not None:
        places += [f"train.{key}" for key in of_train if getattr(train, key) is None]
    return places


def _at(section, place) -> Any:
    part, _, key = place.partition(".")
    value = getattr(section, part)
    return value[key] if isinstance(value, dict) else getattr(value, key)


def _given(value, other):
    return other if value is None else value


def _shown(value):
    return "-".join(map(str, value)) if isinstance(value, Sequence) else f"{value:,}"
