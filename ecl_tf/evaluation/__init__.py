"""What a network is worth off the data too: abstaining, shifts, other inputs, fidelity.

`measure` measures all of it.
"""

from ecl_tf.evaluation import corruptions
from ecl_tf.evaluation.corruptions import corrupt
from ecl_tf.evaluation.detection import auroc, fpr_at_tpr, unfamiliarity
from ecl_tf.evaluation.fidelity import divergence, fidelity_scores
from ecl_tf.evaluation.maps import draw_maps, uncertainty_maps
from ecl_tf.evaluation.overlap import mean_iou, overlaps
from ecl_tf.evaluation.regression import (
    crps,
    interval,
    interval_score,
    quantile_calibration_error,
    sharpness,
)
from ecl_tf.evaluation.scores import further_scores, main_scores
from ecl_tf.evaluation.selective import (
    RiskCoverage,
    aurc,
    excess_aurc,
    losses_and_uncertainty,
    risk_coverage,
)
from ecl_tf.evaluation.shown import drawn_inputs
from ecl_tf.evaluation.suite import Model, measure

__all__ = [
    "Model",
    "RiskCoverage",
    "aurc",
    "auroc",
    "corrupt",
    "corruptions",
    "crps",
    "divergence",
    "draw_maps",
    "drawn_inputs",
    "excess_aurc",
    "fidelity_scores",
    "fpr_at_tpr",
    "further_scores",
    "interval",
    "interval_score",
    "losses_and_uncertainty",
    "main_scores",
    "mean_iou",
    "measure",
    "overlaps",
    "quantile_calibration_error",
    "risk_coverage",
    "sharpness",
    "uncertainty_maps",
    "unfamiliarity",
]
