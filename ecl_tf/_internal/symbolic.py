"""The symbolic inputs and outputs of a Keras model, where it has them."""

import functools
import warnings
import weakref

import keras
import tensorflow as tf

from ecl_tf._internal import batches

# What only moves, leaves out or averages values, by the names of Keras's layers and operations.
_PASS_VALUES_ON = {
    "ActivityRegularization",
    "AlphaDropout",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "Cast",
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "Dropout",
    "ExpandDims",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "Identity",
    "Permute",
    "RepeatVector",
    "Reshape",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "Squeeze",
    "Transpose",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
}
# What moves values, leaves some out or joins them, when a model is run.
MOVES_VALUES = {
    "CenterCrop",
    "Concatenate",
    "Cropping2D",
    "GetItem",
    "RandomContrast",
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "Repeat",
    "Resizing",
    "Stack",
    "ZeroPadding2D",
}
# Those of both that leave some values out.
_SELECTS = {"CenterCrop", "Cropping1D", "Cropping2D", "Cropping3D", "GetItem", "RandomCrop"}
_TRACED: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
INPUTS_HINT = (
    "A dict is taken for inputs, by the names of the network's inputs. If it holds labels too, as "
    "tfds.load gives it without as_supervised=True, give (inputs, labels): "
    "dataset.map(lambda row: (row['image'], row['label']))."
)


def inputs_of(model):
    """The nesting of symbolic inputs, or None for a subclassed or unbuilt model."""
    if isinstance(model, keras.Sequential):
        return model.inputs[0] if getattr(model, "inputs", None) else None
    return _unpacked(model.input) if getattr(model, "inputs", None) else None


def graph_of(model, inputs=None):
    """The functional model of a model's nodes, or None for one without symbolic inputs.

    Args:
        model: a Keras model.
        inputs: a batch, or specs of one, for which a subclassed model of Keras's layers alone is
            called with symbolic tensors; None, the default, gives None for such a one.
    """
    found = getattr(model, "_functional", None) or model  # Of Sequential.
    if getattr(found, "inputs", None):
        return found
    is_built = isinstance(model, keras.Model) and model.built  # It may be a function.
    return _traced(model, inputs) if is_built and inputs is not None else None


def _traced(model, inputs):
    """The functional model of what a subclassed model does with inputs, None if it can't be told.

    Its inputs have the nesting of the batch.
    """
    leaves = keras.tree.flatten_with_path(inputs)
    if not all(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for _, leaf in leaves):
        return None
    key = str(
        [
            (path, str(tf.TensorShape(leaf.shape)[1:]), getattr(leaf.dtype, "name", leaf.dtype))
            for path, leaf in leaves
        ]
    )
    known = _TRACED.setdefault(model, {})
    if key not in known:
        layers = list(model._flatten_layers(include_self=False))
        are_of_keras = all(type(layer).__module__.startswith("keras.") for layer in layers)
        known[key] = _called(model, inputs, layers) if layers and are_of_keras else None
    return known[key]


