"""Teachers from files: the same distribution as their own framework gives."""

import sys
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import onnx
import pytest
import scipy.special
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from by_hand import heads, softmax

import ecl_tf
from ecl_tf._internal import ranges
from ecl_tf.outputs import Categorical, Joint, Normal, Point
from ecl_tf.teachers import black_boxes, pretrained

RNG = np.random.default_rng(0)
X = RNG.random((7, 8, 8, 1), np.float32)
COLOURED = RNG.random((5, 8, 8, 3), np.float32)
ROWS = RNG.normal(0, 1, (6, 3)).astype(np.float32)
SHAPE = (8, 8, 1)
RESCALING = {"class_name": "Rescaling", "config": {"scale": 255.0}}


def network(units=4, activation=None, shape=SHAPE):
    model = keras.Sequential(
        [
            keras.Input(shape, name="image"),
            keras.layers.Conv2D(3, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(units, activation=activation),
        ]
    )
    model.layers[1].moving_mean.assign([0.1, 0.2, 0.3])
    return model


def probabilities(model, x=X):
    """What a distiller takes from a teacher."""
    return ecl_tf.Ensemble(model, "categorical").distribution(x).probs_parameter().numpy()


def saved(model, path):
    model.save(path)
    return path


# Keras files


def load_keras(shape, output, path, **arguments):
    return pretrained.load("keras", shape, output, path=path, **arguments)


def test_a_keras_file_is_its_model_unless_it_answers_with_probabilities(tmp_path):
    model, classifier = network(), network(activation="softmax")
    teacher = load_keras(SHAPE, "categorical", saved(model, tmp_path / "teacher.keras"))
    np.testing.assert_allclose(teacher(X), model(X), atol=1e-5)
    assert type(teacher) is keras.Sequential
    path = saved(classifier, tmp_path / "classifier.keras")
    for answer in (None, "logits"):
        with pytest.raises(ValueError, match=r"ends in softmax.*answer='probabilities'"):
            load_keras(SHAPE, "categorical", path, answer=answer)
    teacher = load_keras(SHAPE, "categorical", path, answer="probabilities")
    np.testing.assert_allclose(probabilities(teacher), classifier(X), atol=1e-5)


def test_answers_that_contradict_what_is_said_and_networks_of_nan_are_refused(tmp_path):
    inputs = keras.Input((3,), name="row")
    hidden = keras.layers.Lambda(lambda z: tf.sigmoid(z), name="hidden")
    model = keras.Model(inputs, hidden(keras.layers.Dense(2)(inputs)))
    model.export(tmp_path / "unnamed", verbose=False)
    plain = pretrained.load(
        "saved_model", (3,), "bernoulli", path=tmp_path / "unnamed", answer="logits"
    )
    np.testing.assert_allclose(plain(ROWS), model(ROWS), atol=1e-6)  # The user insists.
    softmax = keras.layers.Dense(4, "softmax")(inputs)
    answered = {"bernoulli": {"probabilities": model.outputs[0]}, "categorical": softmax}
    for output, tensors in answered.items():
        keras.Model(inputs, tensors).export(tmp_path / output, verbose=False)
        with pytest.raises(ValueError, match=r"gives probabilities.*answer='probabilities'"):
            pretrained.load("saved_model", (3,), output, path=tmp_path / output, answer="logits")
    broken = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "relu")], name="broken")
    broken.set_weights([np.full((3, 2), np.nan), np.zeros(2)])
    with pytest.raises(ValueError, match="'broken' holds NaN"):
        load_keras((3,), "categorical", saved(broken, tmp_path / "broken.keras"))
    broken.export(tmp_path / "broken", verbose=False)
    with pytest.raises(ValueError, match="holds NaN"):
        pretrained.load(
            "saved_model", (3,), "categorical", path=tmp_path / "broken", answer="logits"
        )


