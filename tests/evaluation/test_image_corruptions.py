"""Corrupted images: their formulas, and that seed and row alone decide."""

import colorsys

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf
import threadpoolctl
from sklearn.datasets import load_digits

from ecl_tf.evaluation import corrupt, corruptions, image_corruptions

NAMES = corruptions.NAMES["image"]
NOT_RANDOM = ("brightness", "contrast", "defocus_blur", "jpeg_compression", "pixelate", "zoom_blur")


def drawn(rows, height, width, channels=3, seed=0):
    """Discs of random colours, float32 in [0, 1]."""
    rng = np.random.default_rng(seed)
    down, right = np.arange(height)[:, None] / height, np.arange(width) / width
    images = np.ones((rows, height, width, 1)) * rng.random((rows, 1, 1, channels))
    for _ in range(4):
        y, x, radius = rng.random((3, rows, 1, 1))
        disc = (down - y) ** 2 + (right - x) ** 2 < (0.05 + 0.25 * radius) ** 2
        images = np.where(disc[..., None], rng.random((rows, 1, 1, channels)), images)
    return images.astype("float32")


def distances(images, name):
    """Of each severity, the root of the mean squared change."""
    changed = [corrupt(images, name, severity) - images for severity in (1, 2, 3, 4, 5)]
    return np.sqrt([np.mean(each**2) for each in changed])


def test_the_fifteen_names():
    assert len(NAMES) == 15 and {"glass_blur", "jpeg_compression", "shot_noise"} < set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_corruption_is_seeded_by_row_and_grows_with_severity(name, monkeypatch):
    for limit in ("_CHUNK", "_GATHERED"):
        monkeypatch.setattr(image_corruptions, limit, 20 * 32 * 32 * 3)  # Of 20 rows.
    colours = drawn(40, 32, 32)
    whole = corrupt(colours, name, seed=3)
    assert whole.dtype == np.float32 and whole.shape == colours.shape
    assert whole.min() >= 0.0 and whole.max() <= 1.0
    np.testing.assert_array_equal(whole, corrupt(colours, name, seed=3))
    np.testing.assert_array_equal(whole[17:23], corrupt(colours[17:23], name, seed=3, first_row=17))
    assert np.array_equal(whole, corrupt(colours, name, seed=4)) == (name in NOT_RANDOM)
    assert (np.diff(distances(colours, name)) > 0).all()
    digits = (load_digits().images[:200, ..., None] / 16).astype("float32")
    # Of 8 pixels, some severities have as many blocks as others.
    least = -1e-6 if name == "pixelate" else 1e-6
    assert (np.diff(distances(digits, name)) > least).all()
    # Whole numbers are the nearest to what it is, in their own range.
    bytes_ = np.rint(255 * colours[:3]).astype("uint8")
    found = corrupt(bytes_, name)
    assert found.dtype == np.uint8
    exact = corrupt(bytes_.astype("float64"), name, value_range=(0, 255))
    assert exact.dtype == np.float64 and exact.max() <= 255
    np.testing.assert_array_equal(found, np.rint(exact))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(9, 1, 1), (10, 23, 4), (70, 96, 3)])
def test_any_size_and_channels(name, shape):
    images = (drawn(2, *shape) - 0.1).astype("float16")
    images[0, 0] = -0.1  # Which is less in float16.
    found = corrupt(images, name, 5, value_range=(-0.1, 0.9))
    assert found.shape == images.shape and found.dtype == np.float16
    assert found.min() >= np.float16(-0.1) and found.max() <= np.float16(0.9)


def test_noise_has_the_published_moments():
    flat = np.full((200, 32, 32, 1), 0.5, "float32")
    noise = corrupt(flat, "gaussian_noise", 4) - 0.5
    assert noise.mean() == pytest.approx(0, abs=1e-3)
    assert noise.std() == pytest.approx(0.09, rel=0.01)
    assert scipy.stats.kstest(noise.ravel()[:20000] / 0.09, "norm").pvalue > 1e-3
    counts = corrupt(flat, "shot_noise", 3) * 100  # Poisson(50), whose variance is its mean.
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-4)
    assert counts.mean() == pytest.approx(50, rel=0.01)
    assert counts.var() == pytest.approx(50, rel=0.02)
    values, number = np.unique(corrupt(flat, "impulse_noise", 5), return_counts=True)
    np.testing.assert_array_equal(values, [0, 0.5, 1])
    np.testing.assert_allclose(number / flat.size, [0.035, 0.93, 0.035], atol=2e-3)


