"""Layers that compute with fewer bits than they keep their weights in."""

import keras

from ecl_tf._internal import symbolic

# They take raw numbers, and low precision would leave too little of them.
PREPROCESSING = (
    keras.layers.CenterCrop,
    keras.layers.Normalization,
    keras.layers.Rescaling,
    keras.layers.Resizing,
)
# Inputs of an embedding name something, a Lambda computes what its user wrote for float32, and
# processors have no pooling over three axes in float16.
_LEFT = (
    keras.layers.AveragePooling3D,
    keras.layers.Embedding,
    keras.layers.Lambda,
    keras.layers.MaxPooling3D,
)


def last_layers(network):
    """Yields the layers that give a network's outputs; those of an inner one where it gives one."""
    for tensor in keras.tree.flatten(network.outputs):
        layer = tensor._keras_history.operation
        if isinstance(layer, keras.Model):
            yield from last_layers(layer)
        else:
            yield layer


def lowered(network, gives_answer=True):
    """The layers of a functional network that compute in low precision if it does.

    That is all from the first product with a kernel on, but for the last such layer and what
    follows it: inputs may need every bit until a network has made features of them, and answers
    are distributions. Layers that hold layers, layers of a user's own, and those of another type
    than float32 stay as they are.

    Args:
        network: a functional model. Networks within it are left out.
        gives_answer: whether its outputs are the answer; True by default.

    Returns:
        A set of the layers' ids.
    """
    kept = ends(network) if gives_answer else set()
    low: set[int] = set()  # Ids of tensors that come after a product.
    chosen = set()
    depths = sorted(network._nodes_by_depth, reverse=True)
    for node in (node for depth in depths for node in network._nodes_by_depth[depth]):
        layer = node.operation
        follows = any(id(tensor) in low for tensor in node.input_tensors)
        if follows or _multiplies(layer):
            low |= {id(tensor) for tensor in node.output_tensors}
            if id(layer) not in kept and _is_plain(layer):
                chosen.add(id(layer))
    return chosen


def ends(network):
    """Ids of the layers from the last one with weights on, on every path to the outputs."""
    found, ahead, seen = set(), list(keras.tree.flatten(network.outputs)), set()
    while ahead:
        tensor = ahead.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        operation, number, _ = tensor._keras_history
        found.add(id(operation))
        if not getattr(operation, "variables", ()):
            ahead += operation._inbound_nodes[number].input_tensors
    return found


def _multiplies(layer):
    if isinstance(layer, keras.Model):
        return symbolic.computes_its_graph(layer)
    return _is_plain(layer) and any(len(weight.shape) > 1 for weight in layer.weights)


def _is_plain(layer):
    return (
        isinstance(layer, keras.layers.Layer)
        and type(layer).__module__.startswith("keras.")
        and not isinstance(layer, (keras.Model, keras.layers.InputLayer))
        and not isinstance(layer, (*PREPROCESSING, *_LEFT))
        and layer.dtype_policy.name == "float32"
        and not any(layer._flatten_layers(include_self=False))
    )


def stand_in(layer, dtype):
    """A layer that computes in low precision with another one's variables.

    These are cast in every step, so that whatever changes them is followed. It has the layer's
    attributes of this moment, so it is made for each trace.

    Args:
        layer: one of `lowered`.
        dtype: "bfloat16" or "float16".
    """
    # Keras copies a layer by way of a file, with weights of its own.
    made = object.__new__(type(layer))
    vars(made).update(vars(layer))
    vars(made)["_dtype_policy"] = keras.dtype_policies.DTypePolicy(f"mixed_{dtype}")
    return made
