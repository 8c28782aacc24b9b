"""What every data set is loaded as, and how it becomes batches.

Images stay uint8 until they are batched; networks and samplers see them as float32 in
[0, 1]. What fits into memory is read once and batched by gathering rows; what does not
is streamed from its files through a bounded shuffle buffer.
"""

import dataclasses
import functools
import itertools
import math
import numbers
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import random
from ecl_tf.data.columns import Columns
from ecl_tf.data.indexed import IndexedExamples

# Examples, as they are stored: 8,192 JPEG files of ImageNet are 0.9 GB.
SHUFFLE_BUFFER = 8192
_AHEAD_BYTES, _AHEAD = 2**26, 32
_GATHERED_BYTES, _GATHERED_STEPS = 2**20, 16
_SEEN = 64  # Images that tell of a range.
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


def require_usable(splits: Splits, name: str) -> None:
    """Reads the numbers of each part once.

    Args:
        splits: what a data set was loaded as.
        name: of the data set, for messages.

    Raises:
        ValueError: if a part is empty, without end, or of an unknown length where that matters, if
            an input or a label is NaN or infinite, naming the part and the place, if inputs are
            arrays of text, a label is none of `event_size` classes, examples are batched or of
            other shapes than those to train on, or if images are from 0 to 255 and not uint8.
    """
    if not isinstance(splits, Splits):
        raise ValueError(
            f"The data set {name!r} is {type(splits).__name__}; its function must return "
            "ecl_tf.data.Splits."
        )
    if not isinstance(splits.event_size, numbers.Integral) or splits.event_size < 1:
        raise ValueError(
            f"The data set {name!r} has event_size={splits.event_size!r}; expected the number of "
            "classes or of target dimensions."
        )
    parts = ("train", "validation", "test", "spare")
    for part in parts[:-1]:
        _require_pairs(getattr(splits, part), f"The {part} split of {name!r}")
    if splits.spare is not None:
        _require_spare(splits.spare, f"The spare split of {name!r}")
    for part in parts if splits.spare is not None else parts[:-1]:
        dataset = getattr(splits, part)
        length = int(dataset.cardinality())
        streamed = part == "train" and splits.decode is not None
        wanted = "expected a tf.data.Dataset of single examples that ends"
        if length in (0, tf.data.INFINITE_CARDINALITY):
            what = "without end" if length else "empty"
            raise ValueError(f"The {part} split of {name!r} is {what}; {wanted}.")
        unknown = length == tf.data.UNKNOWN_CARDINALITY
        if part in ("train", "spare") and unknown and not streamed:
            raise ValueError(
                f"The {part} split of {name!r} is of unknown length; {wanted}. If it has n "
                "examples, say dataset.apply(tf.data.experimental.assert_cardinality(n))."
            )
        leaves = keras.tree.flatten(dataset.element_spec)
        what = f"The {part} split of {name!r}"
        _require_numbers(dataset.element_spec[0], what)
        _require_single(dataset.element_spec, splits.train.element_spec, what, streamed)
        if splits.columns is not None:  # Its cells were looked at when they were read.
            continue
        if not streamed and any(leaf.dtype.is_floating for leaf in leaves):
            _require_finite(dataset, what)
        if not streamed:
            _require_classes(dataset, splits.event_size, what)
        if (decode := splits.decode) is not None and streamed:
            dataset = dataset.map(lambda x, *rest: (decode(x, tf.constant([0, 0])), *rest))
        _require_images_in_range(dataset, what)
    if splits.decode is None:
        _warn_of_same_rows(splits, name)


def _warn_of_same_rows(splits, name):
    """Warns of parts of one length that begin with the same examples."""
    parts = {part: getattr(splits, part) for part in ("train", "validation", "test")}
    if not splits.has_validation:  # It is said where validation rows are needed.
        del parts["validation"]
    if not all(
        isinstance(leaf, tf.TensorSpec) for leaf in keras.tree.flatten(splits.train.element_spec)
    ):
        return
    lengths = {part: int(dataset.cardinality()) for part, dataset in parts.items()}
    for one, other in itertools.combinations(parts, 2):
        if lengths[one] != lengths[other]:
            continue
        first = _first_rows(parts[one])
        are_alike = len(set(first)) == 1  # As blank images are.
        if not are_alike and first == _first_rows(parts[other]):
            warnings.warn(
                f"The {one} and the {other} split of {name!r} seem to be the same rows, so that "
                f"scores on the {other} split are none of new data. Give each rows of its own.",
                stacklevel=4,
            )


def _first_rows(dataset):
    """The bytes of some examples."""
    return [
        tuple(tf.io.serialize_tensor(leaf).numpy() for leaf in keras.tree.flatten(example))
        for example in dataset.take(_SEEN)
    ]


def _require_numbers(element, what):
    """Refuses images and other arrays of text, or of complex numbers, as inputs."""
    for leaf in keras.tree.flatten(element):
        is_text = leaf.dtype == tf.string and (leaf.shape.rank or 0) > 1
        if is_text or leaf.dtype.is_complex:
            raise ValueError(
                f"{what} has inputs of {leaf.dtype.name} and shape {tuple(leaf.shape)}; expected "
                "numbers: dataset.map(lambda x, y: (tf.strings.to_number(x), y)), say."
            )


def _require_spare(dataset, what):
    """Refuses what is no `tf.data.Dataset` of (inputs,), or of (inputs, label)."""
    element = dataset.element_spec if isinstance(dataset, tf.data.Dataset) else None
    if not isinstance(element, tuple) or len(element) > 2:
        raise ValueError(
            f"{what} is {'a Dataset of other examples' if element else type(dataset).__name__}; "
            "expected a tf.data.Dataset of (inputs,) or (inputs, label). Make it one: "
            "tf.data.Dataset.from_tensor_slices((inputs,)), or dataset.map(lambda x: (x,))."
        )


