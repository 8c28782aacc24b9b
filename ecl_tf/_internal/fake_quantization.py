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

from ecl_tf._internal import batch_normalisation, own_inputs, replicas, symbolic

# An earlier range's weight against that of the batch: outliers are forgotten in 100 steps.
_MOMENTUM = 0.99
_NARROWEST = 1e-12  # Largest weight of a channel: one of zeros has a scale, too.
_WEIGHTED = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
)
_ACTIVATIONS = keras.activations.linear, keras.activations.relu, keras.activations.relu6
# By the names of Keras's layers and operations. What only moves or chooses numbers, so that they
# stay the whole numbers that they were.
_PASS_ON = {
    "ActivityRegularization",
    "AlphaDropout",
    "Cropping1D",
    "Cropping2D",
    "Dropout",
    "ExpandDims",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "Identity",
    "MaxPooling1D",
    "MaxPooling2D",
    "Permute",
    "Reshape",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "Squeeze",
    "Transpose",
    "ZeroPadding1D",
    "ZeroPadding2D",
}
# What gives others, which have a range of their own.
_COMBINE = {"Add", "Multiply", "Subtract"}
_JOIN = {"Concatenate"}
_MEAN = {"GlobalAveragePooling1D", "GlobalAveragePooling2D"}


@keras.saving.register_keras_serializable("ecl_tf")
class Range(keras.layers.Layer):
    """The range of an activation, observed in training.

    It holds 0, and the latest batch, so that training cuts nothing off: it grows to a batch's range
    at once, and shrinks toward it by a moving average. Before it has seen a batch it is [0, 0].
    """

    def __init__(self, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.bounds = self.add_weight(
            shape=(2,),
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",  # All see the range of all rows.
            name="bounds",
        )
        self.built = True

    def observe(self, x, widest=False):
        """Follows the range of a batch.

        Args:
            x: the activation.
            widest: whether it never shrinks; False by default.
        """
        x, old = tf.stop_gradient(x), tf.convert_to_tensor(self.bounds)
        spread = tf.stack([-tf.reduce_min(x), tf.reduce_max(x)])
        spread = replicas.maximum(tf.maximum(spread, 0.0))
        before = old * [-1.0, 1.0]
        if not widest:
            before = _MOMENTUM * before + (1.0 - _MOMENTUM) * spread
        self.bounds.assign(tf.maximum(before, spread) * [-1.0, 1.0])


def rounded(x, low, high):
    """The nearest of the 256 numbers of a range, of which one is 0; the same numbers for [0, 0].

    The gradient is 1 within the range, and 0 beyond it.
    """
    return tf.where(low < high, tf.quantization.fake_quant_with_min_max_vars(x, low, high), x)


@tf.custom_gradient
def rounded_weights(kernel):
    """Weights as 255 numbers of each channel, the last axis; the gradient goes straight through."""
    flat = tf.reshape(kernel, (-1, kernel.shape[-1]))
    return tf.reshape(_rounded(flat), kernel.shape), lambda upstream: upstream


def _rounded(kernel):
    """The same of a kernel of two or four axes, in an operation that the converter reads."""
    largest = tf.reduce_max(tf.abs(kernel), range(kernel.shape.rank - 1))
    largest = tf.maximum(largest, _NARROWEST)
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(
        kernel, -largest, largest, num_bits=8, narrow_range=True
    )


class _Step:
    """An operation of the network, with those that LiteRT computes together with it.

    Attributes:
        kind: "weighted", "normalise", "own" (the result has a range of its own), "join" (all that
            comes in has one range), "same" (the result has the range of what comes in), "average"
            (of pixels, with a range of its own) or "float".
        operation: the Keras layer or operation.
        node: its Keras node.
        given: the number of each symbolic tensor that comes in, by its id.
        made: the numbers of those that it gives.
        normalisation: a `BatchNormalization` after it, or None.
        activation: a layer, an operation or a function after these, or None.
        stages: the numbers of its result before each of them.
        range: of the result, or None.
    """

    def __init__(self, kind, node, given, made):
        self.kind, self.operation, self.node = kind, node.operation, node
        self.given, self.made, self.stages = given, made, []
        self.normalisation = self.activation = self.range = None

    def takes(self, step):
        """Whether a step, the only one that uses the result, is computed with it; then joins it."""
        is_weighted = self.kind == "weighted"
        if is_weighted and self.operation.activation is not _ACTIVATIONS[0]:
            return False
        if step.kind == "normalise" and is_weighted and not (self.stages or self.activation):
            self.normalisation = step.operation
        elif (
            _is_relu(step.operation)
            and self.kind in ("weighted", "normalise", "own")
            and self.activation is None
        ):
            self.activation = step.operation
        else:
            return False
        self.stages += self.made
        self.made = step.made
        return True


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
        if not symbolic.is_graph(model):
            raise ValueError(
                "quantization follows a network layer by layer, so it needs a functional or "
                f"sequential model; got {type(model).__name__} {model.name!r}. Build the student "
                "from layers: keras.Model(inputs, outputs)."
            )
        for layer in model._flatten_layers():
            if isinstance(layer, _WEIGHTED) and layer.compute_dtype != "float32":
                raise ValueError(
                    f"quantization rounds what a network computes in float32; layer {layer.name!r} "
                    f"of {model.name!r} computes in {layer.compute_dtype}. Build the student "
                    "without a policy of mixed precision."
                )
        self.model, self._count = model, 0
        self._steps: list[_Step] = []
        self.ranges: list[Range] = []
        self._input_numbers = [self._number() for _ in keras.tree.flatten(model.inputs)]
        self._output_numbers = self._read(model, self._input_numbers, {})
        self._views = {}  # The range with which a tensor in floating point is rounded.
        self._united = {}  # Ranges that are taken as one, by the identity of each.
        self._merge()
        self._place_ranges()
        self.floating = sorted(
            {step.operation.name for step in self._steps if step.kind == "float"}
        )
        if not any(step.kind == "weighted" for step in self._steps):
            kinds = ", ".join(kind.__name__ for kind in _WEIGHTED)
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

    def _number(self):
        self._count += 1
        return self._count - 1

    # Reading the graph.

    def _read(self, model, numbers, names):
        """Appends the steps of a network; returns the numbers of its outputs.

        Args:
            model: a functional or sequential model.
            numbers: of its inputs.
            names: takes the number of each symbolic tensor, by its id.
        """
        # Of a sequential model this is the functional one, of the same layers.
        graph = keras.Model(symbolic.inputs_of(model), symbolic.output_of(model), name=model.name)
        inputs = keras.tree.flatten(graph.inputs)
        names |= {id(tensor): number for tensor, number in zip(inputs, numbers, strict=True)}
        for depth in sorted(graph._nodes_by_depth, reverse=True):
            for node in graph._nodes_by_depth[depth]:
                if node.is_input or not node.operation:
                    continue
                given = {id(tensor): names[id(tensor)] for tensor in node.input_tensors}
                if isinstance(node.operation, keras.Model) and symbolic.is_graph(node.operation):
                    # After its inputs Keras may have handed it their masks.
                    own = keras.tree.flatten(node.arguments.args[0])
                    inner = [names[id(tensor)] for tensor in own]
                    made = self._read(node.operation, inner, {})
                else:
                    made = [self._number() for _ in node.outputs]
                    kind = _kind(node)
                    self._steps.append(_Step(kind, node, given, made))
                names |= {id(t): number for t, number in zip(node.outputs, made, strict=True)}
        if model is self.model:
            self._names = names
        return [names[id(tensor)] for tensor in keras.tree.flatten(graph.outputs)]

    def _merge(self):
        """Joins batch normalisation and ReLU to what comes before, as LiteRT does."""
        uses = [number for step in self._steps for number in step.given.values()]
        uses += self._output_numbers
        makers: dict[int, _Step] = {}
        kept = []
        for step in self._steps:
            sources = list(step.given.values())
            before = makers.get(sources[0]) if len(sources) == 1 else None
            if before is not None and uses.count(sources[0]) == 1 and before.takes(step):
                makers[step.made[0]] = before
                continue
            if step.kind == "normalise" and len(step.node.outputs[0].shape) != 4:
                step.kind = "float"
            kept.append(step)
            makers |= {number: step for number in step.made}
        for step in kept:
            if step.kind == "weighted" and step.operation.activation is not _ACTIVATIONS[0]:
                step.activation = step.operation.activation
        self._steps = kept

    def _place_ranges(self):
        """Gives a range to each result that is rounded, and to what comes in to be rounded."""
        # Ranges and steps by the number of the result.
        self._known: dict[int, Range] = {}
        self._makers: dict[int, _Step] = {}
        for step in self._steps:
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
            follows = step.activation is None or _is_relu(step.activation)
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
                    lambda tensor: values[self._names[id(tensor)]],
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
        for number, values in zip(self._output_numbers, keras.tree.flatten(raw), strict=True):
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
        return keras.tree.pack_sequence_as(structure, [values[n] for n in self._output_numbers])

    def _run(self, inputs, training=False, measures=False, frozen=False):
        inputs = keras.tree.flatten(own_inputs.of(self.model, inputs))
        values = {
            number: tf.cast(value, symbolic_input.dtype)
            for number, value, symbolic_input in zip(
                self._input_numbers, inputs, self.model.inputs, strict=True
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

        for step in self._steps:
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
            relu = step.activation is None or _is_relu(step.activation)
            if step.activation is not None and relu:
                results = [_activated(step.activation, results[0], training)]
            if step.range is not None and (frozen or step.kind not in ("same", "join")):
                results = [limited(results[0], step.range, step.kind not in ("same", "join"))]
            if not relu:
                results = [_activated(step.activation, results[0], training)]
            values |= dict(zip(step.made, results, strict=True))
        return values


def _kind(node):
    """What a step is before others are joined to it."""
    operation = node.operation
    name = type(operation).__name__
    if not type(operation).__module__.startswith("keras."):
        return "float"  # Somebody's own layer, perhaps of the same name.
    tensors = [*node.input_tensors, *node.outputs]
    if any(tensor.dtype != "float32" for tensor in tensors):
        return "float"
    if type(operation) in _WEIGHTED:
        return "weighted" if _has_integers(operation, node) else "float"
    if type(operation) is keras.layers.BatchNormalization:
        return "normalise" if batch_normalisation.is_last(operation, node) else "float"
    if getattr(operation, "data_format", "channels_last") != "channels_last":
        return "float"
    one = len(node.input_tensors) == 1
    if type(operation) is keras.layers.AveragePooling2D:
        if operation.pool_size == (1, 1):
            return "same"
        return "average" if _fills_its_windows(operation, node) else "float"
    if name in _PASS_ON | _MEAN and one:
        return "same" if name in _PASS_ON else "own"
    if name in _COMBINE and len(node.input_tensors) == 2:
        return "own"
    if name in _JOIN and not one:
        return "join"
    return "float"


def _has_integers(layer, node):
    """Whether LiteRT has the layer in integers, and it is computed here as Keras does."""
    sizes = node.input_tensors[0].shape[1:]
    plain = layer.activity_regularizer is None and not getattr(layer, "quantization_mode", None)
    if type(layer) is keras.layers.Dense:
        return plain and None not in sizes and not layer.lora_enabled
    known = layer.data_format == "channels_last" and layer.padding in ("same", "valid")
    return plain and known and getattr(layer, "groups", 1) == 1


def _fills_its_windows(pooling, node):
    """Whether no window of an average pooling reaches beyond the image."""
    if pooling.padding == "valid":
        return True
    sizes = zip(node.input_tensors[0].shape[1:3], pooling.pool_size, pooling.strides, strict=True)
    return all(size and size % stride == 0 and pool == stride for size, pool, stride in sizes)


def _is_relu(operation):
    if isinstance(operation, keras.layers.ReLU):
        plain = not operation.negative_slope and not operation.threshold
        return plain and operation.max_value in (None, 6)
    if isinstance(operation, keras.layers.Activation):
        operation = operation.activation
    if operation in _ACTIVATIONS[1:]:
        return True
    is_keras = type(operation).__module__.startswith("keras.")
    return is_keras and type(operation).__name__ in ("Relu", "Relu6")


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
        kernel = tf.reshape(_rounded(_constant(kernel, kernel.shape)), (*sizes, x.shape[-1], 1))
        return tf.nn.depthwise_conv2d(x, kernel, strides, "VALID")
    if step.kind == "normalise":  # By itself it is a depthwise convolution of one pixel.
        gain, shift = batch_normalisation.gain_and_shift(layer)
        kernel = tf.reshape(_rounded(_constant(gain, (1, 1, 1, -1))), (1, 1, -1, 1))
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
    kernel = _rounded(_constant(kernel, flat))
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
