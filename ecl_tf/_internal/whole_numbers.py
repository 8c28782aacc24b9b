"""Which whole numbers an input of a network takes: those of its type, and ids that it knows.

Keras cuts fractions off, and wraps numbers that a type does not hold. An id that an embedding does
not know is an error on a processor, zeros on a GPU, and perhaps another id's vector elsewhere.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from ecl_tf._internal import own_inputs, symbolic


class Whole(NamedTuple):
    """Whole numbers from `low` to `high`."""

    low: int
    high: int

    @property
    def words(self):
        """The numbers, for messages."""
        return f"whole numbers from {self.low} to {self.high}"


def of_type(dtype):
    """Those that a `tf.DType` of whole numbers, or of truths, holds."""
    return Whole(0, 1) if dtype.is_bool else Whole(dtype.min, dtype.max)


def taken_by(model):
    """What inputs of a model take: a dict from path to `Whole`; without those that take any."""
    found = {}
    for path, tensor in keras.tree.flatten_with_path(symbolic.inputs_of(model)):
        dtype = _type_in_file(model, tensor) or tf.as_dtype(tensor.dtype)
        if ids := known_ids(model, tensor):
            found[tuple(path)] = ids
        elif dtype.is_integer or dtype.is_bool:
            found[tuple(path)] = of_type(dtype)
    return found


def known_ids(model, tensor):
    """The ids that embeddings know which look up all of a symbolic input; None without one."""
    first = symbolic.first_layers(symbolic.graph_of(model), tensor, whole=True)
    sizes = [each.input_dim for each in first if type(each) is keras.layers.Embedding]
    return Whole(0, min(sizes) - 1) if sizes else None


def specs_in_file(layer):
    """The inputs of a `BlackBox`, which is a network in a file: a dict of specs; {} of others."""
    specs = getattr(layer, "specs", None)
    is_of_file = isinstance(specs, dict) and all(
        isinstance(each, tf.TensorSpec) for each in specs.values()
    )
    return specs if is_of_file else {}


def _type_in_file(model, tensor):
    """The type of the input of a network in a file that takes a symbolic input; None without."""
    for layer in symbolic.first_layers(symbolic.graph_of(model), tensor, whole=True):
        specs = specs_in_file(layer)
        only = next(iter(specs.values())) if len(specs) == 1 else None
        if spec := specs.get(tensor.name, only):
            return spec.dtype
    return None


def compared(model, inputs):
    """Yields tensors of a batch that may hold other numbers than a model takes, and its `Whole`.

    Args:
        model: a Keras model.
        inputs: a batch, or specs of one.
    """
    if symbolic.inputs_of(model) is None:
        model = symbolic.graph_of(model, inputs)
    if model is None or not own_inputs.are_given(model, inputs):
        return
    taken = taken_by(model)
    for given, _, path in own_inputs.pairs(inputs, model):
        whole, dtype = taken.get(tuple(path)), tf.as_dtype(given.dtype)
        if whole is None or not (dtype.is_integer or dtype.is_floating):
            continue
        if dtype.is_floating or dtype.min < whole.low or dtype.max > whole.high:
            yield given, whole


def are_others(whole, values):
    """Whether some of a tensor's numbers are others; a scalar bool tensor."""
    low, high = whole
    if values.dtype.is_floating:  # These hold 2 ** 31, and not the number before it.
        others = values >= tf.constant(float(high + 1), values.dtype)
        others |= values != tf.floor(values)
    else:
        low, high = max(low, values.dtype.min), min(high, values.dtype.max)
        others = values > tf.constant(high, values.dtype)
    return tf.reduce_any(others | (values < tf.constant(low, values.dtype)))
