"""Samples of a generator: what it is given, what comes out, and that it is never trained."""

import json

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from ecl_tf import Distiller, samplers
from ecl_tf.samplers import Choice, Generated, Mixup, Uncertain

SIZE, CLASSES = 4, 3
X = np.random.default_rng(0).normal(size=(8, SIZE)).astype("float32")


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def scaled(size, scale, offset=0.0):
    """The generator of N(offset, scale^2)."""
    return keras.Sequential([keras.Input((size,)), keras.layers.Rescaling(scale, offset)])


def dense(units=SIZE, latent=2, seed=5):
    model = keras.Sequential([keras.Input((latent,)), keras.layers.Dense(units)])
    model.set_weights([numbers(latent, units, seed=seed), numbers(units, seed=seed + 1)])
    return model


def network(seed):
    model = keras.Sequential([keras.Input((SIZE,)), keras.layers.Dense(CLASSES)])
    model.set_weights([numbers(SIZE, CLASSES, seed=seed), numbers(CLASSES, seed=seed + 50)])
    return model


# What is drawn.


def test_the_generator_is_given_independent_standard_normal_numbers():
    samples = Generated(scaled(3, 2.0, 1.0))(tf.zeros((2000, 3)), seed=0).inputs.numpy()
    assert samples.shape == (2000, 3) and samples.dtype == np.float32
    for column in samples.T:
        assert scipy.stats.kstest(column, "norm", (1.0, 2.0)).pvalue > 1e-3
    neighbours = np.concatenate([samples[:-1], samples[1:]], 1)  # Of a row and of the next one.
    correlations = np.corrcoef(neighbours.T)[np.triu_indices(6, 1)]
    assert np.abs(correlations).max() < 4 / np.sqrt(2000)


def test_samples_are_the_models_function_of_z():
    """z itself is what a generator that changes nothing gives."""
    z = Generated(scaled(2, 1.0))(tf.zeros((8, 2)), seed=3).inputs.numpy()
    model = dense()
    weights, bias = model.get_weights()
    samples = Generated(model)(X, seed=3)
    np.testing.assert_allclose(samples.inputs, z @ weights + bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(samples.unmodified, [False] * 8)
    assert not samples.is_moved and not Generated.keeps_rows


def test_z_may_have_any_shape():
    model = keras.Sequential(
        [keras.Input((2, 3, 1)), keras.layers.Flatten(), keras.layers.Reshape((3, 2))]
    )
    samples = Generated(model)(tf.zeros((500, 3, 2)), seed=0).inputs
    assert samples.shape == (500, 3, 2)
    assert scipy.stats.kstest(np.ravel(samples), "norm").pvalue > 1e-3


def test_the_seed_determines_the_sample_and_the_batch_only_its_size():
    sampler = Generated(dense())
    first = sampler(X, seed=3).inputs.numpy()
    keras.utils.set_random_seed(9)
    np.testing.assert_array_equal(sampler(0 * X, seed=tf.constant([3, 0])).inputs, first)
    assert np.all(sampler(X, seed=4).inputs != first)
    assert sampler(X[:3], seed=3).inputs.shape == (3, SIZE)


def test_layers_are_in_inference_mode():
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dropout(0.9),
            keras.layers.Dense(SIZE),
            keras.layers.BatchNormalization(),
        ]
    )
    mean, variance = numbers(SIZE), np.abs(numbers(SIZE, seed=1)) + 0.1
    model.layers[-1].moving_mean.assign(mean)
    model.layers[-1].moving_variance.assign(variance)
    z = Generated(scaled(2, 1.0))(tf.zeros((8, 2)), seed=3).inputs.numpy()
    expected = (z @ model.layers[1].get_weights()[0] - mean) / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(Generated(model)(X, seed=3).inputs, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model.layers[-1].moving_mean, mean)


def test_graphs_of_any_batch_size_and_xla_draw_the_same():
    sampler = Generated(dense())
    signature = [tf.TensorSpec([None, SIZE]), tf.TensorSpec([2], tf.int32)]
    graph = tf.function(sampler.__call__, input_signature=signature)
    compiled = tf.function(sampler.__call__, jit_compile=True)
    for function, rows in ((graph, 1), (graph, 5), (compiled, 5)):
        samples = function(tf.constant(X[:rows]), tf.constant([7, 0]))
        expected = sampler(X[:rows], seed=7).inputs
        np.testing.assert_allclose(samples.inputs, expected, rtol=1e-3, atol=1e-4)
        assert samples.unmodified.shape == (rows,)


