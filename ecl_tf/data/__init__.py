"""Data sets as `tf.data`, split into train, validation and test, deterministic."""

from ecl_tf.build import call_by_name
from ecl_tf.data.digits import digits, rotated_digits
from ecl_tf.data.splits import Splits, evaluation_batches, training_batches

__all__ = [
    "Splits",
    "digits",
    "evaluation_batches",
    "load",
    "rotated_digits",
    "training_batches",
]

_DATASETS = {function.__name__: function for function in (digits, rotated_digits)}


def load(name, **arguments):
    """Loads a data set by its name; returns its `Splits`.

    Raises:
        ValueError: if there is no such data set, or it does not take an argument.
    """
    return call_by_name("data set", _DATASETS, name, arguments)