def test_a_keras_file_of_named_outputs(tmp_path):
    inputs = keras.Input((3,), name="row")
    named = {
        "p": keras.layers.Dense(4, activation="softmax", name="p")(inputs),
        "mu": keras.layers.Dense(2, name="mu")(inputs),
        "sigma": keras.layers.Dense(2, activation="softplus", name="sigma")(inputs),
    }
    model = keras.Model(inputs, named)
    path = saved(model, tmp_path / "teacher.keras")
    expected = model(ROWS)

    normal = Normal(2, min_scale=1e-4, target_mean=3.0, target_stddev=[2.0, 5.0])
    teacher = load_keras((3,), normal, path, answer={"mean": "mu", "stddev": "sigma"})
    distribution = ecl_tf.Ensemble(teacher, normal).distribution(ROWS)
    np.testing.assert_allclose(distribution.mean(), expected["mu"], atol=1e-5)
    np.testing.assert_allclose(distribution.stddev(), expected["sigma"], atol=1e-5)

    joint = Joint({"digit": Categorical(), "digit_angle": Normal(2, 1e-4)})
    answer = {"digit_probabilities": "p", "digit_angle_mean": "mu", "digit_angle_stddev": "sigma"}
    teacher = load_keras((3,), joint, answer=answer, path=path)
    distribution = ecl_tf.Ensemble(teacher, joint).distribution(ROWS)
    np.testing.assert_allclose(distribution["digit"].probs_parameter(), expected["p"], atol=1e-5)
    np.testing.assert_allclose(distribution["digit_angle"].stddev(), expected["sigma"], atol=1e-5)

    point = Point(2, 0.5, target_mean=[1.0, 2.0], target_stddev=3.0)
    member = load_keras((3,), point, answer={"mean": "mu"}, path=path)
    np.testing.assert_allclose(point(member(ROWS)).mean(), expected["mu"], atol=1e-5)


def test_a_keras_file_of_named_raw_outputs_is_its_model(tmp_path):
    model = heads(3, digit=4, angle=2)
    path = saved(model, tmp_path / "teacher.keras")
    joint = Joint({"digit": Categorical(), "angle": Normal(1)})
    teacher = load_keras((3,), joint, path=path)
    assert set(teacher(ROWS)) == {"digit", "angle"}
    assert not any(isinstance(each, keras.Model) for each in teacher.layers)
    with pytest.raises(ValueError, match=r"no outputs"):
        load_keras((3,), {"pose": "categorical"}, path=path)
    path = saved(keras.Model(model.input, list(model.output.values())), tmp_path / "unnamed.keras")
    with pytest.raises(ValueError, match="list of 2 outputs without names"):
        load_keras((3,), "categorical", path)


def test_points_teach_a_normal_student(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    path = saved(model, tmp_path / "teacher.keras")
    normal = Normal(2, target_mean=[1.0, 2.0], target_stddev=3.0)
    members = [load_keras((3,), normal, answer="mean", path=path)] * 2
    teacher = ecl_tf.teachers.get(members, normal)
    np.testing.assert_allclose(teacher.distribution(ROWS).mean(), model(ROWS), atol=1e-5)


def test_probabilities_of_zero_and_one_stay_finite(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Activation("relu6")(inputs))
    path = saved(model, tmp_path / "teacher.keras")
    x = np.array([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]], np.float32)
    bernoulli = load_keras((3,), "bernoulli", answer="probabilities", path=path)
    assert np.isfinite(bernoulli(x)).all()
    np.testing.assert_allclose(scipy.special.expit(bernoulli(x)), x, atol=1e-5)
    raw = pretrained.answers.RawAnswer("categorical", {"probabilities": "output"})(x)
    assert np.isfinite(raw).all()
    np.testing.assert_allclose(softmax(raw), x, atol=1e-5)


def test_loading_a_keras_file_runs_no_code_unless_trusted(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: 2.0 * x)])
    path = saved(model, tmp_path / "teacher.keras")
    with pytest.raises(ValueError, match=r"Python code.*trust_code=True"):
        load_keras((3,), "categorical", path=path)
    teacher = load_keras((3,), "categorical", path=path, trust_code=True)
    np.testing.assert_allclose(teacher(ROWS), 2.0 * ROWS)


# Keras applications


def application(shape, preprocessing=None, size=(32, 32)):
    """A small MobileNet as a teacher, and the network in it."""
    arguments = {"model": "MobileNet", "weights": None, "classes": 4, "size": size}
    teacher = pretrained.load("keras_application", shape, "categorical", preprocessing, **arguments)
    return teacher, next(layer for layer in teacher.layers if isinstance(layer, keras.Model))


