"""Scales from a branch of their own: what learns from what."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ecl_tf
from ecl_tf import models, outputs

SHAPES = {"image": (8, 8, 1), "pose": (2,)}


def inputs(rows):
    draw = np.random.default_rng(0).normal
    return {name: draw(size=(rows, *shape)).astype("float32") for name, shape in SHAPES.items()}


def test_scales_are_dense_on_features_that_get_no_gradient_of_them():
    network = models.build("convnet", SHAPES, 4, width=2, scale_branch=3)
    assert network.output_shape == (None, 4)
    x = inputs(5)
    with tf.GradientTape() as tape:
        scales = tf.reduce_sum(network(x)[:, 2:])
    gradients = tape.gradient(scales, network.trainable_variables)
    pairs = zip(network.trainable_variables, gradients, strict=True)
    learning = {variable.path.split("/")[-2] for variable, each in pairs if np.any(each != 0.0)}
    assert learning == {"scale_branch", "scales"}
    features = keras.Model(network.input, network.get_layer("means").input)(x)
    hidden = np.maximum(features @ network.get_layer("scale_branch").kernel, 0.0)  # No bias yet.
    expected = hidden @ network.get_layer("scales").kernel.numpy()
    np.testing.assert_allclose(network(x)[:, 2:], expected, rtol=1e-5, atol=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(network))
    again.set_weights(network.get_weights())
    np.testing.assert_array_equal(again(x), network(x))


def test_a_faithful_student_has_the_mean_of_one_trained_by_squared_error():
    """Against plain Keras, in the target's units."""
    rng = np.random.default_rng(1)
    x, answers = (
        rng.normal(size=(64, 3)).astype("float32"),
        rng.normal(size=(64, 1)).astype("float32"),
    )
    keras.utils.set_random_seed(3)
    student = models.build("mlp", (3,), 2, widths=(8,), scale_branch=4)
    mean = keras.models.clone_model(keras.Model(student.input, student.get_layer("means").output))
    mean.set_weights(keras.Model(student.input, student.get_layer("means").output).get_weights())
    output = outputs.Normal(1, target_mean=7.0, target_stddev=2.0)

    teacher = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    distiller = ecl_tf.Distiller(
        student, teacher, output=output, sampler="Empirical", divergence="faithful"
    )
    sgd = {"learning_rate": 0.1, "momentum": 0.5}
    distiller.compile(keras.optimizers.SGD(**sgd))
    distiller.fit(x, batch_size=16, epochs=3, shuffle=False, verbose=0)

    answers = teacher.predict(x, verbose=0)[:, :1]  # Raw, so the standardised mean.
    mean.compile(
        keras.optimizers.SGD(**sgd), lambda y, raw: 0.5 * tf.reduce_sum((y - raw) ** 2, -1)
    )
    mean.fit(x, answers, batch_size=16, epochs=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(student(x)[:, :1], mean(x), rtol=1e-5, atol=1e-6)


def test_a_network_without_such_a_last_layer_is_refused():
    inputs = keras.Input((3,))
    for outputs_ in (keras.layers.Dense(3)(inputs), keras.layers.Dense(4, "softplus")(inputs)):
        with pytest.raises(ValueError, match="last layer is Dense of means and scales"):
            models.with_scale_branch(keras.Model(inputs, outputs_))
    with pytest.raises(ValueError, match="at least 1; got -2"):
        models.build("mlp", (3,), 2, scale_branch=-2)
