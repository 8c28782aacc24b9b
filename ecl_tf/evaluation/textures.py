"""Random textures: plasma fractals, and ice."""

import functools
import math

import numpy as np

from ecl_tf.evaluation.draws import Draws

_TEXTURES = 6


def power_of_two(size: int) -> int:
    """Returns the smallest power of 2 that is at least `size`, and at least 2.

    Args:
        size: a whole number from 1.
    """
    return 2 ** max(1, math.ceil(math.log2(size)))


def plasma(noise: np.ndarray, decay: float) -> np.ndarray:
    """Returns random heights in [0, 1] by the diamond-square algorithm, on a torus.

    The middle of each square, then that of each diamond, is the mean of its corners and noise,
    whose amplitude falls by decay^2 from squares to those of half the side.

    Args:
        noise: (rows, size, size) in [-1, 1), of a size that is a power of 2.
        decay: above 1.
    """
    size, heights = noise.shape[1], noise.copy()
    heights[:, 0, 0] = 0
    step, amplitude = size, np.float32(1)
    while step > 1:
        half = step // 2
        corners = heights[:, ::step, ::step]
        across = corners + np.roll(corners, -1, 2)
        middles = heights[:, half::step, half::step]
        middles *= amplitude
        middles += (across + np.roll(across, -1, 1)) / 4
        # The other diamonds' corners are two of the squares' corners and two of their middles.
        tops, sides = heights[:, ::step, half::step], heights[:, half::step, ::step]
        tops *= amplitude
        tops += (across + middles + np.roll(middles, 1, 1)) / 4
        sides *= amplitude
        sides += (corners + np.roll(corners, -1, 1) + middles + np.roll(middles, 1, 2)) / 4
        step, amplitude = half, amplitude / np.float32(decay**2)
    lowest, highest = (f(heights, (1, 2), keepdims=True) for f in (np.min, np.max))
    return (heights - lowest) / np.maximum(highest - lowest, np.float32(1e-12))


@functools.lru_cache(maxsize=2)
def ice(seed: int, size: int) -> np.ndarray:
    """Returns textures of ice, float32 in [0, 1] of shape (count, size, size).

    Veins are where random heights cross the middle, at two scales, over a clouded ground.

    Args:
        seed: of the random heights.
        size: a power of 2.
    """
    draws = Draws(seed, "frost textures")
    clouds, coarse, fine = (
        plasma(2 * draws.uniform(_TEXTURES, (size, size), stream) - 1, decay)
        for stream, decay in enumerate((1.6, 1.4, 1.2))
    )
    veins = np.maximum(*((1 - np.abs(2 * each - 1)) ** 6 for each in (coarse, fine)))
    return 0.5 * clouds + 0.5 * veins
