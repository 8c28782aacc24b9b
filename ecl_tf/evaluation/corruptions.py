"""Inputs as production has them: corrupted images, tables and sequences, at 5 severities."""

from typing import Any

import numpy as np

from ecl_tf._internal import require
from ecl_tf.evaluation import image_corruptions
from ecl_tf.evaluation.draws import Draws

SEVERITIES = (1, 2, 3, 4, 5)

# The corruptions of each kind of input.
NAMES: dict[str, tuple[str, ...]] = {
    "image": tuple(image_corruptions.CORRUPTIONS),
}


def corrupt(
    x: Any,
    name: str,
    severity: int = 3,
    seed: int = 0,
    kind: str = "image",
    *,
    first_row: int = 0,
    value_range: tuple[float, float] | None = None,
) -> Any:
    """Returns inputs that are corrupted, as NumPy arrays of the shapes and dtypes of `x`.

    The guide "Corruptions" lists the names and their formulas. The seed and the row's number
    decide what becomes of a row: it is the same in any batch, and at all severities it is drawn
    from the same random numbers.

    Args:
        x: a batch. Images are (batch, height, width, channels) with any number of channels.
        name: of the corruption, one of `ecl_tf.evaluation.corruptions.NAMES[kind]`.
        severity: from 1 to 5, the worst; 3 by default.
        seed: a whole number from 0; 0 by default.
        kind: "image", the default.
        first_row: the number of the first row of `x` in the whole set, 0 by default.
        value_range: of images, the values of black and white. None, the default, is (0, 255) of
            integers, and (0, 1) of floating-point numbers. Results stay within it.

    Raises:
        ValueError: if there is no such corruption, or `x` has another rank or dtype, holds NaN, or
            exceeds its range.

    Example:
    >>> images = np.full((2, 8, 8, 1), 0.5, "float32")
    >>> images[:, :4] = 1.0
    >>> corrupt(images, "contrast", severity=2)[0, ::4, 0, 0]  # Half as far from the mean, 0.75.
    array([0.875, 0.625], dtype=float32)

    Reference: of images, Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to
    Common Corruptions and Perturbations", ICLR 2019.
    """
    if kind not in NAMES:
        raise ValueError(f"kind must be one of {list(NAMES)}; got {kind!r}.")
    if name not in NAMES[kind]:
        listed = ", ".join(NAMES[kind])
        raise ValueError(f"There is no corruption {name!r} of kind {kind!r}; expected {listed}.")
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be a whole number from 1 to 5; got {severity!r}.")
    seed = require.whole("seed", seed, 0)
    first_row = require.whole("first_row", first_row, 0)
    draws = Draws(seed, f"{kind} {name}", first_row)
    images = np.asarray(x)
    limits = _limits(images, value_range)
    return image_corruptions.corrupt(images, name, int(severity), draws, limits)


def _limits(x, value_range):
    """The range of images; raises ValueError if they are no images in it."""
    if x.ndim != 4 or x.size == 0:
        raise ValueError(
            "Images are a batch (batch, height, width, channels) of one at least; got the shape "
            f"{x.shape}. Of one image give image[None], of grey ones images[..., None]."
        )
    is_integer = np.issubdtype(x.dtype, np.integer)
    if not is_integer and x.dtype.kind != "f" and x.dtype.name != "bfloat16":
        raise ValueError(f"Images hold numbers; got the dtype {x.dtype}. Give uint8 or float32.")
    low, high = value_range or ((0, 255) if is_integer else (0, 1))
    if not low < high:
        raise ValueError(f"value_range must be (black, white), black < white; got {value_range}.")
    least, most = float(x.min()), float(x.max())
    if not (low <= least and most <= high):
        if np.isnan(least):
            raise ValueError("The images hold NaN. Remove or fill such values.")
        raise ValueError(
            f"The images hold values from {least:g} to {most:g}; expected {low:g} to {high:g}, "
            f"{'as given' if value_range else f'the default of {x.dtype}'}. Scale the images, or "
            "give value_range=(black, white), such as (0, 255) or (-1, 1)."
        )
    return low, high
