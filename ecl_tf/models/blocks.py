"""What several convolutional networks are made of."""

from keras import layers


def normalise(x, activate=True):
    """Batch normalisation with the constants of the papers, and ReLU where wanted."""
    # Keras's own momentum, 0.99, needs thousands of steps; students often train for fewer.
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
    return layers.ReLU()(x) if activate else x


def convolution(x, filters, size, strides=1):
    """A convolution with zeros around the image: `size // 2` on every side.

    "same" padding is that for stride 1. For stride 2 it would depend on whether the
    image's side is even, and shift the output by a pixel against a shortcut's.
    """
    if size == 1 and strides > 1:
        # The same numbers; TensorFlow 2.21 crashes in the gradient of a strided 1x1
        # convolution of few channels on CPUs with AVX-512.
        x, strides = layers.AveragePooling2D(1, strides)(x), 1
    padding = "same"
    if strides > 1:
        x, padding = layers.ZeroPadding2D(size // 2)(x), "valid"
    return layers.Conv2D(
        filters, size, strides, padding=padding, use_bias=False, kernel_initializer="he_normal"
    )(x)


def units_per_stage(name, depth, layers_outside):
    """Returns n of a residual network, three stages of n units: depth = 6n + layers_outside."""
    if depth < 6 + layers_outside or (depth - layers_outside) % 6:
        examples = [6 * n + layers_outside for n in (1, 2, 3)]
        raise ValueError(
            f"{name} has a depth of 6n + {layers_outside}: {examples} and so on; got {depth}."
        )
    return (depth - layers_outside) // 6
