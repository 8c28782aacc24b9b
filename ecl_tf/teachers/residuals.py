"""The spread of regressors that give points only, measured on held-out data."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from ecl_tf._internal import finite, labelled, legacy, own_inputs, positions, symbolic


def residual_stddev(
    members: keras.Model | Sequence[keras.Model], x: Any, y: Any = None, batch_size: int = 256
) -> list[float]:
    """Measures the spread of point-estimate regressors on held-out data.

    The standard deviation s of each target dimension with
    s^2 = mean((y - mean_m)^2) - mean(Var_m[mean_m]): together with the members'
    disagreement, which `Ensemble` adds, the predicted variance then equals the
    measured one on average. Positions of rows count as rows, but for those that the first
    member's Keras mask leaves out.

    Args:
        members: a Keras model that gives points (batch, d), or a sequence of them.
        x: inputs, or a batched `tf.data.Dataset` of (inputs, targets), whose weights, if there
            are any, have no say. Not the data that the members were trained on: their residuals are
            too small there.
        y: targets (rows, d) or (rows,), in the units that the members predict; None, the
            default, where `x` is a dataset.
        batch_size: rows of a forward pass, 256 by default.

    Returns:
        A list of d floats, to be given to `ecl_tf.outputs.Point(d, stddev=...)`.

    Raises:
        ValueError: if the data is empty, has no labels or those of other targets than the members
            have, or the residuals don't exceed the members' disagreement.

    Example:
    >>> twice = keras.Sequential([keras.Input((1,)), keras.layers.Rescaling(2.0)])
    >>> residual_stddev(twice, np.array([[1.0], [1.0]]), np.array([[2.5], [1.5]]))
    [0.5]
    """
    members = list(members) if isinstance(members, (list, tuple)) else [members]
    for member in members:
        legacy.refuse(member, "teacher")
    x = labelled.dataset("residual_stddev", x, y, batch_size, members)
    excess = []
    for inputs, targets, *_ in x:
        answered = [member(own_inputs.of(member, inputs), training=False) for member in members]
        answered = [symbolic.only(each, "teacher") for each in answered]
        points = np.stack([np.asarray(each) for each in answered])
        points = points[..., None] if points.ndim == 2 else points  # One number a row.
        targets = np.asarray(targets)
        if targets.dtype.kind not in "biuf":
            raise ValueError(
                f"Residuals are of numbers, and the targets are {targets.dtype}, such as "
                f"{targets.ravel()[:1].tolist()}. Cast them: y.astype('float32')."
            )
        finite.require_rows(targets, "targets")
        if targets.size != points[0].size:
            raise ValueError(
                f"The targets of {len(targets)} rows have the shape {targets.shape}, and the "
                f"members answer with {points[0].shape}. Give y a column for each of their "
                f"{points.shape[-1]} targets."
            )
        targets = np.reshape(targets, points.shape[1:])
        own = (targets - points.mean(0)) ** 2 - points.var(0)
        mask = positions.masks(answered[0])
        excess.append(own[positions.counting(own.shape[:-1], mask)])  # Positions count as rows.
    if not sum(map(len, excess)):
        raise ValueError("residual_stddev got no rows; give it held-out inputs and targets.")
    variance = np.concatenate(excess).mean(0)
    if not np.all(variance > 0.0):
        raise ValueError(
            "The members' residuals are no larger than their disagreement (or are not "
            f"finite): residual variance {variance.tolist()}. Their disagreement is spread "
            "enough: use ecl_tf.outputs.Point(event_size) without a stddev."
        )
    return np.sqrt(variance).tolist()
