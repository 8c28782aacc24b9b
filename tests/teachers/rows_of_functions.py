"""Rows that functions and estimators teach on, and what a teacher of numbers answers."""

import numpy as np

from ecl_tf import outputs

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3)).astype("float32")
KIND = (X[:, 0] > 0.0).astype(int) + (X[:, 1] > 0.5)  # Classes 0 to 2.
Y = 3.0 * X[:, 0] + X[:, 1] ** 2 + RNG.normal(0.0, 0.4, 120)
NORMAL = outputs.Normal(1, min_scale=1e-4)
NEW = X[:10] + 0.1


def moments(teacher, x=NEW):
    distribution = teacher.distribution(x)
    return np.asarray(distribution.mean()), np.asarray(distribution.stddev())
