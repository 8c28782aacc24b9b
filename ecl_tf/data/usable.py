"""What a data set is refused for, or warned of, before anything is trained on it."""

import itertools
import numbers
import re
import warnings

import keras
import numpy as np
import tensorflow as tf

from ecl_tf.data.splits import Splits

_SEEN = 64  # First examples, which tell of a range, and of parts that are the same.


def require_usable(splits: Splits, name: str) -> None:
    """Reads the numbers of each part once.

    Args:
        splits: what a data set was loaded as.
        name: of the data set, for messages.

    Raises:
        ValueError: if a part is empty, without end, or of an unknown length where that matters, if
            an input or a label is NaN or infinite, naming the part and the place, if inputs are
            arrays of text, examples are batched or of other shapes than those to train on, or if
            images are from 0 to 255 and not uint8.
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
        if (decode := splits.decode) is not None and streamed:
            dataset = dataset.map(lambda x, *rest: (decode(x, tf.constant([0, 0])), *rest))
        _require_images_in_range(dataset, what)
    _warn_of_scaled(splits.train.element_spec[0], name)
    _warn_of_batches(splits.train, f"The train split of {name!r}")
    if splits.decode is None:
        _warn_of_same_rows(splits, name)


def _warn_of_scaled(inputs, name):
    """Warns of uint8 inputs that are no images: they are divided by 255 all the same."""
    for leaf in keras.tree.flatten(inputs):
        if leaf.dtype == tf.uint8 and leaf.shape.rank in (0, 1):
            warnings.warn(
                f"The data set {name!r} has inputs of uint8 and shape {tuple(leaf.shape)}, which "
                "are divided by 255, as pixels. If they are none, give ids as int32, and amounts "
                "as float32: tf.cast(x, tf.float32).",
                stacklevel=4,
            )


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


def _warn_of_batches(dataset, what):
    """Warns of batches of one size, which look like examples with a label for each position."""
    leaves = keras.tree.flatten(dataset.element_spec)
    sizes = {tuple(leaf.shape)[:1] if leaf.shape.rank else () for leaf in leaves}
    if leaves[-1].shape.rank != 1 or len(sizes) > 1:
        return
    kinds = []  # From the last step on.
    while len(before := dataset._inputs()) == 1:
        kinds.append(type(dataset).__name__)
        (dataset,) = before
    of_rows = (kind for kind in kinds if re.search("BatchDataset|Unbatch|FlatMap|Interleave", kind))
    if "BatchDataset" in next(of_rows, ""):
        warnings.warn(
            f"{what} is batched, so that an example is of {leaves[-1].shape[0]} rows, a position "
            "each. If these are examples of their own, leave batch(...) out: the commands make "
            "batches themselves.",
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
