"""What a network's answers are measured by: the score that decides, the NLL, and a calibration."""

import functools

import keras

from ecl_tf import evaluation, metrics, outputs
from ecl_tf.experiments import positions


def scores_of(output, own_positions):
    """The metrics that may decide, by their names."""
    if output.family in ("categorical", "bernoulli"):
        return ["accuracy", "iou"] if own_positions else ["accuracy"]
    if output.family == "normal":
        return ["angular_error", "rmse"]
    return ["rmse"] if isinstance(output, outputs.Numeric) else []


def scores(output, labels, raw, score_name, has_positions, names=None):
    """A dict from name to float, of the measures called `names`; of all, if it is None."""
    likelihood = functools.partial(_of, metrics.NegativeLogLikelihood(output), labels, raw)
    if isinstance(output, outputs.Numeric):
        if score_name == "rmse":
            points = output.prediction(raw)
            error = functools.partial(_of, keras.metrics.RootMeanSquaredError(), labels, points)
        else:
            error = functools.partial(_of, metrics.AngularError(output), labels, raw)
        coverage = functools.partial(_of, _coverage(output), labels, raw)
        found = {score_name: error, "nll": likelihood, "coverage": coverage}
    else:
        logits, classes = positions.as_classes(output, raw, labels)
        right = keras.metrics.SparseCategoricalAccuracy()
        calibration = metrics.ExpectedCalibrationError()
        overlap = functools.partial(evaluation.mean_iou, output, raw, labels)
        found = {
            "accuracy": functools.partial(_of, right, classes, logits),
            **({"iou": overlap} if has_positions else {}),
            "nll": likelihood,
            "ece": functools.partial(_of, calibration, classes, logits),
        }
    return {name: float(found[name]()) for name in names or found}


def _of(metric, labels, predicted):
    metric.update_state(labels, predicted)
    return metric.result()


def _coverage(output):
    if output.family == "normal":
        return metrics.GaussianCoverage(output, level=0.95)
    return metrics.Coverage(output, level=0.95)
