"""Random numbers that depend on their seed, and on the number of their row, alone.

Built from integer Philox bits, which are the same with and without XLA, eager or in
a graph (TensorFlow's own float draws are not). Every function is pure: the same seed
gives the same numbers, on any device, after a restart.

A seed has shape (2,), or shape (3,) with the number of the batch's first row: what is drawn
for the rows from `at_row(seed, n)` on is what `seed` draws for its rows n, n + 1, .... So
replicas that hold parts of a batch draw what one device draws for the whole of it.
"""

import math

import tensorflow as tf

from ecl_tf._internal import distributions as tfd
from ecl_tf._internal import groups


def seed_tensor(seed):
    """Returns an int seed, or one of shape (2,) or (3,), as an int32 tensor."""
    seed = tf.convert_to_tensor(seed)
    if seed.shape.rank == 0:
        seed = tf.stack([seed, tf.zeros_like(seed)])
    if seed.shape not in ((2,), (3,)) or not seed.dtype.is_integer:
        raise ValueError(
            "A seed is an integer, or an integer tensor of shape (2,), or of shape (3,) with the "
            f"number of the first row; got {seed.dtype.name} of shape {tuple(seed.shape)}."
        )
    return tf.cast(seed, tf.int32)


def at_row(seed, first_row):
    """The seed for rows that begin with row number `first_row` of the batch."""
    return tf.concat([seed_tensor(seed)[:2], [tf.cast(first_row, tf.int32)]], 0)


@tf.autograph.experimental.do_not_convert
def fold_in(seed, number):
    """Derives an independent seed from a seed and an integer (a step, a layer)."""
    return split_at(seed, [number])[0]


def folding(seed):
    """A function of numbers that folds them into one seed, of which the seed's part is done."""
    seed = seed_tensor(seed)
    first = tf.bitcast(_words(seed[:2], []), tf.int32)

    @tf.autograph.experimental.do_not_convert
    def fold(number):
        folded = tf.stack([first, tf.cast(number, tf.int32)])
        return folded if seed.shape == (2,) else tf.concat([folded, seed[2:]], 0)

    return fold


def split(seed, count):
    """Derives a list of `count` independent seeds."""
    return split_at(seed, range(count))


def split_at(seed, numbers):
    """The seeds that `fold_in` derives with each of the numbers, for the cost of one."""
    return list(map(folding(seed), numbers))


def seeds(seed, rows):
    """A seed of its own for every row, int32 of shape (rows, 2)."""
    return tf.bitcast(_words(seed, [rows, 2]), tf.int32)


def _words(seed, shape):
    """Uniform uint32, `shape[0]` rows of them."""
    seed = seed_tensor(seed)
    sizes = tf.unstack(shape) if tf.is_tensor(shape) else list(shape)
    words = _philox([_TENSORFLOWS_KEY], tf.cast(seed[:2], tf.uint64), [2, 2])
    words = tf.bitcast(words, tf.uint64)
    key, high = words[:1], words[1]
    if seed.shape == (2,) or not sizes:
        return _philox(key, tf.stack([0, high]), shape)
    # Philox gives four words for every value of its counter.
    row_size, size = math.prod(sizes[1:]), math.prod(sizes)
    start = tf.cast(seed[2], tf.int64) * tf.cast(row_size, tf.int64)
    words = _philox(key, tf.stack([tf.cast(start // 4, tf.uint64), high]), [size + 3])
    return tf.reshape(tf.slice(words, [start % 4], [size]), shape)


# With it TensorFlow makes key and counter of a seed, in `tf.random.stateless_uniform`. (Its
# operation for that, which is StatelessRandomGetKeyCounter, gives others under XLA for seeds
# that hold negative numbers.) Its own way takes 19 operations a draw, and a sampler draws often:
# they were a third of a small student's step.
_TENSORFLOWS_KEY = 0x02461E293EC8F720


def _philox(key, counter, shape):
    """Words from the counter's place on; its low half comes first."""
    return tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape,
        key=key,
        counter=counter,
        alg=1,
        dtype=tf.uint32,
    )


def _bits(seed, shape, count):
    """Whole numbers in [0, 2^count), count < 32, as int32."""
    bits = tf.bitwise.right_shift(_words(seed, shape), tf.constant(32 - count, tf.uint32))
    return tf.cast(bits, tf.int32)


def uniform(seed, shape):
    """Float32 in [0, 1), all multiples of 2^-24; the shape's first axis is that of rows."""
    return tf.cast(_bits(seed, shape, 24), tf.float32) * 2.0**-24


def normal(seed, shape):
    """Standard normal float32: the inverse CDF at the midpoints of 2^23 bins."""
    midpoints = tf.cast(_bits(seed, shape, 23), tf.float32) + 0.5
    return tf.math.ndtri(midpoints * 2.0**-23)


def beta(seed, shape, a, b):
    """Beta(a, b) in [0, 1] by its quantile function, which compiles under XLA."""
    return beta_of(uniform(seed, shape), a, b)


def beta_of(u, a, b):
    """What `beta` makes of the uniform numbers u, of any shape."""
    if a == 1.0 and b == 1.0:
        return u
    # Away from u = 0, where the quantile's iteration is slow and of no use.
    u = tf.maximum(u, 2.0**-25)
    return tf.clip_by_value(tfd.Beta(a, b).quantile(u), 0.0, 1.0)


def partners(seed, rows, group_size=None):
    """A mixing partner for every row: its group rolled by a random shift.

    The shift is at least 1, so no row is its own partner (but in a group of one row), and
    every row is the partner of exactly one other.

    Args:
        seed: of shape (2,) or (3,).
        rows: the number of rows.
        group_size: None for one group of all rows. Otherwise groups begin at its multiples;
            if a batch's parts do, too, the partners don't depend on how it is parted.

    Returns:
        int32 indices of shape (rows,).
    """
    if group_size is None:
        if seed.shape == (3,):  # Parts of a batch: each has a shift of its own.
            seed = fold_in(seed, seed[2])
        return _rolled(uniform(seed, []), tf.range(rows), rows)
    first_group = seed[2] // group_size if seed.shape == (3,) else 0
    shifts = uniform(at_row(seed, first_group), [-(-rows // group_size)])
    start, size = groups.starts_and_sizes(rows, group_size)
    u = tf.gather(shifts, start // group_size)
    return start + _rolled(u, tf.range(rows) - start, size)


def others(seed, rows, count, group_size=None):
    """Another row of the same group for each of a row's `count` cells, all equally likely.

    Args:
        seed: of shape (2,) or (3,).
        rows: the number of rows.
        count: the number of cells of each.
        group_size: as in `partners`.

    Returns:
        int32 indices of shape (rows, count); a row's own only in a group of one row.
    """
    start, size = groups.starts_and_sizes(rows, group_size)
    start, size = start[:, None], size[:, None]
    return start + _rolled(uniform(seed, [rows, count]), tf.range(rows)[:, None] - start, size)


def _rolled(u, row, rows):
    """Rows rolled by a shift of 1 to rows - 1, as u in [0, 1) says."""
    others = tf.maximum(rows - 1, 1)
    shift = 1 + tf.cast(u * tf.cast(others, tf.float32), tf.int32)
    return tf.math.floormod(row + tf.minimum(shift, others), rows)
