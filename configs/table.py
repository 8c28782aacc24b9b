"""A table of your own, to a number or to a class: a .csv file with named columns, or an .npz file.

    ecl-tf compare --config=table:classes --workdir=runs/mine \\
        --config.data.path=mine.csv --config.data.target=kind

Inputs are all other columns, or those of --config.data.inputs=width,depth; all are numbers.
Classes are text or whole numbers. Without `:classes` it is regression. Networks and schedules
are those of configs/casp.py, which were found for 35,000 rows. Expected and time: your data's.
"""

from ecl_tf.configs import casp, common


def get_config(target="number"):
    common.require("target", target, ("number", "classes"))
    config = casp.get_config()
    config.data.path = "table.csv"
    if target == "classes":
        with config.unlocked(), config.ignore_type():
            config.output, config.score = "categorical", "accuracy"
            config.data.classes = True
            config.teacher.calibrate = True
            config.erm.label_smoothing = 0.1
            config.kd.temperatures = common.KD_TEMPERATURES
            config.xcl.choices = common.CLASS_CHOICES
    return config
