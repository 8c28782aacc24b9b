"""Networks: parameter counts by hand or as published, shapes, clear errors."""

import math
import sys
import types

import keras
import numpy as np
import pytest

from ecl_tf import models
from ecl_tf.models import blocks, residual, transformer

EYE = {"image": (36, 60, 1), "head_pose": (2,)}
# The weights of the gaze network ResNet-8: three stages, the last normalisation, the head.
RESNET_8 = (
    (9 * 16 + (2 * 16 + 9 * 16 * 16) + (2 * 16 + 9 * 16 * 16))
    + ((2 * 16 + 9 * 16 * 32) + (2 * 32 + 9 * 32 * 32) + 16 * 32)
    + ((2 * 32 + 9 * 32 * 64) + (2 * 64 + 9 * 64 * 64) + 32 * 64)
    + (2 * 64 + (64 + 2) * 2 + 2)
)
DEIT_TI = {"patch_size": 16, "width": 192, "depth": 12, "heads": 3}

# One small variant of every network: name, its arguments, its smallest image.
SMALL = [
    ("mlp", {"dropout": 0.1}, (8, 8, 1)),
    ("convnet", {"width": 4, "dropout": 0.1}, (8, 8, 1)),
    ("lenet", {"padding": "same"}, (8, 8, 1)),
    ("resnet", {"depth": 8}, (8, 8, 1)),
    ("preactivation_resnet", {"widths": (4, 8, 16)}, (8, 8, 1)),
    ("wide_resnet", {"depth": 10, "width": 1, "dropout": 0.1}, (8, 8, 1)),
    ("vision_transformer", {"width": 12, "depth": 1, "dropout": 0.1}, (8, 8, 1)),
    (
        "application",
        {"model": "MobileNet", "unstrided": 2, "dropout": 0.1, "options": {"alpha": 0.25}},
        (32, 32, 1),
    ),
]
NAMES = [name for name, _, _ in SMALL]


@pytest.fixture(scope="module", params=SMALL, ids=NAMES)
def network(request):
    """A small network of three units with an image and a vector, and its inputs' shapes."""
    # Names from the start: Keras refuses two layers of one name in a network.
    keras.backend.clear_session()
    name, arguments, image = request.param
    shapes = {"image": image, "pose": (2,)}
    return models.build(name, shapes, 3, **arguments), shapes


def random_inputs(shapes):
    draw = np.random.default_rng(0).uniform
    return {name: draw(size=(3, *shape)).astype("float32") for name, shape in shapes.items()}


def test_every_network_is_tried():
    others = {"CategoryEmbedding", "build", "with_scale_branch"}
    of_pixels = {"unet"}  # In tests/experiments/test_dense_rows.py; it takes an image alone.
    assert {*others, *of_pixels, *NAMES} == set(models.__all__)


@pytest.mark.parametrize(
    "name, shape, units, arguments, expected",
    [
        # Caffe's LeNet on 28x28 grey images.
        ("lenet", (28, 28, 1), 10, {}, 520 + 25_050 + 400_500 + 5_010),
        # 6x12 pixels are left of 36x60; the pose joins the 500 features.
        ("lenet", EYE, 2, {}, 520 + 25_050 + (6 * 12 * 50 * 500 + 500) + (502 * 2 + 2)),
        # 3x3x1x8 + 8, 3x3x8x16 + 16, and 2x2x16 inputs of the last layer.
        ("convnet", (8, 8, 1), 10, {"width": 8, "depth": 2}, 80 + 1_168 + (64 * 10 + 10)),
        ("mlp", (8, 8, 1), 2, {"widths": (32, 16)}, (64 + 1) * 32 + (32 + 1) * 16 + (16 + 1) * 2),
        ("preactivation_resnet", EYE, 2, {}, RESNET_8),
        # He et al. 2015, table 6: 0.27 million.
        ("resnet", (32, 32, 3), 10, {"depth": 20}, 269_722),
        # Zagoruyko & Komodakis 2016 and 2017: 0.7 million.
        ("wide_resnet", (32, 32, 3), 10, {"depth": 16, "width": 2}, 691_674),
        ("vision_transformer", (224, 224, 3), 1000, DEIT_TI, 5_717_416),
    ],
)
def test_weights_are_as_many_as_by_hand_or_published(name, shape, units, arguments, expected):
    model = models.build(name, shape, units, **arguments)
    assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == expected


def test_mlp_flattens_and_joins_every_input():
    shapes = {"image": (4, 4, 1), "pose": (2,), "series": (5, 3)}
    model = models.build("mlp", shapes, 2, widths=(8,))
    assert model.count_params() == (16 + 2 + 15) * 8 + 8 + (8 * 2 + 2)
    assert model(random_inputs(shapes)).shape == (3, 2)


def test_outputs_are_raw_and_a_vector_joins_right_before_the_last_layer(network):
    model, shapes = network
    inputs = random_inputs(shapes)
    raw = model.get_layer("raw")
    assert model(inputs).shape == (3, 3) and raw.output is model.output
    assert raw.activation is keras.activations.linear
    if model.name == "mlp":
        return  # It joins its inputs first.
    change = np.array([[0.5, -2.0]], "float32")
    moved = model({**inputs, "pose": inputs["pose"] + change}) - model(inputs)
    # The last layer is linear in the pose, which has the last two rows of its weights.
    np.testing.assert_allclose(moved, np.tile(change @ raw.kernel[-2:], (3, 1)), atol=1e-5)


def test_a_saved_network_loads_in_safe_mode_and_computes_the_same(network, tmp_path):
    model, shapes = network
    model.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras", safe_mode=True)
    inputs = random_inputs(shapes)
    np.testing.assert_array_equal(loaded(inputs), model(inputs))


