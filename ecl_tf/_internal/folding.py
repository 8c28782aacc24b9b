"""Batch normalisation computed together with the layer before it, where a network only answers."""

import collections
import math
import weakref

import keras
import tensorflow as tf

from ecl_tf._internal import batch_normalisation, low_precision, symbolic

_FOLDABLE = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Dense,
)
# A kernel is multiplied in every step. That pays if a channel has at most this many weights for
# each of its positions in a row: it saves two passes over its activations, of typically as many
# rows. It does not depend on the batch, so that all batches are answered by the same arithmetic.
_WEIGHTS_PER_POSITION = 32
# Of networks by type, with the outputs that they had then: a sequential model may grow.
_views: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def functional(network):
    """The functional model of a sequential one's layers; a functional one as it is."""
    if not isinstance(network, keras.Sequential):
        return network
    tensors = symbolic.inputs_of(network), symbolic.output_of(network)
    return keras.Model(*tensors, name=network.name)


def pairs(network):
    """Yields layers, the batch normalisations that can be folded into them, and what is between.

    Args:
        network: a functional model. Networks within it are left out.
    """
    nodes = [node for nodes in network._nodes_by_depth.values() for node in nodes]
    calls = collections.Counter(id(node.operation) for node in nodes)
    used = [*(tensor for node in nodes for tensor in node.input_tensors), *network.outputs]
    uses = collections.Counter(map(id, used))
    for node in nodes:
        layer = node.operation
        if type(layer) is not keras.layers.BatchNormalization or len(node.input_tensors) != 1:
            continue
        (given,) = node.input_tensors
        before, number, _ = given._keras_history
        if not (node.arguments.args and before._inbound_nodes[number].arguments.args):
            continue  # Called by keywords.
        once = calls[id(layer)] == calls[id(before)] == uses[id(given)] == 1
        # With training=True it takes the statistics of the batch, always.
        if type(before) not in _FOLDABLE or not once or node.arguments.kwargs.get("training"):
            continue
        linear = before.activation is keras.activations.linear
        channels_last = getattr(before, "data_format", "channels_last") == "channels_last"
        if linear and channels_last and batch_normalisation.is_last(layer, node):
            yield before, layer, given


@tf.autograph.experimental.do_not_convert
def call(network, inputs, dtype=None):
    """What a network answers in inference mode, the same to rounding, and sooner.

    Layers and batch normalisations with the weights that they have now, in one operation where
    it pays:

        gamma (W x + b - mean) / sqrt(variance + epsilon) + beta = W' x + b'

    with W' = W gamma / sqrt(variance + epsilon) by output channel. A network that is not made of
    layers alone, or has nothing to change, is called as it is.

    Args:
        network: a Keras model.
        inputs: a batch, as it takes it.
        dtype: "bfloat16" or "float16", in which the layers of `low_precision.lowered` compute;
            None, the default, leaves them their own.
    """
    return (_view_of(network, dtype) or network)(inputs, training=False)


def lowers(network, dtype):
    """Whether any layer computes in another type than its own when `call` is given one."""
    view = _view_of(network, dtype)
    return view is not None and view.replaced.lowers()


def _view_of(network, dtype):
    made = getattr(network, "outputs", None)
    known = _views.setdefault(network, {})
    if dtype not in known or known[dtype][0] is not made:
        known[dtype] = made, _view(network, dtype)
    return known[dtype][1]


def _view(network, dtype, gives_answer=True):
    """A `_Folded` of a network's own layers; None where that would be no other network."""
    if not symbolic.computes_its_graph(network):
        return None
    policy, network = network.dtype_policy, functional(network)
    found = {
        id(before): (before, after, between)
        for before, after, between in pairs(network)
        if _pays(before, after, between, dtype)
    }
    low = low_precision.lowered(network, gives_answer) if dtype else set()
    ends = low_precision.ends(network) if dtype and gives_answer else set()
    within = {
        id(layer): view
        for layer in network.layers
        if isinstance(layer, keras.Model)
        and (view := _view(layer, dtype, id(layer) in ends)) is not None
    }
    if not (found or within or low):
        return None
    view = _Folded(network.input, network.output, name=network.name)
    view.dtype_policy = policy  # Not the global one of now.
    view.replaced = _Replaced(found, within, low, dtype)
    return view


