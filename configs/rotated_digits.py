"""placeholder"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "seeds": 5,
            "tuning_seeds": 2,
            "output": {"class_name": "Normal", "config": {"event_size": 1, "min_scale": 0.01}},
            "score": "angular_error",
            "data": {
                "name": "rotated_digits",
                "train_size": 900,
                "validation_size": 300,
                "copies": 1,
                "max_angle": 90.0,
                "seed": 0,
            },
            "teacher": {
                "members": 3,
                "network": {"name": "convnet", "width": 32, "depth": 2},
                "train": {
                    "steps": 600,
                    "batch_size": 64,
                    "learning_rate": 2e-3,
                    "steps_per_execution": 20,
                },
            },
            "student": {
                "network": {"name": "convnet", "width": 8, "depth": 2},
                "train": {
                    "steps": 2000,
                    "epochs": 10,
                    "batch_size": 64,
                    "learning_rate": 5e-3,
                    "steps_per_execution": 20,
                },
            },
            "erm": {"label_smoothing": 0.0, "mixup_alpha": 0.4},
            "kd": {"label_weights": (0.0, 0.1, 1.0)},
            "xcl": {
                "sampler": {
                    "class_name": "Choice",
                    "config": {"samplers": ("Mixup", "CutMix"), "probabilities": (0.5, 0.5)},
                },
                "divergence": "kl",
                "temperature": 1.0,
                "label_weight": 0.0,
            },
        }
    )
