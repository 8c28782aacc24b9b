"""Extracurricular learning: distil a Keras teacher into a small student.

Both networks' outputs are distributions; samples are drawn beyond the training set;
the student is matched to the teacher on them. `Distiller` does it.
"""

import os
import platform
import shlex
import sys

from ecl_tf._internal import moved

__version__ = "0.1.0"

__all__ = [
    "Distiller",
    "Ensemble",
    "Teacher",
    "as_logits",
    "calibrated",
    "callbacks",
    "conformal",
    "costs",
    "data",
    "divergences",
    "evaluation",
    "export_student",
    "inference_form",
    "load_student",
    "losses",
    "metrics",
    "models",
    "outputs",
    "patch_fit",
    "prediction_sets",
    "preprocessing",
    "pretrained",
    "replay",
    "resume",
    "samplers",
    "teachers",
    "uncertainty",
]


def _without_traceback_of_ctrl_c(kind, error, trace):
    if issubclass(kind, KeyboardInterrupt):  # While all is imported; later, scripts see to it.
        print(f"Interrupted. To continue: {shlex.join(sys.orig_argv)}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


# Keras finds a class of a saved model only where the module that registers it was imported, so all
# are imported here. TensorFlow takes seconds, for which `ecl-tf --help` need not wait.
_is_command = os.path.splitext(os.path.basename(sys.argv[0]))[0] == "ecl-tf"
_asks_for_help = len(sys.argv) == 1 or {"-h", "--help", "--helpfull"} & {*sys.argv}
if _is_command:
    sys.excepthook = _without_traceback_of_ctrl_c
    if platform.machine() in (
        "x86_64",
        "AMD64",
    ):  # As for all scripts: see trainers/command_line.py.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
if not (_is_command and _asks_for_help):
    from ecl_tf import (
        callbacks,
        data,
        divergences,
        evaluation,
        losses,
        metrics,
        models,
        outputs,
        prediction_sets,
        preprocessing,
        replay,
        resume,
        samplers,
        teachers,
        uncertainty,
    )
    from ecl_tf._internal.keras_fit import patch_fit
    from ecl_tf.distiller import Distiller
    from ecl_tf.export import costs, export_student, load_student
    from ecl_tf.prediction_sets import conformal
    from ecl_tf.teachers import (
        Ensemble,
        Teacher,
        as_logits,
        calibrated,
        inference_form,
        pretrained,
    )

moved.find_moved()


def __getattr__(name):
    return moved.attribute(__name__, name)
