"""Regression of real images: the angle by which 1,000 images of Fashion-MNIST were turned.

    ecl-tf compare --config=turned_clothes --workdir=runs/turned_clothes

The images are TensorFlow Datasets' fashion_mnist, downloaded at the first run, or found in
--config.data.data_dir or TFDS_DATA_DIR.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from ecl_tf.configs import common
from ml_collections.config_dict import placeholder
from scipy import ndimage

from ecl_tf import data
from ecl_tf.data.splits import Splits, in_memory


def turned_clothes(
    test_size: int = 3000, max_angle: float = 60.0, seed: int = 0, **others: Any
) -> Splits:
    """Turned images (20, 20, 1) in [0, 1] to their angles in radians, (1,).

    Args:
        test_size: the number of test images, 3,000 by default.
        max_angle: in degrees, 60 by default; angles are drawn between it and its negative.
        seed: of the split and of the angles; 0 by default.
        **others: of `ecl_tf.data.fashion_mnist`.
    """
    images = data.fashion_mnist(seed=seed, augment=False, **others)
    generator = np.random.default_rng(seed)

    def turn(split):
        grey = in_memory(split)[0].numpy() / np.float32(255.0)
        angles = generator.uniform(-max_angle, max_angle, len(grey))
        turned = [
            ndimage.rotate(image, angle, reshape=False, order=1)
            for image, angle in zip(grey, angles, strict=True)
        ]
        small = tf.image.resize(np.stack(turned), (20, 20))
        return tf.data.Dataset.from_tensor_slices(
            (small, np.radians(angles)[:, None].astype("float32"))
        )

    parts = (images.test.take(test_size), images.validation, images.train)
    test, validation, train = map(turn, parts)
    return Splits(train, validation, test, event_size=1)


def get_config():
    return common.regression(
        event_size=1,
        min_scale=0.01,
        score="angular_error",
        tuning_seeds=1,
        data={
            "name": "ecl_tf.configs.turned_clothes:turned_clothes",
            "train_size": 1000,
            "validation_size": 3000,
            "test_size": 3000,
            "max_angle": 60.0,
            "data_dir": placeholder(str),
            "seed": 0,
        },
        teacher={
            "members": 3,
            "calibrate": True,
            "network": {"name": "convnet", "width": 24, "depth": 2},
            "train": common.train(2500, 2e-3),
        },
        student={
            "network": {"name": "convnet", "width": 8, "depth": 2},
            "train": common.train(6000, 3e-3, epochs=10),
        },
    )
