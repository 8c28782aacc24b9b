"""Probabilities that are given for logits: found by their values, and never where there are none."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf._internal import probabilities

LOGITS = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
SOFTMAX = scipy.special.softmax(LOGITS, -1)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (SOFTMAX, True),
        (np.stack([SOFTMAX, SOFTMAX], 1), True),  # (batch, positions, classes).
        (tf.cast(SOFTMAX, tf.bfloat16), True),
        (np.eye(5, dtype="float32"), True),
        (LOGITS, False),
        (np.log(SOFTMAX), False),
        (scipy.special.expit(LOGITS), False),
        (SOFTMAX - [0.5, -0.5, 0, 0, 0], False),  # The sum is 1, one is negative.
        (np.vstack([SOFTMAX, LOGITS[:1]]), False),
        (np.where(SOFTMAX > 0.9, SOFTMAX, np.nan), False),
        (SOFTMAX[:3], False),  # By chance?
        (SOFTMAX[:0], False),
    ],
)
def test_rows_of_class_probabilities_are_told_by_their_values_in_a_compiled_step(raw, expected):
    found = tf.function(probabilities.rows_that_look_like, jit_compile=True)
    assert bool(found(outputs.Categorical(), tf.convert_to_tensor(raw))) is expected


def test_of_named_outputs_any_and_of_other_kinds_none():
    joint = outputs.Joint({"a": "categorical", "b": outputs.Normal(2)})
    found = probabilities.rows_that_look_like
    assert found(joint, {"a": tf.constant(SOFTMAX), "b": tf.constant(LOGITS[:, :4])})
    assert not found(joint, {"a": tf.constant(LOGITS), "b": tf.constant(SOFTMAX)})
    assert not found(outputs.Bernoulli(), tf.constant(SOFTMAX))