def test_colours_and_means_by_hand():
    images = drawn(5, 16, 16)
    mean = images.mean((1, 2), keepdims=True, dtype="float64")
    np.testing.assert_allclose(
        corrupt(images, "contrast", 4), mean + 0.3 * (images - mean), atol=1e-6
    )
    images[0, 0, 0] = 0  # Black has no colour, and becomes grey.
    found = corrupt(images, "brightness", 5)
    for pixel, brighter in zip(images[0].reshape(-1, 3), found[0].reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        expected = colorsys.hsv_to_rgb(hue, saturation, min(value + 0.3, 1))
        np.testing.assert_allclose(brighter, expected, atol=1e-5)
    grey = images[..., :1]
    np.testing.assert_allclose(corrupt(grey, "brightness", 1), np.minimum(grey + 0.05, 1))
    # 30 blocks of 40 pixels: 4 pixels are 3 blocks, the second of which has parts of two.
    row = np.zeros((1, 40, 40, 1), "float32")
    row[:, 1], row[:, 2] = 0.3, 0.9
    found = corrupt(row, "pixelate", 4)[0, :4, 30, 0]
    first, second, third = 0.3 * 0.25, (0.3 * 2 / 3 + 0.9 * 2 / 3) * 0.75, 0.9 * 0.25
    np.testing.assert_allclose(
        found, [first, (first + 2 * second) / 3, (2 * second + third) / 3, third], atol=1e-6
    )


def test_blurs_are_scipys():
    images = drawn(2, 20, 24)
    across = np.exp(-0.5 * (np.array([-1, 0, 1]) / 0.5) ** 2)
    kernel = np.outer(across, across) / across.sum() ** 2  # A disk of less than a pixel, smoothed.
    expected = scipy.ndimage.convolve(images, kernel[None, ..., None], mode="mirror")
    np.testing.assert_allclose(corrupt(images, "defocus_blur", 2), expected, atol=2e-5)
    # A radius of 3 pixels of 224: all that is nearer counts alike.
    dot = np.zeros((1, 129, 129, 1), "float32")
    dot[:, 64, 64] = 1
    found = corrupt(dot, "defocus_blur", 1)[0, ..., 0]
    radius = 3 * 129 / 224
    assert found.sum() == pytest.approx(1, abs=1e-3)
    assert found[64, 64] == pytest.approx(1 / (np.pi * radius**2), rel=0.02)
    assert found[64, 67] < 1e-6
    # Itself, and enlarged by 1, 1.01, ..., 1.05 about the centre.
    ramp = np.broadcast_to(np.arange(24.0) / 24, (1, 20, 24))[..., None]
    offset = np.arange(24) - 11.5
    zoomed = [11.5 + offset / factor for factor in (1, 1, 1.01, 1.02, 1.03, 1.04, 1.05)]
    found = corrupt(ramp, "zoom_blur", 1)[0, 9, :, 0]
    np.testing.assert_allclose(found, np.mean(zoomed, 0) / 24, atol=1e-5)
    # Half of a Gaussian along a line: a dot moves to one side, and its light is kept.
    light = corrupt(dot[:, 48:80, 48:80], "motion_blur", 3)[0, ..., 0]
    assert light.sum() == pytest.approx(1, abs=1e-3)
    weights = np.exp(-0.5 * (np.arange(13) / 2) ** 2)
    assert light.max() == pytest.approx(weights[0] / weights.sum(), rel=1e-3)


def test_no_bit_depends_on_the_number_of_threads():
    images = drawn(50, 28, 28, 1)
    found = []
    for threads in (1, 2):
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            found.append(corrupt(images, "zoom_blur", 5))
    np.testing.assert_array_equal(*found)


def test_jpeg_is_that_of_one_image_a_file():
    for shape in ((16, 32, 3), (12, 21, 1)):
        bytes_ = np.rint(255 * drawn(4, *shape)).astype("uint8")
        found = corrupt(bytes_, "jpeg_compression", 5)
        for image, decoded in zip(bytes_, found, strict=True):
            file = tf.io.encode_jpeg(image, quality=40)
            alone = tf.io.decode_jpeg(file, fancy_upscaling=False, dct_method="INTEGER_ACCURATE")
            np.testing.assert_array_equal(decoded, alone)


def test_geometry_and_weather_keep_what_they_should():
    flat = np.full((3, 32, 32, 3), 0.25, "float32")
    for name in ("elastic_transform", "glass_blur", "zoom_blur", "pixelate", "contrast"):
        np.testing.assert_allclose(corrupt(flat, name, 5), flat, atol=1e-5)
    images = drawn(3, 32, 32)
    # Pixels that glass moves are those of the image; here without its blur.
    moved = corrupt(np.arange(1024.0).reshape(1, 32, 32, 1) / 1024, "glass_blur", 5)
    assert np.unique(moved.round(4)).size > 900
    # Fog: (x + 1.5 p) / 2.5 of an image whose brightest value is 1, p from 0 to 1.
    images[:, 0, 0] = 1
    plasma = corrupt(images, "fog", 5) * 2.5 - images
    assert plasma.min() > -1e-5 and plasma.max() < 1.5 + 1e-5
    np.testing.assert_allclose(plasma.min((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(plasma.max((1, 2)), 1.5, atol=1e-5)
    np.testing.assert_allclose(plasma, plasma[..., :1].repeat(3, -1), atol=1e-5)
    # Ice is added to the image, and snow brightens it.
    ice = (corrupt(images * 0.5, "frost", 1) - images * 0.5) / 0.2
    assert ice.min() > -1e-5 and ice.max() < 1 + 1e-5
    assert (corrupt(images, "snow", 5) >= images - 1e-5).all()


def test_elastic_transform_moves_three_corners_of_a_square_freely():
    ramp = np.broadcast_to(np.arange(32.0), (400, 32, 32))[..., None]
    for images, axis in ((ramp, 1), (ramp.swapaxes(1, 2), 0)):
        found = corrupt(images / 32, "elastic_transform", 1) * 32 - images
        # By 3 % of 32 pixels at most, and a field: of the blurred noise's standard deviation.
        field = 0.05 * 32 / 3**0.5 / (2 * np.pi**0.5 * 0.06 * 32)
        corners = found[:, [26, 26, 5], [26, 5, 5], 0]
        expected = np.hypot(0.96 / 3**0.5, field)
        np.testing.assert_allclose(corners.std(0), expected, rtol=0.12, err_msg=str(axis))
        assert np.abs(corners).max() < 0.96 + 5 * field
        # The fourth is their sum.
        fourth = np.hypot(0.96, field)
        assert found[:, 5, 26, 0].std() == pytest.approx(fourth, rel=0.12)


def test_refusals():
    images = drawn(2, 8, 8)
    with pytest.raises(ValueError, match=r"no corruption 'blur' .* expected gaussian_noise, shot"):
        corrupt(images, "blur")
    with pytest.raises(ValueError, match="kind must be one of image, table, sequence"):
        corrupt(images, "fog", kind="picture")
    for severity in (0, 6, 1.5, True):
        with pytest.raises(ValueError, match="severity must be a whole number from 1 to 5"):
            corrupt(images, "fog", severity)
    with pytest.raises(ValueError, match=r"got the shape \(8, 8, 3\). Of one image give image"):
        corrupt(images[0], "fog")
    with pytest.raises(ValueError, match="hold numbers; got the dtype bool"):
        corrupt(images > 0.5, "fog")
    with pytest.raises(ValueError, match=r"from \S+ to \S+; expected 0 to 1, the default of float"):
        corrupt(255 * images, "fog")
    with pytest.raises(ValueError, match="black < white"):
        corrupt(images, "fog", value_range=(1, 0))
    with pytest.raises(ValueError, match="padding is no argument of kind 'image'"):
        corrupt(images, "fog", padding=0)
    images[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="The images hold NaN"):
        corrupt(images, "fog")


def test_a_batch_in_a_dataset_is_taken():
    images = drawn(4, 8, 8, 1)
    found = corrupt(tf.constant(images), "contrast")
    np.testing.assert_array_equal(found, corrupt(images, "contrast"))
    assert isinstance(found, np.ndarray) and not keras.ops.is_tensor(found)
