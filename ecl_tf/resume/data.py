"""Data as a function of the step, and what tells one run's data from another's."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from ecl_tf._internal import identity, own_inputs, require
from ecl_tf._internal.batches import LIST, as_array, is_list_of_values, is_stream
from ecl_tf.data import splits


class Batches:
    """A function from a number of steps to the shuffled batches after them: see `batches`."""

    def __init__(self, data, batch_size, seed):
        _require_arrays(data, "data")
        own_inputs.require_dense(data, "arrays")
        data, *_ = own_inputs.arrays_of_frames(data)
        self.rows = keras.tree.map_structure(_tensor, data)
        self.batch_size = require.whole("batch_size", batch_size, 1)
        self.seed = require.integer("seed", seed)
        self._row_count = _row_count(self.rows)
        splits.validate_batch_size(self._row_count, self.batch_size)
        self._description = None

    def __call__(self, first_step: int) -> tf.data.Dataset:
        return splits.shuffled_batches(self.rows, self.batch_size, self.seed, first_step)

    def __repr__(self):
        return (
            f"<batches of {self._row_count} rows, batch_size={self.batch_size}, seed={self.seed}. "
            "ecl_tf.resume.fit takes them as they are. For another fit call them with the number "
            "of steps to leave out, and give steps_per_epoch: fit(batches(0), "
            f"steps_per_epoch={self._row_count // self.batch_size})>"
        )

    def describe(self) -> dict[str, Any]:
        """What tells these batches from others, as JSON holds it."""
        if self._description is None:
            self._description = {
                "arrays": identity.fingerprint_of_rows(self.rows),
                "rows": self._row_count,
                "batch_size": self.batch_size,
                "seed": self.seed,
            }
        return self._description


def batches(data: Any, batch_size: int, seed: int) -> Callable[[int], tf.data.Dataset]:
    """Shuffled batches of arrays as a function of the step, for `fit`.

    Every pass is in another order, which follows from the seed and the pass; rows beyond its
    last full batch are left out.

    Checkpoints keep the batch size, the seed and a SHA-256 of the arrays, so that other data is
    noticed. Of an array of more than 256 MiB it covers evenly spread rows of 256 MiB.

    Args:
        data: nested arrays or tensors (inputs, labels, ...) of shape (rows, ...), or None in
            places of a tuple that nothing is known for.
        batch_size: rows of each batch, typically 32 to 256.
        seed: an integer, typically 0.

    Returns:
        A function from a number of steps to the endless `tf.data.Dataset` after them.

    Raises:
        ValueError: if there are fewer rows than a batch has, arrays of different lengths, or an
            argument of another type.

    Example:
    >>> import numpy as np
    >>> data = batches((np.arange(10),), batch_size=5, seed=0)
    >>> (first,), (second,) = data(0).take(2)
    >>> sorted(int(row) for row in (*first, *second))
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    >>> bool(tf.reduce_all(next(iter(data(1)))[0] == second))
    True
    """
    return Batches(data, batch_size, seed)


def describe(function: Callable[[int], tf.data.Dataset]) -> dict[str, Any]:
    """What tells a run's data from another's, as JSON holds it.

    Args:
        function: the run's, from a number of steps to data. If it has a method `describe`, that
            says it. If not, the first batch does, unless it is another one at every call; then
            a warning is given, as where the first batch after 1 step is not the second after 0.
    """
    if hasattr(function, "describe"):
        described = function.describe()
        what = f"What describe() of {type(function).__name__} returns"
        return identity.as_json(what, described)
    # Data of other calls: what a dataset shuffles depends on how often it was read.
    first, second = (call(function, 0) for _ in range(2))
    found = _first_batch(first)
    if found != _first_batch(second):
        found = None
        warnings.warn(
            "The first batch is another one at every call of `batches`, so a run that is continued "
            "sees other batches than one that never stopped. Give seeds to what is drawn at random "
            "in the data.",
            stacklevel=2,
        )
    elif found and _first_batch(call(function, 1)) != _first_batch(call(function, 0).skip(1)):
        warnings.warn(
            "The first batch after 1 step is not the second after 0, so `batches` leaves out none, "
            "or others (rows in place of batches), and a run that is continued sees other batches "
            "than one that never stopped. Leave out as many batches as there were steps: `lambda "
            "step: dataset.repeat().batch(32).skip(step)`.",
            stacklevel=2,
        )
    spec = [str(leaf) for leaf in tf.nest.flatten(first.element_spec)]
    return {"element_spec": spec, "first_batch": found}


def describe_validation(given: Mapping[str, Any]) -> dict[str, Any]:
    """What tells one run's validation from another's, as JSON holds it.

    Args:
        given: the arguments of `fit`. Of validation data that is no arrays only the number of
            batches counts: what a dataset shuffles depends on how often it was read.
    """
    found = {name: str(given.get(name)) for name in ("validation_steps", "validation_freq")}
    nest = given.get("validation_data")
    if all(hasattr(leaf, "shape") or leaf is None for leaf in keras.tree.flatten(nest)):
        nest = identity.fingerprint_of_rows(nest)
    elif isinstance(nest, tf.data.Dataset):
        nest = int(nest.cardinality())
    else:
        nest = type(nest).__name__
    return {**found, "validation_data": nest}


def _first_batch(data):
    """A hash of the first batch of a `tf.data.Dataset`; None of other data, or without one."""
    if not isinstance(data, tf.data.Dataset):
        return None
    return next((identity.fingerprint_of_rows(batch) for batch in data.take(1)), None)


def require_steps(data: Any, done: int, steps: int) -> None:
    """Refuses a dataset that is known to end too early.

    Args:
        data: the batches after `done` steps.
        done: the number of steps before them.
        steps: the number of steps in all.
    """
    # Another one is of an unknown length, and what it gives is counted.
    there = int(data.cardinality()) if isinstance(data, tf.data.Dataset) else -1
    if 0 <= there < steps - done:
        raise ended(done + there, steps)


def ended(step: int, steps: int) -> ValueError:
    """The error to raise where data ends after `step` of `steps`."""
    return ValueError(
        f"The data ends after step {step}, and steps={steps} were asked for. `batches` must give "
        "endless data for every number of steps to leave out, such as `lambda step: "
        "dataset.repeat().skip(step)`, or ecl_tf.resume.batches for arrays."
    )


def call(function: Callable[[int], Any], step: int) -> Any:
    """The data after a number of steps.

    Raises:
        ValueError: if it is no function of a number of steps, or gives no `tf.data.Dataset`.
    """
    wanted = (
        "batches must be a function from a number of steps to a tf.data.Dataset that leaves out "
        "as many batches: ecl_tf.resume.batches((x, y), batch_size=..., seed=...) for arrays, or "
        "`lambda step: dataset.repeat().skip(step)`"
    )
    if not callable(function):
        raise ValueError(f"{wanted}. Got a {type(function).__name__}.")
    data = function(step)
    # Keras takes no iterators of TensorFlow, and one that was read does not begin again.
    if not hasattr(data, "element_spec") or isinstance(data, Iterator):
        raise ValueError(f"{wanted}. It gave a {type(data).__name__}.")
    return data


def _require_arrays(nest, name):
    """Refuses lists of numbers, of which Keras would take every number for an array."""
    if isinstance(nest, list) and is_list_of_values(nest):
        raise ValueError(LIST.format(name, as_array(nest, name)))
    parts = enumerate(nest) if isinstance(nest, (list, tuple)) else ()
    for key, part in nest.items() if isinstance(nest, dict) else parts:
        _require_arrays(part, f"{name}[{key!r}]")


def _tensor(leaf):
    if leaf is None:
        return None
    if is_stream(leaf):
        raise ValueError(
            f"batches takes arrays with a row for each example; got a {type(leaf).__name__}. "
            "Write a function from a number of steps to a tf.data.Dataset: "
            "`lambda step: dataset.repeat().skip(step)`."
        )
    return tf.convert_to_tensor(leaf)


def _row_count(rows):
    counts = {
        "/".join(str(key) for key in path) or "data": leaf.shape[0] if leaf.shape.rank else None
        for path, leaf in keras.tree.flatten_with_path(rows)
        if leaf is not None
    }
    if not counts or None in counts.values() or len(set(counts.values())) > 1:
        found = ", ".join(
            f"{name}: {'a single value' if count is None else f'{count} rows'}"
            for name, count in counts.items()
        )
        raise ValueError(
            "data must be arrays (inputs, labels, ...) with the same number of rows; got "
            f"{found or 'none'}."
        )
    return next(iter(counts.values()))
