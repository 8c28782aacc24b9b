"""TensorFlow Probability's distributions, imported as the first of them is used.

The import takes longer than that of all other modules here together.
"""

from typing import Any

import tensorflow as tf


def __getattr__(name: str) -> Any:
    if name.startswith("_"):  # Python asks modules for names of its own.
        raise AttributeError(name)
    with tf.init_scope():  # The first use may be in the trace of a step.
        from tensorflow_probability import distributions
    found = getattr(distributions, name)
    globals()[name] = found  # From now on without this function.
    return found
