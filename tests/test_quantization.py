"""A student learns, is saved and is served at the precision of 8 bits."""

import keras
import numpy as np
import processes
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from by_hand import numbers, softmax

import ecl_tf
from ecl_tf import Distiller, _validation_scores, export_student, load_student, outputs, resume
from ecl_tf._internal.fake_quantization import FakeQuantized
from ecl_tf._internal.quantized_model import QuantizedModel
from ecl_tf.export import litert, litert_size, parity

layers = keras.layers
X = numbers(64, 8, 8, 1)


def network(seed=0, width=4):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(width, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


def made(**arguments):
    distiller = Distiller(network(1), network(2, 8), quantization="int8", **arguments)
    distiller.compile(keras.optimizers.Adam(0.01))
    return distiller


@pytest.fixture(scope="module")
def trained():
    distiller = made()
    distiller.fit(X, batch_size=16, epochs=3, verbose=0)
    return distiller


def test_the_student_is_rounded_in_training_and_evaluation(trained):
    rounded, exact = (np.asarray(each(X)) for each in (trained, trained.student))
    step = trained.quantized.steps(rounded)
    np.testing.assert_allclose(rounded / step, np.rint(rounded / step), atol=1e-2)
    assert 0.1 * step < np.abs(rounded - exact).max() < 20 * step
    (teacher,) = trained.teacher.members
    p, q = softmax(teacher(X).numpy()), softmax(rounded)
    kl = (p * np.log(p / q)).sum(-1).mean()
    logged = trained.evaluate(X, verbose=0, return_dict=True)
    np.testing.assert_allclose(logged["divergence"], kl, rtol=1e-4)
    ranges = {id(variable) for variable in trained.quantized.variables}
    assert not ranges & {id(variable) for variable in trained.trainable_variables}


def test_the_steps_are_those_of_the_rounded_student():
    """One step of gradient descent, against the gradient of the rounded student's KL."""
    distiller = made(sampler="Empirical")
    distiller.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    before = [weight.numpy() for weight in distiller.student.trainable_weights]
    twin = FakeQuantized(network(1))
    target = tf.nn.softmax(distiller.teacher.members[0](X))
    with tf.GradientTape() as tape:
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)(
            target, twin(X, training=True)
        )
    gradients = tape.gradient(loss, twin.model.trainable_weights)
    distiller.fit(X, batch_size=64, verbose=0, shuffle=False)
    after = distiller.student.trainable_weights
    for old, new, gradient in zip(before, after, gradients, strict=True):
        np.testing.assert_allclose(old - new, gradient, atol=1e-5)


def test_a_saved_distiller_is_the_same_one(trained, tmp_path):
    trained.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    assert loaded.quantization == "int8"
    np.testing.assert_array_equal(loaded(X), trained(X))
    assert "quantization" not in Distiller(network(), network()).get_config()


@pytest.mark.slow
def test_a_model_in_8_bits_is_distilled_saved_and_exported_as_such(trained, tmp_path, subtests):
    model = QuantizedModel(network(1))
    distiller = Distiller(model, network(2, 8))
    distiller.compile(keras.optimizers.Adam(0.01))
    distiller.fit(X, batch_size=16, epochs=3, verbose=0)
    with subtests.test("it learns what a distiller with quantization teaches"):
        np.testing.assert_array_equal(model(X), trained(X))
        assert model.count_params() == trained.student.count_params()
    model.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras")
    with subtests.test("its file keeps the ranges"):
        np.testing.assert_array_equal(loaded(X), model(X))
    path = tmp_path / "student.tflite"
    with subtests.test("LiteRT has whole numbers"):
        export_student(loaded, "categorical", path, format="litert")
        found = load_student(path).parameters(X)["probabilities"]
        step = trained.quantized.steps(np.asarray(trained(X)))
        np.testing.assert_allclose(found, softmax(np.asarray(trained(X))), atol=0.5 * step)
    with subtests.test("others are in float32"):
        export_student(loaded, "categorical", tmp_path / "student")
        found = load_student(tmp_path / "student").parameters(X)["probabilities"]
        np.testing.assert_allclose(found, softmax(trained.student(X).numpy()), atol=1e-5)
    with pytest.raises(ValueError, match=r"was trained in 8 bits.*got quantization='float16'"):
        export_student(loaded, "categorical", path, format="litert", quantization="float16")
    with pytest.raises(ValueError, match='quantization needs format="litert"'):
        export_student(loaded, "categorical", tmp_path / "student", quantization="int8")
    with pytest.raises(ValueError, match="copies functional and sequential models"):
        ecl_tf.inference_form(loaded)


