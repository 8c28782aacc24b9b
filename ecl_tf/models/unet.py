"""A network that answers about every pixel of an image."""

from typing import Any

import keras
from keras import layers


def unet(input_shape: Any, units: int, width: int = 8, depth: int = 2) -> keras.Model:
    """A U-Net: it halves the image, and joins each size again on the way up.

    `depth` stages, each a 3x3 convolution with ReLU and a 2x2 max pooling, the width doubling from
    stage to stage; as many stages back, each of which doubles the image's sides by repeating
    pixels, and joins the features of that size; and one dense layer for every pixel. The features
    of each image are normalised over its pixels and channels. Batch normalisation would mix up
    sampled images with given ones, which have other means, and normalisation of single pixels would
    take their brightness away.

    Args:
        input_shape: (height, width, channels) of an image.
        units: the size of the raw output of a pixel, such as 3 for three classes.
        width: filters of the first stage; 8 by default.
        depth: the number of stages; 2 by default.

    Returns:
        A `keras.Model` with raw outputs (batch, height, width, units).

    Raises:
        ValueError: if the input is no image, or its sides can't be halved so often.

    Example:
    >>> unet((24, 24, 1), 3, width=4).output_shape
    (None, 24, 24, 3)

    Reference: Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", 2015, with one convolution in place of two, and its padding "same".
    """
    is_image = isinstance(input_shape, (tuple, list)) and len(input_shape) == 3
    if not is_image or any(side is None or side % 2**depth for side in input_shape[:2]):
        raise ValueError(
            f"unet halves an image (height, width, channels) {depth} times, so its sides are "
            f"multiples of {2**depth}; got inputs of shape {input_shape}. Use a smaller depth, or "
            "pad the images."
        )

    def convolve(x, stage):
        x = layers.Conv2D(width * 2**stage, 3, padding="same", activation="relu")(x)
        return layers.GroupNormalization(groups=1)(x)

    x = inputs = keras.Input(tuple(input_shape), name="inputs")
    on_the_way = []
    for stage in range(depth):
        x = convolve(x, stage)
        on_the_way.append(x)
        x = layers.MaxPooling2D()(x)
    x = convolve(x, depth)
    for stage in reversed(range(depth)):
        x = layers.Concatenate()([layers.UpSampling2D()(x), on_the_way[stage]])
        x = convolve(x, stage)
    return keras.Model(inputs, layers.Dense(units, name="raw")(x), name="unet")
