"""Small networks with raw outputs: no softmax, no positive scales."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from ecl_tf.models.inputs import head, image_and_vectors, named_inputs


def mlp(
    input_shape: Any, units: int, widths: Sequence[int] = (64,), dropout: float = 0.0
) -> keras.Model:
    """A multilayer perceptron: dense ReLU layers of the given widths.

    Args:
        input_shape: shape of one example, or a dict of shapes; all inputs are flattened
            and joined first, in the order of their names.
        units: the size of the raw output, such as 10 for ten classes.
        widths: units of each hidden layer; (64,) by default.
        dropout: rate after each hidden layer; 0 by default, 0.1 to 0.5 is usual.
    """
    inputs = named_inputs(input_shape)
    tensors = [inputs[name] for name in sorted(inputs)] if isinstance(inputs, dict) else [inputs]
    flat = [layers.Flatten()(tensor) for tensor in tensors]
    x = layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    for width in widths:
        x = layers.Dense(width, activation="relu")(x)
        if dropout:
            x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, head(x, [], units), name="mlp")


def convnet(
    input_shape: Any, units: int, width: int = 16, depth: int = 2, dropout: float = 0.0
) -> keras.Model:
    """A family of convolutional networks by width and depth.

    `depth` stages, each a 3x3 convolution with ReLU and a 2x2 max pooling, the width
    doubling from stage to stage, and one dense layer.

    Args:
        input_shape: of an image, or of one image and vectors, as `build` says.
        units: the size of the raw output, such as 10 for ten classes.
        width: filters of the first stage; 16 by default.
        depth: the number of stages; 2 by default.
        dropout: rate before the last layer; 0 by default.

    Raises:
        ValueError: if the images are too small for the depth.
    """
    inputs, image, vectors = image_and_vectors("convnet", input_shape)
    if min(image.shape[1:3]) < 2**depth:
        raise ValueError(
            f"convnet halves the image {depth} times, so it needs at least {2**depth} pixels "
            f"a side; got {image.shape[1:]}. Use a smaller depth."
        )
    x = image
    for stage in range(depth):
        x = layers.Conv2D(width * 2**stage, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    if dropout:
        x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, head(x, vectors, units), name="convnet")


def lenet(input_shape: Any, units: int, padding: str = "valid") -> keras.Model:
    """LeNet as it is commonly used: 20 and 50 filters of 5x5, 500 hidden units.

    431,080 weights for 28x28 grey images and ten classes; 1,827,076 for 36x60 grey eyes
    with a head pose of two angles and two units, the gaze network's usual size.

    Args:
        input_shape: of an image, or of one image and vectors, as `build` says.
        units: the size of the raw output, such as 10 for ten classes.
        padding: "valid", the default, as published, for at least 16 pixels a side; "same"
            takes 4.

    Raises:
        ValueError: if the images are too small.

    Reference: LeCun et al., "Gradient-Based Learning Applied to Document Recognition",
    1998, in the variant of the Caffe framework's example; with head pose, Zhang et al.,
    "Appearance-Based Gaze Estimation in the Wild", 2015.
    """
    inputs, image, vectors = image_and_vectors("lenet", input_shape)
    smallest = 16 if padding == "valid" else 4
    if min(image.shape[1:3]) < smallest:
        raise ValueError(
            f"lenet with padding={padding!r} needs at least {smallest} pixels a side; got "
            f"{image.shape[1:]}. padding='same' needs 4."
        )
    x = layers.Conv2D(20, 5, padding=padding)(image)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(50, 5, padding=padding)(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Dense(500, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, head(x, vectors, units), name="lenet")
