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

from ecl_tf import data
from ecl_tf.data import images

HEIGHT, WIDTH = 300, 400
SMALL = [(data.cifar100, (32, 32, 3), 100), (data.fashion_mnist, (28, 28, 1), 10)]


def arrays(dataset):
    inputs, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.stack(inputs), np.stack(labels)


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


@pytest.mark.parametrize(("load", "shape", "classes"), SMALL)
def test_small_images_are_bytes_in_three_parts(load, shape, classes):
    splits = load(validation_size=6, mock_examples=20)
    assert splits.input_shape == shape and splits.event_size == classes
    parts = splits.train, splits.validation, splits.test
    assert [int(part.cardinality()) for part in parts] == [14, 6, 20]
    for part in parts:
        pixels, labels = arrays(part)
        assert pixels.shape[1:] == shape and pixels.dtype == np.uint8
        assert labels.dtype == np.int64 and labels.min() >= 0 and labels.max() < classes
    assert splits.decode is None and splits.augment.func is images.shift_and_mirror


def test_training_and_validation_are_disjoint_and_complete_and_follow_the_seed():
    with tfds.testing.mock_data(20):
        stored = tfds.load("cifar10", split="train", as_supervised=True)
    label_of = {image.tobytes(): label for image, label in stored.as_numpy_iterator()}
    first, some, other = (
        data.cifar10(train_size=size, validation_size=6, seed=seed, mock_examples=20)
        for size, seed in ((None, 0), (5, 0), (None, 1))
    )
    found = keys(first.train) + keys(first.validation)
    assert sorted(found) == sorted(label_of) and len(set(found)) == 20
    for part in (first.train, first.validation):
        assert [label_of[key] for key in keys(part)] == arrays(part)[1].tolist()
    # A training size leaves validation as it is.
    assert keys(some.validation) == keys(first.validation)
    assert keys(some.train) == keys(first.train)[:5]
    assert set(keys(first.validation)) != set(keys(other.validation))
    assert keys(first.test) == keys(other.test)


@pytest.mark.parametrize(
    "sizes",
    [
        {"validation_size": 0},
        {"train_size": 0, "validation_size": 5},
        {"train_size": 16, "validation_size": 5},
        {},  # 5,000 for validation, of 20.
    ],
)
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match=r"train_size=.*at least 1.*at most 20.*'cifar10'"):
        data.cifar10(**sizes, mock_examples=20)


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