@pytest.mark.slow
def test_an_application_does_its_own_preprocessing(tmp_path):
    """Of grey images, which are made colour images of the size that is its default."""
    teacher, model = application(X.shape[1:], size=None)
    assert model.input_shape == (None, 224, 224, 3)
    images = X[:2]
    resized = tf.image.resize(255.0 * images.repeat(3, -1), (224, 224)).numpy()
    x = keras.applications.mobilenet.preprocess_input(resized)
    np.testing.assert_allclose(probabilities(teacher, images), softmax(model(x)), atol=1e-5)
    loaded = keras.models.load_model(saved(teacher, tmp_path / "teacher.keras"), safe_mode=True)
    np.testing.assert_allclose(loaded(images), teacher(images), atol=1e-5)


def test_given_preprocessing_replaces_the_applications():
    own = [RESCALING, {"class_name": "Resizing", "config": {"height": 32, "width": 32}}]
    teacher, model = application((8, 8, 3), own)
    assert model.input_shape == (None, 32, 32, 3)
    expected = model(tf.image.resize(255.0 * COLOURED, (32, 32)))
    np.testing.assert_allclose(probabilities(teacher, COLOURED), softmax(expected), atol=1e-5)


def test_every_preprocess_input_is_a_layer():
    images = 255.0 * COLOURED
    for name in ("VGG16", "ResNet50V2", "DenseNet121", "EfficientNetB0"):
        layer = pretrained.ApplicationPreprocessing(name)
        module = sys.modules[getattr(keras.applications, name).__module__]
        expected = module.preprocess_input(images.copy())
        np.testing.assert_allclose(layer(images), expected, rtol=1e-5, atol=1e-3)


# KerasHub


@pytest.mark.slow
def test_a_keras_hub_preset_does_its_own_preprocessing(tmp_path):
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )
    scaling = {"scale": 1 / 127.5, "offset": -1.0}
    converter = keras_hub.layers.ResNetImageConverter(image_size=(12, 12), **scaling)
    classifier = keras_hub.models.ResNetImageClassifier(
        backbone=backbone,
        num_classes=4,
        preprocessor=keras_hub.models.ResNetImageClassifierPreprocessor(converter),
        activation="softmax",
    )
    preset = str(tmp_path / "preset")
    classifier.save_to_preset(preset)
    expected = classifier.predict(255.0 * COLOURED, verbose=0)
    teacher = pretrained.load("keras_hub", (8, 8, 3), "categorical", preset=preset)
    np.testing.assert_allclose(probabilities(teacher, COLOURED), expected, atol=1e-5)
    loaded = keras.models.load_model(saved(teacher, tmp_path / "teacher.keras"), safe_mode=True)
    np.testing.assert_allclose(softmax(loaded(COLOURED)), expected, atol=1e-5)


# SavedModels


@pytest.mark.parametrize("output", [Categorical(), Normal(2, 1e-3, 3.0)], ids=repr)
def test_what_export_wrote_is_a_teacher(tmp_path, output):
    student = network()
    ecl_tf.export_student(student, output, tmp_path / "student")
    teacher = pretrained.load("saved_model", SHAPE, output, path=tmp_path / "student")
    served = tf.saved_model.load(str(tmp_path / "student"))
    expected = served.signatures["serving_default"](image=tf.constant(X))
    answered = output.parameters(output(teacher(X)))
    assert set(answered) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(answered[name], value, atol=1e-5)


def test_any_saved_model_its_endpoints_and_safe_mode(tmp_path):
    def load(**arguments):
        path = tmp_path / "model"
        return pretrained.load("saved_model", SHAPE, "categorical", path=path, **arguments)

    model = network()
    model.export(tmp_path / "model", verbose=False)
    with pytest.raises(ValueError, match=r"output_0.*answer='logits'"):
        load()
    with pytest.raises(ValueError, match=r"no signature 'other'; it has \['serve"):
        load(endpoint="other")
    for endpoint in ("serve", "serving_default"):
        teacher = load(answer="logits", endpoint=endpoint)
        np.testing.assert_allclose(probabilities(teacher), softmax(model(X)), atol=1e-5)
    path = saved(teacher, tmp_path / "teacher.keras")
    with pytest.raises(ValueError, match="safe_mode=False"):  # A saved model is a program.
        keras.models.load_model(path)
    loaded = keras.models.load_model(path, safe_mode=False)
    np.testing.assert_allclose(loaded(X), teacher(X), atol=1e-6)


