"""Networks for teachers and students, built by name."""

from typing import Any

import keras

from ecl_tf._internal.build import call_by_name
from ecl_tf.models.applications import application
from ecl_tf.models.networks import convnet, lenet, mlp
from ecl_tf.models.preactivation import preactivation_resnet, wide_resnet
from ecl_tf.models.residual import resnet
from ecl_tf.models.transformer import vision_transformer

__all__ = [
    "application",
    "build",
    "convnet",
    "lenet",
    "mlp",
    "preactivation_resnet",
    "resnet",
    "vision_transformer",
    "wide_resnet",
]

_NETWORKS = {name: globals()[name] for name in __all__ if name != "build"}


def build(name: str, input_shape: Any, units: int, **arguments: Any) -> keras.Model:
    """Builds a network by its name; returns a functional `keras.Model`.

    Args:
        name: of a function of this package, such as "convnet".
        input_shape: shape of one example, such as (height, width, channels) of an image; for
            several inputs a dict from name to shape, such as {"image": (36, 60, 1),
            "head_pose": (2,)}. "mlp" takes any shapes. The others take one image and any number
            of vectors, which join the features before the last layer.
        units: the size of the raw output, `output.raw_size(event_size)`.
        **arguments: the network's own.

    Raises:
        ValueError: if there is no such network, or it does not take an argument.

    Example:
    >>> build("mlp", (8, 8, 1), units=10, widths=(32,)).output_shape
    (None, 10)
    """
    return call_by_name("network", _NETWORKS, name, arguments, input_shape, units)
