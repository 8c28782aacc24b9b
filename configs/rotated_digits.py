"""The embedded regression: the angle of 500 scikit-learn digits, each turned four times.

    ecl-tf compare --config=rotated_digits --workdir=runs/rotated_digits

Expected: mean error of the teacher 4.2 degrees, ERM 5.0, standard KD 5.3, tuned KD 4.8,
XCL 4.5; NLL 15.5, 0.17, 0.33, and XCL -1.18.
Time: 5 min on 2 CPU cores (42 trainings of a student).
"""

from ecl_tf.configs import common


def get_config():
    return common.regression(
        event_size=1,
        min_scale=0.01,
        score="angular_error",
        tuning_seeds=2,
        data={
            "name": "rotated_digits",
            "train_size": 500,
            "validation_size": 300,
            "copies": 4,
            "max_angle": 90.0,
            "seed": 0,
        },
        teacher={
            "members": 4,
            "calibrate": True,
            "network": {"name": "mlp", "widths": (128, 128, 128)},
            "train": common.train(1000, 3e-3),
        },
        student={
            "network": {"name": "mlp", "widths": (32, 32)},
            "train": common.train(6000, 3e-3, epochs=10),
        },
    )