def test_a_saved_model_of_fixed_rows(tmp_path):
    module = tf.Module()
    module.f = tf.function(tf.identity, input_signature=[tf.TensorSpec((1, 3), name="x")])
    tf.saved_model.save(module, str(tmp_path / "fixed"), signatures=module.f)
    with pytest.raises(ValueError, match="leave the number of rows open"):
        pretrained.load("saved_model", (3,), "categorical", path=tmp_path / "fixed")


# LiteRT


def tflite(model, path, quantised=False):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if quantised:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([X[i : i + 1]] for i in range(7))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())
    return path


def by_hand(path, x):
    """Row by row through an interpreter, with (de)quantisation in NumPy."""
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    (scale, zero), (unit, origin) = source["quantization"], target["quantization"]
    answers = []
    for row in np.clip(np.round(x / scale + zero), -128, 127).astype(np.int8):
        interpreter.set_tensor(source["index"], row[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(target["index"])[0])
    return (np.stack(answers).astype(np.float64) - origin) * unit


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    keras.utils.set_random_seed(1)
    model = network()
    return model, tflite(model, tmp_path_factory.mktemp("lite") / "model.tflite")


def test_litert_in_any_batch_size(lite):
    model, path = lite
    teacher = pretrained.load("tflite", SHAPE, "categorical", answer="logits", path=path)
    for rows in (7, 3, 1):
        np.testing.assert_allclose(teacher(X[:rows]), model(X[:rows]), atol=1e-5)
    assert teacher(X[:0]).shape == (0, 4)
    np.testing.assert_allclose(teacher.predict(X, batch_size=3, verbose=0), model(X), atol=1e-5)
    assert teacher.layers[1].rows is None


def test_quantised_litert(tmp_path):
    model = network(activation="softmax")
    path = tflite(model, tmp_path / "model.tflite", quantised=True)
    teacher = pretrained.load("tflite", SHAPE, "categorical", answer="probabilities", path=path)
    expected = by_hand(path, X)
    expected = np.maximum(expected, np.finfo(np.float32).tiny)
    expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(probabilities(teacher), expected, atol=1e-5)
    np.testing.assert_allclose(probabilities(teacher), model(X), atol=0.03)


def test_litert_whose_graph_holds_for_its_own_rows_only(tmp_path):
    # The mean over *two* rows: no other number gives the same.
    inputs = keras.Input((3,), batch_size=2)
    mean = keras.ops.mean(inputs, axis=0, keepdims=True)
    model = keras.Model(inputs, keras.ops.add(inputs, mean))
    path = tflite(model, tmp_path / "model.tflite")
    teacher = pretrained.load("tflite", (3,), "categorical", answer="logits", path=path)
    assert teacher.layers[1].rows == 2
    filled = np.concatenate([ROWS[:5], np.zeros((1, 3), np.float32)])
    expected = np.concatenate([filled[i : i + 2] + filled[i : i + 2].mean(0) for i in (0, 2, 4)])
    np.testing.assert_allclose(teacher(ROWS[:5]), expected[:5], atol=1e-5)


def test_litert_from_several_threads(lite):
    _, path = lite
    layer = black_boxes.LiteRT(path)
    layer.build((None, 8, 8, 1))
    expected = {rows: layer.answer({"image": X[:rows]}) for rows in (1, 4, 7)}
    asked = 50 * list(expected)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # Threads take turns within a call.
    try:
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda rows: layer.answer({"image": X[:rows]}), asked))
    finally:
        sys.setswitchinterval(interval)
    for rows, answer in zip(asked, answers, strict=True):
        keras.tree.map_structure(np.testing.assert_array_equal, answer, expected[rows])


# ONNX

W = RNG.normal(0, 1, (3, 4)).astype(np.float32)
FLOAT = onnx.TensorProto.FLOAT


def onnx_file(path, nodes, inputs, outputs, weights=(), input_type=FLOAT):
    """Inputs and outputs: dicts from name to shape."""
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(*node[:3], **(node[3] if node[3:] else {})) for node in nodes],
        "graph",
        [onnx.helper.make_tensor_value_info(n, input_type, s) for n, s in inputs.items()],
        [onnx.helper.make_tensor_value_info(n, FLOAT, s) for n, s in outputs.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in dict(weights).items()],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def linear_onnx(path, weights=W, rows="rows", softmaxed=False):
    nodes = [("MatMul", ["x", "w"], ["y" if softmaxed else "logits"])]
    nodes += [("Softmax", ["y"], ["probabilities"])] if softmaxed else []
    name = "probabilities" if softmaxed else "logits"
    size = weights.shape[1]
    return onnx_file(path, nodes, {"x": [rows, 3]}, {name: [rows, size]}, {"w": weights})


