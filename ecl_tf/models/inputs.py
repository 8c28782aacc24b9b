"""The two ends of every network: its inputs, and the dense layer on its features."""

import keras
from keras import layers


def named_inputs(input_shape):
    """Returns the `keras.Input` of one shape, or a dict of them for a dict of shapes.

    Args:
        input_shape: the shape of one example, or a dict from input name to shape.
    """
    if isinstance(input_shape, dict):
        return {name: keras.Input(tuple(shape), name=name) for name, shape in input_shape.items()}
    return keras.Input(tuple(input_shape), name="inputs")


def image_and_vectors(name, input_shape):
    """Returns a convolutional network's inputs, the image among them and the vectors.

    Args:
        name: the network's name, for the message.
        input_shape: (height, width, channels) of one image, or a dict from input name
            to shape, with one image and any number of vectors (size,).

    Returns:
        The `keras.Input` (or a dict of them) to build the model from, the image's
        tensor, and the list of the vectors' tensors in the order of their names.

    Raises:
        ValueError: if there is not exactly one image, or something besides images
            and vectors.
    """
    if isinstance(input_shape, dict):
        shapes = {key: tuple(shape) for key, shape in input_shape.items()}
        images = [key for key, shape in shapes.items() if len(shape) == 3]
        vectors = sorted(key for key, shape in shapes.items() if len(shape) == 1)
        if len(images) != 1 or len(vectors) != len(shapes) - 1:
            raise ValueError(
                f"{name} takes one image of shape (height, width, channels) and any number of "
                f"vectors of shape (size,); got inputs of shapes {shapes}. Leave out or reshape "
                "the others, or use 'mlp', which flattens and joins everything."
            )
        inputs = named_inputs(shapes)
        return inputs, inputs[images[0]], [inputs[key] for key in vectors]
    if len(input_shape) != 3:
        raise ValueError(
            f"{name} takes images of shape (height, width, channels); got inputs of shape "
            f"{tuple(input_shape)}. Use 'mlp' for vectors."
        )
    inputs = named_inputs(input_shape)
    return inputs, inputs, []


def head(features, vectors, units):
    """Returns the raw output: one dense layer on the features and the vectors.

    Joining vectors such as the head's pose right before the last layer is the custom
    of the gaze literature.

    Args:
        features: tensor (batch, size) of the network's features.
        vectors: list of tensors (batch, size), the inputs that are no images.
        units: the size of the raw output.

    Reference: Zhang et al., "Appearance-Based Gaze Estimation in the Wild", 2015, on
    the multimodal network.
    """
    # Names that no application has: Keras refuses a model with two layers of one name.
    if vectors:
        features = layers.Concatenate(name="features_and_vectors")([features, *vectors])
    return layers.Dense(units, name="raw")(features)
