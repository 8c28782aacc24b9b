"""ImageNet: ResNet-50 from a pretrained ConvNeXt of keras.applications.

    ecl-tf distill  --config=imagenet --workdir=runs/imagenet
    ecl-tf evaluate --config=imagenet --workdir=runs/imagenet

needs GPUs, and the archives ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar in TFDS's
manual directory once. Any other teacher: --config.teacher.pretrained.model=ConvNeXtLarge.
To try it on any machine, on random images and weights, in under two minutes:

    ecl-tf distill --config=imagenet:runlocal --workdir=runs/local

The schedule is the usual one of 90 epochs, SGD from 0.1 per 256 rows, 5 epochs of warmup
(Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1), along a cosine; longer
schedules pay (--config.student.train.steps). Top-1 as Keras's documentation states it: the
teacher 85.3 %, ResNet-50 by labels 74.9 %. Not run here at full scale.
"""

from ecl_tf.configs import common
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

_BATCH = 256
_STEPS_PER_EPOCH = 1_271_167 // _BATCH


def get_config(size="full"):
    common.require("size", size, ("full", "runlocal"))
    config = common.classification(
        data={
            "name": "imagenet2012",
            "validation_size": 10_000,
            "image_size": 224,
            "data_dir": placeholder(str),
            "mock_examples": 0,
        },
        teacher={
            "calibrate": True,
            "pretrained": {
                "name": "keras_application",
                "model": "ConvNeXtBase",
                "weights": "imagenet",
            },
        },
        student={
            "network": {"name": "application", "model": "ResNet50", "unstrided": 0},
            "train": common.sgd(
                90 * _STEPS_PER_EPOCH,
                0.1,
                _BATCH,
                steps_per_execution=15,
                epochs=90,
                config={"nesterov": True},
                schedule={"name": "cosine", "warmup_steps": 5 * _STEPS_PER_EPOCH},
                penalty=1e-4,
            ),
        },
        erm={"label_smoothing": 0.1, "mixup_alpha": 0.2},
    )
    if size == "runlocal":
        config.data.update({"mock_examples": 64, "image_size": 64})
        config.teacher.pretrained = ConfigDict(
            {"name": "keras_application", "model": "MobileNet", "weights": None, "size": (64, 64)}
        )
        config.student.network.model = "MobileNetV2"
        common.run_locally(config, steps=4, batch_size=8)
        config.student.train.schedule.warmup_steps = 1
    return config
