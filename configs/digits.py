"""The embedded classification: scikit-learn's 8x8 digits, 200 for training, over five splits.

    ecl-tf compare --config=digits --workdir=runs/digits

Every split has other rows, a teacher and students of its own. The teacher is trained on images
that are shifted at random by up to 0.8 pixels, which its students never see.

Expected: TODO
Time: TODO

    ecl-tf compare --config=digits:one_split --workdir=runs/one_split

is split 0 alone, five students of each method, and three members that saw no shifted images:
the experiment of the ablations, schedules and relatives.
"""

from ecl_tf.configs import common

_SHIFTED = {
    "class_name": "RandomTranslation",  # Of `keras.layers`: it does so in training alone.
    "config": {"height_factor": 0.1, "width_factor": 0.1, "fill_mode": "constant"},
}


def get_config(variant="splits"):
    common.require("variant", variant, ("splits", "one_split"))
    one = variant == "one_split"
    network = {"name": "convnet", "width": 16, "depth": 2}
    if not one:
        network["preprocessing"] = (_SHIFTED,)
    return common.classification(
        splits=1 if one else 5,
        seeds=5 if one else 1,
        tuning_seeds=2 if one else 1,
        data={"name": "digits", "train_size": 200, "validation_size": 300, "seed": 0},
        teacher={
            "members": 3 if one else 2,
            "calibrate": True,  # Fits its temperature to validation data.
            "network": network,
            "train": common.train(600, 2e-3) if one else common.train(1500, 3e-3),
        },
        student={
            "network": {"name": "mlp", "widths": (64, 64)},
            "train": common.train(2000, 3e-3, epochs=5),
        },
    )