def load_onnx(path, shape=(3,), output="categorical", *preprocessing, **arguments):
    return pretrained.load("onnx", shape, output, *preprocessing, path=path, **arguments)


@pytest.mark.parametrize(("rows", "softmaxed"), [("rows", False), ("rows", True), (4, False)])
def test_onnx_in_any_batch_size(tmp_path, rows, softmaxed):
    teacher = load_onnx(linear_onnx(tmp_path / "model.onnx", rows=rows, softmaxed=softmaxed))
    expected = softmax(ROWS @ W)
    np.testing.assert_allclose(probabilities(teacher, ROWS), expected, atol=1e-5)
    assert teacher.output_shape == (None, 4)
    predicted = teacher.predict(ROWS, batch_size=5, verbose=0)
    np.testing.assert_allclose(softmax(predicted), expected, atol=1e-5)


def test_onnx_of_moments_and_of_points(tmp_path):
    split = [("Split", ["y"], ["mean", "log"], {"axis": 1}), ("Exp", ["log"], ["stddev"])]
    path = onnx_file(
        tmp_path / "model.onnx",
        [("MatMul", ["x", "w"], ["y"]), *split],
        {"x": ["rows", 3]},
        {"mean": ["rows", 2], "stddev": ["rows", 2]},
        {"w": W},
    )
    y = ROWS.astype(np.float64) @ W
    normal = Normal(2, min_scale=1e-5)
    distribution = normal(load_onnx(path, output=normal)(ROWS))
    np.testing.assert_allclose(distribution.mean(), y[:, :2], atol=1e-5)
    np.testing.assert_allclose(distribution.stddev(), np.exp(y[:, 2:]), rtol=1e-5, atol=1e-5)
    point = load_onnx(path, output=Point(2, 0.1))
    np.testing.assert_allclose(point(ROWS), y[:, :2], atol=1e-5)


def test_onnx_of_named_inputs_in_another_layout(tmp_path):
    nodes = [
        ("ReduceMean", ["image"], ["pooled"], {"axes": [2, 3], "keepdims": 0}),
        ("Concat", ["pooled", "table"], ["logits"], {"axis": 1}),
    ]
    inputs = {"image": ["rows", 3, 8, 8], "table": ["rows", 2]}
    path = onnx_file(tmp_path / "model.onnx", nodes, inputs, {"logits": ["rows", 5]})
    shapes = {"table": (2,), "image": (8, 8, 3)}
    permute = {"image": [{"class_name": "Permute", "config": {"dims": [3, 1, 2]}}]}
    teacher = load_onnx(path, shapes, "categorical", permute)
    x = {"image": COLOURED, "table": ROWS[:5, :2]}
    expected = np.concatenate([COLOURED.mean((1, 2)), ROWS[:5, :2]], 1)
    np.testing.assert_allclose(teacher(x), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"inputs \['image', 'table'\]"):
        load_onnx(path, {"img": (3, 8, 8), "table": (2,)})
    with pytest.raises(ValueError, match=r"'image'.*\(None, 8, 8, 3\)"):
        load_onnx(path, shapes)


def test_whole_numbers_are_the_nearest(tmp_path):
    nodes, shape = [("Cast", ["x"], ["logits"], {"to": FLOAT})], {"x": ["rows", 3]}
    path = onnx_file(
        tmp_path / "model.onnx", nodes, shape, {"logits": ["rows", 3]}, (), onnx.TensorProto.UINT8
    )
    teacher = load_onnx(path, (3,), "categorical", [RESCALING])
    levels = np.arange(256, dtype=np.float32).repeat(3).reshape(256, 3)
    np.testing.assert_array_equal(teacher(levels / 255), levels)
    np.testing.assert_array_equal(teacher(np.full((1, 3), 1.1)), [[255.0] * 3])
    asked = [("teacher", load_onnx(path, (3,)))]
    ranges.require_within(asked, levels)
    with pytest.raises(ValueError, match="takes whole numbers from 0 to 255"):
        ranges.require_within(asked, levels / 255)


