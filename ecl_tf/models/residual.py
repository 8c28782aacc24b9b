"""The residual networks for small images, with shortcuts that have no weights."""

from typing import Any

import keras
from keras import layers

from ecl_tf.models.blocks import convolution, normalise, units_per_stage
from ecl_tf.models.inputs import head, image_and_vectors


def resnet(input_shape: Any, units: int, depth: int = 20) -> keras.Model:
    """The CIFAR ResNet: three stages of 16, 32 and 64 filters, of n units each.

    With ten classes and colour images it has 269,722 trainable weights at depth 20,
    853,018 at 56 and 1,727,962 at 110 (published: 0.27, 0.85 and 1.7 million).

    Args:
        input_shape: of an image, or of one image and vectors, as `build` says.
        units: the size of the raw output, such as 10 for ten classes.
        depth: 6n + 2, the number of layers; 20 by default.

    Raises:
        ValueError: if the depth is not 6n + 2.

    Reference: He et al., "Deep Residual Learning for Image Recognition", 2015,
    section 4.2, with shortcuts of option A.
    """
    count = units_per_stage("resnet", depth, layers_outside=2)
    inputs, image, vectors = image_and_vectors("resnet", input_shape)
    x = normalise(convolution(image, 16, 3))
    for filters in (16, 32, 64):
        for unit in range(count):
            strides = 2 if unit == 0 and filters > 16 else 1
            x = _unit(x, filters, strides)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, head(x, vectors, units), name="resnet")


def _unit(x, filters, strides):
    residual = normalise(convolution(x, filters, 3, strides))
    residual = normalise(convolution(residual, filters, 3), activate=False)
    return layers.ReLU()(layers.Add()([shortcut(x, filters, strides), residual]))


def shortcut(x, filters, strides):
    """The identity; where the shape changes, every other pixel and channels of zeros.

    Half of the new channels come before the old ones and half after.

    Reference: He et al., 2015, section 3.3, option A.
    """
    if strides > 1:
        x = layers.AveragePooling2D(1, strides)(x)
    missing = filters - x.shape[-1]
    if missing:
        # As "channels_first", height and channels are what this layer takes for a
        # picture's two sides: (width, channels) here, and only the channels grow.
        before = missing // 2
        x = layers.ZeroPadding2D(
            ((0, 0), (before, missing - before)), data_format="channels_first"
        )(x)
    return x
