"""Scenes of scikit-learn's handwritten digits, with a class for every pixel."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ecl_tf.data.digits import load_digits, split_digits
from ecl_tf.data.splits import Splits

SIDE, UNKNOWN = 16, 255
_DIGIT = 8  # Pixels of a digit's side.
_INK, _PAPER = 0.5, 0.2  # From and below which brightness it is clear what a pixel is of.


def digit_scenes(
    train_size: int = 100,
    validation_size: int = 150,
    test_size: int = 300,
    digits: Sequence[int] = (0, 1, 2, 3),
    count: int = 2,
    noise: float = 0.1,
    seed: int = 0,
) -> Splits:
    """Segmentation: image (16, 16, 1) in [0, 1] to a class for every pixel, (16, 16).

    Digits of `ecl_tf.data.digits` are put at random places of a scene, each as bright as a number
    between 0.6 and 1 says, under noise. Class 0 is the background, and class i + 1 is the i-th of
    `digits`. What lies between ink and paper, pixels of a digit with brightness from 0.2 to 0.5, is
    nobody's: its label is 255, unknown, as borders of objects are in many data sets. Where digits
    overlap, the last one is on top.

    Args:
        train_size: the number of training scenes, 100 by default.
        validation_size: the number of validation scenes, 150 by default.
        test_size: the number of test scenes, 300 by default.
        digits: which digits there are; (0, 1, 2, 3) by default.
        count: digits of a scene, 2 by default.
        noise: standard deviation of the noise of a pixel, 0.1 by default; what leaves [0, 1] is
            clipped.
        seed: of the split of the digits' images, and of the scenes; 0 by default.

    Returns:
        `Splits` of examples (image, classes), with event size 1 + the number of digits. No image
        of a digit is in scenes of two splits. `config.output` has `ignore_class` 255.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
    >>> splits = digit_scenes(train_size=20)
    >>> splits.input_shape, splits.event_size, tuple(splits.train.element_spec[1].shape)
    ((16, 16, 1), 5, (16, 16))
    """
    digits = tuple(digits)
    if not set(digits) <= {*range(10)} or len({*digits}) != len(digits) or not digits:
        raise ValueError(f"digits are some of 0 to 9, each once; got {digits}.")
    if min(train_size, validation_size, test_size, count) < 1 or not 0.0 <= noise < 1.0:
        raise ValueError(
            "digit_scenes needs sizes and a count of at least 1, and 0 <= noise < 1; got "
            f"{train_size}, {validation_size}, {test_size}, {count} and {noise}."
        )
    images, labels = load_digits()
    train, validation, test, _ = split_digits(labels, 900, 300, seed)
    random = np.random.default_rng(seed)

    def draw(part, size):
        chosen = part[np.isin(labels[part], digits)]
        scenes = [_scene(images, labels, chosen, digits, count, random) for _ in range(size)]
        pixels = np.stack([scene for scene, _ in scenes])[..., None]
        pixels = (pixels + noise * random.normal(size=pixels.shape)).clip(0.0, 1.0)
        classes = np.stack([its for _, its in scenes])
        return tf.data.Dataset.from_tensor_slices((pixels.astype("float32"), classes))

    # In this order, so that the number of training scenes changes no test.
    tested, validated = draw(test, test_size), draw(validation, validation_size)
    names = ("background", *map(str, digits))
    return Splits(draw(train, train_size), validated, tested, len(names), class_names=names)


def _scene(images, labels, chosen, digits, count, random):
    """An image without noise, and the class of every pixel."""
    scene, classes = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE), "uint8")
    for number in random.choice(chosen, count):
        row, column = random.integers(0, SIDE - _DIGIT + 1, 2)
        place = slice(row, row + _DIGIT), slice(column, column + _DIGIT)
        drawn = images[number]
        is_there = drawn >= _PAPER
        own = np.where(drawn >= _INK, 1 + digits.index(labels[number]), UNKNOWN)
        scene[place] = np.where(is_there, random.uniform(0.6, 1.0) * drawn, scene[place])
        classes[place] = np.where(is_there, own, classes[place])
    return scene, classes
