"""Noise and augmentation of each row by itself."""

import collections

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from by_hand import fits, numbers

from ecl_tf import Distiller
from ecl_tf._internal import random
from ecl_tf.samplers import Augment, Chain, GaussianNoise

# Noise


@pytest.mark.parametrize("stddev", [0.1, 3])
def test_noise_is_normal_around_the_inputs(stddev):
    x = numbers(500, 4, 3)
    samples = GaussianNoise(stddev)(x, seed=0)
    assert fits(samples.inputs - x, "norm", 0, stddev)
    assert not np.any(samples.unmodified) and not GaussianNoise.keeps_rows


def test_noise_is_independent_between_rows_and_columns():
    noise = GaussianNoise(1.0)(tf.zeros((2000, 6)), seed=1).inputs.numpy()
    columns = np.corrcoef(noise.T)[np.triu_indices(6, 1)]
    rows = [np.corrcoef(noise[:-1, i], noise[1:, i])[0, 1] for i in range(6)]
    assert max(np.max(np.abs(columns)), np.max(np.abs(rows))) < 4.5 / np.sqrt(2000)


@pytest.mark.parametrize(
    ("stddev", "of_image", "of_pose"), [({"pose": 2.0, "image": 0.5}, 0.5, 2.0), (0.3, 0.3, 0.3)]
)
def test_noise_of_named_inputs_is_independent_and_goes_by_the_names(stddev, of_image, of_pose):
    ordered = collections.OrderedDict(pose=tf.zeros((100, 20)), image=tf.ones((100, 5, 4, 1)))
    noise = GaussianNoise(stddev)(ordered, seed=0).inputs
    image, pose = noise["image"].numpy().ravel() - 1, noise["pose"].numpy().ravel()
    assert fits(image, "norm", 0, of_image)
    assert fits(pose, "norm", 0, of_pose)
    assert abs(np.corrcoef(image, pose)[0, 1]) < 4 / np.sqrt(2000)


@pytest.mark.parametrize("stddev", [0, -1.0, np.nan, np.inf, "wide", None, {"a": 1.0, "b": 0.0}])
def test_noise_stddev_must_be_positive(stddev):
    with pytest.raises(ValueError, match="stddev must be a positive number"):
        GaussianNoise(stddev)


@pytest.mark.parametrize(
    ("stddev", "inputs", "message"),
    [
        ({"a": 1.0, "b": 1.0}, {"a": np.zeros((2, 1))}, r"deviations for \['a', 'b'\].*\['a'\]"),
        ({"a": 1.0, "b": 1.0}, np.zeros((2, 1)), r"deviations for \['a', 'b'\].*one unnamed"),
        (1.0, tf.zeros((2, 2), tf.uint8), r"is uint8.*tf\.cast"),
    ],
)
def test_noise_must_suit_the_inputs(stddev, inputs, message):
    with pytest.raises(ValueError, match=message):
        GaussianNoise(stddev)(inputs, seed=0)


def test_an_input_with_the_stddev_none_stays():
    inputs = {"noisy": tf.zeros((50, 3)), "ids": tf.range(50)}
    noise = GaussianNoise({"noisy": 1.0, "ids": None})(inputs, seed=0).inputs
    np.testing.assert_array_equal(noise["ids"], np.arange(50))
    assert fits(noise["noisy"], "norm", 0, 1)


def test_noise_is_a_share_of_each_columns_own_or_one_that_is_given():
    x = numbers(500, 3, seed=2) * [1.0, 1000.0, 0.0] + [0.0, 5.0, 7.0]
    inputs = {"ids": tf.range(500), "x": x.astype("float32")}
    relative = GaussianNoise(0.5, relative=True, unchanged=["ids"])(inputs, seed=0).inputs
    np.testing.assert_array_equal(relative["ids"], np.arange(500))
    noise = (relative["x"].numpy() - inputs["x"]) / x.std(0).clip(1e-9)
    assert fits(noise[:, 0], "norm", 0, 0.5) and fits(noise[:, 1], "norm", 0, 0.5)
    assert np.all(noise[:, 2] == 0.0)
    given = GaussianNoise([2.0, 0.0, 0.1])(np.zeros((500, 3), "float32"), seed=0).inputs.numpy()
    assert fits(given[:, 0], "norm", 0, 2.0) and fits(given[:, 2], "norm", 0, 0.1)
    assert np.all(given[:, 1] == 0.0)
    for wrong in ([0.0, 0.0], [1.0, -1.0], [np.nan]):
        with pytest.raises(ValueError, match="holds numbers >= 0"):
            GaussianNoise(wrong)
    with pytest.raises(ValueError, match=r"2 standard deviations for the input.*\(4, 3\)"):
        GaussianNoise([1.0, 2.0])(np.zeros((4, 3), "float32"), seed=0)


# Augmentation


IMAGES = numbers(64, 5, 4, 2)


def flip(direction="horizontal", **kwargs):
    return keras.layers.RandomFlip(direction, **kwargs)


def which(result, candidates):
    """The number of the one candidate that each row of the result is."""
    equal = np.stack([(result == c).all((1, 2, 3)) for c in candidates])
    np.testing.assert_array_equal(equal.sum(0), np.ones(len(result)))
    return equal.argmax(0)


