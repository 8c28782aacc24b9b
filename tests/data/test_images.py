"""Image data sets from mocked and from small prepared copies; no real image is needed.

The pictures of the crops' tests encode their coordinates: red grows from 0 on the left to
255 on the right, green from 0 at the top to 255 at the bottom. Whatever a crop did can be
read off its result by a straight line.
"""

import io

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_datasets as tfds
from dataset_arrays import arrays, assert_same

from ecl_tf import data
from ecl_tf.data import images

HEIGHT, WIDTH = 300, 400
SHAPES = [(HEIGHT, WIDTH), (WIDTH, HEIGHT)]


def keys(dataset):
    return [image.tobytes() for image in arrays(dataset)[0]]


def gradient(height=HEIGHT, width=WIDTH):
    """A JPEG whose pixels say where they are."""
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    red, green = np.broadcast_arrays(x[None, :], y[:, None])
    pixels = np.stack([red, green, np.full_like(red, 0.5)], -1)
    pixels = np.round(255 * pixels).astype(np.uint8)
    return tf.io.encode_jpeg(pixels, quality=100, chroma_downsampling=False)


def window(image, height=HEIGHT, width=WIDTH):
    """(top, left, height, width, mirrored) of the crop that an image shows, in pixels."""
    image = np.asarray(image, np.float64) / 255

    def line(values, extent):
        centres = (np.arange(len(values)) + 0.5) / len(values)
        inside = slice(3, -3)  # Where the resizing's filter meets no edge.
        slope, start = np.polyfit(centres[inside], values[inside], 1)
        return extent * start, extent * slope

    left, w = line(image[..., 0].mean(0), width)
    top, h = line(image[..., 1].mean(1), height)
    return top, min(left, left + w), h, abs(w), w < 0


# Small images


@pytest.mark.parametrize(
    ("load", "shape", "classes"),
    [(data.cifar100, (32, 32, 3), 100), (data.fashion_mnist, (28, 28, 1), 10)],
)
def test_small_images_are_bytes_in_three_parts(load, shape, classes):
    splits = load(validation_size=6, mock_examples=20)
    assert splits.input_shape == shape and splits.event_size == classes
    parts = splits.train, splits.validation, splits.test
    assert [int(part.cardinality()) for part in parts] == [14, 6, 20]
    for part in parts:
        pixels, labels = arrays(part)
        assert pixels.shape[1:] == shape and pixels.dtype == np.uint8
        assert labels.dtype == np.int64 and labels.min() >= 0 and labels.max() < classes


def test_training_and_validation_are_disjoint_and_complete_and_follow_the_seed():
    with tfds.testing.mock_data(20):
        stored = tfds.load("cifar10", split="train", as_supervised=True)
    label_of = {image.tobytes(): label for image, label in stored.as_numpy_iterator()}
    first, some, other = (
        data.cifar10(train_size=size, validation_size=6, seed=seed, mock_examples=20)
        for size, seed in ((None, 0), (5, 0), (None, 1))
    )
    both = first.train.concatenate(first.validation)
    assert sorted(keys(both)) == sorted(label_of) and len(label_of) == 20
    assert [label_of[key] for key in keys(both)] == arrays(both)[1].tolist()
    # A training size leaves validation as it is.
    assert_same(some.validation, first.validation)
    assert_same(some.train, first.train.take(5))
    assert set(keys(first.validation)) != set(keys(other.validation))
    assert_same(first.test, other.test)


# 5,000, the default for validation, are more than there are.
@pytest.mark.parametrize(("train", "validation"), [(None, 0), (0, 5), (16, 5), (None, 5000)])
def test_impossible_sizes_are_refused(train, validation):
    with pytest.raises(ValueError, match=r"train_size=.*at least 1.*at most 20.*'cifar10'"):
        data.cifar10(train, validation, mock_examples=20)


def test_without_shift_images_are_mirrored_only():
    splits = data.cifar10(validation_size=6, max_shift=0, mock_examples=20)
    batch = tf.random.stateless_uniform((64, 32, 32, 3), (0, 1))
    changed = splits.augment(batch, 3).numpy()
    mirrored = np.all(changed == batch[:, :, ::-1], axis=(1, 2, 3))
    kept = np.all(changed == batch, axis=(1, 2, 3))
    assert np.all(mirrored ^ kept) and 16 < mirrored.sum() < 48


