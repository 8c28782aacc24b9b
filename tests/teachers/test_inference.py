"""Folded networks answer as the networks do that they were made of."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from ecl_tf import inference_form, models

RNG = np.random.default_rng(0)
SHAPE = (6, 6, 3)
X = RNG.normal(size=(2, *SHAPE)).astype("float32")


def normalisations(model):
    return sum(isinstance(x, keras.layers.BatchNormalization) for x in model._flatten_layers())


def trained(model):
    """Gives every batch normalisation and LoRA numbers of its own, as training would."""
    for layer in model._flatten_layers():
        if getattr(layer, "lora_enabled", False):
            layer.lora_kernel_b.assign(RNG.normal(size=layer.lora_kernel_b.shape))
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(RNG.normal(size=shape) * 0.1)
            layer.moving_variance.assign(RNG.uniform(0.5, 1.5, shape))
            for weight, center in ((layer.gamma, 1.0), (layer.beta, 0.0)):
                if weight is not None:
                    weight.assign(center + RNG.uniform(-0.3, 0.3, shape))
    return model


@pytest.mark.parametrize(
    ("name", "arguments", "left"),
    [
        ("resnet", {"depth": 8}, 0),
        ("wide_resnet", {"depth": 10, "width": 1}, None),  # Normalises before convolutions.
        ("application", {"model": "MobileNetV2"}, 0),
        ("convnet", {}, 0),
    ],
)
def test_networks_answer_as_before(name, arguments, left, tmp_path):
    keras.utils.set_random_seed(0)
    model = trained(models.build(name, (32, 32, 3), 10, **arguments))
    before = [weight.copy() for weight in model.get_weights()]
    x = RNG.random((4, 32, 32, 3), "float32")
    folded = inference_form(model)
    if left is not None:
        assert normalisations(folded) == left
    wanted = np.asarray(model(x))
    np.testing.assert_allclose(folded(x), wanted, atol=1e-4 * np.abs(wanted).max())
    assert not folded.trainable_variables
    keras.tree.map_structure(np.testing.assert_array_equal, model.get_weights(), before)
    if name == "resnet":
        folded.save(tmp_path / "folded.keras")
        loaded = keras.models.load_model(tmp_path / "folded.keras")
        np.testing.assert_array_equal(loaded(x), folded(x))


@pytest.mark.parametrize(
    ("layer", "arguments"),
    [
        (keras.layers.Conv2D(5, 3, use_bias=False), {}),
        (keras.layers.Conv2D(6, 3, groups=3), {"scale": False}),
        (keras.layers.DepthwiseConv2D(3, depth_multiplier=2), {}),
        (keras.layers.Dense(5), {"center": False}),
        (keras.layers.Conv2D(5, 3, lora_rank=2), {}),
    ],
    ids=["convolution", "groups", "depthwise", "dense", "lora"],
)
def test_the_arithmetic_of_each_layer(layer, arguments):
    normalisation = keras.layers.BatchNormalization(epsilon=0.01, **arguments)
    model = trained(keras.Sequential([keras.Input(SHAPE), layer, normalisation]))
    folded = inference_form(model)
    assert normalisations(folded) == 0
    np.testing.assert_allclose(folded(X), model(X), atol=1e-5)


def test_operations_between_layers_are_copied():
    inputs = keras.Input(SHAPE)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(3, 1)(inputs))
    x = keras.ops.relu(x + inputs) * 2.0
    model = trained(keras.Model(inputs, keras.layers.Dense(4)(x)))
    folded = inference_form(model)
    assert normalisations(folded) == 0
    np.testing.assert_allclose(folded(X), model(X), atol=1e-5)


def test_what_can_not_be_folded_stays():
    image = keras.Input(SHAPE)
    convolve = keras.layers.Conv2D(3, 3, padding="same")
    once = keras.layers.BatchNormalization()(convolve(image))  # Its input is used again.
    active = keras.layers.Conv2D(3, 3, padding="same", activation="relu")(once)
    active = keras.layers.BatchNormalization()(active)
    inner = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Conv2D(3, 1), keras.layers.BatchNormalization()]
    )
    first = keras.layers.BatchNormalization()(inner(active))
    twice = keras.layers.Add()([convolve(first), once])
    model = trained(keras.Model(image, keras.layers.Flatten()(twice)))
    assert normalisations(model) == 4
    folded = inference_form(model)
    assert normalisations(folded) == 3  # That of the network within.
    np.testing.assert_allclose(folded(X), model(X), atol=1e-5)


def test_a_convolution_that_is_an_output_and_the_batchs_own_statistics_stay():
    image = keras.Input(SHAPE)
    convolved = keras.layers.Conv2D(4, 3)(image)
    normalised = keras.layers.BatchNormalization()(convolved)
    model = trained(keras.Model(image, {"before": convolved, "after": normalised}))
    folded = inference_form(model)
    for name, wanted in model(X).items():
        np.testing.assert_allclose(folded(X)[name], wanted, atol=1e-5)
    by_batch = keras.layers.BatchNormalization()(convolved, training=True)
    assert normalisations(inference_form(keras.Model(image, by_batch))) == 1


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.05)])
def test_a_tables_columns_are_normalised_as_they_were(dtype, tolerance):
    keras.utils.set_random_seed(0)
    x = RNG.normal([5.0, 1e3, 2e4], [1.0, 10.0, 3.0], (200, 3)).astype("float32")
    normalization = keras.layers.Normalization()
    normalization.adapt(x)
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(16), keras.layers.Dense(2)])
    row = keras.Input((3,))
    model = keras.Model(row, inner(normalization(row)))
    answers = inference_form(model, dtype)(x)
    assert answers.dtype == tf.float32  # Of the last layer of the network within.
    np.testing.assert_allclose(answers, model(x), atol=tolerance)


def test_low_precision_is_that_of_all_but_the_output():
    keras.utils.set_random_seed(0)
    model = trained(models.build("resnet", (32, 32, 3), 10, depth=8))
    low = inference_form(model, "bfloat16")
    policies = [layer.compute_dtype for layer in low.layers if layer.weights]
    assert policies[-1] == "float32" and set(policies[:-1]) == {"bfloat16"}
    x = RNG.random((16, 32, 32, 3), "float32")
    answers = low(x)
    assert answers.dtype == tf.float32
    p, q = scipy.special.softmax(model(x), -1), scipy.special.softmax(answers, -1)
    nats = scipy.special.rel_entr(p.astype("float64"), q).sum(-1)
    assert 1e-9 < nats.max() < 5e-3


def test_what_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="copies functional and sequential models"):
        inference_form(Own())
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="dtype must be"):
        inference_form(model, "int8")
