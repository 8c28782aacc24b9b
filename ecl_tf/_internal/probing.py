"""What a network answers to made-up inputs, asked without a trace."""

import warnings

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import batches, own_inputs, symbolic

UNKNOWN_SIZE = 32


def answers(model, specs=None, weights=(), ask=None):
    """What a model answers to four rows of made-up inputs, or of its data, in inference mode.

    Nothing of the model changes: what its layers would assign is forgotten.

    Args:
        model: a Keras model.
        specs: of a batch of inputs (anything with shape and dtype); None, the default, is the
            model's own. Of a batch itself the first rows are asked about where made-up ones have
            no answer, or all the same.
        weights: pairs of a variable and the value that stands for it here; none by default.
        ask: a function of a batch of inputs to ask instead of the model; None by default.

    Returns:
        The nesting of arrays; None if the inputs are not known, or not ones that can be made
        up.
    """
    own, batch = symbolic.inputs_of(model), specs
    if has_rows := batches.is_batch(batch):
        specs = batches.specs(batch)
    specs = own if own is not None else _built_with(model) if specs is None else specs
    built = [model] if ask is None else model._flatten_layers(include_self=False)
    if specs is None or not all(each.built for each in built):
        return None
    highest = highest_whole_number(model)
    random = np.random.default_rng(0)

    def made_up():
        return keras.tree.map_structure(lambda spec: rows(spec, highest, random), specs)

    def given():
        taken = batch if ask is not None else own_inputs.of(model, batch)
        return keras.tree.map_structure(lambda leaf: tf.convert_to_tensor(leaf[:4]), taken)

    found = None
    for inputs in [made_up, given] if has_rows else [made_up]:
        try:
            with keras.StatelessScope(weights), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # They would be of inputs that nobody gave.
                answered = inputs()
                answered = model(answered, training=False) if ask is None else ask(answered)
                found = keras.tree.map_structure(np.asarray, answered)
        except Exception:  # Layers may want anything: a range, a size, rows that sum to 1.
            continue
        if any(each.ndim and (each != each[:1]).any() for each in keras.tree.flatten(found)):
            break
    return found


def _built_with(model):
    """Specs of the inputs that a subclassed model was built with, or None."""
    shape = (model.get_build_config() or {}).get("input_shape")
    if not isinstance(shape, (tuple, list)) or any(isinstance(n, (tuple, list)) for n in shape):
        return None  # Of several inputs the data will tell.
    return tf.TensorSpec(shape, tf.float32)


def rows(spec, highest, random):
    """Rows of normal and uniform numbers, small and large ones, or of whole numbers as they are
    or as text.
    """
    dtype = tf.as_dtype(spec.dtype)
    rows, *sizes = spec.shape
    shape = [rows or 4, *(UNKNOWN_SIZE if size is None else size for size in sizes)]
    if dtype == tf.string:
        return tf.as_string(tf.constant(random.integers(0, 255, shape)))
    if dtype.is_integer or dtype.is_bool or highest is not None:
        limit = 2 if dtype.is_bool else highest or min(dtype.max, 255)
        return tf.cast(random.integers(0, limit, shape), dtype)
    if not dtype.is_floating:
        raise TypeError(f"There are no made-up inputs of {dtype.name}.")
    values = random.normal(size=shape)
    values[1::4] *= 30.0
    values[2::4] = random.uniform(size=values[2::4].shape)
    values[3::4] *= -3.0
    return tf.cast(values, dtype)


def highest_whole_number(model):
    """The number that ids stay below, where a layer of the model looks something up by them."""
    limits = []
    for layer in model._flatten_layers():
        limits.append(getattr(layer, "num_tokens", None))
        if isinstance(layer, keras.layers.Embedding):
            limits.append(layer.input_dim)
    return min((limit for limit in limits if limit), default=None)
