"""Scenes of digits: what their pixels are of."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from tiny import rows

from ecl_tf import data


def test_a_scene_of_one_digit_is_an_image_of_scikit_learns():
    digits = (3, 8)
    splits = data.digit_scenes(20, 5, 6, digits, count=1, noise=0.0)
    assert splits.event_size == 3 and splits.class_names == ("background", "3", "8")
    bunch = load_digits()
    ink = bunch.images / 16
    for part, size in {"train": 20, "validation": 5, "test": 6}.items():
        images, labels = rows(getattr(splits, part))
        assert images.shape == (size, 16, 16, 1) and images.dtype == "float32"
        for image, classes in zip(images[..., 0], labels, strict=True):
            (own,) = set(np.unique(classes)) - {0, 255}
            assert (image[classes == 0] == 0).all() and (image[classes != 0] > 0).all()
            brightness = image.max()
            assert 0.5 < brightness <= 1.0
            candidates = ink[bunch.target == digits[own - 1]]
            # The digit's visible pixels, wherever it is, at some brightness.
            shapes = np.sort(np.where(candidates >= 0.2, candidates, 0).reshape(-1, 64), 1)
            shape = np.sort(image.ravel())[-64:]
            scale = shape.max() / np.maximum(shapes.max(1, keepdims=True), 1e-9)
            assert np.abs(shapes * scale - shape).max(1).min() < 1e-5


def test_parts_share_no_digit_and_the_test_does_not_depend_on_the_training_size():
    few, many = (data.digit_scenes(size, 5, 6, seed=1) for size in (4, 9))
    for part in ("validation", "test"):
        for own, its in zip(rows(getattr(few, part)), rows(getattr(many, part)), strict=True):
            np.testing.assert_array_equal(own, its)
    images, labels = rows(many.train)
    assert (
        images.min() >= 0.0 and images.max() <= 1.0 and set(np.unique(labels)) <= {*range(5), 255}
    )
    for wrong in ({"digits": (1, 10)}, {"digits": (1, 1)}, {"count": 0}, {"noise": 1.0}):
        with pytest.raises(ValueError, match="digit"):
            data.digit_scenes(**wrong)
