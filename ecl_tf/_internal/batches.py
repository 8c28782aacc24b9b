"""What a batch is made of, and what can be known of the data before the first one."""

import inspect
import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

NO_ROWS = (
    "The data holds no rows, so there is nothing to {}. Look at the dataset's filter, take and "
    "batch(drop_remainder=True): a batch larger than the data leaves none."
)
WITHOUT_LABELS = (
    "class_weight needs labels: arrays of them, or batches (inputs, labels) of a tf.data.Dataset, "
    "a keras.utils.PyDataset or a generator. Give them, or weights of rows: sample_weight=..."
)
NO_WEIGHT = (
    "The weights in sample_weight add up to {:g}, so no row counts, or the student learns to be "
    "unlike the teacher. Give weights > 0 to rows that count."
)
LIST = "{} is a list of numbers or texts; expected an array. Give {}."


class Weighted(NamedTuple):
    """Inputs and weights, in the place of inputs.

    Keras's `fit` leaves out weights that come without labels, and wants those of all outputs or
    none. These it takes for inputs.
    """

    inputs: Any
    weights: Any


def unpack(data):
    """Inputs, labels and weights of a batch; the last two may be None, or dicts by output."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if isinstance(x, Weighted):
        x, sample_weight = x
    y, sample_weight = _given(y), _given(sample_weight)
    if isinstance(sample_weight, (list, tuple)):
        raise ValueError(
            "sample_weight must be one weight for each row or position, or a dict of them by the "
            f"names of outputs; got a {type(sample_weight).__name__}."
        )
    return x, y, sample_weight


def _given(part):
    """A part of a batch, of which Keras leaves None in the place of what is not there."""
    if not isinstance(part, dict):
        return part
    return {name: each for name, each in part.items() if each is not None}


def without_padding(nest, sample_weight, outputs=()):
    """Rows with other ones in the place of those whose weight is 0, which are no samples' source.

    Args:
        nest: tensors of shape (batch, ...).
        sample_weight: weights of rows or positions, a dict of them, or None.
        outputs: names of the outputs, of which those that a dict leaves out count in all rows;
            none by default.
    """
    if isinstance(sample_weight, dict):
        given = _given(sample_weight)
        sample_weight = given if set(outputs) <= set(given) else None
    if sample_weight is None:
        return nest
    weights = [tf.cast(each, tf.float32) for each in keras.tree.flatten(sample_weight)]
    of_rows = [tf.reduce_max(tf.abs(each), range(1, each.shape.rank)) for each in weights]
    is_real = tf.add_n(of_rows) > 0.0
    count = tf.reduce_sum(tf.cast(is_real, tf.int32))
    row = tf.range(tf.size(is_real))
    real_first = tf.argsort(tf.cast(~is_real, tf.int32), stable=True)
    other = tf.gather(real_first, row % tf.maximum(count, 1))
    source = tf.where(is_real | tf.equal(count, 0), row, other)
    return keras.tree.map_structure(
        lambda each: each if each is None else tf.gather(each, source), nest
    )


def keeping_weights(x, y=None, sample_weight=None):
    """The arguments x, y and sample_weight of `fit`, such that all weights stay.

    Args:
        x: arrays, a dataset, a `keras.utils.PyDataset` or a generator, perhaps of batches
            (inputs, None, weights).
        y: labels, or None.
        sample_weight: weights of arrays, or None.
    """
    if sample_weight is not None and (y is None or isinstance(sample_weight, dict)):
        return Weighted(x, _given(sample_weight)), y, None
    if isinstance(x, tf.data.Dataset) and _lacks_labels(x.element_spec):
        x = x.map(lambda *batch: _without_labels(batch))
    else:
        x = _changed(x, _packed)
    return x, y, sample_weight


def weighted(x, y, sample_weight, weigh):
    """The arguments x, y and sample_weight of `fit`, with the weights that labels have.

    Args:
        x: as in `keeping_weights`, like `y` and `sample_weight`.
        y: the same.
        sample_weight: the same.
        weigh: a function of labels and their weights, or None, that returns weights.
    """

    @tf.autograph.experimental.do_not_convert
    def change(batch):
        its_x, its_y, its_weight = keras.utils.unpack_x_y_sample_weight(batch)
        if its_y is None:
            raise ValueError(WITHOUT_LABELS)
        return its_x, its_y, weigh(its_y, its_weight)

    if isinstance(x, tf.data.Dataset):
        return x.map(lambda *batch: change(batch)), None, None
    if is_stream(x):
        return _changed(x, change), None, None
    return x, y, weigh(y, sample_weight)


def _changed(x, change):
    """Data of batches with `change` of each of them; arrays and datasets are as they were."""
    if isinstance(x, keras.utils.PyDataset):
        return _Rows(x, change)
    if inspect.isgenerator(x):
        return (change(batch) for batch in x)
    return x


def is_stream(x):
    """Whether something gives batches, which have labels and weights of their own."""
    return isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)) or inspect.isgenerator(x)


def packed(x, y=None, sample_weight=None):
    """What Keras takes as validation data."""
    if y is None:
        return x if isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)) else (x,)
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def _lacks_labels(batch):
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        return False
    return batch[1] is None or isinstance(batch[1], tf.NoneTensorSpec)


def _packed(batch):
    _require_arrays(batch)
    return _without_labels(batch) if _lacks_labels(batch) else batch


def _without_labels(batch):
    inputs, _, *weights = batch
    weights = [each for each in weights if each is not None]
    return (Weighted(inputs, *weights),) if weights else (inputs,)


def _require_arrays(batch):
    """Refuses lists of numbers in a batch, which Keras takes for as many inputs."""
    parts = batch if isinstance(batch, (tuple, list)) else [batch]
    for what, part in zip(("inputs", "labels", "weights"), parts, strict=False):
        require_arrays(part, what, "What a batch has as ")
        if what != "inputs":
            for leaf in keras.tree.flatten(part):
                require_numbers(leaf, what)


def require_arrays(given, name, before=""):
    """Refuses numbers, texts and lists of them in the place of an array, or of one in a dict.

    Args:
        given: an argument or a part of a batch.
        name: of it.
        before: what a message says before the name; nothing by default.
    """
    parts = given.items() if isinstance(given, dict) else [(None, given)]
    for key, part in parts:
        its = name if key is None else f"{name}[{key!r}]"
        if isinstance(part, (int, float, str)):
            raise ValueError(f"{before}{its} is {part!r}; expected an array with rows.")
        if is_list_of_values(part):
            raise ValueError(LIST.format(before + its, as_array(part, its)))


def without_lists(nest):
    """Arrays with tuples in the place of lists, of which tf.data would make one tensor."""
    return keras.tree.traverse(
        lambda each: tuple(each) if isinstance(each, list) else None, nest, top_down=False
    )


def is_list_of_values(given):
    """Whether something is a list, perhaps of lists, of numbers or texts, and no list of arrays."""
    first = given
    while isinstance(first, (list, tuple)) and len(first):
        first = next((each for each in first if not isinstance(each, (list, tuple)) or each), None)
    return first is not given and isinstance(first, (int, float, np.generic, str))


def as_array(given, name):
    """How to make an array of a list of values, in words.

    Args:
        given: the list.
        name: of the argument or part that it is.
    """
    try:
        np.asarray(given)
    except ValueError:  # Rows have unequal lengths.
        return (
            f"sklearn.preprocessing.MultiLabelBinarizer().fit_transform({name}) if a row has "
            f"several labels, or keras.utils.pad_sequences({name}) if it is a sequence"
        )
    return f"np.asarray({name})"


def require_numbers(values, what="sample_weight"):
    """Refuses weights or labels that are one number for all rows, or no numbers.

    Args:
        values: an array, a tensor, specs of one, or None.
        what: they are, for the message; "sample_weight" by default.
    """
    if values is None or isinstance(values, tf.NoneTensorSpec):
        return
    if hasattr(values, "dtypes"):
        return  # A table of pandas, which Keras takes.
    if not hasattr(values, "dtype"):
        raise ValueError(f"{what} must be an array with a number for each row; got {values!r}.")
    numpy_kind = getattr(values.dtype, "kind", "")
    is_number = numpy_kind in tuple("biufV") if numpy_kind else _is_number(values.dtype)
    if not is_number:
        raise ValueError(
            f"{what} must be numbers; got an array of {getattr(values.dtype, 'name', values.dtype)}"
            ". Give np.asarray(..., 'float32')."
        )


def _is_number(dtype):
    dtype = tf.as_dtype(dtype)
    return dtype.is_floating or dtype.is_integer or dtype.is_bool


def held_out(share, x, y=None, sample_weight=None):
    """The last rows of arrays, on which Keras's `fit` validates with `validation_split`.

    Args:
        share: that argument, between 0 and 1.
        x: inputs.
        y: labels, or None.
        sample_weight: weights, or None.
    """
    return _parts(share, x, y, sample_weight)[1]


def kept(share, x, y=None, sample_weight=None):
    """The rows before those that `held_out` returns; its arguments."""
    return _parts(share, x, y, sample_weight)[0]


def _parts(share, *arrays):
    rows = keras.tree.flatten(arrays)[0].shape[0]
    first = math.floor(rows * (1.0 - share))
    return [
        keras.tree.map_structure(
            lambda leaf, part=part: leaf if leaf is None else np.asarray(leaf)[part], arrays
        )
        for part in (slice(None, first), slice(first, None))
    ]


class _Rows(keras.utils.PyDataset):
    """A `PyDataset` with a change of each of its batches."""

    def __init__(self, dataset, change):
        names = ("workers", "use_multiprocessing", "max_queue_size")
        super().__init__(**{name: getattr(dataset, name) for name in names})
        self._dataset, self._change = dataset, change

    @property
    def num_batches(self):
        return self._dataset.num_batches

    def __getitem__(self, index):
        return self._change(self._dataset[index])

    def on_epoch_begin(self):
        self._dataset.on_epoch_begin()

    def on_epoch_end(self):
        self._dataset.on_epoch_end()


def row_count(inputs: Any) -> int | tf.Tensor:
    """The number of rows of `inputs`: an integer where it is static, otherwise a scalar tensor."""
    first = keras.tree.flatten(inputs)[0]
    return first.shape[0] if first.shape[0] is not None else tf.shape(first)[0]


def as_type(x, dtype):
    """Numbers in another type: whole ones are rounded, and stay in its range."""
    x = tf.convert_to_tensor(x)
    if dtype.is_integer and x.dtype.is_floating:
        return tf.saturate_cast(tf.round(x), dtype)
    return tf.cast(x, dtype)


def specs(x):
    """The nesting of `tf.TensorSpec` of inputs, with any number of rows."""
    return keras.tree.map_structure(
        lambda leaf: tf.TensorSpec((None, *leaf.shape[1:]), tf.as_dtype(leaf.dtype)), x
    )


def element_spec(x):
    """Specs of one batch: of a dataset's element, or of arrays; None if not known."""
    if isinstance(x, tf.data.Dataset):
        return x.element_spec
    leaves = keras.tree.flatten(x)
    if leaves and all(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves):
        return specs(x)
    return None


