"""The Vision Transformer."""

from typing import Any

import keras
from keras import layers

from ecl_tf.models.inputs import head, image_and_vectors


@keras.saving.register_keras_serializable("ecl_tf")
class ClassTokenAndPositions(layers.Layer):
    """Puts a learned token before the patches and adds a learned vector to each place."""

    def build(self, input_shape):
        _, patches, width = input_shape
        self.token = self.add_weight(shape=(1, 1, width), initializer="zeros", name="token")
        self.positions = self.add_weight(
            shape=(1, patches + 1, width),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            name="positions",
        )

    def call(self, patches):
        batch, _, width = keras.ops.shape(patches)
        token = keras.ops.broadcast_to(self.token, (batch, 1, width))
        return keras.ops.concatenate([token, patches], axis=1) + self.positions


def vision_transformer(
    input_shape: Any,
    units: int,
    patch_size: int = 4,
    width: int = 96,
    depth: int = 6,
    heads: int = 3,
    mlp_ratio: float = 4,
    dropout: float = 0.0,
) -> keras.Model:
    """The Vision Transformer with a class token; by default a small one for 32x32 images.

    For 224x224 colour images, 1000 classes and patch_size=16, depth=12 it has 5,717,416
    weights with width=192, heads=3 (DeiT-Ti, published: 5 million) and 22,050,664 with
    width=384, heads=6 (DeiT-S, published: 22 million).

    Args:
        input_shape: of an image, or of one image and vectors, as `build` says.
        units: the size of the raw output, such as 10 for ten classes.
        patch_size: pixels a side of a patch; 4 by default.
        width: the size of a patch's vector; 96 by default.
        depth: the number of blocks; 6 by default.
        heads: attention heads of a block; 3 by default.
        mlp_ratio: hidden units of a block's perceptron in multiples of `width`; 4 by default.
        dropout: rate after the positions, the attention and each dense layer of the blocks;
            0 by default.

    Raises:
        ValueError: if the patches don't tile the image, or the heads don't share `width`.

    Reference: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, section 3.1 and
    appendix B.1; sizes: Touvron et al., "Training data-efficient image transformers",
    2021, table 1.
    """
    inputs, image, vectors = image_and_vectors("vision_transformer", input_shape)
    if any(side % patch_size for side in image.shape[1:3]):
        raise ValueError(
            f"vision_transformer cuts the image into patches of {patch_size}x{patch_size} "
            f"pixels, which don't tile images of {image.shape[1:]}. Use a patch_size that "
            "divides height and width."
        )
    if width % heads:
        raise ValueError(
            f"vision_transformer shares width={width} between heads={heads}, which must divide it."
        )
    x = layers.Conv2D(width, patch_size, strides=patch_size)(image)
    x = layers.Reshape((-1, width))(x)
    x = layers.Dropout(dropout)(ClassTokenAndPositions()(x))
    for _ in range(depth):
        y = _normalise(x)
        y = layers.MultiHeadAttention(heads, width // heads)(y, y)
        x = layers.Add()([x, layers.Dropout(dropout)(y)])
        y = layers.Dense(int(width * mlp_ratio), activation="gelu")(_normalise(x))
        y = layers.Dense(width)(layers.Dropout(dropout)(y))
        x = layers.Add()([x, layers.Dropout(dropout)(y)])
    token = layers.Flatten()(layers.Cropping1D((0, x.shape[1] - 1))(_normalise(x)))
    return keras.Model(inputs, head(token, vectors, units), name="vision_transformer")


def _normalise(x):
    return layers.LayerNormalization(epsilon=1e-6)(x)