def test_a_flip_is_the_image_or_exactly_its_mirror_image():
    samples = Augment(flip())(IMAGES, seed=0)
    share = which(samples.inputs.numpy(), [IMAGES, IMAGES[:, :, ::-1]]).mean()
    assert scipy.stats.binomtest(round(64 * share), 64, 0.5).pvalue > 1e-3
    assert not np.any(samples.unmodified) and not Augment.keeps_rows


def test_labels_hold_where_the_user_says_so():
    holds = Augment(flip(), keeps_labels=True)
    assert holds.keeps_rows and holds(IMAGES, seed=0).unmodified.numpy().all()
    assert Augment.from_config(holds.get_config()).keeps_labels
    assert set(Augment(flip()).get_config()) == {"layers", "key"}  # As in old files.


AUGMENTATIONS = {
    "flip": flip,
    "crop": lambda: [keras.layers.ZeroPadding2D(2), keras.layers.RandomCrop(8, 8)],
    "RandAugment": lambda: keras.layers.RandAugment((0, 1)),
}


@pytest.mark.parametrize(
    "name", ["flip", "crop", pytest.param("RandAugment", marks=pytest.mark.slow)]
)
def test_ordinary_augmentation_follows_from_the_seed_and_the_rows_number(name):
    images = np.random.default_rng(0).random((6, 8, 8, 3)).astype("float32")
    augment, again = (Augment(AUGMENTATIONS[name]()) for _ in range(2))

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3)), tf.TensorSpec(3, tf.int32)])
    def draw(x, seed):
        return augment(x, seed).inputs

    whole = draw(images, random.at_row([3, 1], 0)).numpy()
    keras.utils.set_random_seed(5)  # New layers, and other global seeds.
    np.testing.assert_allclose(again(images, random.seed_tensor([3, 1])).inputs, whole, atol=1e-5)
    part = draw(images[4:], random.at_row([3, 1], 4)).numpy()
    np.testing.assert_allclose(part, whole[4:], atol=1e-5)
    changes = {(row - image).tobytes() for row, image in zip(whole, images, strict=True)}
    assert len(changes) > (1 if name == "flip" else 2)
    assert np.abs(draw(images, random.at_row([4, 1], 0)) - whole).max() > 0.01
    assert draw(images[:0], random.at_row([3, 1], 6)).shape == (0, 8, 8, 3)  # A replica's.


def test_an_elastic_transform_of_larger_images_runs_in_a_graph():
    images = np.random.default_rng(0).random((3, 24, 24, 1)).astype("float32")
    augment = Augment(keras.layers.RandomElasticTransform(1.0, 1.0, value_range=(0, 1)))
    drawn = tf.function(lambda x: augment(x, seed=1).inputs)(images)
    assert np.abs(drawn - images).max() > 0.01


MOVING = {  # Layers, and the numbers that images have where they are filled.
    "flip": ([flip(), keras.layers.RandomBrightness(0.0, (0, 300))], None),
    "crop": ([keras.layers.ZeroPadding2D(2), keras.layers.RandomCrop(8, 8)], 0.0),
    "rotation": ([keras.layers.RandomRotation(0.2, "constant", "nearest", fill_value=-9.0)], -9.0),
}


@pytest.mark.parametrize("name", MOVING)
def test_classes_of_pixels_go_where_the_pixels_go(name):
    """Images that show the class of each pixel tell which one it has."""
    layers, filled = MOVING[name]
    classes = np.random.default_rng(0).integers(0, 250, (6, 8, 8)).astype("uint8")
    classes[0, :4] = 255
    images = classes[..., None].astype("float32") + 1
    ignore_class = None if filled is None else 255
    augment = Augment(layers)
    moved, labels = augment.with_labels(images, classes, [0, 3], ignore_class)
    shown = np.asarray(moved)[..., 0]
    assert labels.dtype == "uint8" and np.any(labels != classes)
    np.testing.assert_array_equal(labels, np.where(shown == filled, 255, shown - 1))
    if filled is not None:
        assert np.sum(shown == filled) > 5
        with pytest.raises(ValueError, match=r"pixels from outside .* Give ignore_class=255"):
            augment.with_labels(images, classes, seed=0)
        return
    np.testing.assert_array_equal(moved, augment(images, [0, 3]).inputs)
    named = Augment(layers, key="image")
    both, again = named.with_labels({"image": images}, classes[..., None], [0, 3])
    np.testing.assert_array_equal(both["image"], moved)
    np.testing.assert_array_equal(again[..., 0], labels)