def of_each_kind(*left_out):
    """Small networks; preactivation_resnet consists of wide_resnet's units."""
    kinds = [small for small in SMALL if small[0] not in ("preactivation_resnet", *left_out)]
    return pytest.mark.parametrize(
        "name, arguments, image", [pytest.param(*small, id=small[0]) for small in kinds]
    )


@pytest.mark.slow
@of_each_kind("application", "mlp", "convnet", "wide_resnet")  # Keras's, or of the others' layers.
def test_a_step_under_xla_moves_the_weights(name, arguments, image):
    shapes = {"image": image, "pose": (2,)}
    model = models.build(name, shapes, 3, **arguments)
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=True)
    before = [weight.numpy() for weight in model.trainable_weights]
    loss = model.train_on_batch(random_inputs(shapes), np.ones((3, 3), "float32"))
    assert np.isfinite(loss)
    pairs = zip(model.trainable_weights, before, strict=True)
    moved = [np.any(weight.numpy() != old) for weight, old in pairs]
    assert moved[-1] and np.mean(moved) > 0.5


@of_each_kind()
def test_half_precision_computes(name, arguments, image):
    model = models.build(name, image, 3, dtype="mixed_float16", **arguments)
    assert keras.config.dtype_policy().name == "float32"  # Of this network only.
    raw = model(random_inputs({"x": image})["x"], training=True)
    assert raw.dtype == "float16"
    assert np.all(np.isfinite(raw))


@pytest.mark.parametrize("channels, filters", [(4, 8), (3, 8), (4, 4)])
def test_the_shortcut_takes_every_other_pixel_and_adds_channels_of_zeros(channels, filters):
    x = np.random.default_rng(0).normal(size=(2, 5, 6, channels)).astype("float32")
    strides = 2 if filters > channels else 1
    missing = filters - channels
    zeros = (missing // 2, missing - missing // 2)
    expected = np.pad(x[:, ::strides, ::strides], ((0, 0), (0, 0), (0, 0), zeros))
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, residual.shortcut(inputs, filters, strides))
    np.testing.assert_array_equal(model(x), expected)
    assert not model.weights


@pytest.mark.parametrize("side", [7, 8])
def test_a_strided_convolution_is_centred_on_the_pixels_of_the_shortcut(side):
    x = np.random.default_rng(0).normal(size=(1, side, side, 1)).astype("float32")
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, blocks.convolution(inputs, 1, 3, strides=2))
    centre = np.zeros((3, 3, 1, 1), "float32")
    centre[1, 1] = 1
    model.set_weights([centre])
    np.testing.assert_allclose(model(x), x[:, ::2, ::2], atol=1e-6)


@pytest.mark.parametrize("name, depth", [("resnet", 8), ("wide_resnet", 10)])
def test_the_last_feature_map_has_the_published_size(name, depth):
    model = models.build(name, (32, 32, 3), 2, depth=depth)
    maps = [layer.output.shape for layer in model.layers if len(layer.output.shape) == 4]
    assert maps[-1][1:3] == (8, 8)


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


@pytest.mark.parametrize(
    "name, shape, arguments, message",
    [
        ("alexnet", (8, 8, 1), {}, "Unknown network 'alexnet'"),
        ("mlp", (8,), {"depth": 2}, r"no arguments \['depth'\]; it takes \['widths', 'dropout'\]"),
        ("convnet", (8,), {}, "use 'mlp', which flattens"),
        ("convnet", (8, 8, 1), {"depth": 4}, "at least 16 pixels"),
        ("lenet", (8, 8, 1), {}, "padding='same' needs 4"),
        ("resnet", {"pose": (2,)}, {}, "takes one image .* got inputs of shape {'pose'"),
        ("resnet", {"a": (8, 8, 1), "b": (8, 8, 1)}, {}, "takes one image"),
        ("resnet", (8, 8, 1), {"depth": 21}, r"6n \+ 2: \[8, 14, 20\] and so on; got 21"),
        ("preactivation_resnet", (8, 8, 1), {"widths": (4, 8)}, "three widths"),
        ("wide_resnet", (8, 8, 1), {"depth": 20}, r"6n \+ 4: \[10, 16, 22\]"),
        ("vision_transformer", (9, 8, 1), {}, "don't tile images of"),
        ("vision_transformer", (8, 8, 1), {"heads": 5}, "must divide"),
    ],
)
def test_impossible_networks_are_refused(name, shape, arguments, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, shape, 10, **arguments)


def test_a_network_of_ones_own_is_named_by_module_and_function(monkeypatch):
    def small(input_shape, units, width=4):
        return keras.Sequential([keras.Input(input_shape), keras.layers.Dense(width + units)])

    own = types.SimpleNamespace(small=small, nothing=lambda input_shape, units: None)
    monkeypatch.setitem(sys.modules, "own_networks", own)
    model = models.build("own_networks:small", (5,), 3, width=0)
    assert model.count_params() == 5 * 3 + 3
    assert models.build("own_networks:small", (5,), 3, width=0) is not model
    layer = keras.layers.Dense(3)
    own.shared = lambda input_shape, units: keras.Sequential([keras.Input(input_shape), layer])
    models.build("own_networks:shared", (5,), 3)
    with pytest.raises(ValueError, match=r"weights of an earlier one \('.*dense.*kernel'\)"):
        models.build("own_networks:shared", (5,), 3)
    with pytest.raises(ValueError, match=r"output shape \(None, 7\); expected 3 raw outputs"):
        models.build("own_networks:small", (5,), 3)
    with pytest.raises(ValueError, match="nothing returned NoneType; expected"):
        models.build("own_networks:nothing", (5,), 3)
    with pytest.raises(ValueError, match="Unknown network 'own_networks:large'"):
        models.build("own_networks:large", (5,), 3)
