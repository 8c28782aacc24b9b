"""The two ends of every network: its inputs, and the dense layer on its features."""

import keras
from keras import layers


def named_inputs(input_shape):
    """Returns the `keras.Input` of one shape, or a dict of them for a dict of shapes."""
    if isinstance(input_shape, dict):
        return {name: keras.Input(tuple(shape), name=name) for name, shape in input_shape.items()}
    return keras.Input(tuple(input_shape), name="inputs")


def image_and_vectors(name, input_shape):
    """Returns a convolutional network's inputs, the image among them and the vectors.

    Args:
        name: the network's name, for the message.
        input_shape: as `ecl_tf.models.build` says.

    Returns:
        The `keras.Input` (or a dict of them) to build the model from, the image's
        tensor, and the list of the vectors' tensors in the order of their names.

    Raises:
        ValueError: if there is not exactly one image, or something besides images
            and vectors.
    """
    inputs = named_inputs(input_shape)
    tensors = [inputs[key] for key in sorted(inputs)] if isinstance(inputs, dict) else [inputs]
    images = [tensor for tensor in tensors if len(tensor.shape) == 4]
    vectors = [tensor for tensor in tensors if len(tensor.shape) == 2]
    if len(images) != 1 or len(images) + len(vectors) != len(tensors):
        raise ValueError(
            f"{name} takes one image of shape (height, width, channels) and, in a dict, any number "
            f"of vectors of shape (size,); got inputs of shape {input_shape}. Leave out or reshape "
            "the others, or use 'mlp', which flattens and joins everything."
        )
    return inputs, images[0], vectors


def head(features, vectors, units):
    """Returns the raw output: one dense layer on the features and the vectors.

    Args:
        features: tensor (batch, size) of the network's features.
        vectors: list of tensors (batch, size), which join the features right before the last
            layer, as a head's pose does in the gaze literature.
        units: the size of the raw output.

    Reference: Zhang et al., "Appearance-Based Gaze Estimation in the Wild", 2015, on
    the multimodal network.
    """
    # Names that no application has: Keras refuses a model with two layers of one name.
    if vectors:
        features = layers.Concatenate(name="features_and_vectors")([features, *vectors])
    return layers.Dense(units, name="raw")(features)
