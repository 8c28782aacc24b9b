"""Regression of a table: protein tertiary structure (UCI CASP), 9 numbers to a distance.

    python -m trainers.compare --config=configs/casp.py --workdir=runs/casp \\
        --config.data.path=casp.npz

The table is an .npz file with arrays `x` (rows, 9) and `y` (rows,), or UCI's CASP.csv with
--config.data.target=RMSD.

Expected: RMSE of the teacher 3.67, ERM 4.22, standard KD 4.03, tuned KD 4.19, XCL 4.11; NLL
2.58, 2.73, 2.81, 2.74, 2.71. Time: 25 min on 2 busy CPU cores (30 trainings of a student).
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "seeds": 5,  # Of the final runs.
            "tuning_seeds": 2,
            "output": {"class_name": "Normal", "config": {"event_size": 1, "min_scale": 0.1}},
            "score": "rmse",
            "data": {
                "name": "table",
                "path": "casp.npz",
                "inputs": placeholder(str),
                "target": "y",
                "classes": placeholder(bool),
                "validation_size": 0.1,
                "test_size": 0.1,
                "seed": 0,
            },
            "teacher": {
                "members": 4,
                "calibrate": False,
                "inference_form": placeholder(str),
                "network": {
                    "name": "mlp",
                    "widths": (256, 256, 256, 256),
                    "dropout": 0.1,
                    "preprocessing": ("Normalization",),
                },
                "train": {
                    "steps": 8000,
                    "batch_size": 256,
                    "optimizer": "AdamW",
                    "learning_rate": 2e-3,
                    "weight_decay": 0.1,
                    "steps_per_execution": 50,
                },
            },
            "student": {
                "network": {
                    "name": "mlp",
                    "widths": (64, 64),
                    "preprocessing": ("Normalization",),
                },
                "train": {
                    "steps": 5000,
                    "epochs": 10,
                    "batch_size": 256,
                    "learning_rate": 3e-3,
                    "steps_per_execution": 50,
                },
            },
            "erm": {"label_smoothing": 0.0, "mixup_alpha": 0.4},
            "kd": {"label_weights": (0.0, 0.1, 1.0)},
            "replay_epochs": 0,
            "xcl": {
                "sampler": {
                    "class_name": "Uncertain",
                    "config": {"candidates": 2, "score": "student_uncertainty", "temperature": 1.0},
                },
                "divergence": "kl",
                "temperature": 1.0,
                "label_weight": 0.0,
            },
        }
    )
