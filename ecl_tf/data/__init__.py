"""Data sets as `tf.data`, split into train, validation and test, deterministic."""

from typing import Any

from ecl_tf._internal.build import call_by_name
from ecl_tf.data.columns import Category, Columns, Date, Number
from ecl_tf.data.digit_scenes import digit_scenes
from ecl_tf.data.digits import digits, rotated_digits
from ecl_tf.data.embedded_tables import embedded_table
from ecl_tf.data.images import cifar10, cifar100, fashion_mnist, imagenet2012
from ecl_tf.data.indexed import IndexedExamples
from ecl_tf.data.mpii_gaze import mpii_gaze
from ecl_tf.data.sine import sine
from ecl_tf.data.splits import Splits, evaluation_batches, to_float, training_batches
from ecl_tf.data.table import table
from ecl_tf.data.usable import require_usable

__all__ = [
    "Category",
    "Columns",
    "Date",
    "IndexedExamples",
    "Number",
    "Splits",
    "cifar10",
    "cifar100",
    "digit_scenes",
    "digits",
    "embedded_table",
    "evaluation_batches",
    "fashion_mnist",
    "imagenet2012",
    "load",
    "mpii_gaze",
    "rotated_digits",
    "sine",
    "table",
    "to_float",
    "training_batches",
]

_DATASETS = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "digit_scenes": digit_scenes,
    "digits": digits,
    "embedded_table": embedded_table,
    "fashion_mnist": fashion_mnist,
    "imagenet2012": imagenet2012,
    "mpii_gaze": mpii_gaze,
    "rotated_digits": rotated_digits,
    "sine": sine,
    "table": table,
}


def load(name: str, **arguments: Any) -> Splits:
    """Loads a data set; returns its `Splits`.

    Args:
        name: of a function of this package such as "digits", or "module:function" of a
            function of yours that returns `Splits`.
        **arguments: the function's own.

    Raises:
        ValueError: if there is no such data set, it does not take an argument, or its splits
            are empty, without end, or hold values that are NaN or infinite.
        ModuleNotFoundError: if there is no such module.
    """
    splits = call_by_name("data set", _DATASETS, name, arguments)
    require_usable(splits, name)
    return splits
