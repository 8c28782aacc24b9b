"""The symbolic inputs and outputs of a Keras model, where it has them."""

import keras
import tensorflow as tf

INPUTS_HINT = (
    "A dict is taken for inputs, by the names of the network's inputs. If it holds labels too, as "
    "tfds.load gives it without as_supervised=True, give (inputs, labels): "
    "dataset.map(lambda row: (row['image'], row['label']))."
)


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

    Raises:
        ValueError: if the model can't be called with them.
    """
    output = output_of(model)
    if output is None and inputs is not None:
        tensors = keras.tree.map_structure(
            lambda spec: keras.KerasTensor(tuple(spec.shape), tf.as_dtype(spec.dtype).name),
            inputs,
        )
        try:
            output = model(tensors)
        except Exception as error:
            hint = f"\n{INPUTS_HINT}" if isinstance(inputs, dict) else ""
            raise ValueError(
                f"The network {model.name!r} can't be called with the data's inputs, {inputs}: "
                f"{error}{hint}"
            ) from error
    if output is None:
        return None
    return keras.tree.map_structure(lambda tensor: tuple(tensor.shape), output)


def require_raw(output, model, role):
    """Raises ValueError if a model ends in an activation that makes probabilities of logits.

    Taken for logits, probabilities p of a confident network would stand for the nearly
    uniform softmax(p). A model without symbolic outputs is not known to.

    Args:
        output: the `ecl_tf.outputs.Output` that the model's raw tensors stand for.
        model: a Keras model.
        role: "student" or "teacher", for the message.
    """
    tensors = output_of(model)
    parts = getattr(output, "outputs", {"": output})
    if not isinstance(tensors, dict):
        tensors = dict.fromkeys(parts, tensors) if len(parts) == 1 else {}
    for name, each in parts.items():
        tensor = tensors.get(name)
        if not isinstance(tensor, keras.KerasTensor):
            continue
        if (activation := _activation(tensor)) == each.makes_probabilities:
            raise ValueError(
                f"The {role} {model.name!r} ends in {activation}, and raw outputs are logits: its "
                "probabilities would be taken for them. Where it is the last layer's activation, "
                "model.layers[-1].activation = keras.activations.linear leaves the logits; "
                "ecl_tf.pretrained.load(..., answer='probabilities') takes a file as it is."
            )


def _activation(tensor):
    """The name of what a tensor was made by: a layer's argument, or a layer of its own."""
    operation, _, place = tensor._keras_history
    if isinstance(operation, keras.Model):  # A network in a network.
        inner = output_of(operation)
        return "" if inner is None else _activation(keras.tree.flatten(inner)[place])
    own = getattr(operation, "activation", None) or operation
    return getattr(own, "__name__", type(own).__name__).lower()
