"""Layers in front of a network: adapted, saved, exported, and inference by default."""

import keras
import numpy as np
import pytest
import sklearn.preprocessing
import tensorflow as tf

from ecl_tf import preprocessing

RNG = np.random.default_rng(0)
TABLE = RNG.normal([3.0, -500.0, 0.01], [2.0, 70.0, 0.003], (203, 3)).astype(np.float32)
IMAGES = RNG.random((5, 8, 8, 3), np.float32)
RESCALING = {"class_name": "Rescaling", "config": {"scale": 255.0}}
RESIZING = {"class_name": "Resizing", "config": {"height": 6, "width": 6}}


def batches(*tensors, size=32):
    return tf.data.Dataset.from_tensor_slices(*tensors).batch(size)


def dense(size=3, units=4, **kwargs):
    return keras.Sequential([keras.Input((size,), **kwargs), keras.layers.Dense(units)])


def convolution():
    """With batch statistics, which a call in training mode would change."""
    return keras.Sequential(
        [
            keras.Input((6, 6, 3), name="image"),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4),
        ]
    )


# Description


def test_layers_are_built_from_names_configs_and_layers():
    own = keras.layers.Flatten()
    saved = keras.saving.serialize_keras_object(keras.layers.Resizing(4, 6))
    normalization, rescaling, same, resizing = preprocessing.layers(
        ["Normalization", RESCALING, own, saved]
    )
    assert isinstance(normalization, keras.layers.Normalization)
    assert rescaling.scale == 255.0
    assert same is own
    assert (resizing.height, resizing.width) == (4, 6)
    for one in ("Flatten", {"class_name": "Flatten"}, own):  # A sequence of one.
        (layer,) = preprocessing.layers(one)
        assert isinstance(layer, keras.layers.Flatten)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("Normalisation", r"Unknown.*'Normalisation'.*'Normalization'"),
        ({"class_name": "Sqrt", "config": {}}, "Unknown preprocessing layer 'Sqrt'"),
        ({"class_name": "Rescaling", "config": {"factor": 2}}, "can't be built.*factor"),
        ({"class_name": "Rescaling"}, "can't be built.*scale"),
        ({"name": "Rescaling"}, "is a Keras layer, a name"),
        (3, "is a Keras layer, a name"),
        ({"class_name": "mylayers>Missing"}, "can't be built"),
        (keras.saving.serialize_keras_object(keras.optimizers.SGD()), "not a Keras layer"),
    ],
)
def test_bad_descriptions(item, message):
    with pytest.raises(ValueError, match=message):
        preprocessing.layers([item])


def test_a_config_runs_no_code(tmp_path):
    config = keras.saving.serialize_keras_object(keras.layers.Lambda(lambda x: x + 1))
    tf.saved_model.save(tf.Module(), str(tmp_path))
    unsafe = {"class_name": "TFSMLayer", "config": {"filepath": str(tmp_path)}}
    for each in (config, {"class_name": "Lambda", "config": config["config"]}, unsafe):
        with pytest.raises(ValueError, match="can't be built"):
            preprocessing.layers([each])


# Composition


def test_nothing_leaves_the_model_itself():
    model = dense()
    for nothing in ((), None, [], {}, {"inputs": []}):
        assert preprocessing.with_preprocessing(model, nothing, (3,)) is model


def test_layers_are_applied_in_order():
    network = dense(name="row")
    model = preprocessing.with_preprocessing(
        network, [{"class_name": "Rescaling", "config": {"scale": 2.0}}, "UnitNormalization"], (3,)
    )
    scaled = 2.0 * TABLE[:9]
    expected = network(scaled / np.linalg.norm(scaled, axis=1, keepdims=True))
    np.testing.assert_allclose(model(TABLE[:9]), expected, rtol=1e-5, atol=1e-6)
    assert model.input.name == "row"
    assert model.trainable_variables == network.trainable_variables


def test_named_inputs_keep_their_names():
    inputs = {"image": keras.Input((16,), name="image"), "table": keras.Input((3,), name="table")}
    both = keras.layers.Concatenate()([inputs["image"], inputs["table"]])
    network = keras.Model(inputs, keras.layers.Dense(2)(both))
    shapes = {"image": (4, 4, 1), "table": (3,)}
    model = preprocessing.with_preprocessing(network, {"image": ["Flatten"]}, shapes)
    x = {"image": IMAGES[:, :4, :4, :1], "table": TABLE[:5]}
    expected = network({"image": x["image"].reshape(5, 16), "table": x["table"]})
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-3)
    assert set(model.input) == {"image", "table"}


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ({"image": ["Flatten"]}, (3,), "one tensor"),
        (["Flatten"], {"image": (3,)}, "must be a dict"),
        ({"pose": ["Flatten"]}, {"image": (3,)}, r"\['image'\]"),
        (["Flatten"], (2, 2), r"can't take inputs of shape \(4,\)"),
        ([{"class_name": "Permute", "config": {"dims": [3, 1, 2]}}], (3,), "permute.*can't take"),
    ],
)
def test_what_does_not_fit_the_inputs(layers, shape, message):
    with pytest.raises(ValueError, match=message):
        preprocessing.with_preprocessing(dense(), layers, shape)


