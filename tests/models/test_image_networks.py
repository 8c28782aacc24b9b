"""The published image networks: their numbers of weights, and their special operations."""

import math

import keras
import numpy as np
import pytest

from ecl_tf import models
from ecl_tf.models import blocks, residual, shufflenet, transformer

CIFAR = (32, 32, 3)
IMAGENET = (224, 224, 3)


def trainable(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def compute(operation, x):
    inputs = keras.Input(x.shape[1:])
    return keras.Model(inputs, operation(inputs))(x).numpy()


@pytest.mark.parametrize(
    "name, arguments, shape, units, weights",
    [
        # He et al. 2015, table 6: 0.27, 0.85 and 1.7 million.
        ("resnet", {"depth": 20}, CIFAR, 10, 269_722),
        ("resnet", {"depth": 56}, CIFAR, 10, 853_018),
        ("resnet", {"depth": 110}, CIFAR, 10, 1_727_962),
        # Zagoruyko & Komodakis 2016 and 2017: 0.7, 2.2 and 36.5 million.
        ("wide_resnet", {"depth": 16, "width": 2}, CIFAR, 10, 691_674),
        ("wide_resnet", {"depth": 40, "width": 2}, CIFAR, 10, 2_243_546),
        ("wide_resnet", {"depth": 28, "width": 10}, CIFAR, 10, 36_479_194),
        ("vgg", {"depth": 8}, CIFAR, 100, 3_965_028),
        ("vgg", {"depth": 13}, CIFAR, 100, 9_462_180),
        # Ma et al. 2018, table 8: 1.4, 2.3, 3.5 and 7.4 million; exact: torchvision's.
        ("shufflenet_v2", {"width": 0.5}, IMAGENET, 1000, 1_366_792),
        ("shufflenet_v2", {"width": 1.0}, IMAGENET, 1000, 2_278_604),
        ("shufflenet_v2", {"width": 1.5}, IMAGENET, 1000, 3_503_624),
        ("shufflenet_v2", {"width": 2.0}, IMAGENET, 1000, 7_393_996),
        # DeiT-Ti and DeiT-S.
        (
            "vision_transformer",
            {"patch_size": 16, "width": 192, "depth": 12, "heads": 3},
            IMAGENET,
            1000,
            5_717_416,
        ),
        (
            "vision_transformer",
            {"patch_size": 16, "width": 384, "depth": 12, "heads": 6},
            IMAGENET,
            1000,
            22_050_664,
        ),
    ],
)
def test_weights_are_as_many_as_published(name, arguments, shape, units, weights):
    assert trainable(models.build(name, shape, units, **arguments)) == weights


def test_the_gaze_resnet_counts_by_hand():
    shapes = {"image": (36, 60, 1), "head_pose": (2,)}
    first = 9 * 16 + (2 * 16 + 9 * 16 * 16) + (2 * 16 + 9 * 16 * 16)
    second = (2 * 16 + 9 * 16 * 32) + (2 * 32 + 9 * 32 * 32) + 16 * 32
    third = (2 * 32 + 9 * 32 * 64) + (2 * 64 + 9 * 64 * 64) + 32 * 64
    expected = first + second + third + 2 * 64 + (64 + 2) * 2 + 2
    assert trainable(models.build("preactivation_resnet", shapes, 2)) == expected == 77_046


def test_a_wide_resnet_counts_by_hand():
    # WRN-10-1 on grey images: as ResNet-8, whose projections it counts as layers.
    model = models.build("wide_resnet", (8, 8, 1), 2, depth=10, width=1)
    assert trainable(model) == 77_046 - 2 * 2


def test_the_vision_transformer_counts_by_hand():
    model = models.build("vision_transformer", (8, 8, 1), 5, width=12, depth=1, heads=3)
    patches, token_and_positions = 4 * 4 * 12 + 12, 12 + (4 + 1) * 12
    attention = 4 * (12 * 12 + 12)
    perceptron = (12 * 48 + 48) + (48 * 12 + 12)
    normalisations = 3 * 2 * 12
    assert model.count_params() == (
        patches + token_and_positions + attention + perceptron + normalisations + (12 * 5 + 5)
    )


@pytest.mark.parametrize("channels, filters", [(4, 8), (3, 8), (4, 4)])
def test_the_shortcut_takes_every_other_pixel_and_adds_channels_of_zeros(channels, filters):
    x = np.random.default_rng(0).normal(size=(2, 5, 6, channels)).astype("float32")
    strides = 2 if filters > channels else 1
    missing = filters - channels
    zeros = (missing // 2, missing - missing // 2)
    expected = np.pad(x[:, ::strides, ::strides], ((0, 0), (0, 0), (0, 0), zeros))
    np.testing.assert_array_equal(
        compute(lambda t: residual.shortcut(t, filters, strides), x), expected
    )


def test_the_shortcut_has_no_weights():
    inputs = keras.Input((8, 8, 4))
    assert keras.Model(inputs, residual.shortcut(inputs, 8, 2)).count_params() == 0


@pytest.mark.parametrize("groups", [2, 3])
def test_channels_are_shuffled_as_a_transposed_matrix(groups):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype("float32")
    matrix = x.reshape(2, 3, 4, groups, 6 // groups)
    expected = matrix.swapaxes(3, 4).reshape(x.shape)
    np.testing.assert_array_equal(
        compute(lambda t: shufflenet.shuffle_channels(t, groups), x), expected
    )


def test_half_of_the_channels_pass_a_shufflenet_unit_untouched():
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 6)).astype("float32")
    np.testing.assert_array_equal(compute(shufflenet._unit, x)[..., ::2], x[..., :3])


@pytest.mark.parametrize("side", [7, 8])
def test_a_strided_convolution_is_centred_on_the_pixels_of_the_shortcut(side):
    x = np.random.default_rng(0).normal(size=(1, side, side, 1)).astype("float32")
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, blocks.convolution(inputs, 1, 3, strides=2))
    centre = np.zeros((3, 3, 1, 1), "float32")
    centre[1, 1] = 1
    model.set_weights([centre])
    np.testing.assert_allclose(model(x), x[:, ::2, ::2], atol=1e-6)


