"""What the tests of data sets share."""

import numpy as np
import tensorflow as tf


def arrays(dataset):
    """All examples of a dataset as NumPy arrays: (inputs, labels)."""
    return next(dataset.batch(100_000).as_numpy_iterator())


def assert_same(first, second):
    """Whether two datasets hold the same examples in the same order."""
    tf.nest.map_structure(np.testing.assert_array_equal, arrays(first), arrays(second))
