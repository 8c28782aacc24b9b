"""The symbolic inputs and outputs of a Keras model, where it has them."""

import keras
import tensorflow as tf


def inputs_of(model):
    """The nesting of symbolic inputs, or None for a subclassed or unbuilt model."""
    if isinstance(model, keras.Sequential):
        return model.inputs[0] if getattr(model, "inputs", None) else None
    return model.input if getattr(model, "inputs", None) else None


def output_of(model):
    """The nesting of symbolic outputs, or None for a subclassed or unbuilt model."""
    if isinstance(model, keras.Sequential):
        return model.outputs[0] if getattr(model, "outputs", None) else None
    return model.output if getattr(model, "outputs", None) else None


def output_shape(model, inputs=None):
    """The static shape (or nesting of shapes) of a model's output, or None.

    Args:
        model: a Keras model.
        inputs: specs of a batch (anything with shape and dtype), with which a model
            without symbolic outputs is called, and so built.
    """
    output = output_of(model)
    if output is None and inputs is not None:
        output = model(
            keras.tree.map_structure(
                lambda spec: keras.KerasTensor(tuple(spec.shape), tf.as_dtype(spec.dtype).name),
                inputs,
            )
        )
    if output is None:
        return None
    return keras.tree.map_structure(lambda tensor: tuple(tensor.shape), output)
