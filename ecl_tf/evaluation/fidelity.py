"""Fidelity: how close a student's answers are to its teacher's, whether these are right or not.

Reference: Stanton et al., "Does Knowledge Distillation Really Work?", 2021, section 3.
"""

from typing import Any

import numpy as np

from ecl_tf import divergences, outputs
from ecl_tf.evaluation.selective import known_answers, losses_and_uncertainty

_TOGETHER = 4096  # Rows.
_NAMES = {"mean_error": "mean_difference"}


def divergence(
    teacher_output: outputs.Output, teacher_raw: Any, output: outputs.Output, raw: Any
) -> float:
    """The mean of KL(teacher, student) over rows, in nats, at temperature 1.

    Args:
        teacher_output: the `ecl_tf.outputs.Output` of the teacher's raw outputs.
        teacher_raw: the teacher's raw outputs (rows, ..., size).
        output: that of the student's, of a family that can learn from the teacher's.
        raw: the student's raw outputs.

    Example:
    >>> output = outputs.Categorical()
    >>> round(divergence(output, np.log([[0.5, 0.5]]), output, np.log([[0.25, 0.75]])), 4)
    0.1438
    """
    values = [
        output.divergence(teacher_output(its), output(own), divergences.get("kl"))
        for its, own in _parts(teacher_raw, raw)
    ]
    return float(np.mean(np.concatenate(values), dtype="float64"))


def fidelity_scores(
    teacher_output: outputs.Output,
    teacher_raw: Any,
    output: outputs.Output,
    raw: Any,
    labels: Any = None,
) -> dict[str, float]:
    """How close a student is to its teacher.

    | name | outputs | meaning |
    |---|---|---|
    | `divergence` | all | mean of KL(teacher, student), in nats |
    | `agreement` | classes, yes/no | share of rows where both have the same likeliest answer |
    | `agreement_where_wrong` | classes, yes/no | the same of rows where the teacher is wrong |
    | `mean_difference` | numbers | mean of abs(teacher's mean - student's), in target units |

    A student that agrees where its teacher is wrong has learned the teacher's errors, too. The
    name is left out if the teacher is wrong nowhere, or labels are not given.

    Args:
        teacher_output: as in `divergence`.
        teacher_raw: as in `divergence`.
        output: as in `divergence`, and no `Joint`.
        raw: as in `divergence`.
        labels: labels in any form that `fit` takes; None by default.

    Raises:
        ValueError: if a label is none of these outputs.

    Example:
    >>> teacher, student = [[2.0, 0.0], [2.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]
    >>> output = outputs.Categorical()
    >>> found = fidelity_scores(output, teacher, output, student, [1, 0])
    >>> {name: round(value, 2) for name, value in found.items()}
    {'agreement': 0.5, 'agreement_where_wrong': 1.0, 'divergence': 0.45}
    """
    teacher_raw, raw = np.asarray(teacher_raw), np.asarray(raw)
    compared: dict[str, list] = {}
    for its, own in _parts(teacher_raw, raw):
        for name, values in output.compare(teacher_output(its), output(own)).items():
            compared.setdefault(_NAMES.get(name, name), []).append(values)
    found = {
        name: float(np.mean(np.concatenate(each), dtype="float64"))
        for name, each in compared.items()
    }
    if labels is not None and "agreement" in found:
        # The teacher's output need not know which labels stand for unknown ones.
        known = known_answers(output, raw, labels)
        size = raw.shape[-1] if output.family == "categorical" else 1
        labels = np.reshape(labels, [-1, size if outputs.is_one_hot(labels, raw) else 1])[known]
        its, own = (each.reshape(-1, size)[known] for each in (teacher_raw, raw))
        is_wrong, _ = losses_and_uncertainty(teacher_output, its, labels)
        same = _same(teacher_output, its, output, own, labels)
        if is_wrong.any():
            found["agreement_where_wrong"] = float(same[is_wrong > 0.0].mean())
    found["divergence"] = divergence(teacher_output, teacher_raw, output, raw)
    return found


def _same(teacher_output, teacher_raw, output, raw, labels):
    """Whether both answers are the same, of every place with a known label."""
    own, its = (
        np.asarray(each.logits(r)) for each, r in ((output, raw), (teacher_output, teacher_raw))
    )
    if output.family == "categorical":
        same = own.argmax(-1) == its.argmax(-1)
    else:
        same = (own > 0.0) == (its > 0.0)
    return same.ravel()[known_answers(teacher_output, teacher_raw, labels)]


def _parts(*arrays):
    """Rows of all arrays, some thousands at a time."""
    for first in range(0, len(arrays[0]), _TOGETHER):
        yield tuple(each[first : first + _TOGETHER] for each in arrays)