@pytest.mark.parametrize("augment", [True, False])
def test_training_batches_of_small_images_are_augmented_floats(augment):
    splits = data.cifar10(validation_size=4, augment=augment, mock_examples=20)
    originals = arrays(splits.train)[0] / 255
    x, labels = next(data.training_batches(splits, 8, seed=0).as_numpy_iterator())
    assert x.shape == (8, 32, 32, 3) and x.dtype == np.float32 and labels.shape == (8,)
    assert x.min() >= 0 and x.max() <= 1
    # Random pixels fit an original in one place only: few images are shown as they were.
    whole = [np.isclose(originals, image, atol=1e-6).all((1, 2, 3)).any() for image in x]
    assert sum(whole) < 4 if augment else all(whole)


# Shift and mirror


def test_shifted_images_are_numpys_and_all_choices_equally_likely():
    image = np.random.default_rng(0).integers(1, 256, (10, 7, 2), dtype=np.uint8)
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    choice_of = {}
    for row, column in np.ndindex(9, 9):
        crop = padded[row : row + 10, column : column + 7]
        choice_of[crop.tobytes()] = row, column, 0
        choice_of[crop[:, ::-1].tobytes()] = row, column, 1
    assert len(choice_of) == 162
    shifted = images.shift_and_mirror(tf.constant(np.stack([image] * 2000)), 3).numpy()
    assert shifted.shape == (2000, 10, 7, 2) and shifted.dtype == np.uint8
    found = np.zeros((9, 9, 2))
    np.add.at(found, tuple(np.transpose([choice_of[one.tobytes()] for one in shifted])), 1)
    for axes in ((1, 2), (0, 2), (0, 1)):
        assert scipy.stats.chisquare(found.sum(axes)).pvalue > 1e-3
    for axis in range(3):  # Any two are independent of each other.
        assert scipy.stats.chi2_contingency(found.sum(axis)).pvalue > 1e-3


def test_shift_and_mirror_is_pure_in_its_seed():
    batch = tf.constant(np.random.default_rng(1).integers(0, 256, (20, 6, 6, 1), dtype=np.uint8))
    first = images.shift_and_mirror(batch, 0)
    tf.random.set_seed(99)
    compiled = tf.function(images.shift_and_mirror)(batch, tf.constant([0, 0]))
    np.testing.assert_array_equal(first, images.shift_and_mirror(batch, 0))
    np.testing.assert_array_equal(first, compiled)
    assert not np.array_equal(first, images.shift_and_mirror(batch, 1))


# Crops


def test_random_crops_have_the_documented_areas_and_aspects():
    encoded = gradient()

    def crop(number):
        return images.random_crop_and_mirror(encoded, tf.stack([number, 5]), 64)

    crops = arrays(tf.data.Dataset.range(200).map(lambda n: (crop(tf.cast(n, tf.int32)), n)))[0]
    assert crops.shape == (200, 64, 64, 3) and crops.dtype == np.uint8
    top, left, height, width, mirrored = np.array([window(one) for one in crops]).T
    area, aspect = height * width / (HEIGHT * WIDTH), width / height
    # The whole range is used, and the window lies within the picture.
    assert 0.08 * 0.93 < area.min() < 0.15 and 0.7 < area.max() < 1.02
    assert 3 / 4 * 0.96 < aspect.min() < 0.85 and 1.2 < aspect.max() < 4 / 3 * 1.04
    assert min(top.min(), left.min()) > -3
    assert (top + height).max() < HEIGHT + 3 and (left + width).max() < WIDTH + 3
    assert np.std(left) > 20 and np.std(top) > 20
    # The standard deviation of the share is 0.035.
    assert mirrored.mean() == pytest.approx(0.5, abs=0.14)


@pytest.mark.parametrize("channels", [1, 3])
def test_random_crops_of_odd_pictures(channels):
    """Grey ones, and those smaller than the result and too long for the aspect."""
    encoded = tf.io.encode_jpeg(np.full((2, 40, channels), 77, np.uint8), quality=100)
    for number in range(5):
        image = images.random_crop_and_mirror(encoded, tf.constant([number, 0]), 8)
        assert image.shape == (8, 8, 3)
        np.testing.assert_allclose(image, 77, atol=2)


# ImageNet


def test_mocked_imagenet():
    splits = data.imagenet2012(validation_size=4, image_size=32, mock_examples=12)
    assert splits.input_shape == (32, 32, 3) and splits.event_size == 1000
    assert splits.train.element_spec[0].dtype == tf.string
    for part in (splits.validation, splits.test):
        pixels, labels = arrays(part.take(2))
        assert pixels.shape == (2, 32, 32, 3) and pixels.dtype == np.uint8
        assert labels.dtype == np.int64 and labels.max() < 1000
    x, labels = next(iter(data.training_batches(splits, 4, seed=0)))
    assert x.shape == (4, 32, 32, 3) and x.dtype == tf.float32 and labels.shape == (4,)


