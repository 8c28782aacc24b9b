"""Residual networks whose units normalise and activate before they convolve."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from ecl_tf.models.blocks import convolution, normalise, units_per_stage
from ecl_tf.models.inputs import head, image_and_vectors


def preactivation_resnet(
    input_shape: Any, units: int, depth: int = 8, widths: Sequence[int] = (16, 32, 64)
) -> keras.Model:
    """The pre-activation ResNet for small images: three stages of n units each.

    At depth 8, for grey images with a head pose of two angles and two units, the gaze
    network ResNet-8, it has 77,046 trainable weights.

    Args:
        input_shape: of an image, or of one image and vectors, as `build` says.
        units: the size of the raw output, such as 10 for ten classes.
        depth: 6n + 2, the number of layers; 8 by default.
        widths: filters of the three stages, (16, 32, 64) by default; the first convolution
            has as many as the first stage.

    Raises:
        ValueError: if the depth is not 6n + 2, or `widths` are not three.

    Reference: He et al., "Identity Mappings in Deep Residual Networks", 2016,
    appendix; where the width changes, the shortcut is a 1x1 convolution.
    """
    count = units_per_stage("preactivation_resnet", depth, layers_outside=2)
    if len(widths) != 3:
        raise ValueError(
            f"preactivation_resnet has three stages, so it takes three widths; got {widths}."
        )
    inputs, image, vectors = image_and_vectors("preactivation_resnet", input_shape)
    features = _features(image, widths[0], widths, count)
    return keras.Model(inputs, head(features, vectors, units), name="preactivation_resnet")


def wide_resnet(
    input_shape: Any, units: int, depth: int = 16, width: int = 2, dropout: float = 0.0
) -> keras.Model:
    """The Wide ResNet WRN-depth-width: pre-activation stages of 16, 32, 64 times width.

    With ten classes and colour images it has 691,674 trainable weights as WRN-16-2,
    2,243,546 as WRN-40-2 and 36,479,194 as WRN-28-10 (published: 0.7, 2.2 and 36.5
    million).

    Args:
        input_shape: of an image, or of one image and vectors, as `build` says.
        units: the size of the raw output, such as 10 for ten classes.
        depth: 6n + 4, the number of layers with the shortcuts' 1x1 convolutions; 16 by
            default.
        width: the factor of the stages' filters; 2 by default.
        dropout: rate between a unit's two convolutions; 0 by default, 0.3 in the paper.

    Raises:
        ValueError: if the depth is not 6n + 4.

    Reference: Zagoruyko & Komodakis, "Wide Residual Networks", 2016, section 2; the count of
    WRN-16-2 is from "Paying More Attention to Attention" (2017) of the same authors.
    """
    count = units_per_stage("wide_resnet", depth, layers_outside=4)
    inputs, image, vectors = image_and_vectors("wide_resnet", input_shape)
    widths = [filters * width for filters in (16, 32, 64)]
    features = _features(image, 16, widths, count, dropout)
    return keras.Model(inputs, head(features, vectors, units), name="wide_resnet")


def _features(image, stem, widths, count, dropout=0.0):
    """The first convolution, three stages of `count` units, and the average over pixels."""
    x = convolution(image, stem, 3)
    for stage, filters in enumerate(widths):
        for unit in range(count):
            strides = 2 if stage > 0 and unit == 0 else 1
            x = _unit(x, filters, strides, first=stage == unit == 0, dropout=dropout)
    return layers.GlobalAveragePooling2D()(normalise(x))


def _unit(x, filters, strides, first, dropout):
    activated = normalise(x)
    residual = normalise(convolution(activated, filters, 3, strides))
    if dropout:
        residual = layers.Dropout(dropout)(residual)
    residual = convolution(residual, filters, 3)
    # The first unit shares its activation with the shortcut, and so does a unit whose
    # shortcut has weights; the others pass their input on untouched.
    if strides > 1 or x.shape[-1] != filters:
        x = convolution(activated, filters, 1, strides)
    elif first:
        x = activated
    return layers.Add()([x, residual])