@pytest.mark.slow
def test_a_training_goes_on_in_the_same_bits(tmp_path, subtests, eagerly):
    def labelled():
        model = QuantizedModel(network(1))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.01), loss)
        return model

    def run(new, directory, *steps):
        for end in steps:
            model = new()
            data = resume.batches((X, np.arange(64) % 3), batch_size=16, seed=0)
            resume.fit(model, data, directory, steps=end, steps_per_epoch=4, verbose=0)
        return [variable.numpy() for variable in model.variables]

    for new in (made, labelled):
        whole, parted = (
            run(new, tmp_path / new.__name__ / name, *steps)
            for name, steps in {"whole": [8], "parted": [4, 8]}.items()
        )
        for one, other in zip(whole, parted, strict=True):
            with subtests.test(of=new.__name__):
                np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_two_replicas_see_the_ranges_of_one():
    script = processes.start("quantize_on_replicas.py", VIRTUAL_DEVICES="2")
    ((one, two),) = processes.results([script])
    assert (one["replicas"], two["replicas"]) == (1, 2)
    for name in ("loss", "weights", "ranges"):
        for mine, other in zip(one[name], two[name], strict=True):
            np.testing.assert_allclose(other, mine, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_its_file_has_whole_numbers_and_its_answers(trained, tmp_path, subtests, monkeypatch):
    converted, reduced = [], litert_size.reduced
    with monkeypatch.context() as patch:
        patch.setattr(litert_size, "reduced", lambda file: converted.append(file) or reduced(file))
        trained.export(tmp_path / "student.tflite", format="litert")
    loaded = load_student(tmp_path / "student.tflite")
    raw = np.asarray(trained(X))
    step = trained.quantized.steps(raw)
    for rows in (1, 7, 64):
        with subtests.test(rows=rows):
            found = loaded.parameters(X[:rows])["probabilities"]
            # Logits that are a step apart: d p = p (1 - p) step at most.
            np.testing.assert_allclose(found, softmax(raw[:rows]), atol=0.5 * step)
    with subtests.test("what computes"):
        interpreter = Interpreter(str(tmp_path / "student.tflite"))
        types = {d["index"]: d["dtype"] for d in interpreter.get_tensor_details()}
        for operation in interpreter._get_ops_details():
            if operation["op_name"] in ("CONV_2D", "MAX_POOL_2D", "FULLY_CONNECTED"):
                assert types[operation["outputs"][0]] == np.int8
    with subtests.test("what no runtime reads"):
        names = [d["name"] for d in interpreter.get_tensor_details()]
        ends = *interpreter.get_input_details(), *interpreter.get_output_details()
        assert [name for name in names if name] == [end["name"] for end in ends]
        (whole,) = converted
        assert len(reduced(whole)) < len(whole) - 500
        for runtime in (Interpreter, tf.lite.Interpreter):
            one, other = (
                runtime(model_content=each).get_signature_runner()(image=X)["probabilities"]
                for each in (reduced(whole), whole)
            )
            np.testing.assert_array_equal(one, other)
    with subtests.test("constants at the end of a file, as in one of 2 GB"):
        kernel = tf.constant(numbers(2, 3))
        content = litert.convert(
            lambda x: {"raw": x @ kernel},
            tf.TensorSpec((None, 2), tf.float32, "x"),
            _experimental_use_buffer_offset=True,
        )
        assert reduced(content) == content
        found = Interpreter(model_content=content).get_signature_runner()(x=np.eye(2, dtype="f"))
        np.testing.assert_array_equal(found["raw"], kernel)
    with subtests.test("the student in float32"):
        trained.export(tmp_path / "student")
        found = load_student(tmp_path / "student").parameters(X)["probabilities"]
        np.testing.assert_allclose(found, softmax(trained.student(X).numpy()), atol=1e-5)


def branched():
    """One of every kind of step that is rounded."""
    x = inputs = keras.Input((8, 8, 2), name="image")
    x = left = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.ReLU(6)(layers.BatchNormalization()(x))
    x = layers.ReLU()(layers.Add()([layers.Conv2D(8, 1)(x), left]))
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    x = layers.AveragePooling2D(2)(x)
    y = layers.Conv2D(4, 3, strides=2, padding="same", activation="gelu")(x)
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(each) for each in (x, y)])
    x = layers.Reshape((4, 3))(layers.Dense(12)(layers.Dropout(0.3)(x)))
    x = layers.Conv1D(5, 2, dilation_rate=2, activation="relu")(x)
    inner = keras.Input((2, 5))
    inner = keras.Model(inner, layers.Dense(4)(layers.Flatten()(inner)))
    return keras.Model(inputs, inner(x))