def _pays(layer, normalisation, between, dtype):
    """Whether a layer's kernel is small beside what comes out of it, all of it in float32.

    In another `dtype` any kernel is: all are cast in every step, and Keras's batch normalisation
    would cast what comes out to float32 and back.
    """
    kernel = layer.kernel
    types = layer.compute_dtype, normalisation.compute_dtype, getattr(kernel, "dtype", None)
    if not isinstance(kernel, keras.Variable) or {*types} != {"float32"}:
        return False
    *sizes, channels = between.shape[1:]
    return (
        dtype is not None
        or None in sizes
        or (math.prod(kernel.shape) <= _WEIGHTS_PER_POSITION * channels * math.prod(sizes))
    )


class _Replaced:
    """What a `_Folded` calls in the place of layers, by their ids; Keras does not look into it.

    Attributes:
        folded: layers, with what `pairs` says of them.
        within: views of networks.
        low: the ids of layers that compute in another type.
        dtype: this type, or None.
    """

    def __init__(self, folded, within, low, dtype):
        self.folded, self.within, self.low, self.dtype = folded, within, low, dtype
        self.passed = {id(after) for _, after, _ in folded.values()}

    def lowers(self):
        return bool(self.low) or any(view.replaced.lowers() for view in self.within.values())


class _Folded(keras.Model):
    """A functional model of another one's layers."""

    replaced = _Replaced({}, {}, set(), None)

    def _run_through_graph(self, inputs, operation_fn=lambda operation: operation, **kwargs):
        # As Keras's own, of other operations.
        def calling(operation):
            own = operation
            if id(operation) in self.replaced.low:
                own = low_precision.stand_in(operation, self.replaced.dtype)
            own = operation_fn(own)
            if id(operation) in self.replaced.folded:
                before, after, _ = self.replaced.folded[id(operation)]
                return lambda x, **kwargs: _folded(own, before, after, x, **kwargs)
            if id(operation) in self.replaced.passed:
                return lambda x, **_: x
            if id(operation) in self.replaced.within:
                return operation_fn(self.replaced.within[id(operation)])
            return own

        return super()._run_through_graph(inputs, calling, **kwargs)


def _folded(call_layer, layer, normalisation, *args, **kwargs):
    """What a layer and a batch normalisation give together.

    Args:
        call_layer: calls the layer.
        layer: the layer.
        normalisation: the batch normalisation.
        *args: what the layer is called with.
        **kwargs: the same.
    """
    if not isinstance(layer.kernel, keras.Variable):  # Since then it was changed, as by LoRA.
        return normalisation(call_layer(*args, **kwargs), training=False)
    gain = tf.math.rsqrt(normalisation.moving_variance.value + normalisation.epsilon)
    if normalisation.scale:
        gain *= normalisation.gamma.value
    shift = -normalisation.moving_mean.value * gain
    if normalisation.center:
        shift += normalisation.beta.value
    kernel = layer.kernel.value
    factor = gain
    if isinstance(layer, (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)):
        factor = tf.reshape(gain, kernel.shape[-2:])  # Its channels are the last two axes.
    values = [(layer.kernel, kernel * factor)]
    if layer.use_bias:
        values.append((layer.bias, layer.bias.value * gain + shift))
    with keras.StatelessScope(values):
        result = call_layer(*args, **kwargs)
    if layer.use_bias:
        return result
    mask = getattr(result, "_keras_mask", None)
    result = tf.nn.bias_add(result, tf.cast(shift, result.dtype))
    if mask is not None:
        result._keras_mask = mask
    return result
