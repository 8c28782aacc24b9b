"""scikit-learn's handwritten digits, the data set that travels with the project.

1,797 real 8x8 grey images of ten digits (UCI "Optical Recognition of Handwritten
Digits", test part, CC BY 4.0). They come with scikit-learn: no network is needed.
"""

import numpy as np
import tensorflow as tf

from ecl_tf.data.splits import Splits

_PADDING = 2  # Pixels on each side, so that a rotated digit keeps its corners.


def digits(train_size: int = 900, validation_size: int = 300, seed: int = 0) -> Splits:
    """Classification: image (8, 8, 1) in [0, 1] to digit, an integer from 0 to 9.

    Args:
        train_size: the number of training images, 900 by default; at most 1,200 together with
            the validation images. The other 597 of the 1,797 images are the test split.
        validation_size: the number of validation images, 300 by default.
        seed: of the split, which is stratified by digit, but where less than 10 images are left; 0
            by default.

    Returns:
        `Splits` of examples (image, digit), with event size 10; what is left is spare.

    Raises:
        ValueError: if a size is less than 10, or both are more than 1,200 together.

    Example:
    >>> digits(train_size=200).input_shape
    (8, 8, 1)
    """
    images, labels = load_digits()
    parts = split_digits(labels, train_size, validation_size, seed)
    train, validation, test, spare = (
        _dataset(images[part], labels[part]) if len(part) else None for part in parts
    )
    return Splits(train, validation, test, event_size=10, spare=spare)


def rotated_digits(
    train_size: int = 900,
    validation_size: int = 300,
    copies: int = 1,
    max_angle: float = 90.0,
    seed: int = 0,
) -> Splits:
    """Regression: rotated image (12, 12, 1) in [0, 1] to its angle in radians, (1,).

    Every image is padded and turned anticlockwise by an angle drawn uniformly between
    -max_angle and max_angle degrees, by bilinear interpolation. The angle of a 0 is hard
    to tell, and that of an 8 or a 1 is ambiguous near a right angle.

    Args:
        train_size: the number of training images before copies, 900 by default.
        validation_size: as in `digits`, 300 by default.
        copies: how often each training image appears, each time with another angle; 1 by
            default.
        max_angle: in degrees, above 0 and at most 180; 90 by default.
        seed: of the split and of the angles; 0 by default.

    Returns:
        `Splits` of examples (image, angle), with event size 1. No image is in two
        splits, whatever its angle; what is left is spare.

    Raises:
        ValueError: if an argument is out of its range.
    """
    if not 0.0 < max_angle <= 180.0 or copies < 1:
        raise ValueError(
            f"rotated_digits needs 0 < max_angle <= 180 and copies >= 1; got {max_angle} and "
            f"{copies}."
        )
    images, labels = load_digits()
    parts = split_digits(labels, train_size, validation_size, seed)
    generator = np.random.default_rng(seed)

    def turn(part):
        angles = generator.uniform(-max_angle, max_angle, len(part))
        turned = np.stack([_rotate(images[i], a) for i, a in zip(part, angles, strict=True)])
        return _dataset(turned, np.radians(angles)[:, None].astype("float32"))

    # In this order, so that neither copies nor sizes change the test.
    test, validation = turn(parts[2]), turn(parts[1])
    train, spare = (
        turn(np.tile(part, copies)) if len(part) else None for part in (parts[0], parts[3])
    )
    return Splits(train, validation, test, event_size=1, spare=spare)


def load_digits():
    """Returns the images (1797, 8, 8) in [0, 1], and their digits."""
    from sklearn import datasets

    bunch = datasets.load_digits()
    return (bunch.images / 16.0).astype("float32"), bunch.target.astype("int64")


def split_digits(labels, train_size, validation_size, seed):
    """Indices of the three parts and of what is left; the test part depends on the seed alone."""
    from sklearn.model_selection import train_test_split

    development, test = train_test_split(
        np.arange(len(labels)), test_size=597, random_state=seed, stratify=labels
    )
    if train_size < 10 or validation_size < 10 or train_size + validation_size > len(development):
        raise ValueError(
            f"train_size={train_size} and validation_size={validation_size} must be at least "
            f"10 each, and at most {len(development)} together: the other {len(test)} of the "
            f"{len(labels)} images are the test split."
        )
    rest, validation = train_test_split(
        development, test_size=validation_size, random_state=seed, stratify=labels[development]
    )
    spare = rest[:0]
    if train_size < len(rest):
        few = len(rest) - train_size < 10  # Not one of each digit.
        rest, spare = train_test_split(
            rest, train_size=train_size, random_state=seed, stratify=None if few else labels[rest]
        )
    return rest, validation, test, spare


def _rotate(image, angle):
    from scipy import ndimage

    padded = np.pad(image, _PADDING)
    return ndimage.rotate(padded, angle, reshape=False, order=1).clip(0.0, 1.0)


def _dataset(images, labels):
    return tf.data.Dataset.from_tensor_slices((images[..., None], labels))
