"""Image classification by `tensorflow_datasets` (TFDS): small images, and ImageNet streamed.

The copy in `data_dir` is read. TFDS downloads what is not there yet, or asks for it.

References: the augmentation of small images is that of He et al., "Deep Residual Learning
for Image Recognition", 2015, section 4.2; the random crop of ImageNet that of Szegedy et
al., "Going Deeper with Convolutions", 2014, section 6.
"""

import contextlib
import functools
import inspect

import numpy as np
import tensorflow as tf

from ecl_tf._internal import random
from ecl_tf.data.indexed import IndexedExamples
from ecl_tf.data.splits import Splits, in_memory


def small_images(
    name: str,
    train_size: int | None = None,
    validation_size: int = 5000,
    augment: bool = True,
    max_shift: int = 4,
    seed: int = 0,
    data_dir: str | None = None,
    mock_examples: int = 0,
) -> Splits:
    """Classification of small images: uint8 (height, width, channels) to a class.

    All training images are decoded into memory once.

    Args:
        name: of a TFDS data set with the splits "train" and "test" and equal image sizes;
            `cifar10`, `cifar100` and `fashion_mnist` have theirs.
        train_size: the number of training images; None, the default, takes all that
            validation leaves.
        validation_size: the number of images held out of the training split; 5,000 by default.
        augment: whether training images are shifted (padded with zeros and cropped) and
            mirrored at random; True by default.
        max_shift: by how many pixels at most, in each direction; 4 by default, and with 0
            images are mirrored only.
        seed: of the choice of training and validation images; 0 by default. The test split
            is TFDS's.
        data_dir: where TFDS keeps its data; None, the default, is the environment's
            TFDS_DATA_DIR or ~/tensorflow_datasets.
        mock_examples: with n > 0, n random images stand for each split, to try a
            configuration without the data; 0 by default.

    Returns:
        `Splits` of examples (image, class); what is left is spare.

    Raises:
        ValueError: if the sizes don't fit the data.
    """
    with _mocked(mock_examples) as tfds:
        (stored, test), info = tfds.load(
            name, split=["train", "test"], data_dir=data_dir, as_supervised=True, with_info=True
        )
        images, labels = in_memory(stored)
    classes = info.features["label"].num_classes
    rows = len(labels)
    train_size = _train_size(train_size, validation_size, rows, name)
    order = np.random.default_rng(seed).permutation(rows)
    validation, train, spare = (
        tf.data.Dataset.from_tensor_slices((tf.gather(images, part), tf.gather(labels, part)))
        if len(part)
        else None
        for part in np.split(order, [validation_size, validation_size + train_size])
    )
    vary = functools.partial(shift_and_mirror, max_shift=max_shift) if augment else None
    return Splits(train, validation, test, classes, augment=vary, spare=spare)


def _of(name):
    """`small_images` of one data set, with a signature and a help of its own."""

    @functools.wraps(small_images)
    def load(*arguments, **named):
        return small_images(name, *arguments, **named)

    _, *parameters = inspect.signature(small_images).parameters.values()
    signature = inspect.Signature(parameters, return_annotation=Splits)
    load.__signature__ = signature  # type: ignore[attr-defined]
    load.__name__ = load.__qualname__ = name
    return load


cifar10 = _of("cifar10")
cifar100 = _of("cifar100")
fashion_mnist = _of("fashion_mnist")


