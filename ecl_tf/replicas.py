"""What a replica of a `tf.distribute` strategy has to know of the others."""

import tensorflow as tf


def row_numbers(rows):
    """Which of the step's rows are this replica's, where replicas hold parts of one batch.

    A sum over rows divided by the number of all rows gives the same update on any number
    of replicas, uneven batches included (dividing by the replica's own number does not);
    random numbers by the row's number in all rows are the same on any number of them.

    Args:
        rows: the number of this replica's rows.

    Returns:
        The number of its first row, None for a single replica, and the number of all rows
        (float32).
    """
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync
    rows = tf.cast(rows, tf.float32)
    if replicas == 1:
        return None, rows
    replica = context.replica_id_in_sync_group
    # Float32 is reduced on every device, and exact up to 2^24 rows.
    counts = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.one_hot(replica, replicas) * rows)
    before = tf.range(replicas) < replica
    first_row = tf.reduce_sum(tf.where(before, counts, tf.zeros_like(counts)))
    return tf.cast(first_row, tf.int32), tf.reduce_sum(counts)