@pytest.fixture(scope="module")
def imagenet_copy(tmp_path_factory):
    """A TFDS copy of 40 and 6 gradients, by turns wide and high; their labels are numbers."""
    directory = tmp_path_factory.mktemp("tfds")
    encoded = [gradient(*shape).numpy() for shape in SHAPES]

    def examples(numbers):
        for n in numbers:
            yield n, {"image": io.BytesIO(encoded[n % 2]), "label": n, "file_name": f"{n}.JPEG"}

    features = {
        "image": tfds.features.Image(encoding_format="jpeg"),
        "label": tfds.features.ClassLabel(num_classes=1000),
        "file_name": tfds.features.Text(),
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        "imagenet2012",
        "5.1.0",
        tfds.features.FeaturesDict(features),
        {"train": examples(range(40)), "validation": examples(range(900, 906))},
        data_dir=directory,
        download_config=tfds.download.DownloadConfig(num_shards=5),
    )
    return directory


def test_imagenets_parts_are_disjoint_and_complete_or_refused(imagenet_copy):
    splits, fewer = (
        data.imagenet2012(size, validation_size=7, image_size=16, data_dir=imagenet_copy)
        for size in (None, 10)
    )
    validation, test = (arrays(part)[1].tolist() for part in (splits.validation, splits.test))
    train, some = ([int(label) for _, label in part.train] for part in (splits, fewer))
    assert int(splits.train.cardinality()) == len(train) == 33
    assert sorted(train + validation) == list(range(40)) and len(validation) == 7
    assert sorted(test) == list(range(900, 906))
    assert_same(splits.validation, fewer.validation)
    assert len(set(some)) == 10 and set(some) <= set(train)
    with pytest.raises(ValueError, match=r"train_size=.*at least 1.*at most 40.*'imagenet2012'"):
        data.imagenet2012(data_dir=imagenet_copy)


def test_imagenets_batches_are_decoded_shuffled_and_reproducible(imagenet_copy):
    splits = data.imagenet2012(validation_size=8, image_size=16, data_dir=imagenet_copy)
    runs = [data.training_batches(splits, 8, seed=seed).unbatch() for seed in (0, 0, 1)]
    assert runs[0].element_spec[0].shape == (16, 16, 3)
    assert_same(*(run.take(16) for run in runs[:2]))
    runs = runs[0].take(64), *(run.take(16) for run in runs[1:])
    pictures, labels = arrays(runs[0])
    assert pictures.dtype == np.float32 and pictures.min() >= 0 and pictures.max() <= 1
    assert [len(set(one)) for one in labels.reshape(2, 32)] == [32, 32]
    assert not np.array_equal(labels[:16], arrays(runs[2])[1])
    # A picture that comes again is cropped anew.
    for first, second in (np.flatnonzero(labels == label) for label in set(labels)):
        assert not np.array_equal(pictures[first], pictures[second])


def test_imagenets_passes_are_the_same_however_often_its_files_were_read(imagenet_copy):
    splits = data.imagenet2012(validation_size=8, image_size=16, data_dir=imagenet_copy)
    assert len(splits.examples.ids) == 32
    first, second = ([int(label) for _, label in splits.train] for _ in range(2))
    assert first == second and sorted(set(first)) != first
    whole = [labels.numpy() for _, labels in data.training_batches(splits, 8, seed=0).take(8)]
    continued = data.training_batches(splits, 8, seed=0, first_step=5).take(3)  # In pass 1.
    np.testing.assert_array_equal([labels.numpy() for _, labels in continued], whole[5:])


def test_validation_and_test_show_the_central_square(imagenet_copy):
    splits = data.imagenet2012(validation_size=7, image_size=64, data_dir=imagenet_copy)
    side = 0.875 * min(HEIGHT, WIDTH)
    for image, label in splits.validation.concatenate(splits.test).as_numpy_iterator():
        shape = SHAPES[label % 2]
        top, left, height, width, mirrored = window(image, *shape)
        assert not mirrored
        assert [height, width] == pytest.approx([side, side], abs=2)
        assert [top, left] == pytest.approx([(n - side) / 2 for n in shape], abs=2)


def test_imagenets_training_examples_are_found_by_their_ids(imagenet_copy):
    splits = data.imagenet2012(validation_size=7, image_size=16, data_dir=imagenet_copy)
    encoded, labels = splits.examples(tf.range(splits.examples.count))
    found = dict(zip(labels.numpy().tolist(), encoded.numpy().tolist(), strict=True))
    assert found == {int(label): image.numpy() for image, label in splits.train}
    assert splits.examples.ids[0].startswith(b"imagenet2012-train.tfrecord-")
