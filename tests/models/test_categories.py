"""Categories as vectors, against rows of their table looked up in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ecl_tf import models, preprocessing

IDS = np.array([[1, 3000], [0, 2], [2, 0]], "int32")


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_each_category_has_a_vector_and_an_unknown_one_zeros(policy):
    layer = models.CategoryEmbedding([2, 3000], width=4, dtype=policy)
    model = preprocessing.with_preprocessing(
        keras.layers.Identity(dtype="float32"), {"ids": [layer]}, {"ids": (2,)}
    )
    assert model.input["ids"].dtype == "int32"  # float16 has no 2049.
    vectors = layer.vectors.numpy()
    expected = np.zeros((3, 2, 4), "float32")
    expected[0] = vectors[[0, 2 + 2999]]
    expected[1, 1], expected[2, 0] = vectors[2 + 1], vectors[1]
    tolerance = 1e-3 if policy == "mixed_float16" else 1e-7
    np.testing.assert_allclose(model({"ids": IDS})["ids"], expected.reshape(3, 8), atol=tolerance)
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (loaded.sizes, loaded.width) == ([2, 3000], 4)


def test_only_the_vectors_of_a_batch_get_a_gradient():
    layer = models.CategoryEmbedding([2, 3000], width=4)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(IDS))
    gradient = tf.convert_to_tensor(tape.gradient(loss, layer.vectors.value)).numpy()
    assert sorted(np.flatnonzero(gradient.any(1))) == [0, 1, 3, 3001]
