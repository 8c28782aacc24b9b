"""TensorFlow Probability is imported with the first distribution, also within a trace."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

CODE = """
import sys
import ecl_tf
import tensorflow as tf
assert "tensorflow_probability" not in sys.modules
draw = tf.function(lambda seed: ecl_tf.samplers.random.beta(seed, [4], 0.4, 2.0))
traced = draw(tf.constant([1, 2]))
assert "tensorflow_probability" in sys.modules
assert (traced.numpy() == draw(tf.constant([1, 2])).numpy()).all()
categorical = ecl_tf.outputs.Categorical()([[0.0, 1.0]])  # Outside of that trace.
print(*traced.numpy(), *categorical.entropy().numpy())
"""


@pytest.mark.slow
def test_the_first_use_in_a_trace_imports_what_later_uses_take():
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True, text=True)
    *drawn, entropy = map(float, found.stdout.split())
    from ecl_tf.samplers import random

    u = random.uniform([1, 2], [4]).numpy()
    np.testing.assert_allclose(drawn, stats.beta.ppf(u, 0.4, 2.0), rtol=1e-4)
    p = 1 / (1 + np.e)
    assert entropy == pytest.approx(-p * np.log(p) - (1 - p) * np.log(1 - p), rel=1e-5)


def test_a_name_that_is_none_is_refused():
    from ecl_tf._internal import distributions

    assert hasattr(distributions, "Beta")
    assert not hasattr(distributions, "NoDistribution") and not hasattr(distributions, "_Beta")
