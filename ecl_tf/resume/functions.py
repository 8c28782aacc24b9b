"""What tells a function of the user's from another one, in this process or in another."""

import functools
import inspect
import os
import types
from typing import Any

import keras

from ecl_tf._internal import identity

_SCHEDULE = keras.optimizers.schedules.LearningRateSchedule


def is_function(value):
    """Whether it is a function, a method, a `partial`, a `tf.function` or a Keras schedule."""
    return (
        inspect.isroutine(value)
        or isinstance(value, (functools.partial, _SCHEDULE))
        or hasattr(value, "python_function")
    )


def fingerprint(function):
    """A hash of its code, and of the plain values that it closes over, reads or is given.

    Args:
        function: something that `is_function` knows.

    Returns:
        A hash, the same after a move to other lines or under another name.
    """
    return identity.fingerprint_of_text(repr(_described(function, ())))


def _described(value, around) -> Any:
    """Value as texts and tuples. Objects are known by their class, as their state may change."""
    if isinstance(value, str):
        return "a path" if os.sep in value else value  # Directories come and go.
    if value is None or isinstance(value, (bool, int, float, complex, bytes)):
        return value
    if any(value is each for each in around):  # A function that calls itself.
        return "itself"
    inside = functools.partial(_described, around=(*around, value))
    if isinstance(value, (tuple, list)):
        return tuple(map(inside, value))
    if isinstance(value, (set, frozenset)):
        return tuple(sorted(map(repr, map(inside, value))))
    if isinstance(value, dict):
        return tuple((inside(key), inside(item)) for key, item in value.items())
    if isinstance(value, functools.partial):
        return "partial", *map(inside, (value.func, value.args, value.keywords))
    if hasattr(value, "python_function"):
        return inside(value.python_function)
    if isinstance(value, _SCHEDULE):
        return repr(identity.comparable(identity.config_of(value)))
    if isinstance(value, types.MethodType):
        return inside(value.__func__)
    if isinstance(value, types.CodeType):
        return value.co_code.hex(), value.co_names, tuple(map(inside, value.co_consts))
    if isinstance(value, types.FunctionType):
        return _of_function(value, inside)
    return getattr(value, "__qualname__", type(value).__qualname__)


def _of_function(function, inside):
    code = function.__code__
    unsaid = (None, function.__doc__)
    consts = [inside(const) for const in code.co_consts if const not in unsaid]
    read = [function.__globals__.get(name) for name in code.co_names]
    plain = [value for value in read if isinstance(value, (bool, int, float, str))]
    closed = []
    for cell in function.__closure__ or ():
        try:
            closed.append(inside(cell.cell_contents))
        except ValueError:  # Not yet set.
            closed.append("nothing")
    given = inside((function.__defaults__, function.__kwdefaults__))
    return code.co_code.hex(), code.co_names, consts, [*map(inside, plain)], closed, given
