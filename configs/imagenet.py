"""ImageNet: ResNet-50 from a pretrained ConvNeXt of keras.applications.

    python -m trainers.distill  --config=configs/imagenet.py --workdir=runs/imagenet
    python -m trainers.evaluate --config=configs/imagenet.py --workdir=runs/imagenet

needs GPUs, and the archives ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar in TFDS's
manual directory once. Any other teacher: --config.teacher.pretrained.model=ConvNeXtLarge.
To try it on any machine, on random images and weights, in under two minutes:

    python -m trainers.distill --config=configs/imagenet.py:runlocal --workdir=runs/local

The schedule is the usual one of 90 epochs, SGD from 0.1 per 256 rows, 5 epochs of warmup
(Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1), along a cosine; longer
schedules pay (--config.student.train.steps). Top-1 as Keras's documentation states it: the
teacher 85.3 %, ResNet-50 by labels 74.9 %. Not run here at full scale.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

_BATCH = 256
_STEPS_PER_EPOCH = 1_271_167 // _BATCH


def get_config(size="full"):
    if size not in ("full", "runlocal"):
        raise ValueError(f"Unknown size {size!r}; expected 'full' or 'runlocal'.")

    config = ConfigDict(
        {
            "seed": 0,
            "seeds": 5,  # Of the final runs of trainers.compare.
            "tuning_seeds": 1,
            "output": "categorical",
            "score": "accuracy",
            "data": {
                "name": "imagenet2012",
                "validation_size": 10_000,
                "image_size": 224,
                "data_dir": placeholder(str),
                "mock_examples": 0,
            },
            "teacher": {
                "calibrate": True,
                "inference_form": placeholder(str),
                "pretrained": {
                    "name": "keras_application",
                    "model": "ConvNeXtBase",
                    "weights": "imagenet",
                },
            },
            "student": {
                "network": {"name": "application", "model": "ResNet50", "unstrided": 0},
                "train": {
                    "steps": 90 * _STEPS_PER_EPOCH,
                    "epochs": 90,
                    "batch_size": _BATCH,
                    "optimizer": {
                        "class_name": "SGD",
                        "config": {"momentum": 0.9, "nesterov": True},
                    },
                    "learning_rate": 0.1,
                    "schedule": {"name": "cosine", "warmup_steps": 5 * _STEPS_PER_EPOCH},
                    # Decoupled: the published L2 penalty of 1e-4, times 1 / (1 - momentum).
                    "weight_decay": 1e-3,
                    "distillation_weight_decay": 1e-4,
                    "steps_per_execution": 15,
                },
            },
            "erm": {"label_smoothing": 0.1, "mixup_alpha": 0.2},
            "kd": {"temperatures": (1.0, 2.0, 4.0, 8.0), "label_weights": (0.0, 0.1)},
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
        config.data.update({"mock_examples": 64, "image_size": 64})
        config.teacher.pretrained = ConfigDict(
            {"name": "keras_application", "model": "MobileNet", "weights": None, "size": (64, 64)}
        )
        config.student.network.model = "MobileNetV2"
        config.student.train.update({"steps": 4, "epochs": 2, "batch_size": 8})
        config.student.train.steps_per_execution = 1
        config.student.train.schedule.warmup_steps = 1
    return config
