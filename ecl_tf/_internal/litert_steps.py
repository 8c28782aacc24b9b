"""A network as the steps in which LiteRT computes it: what has integers, and what goes together."""

import itertools

import keras

from ecl_tf._internal import batch_normalisation, symbolic

WEIGHTED = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
)
_RELUS = [keras.activations.relu, keras.activations.relu6]
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


class Step:
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
        if is_weighted and self.operation.activation is not keras.activations.linear:
            return False
        if step.kind == "normalise" and is_weighted and not (self.stages or self.activation):
            self.normalisation = step.operation
        elif (
            is_relu(step.operation)
            and self.kind in ("weighted", "normalise", "own")
            and self.activation is None
        ):
            self.activation = step.operation
        else:
            return False
        self.stages += self.made
        self.made = step.made
        return True


class Steps:
    """The steps of a network, in the order in which they are computed.

    Every tensor within it has a number.

    Attributes:
        steps: a list of each `Step`.
        inputs: the numbers of the network's inputs, a list.
        outputs: those of its outputs.
        names: those of its own symbolic tensors, by their ids.

    Args:
        model: a functional or sequential Keras model.
    """

    def __init__(self, model):
        self._numbers = itertools.count()
        self.steps: list[Step] = []
        self.names: dict[int, int] = {}
        self.inputs = [next(self._numbers) for _ in keras.tree.flatten(model.inputs)]
        self.outputs = self._read(model, self.inputs, self.names)
        self._merge()

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
                if symbolic.computes_its_graph(node.operation):
                    # After its inputs Keras may have handed it their masks.
                    own = keras.tree.flatten(node.arguments.args[0])
                    inner = [names[id(tensor)] for tensor in own]
                    made = self._read(node.operation, inner, {})
                else:
                    made = [next(self._numbers) for _ in node.outputs]
                    kind = _kind(node)
                    self.steps.append(Step(kind, node, given, made))
                names |= {id(t): number for t, number in zip(node.outputs, made, strict=True)}
        return [names[id(tensor)] for tensor in keras.tree.flatten(graph.outputs)]

    def _merge(self):
        """Joins batch normalisation and ReLU to what comes before, as LiteRT does."""
        uses = [number for step in self.steps for number in step.given.values()]
        uses += self.outputs
        makers: dict[int, Step] = {}
        kept = []
        for step in self.steps:
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
            if (
                step.kind == "weighted"
                and step.operation.activation is not keras.activations.linear
            ):
                step.activation = step.operation.activation
        self.steps = kept


def _kind(node):
    """What a step is before others are joined to it."""
    operation = node.operation
    name = type(operation).__name__
    if not type(operation).__module__.startswith("keras."):
        return "float"  # Somebody's own layer, perhaps of the same name.
    tensors = [*node.input_tensors, *node.outputs]
    if any(tensor.dtype != "float32" for tensor in tensors):
        return "float"
    if type(operation) in WEIGHTED:
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


def is_relu(operation):
    if isinstance(operation, keras.layers.ReLU):
        plain = not operation.negative_slope and not operation.threshold
        return plain and operation.max_value in (None, 6)
    if isinstance(operation, keras.layers.Activation):
        operation = operation.activation
    if operation in _RELUS:
        return True
    is_keras = type(operation).__module__.startswith("keras.")
    return is_keras and type(operation).__name__ in ("Relu", "Relu6")
