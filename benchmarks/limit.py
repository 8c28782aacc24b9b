"""The time below which no step of a case can be: its matrix products and convolutions alone.

Two of them, for the forward pass of the teacher's networks and the student's forward and backward
passes, as TensorFlow traces them, in float32:

    limit      their multiply-adds (`ecl_tf._internal.multiply_adds`), over the rate of one large
               matrix product (1024 x 1024 x 1024), and of one large convolution (32 images of 32 x
               32 x 64, 64 filters of 3 x 3), measured in the same turn
    products   the same products and convolutions at their own sizes, one after another, on random
               numbers: what the machine takes for them when nothing else is computed
"""

import numpy as np
import tensorflow as tf

from benchmarks.clock import now
from ecl_tf._internal import multiply_adds

_SIDE, _IMAGES, _CHANNELS = 1024, (32, 32, 32), 64
_MATMUL = _SIDE**3
_CONVOLUTION = np.prod(_IMAGES) * _CHANNELS**2 * 9
_SECONDS = 0.2  # Of a measurement of a rate.


def of(members, student, x):
    """Functions of a number of steps to their least seconds, by name; see the module.

    Args:
        members: the teacher's networks; none where it is no network, whose time is left out then.
        student: the network.
        x: a batch.
    """

    @tf.function(autograph=False)
    def step(x):
        answers = [member(x, training=False) for member in members]
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(student(x, training=True) ** 2)
        return answers, tape.gradient(total, student.trainable_weights)

    graph = step.get_concrete_function(tf.TensorSpec.from_tensor(x)).graph
    in_products = multiply_adds.count(graph, multiply_adds.PRODUCTS)
    in_convolutions = multiply_adds.count(graph, multiply_adds.CONVOLUTIONS)
    matmul, convolution = _large()
    alone = _products(graph)

    def limit(steps):
        seconds = in_products / _rate(matmul, _MATMUL)
        if in_convolutions:
            seconds += in_convolutions / _rate(convolution, _CONVOLUTION)
        return float(steps * seconds)

    def products(steps):
        begun = now()
        for _ in range(steps):
            last = alone()
        last.numpy()
        return now() - begun

    return {"limit": limit, "products": products}


def _large():
    """A large matrix product, and a large convolution, as functions."""
    square = tf.random.normal([_SIDE, _SIDE])
    images = tf.random.normal([*_IMAGES, _CHANNELS])
    filters = tf.random.normal([3, 3, _CHANNELS, _CHANNELS])
    matmul = tf.function(lambda: tf.matmul(square, square)[0, 0], autograph=False)
    convolution = tf.function(
        lambda: tf.nn.conv2d(images, filters, 1, "SAME")[0, 0, 0, 0], autograph=False
    )
    return matmul, convolution


def _rate(function, size):
    """Multiply-adds a second of a function that does so many."""
    function()
    begun, calls = now(), 0
    while now() - begun < _SECONDS:
        function().numpy()
        calls += 1
    return calls * size / (now() - begun)


def _products(graph):
    """The products of a graph on random numbers, each after the one before it."""
    numbers: dict[tuple, tf.Tensor] = {}
    calls = []
    for operation in graph.get_operations():
        if operation.type not in (*multiply_adds.PRODUCTS, *multiply_adds.CONVOLUTIONS):
            continue
        given = {}
        for argument, tensor in zip(operation.op_def.input_arg, operation.inputs, strict=True):
            if tensor.dtype == tf.int32:  # The shape of a gradient.
                value = tf.constant(operation.outputs[0].shape.as_list(), tf.int32)
            else:
                shape = tuple(tensor.shape)
                value = numbers.setdefault(shape, tf.random.normal(shape))
            given[argument.name] = value
        for attribute in operation.op_def.attr:
            if attribute.type != "type":
                value = operation.get_attr(attribute.name)
                given[attribute.name] = value.decode() if isinstance(value, bytes) else value
        calls.append((operation.type, given))

    @tf.function(autograph=False)
    def alone():
        numbers: list[tf.Tensor] = []
        for name, given in calls:
            with tf.control_dependencies(numbers[-1:]):
                answer = getattr(tf.raw_ops, name)(**given)
            # A number of each is used: TensorFlow leaves out what nothing uses.
            numbers.append(tf.reshape(answer, [-1])[0])
        return tf.add_n(numbers)

    return alone
