"""Intersection over union (IoU) of the predicted and the labelled positions of each class."""

from typing import Any

import numpy as np

from ecl_tf import outputs
from ecl_tf.evaluation import selective


def overlaps(
    output: outputs.Output, raw: Any, labels: Any, rows: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """The intersections and the unions of every class, counted over positions.

    The intersection of a class is the number of positions that are labelled with it, and whose
    likeliest class it is; the union is the number of those of which either is true. Of yes/no
    labels it is the same of each label's yes. Unknown labels (`ignore_class`) are left out.

    Args:
        output: an `ecl_tf.outputs.Output` of classes, or of yes/no labels.
        raw: raw outputs (..., size).
        labels: class indices (...,), or one-hot rows or yes/no labels (..., size).
        rows: the number of the row of each position, from 0, (...,), to count each row by itself;
            None, the default, counts all positions together.

    Returns:
        Two arrays of whole numbers (classes,), or (rows, classes); NaN of rows where an answer is.

    Raises:
        ValueError: if the output is neither of classes nor of yes/no labels, or if a label is none
            of this output.

    Example: one of two positions of class 1 is taken for class 0.
    >>> logits = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> intersection, union = overlaps(outputs.Categorical(), logits, [0, 1, 1])
    >>> print(intersection, union)
    [1 1] [2 2]
    """
    of_classes: Any = output
    if of_classes.family not in ("categorical", "bernoulli"):
        raise ValueError(f"The overlap is of classes or yes/no labels; got {output!r}.")
    raw, labels = np.asarray(raw), np.asarray(labels)
    output.require_labels(labels, raw.shape)
    size = raw.shape[-1]
    logits = np.asarray(of_classes.logits(raw)).reshape(-1, size)
    row = np.zeros(len(logits), int) if rows is None else np.ravel(rows)
    count, of_nan = int(row.max(initial=0)) + 1, np.isnan(logits)
    kept = selective.known_answers(output, raw, labels)
    if output.family == "bernoulli":
        known = np.zeros(logits.size, bool)
        known[kept] = True
        known = known.reshape(logits.shape)
        own, its = (logits > 0.0) & known, (labels.reshape(logits.shape) > 0.5) & known
        lost = row[(of_nan & known).any(-1)]
        found = np.stack([_sums(own & its, row, count), _sums(own | its, row, count)])
    else:
        if outputs.is_one_hot(labels, raw):
            labels = labels.argmax(-1)
        row, labels = row[kept], labels.reshape(-1)[kept].astype(int)
        predicted, lost = logits.argmax(-1)[kept], row[of_nan.any(-1)[kept]]

        def counted(which, classes):
            cells = row[which] * size + classes[which]
            return np.bincount(cells, minlength=count * size).reshape(count, size)

        every = slice(None)
        intersection = counted(labels == predicted, labels)
        union = counted(every, labels) + counted(every, predicted) - intersection
        found = np.stack([intersection, union])
    if lost.size:  # An argmax finds a class even there.
        found = found.astype(float)
        found[:, lost] = np.nan
    return tuple(found if rows is not None else found[:, 0])


def mean_iou(output: outputs.Output, raw: Any, labels: Any) -> float:
    """The mean over classes of intersection / union, between 0 and 1.

    Classes that are neither labelled nor predicted anywhere are left out, as by
    `keras.metrics.MeanIoU`. A class counts as much as another one of many more positions. Dice's
    coefficient of a class is 2 IoU / (1 + IoU).

    Args:
        output: as in `overlaps`.
        raw: as in `overlaps`.
        labels: as in `overlaps`.

    Example:
    >>> logits = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> mean_iou(outputs.Categorical(), logits, [0, 1, 1])
    0.5
    """
    return iou_of(*overlaps(output, raw, labels))


def iou_of(intersection: np.ndarray, union: np.ndarray) -> float:
    """The mean of intersection / union over the classes that have a union; 0 if none has."""
    has_some = union != 0
    return float(np.mean(intersection[has_some] / union[has_some])) if has_some.any() else 0.0


def _sums(values, row, count):
    """Of every column the sum of each row's values."""
    sums = [np.bincount(row, column, count) for column in values.T]
    return np.stack(sums, -1).astype(int)
