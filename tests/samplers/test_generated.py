"""Samples of a generator: what it is given, what comes out, and that it is never trained."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import Subclassed, assert_same_weights, fits, network, numbers

from ecl_tf import Distiller, samplers
from ecl_tf.samplers import Choice, Generated, Uncertain

SIZE = 4
X = numbers(8, SIZE)


def scaled(size, scale, offset=0.0):
    """The generator of N(offset, scale^2)."""
    return keras.Sequential([keras.Input((size,)), keras.layers.Rescaling(scale, offset)])


def dense(units=SIZE, seed=5):
    return network(seed, inputs=2, classes=units)


def z_of(*shape, seed):
    """What a generator is given: the samples of one that changes nothing."""
    return Generated(scaled(shape[-1], 1.0))(tf.zeros(shape), seed).inputs.numpy()


# What is drawn.


def test_the_generator_is_given_independent_standard_normal_numbers_of_its_inputs_shape():
    layers = [keras.layers.Reshape((3,)), keras.layers.Rescaling(2.0, 1.0)]
    model = keras.Sequential([keras.Input((1, 3, 1)), *layers])
    samples = Generated(model)(tf.zeros((2000, 3)), seed=0).inputs.numpy()
    assert samples.shape == (2000, 3) and samples.dtype == np.float32
    for column in samples.T:
        assert fits(column, "norm", 1.0, 2.0)
    neighbours = np.concatenate([samples[:-1], samples[1:]], 1)  # Of a row and of the next one.
    correlations = np.corrcoef(neighbours.T)[np.triu_indices(6, 1)]
    assert np.abs(correlations).max() < 4 / np.sqrt(2000)


def test_samples_are_the_models_function_of_z_in_inference_mode():
    normalization = keras.layers.BatchNormalization()
    layers = [keras.layers.Dropout(0.9), keras.layers.Dense(SIZE), normalization]
    model = keras.Sequential([keras.Input((2,)), *layers])
    mean, variance = numbers(SIZE), np.abs(numbers(SIZE, seed=1)) + 0.1
    normalization.moving_mean.assign(mean)
    normalization.moving_variance.assign(variance)
    kernel = model.layers[1].get_weights()[0]
    expected = (z_of(8, 2, seed=3) @ kernel - mean) / np.sqrt(variance + 1e-3)
    samples = Generated(model)(X, seed=3)
    np.testing.assert_allclose(samples.inputs, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(normalization.moving_mean, mean)
    np.testing.assert_array_equal(samples.unmodified, [False] * 8)
    assert not samples.is_moved and not Generated.keeps_rows


# Types and structures.


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_whole_numbers_are_rounded(dtype):
    model = scaled(3, 20.0, 128.0)
    exact = Generated(model)(tf.zeros((50, 3)), seed=0).inputs.numpy()
    rounded = Generated(model)(tf.zeros((50, 3), dtype), seed=0).inputs
    assert rounded.dtype == tf.as_dtype(dtype)
    np.testing.assert_array_equal(rounded, np.rint(exact).astype(dtype))


def test_a_generator_of_half_precision_gives_single_precision_where_inputs_have_it():
    z = keras.Input((SIZE,))
    model = keras.Model(z, keras.layers.Rescaling(2.0, dtype="mixed_float16")(z))
    assert model(X).dtype == tf.float16
    assert Generated(model)(X, seed=0).inputs.dtype == tf.float32


def named_generator():
    z = keras.Input((5,))
    return keras.Model(z, {"image": keras.layers.Reshape((1, 3, 1))(z[:, :3]), "pose": z[:, 3:]})


def test_named_inputs_come_from_one_z():
    inputs = {"pose": tf.zeros((6, 2), tf.float64), "image": tf.zeros((6, 1, 3, 1))}
    samples = Generated(named_generator())(inputs, 2).inputs
    z = z_of(6, 5, seed=2)
    np.testing.assert_array_equal(samples["image"].numpy().reshape(6, 3), z[:, :3])
    np.testing.assert_array_equal(samples["pose"], z[:, 3:])
    assert {name: each.dtype for name, each in samples.items()} == {
        "image": tf.float32,
        "pose": tf.float64,
    }


# Errors.


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (dense(3), X, r"shape \(3,\), but the inputs are \(4,\)"),
        (dense(4), tf.zeros((8, 2, 2)), r"shape \(4,\), but the inputs are \(2, 2\)"),
        (dense(4), {"x": X}, r"shape \(4,\), but the inputs are \{'x': \(4,\)\}"),
        (
            named_generator(),
            {"image": tf.zeros((8, 1, 3, 1)), "angle": tf.zeros((8, 2))},
            r"shape .*'pose': \(2,\).*, but the inputs are .*'angle': \(2,\)",
        ),
    ],
    ids=["size", "rank", "structure", "names"],
)
def test_other_shapes_than_the_inputs_are_refused_with_both(model, inputs, message):
    with pytest.raises(ValueError, match=rf"gives rows of {message}.*Reshape"):
        Generated(model)(inputs, seed=0)


def two_inputs():
    inputs = [keras.Input((2,)), keras.Input((2,))]
    return keras.Model(inputs, keras.layers.Concatenate()(inputs))


@pytest.mark.parametrize(
    "build",
    [
        two_inputs,
        lambda: keras.Sequential([keras.Input((None,)), keras.layers.Activation("relu")]),
        lambda: keras.Sequential([keras.layers.Dense(4)]),
        Subclassed,
        lambda: keras.layers.Dense(4),
        lambda: None,
    ],
    ids=["two inputs", "unknown", "unbuilt", "subclassed", "layer", "none"],
)
def test_a_generator_is_a_model_with_one_input_of_known_shape(build):
    with pytest.raises(ValueError, match=r"needs a keras\.Model with one input z of known shape"):
        Generated(build())


# Files and configs.


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path / "none.keras", str(tmp_path / "none.keras"), tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no generator at {path}"):
            Generated(path)


def test_a_file_of_a_model_does_as_the_model(tmp_path):
    path = tmp_path / "generator.keras"
    model = dense()
    model.compile("adam", "mse")
    model.save(path)
    config = {"class_name": "Generated", "config": {"model": str(path)}}
    for sampler in (Generated(path), Generated(str(path)), samplers.get(config)):
        np.testing.assert_array_equal(sampler(X, 1).inputs, Generated(model)(X, 1).inputs)
        assert not sampler.model.compiled


def test_a_model_is_taken_as_it_is_and_a_config_has_a_copy():
    model = scaled(SIZE, 3.0, 0.5)
    sampler = Generated(model)
    assert sampler.model is model is Generated.from_config({"model": model}).model
    restored = Generated.from_config(sampler.get_config())
    assert restored.model is not model
    assert restored.latent_shape == (SIZE,)


# In a distiller.


def epoch(distiller):
    return distiller.fit(X, batch_size=4, shuffle=False, verbose=0).history


@pytest.mark.parametrize(
    "wrap",
    [
        lambda sampler: Choice(["Mixup", sampler]),
        lambda sampler: Uncertain(Choice([sampler, "Empirical"]), 2, "divergence", 0.0),
    ],
    ids=["in-choice", "as-base"],
)
def test_the_student_is_trained_on_it_and_it_is_not_and_goes_on_when_loaded(wrap, tmp_path):
    model = dense()
    distiller = Distiller(network(1), network(2), sampler=wrap(Generated(model)))
    distiller.compile(keras.optimizers.Adam(0.05), run_eagerly=True)
    assert np.isfinite(epoch(distiller)["loss"]).all()
    assert_same_weights(model, dense())
    moved = distiller.student.get_weights()[0] - network(1).get_weights()[0]
    assert np.abs(moved).min() > 1e-3
    trained = {id(weight) for weight in distiller.trainable_weights}
    assert trained == {id(weight) for weight in distiller.student.weights}
    assert model.trainable and len(model.trainable_weights) == 2
    assert {id(weight) for weight in model.weights} <= {id(each) for each in distiller.weights}
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    (its,) = loaded.sampler.models
    assert its is not model
    assert_same_weights(its, model)
    assert epoch(loaded) == epoch(distiller)
    assert_same_weights(loaded.student, distiller.student)


def test_one_generator_in_two_places_is_refused_for_one_would_be_lost():
    model = dense()
    sampler = Choice([Generated(model), Uncertain(Generated(model))])
    with pytest.raises(ValueError, match="one generator in two places"):
        Distiller(network(1), network(2), sampler=sampler)