def are_arrays(x):
    """Whether something is arrays, all of whose rows can be looked at before the first batch."""
    return not isinstance(x, tf.data.Dataset) and element_spec(x) is not None


def smallest(x, batch_size=None):
    """The number of rows of the smallest batch of a dataset or of arrays; None if not known."""
    if element_spec(x) is None:
        return None
    if isinstance(x, tf.data.Dataset):
        shape = keras.tree.flatten(x.element_spec)[0].shape
        return shape[0] if shape.rank else None
    rows, size = keras.tree.flatten(x)[0].shape[0], batch_size or 32  # Keras's default.
    return rows % size or size


def sizes(x, batch_size=None):
    """The numbers of rows of the batches of a dataset or of arrays, as far as they are known."""
    last = smallest(x, batch_size)
    if last is None:
        return set()
    if isinstance(x, tf.data.Dataset):
        return {last}
    return {last, min(keras.tree.flatten(x)[0].shape[0], batch_size or 32)}


def require_rows(x, purpose):
    """Refuses data of known length that holds no rows, and nothing in the place of data.

    Args:
        x: what `fit` or the like was given.
        purpose: in words, such as "train on".
    """
    if not keras.tree.flatten(x) or x is None:
        raise ValueError(
            f"Inputs to {purpose} are needed; got {x}. Give arrays or a dataset as the first "
            "argument."
        )
    count: int | None
    if isinstance(x, tf.data.Dataset):
        count = int(x.cardinality())
    elif isinstance(x, keras.utils.PyDataset):
        count = x.num_batches
    else:
        first = keras.tree.flatten(x)[:1]
        count = first[0].shape[0] if first and len(getattr(first[0], "shape", ())) else None
    if count == 0:
        raise ValueError(NO_ROWS.format(purpose))
