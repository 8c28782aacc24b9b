"""Refuses arguments that are not the numbers that they should be."""

import numbers

import numpy as np


def number(name, value):
    """The value as a float; raises ValueError unless it is a number."""
    is_array = isinstance(value, np.ndarray | np.generic) and value.ndim == 0
    if isinstance(value, bool) or not (isinstance(value, numbers.Real) or is_array):
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


def integer(name, value):
    """The value as an int; raises ValueError unless it is a whole number."""
    if not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} must be a whole number; got {value!r}.")
    return int(value)


def truth(name, value):
    """The value as a bool; raises ValueError unless it is True or False: a text counts as True."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False; got {value!r}.")
    return bool(value)


def counts(**arguments):
    """Raises ValueError unless each argument is None, for a default, or a whole number from 1."""
    for name, value in arguments.items():
        if value is not None:
            whole(name, value, 1, "None or a whole number")


def share(name, value):
    """Raises ValueError unless the value is a number from 0 to less than 1."""
    if not isinstance(value, numbers.Real) or not 0.0 <= float(value) < 1.0:
        raise ValueError(f"{name} must be a number from 0 to less than 1; got {value!r}.")


def class_weight(given, classes=None, all_of_them=False):
    """Raises ValueError unless it is a dict from class to weight.

    Args:
        given: what `fit` was given as class_weight.
        classes: their number; None, the default, if it is not known.
        all_of_them: whether all classes up to the last need a weight or a greater one has it, as
            with a `tf.data.Dataset`, where Keras fails at a label above the largest class that
            has one; False by default.
    """
    expected = "a dict from class to weight, such as {0: 1.0, 1: 2.0}"
    if not isinstance(given, dict):
        remedy = "Of a list or an array: dict(enumerate(weights))."
        raise ValueError(f"class_weight must be {expected}; got a {type(given).__name__}. {remedy}")
    for label, weight in given.items():
        is_class = isinstance(label, (int, np.integer)) and label >= 0
        if not is_class or (classes and label >= classes):
            last = f" to {classes - 1}" if classes else ""
            raise ValueError(
                f"class_weight has the class {label!r}; expected {expected}, of classes from 0"
                f"{last}."
            )
        if not isinstance(weight, (int, float, np.number)) or not 0.0 <= weight < float("inf"):
            raise ValueError(
                f"class_weight has the weight {weight!r} of class {label}; expected a number >= 0."
            )
    if given and not any(given.values()) and len(given) >= (classes or len(given)):
        raise ValueError("All weights in class_weight are 0, so no row would count.")
    missing = range(max(given, default=-1) + 1, classes or 0)
    if all_of_them and missing:
        raise ValueError(
            f"class_weight has no weight of class {missing[0]}; expected weights up to the last "
            f"of the {classes} classes. Give 1.0 to those that are not to be weighed."
        )


def class_names(given, classes=None):
    """The names as JSON holds them; raises ValueError unless there is one for each class.

    Args:
        given: a list of texts or numbers.
        classes: their number; None, the default, if it is not known.
    """
    names = [] if isinstance(given, (str, bytes)) else [*given]
    names = [each.item() if isinstance(each, np.generic) else each for each in names]
    names = [each.decode() if isinstance(each, bytes) else each for each in names]
    are_names = names and all(isinstance(each, (str, int, float)) for each in names)
    if not (are_names and len({*names}) == len(names) == (classes or len(names))):
        number = f", {classes} here" if classes else ""
        raise ValueError(
            "class_names takes a list with a name of its own for each class, in their order"
            f"{number}; got {given!r}."
        )
    return names