def test_a_network_of_texts(tmp_path):
    text = keras.Input((1,), dtype="string")
    lookup = keras.layers.StringLookup(vocabulary=["a", "b"])
    place = keras.layers.Rescaling(1.0)(lookup(text))
    model = keras.Model(text, keras.layers.Concatenate()([place, -place]))
    model.export(tmp_path / "model", verbose=False)
    file = saved(model, tmp_path / "teacher.keras")
    for kind, path in (("keras", file), ("saved_model", tmp_path / "model")):
        teacher = pretrained.load(kind, (1,), "categorical", path=path, answer="logits")
        assert teacher(tf.constant([["b"]])).numpy().tolist() == [[2.0, -2.0]]


def test_an_onnx_file_that_can_be_no_teacher(tmp_path):
    path, shape = tmp_path / "model.onnx", {"x": ["rows", 3]}
    mean = [("ReduceMean", ["x"], ["logits"], {"axes": [0], "keepdims": 1})]
    with pytest.raises(ValueError, match="one row for each"):
        load_onnx(onnx_file(path, mean, shape, {"logits": [1, 3]}))
    name = [("Identity", ["x"], ["logits"])]
    onnx_file(path, name, shape, {"logits": ["rows", 3]}, (), onnx.TensorProto.STRING)
    with pytest.raises(ValueError, match=r"not an ONNX file that runs|is no number"):
        load_onnx(path)
    with pytest.raises(ValueError, match=r"has the providers \[.*got \['Abacus'\]"):
        load_onnx(linear_onnx(path), providers=["Abacus"])


# Distillation


def test_teacher_and_student_want_different_things_of_the_same_sampled_x(tmp_path, monkeypatch):
    weights = {"w": RNG.normal(0, 0.01, (16, 4)).astype(np.float32)}
    nodes = [("Flatten", ["x"], ["flat"]), ("MatMul", ["flat", "w"], ["logits"])]
    inputs, outputs = {"x": ["rows", 1, 4, 4]}, {"logits": ["rows", 4]}
    path = onnx_file(tmp_path / "model.onnx", nodes, inputs, outputs, weights)
    half = {"class_name": "Resizing", "config": {"height": 4, "width": 4}}
    permute = {"class_name": "Permute", "config": {"dims": [3, 1, 2]}}
    teacher = load_onnx(path, SHAPE, "categorical", [RESCALING, half, permute])
    dataset = tf.data.Dataset.from_tensor_slices(X).batch(3)
    student = ecl_tf.preprocessing.with_preprocessing(
        network(), ecl_tf.preprocessing.adapt(["Normalization"], dataset), (8, 8, 1)
    )
    sampled, seen, run = [], [], black_boxes.Onnx._run

    class Recording(ecl_tf.samplers.Mixup):
        def sample(self, inputs, seed):
            samples = super().sample(inputs, seed)
            tf.numpy_function(lambda x: sampled.append(x.copy()), [samples.inputs], [])
            return samples

    distiller = ecl_tf.Distiller(student, teacher, sampler=Recording())
    distiller.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    monkeypatch.setattr(
        black_boxes.Onnx, "_run", lambda self, x: seen.append(dict(x)) or run(self, x)
    )
    distiller.fit(X, batch_size=7, epochs=3, shuffle=False, verbose=0)
    assert len(sampled) == len(seen) == 3
    for mixed, array in zip(sampled, seen, strict=True):
        assert np.abs(mixed - X).max() > 0.1  # Not the training set.
        expected = tf.image.resize(255.0 * mixed, (4, 4)).numpy().transpose(0, 3, 1, 2)
        np.testing.assert_allclose(array["x"], expected, rtol=1e-4, atol=1e-2)


def test_a_distiller_saves_and_loads_with_its_black_boxes(tmp_path, lite):
    _, path = lite
    members = [pretrained.load("tflite", SHAPE, "categorical", answer="logits", path=path)] * 2
    distiller = ecl_tf.Distiller(network(), members)
    distiller.compile("sgd", metrics=["accuracy"], run_eagerly=True)
    labels = RNG.integers(0, 4, 7)
    expected = distiller.evaluate(X, labels, verbose=0, return_dict=True)
    loaded = keras.models.load_model(saved(distiller, tmp_path / "distiller.keras"))
    assert loaded.evaluate(X, labels, verbose=0, return_dict=True) == pytest.approx(expected)
    (box,) = {m.layers[1].file for m in loaded.teacher.members}
    assert box == str(path)
    loaded.fit(X, verbose=0)


