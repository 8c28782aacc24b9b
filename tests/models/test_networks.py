"""Networks: parameter counts by hand or as published, shapes, clear errors."""

import keras
import numpy as np
import pytest

from ecl_tf import models
from ecl_tf.models import shufflenet

EYE = {"image": (36, 60, 1), "head_pose": (2,)}

# One small variant of every network: name, its arguments, its smallest image.
SMALL = [
    ("mlp", {}, (8, 8, 1)),
    ("convnet", {"width": 4}, (8, 8, 1)),
    ("lenet", {"padding": "same"}, (8, 8, 1)),
    ("resnet", {"depth": 8}, (8, 8, 1)),
    ("preactivation_resnet", {"widths": (4, 8, 16)}, (8, 8, 1)),
    ("wide_resnet", {"depth": 10, "width": 1, "dropout": 0.1}, (8, 8, 1)),
    ("vgg", {}, (8, 8, 1)),
    ("shufflenet_v2", {"width": 0.5, "stem": "small"}, (8, 8, 1)),
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
    name, arguments, image = request.param
    shapes = {"image": image, "pose": (2,)}
    return models.build(name, shapes, 3, **arguments), shapes


def random_inputs(shapes, rows=3, seed=0):
    generator = np.random.default_rng(seed)
    return {
        name: generator.uniform(size=(rows, *shape)).astype("float32")
        for name, shape in shapes.items()
    }


def test_every_network_is_tried():
    assert {"build", *NAMES} == set(models.__all__)


def test_lenet_has_the_published_number_of_weights():
    # Caffe's LeNet on 28x28 grey images: 520 + 25,050 + 400,500 + 5,010.
    assert models.build("lenet", (28, 28, 1), 10).count_params() == 431_080


def test_lenet_for_gaze_has_the_published_number_of_weights():
    # 6x12 pixels are left of 36x60; the pose joins the 500 features: 502 x 2 + 2.
    expected = 520 + 25_050 + (6 * 12 * 50 * 500 + 500) + 1_006
    assert models.build("lenet", EYE, 2).count_params() == expected == 1_827_076


def test_convnet_counts_by_width_and_depth():
    # 3x3x1x8 + 8, 3x3x8x16 + 16, and 2x2x16 inputs of the last layer.
    expected = 80 + 1_168 + (64 * 10 + 10)
    assert models.build("convnet", (8, 8, 1), 10, width=8, depth=2).count_params() == expected


def test_mlp_counts():
    assert models.build("mlp", (8, 8, 1), 2, widths=(32, 16)).count_params() == (
        (64 * 32 + 32) + (32 * 16 + 16) + (16 * 2 + 2)
    )


def test_mlp_flattens_and_joins_every_input():
    shapes = {"image": (4, 4, 1), "pose": (2,), "series": (5, 3)}
    model = models.build("mlp", shapes, 2, widths=(8,))
    assert model.count_params() == (16 + 2 + 15) * 8 + 8 + (8 * 2 + 2)
    assert model(random_inputs(shapes)).shape == (3, 2)


def test_outputs_are_raw_and_of_the_wanted_size(network):
    model, shapes = network
    assert model(random_inputs(shapes, rows=5)).shape == (5, 3)
    assert model.get_layer("raw").output is model.output
    assert model.get_layer("raw").activation is keras.activations.linear


def test_a_vector_joins_right_before_the_last_layer(network):
    model, shapes = network
    if model.name == "mlp":
        pytest.skip("mlp joins its inputs first")
    inputs = random_inputs(shapes)
    change = np.array([[0.5, -2.0]], "float32")
    moved = model({**inputs, "pose": inputs["pose"] + change}) - model(inputs)
    # The last layer is linear in the pose, whose two rows of weights are its last.
    expected = change @ model.get_layer("raw").kernel[-2:]
    np.testing.assert_allclose(moved, np.tile(expected, (3, 1)), atol=1e-5)


def test_a_saved_network_loads_in_safe_mode_and_computes_the_same(network, tmp_path):
    model, shapes = network
    model.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras", safe_mode=True)
    inputs = random_inputs(shapes)
    np.testing.assert_array_equal(loaded(inputs), model(inputs))


@pytest.mark.parametrize(
    "name, arguments, image",
    [
        # preactivation_resnet consists of wide_resnet's units.
        pytest.param(*small, marks=pytest.mark.slow if small[0] == "application" else ())
        for small in SMALL
        if small[0] != "preactivation_resnet"
    ],
)
def test_a_step_under_xla_moves_the_weights(name, arguments, image, monkeypatch):
    # XLA compiles for long: one ShuffleNet unit of each kind does, instead of 16.
    monkeypatch.setattr(shufflenet, "_UNITS", (2, 1, 1))
    shapes = {"image": image, "pose": (2,)}
    model = models.build(name, shapes, 3, **arguments)
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=True)
    before = [weight.numpy() for weight in model.trainable_weights]
    loss = model.train_on_batch(random_inputs(shapes, rows=2), np.ones((2, 3), "float32"))
    assert np.isfinite(loss)
    moved = [
        np.any(weight.numpy() != old)
        for weight, old in zip(model.trainable_weights, before, strict=True)
    ]
    assert moved[-1] and np.mean(moved) > 0.5


