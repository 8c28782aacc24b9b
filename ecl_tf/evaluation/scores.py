"""All numbers of a network's answers to labelled rows, as a flat dict."""

import math
from typing import Any

import numpy as np

from ecl_tf import metrics, outputs
from ecl_tf.evaluation import overlap, regression, selective


def main_scores(
    output: outputs.Output, raw: Any, labels: Any, score: str | None = None
) -> dict[str, float]:
    """The score, the likelihood, the calibration, and what the network knows of its own errors.

    | name | outputs | meaning |
    |---|---|---|
    | `accuracy` | classes, yes/no | share of rows whose likeliest answer is the label |
    | `rmse` | numbers | root of the mean squared error, in target units |
    | `angular_error` | angles | mean angle, in degrees, in place of `rmse` if asked for |
    | `iou` | classes, yes/no | `mean_iou`, if asked for |
    | `nll` | all | mean negative log-likelihood, in nats |
    | `ece` | classes | `ecl_tf.metrics.ExpectedCalibrationError` |
    | `coverage` | numbers | share of labels inside the central 95 % intervals |
    | `crps` | numbers | mean `crps`, in target units |
    | `aurc` | all | `aurc`: of errors, or of squared errors in squared target units |

    Args:
        output: an `ecl_tf.outputs.Output` that is no `Joint`.
        raw: raw outputs (rows, ..., size).
        labels: labels in any form that `fit` takes.
        score: one of `names`; None, the default, for `accuracy` or `rmse`.

    Raises:
        ValueError: if a label is none of this output, or all are unknown; if the output has no such
            score, or raw outputs are one number a row without their last axis.

    Example:
    >>> found = main_scores(outputs.Categorical(), [[1.0, 0.0], [0.0, 2.0]], [0, 0])
    >>> {name: round(value, 3) for name, value in found.items()}
    {'accuracy': 0.5, 'nll': 1.22, 'ece': 0.575, 'aurc': 0.75}
    """
    if score is not None and score not in names(output):
        raise ValueError(f"The scores of {output!r} are {[*names(output)]}; got {score!r}.")
    raw, labels = _arrays(output, raw, labels)
    losses, unsure = selective.losses_and_uncertainty(output, raw, labels)
    aurc = selective.aurc(losses, unsure)
    values = np.asarray(output.negative_log_likelihoods(output(raw), labels), float)
    known = output.known(labels, raw)
    found = {"nll": float(np.average(values, weights=known))}
    if not isinstance(output, outputs.Numeric):
        if output.family == "categorical":
            found["ece"] = _result(metrics.ExpectedCalibrationError(output=output), labels, raw)
        if score == "iou":
            found[score] = overlap.mean_iou(output, raw, labels)
        return {"accuracy": float(1.0 - np.mean(losses)), **found, "aurc": aurc}
    if score == "angular_error":
        error = {score: _result(metrics.AngularError(output), labels, raw)}
    else:
        error = {"rmse": math.sqrt(np.mean(losses))}
    found["coverage"] = _result(metrics.Coverage(output), labels, raw)
    crps = float(np.mean(regression.crps(output, raw, labels)))
    return {**error, **found, "crps": crps, "aurc": aurc}


def names(output: outputs.Output) -> tuple[str, str]:
    """The scores that `main_scores` takes of an output, of which the first is the default.

    Args:
        output: as in `main_scores`.
    """
    is_numeric = isinstance(output, outputs.Numeric)
    return ("rmse", "angular_error") if is_numeric else ("accuracy", "iou")


def further_scores(output: outputs.Output, raw: Any, labels: Any) -> dict[str, float]:
    """What `main_scores` leaves out.

    | name | outputs | meaning |
    |---|---|---|
    | `excess_aurc` | all | `excess_aurc`: `aurc` above that of the best order |
    | `interval_score` | numbers | mean `interval_score` of 95 % intervals, in target units |
    | `quantile_calibration_error` | numbers | `quantile_calibration_error` |
    | `stddev` | numbers | `sharpness`: mean predicted standard deviation |
    | `interval_width` | numbers | `sharpness`: mean width of 95 % intervals |

    Args:
        output: as in `main_scores`.
        raw: as in `main_scores`.
        labels: as in `main_scores`.

    Raises:
        ValueError: as `main_scores`.

    Example:
    >>> further_scores(outputs.Categorical(), [[3.0, 0.0], [0.0, 2.0]], [0, 0])
    {'excess_aurc': 0.0}
    """
    raw, labels = _arrays(output, raw, labels)
    losses = selective.losses_and_uncertainty(output, raw, labels)
    found = {"excess_aurc": selective.excess_aurc(*losses)}
    if isinstance(output, outputs.Numeric):
        scores = regression.interval_score(output, raw, labels)
        error = regression.quantile_calibration_error(output, raw, labels)
        found |= {"interval_score": float(np.mean(scores)), "quantile_calibration_error": error}
        found |= regression.sharpness(output, raw)
    return found


def _arrays(output, raw, labels):
    """Raw outputs and labels as arrays; ValueError for labels that are none."""
    raw, labels = np.asarray(raw), np.asarray(labels)
    if raw.ndim < 2:
        raise ValueError(
            f"Raw outputs are (rows, ..., size); got the shape {raw.shape}. Give raw[:, None] if "
            "they are one number for each row."
        )
    output.require_labels(labels, raw.shape)
    require_known(output, raw, labels)
    return raw, labels


def require_known(output: outputs.Output, raw: Any, labels: Any, name: str = "") -> None:
    """Raises ValueError if no label of a row or position is known, so that none can be scored.

    Args:
        output: as in `main_scores`.
        raw: as in `main_scores`.
        labels: as in `main_scores`.
        name: that of the output, for the message; "" by default.
    """
    known = output.known(labels, raw)
    if known is not None and not np.any(known):
        raise ValueError(
            f"No label{f' of {name!r}' if name else ''} is known to {output!r}, so there is "
            "nothing to score. Give a row at least whose label is known."
        )


def _result(metric, labels, raw):
    metric.update_state(labels, raw)
    return float(metric.result())
