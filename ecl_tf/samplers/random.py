"""Random numbers that depend on their seed alone.

Built from integer Philox bits, which are the same with and without XLA, eager or in
a graph (TensorFlow's own float draws are not). Every function is pure: the same seed
gives the same numbers, on any device, after a restart.
"""

import tensorflow as tf


def seed_tensor(seed):
    """Returns an int seed, or one of shape (2,), as an int32 tensor of shape (2,)."""
    seed = tf.convert_to_tensor(seed)
    if seed.shape.rank == 0:
        seed = tf.stack([seed, tf.zeros_like(seed)])
    if seed.shape != (2,) or not seed.dtype.is_integer:
        raise ValueError(
            "A seed is an integer or an integer tensor of shape (2,); got "
            f"{seed.dtype.name} of shape {tuple(seed.shape)}."
        )
    return tf.cast(seed, tf.int32)


def fold_in(seed, number):
    """Derives an independent seed from a seed and an integer (a step, a replica)."""
    return tf.random.experimental.stateless_fold_in(
        seed_tensor(seed), tf.cast(number, tf.int32), alg="philox"
    )


def split(seed, count):
    """Derives a list of `count` independent seeds."""
    return [fold_in(seed, number) for number in range(count)]


def _bits(seed, shape, count):
    """Whole numbers in [0, 2^count), count < 32, as int32."""
    bits = tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(32 - count, tf.uint32)), tf.int32)


def uniform(seed, shape):
    """Float32 in [0, 1), all multiples of 2^-24."""
    return tf.cast(_bits(seed, shape, 24), tf.float32) * 2.0**-24


def normal(seed, shape):
    """Standard normal float32: the inverse CDF at the midpoints of 2^23 bins."""
    midpoints = tf.cast(_bits(seed, shape, 23), tf.float32) + 0.5
    return tf.math.ndtri(midpoints * 2.0**-23)


def beta(seed, shape, a, b):
    """Beta(a, b) in [0, 1] by its quantile function, which compiles under XLA."""
    if a == 1.0 and b == 1.0:
        return uniform(seed, shape)
    from tensorflow_probability import distributions as tfd

    # Away from u = 0, where the quantile's iteration is slow and of no use.
    u = tf.maximum(uniform(seed, shape), 2.0**-25)
    return tf.clip_by_value(tfd.Beta(a, b).quantile(u), 0.0, 1.0)


def partners(seed, rows):
    """A mixing partner for every row: all of them rolled by one random shift.

    The shift is at least 1, so no row is its own partner (but where there is one row
    only), and every row is the partner of exactly one other.

    Returns:
        int32 indices of shape (rows,).
    """
    others = tf.maximum(rows - 1, 1)
    shift = 1 + tf.cast(uniform(seed, []) * tf.cast(others, tf.float32), tf.int32)
    return tf.math.floormod(tf.range(rows) + tf.minimum(shift, others), rows)