def choices(image):
    """{(row offset, column offset, mirrored): image} for all 162, by NumPy."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    found = {}
    for row in range(9):
        for column in range(9):
            crop = padded[row : row + height, column : column + width]
            found[row, column, False] = crop
            found[row, column, True] = crop[:, ::-1]
    return found


def test_shifted_images_are_numpys_and_all_choices_equally_likely():
    image = np.random.default_rng(0).integers(1, 256, (10, 7, 2), dtype=np.uint8)
    choice_of = {crop.tobytes(): choice for choice, crop in choices(image).items()}
    assert len(choice_of) == 162
    count = 2000
    shifted = images.shift_and_mirror(tf.constant(np.stack([image] * count)), 3).numpy()
    assert shifted.shape == (count, 10, 7, 2) and shifted.dtype == np.uint8
    found = [choice_of[one.tobytes()] for one in shifted]
    rows, columns, mirrored = (np.array(values) for values in zip(*found, strict=True))
    for offsets in (rows, columns):
        assert scipy.stats.chisquare(np.bincount(offsets, minlength=9)).pvalue > 1e-3
    table = np.zeros((9, 9))
    np.add.at(table, (rows, columns), 1)
    assert scipy.stats.chi2_contingency(table).pvalue > 1e-3
    # The standard deviation of the share is 0.011.
    assert mirrored.mean() == pytest.approx(0.5, abs=0.045)
    for offsets in (rows, columns):
        assert scipy.stats.pearsonr(offsets, mirrored).pvalue > 1e-3


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
    assert area.min() > 0.08 * 0.93 and area.max() < 1.02
    assert aspect.min() > 3 / 4 * 0.96 and aspect.max() < 4 / 3 * 1.04
    # The whole range is used, and the window lies within the picture.
    assert area.min() < 0.15 and area.max() > 0.7
    assert aspect.min() < 0.85 and aspect.max() > 1.2
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
    """A TFDS copy of 40 and 6 gradients; each one's label is its number."""
    directory = tmp_path_factory.mktemp("tfds")
    shapes = [(HEIGHT, WIDTH), (WIDTH, HEIGHT)]
    encoded = [gradient(*shape).numpy() for shape in shapes]

    class Imagenet2012(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("5.1.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(num_classes=1000),
                "file_name": tfds.features.Text(),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager):
            return {
                "train": self._generate_examples(range(40)),
                "validation": self._generate_examples(range(900, 906)),
            }

        def _generate_examples(self, numbers):
            for n in numbers:
                image = io.BytesIO(encoded[n % 2])
                yield n, {"image": image, "label": n, "file_name": f"{n}.JPEG"}

    Imagenet2012(data_dir=directory).download_and_prepare()
    return directory


def test_imagenets_parts_are_disjoint_and_complete(imagenet_copy):
    splits = data.imagenet2012(validation_size=7, image_size=16, data_dir=imagenet_copy)
    train, validation, test = (
        [int(label) for _, label in part] for part in (splits.train, splits.validation, splits.test)
    )
    assert (len(train), len(validation)) == (33, 7)
    assert sorted(train + validation) == list(range(40))
    assert sorted(test) == list(range(900, 906))
    assert int(splits.train.cardinality()) == 33
    assert validation == [int(label) for _, label in splits.validation]
    fewer = data.imagenet2012(train_size=10, validation_size=7, data_dir=imagenet_copy)
    train = {int(label) for _, label in fewer.train}
    assert len(train) == 10 and not train & set(validation)


@pytest.mark.parametrize(
    "sizes",
    [
        {},  # 10,000 for validation, of 40.
        {"train_size": 0, "validation_size": 7},
    ],
)
def test_impossible_sizes_of_imagenet_are_refused(imagenet_copy, sizes):
    with pytest.raises(ValueError, match=r"train_size=.*at least 1.*at most 40.*'imagenet2012'"):
        data.imagenet2012(**sizes, data_dir=imagenet_copy)


def test_imagenets_batches_are_decoded_shuffled_and_reproducible(imagenet_copy):
    splits = data.imagenet2012(validation_size=8, image_size=16, data_dir=imagenet_copy)
    runs = [
        list(data.training_batches(splits, 8, seed=seed).take(8).as_numpy_iterator())
        for seed in (0, 0, 1)
    ]
    for x, labels in runs[0]:
        assert x.shape == (8, 16, 16, 3) and x.dtype == np.float32 and labels.shape == (8,)
        assert x.min() >= 0 and x.max() <= 1
    labels = [np.concatenate([labels for _, labels in run]) for run in runs]
    pictures = [np.concatenate([x for x, _ in run]) for run in runs]
    for one in labels[0].reshape(2, 32):
        assert len(set(one)) == 32
    np.testing.assert_array_equal(labels[0], labels[1])
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert not np.array_equal(labels[0], labels[2])
    # A picture that comes again is cropped anew.
    twice = [np.flatnonzero(labels[0] == label) for label in set(labels[0])]
    assert all(not np.array_equal(pictures[0][a], pictures[0][b]) for a, b in twice)


def test_validation_and_test_show_the_central_square(imagenet_copy):
    splits = data.imagenet2012(validation_size=7, image_size=64, data_dir=imagenet_copy)
    side = 0.875 * min(HEIGHT, WIDTH)
    for part in (splits.validation, splits.test):
        for image, label in part.as_numpy_iterator():
            shape = (HEIGHT, WIDTH) if label % 2 == 0 else (WIDTH, HEIGHT)
            top, left, height, width, mirrored = window(image, *shape)
            assert not mirrored
            assert [height, width] == pytest.approx([side, side], abs=2)
            assert [top, left] == pytest.approx([(n - side) / 2 for n in shape], abs=2)
