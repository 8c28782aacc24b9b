"""Regression of a table: protein tertiary structure (UCI CASP), 9 numbers to a distance.

    ecl-tf compare --config=casp --workdir=runs/casp \\
        --config.data.path=casp.npz

The table is an .npz file with arrays `x` (rows, 9) and `y` (rows,), or UCI's CASP.csv with
--config.data.target=RMSD.

Expected: RMSE of the teacher 3.67, ERM 4.19, standard KD and tuned KD 4.02, XCL 4.06; NLL 2.58,
2.70, 2.81, 2.69. Time: 30 min on 2 busy CPU cores with --config.tuning_seeds=1 (31 trainings).
"""

from ecl_tf.configs import common
from ml_collections.config_dict import placeholder


def get_config():
    return common.regression(
        event_size=1,
        min_scale=0.1,
        score="rmse",
        tuning_seeds=2,
        data={
            "name": "table",
            "path": "casp.npz",
            "inputs": placeholder(str),
            "target": "y",
            "classes": placeholder(bool),
            "validation_size": 0.1,
            "test_size": 0.1,
            "seed": 0,
        },
        teacher={
            "members": 4,
            "network": {
                "name": "mlp",
                "widths": (256, 256, 256, 256),
                "dropout": 0.1,
                "preprocessing": ("Normalization",),
            },
            "train": common.train(8000, 2e-3, 256, 50, optimizer="AdamW", weight_decay=0.1),
        },
        student={
            "network": {
                "name": "mlp",
                "widths": (64, 64),
                "preprocessing": ("Normalization",),
                "scale_branch": 32,
            },
            "train": common.train(5000, 3e-3, 256, 50, epochs=10),
        },
    )
