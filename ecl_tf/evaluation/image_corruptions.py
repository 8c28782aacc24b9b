"""The 15 corruptions of images of Hendrycks and Dietterich (2019), at 5 severities.

Every function takes images in [0, 1], float32 (rows, channels, height, width), the constants of a
severity, the `Draws` of the rows, and the unit of lengths in pixels; what it returns is clipped to
[0, 1] afterwards. docs/guides/corruptions.md lists the formulas, and says where they differ from
the published ones.

Reference: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations", ICLR 2019.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import ndimage

from ecl_tf.evaluation import linear_maps, resampling, textures
from ecl_tf.evaluation.draws import Draws

_CHUNK = 2**20  # Numbers of the images that are corrupted at once.
_GATHERED = 2**18  # The same where pixels come from other places, as numbers of 8 bytes.
_SMALL = 64  # Pixels of the shorter side up to which the constants of CIFAR-10-C hold.
_GREY = np.array([0.299, 0.587, 0.114], "float32")
_FROST = np.array([0.85, 0.93, 1.0], "float32")  # Ice is bluish.
_POINTS = 16  # Along a pixel's side.
_LARGEST_JPEG = 65_500  # Pixels of a side.


def corrupt(
    x: np.ndarray, name: str, severity: int, draws: Draws, value_range: tuple[float, float]
) -> np.ndarray:
    """Returns corrupted images, of the shape and dtype of `x`.

    Args:
        x: (rows, height, width, channels), in the range.
        value_range: of black and white.
    """
    low, high = value_range
    function, small, large = CORRUPTIONS[name]
    side = min(x.shape[1:3])
    is_small = side <= _SMALL
    constants = (small if is_small else large)[severity - 1]
    # A blur of far less than a pixel is none, so lengths stay at half of those at 32, or above.
    unit = max(0.5, side / 32) if is_small else side / 224
    corrupted = np.empty_like(x)
    chunk = _GATHERED if function in (glass_blur, elastic_transform) else _CHUNK
    rows = max(1, chunk // max(1, x[:1].size))
    for start in range(0, len(x), rows):
        part = x[start : start + rows].transpose(0, 3, 1, 2).astype("float32", order="C")
        images = (part - np.float32(low)) * np.float32(1.0 / (high - low))
        images = np.clip(function(images, constants, draws.at(start), unit), 0.0, 1.0)
        images = (images * np.float32(high - low) + np.float32(low)).transpose(0, 2, 3, 1)
        images = np.rint(images) if np.issubdtype(x.dtype, np.integer) else images
        # Rounding must not leave the range.
        corrupted[start : start + rows] = np.clip(images, low, high)
    return corrupted


def gaussian_noise(x, stddev, draws, unit):
    """x + c z, where z is standard normal."""
    return x + np.float32(stddev) * draws.normal(len(x), x.shape[1:])


def shot_noise(x, count, draws, unit):
    """Poisson(c x) / c: photons, of which a white pixel gets c."""
    rates = count * x.astype("float64")
    pairs = zip(draws.generators(len(x)), rates, strict=True)
    counts = [generator.poisson(row) for generator, row in pairs]
    return np.array(counts, "float32") / np.float32(count)


def impulse_noise(x, share, draws, unit):
    """A share c of the values is black or white, each of them half of the time."""
    u = draws.uniform(len(x), x.shape[1:])
    return np.where(u < share / 2, np.float32(0), np.where(u >= 1 - share / 2, np.float32(1), x))


def defocus_blur(x, constants, draws, unit):
    """The mean over a disk of radius r, whose border is smoothed by a Gaussian."""
    radius, smoothing = constants
    # A disk of less than a pixel is none, so the smallest do not shrink.
    radius *= unit if radius > 1.5 else max(unit, 1.0)
    reach = math.ceil(radius) + 2
    # The share of each pixel that the disk covers, from points within the pixels.
    at = (np.arange((2 * reach + 1) * _POINTS) + 0.5) / _POINTS - reach - 0.5
    inside = at**2 + at[:, None] ** 2 <= radius**2
    disk = inside.reshape(2 * reach + 1, _POINTS, 2 * reach + 1, _POINTS).mean((1, 3))
    kernel = ndimage.gaussian_filter(disk / disk.sum(), smoothing, radius=1)
    return linear_maps.convolution(x.shape[2:], kernel)(x)


def glass_blur(x, constants, draws, unit):
    """Blurred by a Gaussian; then pixels change places with near ones; then blurred again."""
    sigma, reach, repeats = constants
    rows, _, height, width = x.shape
    reach = reach * unit + 0.5  # So the nearest whole number is beyond 0.
    farthest = math.floor(reach + 0.5)
    blur = linear_maps.gaussian((height, width), sigma * unit)
    pixels = np.arange(height * width)
    origin = np.repeat(pixels[:, None], rows, 1)  # A pixel of all rows is one piece of memory.
    flat = origin.reshape(-1)
    spacing = 2 * farthest + 1
    for repeat in range(repeats):
        moves = np.rint((2 * draws.uniform(rows, (2, height, width), repeat) - 1) * reach)
        moves = moves.astype("int64")
        moves = (moves[:, 0] * width + moves[:, 1]).reshape(rows, -1)
        partner = (pixels[:, None] + moves.T) * rows + np.arange(rows)
        # Pixels of a grid so wide can't reach one another, so they are swapped at once.
        for down in range(spacing):
            for right in range(spacing):
                at_row = np.arange(height - 1 - farthest - down, farthest - 1, -spacing)
                at_column = np.arange(width - 1 - farthest - right, farthest - 1, -spacing)
                here = (at_row[:, None] * width + at_column).ravel()
                there = partner[here]
                taken = flat[there]
                flat[there] = origin[here]
                origin[here] = taken
    return blur(resampling.gather(blur(x), origin.T).reshape(x.shape))


def motion_blur(x, constants, draws, unit):
    """The mean over pixels along a line of a random angle, weighed by half of a Gaussian."""
    radius, sigma = constants
    return resampling.along_lines(x, radius * unit, sigma * unit, -45 + draws.whole(len(x), (), 91))


def zoom_blur(x, factors, draws, unit):
    """The mean of the image and of its enlargements by 1, ..., z."""
    factors = np.array([1.0, *factors])
    zoomed = linear_maps.zooms(x.shape[2:], factors)(x)
    return zoomed / np.float32(len(factors))


def snow(x, constants, draws, unit):
    """Flakes: noise, enlarged, of which the largest are blurred along a line; greyer colours."""
    mean, stddev, zoom, threshold, radius, sigma, kept = constants
    rows, _, height, width = x.shape
    layer = np.float32(mean) + np.float32(stddev) * draws.normal(rows, (1, height, width))
    layer = linear_maps.zooms((height, width), np.array([zoom]))(layer)
    layer = np.where(layer < threshold, np.float32(0), np.clip(layer, 0.0, 1.0))
    degrees = -135 + draws.whole(rows, (), 91, 1)
    layer = resampling.along_lines(layer, radius * unit, sigma * unit, degrees)
    bright = np.maximum(x, 1.5 * _grey(x) + 0.5)
    return kept * x + (1 - kept) * bright + layer + layer[:, :, ::-1, ::-1]


def frost(x, constants, draws, unit):
    """a x + b f, where f is a part of a texture of ice."""
    kept, added = constants
    rows, channels, height, width = x.shape
    ice = textures.ice(draws.seed, 2 * textures.power_of_two(max(height, width)))
    views = np.lib.stride_tricks.sliding_window_view(ice, (height, width), (1, 2))
    which = [draws.whole(rows, (), count, s) for s, count in enumerate(views.shape[:3])]
    colour = _FROST if channels == 3 else np.ones(channels, "float32")
    return kept * x + added * views[tuple(which)][:, None] * colour[:, None, None]


def fog(x, constants, draws, unit):
    """(x + c p) max(x) / (max(x) + c), where p in [0, 1] is a plasma fractal."""
    thickness, decay = constants
    rows, _, height, width = x.shape
    size = textures.power_of_two(max(height, width))
    plasma = textures.plasma(2 * draws.uniform(rows, (size, size)) - 1, decay)
    plasma = plasma[:, None, :height, :width]
    brightest = x.max((1, 2, 3), keepdims=True)
    return (x + thickness * plasma) * (brightest / (brightest + thickness))


def brightness(x, added, draws, unit):
    """V + c, of hue, saturation and value; x + c of images without colours."""
    if x.shape[1] != 3:
        return x + np.float32(added)
    value = x.max(1, keepdims=True)
    brighter = np.minimum(value + np.float32(added), 1)
    # Hue and saturation are the same where all three are multiplied; black has none of them.
    return np.where(value > 0, x * (brighter / np.where(value > 0, value, 1)), brighter)


def contrast(x, factor, draws, unit):
    """m + c (x - m), where m is the channel's mean over the image."""
    mean = x.mean((2, 3), keepdims=True)
    return mean + np.float32(factor) * (x - mean)