@pytest.mark.parametrize(
    "name, arguments, side, pixels",
    [
        ("resnet", {"depth": 8}, 32, 8),
        ("wide_resnet", {"depth": 10}, 32, 8),
        ("vgg", {}, 32, 4),
        ("vgg", {}, 64, 4),
        ("shufflenet_v2", {"width": 0.5, "stem": "small"}, 32, 4),
        ("shufflenet_v2", {"width": 0.5}, 64, 2),
    ],
)
def test_the_last_feature_map_has_the_published_size(name, arguments, side, pixels):
    model = models.build(name, (side, side, 3), 2, **arguments)
    pooling = next(
        layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)
    )
    assert pooling.input.shape[1:3] == (pixels, pixels)


def test_the_class_token_comes_first_and_every_place_gets_its_vector():
    layer = transformer.ClassTokenAndPositions()
    patches = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    layer.build(patches.shape)
    token, positions = np.full((1, 1, 4), 2.0), np.arange(16.0).reshape(1, 4, 4)
    layer.set_weights([token, positions])
    expected = np.concatenate([np.full((2, 1, 4), 2.0), patches], axis=1) + positions
    np.testing.assert_allclose(layer(patches), expected, rtol=1e-6)


def test_the_vision_transformer_knows_where_a_patch_is():
    model = models.build("vision_transformer", (8, 8, 1), 3, width=12, depth=1)
    x = np.random.default_rng(0).uniform(size=(1, 8, 8, 1)).astype("float32")
    swapped = np.roll(x, 4, axis=1)
    positions = next(weight for weight in model.weights if weight.name == "positions")
    assert not np.allclose(model(x), model(swapped), atol=1e-7)
    positions.assign(np.zeros(positions.shape))
    np.testing.assert_allclose(model(x), model(swapped), atol=1e-5)