# Types and structures.


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_whole_numbers_are_rounded(dtype):
    model = scaled(3, 20.0, 128.0)
    exact = Generated(model)(tf.zeros((50, 3)), seed=0).inputs.numpy()
    rounded = Generated(model)(tf.zeros((50, 3), dtype), seed=0).inputs
    assert rounded.dtype == tf.as_dtype(dtype)
    np.testing.assert_array_equal(rounded, np.rint(exact).astype(dtype))
    assert np.any(rounded.numpy() != exact.astype(dtype))  # Truncation is something else.


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_samples_have_the_batchs_floating_point_type(dtype):
    exact = Generated(dense())(X, seed=0).inputs
    samples = Generated(dense())(X.astype(dtype), seed=0).inputs
    assert samples.dtype == tf.as_dtype(dtype)
    np.testing.assert_allclose(samples, exact, rtol=2e-3, atol=2e-3)


def test_a_generator_of_half_precision_gives_single_precision_where_inputs_have_it():
    z = keras.Input((SIZE,))
    model = keras.Model(z, keras.layers.Rescaling(2.0, dtype="mixed_float16")(z))
    assert model(X).dtype == tf.float16
    assert Generated(model)(X, seed=0).inputs.dtype == tf.float32


def named_generator():
    z = keras.Input((5,))
    return keras.Model(z, {"image": keras.layers.Reshape((1, 3, 1))(z[:, :3]), "pose": z[:, 3:]})


def test_named_inputs_come_from_one_z():
    inputs = {"pose": tf.zeros((6, 2), tf.float64), "image": tf.zeros((6, 1, 3, 1), tf.uint8)}
    z = Generated(scaled(5, 1.0))(tf.zeros((6, 5)), seed=2).inputs.numpy()
    # Numbers below zero have no uint8.
    samples = Generated(named_generator())({**inputs, "image": tf.zeros((6, 1, 3, 1))}, 2).inputs
    np.testing.assert_array_equal(samples["image"].numpy().reshape(6, 3), z[:, :3])
    np.testing.assert_array_equal(samples["pose"], z[:, 3:])
    samples = Generated(named_generator())(inputs, seed=2).inputs
    assert {name: each.dtype for name, each in samples.items()} == {
        "image": tf.uint8,
        "pose": tf.float64,
    }


# Errors.


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (dense(3), tf.zeros((8, 4)), r"shape \(3,\), but the inputs are \(4,\)"),
        (dense(4), tf.zeros((8, 2, 2)), r"shape \(4,\), but the inputs are \(2, 2\)"),
        (dense(4), {"x": tf.zeros((8, 4))}, r"shape \(4,\), but the inputs are \{'x': \(4,\)\}"),
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


def test_fit_refuses_other_shapes_before_the_first_step():
    distiller = Distiller(network(1), network(2), sampler=Generated(dense(3)))
    distiller.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match=r"\(3,\), but the inputs are \(4,\)"):
        distiller.fit(X, verbose=0)
    assert int(distiller.step.numpy()) == 0


class Subclassed(keras.Model):
    def call(self, z):
        return z


def two_inputs(nested):
    inputs = {"a": keras.Input((2,), name="a"), "b": keras.Input((2,), name="b")}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    return keras.Model(inputs if nested else list(inputs.values()), joined)


@pytest.mark.parametrize(
    "build",
    [
        lambda: two_inputs(nested=True),
        lambda: two_inputs(nested=False),
        lambda: keras.Sequential([keras.Input((None,)), keras.layers.Activation("relu")]),
        lambda: keras.Sequential([keras.layers.Dense(4)]),
        Subclassed,
        lambda: keras.layers.Dense(4),
        lambda: None,
        lambda: lambda z: z,
    ],
    ids=["dict", "list", "unknown", "unbuilt", "subclassed", "layer", "none", "function"],
)
def test_a_generator_is_a_model_with_one_input_of_known_shape(build):
    with pytest.raises(ValueError, match=r"needs a keras\.Model with one input z of known shape"):
        Generated(build())


# Files and configs.


@pytest.mark.parametrize("name", ["none.keras", "", "folder"])
def test_a_missing_file_is_named(name, tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / name, str(tmp_path / name)):
        with pytest.raises(FileNotFoundError, match=f"no generator at .*{name}"):
            Generated(path)


def test_a_file_of_a_model_does_as_the_model(tmp_path):
    path = tmp_path / "generator.keras"
    model = dense()
    model.compile("adam", "mse")
    model.save(path)
    expected = Generated(model)(X, seed=1).inputs
    config = {"class_name": "Generated", "config": {"model": str(path)}}
    for sampler in (Generated(path), Generated(str(path)), samplers.get(config)):
        np.testing.assert_array_equal(sampler(X, seed=1).inputs, expected)
        assert not sampler.model.compiled


