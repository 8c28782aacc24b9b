"""A regression with one input, to look at what is learned where there is no data."""

import numpy as np
import tensorflow as tf

from ecl_tf.data.splits import Splits


def sine(
    train_size: int = 24,
    validation_size: int = 200,
    test_size: int = 1000,
    noise: float = 0.1,
    seed: int = 0,
) -> Splits:
    """Regression: a number x (1,) to y (1,), y = sin(2 x) + noise * normal.

    x is uniform in [-3, 3]; the targets' units are their own.

    Args:
        train_size: the number of training rows, 24 by default.
        validation_size: the number of validation rows, 200 by default.
        test_size: the number of test rows, 1,000 by default.
        noise: the standard deviation of the targets around the curve, 0.1 by default.
        seed: of all rows, 0 by default.

    Returns:
        `Splits` of examples (x, y), float32.

    Raises:
        ValueError: if a size is less than 1 or the noise is negative.
    """
    if min(train_size, validation_size, test_size) < 1 or not noise >= 0.0:
        raise ValueError(
            f"Sizes must be at least 1 and noise >= 0; got {train_size}, {validation_size}, "
            f"{test_size} and {noise}."
        )
    generator = np.random.default_rng(seed)

    def rows(count):
        x = generator.uniform(-3.0, 3.0, (count, 1))
        y = np.sin(2.0 * x) + noise * generator.normal(size=(count, 1))
        return tf.data.Dataset.from_tensor_slices((x.astype("float32"), y.astype("float32")))

    return Splits(rows(train_size), rows(validation_size), rows(test_size), event_size=1)
