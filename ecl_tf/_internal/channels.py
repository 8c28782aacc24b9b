"""Where a network looks for the channels of the images that it is given."""

from ecl_tf._internal import own_inputs, symbolic

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


def formats_of(model, inputs=None):
    """The data format of each input that is an image: of what a network's first layers tell.

    Keras's layers have a `data_format`. Axes that are moved in front of the first such layer, as
    images of PyTorch's layout have theirs, are followed.

    Args:
        model: a Keras model.
        inputs: a batch, or specs of one, in which paths are; None, the default, has them in the
            model's own nesting.

    Returns:
        A dict from the path of an input of rank 4 or more to "channels_first" or "channels_last",
        and the name of the layer. Inputs of which the first layers don't tell are left out, and so
        are all of a model without a graph (`symbolic.graph_of`).
    """
    found = {}
    for path, tensor in own_inputs.taken(model, inputs):
        if len(tensor.shape) >= 4:
            axes, network = tuple(range(len(tensor.shape))), symbolic.graph_of(model, inputs)
            told = symbolic.follow(network, tensor, axes, _told_by, each_step=False)
            if (first := next(told, None)) is not None:
                found[path] = first
    return found


def _told_by(node, operation, axes):
    """What `symbolic.follow` takes: the format of an operation, and an input's axes behind it."""
    kind = type(operation).__name__
    if not type(operation).__module__.startswith("keras."):
        return [], None
    if kind == "Permute":
        axes = (0, *(axes[axis] for axis in operation.dims))
    elif kind == "Transpose" and operation.axes is not None:
        axes = tuple(axes[axis] for axis in operation.axes)
    elif getattr(operation, "data_format", None) is not None and kind != _FLATTENS:
        last = len(axes) - 1
        of_channels = axes[1 if operation.data_format == "channels_first" else last]
        known = {1: "channels_first", last: "channels_last"}.get(of_channels)
        return [(known, operation.name)] if known else [], None
    elif kind not in _ALIKE:
        return [], None
    return [], axes if len(node.outputs[0].shape) == len(axes) else None
