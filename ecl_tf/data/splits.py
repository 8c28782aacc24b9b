"""What every data set is loaded as, and how it becomes batches.

Images stay uint8 until they are batched; networks and samplers see them as float32 in
[0, 1]. What fits into memory is read once and batched by gathering rows; what does not
is streamed from its files through a bounded shuffle buffer.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from ecl_tf._internal import batches as arrays
from ecl_tf._internal import random
from ecl_tf.data.columns import Columns
from ecl_tf.data.indexed import IndexedExamples

# Examples, as they are stored: 8,192 JPEG files of ImageNet are 0.9 GB.
SHUFFLE_BUFFER = 8192
_AHEAD_BYTES, _AHEAD = 2**26, 32
_GATHERED_BYTES, _GATHERED_STEPS = 2**20, 16
# Of functions without conditions on tensors: AutoGraph takes 0.1 s for each that it reads.
_as_it_is = tf.autograph.experimental.do_not_convert


@dataclasses.dataclass(frozen=True)
class Splits:
    """A data set in three parts.

    Attributes:
        train: a `tf.data.Dataset` of single examples (inputs, label), in a fixed order.
        validation: the same, for every choice that is made.
        test: the same, read once, after all choices are made.
        event_size: the number of classes or of target dimensions.
        augment: None, the default, or a function (batch of inputs, seed) -> batch of inputs that
            varies the training inputs at random, before any sampler.
        decode: None, the default, for what fits into memory. Otherwise `train` holds encoded
            examples, and this function (encoded inputs, seed) -> inputs decodes one of them,
            and may vary it at random.
        examples: the same training examples as those of an encoded `train`, for `ecl_tf.replay`,
            which finds them by their ids; None, the default, where answers are not to be stored.
        target_mean: mean of the training targets, one number for each dimension, for
            networks to learn in standardised units (see `ecl_tf.outputs.Normal`); 0 by default.
        target_stddev: their standard deviation; 1 by default.
        class_names: what the classes 0 to event_size - 1 are called in the data; None, the
            default, if that is not known.
        spare: None, the default, or a `tf.data.Dataset` of further real training examples
            (inputs, label) or (inputs,), in the form of `train` and in none of the three parts.
            Only the oracle of `ecl-tf compare` sees them, and never their labels.
        swap: names of inputs whose values have no mean, such as ids, which the samplers of the
            commands swap in place of mixing them (see `ecl_tf.samplers.Mixup`); none by default.
        columns: of a table, the `ecl_tf.data.Columns` that encode its rows; None by default.
        notes: sentences about the data, which the commands print; none by default.
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    event_size: int
    augment: Callable[[Any, Any], Any] | None = None
    decode: Callable[[Any, Any], Any] | None = None
    examples: IndexedExamples | None = None
    target_mean: Any = 0.0
    target_stddev: Any = 1.0
    class_names: tuple[str, ...] | None = None
    spare: tf.data.Dataset | None = None
    swap: tuple[str, ...] = ()
    columns: Columns | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        """Refuses what is no function where one is expected."""
        for name in ("augment", "decode"):
            if (given := getattr(self, name)) is not None and not callable(given):
                raise ValueError(
                    f"Splits takes a function (inputs, seed) -> inputs as {name}; got {given!r}."
                )

    @property
    def input_shape(self) -> Any:
        """The shape of one example's inputs, or the nesting of shapes."""
        # Of the validation data: training examples may still be encoded.
        spec = self.validation.element_spec[0]
        return tf.nest.map_structure(lambda leaf: tuple(leaf.shape), spec)

    @property
    def has_validation(self) -> bool:
        """Whether validation rows were held out; otherwise they are the training rows."""
        return self.validation is not self.train

    @functools.cached_property
    def train_rows(self) -> tuple[Any, Any]:
        """The whole training split in memory: (inputs, labels), row by row."""
        return in_memory(self.train)

    def with_spare_inputs(self) -> "Splits":
        """Returns splits to distil on, whose `train` has the spare inputs, too, and no labels.

        Raises:
            ValueError: if there are none.
        """
        if self.spare is None or self.decode is not None:
            raise ValueError(
                "An oracle needs spare training inputs, and this data set has none. Train on fewer "
                "rows, e.g. --config.data.train_size=1000, so that others are left; or give a data "
                "set of yours in memory the attribute `spare`."
            )
        both = [part.map(lambda x, *rest: (x,)) for part in (self.train, self.spare)]
        return dataclasses.replace(self, train=both[0].concatenate(both[1]), spare=None)


