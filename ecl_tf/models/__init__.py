"""Networks for teachers and students, built by name."""

from ecl_tf.build import call_by_name
from ecl_tf.models.networks import convnet, lenet, mlp

__all__ = ["build", "convnet", "lenet", "mlp"]

_NETWORKS = {function.__name__: function for function in (convnet, lenet, mlp)}


def build(name, input_shape, units, **arguments):
    """Builds a network by its name; returns a functional `keras.Model`.

    Args:
        name: "convnet", "lenet" or "mlp".
        input_shape: shape of one example.
        units: the size of the raw output, `output.raw_size(event_size)`.
        **arguments: the network's own.

    Raises:
        ValueError: if there is no such network, or it does not take an argument.
    """
    return call_by_name("network", _NETWORKS, name, arguments, input_shape, units)
