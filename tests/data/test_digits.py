"""The embedded data sets, against scikit-learn's and SciPy's own."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.datasets import load_digits

from ecl_tf import data


def arrays(dataset):
    inputs, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.stack(inputs), np.stack(labels)


def keys(images):
    return [image.tobytes() for image in images]


def test_digits_are_scikit_learns_in_three_disjoint_parts():
    bunch = load_digits()
    label_of = dict(zip(keys(bunch.images / 16), bunch.target, strict=True))
    splits = data.digits(train_size=900, validation_size=300)
    seen = []
    for dataset in (splits.train, splits.validation, splits.test):
        images, labels = arrays(dataset)
        assert images.shape[1:] == (8, 8, 1) and images.dtype == np.float32
        found = keys(images[..., 0].astype("float64"))
        assert [label_of[key] for key in found] == labels.tolist()
        seen += found
    assert (len(set(seen)), len(seen)) == (1797, 1797)
    assert splits.input_shape == (8, 8, 1) and splits.event_size == 10


def test_sizes_and_stratification_and_the_test_split_is_always_the_same():
    small, large = data.digits(train_size=200, validation_size=300), data.digits(train_size=900)
    labels = [arrays(d)[1] for d in (small.train, small.validation, small.test)]
    assert [len(part) for part in labels] == [200, 300, 597]
    share = np.bincount(load_digits().target) / 1797
    for part in labels:
        np.testing.assert_allclose(np.bincount(part) / len(part), share, atol=0.01)
    np.testing.assert_array_equal(arrays(small.test)[0], arrays(large.test)[0])


def test_loading_is_deterministic_and_follows_the_seed():
    first, again, other = (arrays(data.rotated_digits(100, seed=s).train) for s in (0, 0, 1))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_rotated_digits_are_originals_turned_by_their_angle():
    images, angles = arrays(data.rotated_digits(train_size=50).train)
    originals = np.pad(load_digits().images / 16, ((0, 0), (2, 2), (2, 2)))
    assert images.shape == (50, 12, 12, 1) and angles.shape == (50, 1)
    for image, angle in zip(images[:3], angles[:3], strict=True):
        turned = ndimage.rotate(
            originals, np.degrees(angle[0]), axes=(2, 1), reshape=False, order=1
        )
        distance = np.abs(turned - image[..., 0]).max((1, 2))
        assert distance.min() < 1e-5


def test_angles_are_uniform_in_radians():
    angles = arrays(data.rotated_digits(900, copies=2, max_angle=60.0).train)[1]
    assert angles.shape == (1800, 1)
    assert np.abs(angles).max() <= np.radians(60.0)
    assert angles.std() == pytest.approx(np.radians(120.0) / np.sqrt(12), rel=0.05)


@pytest.mark.parametrize(
    "load, arguments, message",
    [
        (data.digits, {"train_size": 1000}, "at most 1200"),
        (data.digits, {"train_size": 5}, "at most 1200"),
        (data.digits, {"validation_size": 0}, "at most 1200"),
        (data.rotated_digits, {"max_angle": 181.0}, "max_angle"),
        (data.rotated_digits, {"copies": 0}, "max_angle"),
    ],
)
def test_impossible_arguments_are_refused(load, arguments, message):
    with pytest.raises(ValueError, match=message):
        load(**arguments)


def test_load_by_name():
    assert data.load("digits", train_size=20).event_size == 10
    with pytest.raises(ValueError, match=r"Unknown data set 'mnist'.*rotated_digits"):
        data.load("mnist")
    with pytest.raises(ValueError, match=r"no arguments \['size'\].*train_size"):
        data.load("digits", size=3)
    assert data.load("ecl_tf.data.digits:rotated_digits", train_size=20).event_size == 1
    with pytest.raises(ValueError, match=r"Unknown data set 'ecl_tf\.data\.digits:letters'"):
        data.load("ecl_tf.data.digits:letters")
