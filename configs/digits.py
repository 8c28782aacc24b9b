"""The embedded classification: scikit-learn's 8x8 digits, 200 for training.

    ecl-tf compare --config=digits --workdir=runs/digits

Expected: accuracy of the teacher 96.7 %, ERM 93.4 %, standard KD 94.3 %,
tuned KD 93.8 %, XCL 96.0 %; gap closed against tuned KD 75 % (67 to 80).
Time: 3 to 5 min on 2 CPU cores (42 trainings of a student).
"""

from ecl_tf.configs import common


def get_config():
    return common.classification(
        tuning_seeds=2,
        data={"name": "digits", "train_size": 200, "validation_size": 300, "seed": 0},
        teacher={
            "members": 3,
            "calibrate": True,  # Fits its temperature to validation data.
            "network": {"name": "convnet", "width": 16, "depth": 2},
            "train": common.train(600, 2e-3),
        },
        student={
            "network": {"name": "mlp", "widths": (64, 64)},
            "train": common.train(2000, 3e-3, epochs=10),
        },
    )