def test_configs_round_trip_with_the_architecture():
    sampler = Generated(scaled(SIZE, 3.0, 0.5))
    expected = sampler(X, seed=1).inputs
    short = {"class_name": "Generated", "config": sampler.get_config()}
    full = keras.saving.serialize_keras_object(sampler)
    for config in (short, full):
        restored = samplers.get(json.loads(json.dumps(config)))
        assert restored.model is not sampler.model
        assert restored.latent_shape == (SIZE,)
        np.testing.assert_array_equal(restored(X, seed=1).inputs, expected)
    restored = keras.saving.deserialize_keras_object(full)
    np.testing.assert_array_equal(restored(X, seed=1).inputs, expected)


def test_a_model_is_taken_as_it_is():
    model = dense()
    sampler = Generated(model)
    assert sampler.model is model and list(sampler.models) == [model]
    assert Generated.from_config({"model": model}).model is model


# In a distiller.

WRAP = {
    "alone": lambda sampler: sampler,
    "in-choice": lambda sampler: Choice(["Mixup", sampler]),
    "as-base": lambda sampler: Uncertain(Choice([sampler, "Empirical"]), 2, "divergence"),
}


def compiled(sampler, seed=0, **kwargs):
    distiller = Distiller(network(1 + seed), network(2 + seed), sampler=sampler)
    distiller.compile(keras.optimizers.Adam(0.05), **{"run_eagerly": True, **kwargs})
    return distiller


def epoch(distiller):
    return distiller.fit(X, batch_size=4, shuffle=False, verbose=0).history


def assert_equal(weights, expected):
    for one, other in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("wrap", "run_eagerly"), [("alone", False), *((wrap, True) for wrap in WRAP)]
)
def test_the_student_is_trained_on_it_and_it_is_not(wrap, run_eagerly):
    model = dense()
    before, student_before = model.get_weights(), network(1).get_weights()
    distiller = compiled(WRAP[wrap](Generated(model)), run_eagerly=run_eagerly)
    history = epoch(distiller)
    assert np.isfinite(history["loss"]).all()
    assert_equal(model.get_weights(), before)
    assert np.abs(distiller.student.get_weights()[0] - student_before[0]).min() > 1e-3
    mine = {id(weight) for weight in distiller.trainable_weights}
    assert mine == {id(weight) for weight in distiller.student.weights}
    assert model.trainable and len(model.trainable_weights) == 2
    assert {id(weight) for weight in model.weights} <= {id(each) for each in distiller.weights}


def test_the_divergence_is_of_the_generators_samples():
    """Of a generator that gives one point only."""
    point = numbers(SIZE, seed=8)
    model = dense()
    model.set_weights([np.zeros((2, SIZE)), point])
    distiller = compiled(Generated(model))
    logits = [point @ w + b for w, b in (network(seed).get_weights() for seed in (1, 2))]
    q, p = (np.exp(each) / np.exp(each).sum() for each in logits)
    loss = distiller.train_on_batch(X, return_dict=True)["loss"]
    np.testing.assert_allclose(loss, (p * np.log(p / q)).sum(), rtol=1e-4)


@pytest.mark.parametrize("wrap", WRAP)
def test_a_saved_distiller_goes_on_with_its_generator(wrap, tmp_path):
    path = tmp_path / "distiller.keras"
    original = compiled(WRAP[wrap](Generated(dense())))
    epoch(original)
    original.save(path)
    loaded = keras.saving.load_model(path)
    (its,) = loaded.sampler.models
    assert its is not original.sampler.models[0]
    assert_equal(its.get_weights(), dense().get_weights())
    assert epoch(loaded) == epoch(original)
    assert_equal(loaded.student.get_weights(), original.student.get_weights())


def test_a_weights_file_has_the_generators(tmp_path):
    path = tmp_path / "all.weights.h5"
    original = compiled(Generated(dense()))
    epoch(original)
    original.save_weights(path)
    other = compiled(Generated(dense(seed=30)), seed=10)
    epoch(other)
    other.load_weights(path)
    assert_equal(other.sampler.model.get_weights(), dense().get_weights())
    assert epoch(other) == epoch(original)


def test_one_generator_in_two_places_is_refused_for_one_would_be_lost():
    model = dense()
    sampler = Choice([Generated(model), Uncertain(Generated(model))])
    with pytest.raises(ValueError, match="one generator in two places"):
        compiled(sampler)


def test_xla_gives_the_same_losses():
    losses = []
    for ways in ({"run_eagerly": True}, {"run_eagerly": False, "jit_compile": True}):
        distiller = compiled(Choice([Generated(dense()), Mixup()]), **ways)
        losses.append(epoch(distiller)["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
