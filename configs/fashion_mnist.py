"""Fashion-MNIST with few labels, sized for 2 CPU cores; the argument is the student.

    ecl-tf compare --config=fashion_mnist:convnet --workdir=runs/convnet

Students: convnet (default), mlp, transformer. The data comes through TFDS. One teacher
serves all students: --teacher=runs/convnet/teacher.

Expected with --config.teacher.calibrate=False: accuracy of the teacher 83.8 %; convnet: ERM
82.2, standard KD 82.7, tuned KD 82.7, XCL 83.5; mlp: 80.3, 80.5, 80.8, 80.7 (no better);
transformer: 76.2, 75.1, 75.2, 79.4.
Time: 22, 17 and 38 min on 2 busy CPU cores (31 trainings of a student each) with a sampler
that does not ask the student, 2 to 4 min more with this one.
"""

from ecl_tf.configs import common
from ml_collections.config_dict import placeholder

_STUDENTS = {
    "convnet": {"name": "convnet", "width": 8, "depth": 3},
    "mlp": {"name": "mlp", "widths": (64, 64)},
    "transformer": {
        "name": "vision_transformer",
        "patch_size": 7,
        "width": 32,
        "depth": 2,
        "heads": 2,
    },
}


def get_config(student="convnet"):
    common.require("student", student, _STUDENTS)
    return common.classification(
        data={
            "name": "fashion_mnist",
            "train_size": 1000,
            "validation_size": 5000,
            "augment": False,
            "seed": 0,
            "data_dir": placeholder(str),
        },
        teacher={
            "members": 3,
            "calibrate": True,
            "network": {"name": "convnet", "width": 32, "depth": 2},
            "labels": {"mixup_alpha": 1.0},
            "train": common.train(1500, 3e-3),
        },
        student={"network": _STUDENTS[student], "train": common.train(2000, 3e-3, epochs=10)},
    )
