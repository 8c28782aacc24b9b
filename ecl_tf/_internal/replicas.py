"""What a replica of a `tf.distribute` strategy has to know of the others."""

import contextlib
import functools
import math

import keras
import numpy as np
import tensorflow as tf


def validate(distiller, rows):
    """Refuses what would fail, or spoil the student, in a strategy's step.

    Args:
        distiller: the `Distiller`, compiled.
        rows: the number of rows of the smallest batch, None if it is not known.

    Raises:
        ValueError: if the strategy is one that Keras's `fit` does not know, a network or the
            optimizer was made outside of its scope, or, on several replicas, if an
            execution is to run several steps, gradients are to be accumulated, or a batch
            might leave a replica without rows to normalise.
    """
    strategy = distiller.distribute_strategy
    if isinstance(strategy, tf.distribute.ParameterServerStrategy):
        raise ValueError(
            "Keras's fit does not work with ParameterServerStrategy. Use MirroredStrategy on one "
            "machine, or MultiWorkerMirroredStrategy on several."
        )
    made = {
        "student": distiller.student.variables,
        "optimizer": distiller.optimizer.variables,
        "distiller": [distiller.step],
    }
    for name, variables in made.items():
        for variable in variables:
            if not strategy.extended.variable_created_in_scope(variable.value):
                raise ValueError(
                    f"The {name} was made in another scope than the strategy's (its variable "
                    f"{variable.path!r}). Make student, distiller and optimizer inside of "
                    "`with strategy.scope():`; the teacher may come from anywhere."
                )
    if strategy.num_replicas_in_sync == 1:
        return
    if distiller.steps_per_execution > 1:
        raise ValueError(
            f"steps_per_execution={distiller.steps_per_execution} does not work on several "
            "replicas: Keras's loop over steps fails there (keras issue 19246). Compile with "
            "steps_per_execution=1."
        )
    optimizer = getattr(distiller.optimizer, "inner_optimizer", distiller.optimizer)
    accumulated = optimizer.gradient_accumulation_steps
    if accumulated:
        raise ValueError(
            f"gradient_accumulation_steps={accumulated} does not work on several replicas: Keras's "
            "optimizers reduce gradients in a condition, which strategies refuse. Use larger "
            "batches, or one replica."
        )
    replicas = strategy.num_replicas_in_sync
    # TensorFlow gives rows / replicas, rounded up, to one replica after another.
    is_full = rows and math.ceil(rows / math.ceil(rows / replicas)) == replicas
    layers = distiller.student._flatten_layers()
    if not is_full and any(
        isinstance(layer, keras.layers.BatchNormalization) and layer.trainable for layer in layers
    ):
        smallest = "a small last one" if rows is None else f"one of {rows}"
        raise ValueError(
            "The student has batch normalisation, which turns to NaN on a replica without rows, "
            f"and of the batches {smallest} may leave some of {replicas} replicas without. Give "
            "a dataset of equal batches that the replicas divide: "
            "dataset.batch(size, drop_remainder=True)."
        )


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


def maximum(values):
    """The largest of all replicas' values, float32 of one axis, to be called in a step.

    Args:
        values: this replica's, finite.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:  # None within a scope alone.
        return values
    count = context.num_replicas_in_sync
    # Strategies reduce sums only: every replica fills a row of its own.
    row = tf.one_hot(context.replica_id_in_sync_group, count)[:, None]
    return tf.reduce_max(context.all_reduce(tf.distribute.ReduceOp.SUM, row * values), 0)


def workers(strategy):
    """The number of processes that a strategy trains in."""
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        cluster = strategy.cluster_resolver.cluster_spec().as_dict()
        return max(sum(len(cluster.get(task, ())) for task in ("chief", "worker")), 1)
    return 1


def worker_number(strategy):
    """Which of the strategy's processes this is; 0 is the chief, who alone writes files."""
    if workers(strategy) == 1:
        return 0
    resolver = strategy.cluster_resolver
    chiefs = len(resolver.cluster_spec().as_dict().get("chief", ()))
    return resolver.task_id + (chiefs if resolver.task_type == "worker" else 0)


def gather(strategy, arrays):
    """What every replica has; all workers have to call it.

    Args:
        strategy: the strategy.
        arrays: a NumPy array for each of this worker's replicas, of one shape and dtype.

    Returns:
        A list with an array for each of all workers' replicas, in their order.
    """
    if workers(strategy) == 1:
        return list(arrays)
    # Collectives know few types: all travel as int32.
    padded = (array.tobytes().ljust(-(-array.nbytes // 4) * 4, b"\0") for array in arrays)
    rows = (tf.constant(np.frombuffer(row, np.int32)) for row in padded)
    values = strategy.experimental_distribute_values_from_function(lambda context: next(rows))
    found, *_ = strategy.experimental_local_results(_gathering(strategy)(values))
    one = arrays[0]
    return [
        np.frombuffer(row.tobytes()[: one.nbytes], one.dtype).reshape(one.shape)
        for row in found.numpy()
    ]


@functools.cache
def _gathering(strategy):
    """A function that is traced once for a shape; `strategy.gather` is at every call."""

    def gather_in_replica(row):
        context = tf.distribute.get_replica_context()
        place = tf.one_hot(
            context.replica_id_in_sync_group, context.num_replicas_in_sync, dtype=row.dtype
        )
        return context.all_reduce(tf.distribute.ReduceOp.SUM, place[:, None] * row)

    return tf.function(lambda values: strategy.run(gather_in_replica, [values]))


@contextlib.contextmanager
def explaining_a_lost_worker():
    """Names the cause where another worker's end ends a collective of this one.

    Raises:
        RuntimeError: in place of TensorFlow's `UnavailableError`.
    """
    try:
        yield
    except tf.errors.UnavailableError as error:
        if "Collective ops is aborted" not in str(error):
            raise
        raise RuntimeError(
            "Another worker of the cluster has ended, was killed or can't be reached, and this one "
            "can't go on without it. See that worker's log for the cause, then start all workers "
            "again."
        ) from error