def imagenet2012(
    train_size: int | None = None,
    validation_size: int = 10_000,
    image_size: int = 224,
    data_dir: str | None = None,
    mock_examples: int = 0,
) -> Splits:
    """ImageNet: uint8 image (image_size, image_size, 3) to one of 1,000 classes.

    Training images stay encoded until they are drawn, and pass through a shuffle buffer
    of `splits.SHUFFLE_BUFFER` of them: memory does not grow with the data. Each is
    cropped to a random part of 8 to 100 % of its area and 3/4 to 4/3 of its aspect, resized
    and mirrored at random. For validation and test, the central square of 87.5 % of the
    shorter side is resized. The test split is ImageNet's validation split, whose labels
    are public; validation is held out of the training split.

    Args:
        train_size: the number of training images; None, the default, takes all that
            validation leaves.
        validation_size: the number of images held out of the training split; 10,000 by
            default.
        image_size: pixels of each side; 224 by default.
        data_dir: where TFDS keeps its data; None, the default, as in `cifar10`.
        mock_examples: with n > 0, n random images stand for each split; 0 by default.

    Returns:
        `Splits` of examples (image, class); of `train` the images are JPEG strings.

    Raises:
        ValueError: if the sizes don't fit the data.
    """
    with _mocked(mock_examples) as tfds:
        if mock_examples:
            stop = ""  # Mocked splits can't be cut.
        else:
            builder = tfds.builder("imagenet2012", data_dir=data_dir)
            builder.download_and_prepare()
            rows = builder.info.splits["train"].num_examples
            stop = validation_size + _train_size(train_size, validation_size, rows, "imagenet2012")

        def read(split, shuffle_files=False):
            return tfds.load(
                "imagenet2012",
                split=split,
                data_dir=data_dir,
                as_supervised=True,
                shuffle_files=shuffle_files,
                decoders={"image": tfds.decode.SkipDecoding()},
                read_config=tfds.ReadConfig(
                    interleave_cycle_length=16,
                    shuffle_seed=0,
                    # Each pass shuffles a fixed order anew, so that a continued run finds its own.
                    shuffle_reshuffle_each_iteration=False,
                ),
            )

        part = f"train[{validation_size}:{stop}]"
        train = read(part, shuffle_files=True)
        examples = None if mock_examples else _indexed(builder, part)
        held_out = read(f"train[:{validation_size}]"), read("validation")
    validation, test = (
        dataset.map(
            lambda encoded, label: (_central_crop(encoded, image_size), label),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        for dataset in held_out
    )
    decode = functools.partial(random_crop_and_mirror, image_size=image_size)
    return Splits(train, validation, test, 1000, decode=decode, examples=examples)


def _indexed(builder, split):
    """The examples of a TFDS split (encoded image, label), found by their `tfds_id`."""
    import tensorflow_datasets as tfds

    def parse(record):
        found = builder.info.features.deserialize_example(
            record, decoders={"image": tfds.decode.SkipDecoding()}
        )
        return found["image"], found["label"]

    instructions = builder.info.splits[split].file_instructions
    parts = [(each.filename, each.skip, each.take) for each in instructions]
    return IndexedExamples(parts, parse)


def _train_size(train_size, validation_size, rows, name):
    """The number of training images, checked against the data's."""
    left = rows - validation_size
    train_size = left if train_size is None else train_size
    if validation_size < 1 or not 1 <= train_size <= left:
        raise ValueError(
            f"train_size={train_size} and validation_size={validation_size} must be at least 1 "
            f"each, and at most {rows} together: so many training images {name!r} has."
        )
    return train_size


def shift_and_mirror(images: tf.Tensor, seed: int | tf.Tensor, max_shift: int = 4) -> tf.Tensor:
    """Shifts each image of a batch and mirrors every other one.

    Args:
        images: (batch, height, width, channels).
        seed: integer, or an integer tensor of shape (2,).
        max_shift: pixels; 4, the default, is the padding before the reference's random crop.
    """
    shift, mirror = random.split(random.seed_tensor(seed), 2)
    batch, (height, width) = tf.shape(images)[0], images.shape[1:3]
    padding = [[0, 0], [max_shift, max_shift], [max_shift, max_shift], [0, 0]]
    offsets = tf.cast(random.uniform(shift, (2, batch)) * (2 * max_shift + 1), tf.int32)
    rows = offsets[0][:, None] + tf.range(height)
    columns = offsets[1][:, None] + tf.range(width)
    mirrored = random.uniform(mirror, (batch, 1)) < 0.5
    columns = tf.where(mirrored, columns[:, ::-1], columns)
    cropped = tf.gather(tf.pad(images, padding), rows, axis=1, batch_dims=1)
    return tf.gather(cropped, columns, axis=2, batch_dims=1)


def random_crop_and_mirror(encoded: tf.Tensor, seed: tf.Tensor, image_size: int) -> tf.Tensor:
    """Decodes a random part of a JPEG, resizes it to a square, and mirrors every other one.

    Args:
        encoded: scalar string, a JPEG image.
        seed: integer tensor of shape (2,).
        image_size: pixels of each side.

    Returns:
        uint8 (image_size, image_size, 3).
    """
    crop, mirror = random.split(seed, 2)
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.image.extract_jpeg_shape(encoded),
        bounding_boxes=tf.zeros((1, 0, 4)),
        seed=crop,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    image = _decode_window(encoded, begin[:2], size[:2], image_size)
    return tf.image.stateless_random_flip_left_right(image, mirror)


def _central_crop(encoded, image_size):
    shape = tf.image.extract_jpeg_shape(encoded)[:2]
    side = tf.cast(0.875 * tf.cast(tf.reduce_min(shape), tf.float32), tf.int32)
    side = tf.maximum(side, 1)
    return _decode_window(encoded, (shape - side) // 2, tf.stack([side, side]), image_size)


def _decode_window(encoded, begin, size, image_size):
    """Decodes a window of a JPEG only, and resizes it."""
    image = tf.image.decode_and_crop_jpeg(encoded, tf.concat([begin, size], 0), channels=3)
    image = tf.image.resize(image, (image_size, image_size), antialias=True)
    image = tf.ensure_shape(image, (image_size, image_size, 3))
    return tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)


@contextlib.contextmanager
def _mocked(examples):
    """Yields tensorflow_datasets, which with examples > 0 gives so many random ones."""
    # Here, because scripts that need no data set of TFDS should not wait for its import.
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(examples) if examples else contextlib.nullcontext():
        yield tfds