def test_a_plain_call_is_inference_and_training_reaches_the_network():
    # Keras's image layers put what follows them into training mode.
    network = convolution()
    statistics = network.layers[1].moving_mean
    statistics.assign([1.0, 2.0, 3.0, 4.0])
    model = preprocessing.with_preprocessing(network, [RESIZING], (8, 8, 3))
    expected = network(tf.image.resize(IMAGES, (6, 6)), training=False)
    np.testing.assert_allclose(model(IMAGES), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(statistics, [1.0, 2.0, 3.0, 4.0])
    model(IMAGES, training=True)
    assert np.all(statistics != np.array([1.0, 2.0, 3.0, 4.0]))


def test_raw_inputs_are_not_rounded_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        (layer,) = preprocessing.adapt(["Normalization"], batches(TABLE * 1000))
        model = preprocessing.with_preprocessing(dense(), [layer], (3,))
        assert layer(TABLE * 1000).dtype == tf.float32
        assert np.isfinite(model(TABLE * 1000)).all()
    finally:
        keras.config.set_dtype_policy("float32")


# Statistics


def test_normalization_equals_scikit_learn():
    """Features that are constant are only centred."""
    table = np.column_stack([TABLE, np.full(203, 1000.1), np.zeros(203)]).astype(np.float32)
    (layer,) = preprocessing.adapt(["Normalization"], batches(table))
    expected = sklearn.preprocessing.StandardScaler().fit_transform(table.astype(np.float64))
    np.testing.assert_allclose(layer(table), expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(layer(table + 1.0)[:, 3:], 1.0, atol=1e-3)


def test_each_layer_sees_what_the_layers_before_it_give():
    rescaling = {"class_name": "Rescaling", "config": {"scale": 255.0, "offset": 3.0}}
    built = preprocessing.adapt([rescaling, "Normalization"], batches(IMAGES, size=2))
    expected = (255.0 * IMAGES + 3.0).astype(np.float64)
    np.testing.assert_allclose(np.ravel(built[1].mean), expected.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(np.ravel(built[1].variance), expected.var((0, 1, 2)), rtol=1e-4)


def test_given_statistics_stay():
    given = {"class_name": "Normalization", "config": {"mean": [1, 2, 3], "variance": [4, 4, 4]}}
    (layer,) = preprocessing.adapt([given], batches(TABLE))
    np.testing.assert_allclose(layer(TABLE), (TABLE - [1, 2, 3]) / 2, rtol=1e-5)
    words = {"class_name": "TextVectorization", "config": {"vocabulary": ["a", "b"]}}
    (layer,) = preprocessing.adapt([words], batches(np.array(["b c"])))
    assert layer(["b a"]).numpy().tolist() == [[3, 2]]  # 0 is padding, and 1 others.


def test_layers_of_text_take_text():
    text = keras.layers.StringLookup(vocabulary=["a", "b"])
    network = keras.Sequential([keras.Input((1,)), keras.layers.Rescaling(2.0)])
    model = preprocessing.with_preprocessing(network, [text], (1,))
    assert model(tf.constant([["b"], ["c"]])).numpy().tolist() == [[4.0], [0.0]]


def test_named_inputs_and_labels():
    x = {"image": IMAGES, "table": TABLE[:5]}
    dataset = batches((x, np.arange(5)), size=2)
    built = preprocessing.adapt({"table": ["Normalization"], "image": []}, dataset)
    np.testing.assert_allclose(built["table"][0](TABLE[:5]).numpy().mean(0), 0.0, atol=1e-4)
    assert built["image"] == []


@pytest.mark.parametrize(
    ("layers", "dataset", "message"),
    [
        (["Normalization"], TABLE, "tf.data.Dataset"),
        (["Normalization"], tf.data.Dataset.from_tensors(TABLE).repeat(), "no end"),
        (["Normalization"], tf.data.Dataset.from_tensors(TABLE).take(0), "empty"),
        ({"row": ["Normalization"]}, tf.data.Dataset.from_tensors(TABLE), r"has \[\]"),
        ({"row": ["Normalization"]}, tf.data.Dataset.from_tensors({"a": TABLE}), r"has \['a'\]"),
        (["Normalization"], tf.data.Dataset.from_tensors({"a": TABLE}), "must be a dict"),
        (["Normalization"], tf.data.Dataset.from_tensors(TABLE[:, 0]), "single numbers.*Reshape"),
        (["Normalization"], tf.data.Dataset.from_tensor_slices(TABLE), r"one row.*batch\(256\)"),
    ],
)
def test_bad_datasets(layers, dataset, message):
    with pytest.raises(ValueError, match=message):
        preprocessing.adapt(layers, dataset)


# Saving


def test_statistics_are_saved_and_exported_with_the_model(tmp_path):
    layers = preprocessing.adapt(["Normalization"], batches(TABLE))
    model = preprocessing.with_preprocessing(dense(), layers, (3,))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded(TABLE), model(TABLE), rtol=1e-6)
    assert abs(float(np.mean(loaded.layers[1](TABLE)))) < 1e-3
    model.export(tmp_path / "model", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_allclose(served.serve(TABLE), model(TABLE), rtol=1e-5, atol=1e-5)


def test_the_shape_after_the_layers():
    layers = preprocessing.layers([RESIZING])
    assert preprocessing.output_shape(layers, (8, 9, 3)) == (6, 6, 3)
    named = {"image": preprocessing.layers(["Flatten"])}
    shapes = {"image": (8, 8, 3), "table": (5,)}
    assert preprocessing.output_shape(named, shapes) == {"image": (192,), "table": (5,)}


def test_adapting_to_nan_is_refused():
    data = tf.data.Dataset.from_tensors([[1.0], [np.nan]])
    with pytest.raises(ValueError, match=r"adapted to hold NaN or Inf\. Leave such rows out"):
        preprocessing.adapt(["Normalization"], data)
