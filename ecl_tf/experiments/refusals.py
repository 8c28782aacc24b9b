"""Refusals of settings: one line that says which setting it is, and why."""

import contextlib
import dataclasses
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from ecl_tf import data

_LONGEST_VALUE, _LONGEST_CAUSE = 200, 500
# What TensorFlow and Keras put around the sentence that says what is wrong.
_AROUND = re.compile(
    r"Graph execution error|Detected at node|<stack traces unavailable>|defined at \(most recent"
    r"|in user code|Arguments received by|  •|\[\[|\[Op:|Exception encountered when calling"
)
_WITHIN = re.compile(r"\x1b\[\d*m|\{\{\w+ \S+\}\} ?")  # Bold print, and names of nodes.
_FRAME = re.compile(r'\s*File ".*", line \d+')


class SettingError(ValueError):
    """A setting that can't be used; the message names it."""


@contextlib.contextmanager
def blaming(name: str, value: Any) -> Iterator[None]:
    """Takes whatever goes wrong for the fault of one setting, unless another one is blamed yet.

    Args:
        name: the dotted name of the setting, such as "config.student.network".
        value: its value; of a section of the settings only what is not the default is shown.

    Raises:
        SettingError: in place of any error but one of a lost worker.
    """
    try:
        yield
    except (SettingError, tf.errors.UnavailableError):
        raise
    except Exception as error:
        shown = textwrap.shorten(repr(_given(value)), _LONGEST_VALUE, placeholder=" ...")
        raise SettingError(f"{name}={shown} can't be used. {in_one_line(error)}") from error


def require_validation(
    splits: data.Splits,
    asker: str,
    remedy: str = "as the second of Splits(train, validation, test), or of MPIIGaze with "
    "--config.data.validation_persons=1.",
) -> None:
    """Refuses data without validation rows.

    Args:
        asker: what needs them, and for what, as a main clause.
        remedy: what follows "Hold some out, "; by default what does it.

    Raises:
        ValueError: if there are none, or if they are the test's.
    """
    if not splits.has_validation:
        raise ValueError(
            f"{asker}, and this data set is split without any. Hold some out, {remedy}"
        )
    if splits.validation is splits.test:
        raise ValueError(
            f"{asker}, and this data set has the test's rows as such, on which nothing may be "
            f"chosen. Hold others out, {remedy}"
        )


def in_one_line(error: BaseException) -> str:
    """What an error says, without the lines around it that are of no use to the user."""
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    lines = _WITHIN.sub("", text).splitlines()
    frames = [number for number, line in enumerate(lines) if _FRAME.match(line)]
    if frames:  # Of a traceback within the text: the sentence follows the last line of code.
        lines = lines[frames[-1] + 2 :]
    lines = [line.strip() for line in lines if not _AROUND.search(line)]
    said = textwrap.shorten(" ".join(filter(None, lines)), _LONGEST_CAUSE, placeholder=" ...")
    if type(error) in (ValueError, SettingError) and said:
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _given(value):
    """A section of the settings as a dict of what differs from the defaults."""
    if not dataclasses.is_dataclass(value):
        return dict(value) if isinstance(value, Mapping) else value
    fields = dataclasses.fields(value)
    found = {field.name: getattr(value, field.name) for field in fields}
    return {
        field.name: _given(found[field.name])
        for field in fields
        if found[field.name] != field.default
    }
