"""Maps of answers and of their uncertainty, by NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import softmax

from ecl_tf import Distiller, Ensemble, outputs
from ecl_tf.evaluation import draw_maps, uncertainty_maps

RNG = np.random.default_rng(0)
IMAGES = RNG.random((5, 4, 3, 1)).astype("float32")


def segmenter(seed, size=3):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((4, 3, 1)), keras.layers.Conv2D(size, 1, name="raw")])


def raw(model):
    kernel, bias = model.get_weights()
    return 1.0 * IMAGES @ kernel[0, 0] + bias


def entropy(p, axis=-1):
    return -(p * np.log(p)).sum(axis)


def test_maps_of_classes_of_one_network_and_of_an_ensemble():
    networks = segmenter(1), segmenter(2)
    one, two = (softmax(raw(each)) for each in networks)
    found = uncertainty_maps(networks[0], IMAGES, batch_size=2)
    assert set(found) == {"prediction", "confidence", "entropy"}
    np.testing.assert_array_equal(found["prediction"], one.argmax(-1))
    np.testing.assert_allclose(found["confidence"], one.max(-1), rtol=1e-5)
    np.testing.assert_allclose(found["entropy"], entropy(one), rtol=1e-5)
    distiller = Distiller(segmenter(1), networks[1])
    again = uncertainty_maps(distiller, IMAGES)
    np.testing.assert_allclose(again["entropy"], entropy(one), rtol=1e-5)
    both = uncertainty_maps(Ensemble(list(networks), "categorical"), IMAGES)
    mean = (one + two) / 2
    np.testing.assert_allclose(both["entropy"], entropy(mean), rtol=1e-5)
    expected = entropy(mean) - (entropy(one) + entropy(two)) / 2
    np.testing.assert_allclose(both["disagreement"], expected, atol=1e-6)


def test_a_network_of_named_inputs_gets_its_own_ones():
    inputs = keras.Input((2,), name="b")
    student = keras.Model({"b": inputs}, keras.layers.Identity()(inputs))
    x = {"a": np.array([[9.0, 0.0]], "float32"), "b": np.array([[0.0, 9.0]], "float32")}
    np.testing.assert_array_equal(uncertainty_maps(student, x)["prediction"], [1])


def test_maps_of_numbers_of_yes_and_no_of_several_outputs_and_of_masked_steps():
    networks = segmenter(1, 2), segmenter(2, 2)
    normal = outputs.Normal(1, min_scale=0.5)
    found = uncertainty_maps(Ensemble(list(networks), normal), IMAGES)
    means, scales = zip(*(np.split(raw(each), 2, -1) for each in networks), strict=True)
    variances = [(0.5 + np.log1p(np.exp(each))) ** 2 for each in scales]
    total = np.mean(variances, 0) + np.var(means, 0)
    np.testing.assert_allclose(found["mean"], np.mean(means, 0), rtol=1e-5)
    np.testing.assert_allclose(found["stddev"], np.sqrt(total), rtol=1e-5)
    np.testing.assert_allclose(found["disagreement"], np.std(means, 0), rtol=1e-4)

    image = keras.Input((4, 3, 1))
    heads = {"kind": keras.layers.Conv2D(3, 1)(image), "marks": keras.layers.Conv2D(2, 1)(image)}
    joint = outputs.get({"kind": "categorical", "marks": "bernoulli"})
    model = keras.Model(image, heads)
    found = uncertainty_maps(model, IMAGES, joint)
    assert found["kind"]["prediction"].shape == (5, 4, 3)
    p = 1 / (1 + np.exp(-model.predict(IMAGES, verbose=0)["marks"].astype("float64")))
    np.testing.assert_allclose(found["marks"]["probability"], p, rtol=1e-5)
    expected = entropy(np.stack([p, 1 - p]), (0, -1))
    np.testing.assert_allclose(found["marks"]["entropy"], expected, rtol=1e-5)

    tokens = np.array([[3, 1, 0], [2, 0, 0]])
    layers = keras.layers.Embedding(4, 2, mask_zero=True), keras.layers.Dense(3)
    tagger = keras.Sequential([keras.Input((None,), dtype="int32"), *layers])
    found = uncertainty_maps(tagger, tokens)
    np.testing.assert_array_equal(found["mask"], tokens > 0)
    np.testing.assert_array_equal(found["prediction"] == -1, tokens == 0)
    np.testing.assert_array_equal(np.isnan(found["entropy"]), tokens == 0)


def test_maps_are_drawn_and_what_cannot_be_answered_or_drawn_is_refused(subtests):
    found = uncertainty_maps(segmenter(1), IMAGES)
    labels = RNG.integers(0, 3, (5, 4, 3))
    labels[0] = 255
    drawn = draw_maps(IMAGES, {"KD": found, "XCL": found}, labels)
    titles = [frame.get_title() for frame in drawn.axes]
    assert titles[:6] == ["image", "labels", "KD", "KD\nentropy", "XCL", "XCL\nentropy"]
    assert len(titles) == 5 * 6
    shown = [frame.get_images()[0] for frame in drawn.axes[:6]]
    assert shown[1].get_array().mask.all() and shown[3].get_clim() == (0, found["entropy"].max())
    np.testing.assert_array_equal(shown[2].get_array(), found["prediction"][0])
    for output, size in (("bernoulli", 1), (outputs.Normal(1), 2)):
        found = uncertainty_maps(segmenter(1, size), IMAGES, output)
        drawn = draw_maps(np.repeat(IMAGES, 3, -1), {"student": found})
        assert len(drawn.axes) == 5 * 3

    with subtests.test("refused"):
        found = uncertainty_maps(segmenter(1), IMAGES)
        with pytest.raises(ValueError, match=r"of 'KD', the maps of one class"):
            draw_maps(IMAGES[:, :2], {"KD": found})
        with pytest.raises(ValueError, match=r"images in \[0, 1\], and these go up to 25"):
            draw_maps(np.round(255 * IMAGES).astype("uint8"), {"KD": found})
        with pytest.raises(ValueError, match=r"takes a keras\.Model"):
            uncertainty_maps(lambda x: x, IMAGES)
        with pytest.raises(ValueError, match=r"ends in softmax.*would be taken for these"):
            uncertainty_maps(keras.Sequential([segmenter(1), keras.layers.Softmax()]), IMAGES)
        with pytest.raises(ValueError, match=r"NaN or infinite"):
            uncertainty_maps(segmenter(1), IMAGES + np.float32(np.nan))
        with pytest.raises(ValueError, match=r"number of rows"):
            uncertainty_maps(segmenter(1), tf.zeros((0, 4, 3, 1)))
        with pytest.raises(ValueError, match=r"go from 0 to 255, and neither network scales"):
            uncertainty_maps(segmenter(1), np.round(255 * IMAGES))
