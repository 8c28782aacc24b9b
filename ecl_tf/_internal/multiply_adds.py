"""How many multiplications with an addition a function of TensorFlow does.

Those of matrix products and convolutions are counted, as the field counts them. Additions of a
bias, activations, normalisations and the like are not.
"""

import itertools
import math
from collections.abc import Callable, Collection
from typing import Any

import keras
import tensorflow as tf

_MATMULS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
_TRANSPOSED = ("Conv2DBackpropInput", "Conv3DBackpropInputV2")
_OF_KERNELS = ("Conv2DBackpropFilter", "Conv3DBackpropFilterV2")
_DEPTHWISE = "DepthwiseConv2dNative"
_OF_DEPTHWISE = (f"{_DEPTHWISE}BackpropInput", f"{_DEPTHWISE}BackpropFilter")
PRODUCTS = (*_MATMULS, "Einsum")
CONVOLUTIONS = (
    *("Conv2D", "Conv3D", _DEPTHWISE),
    *(*_TRANSPOSED, *_OF_KERNELS, *_OF_DEPTHWISE),
)
_LOOPS = ("While", "StatelessWhile", "Case", "StatelessCase", "If", "StatelessIf")
# What these compute is not in the graph.
_OF_PYTHON = ("EagerPyFunc", "PyFunc", "PyFuncStateless")
_HIDDEN = (*_OF_PYTHON, "XlaCallModule")


def of_a_row(function: Callable[[Any], Any], inputs: Any) -> int | None:
    """Returns the multiply-adds of a function of inputs for one row; None as `count` has it.

    Args:
        function: of one nesting of tensors; it is traced.
        inputs: the nesting of specs of a batch, anything with shape and dtype.
    """

    def spec(leaf):
        return tf.TensorSpec((1, *leaf.shape[1:]), tf.as_dtype(leaf.dtype))

    specs = keras.tree.map_structure(spec, inputs)
    try:
        with tf.init_scope():
            traced = tf.function(function, input_signature=[specs], autograph=False)
            return count(traced.get_concrete_function().graph)
    except Exception:  # A user's layers may want several rows, or anything.
        return None


def count(graph: tf.Graph, operations: Collection[str] = (*PRODUCTS, *CONVOLUTIONS)) -> int | None:
    """Returns the multiply-adds of a graph, those of the functions that it calls among them.

    A product of (m, k) and (k, n) has m k n of them; a convolution one for each number of its
    answer and each number of the kernel that goes into that, and as many each of its gradients.

    Args:
        graph: of a concrete function of fixed shapes.
        operations: the names of those that are counted; `PRODUCTS` and `CONVOLUTIONS` by default.

    Returns:
        The number; None where it can't be known: of loops and branches that hold products, of
        functions outside of TensorFlow, and of shapes that the graph does not fix.
    """
    definition = graph.as_graph_def(add_shapes=True)
    functions = {each.signature.name: each for each in definition.library.function}

    def of_nodes(nodes, shapes):
        shapes = {**shapes, **{node.name: _shapes(node.attr) for node in nodes}}
        total = 0
        for node in nodes:
            if node.op in _HIDDEN:
                return None
            if node.op in operations:
                found = _of_node(node, shapes)
            else:
                called = [functions[name] for name in _called(node) if name in functions]
                found = _sum(map(of_function, called))
                if found and node.op in _LOOPS:  # How often, or which one, is not known.
                    return None
            if found is None:
                return None
            total += found
        return total

    def of_function(function):
        arguments = {
            argument.name: _shapes(function.arg_attr[place].attr)
            for place, argument in enumerate(function.signature.input_arg)
        }
        return of_nodes(function.node_def, arguments)

    return of_nodes(definition.node, {})


def needs_python(graph: tf.Graph) -> bool:
    """Whether a graph, or a function that it calls, runs functions of Python.

    Args:
        graph: of a concrete function.
    """
    definition = graph.as_graph_def()
    nodes = [definition.node, *(function.node_def for function in definition.library.function)]
    return any(node.op in _OF_PYTHON for node in itertools.chain.from_iterable(nodes))


def _sum(counts):
    counts = list(counts)
    return None if None in counts else sum(counts)


def _called(node):
    return [value.func.name for value in node.attr.values() if value.func.name] + [
        function.name for value in node.attr.values() for function in value.list.func
    ]


def _shapes(attributes: Any) -> list[tf.TensorShape]:
    return [tf.TensorShape(shape) for shape in attributes["_output_shapes"].list.shape]


def _of_node(node, shapes):
    """The multiply-adds of one operation, or None."""
    given = [_shape(name, shapes) for name in node.input if not name.startswith("^")]
    (answer,) = shapes[node.name]
    if not all(shape is not None and shape.is_fully_defined() for shape in (*given, answer)):
        return None
    if node.op == "Einsum":
        terms = node.attr["equation"].s.decode().split("->")[0].split(",")
        if any("." in term for term in terms):
            return None
        sizes: dict[str, int] = {}
        for term, shape in zip(terms, given, strict=True):
            sizes.update(zip(term, shape, strict=True))
        return math.prod(sizes.values()) if len(terms) > 1 else 0
    if node.op in _TRANSPOSED:  # The first argument is the answer's shape.
        kernel, given_rows = given[1], given[2]
        return given_rows.num_elements() // given_rows[-1] * kernel.num_elements()
    if node.op in (*_OF_KERNELS, *_OF_DEPTHWISE):  # The last argument is the answer's gradient.
        kernel = answer if node.op.endswith(("Filter", "FilterV2")) else given[1]
        used = kernel[:2] if node.op in _OF_DEPTHWISE else kernel[:-1]
        return given[-1].num_elements() * used.num_elements()
    first, second, *_ = given
    if node.op in _MATMULS:
        transposed = node.attr["transpose_a"].b or node.attr["adj_x"].b
        return answer.num_elements() * first[-2 if transposed else -1]
    used = second[:2] if node.op == _DEPTHWISE else second[:-1]
    return answer.num_elements() * used.num_elements()


def _shape(name, shapes):
    """The shape of an argument, called node, node:place, or node:result:place in a function."""
    node, *rest = name.split(":")
    place = int(rest[-1]) if rest else 0
    known = shapes.get(node, [])
    return known[place] if place < len(known) else None
