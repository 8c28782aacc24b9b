"""The embedded data sets, against scikit-learn's and SciPy's own."""

import numpy as np
import pytest
from dataset_arrays import arrays, assert_same
from scipy import ndimage
from sklearn.datasets import load_digits

from ecl_tf import data


def test_digits_are_scikit_learns_in_three_disjoint_parts():
    bunch = load_digits()
    keys = [image.tobytes() for image in bunch.images / 16]
    label_of = dict(zip(keys, bunch.target, strict=True))
    splits = data.digits(train_size=900, validation_size=300)
    seen = []
    for dataset in (splits.train, splits.validation, splits.test):
        images, labels = arrays(dataset)
        assert images.shape[1:] == (8, 8, 1) and images.dtype == np.float32
        found = [image.tobytes() for image in images.astype("float64")]
        assert [label_of[key] for key in found] == labels.tolist()
        seen += found
    assert (len(set(seen)), len(seen)) == (1797, 1797)
    assert splits.input_shape == (8, 8, 1) and splits.event_size == 10 and splits.spare is None


def test_sizes_and_stratification_and_the_test_split_is_always_the_same():
    small = data.digits(train_size=200, validation_size=300)
    labels = [arrays(part)[1] for part in (small.train, small.validation, small.test)]
    assert [len(part) for part in labels] == [200, 300, 597]
    both, all_of_them = (
        [x.tobytes() for x in arrays(d)[0]]
        for d in (small.train.concatenate(small.spare), data.digits().train)
    )
    assert sorted(both) == sorted(all_of_them)
    share = np.bincount(load_digits().target) / 1797
    for part in labels:
        np.testing.assert_allclose(np.bincount(part) / len(part), share, atol=0.01)
    assert_same(small.test, data.digits().test)


def test_a_few_images_may_be_left():
    splits = data.digits(train_size=895, validation_size=300)
    assert [len(splits.train), len(splits.spare)] == [895, 5]
    keys = [x.tobytes() for x in arrays(splits.train.concatenate(splits.spare))[0]]
    assert sorted(keys) == sorted(x.tobytes() for x in arrays(data.digits().train)[0])


def test_loading_is_deterministic_and_follows_the_seed():
    first, again, other = (data.rotated_digits(100, seed=s).train for s in (0, 0, 1))
    assert_same(first, again)
    assert not np.array_equal(arrays(first)[1], arrays(other)[1])


def test_rotated_digits_are_originals_turned_by_their_angle():
    images, angles = arrays(data.rotated_digits(train_size=50).train)
    originals = np.pad(load_digits().images / 16, ((0, 0), (2, 2), (2, 2)))
    assert images.shape == (50, 12, 12, 1) and angles.shape == (50, 1)
    for image, angle in zip(images[:3], angles[:3], strict=True):
        turned = ndimage.rotate(
            originals, np.degrees(angle[0]), axes=(2, 1), reshape=False, order=1
        )
        assert np.abs(turned - image[..., 0]).max((1, 2)).min() < 1e-5


def test_angles_are_uniform_in_radians():
    angles = arrays(data.rotated_digits(900, copies=2, max_angle=60.0).train)[1]
    assert angles.shape == (1800, 1)
    assert np.abs(angles).max() <= np.radians(60.0)
    assert angles.std() == pytest.approx(np.radians(120.0) / np.sqrt(12), rel=0.05)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("digits", {"train_size": 1000}, "at most 1200"),
        ("digits", {"train_size": 5}, "at most 1200"),
        ("digits", {"validation_size": 0}, "at most 1200"),
        ("rotated_digits", {"max_angle": 181.0}, "max_angle"),
        ("rotated_digits", {"copies": 0}, "max_angle"),
        ("mnist", {}, r"Unknown data set 'mnist'.*rotated_digits"),
        ("digits", {"size": 3}, r"no arguments \['size'\].*train_size"),
        ("ecl_tf.data.digits:letters", {}, r"Unknown data set 'ecl_tf\.data\.digits:letters'"),
    ],
)
def test_impossible_names_and_arguments_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        data.load(name, **arguments)


def test_a_function_of_ones_own_is_loaded_by_its_module():
    assert data.load("ecl_tf.data.digits:rotated_digits", train_size=20).event_size == 1
