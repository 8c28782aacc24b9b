"""Four tables that come with scikit-learn, over five splits; the argument is the table.

    ecl-tf compare --config=embedded_tables:diabetes --workdir=runs/diabetes

Tables: diabetes (default) and friedman, to a number; breast_cancer and digits, to a class. Batches,
steps and networks follow from the number of rows, as in the config `table`. Every split has other
rows, a teacher and students of its own.

Gradient boosting itself beside them, with its speed and size, from a checkout:

    python -m benchmarks.boosting --workdir=runs/diabetes

and as the teacher: --config.teacher.function=benchmarks.boosting:teacher.
"""

from ecl_tf.configs import common, table


def get_config(name="diabetes"):
    common.require("table", name, ("breast_cancer", "diabetes", "digits", "friedman"))
    is_class = name in ("breast_cancer", "digits")
    config = table.get_config("classes" if is_class else "number")
    with config.unlocked():
        config.data = {
            "name": "embedded_table",
            "table": name,
            "validation_size": 0.2,
            "test_size": 0.2,
            "seed": 0,
        }
    config.splits, config.seeds, config.tuning_seeds = 5, 1, 1
    config.student.conformal = 0.9
    # Fewer than elsewhere, for the time.
    config.kd.label_weights = (0.0, 0.3)
    if is_class:
        config.kd.temperatures = (1.0, 2.0, 4.0)
    config.xcl.choices = tuple(each for each in config.xcl.choices if each["name"] != "half mixed")
    return config
