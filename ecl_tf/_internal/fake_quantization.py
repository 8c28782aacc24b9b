"""A network as it answers in 8-bit integers, computed in floating point and trained as such.

The scheme is LiteRT's: weights are whole numbers from -127 to 127 times a scale of their output
channel, activations are 256 numbers of one distance, of which one is 0. Biases have 32 bits, so
they are left as they are. Batch normalisation after a convolution is a factor and an offset of each
channel: the channel's scale takes the factor, and no number is rounded twice.
"""

import warnings

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import batch_normalisation, own_inputs, symbolic
from ecl_tf._internal.litert_steps import WEIGHTED, Step, Steps, is_relu
from ecl_tf._internal.rounding import Range, rounded, rounded_kernel, rounded_weights


class FakeQuantized:
    """A network with 8-bit weights and activations, which shares the network's weights.

    Attributes:
        model: the network.
        ranges: a list of the `Range` of every activation, layers that hold one weight each.
        floating: the names of those layers that stay in floating point.

    Args:
        model: a functional or sequential Keras model in float32.

    Raises:
        ValueError: if it is of another kind, in another precision, or nothing in it has 8 bits.
    """

    def __init__(self, model):
        if not symbolic.computes_its_graph(model):
            raise ValueError(
                "quantization follows a network layer by layer, so it needs a functional or "
                f"sequential model; got {type(model).__name__} {model.name!r}. Build the student "
                "from layers: keras.Model(inputs, outputs)."
            )
        for layer in model._flatten_layers():
            if isinstance(layer, WEIGHTED) and layer.compute_dtype != "float32":
                raise ValueError(
                    f"quantization rounds what a network computes in float32; layer {layer.name!r} "
                    f"of {model.name!r} computes in {layer.compute_dtype}. Build the student "
                    "without a policy of mixed precision."
                )
        self.model, self._graph = model, Steps(model)
        self.ranges: list[Range] = []
        self._views = {}  # The range with which a tensor in floating point is rounded.
        self._united = {}  # Ranges that are taken as one, by the identity of each.
        self._place_ranges()
        self.floating = sorted(
            {step.operation.name for step in self._graph.steps if step.kind == "float"}
        )
        if not any(step.kind == "weighted" for step in self._graph.steps):
            kinds = ", ".join(kind.__name__ for kind in WEIGHTED)
            raise ValueError(
                f"quantization finds nothing to quantise in {model.name!r}: it has none of the "
                f"layers {kinds} with channels last. Leave quantization out."
            )
        if self.floating:
            warnings.warn(
                f"quantization leaves these layers of {model.name!r} in floating point: "
                f"{self.floating}. What comes out of them is rounded before the next layer of 8 "
                "bits.",
                stacklevel=3,
            )

    def _place_ranges(self):
        """Gives a range to each result that is rounded, and to what comes in to be rounded."""
        # Ranges and steps by the number of the result.
        self._known: dict[int, Range] = {}
        self._makers: dict[int, Step] = {}
        for step in self._graph.steps:
            self._makers |= {number: step for number in step.made}
            if step.kind == "float":
                continue
            sources = list(step.given.values())
            if step.kind == "same":
                step.range = self._known.get(sources[0])
            else:
                for source in sources:
                    self._require(source)
                known = [self._known[source] for source in sources]
                step.range = self._unite(known) if step.kind == "join" else self._new_range()
            follows = step.activation is None or is_relu(step.activation)
            if step.range is not None and follows:
                self._known[step.made[0]] = step.range

    def _require(self, number):
        """Rounds what comes in, if it isn't; as early as values only move."""
        if number in self._known:
            return
        maker = self._makers.get(number)
        if maker is not None and maker.kind == "same":
            (source,) = maker.given.values()
            self._require(source)
            maker.range = self._known[number] = self._known[source]
            return
        self._views[number] = self._known[number] = self._new_range()

    def _new_range(self):
        its_range = Range(name=f"range_{len(self.ranges)}")
        self.ranges.append(its_range)
        self._united[id(its_range)] = [its_range]
        return its_range

    def _unite(self, ranges):
        """Makes the ranges one, as LiteRT needs them to join numbers; returns one of them."""
        united = {id(one): one for each in ranges for one in self._united[id(each)]}
        self._united |= {key: list(united.values()) for key in united}
        return ranges[0]

    # Running it.

    def __call__(self, inputs, training=False):
        """The raw output.

        Args:
            inputs: a batch of the network's inputs.
            training: whether layers are in training mode, and ranges follow the batch; False by
                default.
        """
        return self._output(self._run(inputs, training))

    def runner(self, layer_names):
        """A function (inputs, training) -> (raw output, {layer name: features}).

        Args:
            layer_names: of the network's layers; None for its raw output.
        """

        def run(inputs, training):
            values = self._run(inputs, training)
            raw = self._output(values)
            found = {None: raw}
            for name in {*layer_names} - {None}:
                found[name] = keras.tree.map_structure(
                    lambda tensor: values[self._graph.names[id(tensor)]],
                    self.model.get_layer(name).output,
                )
            return raw, found

        return run

    def measure(self, inputs):
        """Widens all ranges to those that a batch has where only the weights are rounded.

        Args:
            inputs: a batch of the network's inputs.
        """
        self._run(inputs, measures=True)

    @property
    def variables(self):
        """The Keras variables that hold the ranges."""
        return [its_range.bounds for its_range in self.ranges]

    def frozen(self, inputs):
        """The raw output, in operations that LiteRT's converter makes integers of.

        Weights and ranges are constants of the graph.
        """
        raw = self._output(self._run(inputs, frozen=True))
        # The converter would compute a softmax in 8 bits. No number but 0 is changed.
        return keras.tree.map_structure(lambda x: x + np.finfo("float32").tiny, raw)

    def steps(self, raw):
        """The distance of neighbouring numbers of each raw output, a nesting of numbers.

        Args:
            raw: the raw output; where it is in floating point its own range is taken.
        """
        found = []
        for number, values in zip(self._graph.outputs, keras.tree.flatten(raw), strict=True):
            if number in self._known:
                low, high = self._limits(self._known[number])
            else:
                low, high = float(tf.reduce_min(values)), float(tf.reduce_max(values))
            found.append((high - low) / 255.0)
        return keras.tree.pack_sequence_as(raw, found)

    def _limits(self, its_range):
        """The ends of a range, with those that are one with it, as numbers."""
        united = self._united[id(its_range)]
        bounds = [batch_normalisation.values_of(each.bounds) for each in united]
        return float(np.min(bounds)), float(np.max(bounds))

    def _output(self, values):
        structure = symbolic.output_of(self.model)
        return keras.tree.pack_sequence_as(structure, [values[n] for n in self._graph.outputs])

    def _run(self, inputs, training=False, measures=False, frozen=False):
        inputs = keras.tree.flatten(own_inputs.of(self.model, inputs))
        values = {
            number: tf.cast(value, symbolic_input.dtype)
            for number, value, symbolic_input in zip(
                self._graph.inputs, inputs, self.model.inputs, strict=True
            )
        }
        views = {}

        def limited(x, its_range, follows=True):
            united = self._united[id(its_range)]
            if frozen:
                low, high = self._limits(its_range)
                if not low < high:
                    return x
                return tf.quantization.fake_quant_with_min_max_vars(x, low, high)
            if follows and (training or measures):
                its_range.observe(x, widest=measures)
            if measures:
                return x
            bounds = tf.stack([tf.convert_to_tensor(each.bounds) for each in united])
            result = rounded(x, tf.reduce_min(bounds[:, 0]), tf.reduce_max(bounds[:, 1]))
            return _with_mask_of(x, result)

        def given(step):
            found = {}
            for tensor, number in step.given.items():
                if step.kind != "float" and number in self._views:
                    if number not in views:
                        views[number] = limited(values[number], self._views[number])
                    found[tensor] = views[number]
                else:
                    found[tensor] = values[number]
            return found

        for step in self._graph.steps:
            found = given(step)
            if frozen and step.kind in ("weighted", "normalise", "average"):
                result = _served(step, *found.values())
            elif step.kind == "weighted":
                result = _linear(step.operation, *found.values())
            else:
                args, kwargs = step.node.arguments.fill_in(found)
                result = _called(step.operation, training, args, kwargs)
            results = keras.tree.flatten(result)
            values |= dict.fromkeys(step.stages[:1], results[0])
            if step.normalisation is not None and not frozen:
                results = [_called(step.normalisation, training, results[:1])]
                values |= dict.fromkeys(step.stages[1:], results[0])
            relu = step.activation is None or is_relu(step.activation)
            if step.activation is not None and relu:
                results = [_activated(step.activation, results[0], training)]
            if step.range is not None and (frozen or step.kind not in ("same", "join")):
                results = [limited(results[0], step.range, step.kind not in ("same", "join"))]
            if not relu:
                results = [_activated(step.activation, results[0], training)]
            values |= dict(zip(step.made, results, strict=True))
        return values


