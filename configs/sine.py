"""One input, 24 training rows: what is matched between the training points.

    python -m trainers.compare --config=configs/sine.py --workdir=runs/sine

The report shows teacher and students over the whole range of the input.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "seeds": 5,  # Of the final runs.
            "tuning_seeds": 1,
            "output": {"class_name": "Normal", "config": {"event_size": 1, "min_scale": 0.01}},
            "score": "rmse",
            "data": {"name": "sine", "train_size": 24, "noise": 0.1, "seed": 0},
            "teacher": {
                "members": 5,
                "calibrate": False,
                "inference_form": placeholder(str),
                "network": {"name": "mlp", "widths": (64, 64)},
                "train": {
                    "steps": 1000,
                    "batch_size": 24,
                    "learning_rate": 3e-3,
                    "steps_per_execution": 20,
                },
            },
            "student": {
                "network": {"name": "mlp", "widths": (16, 16)},
                "train": {
                    "steps": 2000,
                    "epochs": 10,
                    "batch_size": 24,
                    "learning_rate": 1e-2,
                    "steps_per_execution": 20,
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
