"""CIFAR-100: ResNet-20 from an ensemble of ResNet-56, as the distillation literature has it.

    python -m trainers.train_teacher --config=configs/cifar100.py --workdir=runs/cifar100
    python -m trainers.distill       --config=configs/cifar100.py --workdir=runs/cifar100

needs a GPU; trainers.compare with the same arguments runs all methods. To try it on any
machine, on random images, in under two minutes:

    python -m trainers.compare --config=configs/cifar100.py:runlocal --workdir=runs/local

The schedule is that of Tian et al., "Contrastive Representation Distillation", 2020,
section 4: 240 epochs, batches of 64, SGD from 0.05, a tenth after 150, 180 and 210 epochs.
Published there on the whole training split: ResNet-56 72.34 %, ResNet-20 69.06 %, with
KD 70.66 % (with shortcuts that have weights; here they have none, as in He et al., 2015).
Other students: --config.student.network.name=wide_resnet --config.student.network.depth=16.
Not run here at full scale.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

_STEPS = 240 * 780  # 50,000 / 64 = 781 an epoch, to whole executions.


def get_config(size="full"):
    if size not in ("full", "runlocal"):
        raise ValueError(f"Unknown size {size!r}; expected 'full' or 'runlocal'.")

    train = {
        "steps": _STEPS,
        "epochs": 240,
        "batch_size": 64,
        "optimizer": {"class_name": "SGD", "config": {"momentum": 0.9}},
        "learning_rate": 0.05,
        "schedule": {"name": "steps", "at": (150 / 240, 180 / 240, 210 / 240), "factor": 0.1},
        # Decoupled: the published L2 penalty of 5e-4, times 1 / (1 - momentum).
        "weight_decay": 5e-3,
        "distillation_weight_decay": 5e-4,
        "steps_per_execution": 20,
    }
    config = ConfigDict(
        {
            "seed": 0,
            "seeds": 5,  # Of the final runs.
            "tuning_seeds": 1,
            "output": "categorical",
            "score": "accuracy",
            "data": {
                "name": "cifar100",
                "validation_size": 5000,
                "augment": True,
                "seed": 0,
                "data_dir": placeholder(str),
                "mock_examples": 0,
            },
            "teacher": {
                "members": 3,
                "calibrate": True,
                "inference_form": "float32",  # Folded; "bfloat16" is faster, see the README.
                "network": {"name": "resnet", "depth": 56},
                "train": train,
            },
            "student": {"network": {"name": "resnet", "depth": 20}, "train": train},
            "erm": {"label_smoothing": 0.1, "mixup_alpha": 0.4},
            "kd": {"temperatures": (1.0, 2.0, 4.0, 8.0), "label_weights": (0.0, 0.1)},
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
    if size == "runlocal":
        config.data.mock_examples = 256
        config.data.validation_size = 64
        config.seeds = 2
        config.teacher.members = 1
        config.teacher.network.depth = 8
        config.student.network.depth = 8
        config.kd.temperatures = (1.0, 4.0)
        config.kd.label_weights = (0.0,)
        for section in (config.teacher, config.student):
            section.train.update({"steps": 6, "epochs": 2, "batch_size": 32})
            section.train.steps_per_execution = 1
    return config
