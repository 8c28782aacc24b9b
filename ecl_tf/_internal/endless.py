"""Data that never ends, by which an epoch would be without end too."""

import warnings

import keras
import tensorflow as tf

# An `enumerate` of endless data counts to the largest integer.
_ENDLESS = 2**60
_TAKES = ("_TakeDataset", "_TakeWhileDataset")
# After so many batches of data of an unknown length somebody should know why it takes so long.
MANY_BATCHES = 100_000


def is_endless(x):
    """Whether a dataset or a `PyDataset` never ends, as far as its parts tell.

    TensorFlow does not know the length of what a filter or the like leaves of endless data; the
    sources of the dataset tell. A Python generator does not tell, and a `take_while` may end.
    """
    if isinstance(x, tf.data.Dataset):
        return _never_ends(x)
    return isinstance(x, keras.utils.PyDataset) and x.num_batches is None


# Within a function these may end what repeats; `zip` ends with the shortest.
_ENDING = ("TakeDataset", "TakeWhileDataset", "ZipDataset")


def _never_ends(dataset):
    count = int(dataset.cardinality())
    if count == tf.data.INFINITE_CARDINALITY or count >= _ENDLESS:
        return True
    kind = type(dataset).__name__
    if count >= 0 or kind in _TAKES:
        return False
    sources = dataset._inputs()
    if kind == "_ZipDataset":
        return bool(sources) and all(map(_never_ends, sources))
    if kind == "_DirectedInterleaveDataset":  # The first one says of which to take.
        chooses, *sources = sources
        parts = all if dataset._stop_on_empty_dataset else any
        return _never_ends(chooses) and parts(map(_never_ends, sources))
    return any(map(_never_ends, sources)) or _makes_endless(dataset)


def _makes_endless(dataset):
    """Whether a function of a dataset (of `flat_map`, say) makes datasets that repeat for ever."""
    function = getattr(dataset, "_map_func", None)
    if function is None or not hasattr(function, "function"):
        return False
    graph = function.function.graph
    operations = graph.get_operations()
    if any(each.type in _ENDING for each in operations):
        return False
    counts = [each.inputs[1] for each in operations if each.type == "RepeatDataset"]
    return any(tf.get_static_value(count) == -1 for count in counts)


def require_end(x, steps, argument):
    """Refuses data without an end where nobody says how many steps to take of it.

    Args:
        x: what `fit`, `evaluate` or `predict` was given.
        steps: the number of steps, or None.
        argument: the name of that argument.
    """
    if steps is None and is_endless(x):
        raise ValueError(
            "The data is endless (a store's batches, repeat() or resume.batches), so it would "
            f"never be read to its end. Say how many batches to take: {argument}=..."
        )


class Watch(keras.callbacks.Callback):
    """Warns once after `MANY_BATCHES` batches of data whose length is not known.

    Args:
        **arguments: for "train", "test" and "predict" the argument that would say how many
            batches to take, such as train="steps_per_epoch".
    """

    async_safe = True  # It looks at nothing that a step computes, so Keras need not wait for it.

    def __init__(self, **arguments):
        super().__init__()
        self._arguments = arguments

    def on_train_batch_end(self, batch, logs=None):
        self._count("train", batch)

    def on_test_batch_end(self, batch, logs=None):
        self._count("test", batch)

    def on_predict_batch_end(self, batch, logs=None):
        self._count("predict", batch)

    def _count(self, mode, batch):
        if batch + 1 >= MANY_BATCHES and (argument := self._arguments.pop(mode, None)):
            warnings.warn(
                f"{batch + 1} batches were read, and the data does not say how many there are. If "
                f"it is endless (a generator with `while True`), stop, and say how many batches "
                f"to take: {argument}=...",
                stacklevel=2,
            )


def watched(callbacks, **data):
    """The callbacks of `fit` and its like, with a `Watch` where a length is not known.

    Args:
        callbacks: one, a list of them, a `keras.callbacks.CallbackList`, or None.
        **data: for "train", "test" and "predict" a tuple of the data, the number of batches to
            take of it, or None, and the name of that argument.
    """
    unknown = {
        mode: argument
        for mode, (x, steps, argument) in data.items()
        if steps is None and not _says_its_length(x)
    }
    if not unknown:
        return callbacks
    if isinstance(callbacks, keras.callbacks.CallbackList):
        if not any(isinstance(each, Watch) for each in callbacks.callbacks):
            callbacks.callbacks.append(Watch(**unknown))
        return callbacks
    given = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
    return [*(each for each in given if each is not None), Watch(**unknown)]


def _says_its_length(x):
    if isinstance(x, tf.data.Dataset):
        return int(x.cardinality()) != tf.data.UNKNOWN_CARDINALITY
    return isinstance(x, keras.utils.PyDataset) or hasattr(x, "__len__") or hasattr(x, "shape")