def test_a_black_box_whose_file_is_gone_says_so(tmp_path):
    path = linear_onnx(tmp_path / "model.onnx")
    saved(load_onnx(path), tmp_path / "teacher.keras")
    path.unlink()
    with pytest.raises(Exception, match=r"no teacher at .*model\.onnx"):
        keras.models.load_model(tmp_path / "teacher.keras")


def test_black_boxes_are_not_compiled_by_xla(tmp_path):
    teacher = load_onnx(linear_onnx(tmp_path / "model.onnx"))
    student = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    distiller = ecl_tf.Distiller(student, teacher, sampler="Empirical")
    with pytest.warns(UserWarning, match="jit_compile"):
        distiller.compile("sgd", jit_compile=True)
    distiller.fit(ROWS, verbose=0)


# What does not fit


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "message"),
    [
        ("pytorch", {}, ValueError, r"Unknown pretrained network 'pytorch'.*'onnx'"),
        ("onnx", {"file": "a.onnx"}, ValueError, r"no arguments \['file'\].*'path'"),
        ("onnx", {"path": "a.onnx"}, FileNotFoundError, r"no teacher at .*a\.onnx"),
        ("saved_model", {"path": "a"}, FileNotFoundError, "no teacher at .*a"),
        ("keras", {"path": "a.keras"}, FileNotFoundError, r"no Keras file at a\.keras"),
        ("keras_application", {"model": "Mobile"}, ValueError, "Unknown model.*'MobileNetV2'"),
    ],
)
def test_bad_arguments(kind, arguments, error, message):
    with pytest.raises(error, match=message):
        pretrained.load(kind, (3,), "categorical", **arguments)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("keras", ".keras"), ("tflite", "LiteRT"), ("onnx", "ONNX"), ("saved_model", "SavedModel")],
)
def test_files_of_another_format(tmp_path, kind, name):
    path = tmp_path / "model.keras"
    path.write_text("something else, of some length, which no format begins with")
    with pytest.raises(ValueError, match=f"not an? {name}"):
        pretrained.load(kind, (3,), "categorical", path=path)


@pytest.mark.parametrize(
    ("shape", "output", "answer", "message"),
    [
        ((5,), "categorical", None, r"can't take inputs of shape \(5,\)"),
        ((None,), "categorical", None, "known sizes"),
        ((3,), "categorical", "p", "Unknown answer 'p'; expected answer='logits'"),
        ((3,), "categorical", "probabilities", "no probabilities"),
        ((3,), "categorical", {"probabilities": "p"}, r"no outputs \['p'\]; it has \['logits'\]"),
        ((3,), Normal(2), "probabilities", r"\['probabilities'\]"),
        ((3,), Normal(3), "mean", "last dimension of 3"),
        ((3,), {"a": "categorical"}, None, r"\['logits'\] don't tell"),
        ((3,), {"a": "categorical"}, {"b_mean": "logits"}, "no parameter of the joint"),
        ((3,), "normal", None, r"Normal\(event_size\)"),
    ],
)
def test_what_does_not_fit(tmp_path, shape, output, answer, message):
    path = linear_onnx(tmp_path / "model.onnx")
    with pytest.raises(ValueError, match=message):
        load_onnx(path, shape, output, answer=answer)


def test_an_answer_that_could_be_any_output(tmp_path):
    nodes = [("Identity", ["x"], ["a"]), ("Identity", ["x"], ["b"])]
    shape = ["rows", 3]
    path = onnx_file(tmp_path / "model.onnx", nodes, {"x": shape}, {"a": shape, "b": shape})
    with pytest.raises(ValueError, match=r"any of .*\['a', 'b'\].*answer=\{'logits': 'a'\}"):
        load_onnx(path, answer="logits")
    teacher = load_onnx(path, answer={"logits": "b"})
    np.testing.assert_allclose(teacher(ROWS), ROWS)


@pytest.mark.parametrize(
    ("kind", "module", "package", "arguments"),
    [
        ("tflite", "ai_edge_litert.interpreter", "ai-edge-litert", {"path": __file__}),
        ("onnx", "onnxruntime", "onnxruntime", {"path": __file__}),
        ("keras_hub", "keras_hub", "keras-hub", {"preset": "any"}),
    ],
)
def test_what_is_not_installed(monkeypatch, kind, module, package, arguments):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'needs {package}.*pip install "ecl_tf\[teachers\]"'):
        pretrained.load(kind, (3,), "categorical", **arguments)