def elastic_transform(x, constants, draws, unit):
    """Pixels moved by a random affine map and a smooth random field, by linear interpolation."""
    amplitude, smoothness, affine = constants
    rows, _, height, width = x.shape
    side = min(height, width)
    field = 2 * draws.uniform(rows, (2, height, width)) - 1
    field = linear_maps.gaussian((height, width), smoothness * side, "reflect")(field)
    # Three corners of a square about the centre move, and what is between follows.
    corners = affine * side * (2 * draws.uniform(rows, (3, 2), 1) - 1)
    first, second, third = (corners[:, each, :, None, None] for each in range(3))
    down, right = (
        (np.arange(size, dtype="float32") - (size - 1) / 2) / (size / 3) for size in (height, width)
    )
    moved = second + (third - second) * (1 - down[:, None]) / 2 + (first - second) * (1 + right) / 2
    at = amplitude * side * field + moved
    at_row, at_column = at[:, 0] + np.arange(height)[:, None], at[:, 1] + np.arange(width)
    return resampling.interpolate(x, at_row, at_column)


def pixelate(x, share, draws, unit):
    """Means over blocks, of which there are c by the number of pixels along a side."""
    return linear_maps.blocks(x.shape[2:], share)(x)


def jpeg_compression(x, quality, draws, unit):
    """Written and read as a JPEG file of quality c; in YCbCr if there are three channels."""
    _, channels, height, width = x.shape
    bytes_ = np.rint(255 * x).astype("uint8")
    bytes_ = bytes_.transpose(0, 2, 3, 1) if channels == 3 else bytes_.reshape(-1, height, width, 1)
    # JPEG takes blocks of 8 pixels, of colours 16, by themselves. So many images are one file,
    # each filled up to whole blocks with the pixels of its border.
    block = 16 if channels == 3 else 8
    padding = [(0, 0), (0, -height % block), (0, -width % block), (0, 0)]
    bytes_ = np.pad(bytes_, padding, "edge")
    decoded = np.empty_like(bytes_)
    together = max(1, _LARGEST_JPEG // bytes_.shape[1])
    for start in range(0, len(bytes_), together):
        part = bytes_[start : start + together]
        file = tf.io.encode_jpeg(part.reshape(-1, *part.shape[2:]), quality=quality)
        # Without interpolation of colours, which would see the neighbours.
        found = tf.io.decode_jpeg(file, fancy_upscaling=False, dct_method="INTEGER_ACCURATE")
        decoded[start : start + together] = found.numpy().reshape(part.shape)
    decoded = decoded[:, :height, :width]
    decoded = decoded.transpose(0, 3, 1, 2) if channels == 3 else decoded.reshape(x.shape)
    return decoded.astype("float32") / np.float32(255)


def _grey(x):
    """The luminance of colours, the mean of other channels; (rows, 1, height, width)."""
    if x.shape[1] != 3:
        return x.mean(1, keepdims=True)
    return (x * _GREY[:, None, None]).sum(1, keepdims=True)


def _steps(last, step):
    """Factors from 1 to `last`, or less than a step below."""
    return tuple(np.arange(1.0, last + 1e-6, step))


# The function, and its constants of each severity: of CIFAR-10-C, for 32 x 32 pixels, and of
# ImageNet-C, for 224 x 224. Where they are not the published ones, the guide says so and why.
CORRUPTIONS: dict[str, tuple[Callable, Any, Any]] = {
    "gaussian_noise": (
        gaussian_noise,
        (0.04, 0.06, 0.08, 0.09, 0.10),
        (0.08, 0.12, 0.18, 0.26, 0.38),
    ),
    "shot_noise": (shot_noise, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3)),
    "impulse_noise": (
        impulse_noise,
        (0.01, 0.02, 0.03, 0.05, 0.07),
        (0.03, 0.06, 0.09, 0.17, 0.27),
    ),
    "defocus_blur": (  # Radius, smoothing.
        defocus_blur,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "glass_blur": (  # Standard deviation, reach, repeats.
        glass_blur,
        ((0.4, 0.1, 2), (0.4, 0.2, 2), (0.4, 0.35, 2), (0.4, 0.5, 2), (0.4, 0.75, 2)),
        ((0.7, 1, 2), (0.7, 1.5, 2), (0.7, 2, 2), (0.7, 3, 2), (0.7, 4, 2)),
    ),
    "motion_blur": (  # Radius, standard deviation.
        motion_blur,
        ((6, 1), (6, 1.5), (6, 2), (8, 2.25), (9, 2.5)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "zoom_blur": (
        zoom_blur,
        tuple(_steps(last, 0.01) for last in (1.05, 1.10, 1.15, 1.20, 1.25)),
        tuple(
            _steps(last, step)
            for last, step in ((1.10, 0.01), (1.15, 0.01), (1.20, 0.02), (1.24, 0.02), (1.30, 0.03))
        ),
    ),
    "snow": (  # Mean, standard deviation, zoom, threshold, radius, standard deviation, kept.
        snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.2, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 1.75, 0.55, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.55, 14, 12, 0.8),
        ),
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.85, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.82, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.8, 12, 12, 0.55),
        ),
    ),
    "frost": (  # Of the image, of the ice.
        frost,
        ((1, 0.2), (1, 0.3), (0.95, 0.4), (0.9, 0.5), (0.85, 0.6)),
        ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.75), (0.6, 0.8)),
    ),
    "fog": (  # Thickness, decay of the fractal's details.
        fog,
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.75, 1.5), (3, 1.4)),
    ),
    "brightness": (brightness, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (contrast, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),
    "elastic_transform": (  # Amplitude and smoothness of the field, affine; by the side.
        elastic_transform,
        (
            (0.05, 0.06, 0.03),
            (0.08, 0.06, 0.04),
            (0.08, 0.04, 0.05),
            (0.1, 0.04, 0.06),
            (0.1, 0.03, 0.08),
        ),
        (
            (0.05, 0.01, 0.02),
            (0.07, 0.01, 0.03),
            (0.09, 0.01, 0.04),
            (0.11, 0.01, 0.05),
            (0.12, 0.01, 0.06),
        ),
    ),
    "pixelate": (pixelate, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg_compression": (jpeg_compression, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
}
