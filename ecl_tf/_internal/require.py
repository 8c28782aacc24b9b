"""Refuses arguments that are not the numbers that they should be."""

import numbers

import numpy as np


def number(name, value):
    """The value as a float; raises ValueError unless it is a number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real | np.ndarray | np.generic):
        raise ValueError(f"{name} must be a number; got {value!r}.")
    return float(value)


def positive(name, value):
    """The value as a float; raises ValueError unless it is a positive, finite number."""
    if not isinstance(value, numbers.Real) or not 0.0 < float(value) < float("inf"):
        raise ValueError(f"{name} must be a positive number; got {value!r}.")
    return float(value)


def probability(name, value):
    """The value as a float; raises ValueError unless it is a number in (0, 1]."""
    if not isinstance(value, numbers.Real) or not 0.0 < float(value) <= 1.0:
        raise ValueError(f"{name} must be a number in (0, 1]; got {value!r}.")
    return float(value)


def whole(name, value, least, what="a whole number"):
    """The value as an int; raises ValueError unless it is a whole number, at least so large."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be {what} >= {least}; got {value!r}.")
    return int(value)


def counts(**arguments):
    """Raises ValueError unless each argument is None, for a default, or a whole number from 1."""
    for name, value in arguments.items():
        if value is not None:
            whole(name, value, 1, "None or a whole number")
