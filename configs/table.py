"""A table of your own, to a number or to a class: a CSV, Parquet or .npz file.

    ecl-tf compare --config=table --workdir=runs/price \\
        --config.data.path=mine.csv --config.data.target=price
    ecl-tf compare --config=table:classes --workdir=runs/kind \\
        --config.data.path=mine.csv --config.data.target=kind

Inputs are all other columns: numbers, texts, booleans and dates; cells may be missing. What was
found is printed, and may be said: --config.data.categories=zip,floor, numbers or dates. Rows of a
patient are kept together by --config.data.groups=patient, and the future apart by
--config.data.time=day. Other rows are parted at random, with the same share of each class in all
splits; --config.data.stratify=None draws them whatever their class.

Batches, steps, layers and the teacher's dropout and weight decay follow from the numbers of rows
and columns, unless they are given: --config.student.network.widths="(64, 64)",
--config.student.train.steps=5000. Expected and time: your data's, from about 5 minutes for 2,000
rows to hours for a million, on 2 CPU cores.
"""

from ecl_tf.configs import casp, common
from ml_collections.config_dict import FieldReference, placeholder


def get_config(target="number"):
    common.require("target", target, ("number", "classes"))
    config = casp.get_config()
    config.data.path = "table.csv"
    names = ("numbers", "categories", "dates", "groups", "time", "unlabelled")
    config.data.update({name: placeholder(str) for name in names})
    config.data.stratify = FieldReference(None, field_type=object)  # A flag may set it to None.
    with config.unlocked(), config.ignore_type():
        for section in (config.teacher, config.student):
            section.network.widths = placeholder(tuple)
            section.train.steps = FieldReference(None, field_type=object)
            section.train.batch_size = placeholder(int)
        config.teacher.network.dropout = placeholder(float)
        config.teacher.train.weight_decay = placeholder(float)
        if target == "classes":
            config.output, config.score = "categorical", "accuracy"
            config.data.classes, config.data.stratify = True, True
            config.teacher.calibrate = True
            config.erm.label_smoothing = 0.1
            config.kd.temperatures = common.KD_TEMPERATURES
            config.xcl.choices = common.CLASS_CHOICES
            del config.student.network.scale_branch
        config.xcl.choices = (*config.xcl.choices, common.OF_TABLES)
    return config
