"""Networks of keras.applications: weights as published, and strides taken away."""

import keras
import numpy as np
import pytest

from ecl_tf import models

SMALL = {"model": "MobileNet", "options": {"alpha": 0.25}}


def feature_map(model):
    """The size of the last tensor with more than one pixel."""
    shapes = [tuple(layer.output.shape) for layer in model.layers]
    return [shape[1:3] for shape in shapes if len(shape) == 4 and shape[1:3] != (1, 1)][-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model, unstrided, weights, pixels",
    [
        ("ResNet50", 2, 25_636_712, 8),
        # The published 5,330,571 hold the mean, variance and count of its own preprocessing.
        ("EfficientNetB0", 2, 5_330_571 - (3 + 3 + 1), 8),
    ],
)
def test_weights_are_as_many_as_published(model, unstrided, weights, pixels):
    network = models.build("application", (64, 64, 3), 1000, model=model, unstrided=unstrided)
    assert network.count_params() == weights
    assert feature_map(network) == (pixels, pixels)


@pytest.mark.parametrize(
    "shape, unstrided, pixels",
    [
        ((32, 32, 3), 5, (32, 32)),
        ((36, 60, 1), 1, (3, 4)),  # Halved four times: 18x30, 9x15, 5x8, 3x4, rounded up.
    ],
)
def test_each_stride_taken_away_doubles_the_last_feature_map(shape, unstrided, pixels):
    network = models.build("application", shape, 2, unstrided=unstrided, **SMALL)
    assert feature_map(network) == pixels


def test_a_network_computes_what_the_original_does():
    original = keras.applications.MobileNet(
        alpha=0.25, weights=None, input_shape=(36, 44, 1), classes=5, classifier_activation=None
    )
    network = models.build("application", (36, 44, 1), 5, **SMALL)
    weights = original.get_weights()
    # The classifier is a 1x1 convolution there, a dense layer here.
    network.set_weights([*weights[:-2], weights[-2][0, 0], weights[-1]])
    x = np.random.default_rng(0).uniform(size=(2, 36, 44, 1)).astype("float32")
    np.testing.assert_allclose(network(x), original(x), atol=1e-5)


def test_what_is_left_of_a_strided_convolution_is_centred():
    network = models.build("application", (32, 32, 1), 2, unstrided=2, **SMALL)
    strided = network.get_layer("conv_dw_2")
    assert strided.strides == (1, 1)
    assert strided.input.shape[1:3] == strided.output.shape[1:3] == (32, 32)
    centre = np.zeros(strided.kernel.shape)
    centre[1, 1] = 1
    strided.kernel.assign(centre)
    x = np.random.default_rng(0).uniform(size=(1, 32, 32, 1)).astype("float32")
    both = keras.Model(network.input, [strided.input, strided.output])
    before, after = both(x)
    np.testing.assert_allclose(after, before, atol=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"model": "mobilenetv2"}, "no network 'mobilenetv2'; expected one of .*'MobileNetV2'"),
        ({"model": "MobileNetV2", "unstrided": 6}, "5 times, so unstrided .*got 6"),
        ({"model": "ResNet50", "options": {"weights": "imagenet"}}, r"no options \['weights'\]"),
        ({"model": "InceptionV3"}, r"images of shape \(32, 32, 3\).*at least 75x75"),
    ],
)
def test_impossible_applications_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        models.build("application", (32, 32, 3), 10, **arguments)
