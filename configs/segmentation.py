"""The embedded segmentation: a class for every pixel of scenes of scikit-learn's digits.

    ecl-tf compare --config=segmentation --workdir=runs/segmentation --processes=2

A small U-Net learns from an ensemble of two larger ones, on 100 scenes. Four of five pixels are
background, so that the mean IoU of the classes decides.

Expected: mean IoU of the teacher 65.2 %, ERM 48.3 %, standard KD 44.9 %, tuned KD 50.1 %, XCL
49.0 %: inconclusive. Time: not measured on idle cores.
"""

from ecl_tf.configs import common


def get_config():
    config = common.classification(
        output={"class_name": "Categorical", "config": {"ignore_class": 255}},
        score="iou",
        seeds=3,
        data={
            "name": "digit_scenes",
            "train_size": 100,
            "validation_size": 150,
            "test_size": 300,
            "seed": 0,
        },
        teacher={
            "members": 2,
            "calibrate": True,
            "network": {"name": "unet", "width": 16, "depth": 2},
            "train": common.train(1000, 3e-3, batch_size=16),
        },
        student={
            "network": {"name": "unet", "width": 6, "depth": 2},
            "train": common.train(600, 5e-3, batch_size=16, epochs=5),
        },
        # Fewer of all than elsewhere, for the time.
        erm={"label_smoothing": 0.0, "mixup_alpha": 0.4},
        kd={"temperatures": (1.0, 2.0), "label_weights": (0.0, 0.3)},
    )
    config.xcl.choices = ()
    return config