def _called(operation, training, args, kwargs=None):
    """What a layer or an operation gives, as a functional model calls it."""
    of_layer = {"training": training} if isinstance(operation, keras.layers.Layer) else {}
    return operation(*args, **{**(kwargs or {}), **of_layer})


def _activated(activation, x, training):
    is_operation = isinstance(activation, keras.Operation)
    if is_operation:
        return _called(activation, training, [x])
    return _with_mask_of(x, activation(x))


def _with_mask_of(x, result):
    mask = getattr(x, "_keras_mask", None)
    if mask is not None:
        result._keras_mask = mask
    return result


def _linear(layer, x):
    """What a layer gives before its activation, of rounded weights."""
    kernel = tf.convert_to_tensor(layer.kernel)
    if isinstance(layer, keras.layers.DepthwiseConv2D):  # Its channels are the last two axes.
        flat = tf.reshape(kernel, (-1, kernel.shape[-2] * kernel.shape[-1]))
        kernel = tf.reshape(rounded_weights(flat), kernel.shape)
    else:
        kernel = rounded_weights(kernel)
    if isinstance(layer, keras.layers.Dense):
        result = tf.matmul(x, kernel)
    else:
        result = _convolved(layer, x, kernel)
    if layer.use_bias:
        result = result + tf.convert_to_tensor(layer.bias)
    return _with_mask_of(x, result) if layer.supports_masking else result


