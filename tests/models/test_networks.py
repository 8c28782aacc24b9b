"""Networks: parameter counts by hand or as published, shapes, clear errors."""

import numpy as np
import pytest

from ecl_tf import models


def test_lenet_has_the_published_number_of_weights():
    # Caffe's LeNet on 28x28 grey images: 520 + 25,050 + 400,500 + 5,010.
    assert models.build("lenet", (28, 28, 1), 10).count_params() == 431_080


def test_convnet_counts_by_width_and_depth():
    # 3x3x1x8 + 8, 3x3x8x16 + 16, and 2x2x16 inputs of the last layer.
    expected = 80 + 1_168 + (64 * 10 + 10)
    assert models.build("convnet", (8, 8, 1), 10, width=8, depth=2).count_params() == expected


def test_mlp_counts():
    assert models.build("mlp", (8, 8, 1), 2, widths=(32, 16)).count_params() == (
        (64 * 32 + 32) + (32 * 16 + 16) + (16 * 2 + 2)
    )


@pytest.mark.parametrize(
    "name, arguments",
    [("lenet", {"padding": "same"}), ("convnet", {}), ("mlp", {})],
)
def test_outputs_are_raw_and_of_the_wanted_size(name, arguments):
    model = models.build(name, (8, 8, 1), 7, **arguments)
    raw = model(10 * np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype("float32"))
    assert raw.shape == (5, 7)
    assert np.min(raw) < 0 < np.max(raw)


@pytest.mark.parametrize(
    "name, shape, arguments, message",
    [
        ("resnet", (8, 8, 1), {}, "Unknown network 'resnet'"),
        ("mlp", (8,), {"depth": 2}, r"no arguments \['depth'\]; it takes \['widths'\]"),
        ("convnet", (8,), {}, "Use 'mlp' for vectors"),
        ("convnet", (8, 8, 1), {"depth": 4}, "at least 16 pixels"),
        ("lenet", (8, 8, 1), {}, "padding='same' needs 4"),
    ],
)
def test_impossible_networks_are_refused(name, shape, arguments, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, shape, 10, **arguments)
