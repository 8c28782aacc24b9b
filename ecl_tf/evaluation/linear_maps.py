"""Linear maps of images that are sums of products of a map of rows and a map of columns.

Blurs, zooms and changes of resolution are: Y = sum_z A_z X B_z'. A map of one axis is made by
applying to the identity what SciPy does to a signal.
"""

import dataclasses
import threading

import numpy as np
import threadpoolctl
from scipy import ndimage

_BLOCK = 2**20  # Numbers that are computed on the way at once, which stay in the cache.
_LEAST = 1e-5  # A share of a kernel that makes no difference.
_ONE_AT_A_TIME = threading.Lock()  # A limit is of the process, and each puts back what it found.
_BLAS = threadpoolctl.ThreadpoolController()  # Of the libraries that NumPy multiplies with.


@dataclasses.dataclass(frozen=True)
class LinearMap:
    """The maps of each term.

    Attributes:
        rows: A, (terms, new height, height).
        columns: B, (terms, new width, width).
    """

    rows: np.ndarray
    columns: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Returns the mapped images, float32 of shape (..., new height, new width).

        Args:
            x: float32 (..., height, width).
        """
        *leading, height, width = x.shape
        terms, new_height, _ = self.rows.shape
        new_width = self.columns.shape[1]
        # Two products of matrices an image, so that no image's bits depend on others.
        right = np.ascontiguousarray(self.columns.transpose(2, 0, 1), "float32")
        right = right.reshape(width, terms * new_width)
        left = np.ascontiguousarray(self.rows.transpose(1, 2, 0), "float32")
        left = left.reshape(new_height, height * terms)
        images = x.reshape(-1, height, width)
        mapped = np.empty((len(images), new_height, new_width), "float32")
        block = max(1, _BLOCK // right[0].size // height)
        # Threads within a product of such small matrices mostly wait for one another, and bits
        # would depend on their number.
        with _ONE_AT_A_TIME, _BLAS.limit(limits=1, user_api="blas"):
            for start in range(0, len(images), block):
                part = np.matmul(images[start : start + block], right)
                part = part.reshape(-1, height * terms, new_width)
                np.matmul(left, part, out=mapped[start : start + block])
        return mapped.reshape(*leading, new_height, new_width)


def gaussian(size: tuple[int, ...], sigma: float, mode: str = "nearest") -> LinearMap:
    """A Gaussian blur.

    Args:
        size: height and width of the images, in pixels.
        sigma: the standard deviation, in pixels.
        mode: what is beyond the border, as `scipy.ndimage` names it; "nearest" by default.
    """
    maps = (ndimage.gaussian_filter1d(np.eye(length), sigma, axis=0, mode=mode) for length in size)
    return LinearMap(*(each[None] for each in maps))


def convolution(size: tuple[int, ...], kernel: np.ndarray) -> LinearMap:
    """A convolution with a symmetric kernel, mirrored about the pixels of the border.

    Args:
        size: height and width of the images, in pixels.
        kernel: with odd sides.
    """
    # A kernel of any kind is a sum of products of columns and rows: its singular vectors.
    left, scale, right = np.linalg.svd(kernel)
    terms = scale > _LEAST * scale.sum()
    maps = (
        [ndimage.correlate1d(np.eye(length), v, axis=0, mode="mirror") for v in vectors[terms]]
        for length, vectors in zip(size, (left.T * scale[:, None], right), strict=True)
    )
    return LinearMap(*map(np.array, maps))


def zooms(size: tuple[int, ...], factors: np.ndarray) -> LinearMap:
    """The sum of the images enlarged about their centre, by linear interpolation.

    Args:
        size: height and width of the images, in pixels.
        factors: of the enlargements, from 1.
    """

    def enlarge(length, factor):
        middle = (length - 1) / 2
        at = np.arange(length)[:, None] - middle
        return np.maximum(0.0, 1.0 - np.abs(at / factor + middle - np.arange(length)))

    return LinearMap(*(np.array([enlarge(length, each) for each in factors]) for length in size))


def blocks(size: tuple[int, ...], share: float) -> LinearMap:
    """Means over blocks of pixels; a pixel in two blocks has the mean by the parts of it in them.

    Args:
        size: height and width of the images, in pixels.
        share: the number of blocks along a side by that of its pixels, at most 1.
    """

    def average(length):
        count, pixels = max(1, int(length * share)), np.arange(length)
        edges = np.linspace(0, length, count + 1)
        low, high = np.maximum(edges[:-1, None], pixels), np.minimum(edges[1:, None], pixels + 1)
        overlap = np.maximum(high - low, 0.0)  # (blocks, pixels)
        return overlap.T @ (overlap / overlap.sum(1, keepdims=True))

    return LinearMap(*(average(length)[None] for length in size))
