"""One input, 24 training rows: what is matched between the training points.

    ecl-tf compare --config=sine --workdir=runs/sine

The report shows teacher and students over the whole range of the input.
"""

from ecl_tf.configs import common


def get_config():
    return common.regression(
        event_size=1,
        min_scale=0.01,
        score="rmse",
        data={"name": "sine", "train_size": 24, "noise": 0.1, "seed": 0},
        teacher={
            "members": 5,
            "network": {"name": "mlp", "widths": (64, 64)},
            "train": common.train(1000, 3e-3, batch_size=24),
        },
        student={
            "network": {"name": "mlp", "widths": (16, 16)},
            "train": common.train(2000, 1e-2, batch_size=24, epochs=10),
        },
    )
