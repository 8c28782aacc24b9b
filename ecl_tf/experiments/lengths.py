"""How long `train.steps="auto"` trains: in cycles, by a rule that needs the data's size alone."""

import dataclasses
from collections.abc import Callable

import keras

from ecl_tf import callbacks
from ecl_tf.experiments import refusals, settings

_LEAST_STEPS, _PASSES = 500, 2  # Of the first cycle.
_CYCLES = 6  # At most, if there is no `max_steps`.
_LEAST_CYCLES = 3  # That `max_steps` has to leave room for: fewer tell nothing of a trend.


def resolved(name: str, train: settings.Train, rows: int) -> settings.Train:
    """A section's `train` with its largest number of steps, and that of its first cycle.

    One with a number of steps is returned as it is. Of "auto" the schedule is a
    `settings.Restarts` with the steps of the first cycle, which `epochs` counts in, and `steps` is
    that of all cycles.

    Args:
        name: the dotted name of the section, such as "config.student.train".
        rows: of the training data; negative if it is not known.

    Raises:
        ValueError: if settings don't fit each other, or to "auto".
    """
    schedule = train.schedule
    if train.steps != "auto":
        if train.max_steps is not None or isinstance(schedule, settings.Restarts):
            other = "max_steps" if train.max_steps is not None else 'schedule.name="restarts"'
            raise ValueError(
                f'{name}.{other} belongs to {name}.steps="auto", and {name}.steps={train.steps} is '
                'a number of steps. Give "auto", or leave it out.'
            )
        return train
    has_warmup = isinstance(schedule, settings.Cosine) and schedule.warmup_steps > 0
    if has_warmup or isinstance(schedule, settings.Steps):
        what = "warmup_steps" if has_warmup else 'name="steps"'
        raise ValueError(
            f'{name}.steps="auto" has cycles of a learning rate that falls along half a cosine, so '
            f"it can't be combined with {name}.schedule.{what}, which needs to know the end. Leave "
            f"{name}.schedule out, or give a number of steps."
        )
    given = schedule if isinstance(schedule, settings.Restarts) else settings.Restarts()
    first, most = given.first_cycle, train.max_steps
    multiple = train.steps_per_execution
    if first is None:
        first = _first_cycle(name, train, rows)
    if first % multiple:
        raise ValueError(
            f"{name}.schedule.first_cycle={first} must be a multiple of its "
            f"steps_per_execution={multiple}. Change either."
        )
    cycles = _CYCLES if most is None else (most // first + 1).bit_length() - 1
    if cycles < 1:
        raise ValueError(
            f"{name}.max_steps={most} is less than the first cycle, {first} steps. Give more, or a "
            f"shorter {name}.schedule.first_cycle."
        )
    parts = 2**cycles - 1
    schedule = dataclasses.replace(given, first_cycle=first)
    found = dataclasses.replace(train, steps=first * parts, epochs=parts, schedule=schedule)
    with refusals.blaming(f"{name}.schedule", schedule):
        warm_restarts(found)
    return found


def _first_cycle(name, train, rows):
    multiple, most = train.steps_per_execution, train.max_steps
    if rows < 0:
        raise ValueError(
            f'{name}.steps="auto" makes the first cycle of passes over the training data, whose '
            f'length is not known. Give {name}.schedule={{"name": "restarts", "first_cycle": 500}}.'
        )
    wanted = max(_LEAST_STEPS, _PASSES * (rows // train.batch_size))
    whole = -(-wanted // multiple) * multiple
    if most is None:
        return whole
    least = 2**_LEAST_CYCLES - 1
    if most < least * multiple:
        raise ValueError(
            f"{name}.max_steps={most} leaves no room for {_LEAST_CYCLES} cycles, which have at "
            f"least {least} times steps_per_execution={multiple} steps. Give {least * multiple} "
            "or more."
        )
    return min(whole, most // least // multiple * multiple)


def is_auto(train: settings.Train) -> bool:
    """Whether a section's `train` ends by itself, once it is `resolved`."""
    return isinstance(train.schedule, settings.Restarts)


def least_steps(train: settings.Train) -> int:
    """The steps after which a `resolved` training may end: of two cycles, if it ends by itself."""
    if not isinstance(train.schedule, settings.Restarts):
        return train.steps
    return min(3 * (train.schedule.first_cycle or 0), train.steps)


def warm_restarts(
    train: settings.Train, score: Callable[[keras.Model], float] | None = None, verbose: int = 0
) -> callbacks.WarmRestarts:
    """The callback that ends a training whose `steps` were "auto", and has its schedule.

    Args:
        score: a function from the model to what is to fall; None, the default, for the
            validation loss that `fit` logs.
        verbose: as the callback takes it; 0 by default.
    """
    schedule = train.schedule
    assert isinstance(schedule, settings.Restarts) and schedule.first_cycle is not None
    return callbacks.WarmRestarts(
        schedule.first_cycle,
        cycles=(train.epochs + 1).bit_length() - 1,
        monitor=score or "val_loss",
        min_gain=schedule.min_gain,
        verbose=verbose,
    )