Splits.__init__.__doc__ = "Takes the attributes that the class describes."


def in_memory(dataset: tf.data.Dataset) -> Any:
    """Returns a `dataset` of known length as one nest of tensors, row by row."""
    return dataset.batch(max(int(dataset.cardinality()), 1)).get_single_element()


def training_batches(
    splits: Splits, batch_size: int, seed: int, first_step: int = 0
) -> tf.data.Dataset:
    """Endless shuffled batches of a fixed size, for a number of steps.

    Every pass is in another order; orders, augmentation and random decoding all follow
    from the seed. A pass through memory leaves out the rows beyond its last full batch. In
    a stream batches go on across passes.

    Args:
        splits: the `Splits`.
        batch_size: rows of each batch, such as 64.
        seed: an integer.
        first_step: the number of batches to leave out, 0 by default. In a stream the examples
            of the pass under way are read up to there, but not decoded.

    Returns:
        A `tf.data.Dataset` of batches (inputs, labels).

    Raises:
        ValueError: if the data holds less than one batch.
    """
    if splits.decode is None:
        batches = shuffled_batches(splits.train_rows, batch_size, seed, first_step)
    else:
        validate_batch_size(int(splits.train.cardinality()), batch_size)
        batches = _streamed(splits, batch_size, seed, first_step)
    if (augment := splits.augment) is not None:

        def vary(step, batch):
            x, *rest = batch
            return augment(x, random.fold_in(random.fold_in(seed, 1), step)), *rest

        batches = batches.enumerate(first_step).map(vary, num_parallel_calls=tf.data.AUTOTUNE)
    return _finished(batches, batch_size)


def evaluation_batches(dataset: tf.data.Dataset, batch_size: int = 512) -> tf.data.Dataset:
    """Returns batches of one pass in order; the last one holds the rows that are left.

    Args:
        dataset: single examples (inputs, label), such as `Splits.test`.
        batch_size: rows of each batch, 512 by default.
    """
    return _finished(dataset.batch(batch_size), batch_size)


def to_float(inputs: Any) -> Any:
    """Returns `inputs` with uint8 images as float32 in [0, 1]; others stay as they are."""

    def convert(leaf):
        return tf.cast(leaf, tf.float32) / 255.0 if leaf.dtype == tf.uint8 else leaf

    return keras.tree.map_structure(convert, inputs)


def _finished(batches, batch_size):
    @_as_it_is
    def convert(x, *rest):
        return to_float(x), *rest

    return prefetched(batches.map(convert, num_parallel_calls=tf.data.AUTOTUNE), batch_size)


