"""Noise and augmentation of each row by itself."""

import collections

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from ecl_tf.samplers import Augment, GaussianNoise


def fits(values, distribution, *parameters):
    return scipy.stats.kstest(np.ravel(values), distribution, parameters).pvalue > 1e-3


# Noise


@pytest.mark.parametrize("stddev", [0.1, 3])
def test_noise_is_normal_around_the_inputs(stddev):
    x = np.random.default_rng(0).normal(0, 1, (500, 4, 3)).astype(np.float32)
    noise = GaussianNoise(stddev)(x, seed=0).inputs.numpy() - x
    assert fits(noise, "norm", 0, stddev)
    assert abs(noise.mean()) < 4 * stddev / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(stddev, rel=0.05)


def test_noise_is_independent_between_rows_and_columns():
    noise = GaussianNoise(1.0)(tf.zeros((2000, 6)), seed=1).inputs.numpy()
    columns = np.corrcoef(noise.T)[np.triu_indices(6, 1)]
    rows = [np.corrcoef(noise[:-1, i], noise[1:, i])[0, 1] for i in range(6)]
    assert max(np.max(np.abs(columns)), np.max(np.abs(rows))) < 4.5 / np.sqrt(2000)


def test_noise_of_named_inputs_has_their_own_stddev_and_is_independent():
    inputs = {"image": tf.zeros((100, 5, 4, 1)), "head_pose": tf.zeros((100, 20))}
    samples = GaussianNoise({"head_pose": 2.0, "image": 0.5})(inputs, seed=0).inputs
    image, pose = samples["image"].numpy(), samples["head_pose"].numpy()
    assert fits(image, "norm", 0, 0.5)
    assert fits(pose, "norm", 0, 2.0)
    assert abs(np.corrcoef(image.ravel(), pose.ravel())[0, 1]) < 4 / np.sqrt(2000)


def test_noise_of_ordered_inputs_goes_by_the_names():
    ordered = collections.OrderedDict(b=tf.zeros((2000, 1)), a=tf.zeros((2000, 1)))
    noise = GaussianNoise({"a": 1.0, "b": 1000.0})(ordered, 3).inputs
    fits(noise["b"].numpy().ravel(), "norm", 0, 1000)
    fits(noise["a"].numpy().ravel(), "norm", 0, 1)


def test_noise_of_named_inputs_may_have_one_stddev():
    inputs = {"a": tf.zeros((1000, 2)), "b": tf.ones((1000, 2))}
    samples = GaussianNoise(0.5)(inputs, seed=0).inputs
    assert fits(samples["a"], "norm", 0, 0.5)
    assert fits(samples["b"], "norm", 1, 0.5)
    assert not np.allclose(samples["a"], samples["b"] - 1)


def test_noise_marks_no_row_unmodified():
    assert not np.any(GaussianNoise(0.1)(tf.zeros((5, 2)), seed=0).unmodified)
    assert not GaussianNoise(0.1).keeps_rows


@pytest.mark.parametrize("stddev", [0, -1.0, np.nan, np.inf, "wide", None, {"a": 1.0, "b": 0.0}])
def test_noise_stddev_must_be_positive(stddev):
    with pytest.raises(ValueError, match="stddev must be a positive number"):
        GaussianNoise(stddev)


@pytest.mark.parametrize(
    "inputs",
    [{"a": np.zeros((2, 1)), "c": np.zeros((2, 1))}, {"a": np.zeros((2, 1))}, np.zeros((2, 1))],
)
def test_noise_names_must_be_the_inputs(inputs):
    with pytest.raises(ValueError, match=r"standard deviations for \['a', 'b'\]"):
        GaussianNoise({"a": 1.0, "b": 1.0})(inputs, seed=0)


def test_noise_on_bytes_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"is uint8.*tf\.cast"):
        GaussianNoise(1.0)(tf.zeros((2, 2), tf.uint8), seed=0)


# Augmentation


IMAGES = np.random.default_rng(0).normal(0, 1, (64, 5, 4, 2)).astype(np.float32)


def which(result, candidates):
    """The number of the one candidate that each row of the result is."""
    equal = np.stack([(result == c).all((1, 2, 3)) for c in candidates])
    np.testing.assert_array_equal(equal.sum(0), np.ones(len(result)))
    return equal.argmax(0)


def test_a_flip_is_the_image_or_exactly_its_mirror_image():
    flipped = Augment(keras.layers.RandomFlip("horizontal"))(IMAGES, seed=0).inputs.numpy()
    share = which(flipped, [IMAGES, IMAGES[:, :, ::-1]]).mean()
    assert scipy.stats.binomtest(round(64 * share), 64, 0.5).pvalue > 1e-3


def test_layers_are_applied_in_order_and_independently():
    layers = [keras.layers.RandomFlip("horizontal"), keras.layers.RandomFlip("vertical")]
    flipped = Augment(layers)(IMAGES, seed=0).inputs.numpy()
    candidates = [IMAGES, IMAGES[:, :, ::-1], IMAGES[:, ::-1], IMAGES[:, ::-1, ::-1]]
    counts = np.bincount(which(flipped, candidates), minlength=4)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_two_layers_of_a_kind_draw_different_numbers():
    """With the same numbers the second flip would always undo the first."""
    layers = [keras.layers.RandomFlip("horizontal"), keras.layers.RandomFlip("horizontal")]
    flipped = Augment(layers)(IMAGES, seed=0).inputs.numpy()
    share = which(flipped, [IMAGES, IMAGES[:, :, ::-1]]).mean()
    assert 0.2 < share < 0.8


