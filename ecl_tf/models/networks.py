"""Small networks with raw outputs: no softmax, no positive scales."""

import keras
from keras import layers


def mlp(input_shape, units, widths=(64,)):
    """A multilayer perceptron: dense ReLU layers of the given widths.

    Args:
        input_shape: shape of one example, flattened first.
        units: the size of the raw output.
        widths: units of each hidden layer.
    """
    inputs = keras.Input(input_shape, name="inputs")
    x = layers.Flatten()(inputs)
    for width in widths:
        x = layers.Dense(width, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(units)(x), name="mlp")


def convnet(input_shape, units, width=16, depth=2):
    """A family of convolutional networks by width and depth.

    `depth` stages, each a 3x3 convolution with ReLU and a 2x2 max pooling, the width
    doubling from stage to stage, and one dense layer.

    Args:
        input_shape: (height, width, channels) of one image.
        units: the size of the raw output.
        width: filters of the first stage.
        depth: the number of stages.

    Raises:
        ValueError: if the images are too small for the depth.
    """
    _require_image("convnet", input_shape)
    if min(input_shape[:2]) < 2**depth:
        raise ValueError(
            f"convnet halves the image {depth} times, so it needs at least {2**depth} pixels "
            f"a side; got {tuple(input_shape)}. Use a smaller depth."
        )
    inputs = keras.Input(input_shape, name="inputs")
    x = inputs
    for stage in range(depth):
        x = layers.Conv2D(width * 2**stage, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(units)(x), name="convnet")


def lenet(input_shape, units, padding="valid"):
    """LeNet as it is commonly used: 20 and 50 filters of 5x5, 500 hidden units.

    431,080 weights for 28x28 grey images and ten classes.

    Args:
        input_shape: (height, width, channels) of one image.
        units: the size of the raw output.
        padding: "valid" as published, for at least 16 pixels a side; "same" takes 4.

    Reference: LeCun et al., "Gradient-Based Learning Applied to Document Recognition",
    1998, in the variant of the Caffe framework's example.
    """
    _require_image("lenet", input_shape)
    smallest = 16 if padding == "valid" else 4
    if min(input_shape[:2]) < smallest:
        raise ValueError(
            f"lenet with padding={padding!r} needs at least {smallest} pixels a side; got "
            f"{tuple(input_shape)}. padding='same' needs 4."
        )
    inputs = keras.Input(input_shape, name="inputs")
    x = layers.Conv2D(20, 5, padding=padding)(inputs)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(50, 5, padding=padding)(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Dense(500, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(units)(x), name="lenet")


def _require_image(name, input_shape):
    if len(input_shape) != 3:
        raise ValueError(
            f"{name} takes images of shape (height, width, channels); got inputs of shape "
            f"{tuple(input_shape)}. Use 'mlp' for vectors."
        )