def _convolved(layer, x, kernel):
    padding = layer.padding.upper()
    strides, dilations = layer.strides, layer.dilation_rate
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        strides = [1, *strides, 1]
        return tf.nn.depthwise_conv2d(x, kernel, strides, padding, dilations=dilations)
    if isinstance(layer, keras.layers.Conv1D):  # One of images of one row.
        x, kernel = tf.expand_dims(x, 1), kernel if kernel.shape.rank == 4 else kernel[None]
        strides, dilations = (1, *strides), (1, *dilations)
        return tf.squeeze(tf.nn.conv2d(x, kernel, strides, padding, dilations=dilations), 1)
    return tf.nn.conv2d(x, kernel, strides, padding, dilations=dilations)


def _served(step, x):
    """What a step gives before its activation, of constants, batch normalisation included.

    The converter keeps the scales of channels only in convolutions of images, and where nothing
    reshapes the rounded weights (but to one channel of each, of depthwise ones).
    """
    layer, normalisation = step.operation, step.normalisation
    if step.kind == "average":
        # LiteRT's own pooling rounds halves, of which there are many, in another way on every
        # device. A convolution has the same sum, and its own scale.
        sizes, strides = layer.pool_size, [1, *layer.strides, 1]
        kernel = np.full((*sizes, 1, x.shape[-1]), 1.0 / np.prod(sizes))
        kernel = tf.reshape(
            rounded_kernel(_constant(kernel, kernel.shape)), (*sizes, x.shape[-1], 1)
        )
        return tf.nn.depthwise_conv2d(x, kernel, strides, "VALID")
    if step.kind == "normalise":  # By itself it is a depthwise convolution of one pixel.
        gain, shift = batch_normalisation.gain_and_shift(layer)
        kernel = tf.reshape(rounded_kernel(_constant(gain, (1, 1, 1, -1))), (1, 1, -1, 1))
        result = tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "VALID")
        return result + shift.astype("float32")
    kernel = batch_normalisation.values_of(layer.kernel).astype("float64")
    shape = (1,) * (4 - kernel.ndim) + kernel.shape
    is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    flat = (*shape[:2], 1, shape[2] * shape[3]) if is_depthwise else shape
    kernel, bias = kernel.reshape(flat), None
    if layer.use_bias:
        bias = batch_normalisation.values_of(layer.bias).astype("float64")
    if normalisation is not None:
        gain, shift = batch_normalisation.gain_and_shift(normalisation)
        kernel, bias = kernel * gain, shift if bias is None else bias * gain + shift
    kernel = rounded_kernel(_constant(kernel, flat))
    if isinstance(layer, keras.layers.Dense):
        result = tf.nn.conv2d(tf.reshape(x, (-1, 1, 1, shape[2])), kernel, 1, "VALID")
    else:
        result = _convolved(layer, x, tf.reshape(kernel, shape) if is_depthwise else kernel)
    if bias is not None:
        result += bias.astype("float32")
    if isinstance(layer, keras.layers.Dense):
        result = tf.reshape(result, (-1, *x.shape[1:-1], shape[3]))
    return result


def _constant(kernel, shape):
    return tf.constant(kernel.reshape(shape).astype("float32"))
