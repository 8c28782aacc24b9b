"""Pixels from other places: by number, between pixels, and along lines."""

import math

import numpy as np

_FAINT = 1e-4  # The share of a line's weights below which a pixel is left out.


def gather(x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Returns pixels (rows, channels, n) by their numbers.

    Args:
        x: (rows, channels, height, width).
        index: (rows, n), the numbers of pixels, counted along the rows of an image.
    """
    rows, channels, height, width = x.shape
    first = np.arange(rows * channels).reshape(rows, channels, 1) * (height * width)
    return np.take(x.reshape(-1), first + index[:, None])


def interpolate(x: np.ndarray, at_row: np.ndarray, at_column: np.ndarray) -> np.ndarray:
    """Returns values between pixels, by linear interpolation; mirrored beyond the border.

    Args:
        x: (rows, channels, height, width).
        at_row: where the value of each new pixel is, (rows, height, width), in pixels from the top.
        at_column: the same from the left.
    """
    (top, bottom, down), (left, right, across) = (
        _neighbours(at, size) for at, size in zip((at_row, at_column), x.shape[2:], strict=True)
    )
    width = x.shape[3]
    rows = len(x)

    def row_of(vertical):
        first, second = (
            gather(x, (vertical * width + horizontal).reshape(rows, -1)).reshape(x.shape)
            for horizontal in (left, right)
        )
        return first + across[:, None] * (second - first)

    upper, lower = row_of(top), row_of(bottom)
    return upper + down[:, None] * (lower - upper)


def along_lines(x: np.ndarray, radius: float, sigma: float, degrees: np.ndarray) -> np.ndarray:
    """Returns means over pixels along a line, weighed by half of a Gaussian.

    Beyond the border its pixels go on.

    Args:
        x: float32 (rows, channels, height, width).
        radius: half of the line's length, in pixels.
        sigma: the standard deviation, in pixels.
        degrees: the angle of each row's line, in whole degrees; 0 is to the right, 90 down.
    """
    taps = np.exp(-0.5 * (np.arange(2 * round(radius) + 1) / sigma) ** 2)
    taps = taps[taps > _FAINT * taps.sum()]
    taps /= taps.sum()
    reach = len(taps)
    *_, height, width = x.shape
    padded = np.pad(x, [(0, 0), (0, 0), (reach, reach), (reach, reach)], "edge")
    blurred = np.empty_like(x)
    for angle in np.unique(degrees):
        (rows,) = np.nonzero(degrees == angle)
        part, mean = padded[rows], np.zeros_like(x[rows])
        for step, weight in enumerate(taps):
            down = reach + round(step * math.sin(math.radians(angle)))
            right = reach + round(step * math.cos(math.radians(angle)))
            mean += np.float32(weight) * part[:, :, down : down + height, right : right + width]
        blurred[rows] = mean
    return blurred


def _neighbours(at, size):
    """The pixels before and after a place, and the share of the latter."""
    last = size - 1
    at = np.clip(last - np.abs(last - np.abs(at)), 0, last).astype("float32")
    before = np.minimum(at.astype("int64"), max(last - 1, 0))
    return before, np.minimum(before + 1, last), at - before
