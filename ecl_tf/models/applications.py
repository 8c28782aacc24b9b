"""The networks of `keras.applications`, on small images and with several inputs, too."""

import inspect
from typing import Any

import keras
import numpy as np
from keras import layers

from ecl_tf.models.inputs import head, image_and_vectors


def application(
    input_shape: Any,
    units: int,
    model: str,
    unstrided: int = 0,
    dropout: float = 0.0,
    options: dict[str, Any] | None = None,
) -> keras.Model:
    """A network of `keras.applications`, untrained, for images in [0, 1].

    Its own preprocessing, where it has one, expects 0 to 255 and is left out. For 1000
    classes the weights (trainable or not) are as many as Keras publishes: MobileNetV2
    3,538,984, ResNet50 25,636,712, EfficientNetV2B0 7,200,312.

    Args:
        input_shape: of an image, or of one image and vectors, as `build` says.
        units: the size of the raw output, such as 10 for ten classes.
        model: its name there, such as "MobileNetV2".
        unstrided: how many halvings of the image to leave out, from the first on; 0 by
            default. Most networks halve it five times, which leaves 1x1 of 32x32 pixels;
            without the first two 4x4 are left. Weights don't change, except in VGG16 and
            VGG19, whose first dense layer takes all pixels. ConvNeXt keeps its strides inside
            of nested models, so that none can be left out.
        dropout: rate of an additional dropout before the last layer; 0 by default.
        options: the network's own arguments there, such as {"alpha": 0.5}; None by default.

    Raises:
        ValueError: if there is no such network, it does not take an option, it refuses
            the image's shape, or it has fewer halvings than `unstrided`.

    Example:
    >>> network = application((32, 32, 3), 10, "MobileNetV2", unstrided=2)
    >>> network.output_shape
    (None, 10)
    """
    inputs, image, vectors = image_and_vectors("application", input_shape)
    network = _without_preprocessing_and_strides(
        _original(model, image.shape[1:], units, options or {}), image, unstrided
    )
    # The classifier is a dense layer or a 1x1 convolution, and what follows only reshapes.
    features = next(layer for layer in reversed(network.layers) if layer.weights).input
    x = layers.Flatten(name="features")(features)
    if dropout:
        x = layers.Dropout(dropout, name="features_dropout")(x)
    return keras.Model(inputs, head(x, vectors, units), name=f"application_{model}")


def _original(model, shape, units, options):
    available = dict(inspect.getmembers(keras.applications, inspect.isfunction))
    if model not in available:
        raise ValueError(
            f"keras.applications has no network {model!r}; expected one of {sorted(available)}, "
            "spelled like this."
        )
    fixed = dict(weights=None, input_shape=shape, classes=units, classifier_activation=None)
    known = inspect.signature(available[model]).parameters
    if "include_preprocessing" in known:
        fixed["include_preprocessing"] = False
    free = set(known) - set(fixed) - {"include_top", "input_tensor", "pooling", "name"}
    if set(options) - free:
        raise ValueError(
            f"{model} has no options {sorted(set(options) - free)} to choose; it takes "
            f"{sorted(free)}."
        )
    try:
        return available[model](**fixed, **options)
    except ValueError as error:
        raise ValueError(
            f"keras.applications.{model} can't be built for images of shape {tuple(shape)} with "
            f"the options {options}: {error}"
        ) from error


def _without_preprocessing_and_strides(network, image, unstrided):
    """A copy of `network` on the tensor `image` without its first halvings."""
    # Strided layers side by side, such as a block's and its shortcut's, yield one size.
    strided = [layer for layer in network.layers if np.max(getattr(layer, "strides", 1)) > 1]
    sizes = {layer.name: layer.output.shape[1:3] for layer in strided}
    halvings = sorted(set(sizes.values()), reverse=True)
    if not 0 <= unstrided <= len(halvings):
        raise ValueError(
            f"{network.name} halves images of {tuple(image.shape[1:])} {len(halvings)} times, so "
            f"unstrided is between 0 and that; got {unstrided}."
        )
    # Zeros on one side only ("correct" for the strides and an even side) fit neither
    # stride 1 nor the changed sides after it: there, "same" padding does what is right.
    one_sided = {
        id(layer.output): layer.name
        for layer in network.layers
        if isinstance(layer, layers.ZeroPadding2D)
        and any(before != after for before, after in layer.padding)
    }
    repadded = {
        layer.name: one_sided[id(layer.input)]
        for layer in strided
        if unstrided and id(layer.input) in one_sided
    }

    def copy(layer):
        if isinstance(layer, (layers.Rescaling, layers.Normalization)):
            return layers.Identity(name=layer.name)
        config = layer.get_config()
        if sizes.get(layer.name) in halvings[:unstrided]:
            config["strides"] = 1
        if layer.name in repadded:
            config["padding"] = "same"
        if layer.name in repadded.values():
            config["padding"] = 0
        return type(layer).from_config(config)

    return keras.models.clone_model(network, input_tensors=image, clone_function=copy)