def _called(model, inputs, layers):
    arguments = {"training": False} if model._call_has_training_arg else {}
    nodes = [each for layer in layers for each in (layer._inbound_nodes, layer._outbound_nodes)]
    counts = [len(each) for each in nodes]
    try:
        with tf.init_scope(), keras.StatelessScope(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            leaves = [_input(*each) for each in keras.tree.flatten_with_path(inputs)]
            tensors = keras.tree.pack_sequence_as(inputs, leaves)
            return keras.Model(tensors, model.call(tensors, **arguments), name=model.name)
    except Exception:  # It may want values, or do what is no operation of Keras.
        return None
    finally:  # The layers stay as they were.
        for each, count in zip(nodes, counts, strict=True):
            del each[count:]


def _input(path, leaf):
    name = "_".join(map(str, path)) or "inputs"
    return keras.Input(tuple(leaf.shape[1:]), dtype=tf.as_dtype(leaf.dtype).name, name=name)


def computes_its_graph(model):
    """Whether a model does what its layers do, in the order in which they were called."""
    kinds = _functional(), keras.Sequential
    known = isinstance(model, kinds) and inputs_of(model) is not None
    return known and type(model).call in [kind.call for kind in kinds]


@functools.cache
def _functional():
    """The class of functional models, which has no public name."""
    x = keras.Input((1,))
    return type(keras.Model(x, x))


def output_of(model):
    """The nesting of symbolic outputs, or None for a subclassed or unbuilt model."""
    if isinstance(model, keras.Sequential):
        return model.outputs[0] if getattr(model, "outputs", None) else None
    return _unpacked(model.output) if getattr(model, "outputs", None) else None


def _unpacked(nest):
    """As Keras calls a model: a list of one tensor is the tensor."""
    return nest[0] if isinstance(nest, (list, tuple)) and len(nest) == 1 else nest


def output_shape(model, inputs=None):
    """The static shape (or nesting of shapes) of a model's output, or None.

    Args:
        model: a Keras model.
        inputs: a batch, or specs of one (anything with shape and dtype), with which a model
            without symbolic outputs is called, and so built.

    Raises:
        ValueError: if the model can't be called with them.
    """
    output = output_of(model)
    if output is None and inputs is not None:
        if batches.is_batch(inputs):
            inputs = batches.specs(inputs)
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


def shape_for(output, model, role, inputs=None):
    """The shape of a model's output where one tensor is expected, otherwise a dict of shapes.

    Args:
        output: an `ecl_tf.outputs.Output`, or what describes one.
        model: a Keras model.
        role: "student" or "teacher", for the message. A teacher's dict or list of one is the
            tensor in it; a student, which others will call, has to give the tensor itself.
        inputs: as in `output_shape`.

    Raises:
        ValueError: if the model gives several tensors, and `output` is no dict by their names.
    """
    shape = output_shape(model, inputs)
    if shape is None or _is_named(output):
        return shape
    if role == "student" and _is_nest(shape):
        raise several(shape, f"{role} {model.name!r}")
    return only(shape, f"{role} {model.name!r}")


def only(answered, network):
    """The one tensor (or shape) of what a network gives: itself, or that of a dict or list of one.

    Args:
        answered: a tensor, a shape, or a nesting of them.
        network: what gave it, for the message.
    """
    if not _is_nest(answered):
        return answered
    if len(answered) > 1:
        raise several(answered, network)
    (found,) = answered.values() if isinstance(answered, dict) else answered
    return only(found, network)


def several(answered, network):
    """The error of a network that gives a dict or list where one tensor is expected."""
    count = len(answered)
    if isinstance(answered, dict):
        first = repr(next(iter(answered), ""))
        one = f"output[{first}]"
        found = f"a dict of {count} with the names {sorted(answered)}"
        named = f", or name every output: output={{{first}: ...}}"
    else:
        one = "outputs[0]"
        found = f"a {type(answered).__name__} of {count} tensors without names"
        named = ", or name them: keras.Model(model.inputs, {name: tensor, ...}) and output={...}"
    return ValueError(
        f"The outputs of the {network} are {found}; expected one tensor. Say which of its outputs "
        f"is meant: keras.Model(model.inputs, model.{one}) (of a subclassed model, a "
        f"call that returns this tensor only){named}. Of a saved teacher ecl_tf.pretrained.load "
        "takes named means and deviations: answer={'mean': ..., 'stddev': ...}."
    )


def _is_nest(answered):
    if isinstance(answered, tuple):  # A shape is a tuple of its sizes.
        return not all(size is None or isinstance(size, int) for size in answered)
    return isinstance(answered, (dict, list))


def _is_named(output):
    if isinstance(output, dict):
        return "class_name" not in output or "outputs" in output.get("config", {})
    return hasattr(output, "outputs")


def made_by(tensor, path=()):
    """Yields the operations that gave a symbolic tensor its values.

    Layers that only move, drop or average values are passed, networks in networks entered.

    Args:
        tensor: a `keras.KerasTensor`.
        path: of the names of the networks that it is in; empty by default.

    Yields:
        Pairs of an operation (a layer or other) and the path of names that leads to it; no path
        to what is inside of another layer.
    """
    operation, node, place = tensor._keras_history
    here = (*path, operation.name)
    inner = output_of(operation) if isinstance(operation, keras.Model) else None
    if inner is not None:
        yield from made_by(keras.tree.flatten(inner)[place], here)
    elif passes_values_on(operation):
        for each in operation._inbound_nodes[node].input_tensors:
            yield from made_by(each, path)
    elif isinstance(operation, keras.layers.TimeDistributed):
        yield operation.layer, ()
    else:
        yield operation, here


def follow(network, tensor, known, visit, each_step=True, onward=lambda number, known: ()):
    """Yields what operations tell of a symbolic tensor that comes to them, networks in it entered.

    Args:
        network: a Keras model with a graph.
        tensor: one of the graph.
        known: what is known of the tensor, such as which of an input's axes its own are.
        visit: a function of a node, of its operation, and of what is known of what it is given, to
            a list of what the operation tells, and to what is known of its result; None for that
            ends the path.
        each_step: whether a `TimeDistributed` is followed as the layer that it has work on each
            step, as on each image of a video; True by default.
        onward: a function of the number of an output and of what is known, called if the tensor is
            that output; by default the path ends there.
    """
    for node in (each for nodes in network._nodes_by_depth.values() for each in nodes):
        for place, given in enumerate(node.input_tensors):
            if given is not tensor:
                continue
            operation = of_each_step(node.operation) if each_step else node.operation
            inner = graph_of(operation) if isinstance(operation, keras.Model) else None
            if inner is not None:

                def leave(number, known, node=node):
                    return follow(network, node.outputs[number], known, visit, each_step, onward)

                yield from follow(inner, inner.inputs[place], known, visit, each_step, leave)
                continue
            told, of_result = visit(node, operation, known)
            yield from told
            if of_result is not None:
                yield from follow(network, node.outputs[0], of_result, visit, each_step, onward)
    for number, output in enumerate(network.outputs):
        if output is tensor:
            yield from onward(number, known)


def first_layers(network, tensor, whole=False):
    """Yields the first operations that change or use a tensor's values; None for one unknown.

    Args:
        network: a Keras model with a graph.
        tensor: one of the graph.
        whole: whether what selects a part of the values uses them; False, the default, passes it.
    """

    def visit(node, operation, known):
        kind = type(operation).__name__
        if isinstance(operation, keras.Model):
            return [None], None
        if (passes_values_on(operation) or kind in MOVES_VALUES) and not (
            whole and kind in _SELECTS
        ):
            return [], known
        return [operation], None

    return follow(network, tensor, (), visit)


def of_each_step(operation):
    """The layer that a `TimeDistributed` has work on each step, as on each image of a video."""
    return operation.layer if isinstance(operation, keras.layers.TimeDistributed) else operation


def passes_values_on(operation):
    """Whether an operation of Keras only moves, drops or averages values."""
    if not type(operation).__module__.startswith("keras."):
        return False  # Somebody's own layer of the same name.
    if isinstance(operation, keras.layers.Activation):
        return operation.activation is keras.activations.linear
    return type(operation).__name__ in _PASS_VALUES_ON
