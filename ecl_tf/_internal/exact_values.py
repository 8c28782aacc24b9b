"""Which inputs a network takes by their exact value: ids that it looks up, values that it masks.

Weighted means of such inputs are other ids, or none. A network is traced, and its graph followed
from each input through what leaves a value as it is (reshaping, slicing, casting, an offset) to
what needs an exact one. What computes with amounts (a product with a constant, a dense layer)
ends a path. So this works for any network that TensorFlow traces, functional or subclassed, with
layers of Keras or of a user.
"""

import re
import weakref
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import own_inputs

# Operations that need an exact value, and the number of the argument that does; None for any.
_LOOKUPS = {
    "Bincount": 0,
    "DenseBincount": 0,
    "DenseCountSparseOutput": 0,
    "DynamicPartition": 1,
    "Fingerprint": 0,
    "Gather": 1,
    "GatherNd": 1,
    "GatherV2": 1,
    "LookupTableFindV2": 1,
    "OneHot": 0,
    "RaggedBincount": 1,
    "RaggedCountSparseOutput": 1,
    "RaggedGather": None,
    "ResourceGather": 1,
    "ResourceGatherNd": 1,
    "ScatterNd": 0,
    "SegmentMax": 1,
    "SegmentMean": 1,
    "SegmentMin": 1,
    "SegmentProd": 1,
    "SegmentSum": 1,
    "SparseBincount": 1,
    "SparseCountSparseOutput": 1,
    "SparseCross": None,
    "SparseCrossHashed": None,
    "SparseCrossV2": None,
    "SparseSegmentMean": 1,
    "SparseSegmentSum": 1,
    "StringToHashBucket": 0,
    "StringToHashBucketFast": 0,
    "StringToHashBucketStrong": 0,
    "TensorScatterAdd": 1,
    "TensorScatterUpdate": 1,
    "Unique": 0,
    "UniqueV2": 0,
    "UnsortedSegmentMax": 1,
    "UnsortedSegmentMin": 1,
    "UnsortedSegmentProd": 1,
    "UnsortedSegmentSum": 1,
}
_COMPARISONS = ("Equal", "NotEqual")
_ORDERS = ("Greater", "GreaterEqual", "Less", "LessEqual")
# Operations whose results are values that they were given, or what is often done to ids before
# they are looked up.
# fmt: off
_CARRIERS = {
    "Abs", "Add", "AddV2", "AsString", "BroadcastTo", "Cast", "Ceil", "CheckNumericsV2",
    "ClipByValue", "ConcatV2", "EnsureShape", "ExpandDims", "Floor", "FloorMod", "GatherNd",
    "GatherV2", "Identity", "IdentityN", "Maximum", "Minimum", "MirrorPad", "Mod", "Neg",
    "Pack", "Pad", "PadV2", "PreventGradient", "ReduceJoin", "RegexReplace", "Reshape",
    "Reverse", "ReverseSequence", "ReverseV2", "Rint", "Roll", "Round", "Select", "SelectV2",
    "Slice", "Split", "SplitV", "Squeeze", "StaticRegexReplace", "StopGradient", "StridedSlice",
    "StringFormat", "StringJoin", "StringLower", "StringStrip", "StringToNumber", "StringUpper",
    "Sub", "TensorListFromTensor", "TensorListGather", "TensorListGetItem", "TensorListStack",
    "Tile", "Transpose", "Unpack",
}
# These carry whole numbers (a hash, a crossing of two ids); of others they make amounts, as a
# division does that puts them into bins.
_WHOLE = {"BitwiseAnd", "BitwiseOr", "BitwiseXor", "FloorDiv", "LeftShift", "RightShift"}
# fmt: on
_SHAPES = ("Cast", "ExpandDims", "Identity", "Reshape", "StridedSlice")
_BRANCHES = ("Case", "If", "StatelessCase", "StatelessIf")  # Their first argument is not passed on.
_SEEN: Any = weakref.WeakKeyDictionary()


