"""Teachers: what gives the distribution that a student is matched to."""

from ecl_tf.teachers import pretrained
from ecl_tf.teachers.answers import as_logits
from ecl_tf.teachers.calibration import calibrated
from ecl_tf.teachers.ensemble import Ensemble, get
from ecl_tf.teachers.estimator import from_estimator
from ecl_tf.teachers.function import FunctionTeacher
from ecl_tf.teachers.inference import inference_form
from ecl_tf.teachers.mapped import Mapped
from ecl_tf.teachers.precision import Rounding, rounding
from ecl_tf.teachers.residuals import residual_stddev
from ecl_tf.teachers.teacher import Teacher

__all__ = [
    "Ensemble",
    "FunctionTeacher",
    "Mapped",
    "Rounding",
    "Teacher",
    "as_logits",
    "calibrated",
    "from_estimator",
    "get",
    "inference_form",
    "pretrained",
    "residual_stddev",
    "rounding",
]
