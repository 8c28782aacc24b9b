"""Weights of classes as weights of rows or positions, for one output of classes.

`Distiller.fit` gives them to batches (`_loops.py`), because Keras's own take the class of a row to
be the largest number over its positions.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import samplers
from ecl_tf._internal import batches, symbolic


class ClassWeights:
    """A function that multiplies the weights of a batch by those of its labels' classes.

    Args:
        given: what `fit` was given as class_weight; classes that it leaves out have the weight 1.
        x: the same: inputs, or a dataset, which tell the shape of a student that is not built.
    """

    def __init__(self, given, x, student, output):
        element = batches.element_spec(x)
        if isinstance(x, tf.data.Dataset):
            element, *_ = keras.utils.unpack_x_y_sample_weight(element)
        inputs = None if element is None else samplers.inputs_of(element)
        shape = symbolic.output_shape(student, inputs)
        if shape is None:
            raise ValueError(
                "class_weight needs a student whose output shape is known before the data is read. "
                "Call the student once on a batch of inputs, or give it as a functional model."
            )
        self._axes = len(shape) - 1
        self._yes_or_no = output.family == "bernoulli"
        self._size = shape[-1]
        self._of_class = np.ones(2 if self._yes_or_no else shape[-1], "float32")
        for label, weight in given.items():
            self._of_class[label] = weight

    def __call__(self, labels: Any, sample_weight: Any = None) -> Any:
        """Weights of the shape (batch, positions...), float32; of unknown labels 1.

        Args:
            labels: those of a batch, tensors or arrays.
            sample_weight: weights of its rows or positions; None, the default, for 1.
        """
        # Arrays stay NumPy's: a process that reads data must not run TensorFlow.
        is_tensor = tf.is_tensor(labels)
        numpy = tf.experimental.numpy if is_tensor else np
        classes = labels if is_tensor else np.asarray(labels)
        is_one_hot = classes.ndim > self._axes and classes.shape[-1] == self._size > 1
        if is_one_hot and not self._yes_or_no:
            is_unknown = numpy.all(classes == 0, -1)
            classes = numpy.where(is_unknown, -1, numpy.argmax(classes, -1))
        while classes.ndim > self._axes:
            classes = numpy.squeeze(classes, -1)
        if is_tensor:
            classes = tf.cast(tf.round(tf.cast(classes, tf.float64)), tf.int64)
        else:
            classes = np.round(np.nan_to_num(classes, nan=-1)).astype("int64")
        count = len(self._of_class)
        weights = numpy.take(self._of_class, numpy.clip(classes, 0, count - 1))
        weights = numpy.where((classes >= 0) & (classes < count), weights, np.float32(1.0))
        if sample_weight is None:
            return weights
        if is_tensor:
            sample_weight = tf.cast(sample_weight, tf.float32)
        else:
            sample_weight = np.asarray(sample_weight, "float32")
        while len(sample_weight.shape) > self._axes:
            sample_weight = numpy.squeeze(sample_weight, -1)
        missing = self._axes - len(sample_weight.shape)
        return weights * sample_weight[(..., *[None] * missing)]