class Use(NamedTuple):
    """How a network takes an input by its exact value.

    Attributes:
        layer: the name of the layer that does, or else of TensorFlow's operation.
        is_comparison: whether the input is compared with a value; otherwise it is looked up.
        masks: the value that it is compared with, where a Keras layer masks what equals that.
        is_length: whether it is compared with positions, 0, 1, 2 and so on, to tell the steps of
            a row from its padding, as tf.sequence_mask does.
    """

    layer: str
    is_comparison: bool = False
    masks: Any = None
    is_length: bool = False


def uses(network, inputs, function=None):
    """What a network does with the exact values of its inputs.

    Args:
        network: a `keras.Layer`.
        inputs: a nesting of specs of a batch, anything with shape and dtype.
        function: what is called with such inputs; None for the network in inference mode.

    Returns:
        A list of (path, `Use`), the path as in `keras.tree.flatten_with_path`. It is empty for a
        network that is not built, and for one that can't be traced, whose own error comes when it
        is run.
    """
    if function is None and not network.built:
        return []
    leaves = keras.tree.flatten_with_path(inputs)
    rows = _fixed_rows(network)
    specs = [tf.TensorSpec((rows, *leaf.shape[1:]), tf.as_dtype(leaf.dtype)) for _, leaf in leaves]
    key = tuple(
        (path, tuple(spec.shape), spec.dtype) for (path, _), spec in zip(leaves, specs, strict=True)
    )
    seen = _SEEN.setdefault(network, {})
    if key not in seen:
        found = _traced(network, function, inputs, specs)
        if found is None and rows is None:  # It may need a number of rows, as its own state has.
            some = leaves[0][1].shape[0] or 2
            fixed = [tf.TensorSpec((some, *spec.shape[1:]), spec.dtype) for spec in specs]
            found = _traced(network, function, inputs, fixed)
        seen[key] = found or []
    return seen[key]


def _traced(network, function, inputs, specs):
    @tf.function(autograph=False)
    def run(*tensors):
        nest = keras.tree.pack_sequence_as(inputs, tensors)
        if function is None:
            network(own_inputs.of(network, nest), training=False)
        else:
            function(nest)

    try:
        with tf.init_scope():
            graph = run.get_concrete_function(*specs).graph
    except Exception:  # Whatever the layers of a user raise.
        return None
    starts = [tensor.op.name for tensor in graph.inputs[: len(specs)]]
    walk = _Walk(graph.as_graph_def(), network._flatten_layers())
    paths = [path for path, _ in keras.tree.flatten_with_path(inputs)]
    return [
        (path, use) for path, start in zip(paths, starts, strict=True) for use in walk.uses(start)
    ]


def _fixed_rows(network):
    """The number of rows that a network is made for, or None for any."""
    first = keras.tree.flatten(getattr(network, "inputs", None) or [])[:1]
    return first[0].shape[0] if first else None