@pytest.mark.slow
def test_every_kind_of_step_is_served_as_it_was_trained():
    keras.utils.set_random_seed(0)
    model, x = branched(), numbers(64, 8, 8, 2)
    for variable in model.non_trainable_variables:
        variable.assign(np.random.default_rng(0).uniform(0.5, 1.5, variable.shape))
    network = FakeQuantized(model)
    network.measure(x)
    raw = network(x).numpy()
    step = network.steps(raw)
    assert np.abs(raw - model(x)).max() < 20 * step
    content = litert.convert(
        lambda inputs: {"raw": network.frozen(inputs)},
        tf.TensorSpec((None, 8, 8, 2), tf.float32, "image"),
        optimizations=[tf.lite.Optimize.DEFAULT],
    )
    found = Interpreter(model_content=content).get_signature_runner()(image=x)["raw"]
    np.testing.assert_allclose(found, raw, atol=1.01 * step)


@pytest.mark.slow
def test_ranges_may_be_measured_after_training(tmp_path):
    distiller = Distiller(network(1), network(2))
    path = tmp_path / "student.tflite"
    distiller.export(path, format="litert", quantization="int8", examples=X)
    exact = softmax(distiller.student(X).numpy())
    found = load_student(path).parameters(X)["probabilities"]
    assert 1e-5 < np.abs(found - exact).max() < 0.03
    sizes = {}
    for bits in (None, "float16", "int8"):
        wide = network(1, 512)  # 29,187 weights, and some kilobytes around them.
        export_student(
            wide, outputs.Categorical(), path, format="litert", quantization=bits, examples=X
        )
        sizes[bits] = path.stat().st_size
        if bits == "float16":
            found = load_student(path).parameters(X)["probabilities"]
            np.testing.assert_allclose(found, softmax(wide(X).numpy()), atol=2e-3)
    assert sizes["float16"] < 0.6 * sizes[None] and sizes["int8"] < 0.45 * sizes[None]


@pytest.mark.slow
def test_examples_that_leave_little_of_the_answers_are_told(tmp_path, recwarn):
    student = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    rows = numbers(64, 4)
    how = {"format": "litert", "quantization": "int8"}
    export_student(student, "categorical", tmp_path / "good.tflite", **how, examples=rows)
    assert not [each for each in recwarn if "8 bits" in str(each.message)]
    outlier = rows.copy()
    outlier[5] = 1e6
    path = tmp_path / "wide.tflite"
    with pytest.warns(UserWarning, match="8 bits change the answers") as found:
        export_student(student, "categorical", path, **how, examples=outlier)
    answered = np.asarray(load_student(path).parameters(outlier)["probabilities"])
    exact = softmax(student(outlier).numpy())
    others = (answered.argmax(-1) != exact.argmax(-1)).mean()
    said = next(str(each.message) for each in found if "change the answers" in str(each.message))
    assert f"'probabilities' by up to {np.abs(answered - exact).max():.2g}" in said
    assert others > 0.1 and f"class in {others:.0%} of the answers" in said
    with pytest.warns(UserWarning, match=r"were measured on 1 rows.*some hundreds"):
        export_student(student, "categorical", path, **how, examples=rows[:1])


