"""One traced step for all networks of a kind that labels train, one after the other."""

import contextlib
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal.quantized_model import QuantizedModel

_LARGEST = 1_000_000  # Weights. A step of more takes long beside its tracing, and memory.
_MOST = 8  # Kinds, of which a grid may have many.
# A compiled model for each kind, and what its optimizer's variables begin with.
_kept: dict[str, tuple[keras.Model, list[np.ndarray]]] = {}


@contextlib.contextmanager
def compiled_for(
    kind: str,
    network: keras.Model,
    build: Callable[[], keras.Model],
    compiled: Callable[[keras.Model], keras.Model],
) -> Iterator[keras.Model]:
    """Within it a compiled model is trained in a network's place, traced for an earlier one.

    It begins with the network's numbers, those of its random generators too, so that the training
    has the bits of the network's own, and the network gets what was learned. A network is trained
    itself if variables may not tell all by which it differs from others of its kind: it has
    layers of users or such as learn from data beforehand, it is quantized, or it is one of several
    replicas; or if it is large.

    Args:
        kind: what the network's structure, its loss and its optimizer follow from; "" for a
            network of a user's function.
        network: a network that is not compiled.
        build: makes another one of its kind.
        compiled: compiles a network and returns it.

    Yields:
        The compiled model.
    """
    if not kind or not _is_shareable(network):
        yield compiled(network)
        return
    if kind not in _kept:
        if len(_kept) == _MOST:
            del _kept[next(iter(_kept))]
        # A layer's configuration has the seed that it drew, which checkpoints compare.
        keras.utils.set_random_seed(0)
        model = compiled(build())
        _kept[kind] = model, [variable.numpy() for variable in model.optimizer.variables]
    model, beginning = _kept[kind]
    _copy(network.variables, model.variables)
    _copy(beginning, model.optimizer.variables)
    yield model
    _copy(model.variables, network.variables)


def _is_shareable(network):
    layers = network._flatten_layers()
    of_users = [
        each for each in layers if not type(each).__module__.startswith(("keras.", "ecl_tf."))
    ]
    adapted = [each for each in layers if hasattr(each, "adapt")]
    if of_users or adapted or isinstance(network, QuantizedModel):
        return False
    is_other = tf.distribute.has_strategy() or tf.config.functions_run_eagerly()
    return network.built and network.count_params() <= _LARGEST and not is_other


def _copy(values, variables):
    for value, variable in zip(values, variables, strict=True):
        variable.assign(value)