class _Walk:
    """Follows inputs through a graph and the functions that it calls."""

    def __init__(self, graph, layers):
        self._nodes = graph.node
        self._functions = {each.signature.name: each for each in graph.library.function}
        self._layers = {layer.name for layer in layers}
        self._masked = [(masked_value(layer), layer.name) for layer in layers]

    def uses(self, start):
        """The different `Use`s of the values of a node of the graph."""
        found: dict[Use, None] = {}
        self._follow(self._nodes, {start}, found, ())
        return list(found)

    def _follow(self, nodes, starts, found, calls):
        """The names of all nodes that hold values of the starts; their uses go to `found`."""
        by_name = {node.name: node for node in nodes}
        consumers: dict[str, list] = {}
        for node in nodes:
            for source in set(_sources(node)):
                consumers.setdefault(source, []).append(node)
        computed = _reached(starts, consumers, lambda node, source: True)

        def carries(node, source):
            use = self._use(node, source, by_name)
            if use is not None:
                found[use] = None
                return False
            known = self._functions.keys() - set(calls)
            if called := [each for each in _functions_of(node) if each in known]:
                given = _sources(node)[1 if node.op in _BRANCHES else 0 :]
                places = [place for place, name in enumerate(given) if name == source]
                return self._carries_through(called, places, found, calls)
            if node.op in _CARRIERS:
                return True
            if node.op not in _WHOLE and node.op != "Mul":
                return False
            if tf.as_dtype(node.attr["T"].type).is_integer:
                return True
            # A product with a constant is a scale, one with what is made of inputs may be a mask.
            return node.op == "Mul" and computed.issuperset(_sources(node))

        return _reached(starts, consumers, carries)

    def _carries_through(self, called, places, found, calls):
        """Whether a function returns values of its arguments at some places."""
        carried = False
        for name in called:
            body = self._functions[name]
            arguments = [argument.name for argument in body.signature.input_arg]
            starts = {arguments[place] for place in places if place < len(arguments)}
            inside = self._follow(body.node_def, starts, found, (*calls, name))
            carried |= any(_base(result) in inside for result in body.ret.values())
        return carried

    def _use(self, node, source, nodes):
        """How a node uses the exact value of its source, or None."""
        sources = _sources(node)
        if node.op == "Cast" and node.attr["DstT"].type == tf.bool.as_datatype_enum:
            return Use(self._layer_of(node), True)  # True is what does not equal 0.
        if node.op in _COMPARISONS:
            others = [name for name in sources if name != source]
            if not others:  # x != x asks for NaN, which is mixed to NaN.
                return None
            value = _constant(nodes, others[0])
            for masked, layer in self._masked:
                # In float32, as in the graph.
                if masked is not None and np.float32(masked) == value:
                    return Use(layer, True, masked)
            return Use(self._layer_of(node), True)
        if node.op in _ORDERS and any(_are_positions(nodes, name) for name in sources):
            return Use(self._layer_of(node), True, is_length=True)
        if node.op not in _LOOKUPS:
            return None
        place = _LOOKUPS[node.op]
        if place is not None and sources[place] != source:
            return None
        return Use(self._layer_of(node))

    def _layer_of(self, node):
        """The innermost layer in whose scope a node is."""
        for scope in reversed(node.name.split("/")[:-1]):
            # TensorFlow numbers scopes that were opened before.
            for name in (re.sub(r"_\d+$", "", scope), scope):
                if name in self._layers:
                    return name
        return node.op


def _reached(starts, consumers, passes):
    """The names of all nodes to which the starts' values are passed on."""
    reached, waiting = set(starts), list(starts)
    while waiting:
        source = waiting.pop()
        for node in consumers.get(source, []):
            if passes(node, source) and node.name not in reached:
                reached.add(node.name)
                waiting.append(node.name)
    return reached


def _base(name):
    return name.split(":")[0]


def _sources(node):
    """The names of the nodes that a node takes its arguments from."""
    return [_base(name) for name in node.input if not name.startswith("^")]


def _functions_of(node):
    called = [each for value in node.attr.values() for each in (value.func, *value.list.func)]
    return [function.name for function in called if function.name]


def _constant(nodes, name):
    """The value that a node holds, if it is one constant."""
    while name in nodes and nodes[name].op in ("Cast", "Identity"):
        name = _sources(nodes[name])[0]
    if name not in nodes or nodes[name].op != "Const":
        return None
    value = tf.make_ndarray(nodes[name].attr["value"].tensor)
    return value.item() if value.size == 1 else None


def _are_positions(nodes, name):
    """Whether a node holds the numbers of positions, 0, 1, 2 and so on, or those from 1."""
    while name in nodes and nodes[name].op in _SHAPES:
        name = _sources(nodes[name])[0]
    if name not in nodes or nodes[name].op != "Const":
        return name in nodes and nodes[name].op == "Range"
    value = tf.make_ndarray(nodes[name].attr["value"].tensor).ravel()
    return value.size > 1 and any(
        np.array_equal(value, np.arange(first, first + value.size)) for first in (0, 1)
    )


def masked_value(layer):
    """The value of which a Keras layer makes a mask, or None."""
    if isinstance(layer, keras.layers.Masking):
        value = np.asarray(layer.mask_value)
        return value.item() if value.size == 1 else None
    return 0 if getattr(layer, "mask_zero", False) else None
