"""CIFAR-100: ResNet-20 from an ensemble of ResNet-56, as the distillation literature has it.

    ecl-tf train-teacher --config=cifar100 --workdir=runs/cifar100
    ecl-tf distill       --config=cifar100 --workdir=runs/cifar100

needs a GPU; `ecl-tf compare` with the same arguments runs all methods. To try it on any
machine, on random images, in under two minutes:

    ecl-tf compare --config=cifar100:runlocal --workdir=runs/local

For a machine of 2 cores, on 10,000 images, ResNet-8 from two ResNet-20 (--dry_run says how many
hours it takes):

    ecl-tf compare --config=cifar100:small --workdir=runs/small --processes=2

The schedule is that of Tian et al., "Contrastive Representation Distillation", 2020,
section 4: 240 epochs, batches of 64, SGD from 0.05, a tenth after 150, 180 and 210 epochs.
Published there on the whole training split: ResNet-56 72.34 %, ResNet-20 69.06 %, with
KD 70.66 % (with shortcuts that have weights; here they have none, as in He et al., 2015).
Other students: --config.student.network.name=wide_resnet --config.student.network.depth=16.
Not run here at full scale.
"""

from ecl_tf.configs import common
from ml_collections.config_dict import placeholder

_STEPS = 240 * 780  # 50,000 / 64 = 781 an epoch, to whole executions.


def get_config(size="full"):
    common.require("size", size, ("full", "small", "runlocal"))
    schedule = {"name": "steps", "at": (150 / 240, 180 / 240, 210 / 240), "factor": 0.1}
    train = common.sgd(_STEPS, 0.05, epochs=240, schedule=schedule, penalty=5e-4)
    config = common.classification(
        data={
            "name": "cifar100",
            "validation_size": 5000,
            "augment": True,
            "seed": 0,
            "data_dir": placeholder(str),
            "mock_examples": 0,
        },
        teacher={
            "members": 3,
            "calibrate": True,
            "inference_form": "float32",  # Folded; "bfloat16" is faster.
            "network": {"name": "resnet", "depth": 56},
            "train": train,
        },
        student={"network": {"name": "resnet", "depth": 20}, "train": train},
    )
    if size == "small":
        common_training = {
            "batch_size": 64,
            "schedule": {"name": "cosine", "warmup_steps": 300},
            "penalty": 5e-4,
        }
        config.data.train_size = 10_000
        config.seeds = 3
        config.replay_epochs = 20  # The teacher costs more than the student.
        config.teacher.members = 2
        config.teacher.network.depth = 20
        config.teacher.train = common.sgd(6000, 0.1, epochs=12, **common_training)
        config.student.network.depth = 8
        config.student.train = common.sgd(6000, 0.1, epochs=12, **common_training)
        config.kd.temperatures = (1.0, 4.0)
        config.kd.label_weights = (0.0, 0.1, 1.0)
    if size == "runlocal":
        config.data.mock_examples = 256
        config.data.validation_size = 64
        config.seeds = 2
        config.teacher.members = 1
        config.teacher.network.depth = 8
        config.student.network.depth = 8
        config.kd.temperatures = (1.0, 4.0)
        config.kd.label_weights = (0.0,)
        common.run_locally(config, steps=6, batch_size=32)
    return config