def prefetched(batches: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Returns a dataset that makes 2 to 32 batches ahead, of 64 MiB in all, or 2 larger ones.

    `tf.data.AUTOTUNE` would keep gigabytes of those that a slow student leaves.

    Args:
        batches: a dataset of batches; of rows of unknown sizes it makes 2 ahead.
        batch_size: rows of each batch.
    """
    specs = keras.tree.flatten(batches.element_spec)
    leaves = [spec for spec in specs if isinstance(spec, tf.TensorSpec)]  # Labels may be None.
    numbers = [leaf.shape[1:].num_elements() for leaf in leaves]
    if None in numbers:
        return batches.prefetch(2)
    row = sum(count * leaf.dtype.size for count, leaf in zip(numbers, leaves, strict=True))
    return batches.prefetch(min(max(_AHEAD_BYTES // max(row * batch_size, 1), 2), _AHEAD))


def shuffled_batches(rows: Any, batch_size: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
    """Endless batches gathered from memory by a permutation for each pass.

    Args:
        rows: nested tensors or arrays of shape (rows, ...), or None in some places.
        batch_size: rows of each batch.
        seed: an integer, from which and the pass the permutation follows.
        first_step: the number of batches to leave out, at no cost; 0 by default.

    Returns:
        A `tf.data.Dataset`.

    Raises:
        ValueError: if there are fewer rows than a batch has.
    """
    rows = arrays.without_lists(rows)
    size = next(leaf.shape[0] for leaf in keras.tree.flatten(rows) if leaf is not None)
    validate_batch_size(size, batch_size)
    steps = size // batch_size
    first_pass, within = divmod(first_step, steps)

    # The seed's own branch, apart from the augmentation's.
    fold = random.folding(random.fold_in(seed, 0))  # Here, as every dataset traces its functions.

    @_as_it_is
    def one_pass(number):
        order = tf.random.experimental.stateless_shuffle(tf.range(size), fold(number))
        order = tf.reshape(order[: steps * batch_size], [steps, batch_size])
        return tf.data.Dataset.from_tensor_slices(order)

    @_as_it_is
    def gather(indices):
        return keras.tree.map_structure(
            lambda leaf: None if leaf is None else tf.gather(leaf, indices), rows
        )

    orders = tf.data.Dataset.range(first_pass, tf.int64.max).flat_map(one_pass).skip(within)
    # Small batches cost less when some are gathered at once.
    leaves = [leaf for leaf in keras.tree.flatten(rows) if leaf is not None]
    sizes = [math.prod(leaf.shape[1:]) * tf.as_dtype(leaf.dtype).size for leaf in leaves]
    together = min(_GATHERED_BYTES // (batch_size * max(sum(sizes), 1)), _GATHERED_STEPS)
    if together < 2 or 0 in sizes:  # TensorFlow's `unbatch` dies of rows without elements.
        return endless(orders.map(gather, num_parallel_calls=tf.data.AUTOTUNE))
    gathered = orders.batch(together).map(gather, num_parallel_calls=tf.data.AUTOTUNE)
    return endless(gathered.unbatch())


def endless(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns a dataset that says of itself that it never ends, so that `fit` can tell.

    Args:
        dataset: one that does not end, which TensorFlow does not know of `flat_map`.
    """
    return dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))


def validate_batch_size(size: int, batch_size: int) -> None:
    """Refuses data of fewer rows than a batch has; a negative size is not known."""
    if 0 <= size < batch_size:
        raise ValueError(
            f"The training data holds {size} examples, less than one batch of {batch_size}. "
            "Choose a smaller batch size."
        )


def _streamed(splits, batch_size, seed, first_step):
    """Batches decoded from a shuffled stream of encoded examples."""
    first = first_step * batch_size
    size = int(splits.train.cardinality())
    first_pass, within = divmod(first, size) if size > 0 else (0, first)
    seed = random.fold_in(seed, 0)

    def one_pass(number):
        tf.random.set_seed(1)  # Of this function: otherwise the global seed would come in.
        key = tf.bitcast(random.fold_in(seed, -1 - number), tf.int64)
        return splits.train.shuffle(SHUFFLE_BUFFER, seed=key, reshuffle_each_iteration=False)

    def decode(number, example):
        x, *rest = example
        return splits.decode(x, random.fold_in(seed, number)), *rest

    passes = tf.data.Dataset.range(first_pass, tf.int64.max)
    examples = passes.flat_map(one_pass).skip(within).enumerate(first)
    examples = examples.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    return examples.batch(batch_size, drop_remainder=True)
