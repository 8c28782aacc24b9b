"""Half precision, which runtimes on processors do not compute in."""

import contextlib
from collections.abc import Iterator

import keras

HALF = ("float16", "bfloat16")


@contextlib.contextmanager
def single(model: keras.Model) -> Iterator[None]:
    """Has the layers of a model that compute in half precision compute in float32.

    Their weights are float32 under Keras's mixed policies, and stay as they are.
    """
    policies = {
        layer: layer.dtype_policy
        for layer in model._flatten_layers()
        if layer.compute_dtype in HALF and layer.variable_dtype == "float32"
    }
    try:
        for layer in policies:
            layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in policies.items():
            layer.dtype_policy = policy