def test_what_can_not_be_is_said(tmp_path):
    def distiller(**arguments):
        return Distiller(network(), network(), **arguments)

    with pytest.raises(ValueError, match="Unknown quantization 'int4'"):
        distiller(quantization="int4")
    with pytest.raises(ValueError, match="training has not seen the ranges"):
        distiller(quantization="int8").export(tmp_path / "s.tflite", format="litert")
    with pytest.raises(ValueError, match="measures the ranges of activations on rows"):
        distiller().export(tmp_path / "s.tflite", format="litert", quantization="int8")
    with pytest.raises(ValueError, match='quantization needs format="litert"'):
        distiller().export(tmp_path / "s", quantization="float16")
    spoiled = X.copy()
    for value, bits in ((np.inf, "int8"), (np.nan, "int8"), (np.nan, None)):
        spoiled[40, 0, 0] = value
        how = {"quantization": bits, "examples": spoiled}
        with pytest.raises(ValueError, match="examples hold NaN or Inf"):
            distiller().export(tmp_path / "s.tflite", format="litert", **how)
    overflowed = distiller(quantization="int8")
    overflowed.ranges[-1].bounds.assign([-3e38, 3e38])  # Their distance is infinite in float32.
    with pytest.raises(ValueError, match=r"from -3e\+38 to 3e\+38, which 8 bits can't hold"):
        overflowed.export(tmp_path / "s.tflite", format="litert")
    assert not [*tmp_path.iterdir()]
    floating = keras.Sequential(
        [keras.Input((8,)), layers.Dense(4), layers.LayerNormalization(name="scales")]
    )
    with pytest.warns(UserWarning, match=r"in floating point: \['scales'\]"):
        Distiller(floating, keras.models.clone_model(floating), quantization="int8")


def test_masks_are_those_of_the_network():
    inner = keras.Sequential([keras.Input((4, 3)), layers.Dense(3, "relu")])
    ids = keras.Input((4,), dtype="int32")
    masked = inner(layers.Embedding(5, 3, mask_zero=True)(ids))
    student = keras.Model(ids, layers.Dense(2)(layers.Dense(4, "relu")(masked)))
    x = np.array([[1, 2, 0, 0], [3, 0, 0, 0]])
    with pytest.warns(UserWarning):  # An embedding stays in floating point.
        rounded = FakeQuantized(student)
    np.testing.assert_array_equal(rounded(x, training=True)._keras_mask, x != 0)


def test_what_was_measured_in_float32_is_not_said_of_8_bits(trained, tmp_path):
    sets = ecl_tf.conformal(trained, X, np.arange(64) % 3)
    with pytest.raises(ValueError, match="for the student in float32"):
        trained.export(tmp_path / "a.tflite", format="litert", conformal=sets)
    model = QuantizedModel(network(1))
    sets = ecl_tf.conformal(model, X, np.arange(64) % 3)
    with pytest.raises(ValueError, match=r"its network in float32.*conformal\(student\.network"):
        export_student(model, "categorical", tmp_path / "student", conformal=sets)
    best = ecl_tf.callbacks.StudentCheckpoint(tmp_path / "best.keras")
    with pytest.raises(ValueError, match="without its ranges of 8 bits"):
        made().fit(X, callbacks=[best], verbose=0)
    line = _validation_scores.describe(trained, (X, np.arange(64) % 3), None, None)
    right = (np.argmax(trained(X), -1) == np.arange(64) % 3).mean()
    assert f"accuracy {right:.4g}" in line.rpartition("the student")[2]


def test_saturated_probabilities_that_differ_are_no_rounding():
    one, other = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert parity._difference(one, other) == 1.0
    assert parity._difference(one * 3.0, one * 4.0, is_rounded=True) == 0.0
