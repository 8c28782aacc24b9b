"""Plain deep convolutional networks for small images: VGG."""

import keras
from keras import layers

from ecl_tf.models.blocks import convolution, normalise
from ecl_tf.models.inputs import head, image_and_vectors

_WIDTHS = (64, 128, 256, 512, 512)
# Convolutions per stage, by depth, where the usual three dense layers count, too.
_CONVOLUTIONS = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


def vgg(input_shape, units, depth=8):
    """VGG for small images, as the literature on distillation uses it.

    Five stages of 3x3 convolutions (with bias) and batch normalisation, 2x2 max pooling
    after the first three (after the first four from 64 pixels a side on), the average
    over pixels, and one dense layer. With 100 classes and colour images: 3,965,028
    trainable weights at depth 8 and 9,462,180 at 13, which are the published ones.

    Args:
        input_shape: (height, width, channels) of one image, or a dict of the shapes of
            one image and of vectors, which join the features before the last layer.
        units: the size of the raw output.
        depth: 8, 11, 13, 16 or 19: the convolutions, and three for the dense layers of
            the original, of which one is left.

    Raises:
        ValueError: if there is no such depth, or the images are smaller than 8 pixels.

    Reference: Simonyan & Zisserman, "Very Deep Convolutional Networks", 2014, table 1;
    Tian et al., "Contrastive Representation Distillation", 2020, appendix.
    """
    if depth not in _CONVOLUTIONS:
        raise ValueError(f"vgg has a depth of {sorted(_CONVOLUTIONS)}; got {depth}.")
    inputs, image, vectors = image_and_vectors("vgg", input_shape)
    side = min(image.shape[1:3])
    if side < 8:
        raise ValueError(
            f"vgg halves the image three times, so it needs at least 8 pixels a side; got "
            f"{image.shape[1:]}. Enlarge the images or use another network."
        )
    pooled = 4 if side >= 64 else 3
    x = image
    for stage, (filters, count) in enumerate(zip(_WIDTHS, _CONVOLUTIONS[depth], strict=True)):
        for _ in range(count):
            x = normalise(convolution(x, filters, 3, use_bias=True))
        if stage < pooled:
            x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, head(x, vectors, units), name="vgg")
