"""On which devices an experiment trains, and which of several workers writes its files."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import replicas
from ecl_tf.experiments import settings
from ecl_tf.experiments.cluster import wait_for_workers, wait_until_chief_has_ended

_chosen: tf.distribute.Strategy | None = None


def use(name: str, wait_seconds: float = 300.0) -> None:
    """Makes the strategy of this process, before any other use of TensorFlow.

    Args:
        name: "default" (one device), "mirrored" (all of this machine), "multi_worker" (the
            workers that TF_CONFIG names) or "tpu" (the one that TPU_NAME names).
        wait_seconds: how long to wait for the other workers, 300 seconds by default.

    Raises:
        ValueError: if there is no such strategy, TF_CONFIG or the TPU is not to be found, or a
            worker is not there in time.
    """
    global _chosen
    if name not in STRATEGIES:
        raise ValueError(f"Unknown strategy {name!r}; expected one of {[*STRATEGIES]}.")
    if name == "multi_worker":
        resolver = _tf_config()
        cluster = resolver.cluster_spec().as_dict()
        wait_for_workers(cluster, resolver.task_type, resolver.task_id, wait_seconds)
    _chosen = STRATEGIES[name]()


def end() -> None:
    """Ends the work of this process among others, at a script's end: the chief ends first."""
    if replicas.workers(current()) > 1:
        resolver = _tf_config()
        spec = resolver.cluster_spec().as_dict()
        wait_until_chief_has_ended(spec, resolver.task_type, resolver.task_id)


def current() -> tf.distribute.Strategy:
    """The `tf.distribute.Strategy` that `use` made; without it TensorFlow's own."""
    return _chosen or tf.distribute.get_strategy()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Within it networks are this process's own, as without `use`."""
    global _chosen
    before, _chosen = _chosen, None
    try:
        yield
    finally:
        _chosen = before


def _tf_config():
    try:
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        cluster, task = resolver.cluster_spec().as_dict(), resolver.task_type
        if not cluster or task not in cluster or resolver.task_id not in range(len(cluster[task])):
            raise ValueError(f"its cluster is {cluster}, its task {task} {resolver.task_id}")
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(
            "--strategy=multi_worker needs the environment variable TF_CONFIG, on each worker with "
            'its own index: \'{"cluster": {"worker": ["host1:port", "host2:port"]}, "task": '
            f'{{"type": "worker", "index": 0}}}}\'. Here it is {os.environ.get("TF_CONFIG")!r}: '
            f"{error}."
        ) from error
    return resolver


def _tpu():
    try:
        return tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    except (ValueError, OSError, tf.errors.OpError) as error:
        raise ValueError(
            "--strategy=tpu found no TPU. On a machine that has one set TPU_NAME=local, else "
            f"TPU_NAME to its name or address. TensorFlow says: {error}"
        ) from error


STRATEGIES = {
    "default": lambda: None,
    "mirrored": lambda: tf.distribute.MirroredStrategy(),
    "multi_worker": lambda: tf.distribute.MultiWorkerMirroredStrategy(_tf_config()),
    "tpu": lambda: tf.distribute.TPUStrategy(_tpu()),
}


def is_chief() -> bool:
    """Whether this is the one process that writes files and tells of its progress."""
    return replicas.worker_number(current()) == 0


def worker() -> tuple[int, int]:
    """The number of this worker, and how many there are."""
    return replicas.worker_number(current()), replicas.workers(current())


def on_chief(write: Callable[[], Any]) -> None:
    """Calls a function without arguments on the chief; all workers wait until it has returned."""
    if is_chief():
        write()
    wait_for_all()


def wait_for_all() -> None:
    """Waits until all workers have come so far."""
    of_chief(0)


def of_chief(number: int) -> int:
    """The chief's integer on all workers, where rounding might let them decide differently.

    Raises:
        RuntimeError: if another worker was lost.
    """
    strategy = current()
    here = strategy.num_replicas_in_sync // replicas.workers(strategy)
    with replicas.explaining_a_lost_worker():
        return int(replicas.gather(strategy, [np.int64(number)] * here)[0])


def prepare(model: keras.Model, batch_size: int) -> None:
    """Makes a network fit for the strategy.

    Batch normalisation takes the statistics of all replicas' rows.

    Args:
        batch_size: rows of a batch on all replicas.

    Raises:
        ValueError: if the replicas don't divide the batch.
    """
    count = current().num_replicas_in_sync
    if batch_size % count:
        raise ValueError(
            f"{count} replicas can't part a batch of {batch_size} rows evenly. Set "
            f"train.batch_size, the rows of all of them together, to a multiple of {count}."
        )
    if count > 1:
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True


def steps_per_execution(train: settings.Train) -> int:
    """As a section's `train` says; 1 on several replicas, where Keras can't do more."""
    return train.steps_per_execution if current().num_replicas_in_sync == 1 else 1
