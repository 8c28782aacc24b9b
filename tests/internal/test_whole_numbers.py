"""Whole numbers that an input takes, by its type and by the embedding that looks them up."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import softmax

import ecl_tf
from ecl_tf import evaluation
from ecl_tf._internal import whole_numbers
from ecl_tf.export import loading

LAYERS = keras.layers


@pytest.mark.slow
def test_whole_numbers_that_an_input_does_not_hold_are_refused(tmp_path, subtests):
    def network():
        x = keras.Input((3,), dtype="uint8")
        return keras.Model(x, keras.layers.Dense(2)(keras.layers.Rescaling(1 / 255)(x)))

    student = network()
    distiller = ecl_tf.Distiller(student, network(), sampler="Empirical")
    distiller.compile("adam")
    ecl_tf.export_student(student, "categorical", tmp_path / "student")
    exported = ecl_tf.load_student(tmp_path / "student")
    kernel, bias = student.get_weights()
    whole = np.random.default_rng(0).integers(0, 256, (16, 3))
    logits = whole / 255 @ kernel + bias
    for dtype in ("uint8", "int64", "float32"):  # Those that it holds are taken, of any type.
        x = whole.astype(dtype)
        np.testing.assert_allclose(distiller.predict(x, verbose=0), logits, atol=1e-5)
        found = exported.parameters(x)["probabilities"]
        np.testing.assert_allclose(found, softmax(logits), atol=1e-5)
    others = {"fractions": whole + 0.5, "large": whole + 100, "below 0": whole - 100}
    for name, x in others.items():
        message = r"takes whole numbers from 0 to 255.*would be cut off, wrapped"
        batches = tf.data.Dataset.from_tensor_slices(x).batch(8)
        for given in (x, batches):
            for loop in (distiller.fit, distiller.evaluate, distiller.predict):
                with subtests.test(name), pytest.raises(ValueError, match=message):
                    loop(given, verbose=0)
        with subtests.test(name), pytest.raises(ValueError, match=r"uint8.*none of the whole"):
            exported.parameters(x)


@pytest.mark.slow
def test_ids_that_an_embedding_does_not_know_are_refused(tmp_path, subtests):
    def reader(width, size=10, dtype="float32"):
        ids = keras.Input((5,), dtype=dtype, name="ids")
        inner = keras.Sequential([keras.Input((5,)), LAYERS.Embedding(size, width)])
        vectors = LAYERS.GlobalAveragePooling1D()(inner(LAYERS.Reshape((5,))(ids)))
        return keras.Model(ids, LAYERS.Dense(3)(vectors))

    student = reader(4)
    distiller = ecl_tf.Distiller(student, reader(8, size=12), sampler="Swap")
    distiller.compile("adam")
    ids = np.random.default_rng(0).integers(0, 10, (32, 5))
    vectors, kernel, bias = student.get_weights()
    logits = vectors[ids].mean(1) @ kernel + bias
    np.testing.assert_allclose(distiller.predict(ids, verbose=0), logits, atol=1e-5)
    distiller.fit(tf.data.Dataset.from_tensor_slices(ids).batch(16), verbose=0)
    vectors, kernel, bias = student.get_weights()
    for name in ("student", "student.onnx", "student.tflite"):
        kind = {"": "saved_model", ".onnx": "onnx", ".tflite": "litert"}[name[7:]]
        distiller.export(tmp_path / name, format=kind)
    for unknown in (10, -1, 2.5):
        x = np.where(np.arange(160).reshape(32, 5) == 107, unknown, ids)
        batches = tf.data.Dataset.from_tensor_slices(x).batch(16)
        for given in (x, batches):
            for loop in (distiller.fit, distiller.evaluate, distiller.predict):
                with (
                    subtests.test(unknown),
                    pytest.raises(ValueError, match=r"takes whole numbers from 0 to 9"),
                ):
                    loop(given, verbose=0)
        for name in ("student", "student.onnx", "student.tflite"):
            exported = ecl_tf.load_student(tmp_path / name)
            found = exported.parameters(ids)["probabilities"]
            expected = softmax(vectors[ids].mean(1) @ kernel + bias)
            np.testing.assert_allclose(found, expected, atol=1e-5)
            with subtests.test(name), pytest.raises(ValueError, match="knows no others"):
                exported.parameters(x)


def test_ids_that_are_made_or_moved_before_they_are_looked_up_may_be_any():
    ids = keras.Input((5,), dtype="int64")
    for first in (LAYERS.Hashing(10), lambda x: keras.ops.minimum(x, 9), lambda x: x + 1):
        model = keras.Model(ids, LAYERS.Dense(3)(LAYERS.Embedding(10, 4)(first(ids))))
        assert whole_numbers.taken_by(model) == {(): whole_numbers.of_type(tf.int64)}


def test_columns_of_one_input_that_are_looked_up_apart_have_ids_of_their_own(tmp_path):
    x = np.array([[99, 0, -2.25], [40, 4, 0.5], [7, 2, 1.5], [0, 1, 3.0]], "float32")

    def columns(of):
        rows = keras.Input((3,))
        first, second, rest = of(rows)
        large, small = LAYERS.Embedding(100, 4)(first), LAYERS.Embedding(5, 4)(second)
        parts = [LAYERS.Flatten()(each) for each in (large, small, rest)]
        return keras.Model(rows, LAYERS.Dense(2)(LAYERS.Concatenate()(parts)))

    def cropped(rows):
        steps = LAYERS.Reshape((3, 1))(rows)
        return [LAYERS.Flatten()(LAYERS.Cropping1D((n, 2 - n))(steps)) for n in range(3)]

    model = columns(cropped)
    assert whole_numbers.taken_by(model) == {}
    model = columns(lambda rows: (rows[:, 0:1], rows[:, 1:2], rows[:, 2:]))
    assert whole_numbers.taken_by(model) == {}
    large, small, kernel, bias = model.get_weights()
    hidden = [large[x[:, 0].astype(int)], small[x[:, 1].astype(int)], x[:, 2:]]
    p, labels = softmax(np.concatenate(hidden, 1) @ kernel + bias), [0, 1, 0, 1]
    found = evaluation.measure(model, x, labels, names=(), other={})
    assert found["nll"] == pytest.approx(-np.log(p[range(4), labels]).mean(), rel=1e-5)
    ecl_tf.export_student(model, "categorical", tmp_path / "student")
    exported = ecl_tf.load_student(tmp_path / "student")
    np.testing.assert_allclose(exported.parameters(x)["probabilities"], p, atol=1e-5)


def test_truths_are_0_and_1():
    truths = keras.Input((2,), dtype="bool")
    model = keras.Model(truths, LAYERS.Lambda(lambda x: x)(truths))
    for value, expected in ((1.0, False), (0.3, True), (2, True)):
        ((given, whole),) = whole_numbers.compared(model, tf.constant([[0, value]]))
        assert bool(whole_numbers.are_others(whole, given)) is expected
        if expected:
            with pytest.raises(ValueError, match="none of the whole numbers from 0 to 1"):
                loading._as(tf.TensorSpec((None, 2), tf.bool), given, "truths")


def test_the_first_number_that_a_type_does_not_hold_is_another():
    for dtype, bits in ((tf.int32, 31), (tf.int64, 63), (tf.uint64, 64), (tf.uint8, 8)):
        whole = whole_numbers.of_type(dtype)
        for of in ("float32", "float64"):
            held = np.nextafter(np.array(2.0**bits, of), np.array(0.0, of)) // 1
            assert not whole_numbers.are_others(whole, tf.constant([0.0, held], of))
            assert whole_numbers.are_others(whole, tf.constant([0.0, 2.0**bits], of))
            if not dtype.is_unsigned:
                assert not whole_numbers.are_others(whole, tf.constant([-(2.0**bits)], of))
