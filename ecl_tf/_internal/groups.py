"""Groups of consecutive rows, within which rows are mixed or compared with one another.

A replica's rows are one group by default. With a group size that divides every replica's
rows the groups, and so the samples, are the same on any number of replicas.
"""

import tensorflow as tf

from ecl_tf._internal import require


def validate(name, group_size):
    """Raises ValueError unless a sampler's group size is None or a whole number >= 2."""
    if group_size is not None:
        require.whole(f"{name}'s group_size", group_size, 2, "None or a whole number")


def starts_and_sizes(rows, group_size):
    """For every row the first row of its group and the number of its rows.

    Args:
        rows: the number of rows.
        group_size: None for one group of all rows. The last group may be smaller.

    Returns:
        Two int32 tensors of shape (rows,).

    Example:
    >>> [tensor.numpy().tolist() for tensor in starts_and_sizes(5, 2)]
    [[0, 0, 2, 2, 4], [2, 2, 2, 2, 1]]
    """
    row = tf.range(rows)
    if group_size is None:
        return tf.zeros_like(row), tf.zeros_like(row) + rows
    start = row - row % group_size
    return start, tf.minimum(group_size, rows - start)


def order(scores, starts):
    """The indices by group, and within each by descending score; equal ones in their order.

    Args:
        scores: float (n,).
        starts: int32 (n,), the first row of each one's group.

    Returns:
        int32 (n,).

    Example:
    >>> order(tf.constant([1.0, 2.0, 3.0, 4.0]), tf.constant([2, 2, 0, 0])).numpy().tolist()
    [3, 2, 1, 0]
    """
    by_score = tf.argsort(scores, direction="DESCENDING", stable=True)
    return tf.gather(by_score, tf.argsort(tf.gather(starts, by_score), stable=True))