def test_a_layer_without_randomness_is_applied_as_it_is():
    layers = [keras.layers.Rescaling(2.0, offset=1.0), keras.layers.Rescaling(0.5)]
    actual = Augment(layers)(IMAGES, seed=0).inputs
    np.testing.assert_allclose(actual, IMAGES + 0.5, rtol=1e-6, atol=1e-6)


def test_the_sample_depends_on_the_samplers_seed_and_not_on_the_layers():
    first, second = (
        Augment(keras.layers.RandomFlip("horizontal", seed=seed))(IMAGES, seed=3).inputs
        for seed in (1, 2)
    )
    np.testing.assert_array_equal(first, second)


def test_the_layers_own_seed_is_not_advanced():
    layer = keras.layers.RandomFlip("horizontal", seed=5)
    sampler = Augment(layer)
    before = layer.generator.state.numpy()
    for seed in range(3):
        sampler(IMAGES, seed)
    np.testing.assert_array_equal(layer.generator.state.numpy(), before)


def test_key_names_the_input_that_is_changed():
    inputs = {"image": IMAGES, "head_pose": np.zeros((64, 2), np.float32)}
    sampler = Augment(keras.layers.RandomFlip("horizontal"), key="image")
    samples = sampler(inputs, seed=0).inputs
    assert set(samples) == {"image", "head_pose"}
    np.testing.assert_array_equal(samples["head_pose"], inputs["head_pose"])
    alone = Augment(keras.layers.RandomFlip("horizontal"))(IMAGES, seed=0).inputs
    np.testing.assert_array_equal(samples["image"], alone)
    assert np.any(samples["image"] != IMAGES)


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8"])
def test_augmentation_keeps_the_inputs_dtype(dtype):
    x = (100 * np.abs(IMAGES)).astype(dtype)
    flipped = Augment(keras.layers.RandomFlip("horizontal"))(x, seed=0).inputs
    assert flipped.dtype == dtype
    which(flipped.numpy(), [x, x[:, :, ::-1]])


def test_whole_numbers_stay_in_their_range():
    x = np.array([[3, 98, 255]], "uint8")
    brighter = Augment(keras.layers.Rescaling(4.0, offset=-20.0))(x, seed=0).inputs
    np.testing.assert_array_equal(brighter, [[0, 255, 255]])


def test_what_a_layer_was_adapted_to_would_be_lost():
    layer = keras.layers.Normalization()
    layer.adapt(np.array([[0.0], [2.0]], "float32"))
    with pytest.raises(ValueError, match=r"holds what it was adapted to.*mean=\.\.\., variance"):
        Augment(layer)(np.ones((2, 1), "float32"), seed=0)
    given = keras.layers.Normalization(mean=1.0, variance=4.0)
    actual = Augment(given)(np.array([[1.0], [5.0]], "float32"), seed=0).inputs
    np.testing.assert_allclose(actual, [[0.0], [2.0]], atol=1e-6)


def test_augmentation_marks_no_row_unmodified():
    sampler = Augment(keras.layers.RandomFlip("horizontal"))
    assert not np.any(sampler(IMAGES, seed=0).unmodified)
    assert not sampler.keeps_rows


@pytest.mark.parametrize("layers", [[], None, "RandomFlip", [lambda x: x]])
def test_augment_needs_keras_layers(layers):
    with pytest.raises(ValueError, match="Augment needs a Keras layer"):
        Augment(layers)


def test_augment_refuses_a_trainable_layer():
    with pytest.raises(ValueError, match=r"layer 'learned' has trainable weights"):
        Augment(keras.layers.Dense(2, name="learned"))(IMAGES, seed=0)


@pytest.mark.parametrize("inputs", [{"eye": IMAGES}, IMAGES])
def test_augment_refuses_an_unknown_key(inputs):
    with pytest.raises(ValueError, match="key='image'"):
        Augment(keras.layers.RandomFlip(), key="image")(inputs, seed=0)


@pytest.mark.parametrize("inputs", [{"image": IMAGES}, (IMAGES, IMAGES)])
def test_augment_of_several_inputs_needs_a_key(inputs):
    with pytest.raises(ValueError, match=r"Augment\(layers, key=\.\.\.\)"):
        Augment(keras.layers.RandomFlip())(inputs, seed=0)


def test_augment_refuses_a_layer_that_changes_the_shape():
    with pytest.raises(ValueError, match=r"\(64, 5, 4, 2\) to \(64, 3, 3, 2\)"):
        Augment(keras.layers.Resizing(3, 3))(IMAGES, seed=0)


def test_a_config_may_leave_out_the_key():
    config = Augment(keras.layers.RandomFlip("vertical")).get_config()
    del config["key"]
    assert Augment.from_config(config).key is None


@pytest.mark.parametrize("layer", ["MixUp", "CutMix", "AugMix"])
def test_augment_refuses_what_it_could_not_do_row_by_row(layer):
    with pytest.raises(ValueError, match=layer):
        Augment(getattr(keras.layers, layer)())


@pytest.mark.parametrize("layer", [keras.layers.RandomFlip(), keras.layers.RandAugment((0, 1))])
def test_a_replica_without_rows_is_left_alone(layer):
    augment = Augment(layer)

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3))])
    def inputs(x):
        return augment(x, 3).inputs

    images = np.random.default_rng(0).random((4, 8, 8, 3)).astype("float32")
    assert inputs(images[:0]).shape == (0, 8, 8, 3)
    changed = inputs(images).numpy()
    np.testing.assert_array_equal(changed, inputs(images))
    assert len({tuple((changed[n] - images[n]).ravel()) for n in range(4)}) > 1
