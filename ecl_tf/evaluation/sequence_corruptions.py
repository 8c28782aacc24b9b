"""Corruptions of sequences, at 5 severities: of steps with features, and of token ids.

Padded steps stay as they are, and no value is taken from them.
"""

from typing import Any

import numpy as np

from ecl_tf.evaluation import table_corruptions
from ecl_tf.evaluation.draws import Draws

# The constants of each severity; of noise standard deviations, else shares of steps.
CONSTANTS: dict[str, tuple[float, ...]] = {
    "noise": (0.1, 0.2, 0.3, 0.5, 0.8),
    "missing": (0.05, 0.1, 0.2, 0.3, 0.5),
    "cut": (0.1, 0.2, 0.3, 0.4, 0.5),
    "swapped": (0.05, 0.1, 0.2, 0.3, 0.5),
}
_REPLACED = (0.02, 0.05, 0.1, 0.15, 0.2)  # The share of tokens that are others: noise of ids.


def corrupt(
    x: Any,
    name: str,
    severity: int,
    draws: Draws,
    reference: Any = None,
    missing: Any = None,
    padding: Any = None,
    mask: Any = None,
) -> np.ndarray:
    """Returns corrupted sequences, of the shape and dtype of `x`.

    Args:
        x: (rows, steps, features), or (rows, steps).
        reference: sequences like `x`, of any number of steps; None, the default, for these.

    Raises:
        ValueError: if they are no sequences, or hold NaN that is no padding.
    """
    x = np.asarray(x)
    given = reference is not None
    steps, real = _steps(x, padding, mask)
    if given:
        pool = np.asarray(reference)
        table_corruptions.require_alike({"": x[:1, 0]}, {"": pool[:1, 0]})
        others, known = _steps(pool, padding, None)
        others = others[known]
    else:
        others = steps[real]
    constant = CONSTANTS[name][severity - 1]
    rows, length, features = steps.shape
    is_number = table_corruptions.holds_numbers(x)
    if not len(others):  # All is padding.
        return x.copy()
    if name == "cut":
        corrupted = _cut(steps, real, constant, padding)
    elif name == "swapped":
        corrupted = _swapped(steps, real, constant, draws)
    elif name == "noise" and is_number:
        noise = constant * draws.normal(rows, (length, features))
        corrupted = steps + noise * table_corruptions.spread(others)
    else:
        constant = _REPLACED[severity - 1] if name == "noise" else constant
        changed = draws.uniform(rows, (length, 1)) < constant
        if name == "noise":
            others = others[draws.whole(rows, (length,), len(others), 1)]
        else:
            others = table_corruptions.filled_with(missing, others)
        corrupted = np.where(changed, others, steps)
    return np.where(real[..., None], corrupted, steps).astype(x.dtype).reshape(x.shape)


def _steps(x, padding, mask):
    """Sequences as (rows, steps, features), and bool (rows, steps): which are no padding."""
    if x.ndim not in (2, 3) or x.size == 0:
        raise ValueError(
            "Sequences are (batch, steps, features), or (batch, steps) of token ids, of one at "
            f"least; got the shape {x.shape}. Of one sequence give x[None]."
        )
    steps = x.reshape(*x.shape[:2], -1)
    real = np.ones(x.shape[:2], bool)
    if mask is not None:
        real = np.asarray(mask, bool)
        if real.shape != x.shape[:2]:
            raise ValueError(
                f"The mask has the shape {real.shape}; expected (batch, steps), {x.shape[:2]}, "
                "True where a step is real."
            )
    if padding is not None:
        is_nan = padding != padding  # NaN equals nothing, itself included.
        real = real & (~np.isnan(steps) if is_nan else steps != padding).any(-1)
    if table_corruptions.holds_numbers(x) and np.isnan(steps[real]).any():
        raise ValueError("The sequences hold NaN. Remove or fill such values, or give padding=nan.")
    return steps, real


def _cut(steps, real, share, padding):
    """The last steps are padding or, where there is none, the last one that is left."""
    number = np.cumsum(real, 1)  # Of a real step, from 1.
    length = number[:, -1:]
    left = np.maximum(length - np.rint(share * length), np.minimum(length, 1))
    if padding is None:
        last = np.argmax(real & (number == left), 1)
        filler = steps[np.arange(len(steps)), last][:, None]
    else:
        filler = np.asarray(padding, steps.dtype)
    return np.where((number > left)[..., None], filler, steps)


def _swapped(steps, real, share, draws):
    """Neighbours change places; each step takes part once at most."""
    rows, length, _ = steps.shape
    u = draws.uniform(rows, (length,))
    source = np.tile(np.arange(length), (rows, 1))
    free = np.ones(rows, bool)
    for step in range(length - 1):
        moved = free & real[:, step] & real[:, step + 1] & (u[:, step] < share)
        source[moved, step], source[moved, step + 1] = step + 1, step
        free = ~moved
    return np.take_along_axis(steps, source[..., None], 1)
