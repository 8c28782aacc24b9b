"""Networks for teachers and students, built by name."""

import contextlib
import weakref
from typing import Any

import keras

from ecl_tf._internal import symbolic
from ecl_tf._internal.build import call_by_name
from ecl_tf.models.applications import application
from ecl_tf.models.categories import CategoryEmbedding
from ecl_tf.models.networks import convnet, lenet, mlp
from ecl_tf.models.preactivation import preactivation_resnet, wide_resnet
from ecl_tf.models.residual import resnet
from ecl_tf.models.scale_branch import with_scale_branch
from ecl_tf.models.transformer import vision_transformer
from ecl_tf.models.unet import unet

__all__ = [
    "CategoryEmbedding",
    "application",
    "build",
    "convnet",
    "lenet",
    "mlp",
    "preactivation_resnet",
    "resnet",
    "unet",
    "vision_transformer",
    "wide_resnet",
    "with_scale_branch",
]

_OTHERS = ("CategoryEmbedding", "build", "with_scale_branch")
_NETWORKS = {name: globals()[name] for name in __all__ if name not in _OTHERS}


def build(
    name: str,
    input_shape: Any,
    units: int,
    scale_branch: int = 0,
    dtype: str | None = None,
    **arguments: Any,
) -> keras.Model:
    """Builds a network by its name; returns a `keras.Model`.

    Args:
        name: of a function of this package, such as "convnet", or "module:function" of a function
            of yours (input_shape, units, **arguments) -> `keras.Model` of raw outputs.
        input_shape: shape of one example, such as (height, width, channels) of an image; for
            several inputs a dict from name to shape, such as {"image": (36, 60, 1),
            "head_pose": (2,)}. "mlp" takes any shapes, "unet" one image. The others take one
            image and any number of vectors, which join the features before the last layer.
        units: the size of the raw output, `output.raw_size(event_size)`.
        scale_branch: the width of `with_scale_branch`, where the raw output is means and scales; 0,
            the default, for none; typically 32.
        dtype: the `keras.dtype_policies.DTypePolicy` of its layers, by name. None, the default,
            for Keras's global one, which is "float32"; typically "mixed_bfloat16", which keeps
            weights in float32 and computes in half of the bits, on processors that have them.
        **arguments: the network's own.

    Raises:
        ValueError: if there is no such network, it does not take an argument, there is no such
            `dtype`, or a function of yours returns no Keras model of so many units.
        ModuleNotFoundError: if there is no such module.

    Example:
    >>> build("mlp", (8, 8, 1), units=10, widths=(32,)).output_shape
    (None, 10)
    """
    with _dtype_policy(dtype):
        model = call_by_name("network", _NETWORKS, name, arguments, input_shape, units)
        if name not in _NETWORKS:
            _require_network(model, name, units)
            _require_own_weights(model, name)
        return with_scale_branch(model, scale_branch) if scale_branch else model


@contextlib.contextmanager
def _dtype_policy(name):
    """Layers that are made meanwhile have this policy; None for the global one."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name or before)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


# The variables of all networks that users' functions have built.
_built: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def _require_own_weights(model, name):
    """Raises ValueError if a network has weights that another call has given to one."""
    for weight in model.trainable_weights:
        if id(weight) in _built and _built[id(weight)] is weight:
            raise ValueError(
                f"{name} returned a network with the weights of an earlier one ({weight.path!r}), "
                "so that every training would go on from the one before. Build all layers anew at "
                "each call, without a cache; keras.models.clone_model copies a network's layers."
            )
        _built[id(weight)] = weight


def _require_network(model, name, units):
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"{name} returned {type(model).__name__}; expected a `keras.Model`, built for "
            "(input_shape, units)."
        )
    shape = symbolic.output_shape(model)
    if isinstance(shape, tuple) and shape[-1] != units:
        raise ValueError(
            f"{name} returned a network of the output shape {shape}; expected "
            f"{units} raw outputs, its argument `units`."
        )