@pytest.mark.parametrize("name, arguments, image", SMALL, ids=NAMES)
def test_half_precision_computes(name, arguments, image):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = models.build(name, image, 3, **arguments)
        raw = model(random_inputs({"x": image})["x"], training=True)
    finally:
        keras.config.set_dtype_policy("float32")
    assert raw.dtype == "float16"
    assert np.all(np.isfinite(raw))


@pytest.mark.parametrize(
    "name, shape, arguments, message",
    [
        ("alexnet", (8, 8, 1), {}, "Unknown network 'alexnet'"),
        ("mlp", (8,), {"depth": 2}, r"no arguments \['depth'\]; it takes \['widths', 'dropout'\]"),
        ("convnet", (8,), {}, "Use 'mlp' for vectors"),
        ("convnet", (8, 8, 1), {"depth": 4}, "at least 16 pixels"),
        ("lenet", (8, 8, 1), {}, "padding='same' needs 4"),
        ("resnet", {"pose": (2,)}, {}, "takes one image .* got inputs of shapes {'pose'"),
        ("resnet", {"a": (8, 8, 1), "b": (8, 8, 1)}, {}, "takes one image"),
        ("resnet", {"a": (8, 8, 1), "b": (8, 8)}, {}, "takes one image"),
        ("resnet", (8, 8, 1), {"depth": 21}, r"6n \+ 2: \[8, 14, 20\] and so on; got 21"),
        ("preactivation_resnet", (8, 8, 1), {"depth": 2}, r"6n \+ 2: .*got 2"),
        ("preactivation_resnet", (8, 8, 1), {"widths": (4, 8)}, "three widths"),
        ("wide_resnet", (8, 8, 1), {"depth": 20}, r"6n \+ 4: \[10, 16, 22\]"),
        ("vgg", (8, 8, 1), {"depth": 9}, r"depth of \[8, 11, 13, 16, 19\]; got 9"),
        ("vgg", (4, 4, 1), {}, "at least 8 pixels a side"),
        ("shufflenet_v2", (8, 8, 1), {"width": 0.7}, r"width of \[0.5, 1.0, 1.5, 2.0\]"),
        ("shufflenet_v2", (8, 8, 1), {"stem": "large"}, "stem of .*got 'large'"),
        ("vision_transformer", (9, 8, 1), {}, "don't tile images of"),
        ("vision_transformer", (8, 8, 1), {"heads": 5}, "must divide"),
    ],
)
def test_impossible_networks_are_refused(name, shape, arguments, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, shape, 10, **arguments)