def _require_pairs(dataset, what):
    """Refuses what is no `tf.data.Dataset` of (inputs, label)."""
    expected = "expected a tf.data.Dataset of single examples (inputs, label)"
    if not isinstance(dataset, tf.data.Dataset):
        raise ValueError(
            f"{what} is a {type(dataset).__name__}; {expected}. Make it one: "
            "tf.data.Dataset.from_tensor_slices((inputs, labels))."
        )
    element = dataset.element_spec
    count = len(element) if isinstance(element, tuple) else 1
    if count == 2 and isinstance(element[1], tf.TensorSpec):
        return
    if count > 2:
        found = f"examples of {count} parts"
        remedy = "Weights of rows are not taken here: dataset.map(lambda x, y, *rest: (x, y))."
    elif count == 2:
        found = f"labels that are no tensor but {element[1]}"
        remedy = "Choose one: dataset.map(lambda x, y: (x, y['name']))."
    else:
        found = "examples without labels"
        remedy = "Training and scores need them. Give (inputs, label)."
        if isinstance(element, dict):
            remedy = "Say which are labels: dataset.map(lambda row: (row['image'], row['label']))."
    raise ValueError(f"{what} has {found}; {expected}. {remedy}")


def _require_single(element, to_train_on, what, streamed):
    """Refuses batches in place of examples, and examples of other shapes than the train split's."""
    leaves = keras.tree.flatten(element)
    if all(leaf.shape.rank and leaf.shape[0] is None for leaf in leaves):
        raise ValueError(f"{what} is batched; expected single examples. Leave batch(...) out.")
    if streamed or len(keras.tree.flatten(to_train_on)) != len(leaves):
        return
    for own, its in zip(leaves, keras.tree.flatten(to_train_on), strict=True):
        if its.dtype != tf.string and not own.shape.is_compatible_with(its.shape):
            raise ValueError(
                f"{what} has examples of shape {tuple(own.shape)}, and the train split "
                f"{tuple(its.shape)}. Give all splits the same."
            )


def _require_classes(dataset, event_size, what):
    """Refuses scalar labels that are none of several classes."""
    element = dataset.element_spec
    if len(element) < 2:  # Of spare examples, which need no labels.
        return
    label = element[1]
    if event_size < 2 or label.shape.rank != 0 or label.dtype == tf.string:
        return
    batches = dataset.map(lambda x, y, *rest: y).batch(4096)
    labels: np.ndarray = np.concatenate([each.numpy() for each in batches])
    wrong = np.flatnonzero((labels < 0) | (labels >= event_size) | (labels != np.floor(labels)))
    if wrong.size:
        raise ValueError(
            f"{what} has the label {labels[wrong[0]]:g} in row {wrong[0]} (from 0); expected class "
            f"indices from 0 to {event_size - 1}, as its event_size={event_size} says."
        )


def _require_finite(dataset, what):
    first = 0
    for batch in dataset.batch(256):
        for path, leaf in keras.tree.flatten_with_path(batch):
            if not isinstance(leaf, tf.Tensor) or not leaf.dtype.is_floating:
                continue
            if len(bad := np.argwhere(~np.isfinite(leaf))):
                kind, *keys = path
                row, *place = bad[0].tolist()
                names = "".join(f"[{key!r}]" for key in keys)
                at = f", at {place[0] if len(place) == 1 else tuple(place)}" if place else ""
                raise ValueError(
                    f"{what} has {leaf[tuple(bad[0])].numpy()} in the "
                    f"{'label' if kind else 'inputs'}{names} of row {first + row} (from 0){at}. "
                    "Remove or fill such values."
                )
        first += len(keras.tree.flatten(batch)[0])


def _require_images_in_range(dataset, what):
    """Refuses images from 0 to 255 that are no uint8, which alone is scaled to [0, 1]."""

    def is_image(leaf):
        is_number = leaf.dtype.is_floating or leaf.dtype.is_integer
        is_unscaled = is_number and leaf.dtype != tf.uint8
        return is_unscaled and leaf.shape.rank == 3 and leaf.shape[-1] in (1, 3, 4)

    specs = keras.tree.flatten_with_path(dataset.element_spec[0])
    images = {tuple(path): number for number, (path, leaf) in enumerate(specs) if is_image(leaf)}
    if not images:
        return
    inputs, *_ = next(iter(dataset.batch(_SEEN)))
    for path, number in images.items():
        leaf = keras.tree.flatten(inputs)[number]
        low, high = (float(f(leaf)) for f in (tf.reduce_min, tf.reduce_max))
        if low >= 0.0 and 128.0 < high <= 255.0:
            name = f" {'/'.join(map(str, path))!r}" if path else ""
            raise ValueError(
                f"{what} has images{name} of {leaf.dtype.name} from {low:g} to {high:g}. Networks "
                "and samplers expect [0, 1], to which only uint8 images are scaled: give "
                "dataset.map(lambda x, y: (x / 255.0, y)), or tf.cast(x, tf.uint8)."
            )


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
    size = next(leaf.shape[0] for leaf in keras.tree.flatten(rows) if leaf is not None)
    validate_batch_size(size, batch_size)
    steps = size // batch_size
    first_pass, within = divmod(first_step, steps)

    @_as_it_is
    def one_pass(number):
        # The seed's own branch, apart from the augmentation's.
        order = tf.random.experimental.stateless_shuffle(
            tf.range(size), random.fold_in(random.fold_in(seed, 0), number)
        )
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