def test_labels_that_would_not_follow_their_pixels_are_refused():
    images, classes = np.zeros((2, 4, 4, 1), "float32"), np.zeros((2, 4, 4), "int32")
    with pytest.raises(ValueError, match=r"class indices .* got \(2, 4, 4, 1\) and \(2, 3, 4\)"):
        Augment(flip()).with_labels(images, classes[:, 1:], seed=0)
    with pytest.raises(ValueError, match=r"'scale' is a Rescaling"):
        Augment(keras.layers.Rescaling(2.0, name="scale")).with_labels(images, classes, seed=0)
    with pytest.raises(ValueError, match=r"computes in bfloat16.*dtype='float32'"):
        Augment(flip(dtype="bfloat16")).with_labels(images, classes, seed=0)
    student = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 1)])
    holds = Chain([Augment(flip(name="mirror"), keeps_labels=True), "Mix"])
    with pytest.raises(ValueError, match=r"'mirror' moves pixels.*\(None, 4, 4, 2\).*with_labels"):
        Distiller(student, keras.models.clone_model(student), sampler=holds)
    brighter = Augment(keras.layers.RandomBrightness(0.1, (0, 1)), keeps_labels=True)
    Distiller(student, keras.models.clone_model(student), sampler=brighter)


def test_layers_are_applied_in_order_and_independently():
    flipped = Augment([flip(), flip("vertical")])(IMAGES, seed=0).inputs.numpy()
    candidates = [IMAGES, IMAGES[:, :, ::-1], IMAGES[:, ::-1], IMAGES[:, ::-1, ::-1]]
    counts = np.bincount(which(flipped, candidates), minlength=4)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    # Without randomness layers are applied as they are.
    layers = [keras.layers.Rescaling(2.0, offset=1.0), keras.layers.Rescaling(0.5)]
    actual = Augment(layers)(IMAGES, seed=0).inputs
    np.testing.assert_allclose(actual, IMAGES + 0.5, rtol=1e-6, atol=1e-6)


def test_two_layers_of_a_kind_draw_different_numbers():
    """With the same numbers the second flip would always undo the first."""
    flipped = Augment([flip(), flip()])(IMAGES, seed=0).inputs.numpy()
    assert 0.2 < which(flipped, [IMAGES, IMAGES[:, :, ::-1]]).mean() < 0.8


def test_the_sample_depends_on_the_samplers_seed_and_not_on_the_layers():
    layer = flip(seed=1)
    before = layer.generator.state.numpy()
    first, second = (Augment(each)(IMAGES, seed=3).inputs for each in (layer, flip(seed=2)))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(layer.generator.state.numpy(), before)


def test_key_names_the_input_that_is_changed():
    inputs = {"image": IMAGES, "head_pose": np.zeros((64, 2), np.float32)}
    samples = Augment(flip(), key="image")(inputs, seed=0).inputs
    assert set(samples) == {"image", "head_pose"}
    np.testing.assert_array_equal(samples["head_pose"], inputs["head_pose"])
    np.testing.assert_array_equal(samples["image"], Augment(flip())(IMAGES, seed=0).inputs)
    assert np.any(samples["image"] != IMAGES)
    _, changed = Augment(flip(), key=1)((inputs["head_pose"], IMAGES), seed=0).inputs
    np.testing.assert_array_equal(changed, samples["image"])
    nested = Augment(flip(), key="views/image")({"views": inputs}, seed=0).inputs
    np.testing.assert_array_equal(nested["views"]["image"], changed)


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_augmentation_keeps_the_inputs_dtype(dtype):
    x = (100 * np.abs(IMAGES)).astype(dtype)
    flipped = Augment(flip())(x, seed=0).inputs
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


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        *((layers, "needs a Keras layer") for layers in ([], None, "RandomFlip", [lambda x: x])),
        (keras.layers.MixUp(), r"MixUp .*samplers\.Mixup"),
        (keras.layers.CutMix(), r"CutMix .*samplers\.CutMix"),
        (keras.layers.AugMix(), "AugMix .*RandAugment"),
    ],
)
def test_augment_takes_keras_layers_that_change_rows_by_themselves(layers, message):
    with pytest.raises(ValueError, match=message):
        Augment(layers)


@pytest.mark.parametrize(
    ("layer", "key", "inputs", "message"),
    [
        (keras.layers.Dense(2, name="learned"), None, IMAGES, "'learned' has trainable weights"),
        (keras.layers.Resizing(3, 3), None, IMAGES, r"\(64, 5, 4, 2\) to \(64, 3, 3, 2\)"),
        (
            keras.layers.Lambda(tf.image.random_flip_left_right, name="mirrored"),
            None,
            IMAGES,
            "'mirrored' draws random numbers by RandomUniform.*SeedGenerator",
        ),
        (flip(), "image", {"eye": IMAGES}, r"key='image'.*\['eye'\]"),
        (flip(), "image", IMAGES, "key='image'.*one unnamed"),
        (flip(), None, IMAGES[..., 0], r"changes images.*\(64, 5, 4\).*GaussianNoise"),
        (flip(), None, {"image": IMAGES}, r"Augment\(layers, key=\.\.\.\)"),
        (flip(), None, (IMAGES, IMAGES), r"a tuple.*Augment\(layers, key=\.\.\.\)"),
    ],
)
def test_layers_and_key_must_suit_the_inputs(layer, key, inputs, message):
    with pytest.raises(ValueError, match=message):
        Augment(layer, key)(inputs, seed=0)


def test_a_config_may_leave_out_the_key():
    config = Augment(flip("vertical")).get_config()
    del config["key"]
    assert Augment.from_config(config).key is None
