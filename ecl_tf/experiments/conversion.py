"""Plain values, as configurations have them, to a dataclass of settings by its annotations."""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal


class _OutOfRangeError(ValueError):
    """A value has a type that its setting takes, so no other type is meant."""


def convert(value, hint, name):
    """A value as its annotation has it; `name` is the dotted name of the setting."""
    value = value.to_dict() if hasattr(value, "to_dict") else value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        hint, allowed = arguments
        found = convert(value, hint, name)
        if not allowed.holds(found):
            raise _OutOfRangeError(
                f"{name}={value!r} is out of its range; expected {allowed.words}."
            )
        return found
    if origin in (types.UnionType, typing.Union):
        return _one_of(value, arguments, hint, name)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return _section(value, hint, name)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(convert(v, arguments[0], f"{name}[{i}]") for i, v in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return {key: convert(v, arguments[1], f"{name}.{key}") for key, v in value.items()}
    if hint is Any or (origin is Literal and value in arguments):
        return value
    expected = (int, float) if hint is float else hint
    is_class = isinstance(hint, type) and origin is None
    if is_class and isinstance(value, expected) and (hint is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"{name}={value!r} has a wrong type; expected {_in_words(hint)}.")


def _section(values, section, name):
    hints = typing.get_type_hints(section, include_extras=True)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, 1, 0.5)
            known = f"Did you mean {near[0]!r}?" if near else f"Expected some of {sorted(hints)}."
            raise ValueError(f"{name}.{key} is no setting. {known}")
    for field in dataclasses.fields(section):
        optional = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        if field.name not in values and not optional:
            raise ValueError(f"{name}.{field.name} is missing; expected {_in_words(field.type)}.")
    return section(**{k: convert(v, hints[k], f"{name}.{k}") for k, v in values.items()})


def _one_of(value, hints, union, name):
    """A value as the first annotation of a union that fits; a section goes by its name."""
    sections = [hint for hint in hints if dataclasses.is_dataclass(hint)]
    if sections and isinstance(value, Mapping):
        named = {getattr(section, "name", None): section for section in sections}
        if value.get("name") not in named:
            found = value.get("name")
            raise ValueError(f"{name}.name={found!r} is unknown; expected one of {[*named]}.")
        return _section(value, named[value.get("name")], name)
    beyond = None
    for hint in hints:
        try:
            return convert(value, hint, name)
        except _OutOfRangeError as error:
            beyond = error
        except ValueError:
            pass
    raise beyond or ValueError(f"{name}={value!r} has a wrong type; expected {_in_words(union)}.")


def _in_words(hint):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return arguments[1].words if arguments[0] is Any else _in_words(arguments[0])
    if origin is Literal:
        return " | ".join(map(repr, arguments))
    if origin in (types.UnionType, typing.Union):
        return " | ".join(map(_in_words, arguments))
    if hint is type(None):
        return "None"
    text = hint.__name__ if isinstance(hint, type) and not arguments else str(hint)
    return re.sub(r"[\w.]+\.(?=\w)", "", text)  # Without the names of modules.
