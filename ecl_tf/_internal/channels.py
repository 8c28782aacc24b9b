"""Where a network looks for the channels of the images that it is given."""

import keras

from ecl_tf._internal import symbolic

# Keras's layers that compute with every number alike, whatever its axis is.
_ALIKE = {
    "Activation",
    "Add",
    "Cast",
    "Divide",
    "Dropout",
    "GaussianNoise",
    "Identity",
    "Multiply",
    "Normalization",
    "Rescaling",
    "Subtract",
    "TrueDivide",
}
_FLATTENS = "Flatten"  # It has a `data_format`, and takes images of any.


def formats_of(model):
    """The data format of each input that is an image: of what a network's first layers tell.

    Keras's layers have a `data_format`. Axes that are moved in front of the first such layer, as
    images of PyTorch's layout have theirs, are followed.

    Args:
        model: a Keras model.

    Returns:
        A dict from the path of an input of rank 4 or more to "channels_first" or "channels_last",
        and the name of the layer. Inputs of which the first layers don't tell are left out, and so
        are all of a model without symbolic inputs.
    """
    inputs = symbolic.inputs_of(model)
    found = {}
    for path, tensor in keras.tree.flatten_with_path(inputs) if inputs is not None else ():
        if len(tensor.shape) >= 4:
            told = _follow(symbolic.graph_of(model), tensor, tuple(range(len(tensor.shape))))
            if told is not None:
                found[tuple(path)] = told
    return found


def _follow(network, tensor, axes, onward=lambda place, axes: None):
    """What the first layer with a format tells of a tensor, whose axes are those of an input.

    Args:
        network: a Keras model with a graph.
        tensor: one of the graph.
        axes: of an input, at each of the tensor's.
        onward: a function of the number of an output and its axes, called if the tensor is one.
    """
    for node in (each for nodes in network._nodes_by_depth.values() for each in nodes):
        for place, given in enumerate(node.input_tensors):
            if given is tensor and (found := _of_operation(network, node, place, axes, onward)):
                return found
    numbers = [number for number, output in enumerate(network.outputs) if output is tensor]
    return onward(numbers[0], axes) if numbers else None


def _of_operation(network, node, place, axes, onward):
    operation, kind = node.operation, type(node.operation).__name__
    if isinstance(operation, keras.Model):
        inner = symbolic.graph_of(operation)
        if inner is None:
            return None

        def leave(number, axes):
            return _follow(network, node.outputs[number], axes, onward)

        return _follow(inner, inner.inputs[place], axes, leave)
    if not type(operation).__module__.startswith("keras."):
        return None
    if kind == "Permute":
        axes = (0, *(axes[axis] for axis in operation.dims))
    elif kind == "Transpose" and operation.axes is not None:
        axes = tuple(axes[axis] for axis in operation.axes)
    elif getattr(operation, "data_format", None) is not None and kind != _FLATTENS:
        last = len(axes) - 1
        of_channels = axes[1 if operation.data_format == "channels_first" else last]
        known = {1: "channels_first", last: "channels_last"}.get(of_channels)
        return known and (known, operation.name)
    elif kind not in _ALIKE:
        return None
    output = node.outputs[0]
    return _follow(network, output, axes, onward) if len(output.shape) == len(axes) else None
