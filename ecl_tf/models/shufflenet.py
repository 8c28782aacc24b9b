"""ShuffleNet V2: half of the channels pass by, then channels are shuffled."""

import keras
from keras import layers

from ecl_tf.models.blocks import convolution, depthwise_convolution, normalise
from ecl_tf.models.inputs import head, image_and_vectors

# Channels of the three stages and of the last convolution, by width.
_CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
_UNITS = (4, 8, 4)
_STEMS = ("imagenet", "small")


def shufflenet_v2(input_shape, units, width=1.0, stem="imagenet"):
    """ShuffleNet V2 by width.

    With 1000 classes and colour images it has 1,366,792 trainable weights at width 0.5,
    2,278,604 at 1.0, 3,503,624 at 1.5 and 7,393,996 at 2.0 (published: 1.4, 2.3, 3.5
    and 7.4 million).

    Args:
        input_shape: (height, width, channels) of one image, or a dict of the shapes of
            one image and of vectors, which join the features before the last layer.
        units: the size of the raw output.
        width: 0.5, 1.0, 1.5 or 2.0, the factor of the stages' channels.
        stem: "imagenet" as published, a convolution of stride 2 and a max pooling that
            shrink the image fourfold; "small" leaves small images as large as they are.

    Raises:
        ValueError: if there is no such width or stem.

    Reference: Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN
    Architecture Design", 2018, section 3 and table 5.
    """
    if width not in _CHANNELS:
        raise ValueError(f"shufflenet_v2 has a width of {sorted(_CHANNELS)}; got {width!r}.")
    if stem not in _STEMS:
        raise ValueError(f"shufflenet_v2 has a stem of {_STEMS}; got {stem!r}.")
    inputs, image, vectors = image_and_vectors("shufflenet_v2", input_shape)
    *stages, last = _CHANNELS[width]
    x = normalise(convolution(image, 24, 3, strides=2 if stem == "imagenet" else 1))
    if stem == "imagenet":
        x = layers.MaxPooling2D(3, 2, padding="same")(x)
    for channels, count in zip(stages, _UNITS, strict=True):
        x = _shrink(x, channels)
        for _ in range(count - 1):
            x = _unit(x)
    x = layers.GlobalAveragePooling2D()(normalise(convolution(x, last, 1)))
    return keras.Model(inputs, head(x, vectors, units), name="shufflenet_v2")


def _unit(x):
    half = x.shape[-1] // 2
    # As "channels_first", (width, channels) are the two sides that this layer crops.
    kept = layers.Cropping2D(((0, 0), (0, half)), data_format="channels_first")(x)
    branch = layers.Cropping2D(((0, 0), (half, 0)), data_format="channels_first")(x)
    return shuffle_channels(layers.Concatenate()([kept, _branch(branch, half)]))


def _shrink(x, channels):
    half = channels // 2
    left = normalise(depthwise_convolution(x, 3, strides=2), activate=False)
    left = normalise(convolution(left, half, 1))
    return shuffle_channels(layers.Concatenate()([left, _branch(x, half, strides=2)]))


def _branch(x, channels, strides=1):
    x = normalise(convolution(x, channels, 1))
    x = normalise(depthwise_convolution(x, 3, strides), activate=False)
    return normalise(convolution(x, channels, 1))


def shuffle_channels(x, groups=2):
    """Takes channels from the groups in turn: a a b b becomes a b a b."""
    height, width, channels = x.shape[1:]
    x = layers.Reshape((height * width, groups, channels // groups))(x)
    return layers.Reshape((height, width, channels))(layers.Permute((1, 3, 2))(x))
