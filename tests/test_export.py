"""The exported student answers alone, by name, as it did in memory."""

import shutil
import warnings

import keras
import numpy as np
import processes
import pytest
import scipy.sparse
import tensorflow as tf
from by_hand import SIZE, Subclassed, numbers, softmax
from scipy.special import expit
from tensorflow_probability import distributions as tfd

from ecl_tf import Distiller, Ensemble, data, export_student, load_student, outputs, samplers
from ecl_tf._internal import symbolic
from ecl_tf.export import served
from ecl_tf.export.loading import is_exported

X = numbers(64, SIZE)


def network(units=3, width=5, name="student"):
    inputs = keras.Input((SIZE,), name="features")
    hidden = keras.layers.Dense(width, "tanh")(inputs)
    hidden = keras.layers.Dropout(0.5)(hidden)
    return keras.Model(inputs, keras.layers.Dense(units)(hidden), name=name)


def two_heads(width=5):
    inputs = {"left": keras.Input((2,), name="left"), "right": keras.Input((2,), name="right")}
    hidden = keras.layers.Dense(width, "tanh")(keras.layers.Concatenate()(list(inputs.values())))
    heads = {"kind": keras.layers.Dense(3)(hidden), "place": keras.layers.Dense(4)(hidden)}
    return keras.Model(inputs, heads)


def exported(student, output, path, teacher=None):
    Distiller(student, teacher or keras.models.clone_model(student), output=output).export(path)
    return load_student(path)


JOINT = outputs.Joint({"kind": "categorical", "place": outputs.Normal(2)})


@pytest.fixture(scope="module")
def categorical(tmp_path_factory):
    """A student, where it was exported, and its reloaded self."""
    student, path = network(), tmp_path_factory.mktemp("categorical") / "student"
    return student, path, exported(student, "categorical", path, network(3, 50, "teacher"))


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    student, path = two_heads(), tmp_path_factory.mktemp("joint") / "student"
    return student, path, exported(student, JOINT, path)


# Values.


def test_a_reloaded_student_is_a_distribution_for_any_batch_size_and_float_type(categorical):
    student, _, loaded = categorical
    expected = softmax(student(X))
    for x in (X, X[:1], X[:7], X.astype("float64"), {"features": X}):
        answer = loaded.parameters(x)
        assert set(answer) == {"probabilities"}
        rows = len(answer["probabilities"])
        np.testing.assert_allclose(answer["probabilities"], expected[:rows], atol=1e-5)
    assert rows == 64
    distribution = loaded(X)
    assert isinstance(distribution, tfd.Categorical)
    assert isinstance(loaded.output, outputs.Categorical)
    np.testing.assert_allclose(distribution.probs_parameter(), expected, atol=1e-5)
    np.testing.assert_allclose(
        distribution.log_prob(np.ones(64, "int32")), np.log(expected[:, 1]), atol=1e-4
    )
    assert loaded.input_names == ["features"]


def test_a_normal_student_answers_with_mean_and_stddev(tmp_path):
    student = network(4)
    loaded = exported(student, outputs.Normal(2, min_scale=0.5), tmp_path / "student")
    answer, distribution, raw = loaded.parameters(X), loaded(X), student(X)
    assert set(answer) == {"mean", "stddev"}
    for mean in (answer["mean"], distribution.mean()):
        np.testing.assert_allclose(mean, raw[:, :2], atol=1e-5)
    for stddev in (answer["stddev"], distribution.stddev()):
        np.testing.assert_allclose(stddev, 0.5 + np.logaddexp(0, raw[:, 2:]), atol=1e-5)
    assert tuple(distribution.batch_shape) == (64,)


def test_a_bernoulli_student_of_half_precision_answers_with_probabilities_in_float32(tmp_path):
    inputs = keras.Input((SIZE,), name="features")
    student = keras.Model(inputs, keras.layers.Dense(3, dtype="mixed_float16")(inputs))
    loaded = exported(student, "bernoulli", tmp_path / "student")
    expected = expit(tf.cast(student(X), tf.float32))
    answer = loaded.parameters(X)["probabilities"]
    assert answer.dtype == tf.float32
    np.testing.assert_allclose(answer, expected, atol=1e-5)
    np.testing.assert_allclose(loaded(X).mean(), expected, atol=1e-5)


def test_joint_outputs_answer_with_their_names_in_front(joint):
    student, _, loaded = joint
    assert loaded.input_names == ["left", "right"]
    x = {"left": X[:, :2], "right": X[:, 2:]}
    raw = student(x)
    answer = loaded.parameters(x)
    assert set(answer) == {"kind_probabilities", "place_mean", "place_stddev"}
    kind = softmax(raw["kind"])
    np.testing.assert_allclose(answer["kind_probabilities"], kind, atol=1e-5)
    np.testing.assert_allclose(answer["place_mean"], raw["place"][:, :2], atol=1e-5)
    distributions = loaded(x)
    assert set(distributions) == {"kind", "place"}
    np.testing.assert_allclose(distributions["kind"].probs_parameter(), kind, atol=1e-5)
    np.testing.assert_allclose(
        distributions["place"].stddev(), 1e-3 + np.logaddexp(0, raw["place"][:, 2:]), atol=1e-5
    )


# Names.


def test_a_list_of_inputs_is_fed_by_name(tmp_path):
    left, right = keras.Input((2,), name="left"), keras.Input((2,), name="right")
    joined = keras.layers.Concatenate()([left, right])
    student = keras.Model([left, right], keras.layers.Dense(3)(joined))
    examples = X[:, :2], X[:, 2:]  # In a tuple, where the student has a list.
    export_student(student, "categorical", tmp_path / "student", examples=examples)
    loaded = load_student(tmp_path / "student")
    assert loaded.input_names == ["left", "right"]
    answer = loaded.parameters({"right": X[:, 2:], "left": X[:, :2]})["probabilities"]
    expected = softmax(student.predict([X[:, :2], X[:, 2:]], verbose=0))
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def dense_of(inputs):
    joined = keras.layers.Concatenate()(keras.tree.flatten(inputs) * 2)
    return keras.Model(inputs, keras.layers.Dense(3)(joined))


@pytest.mark.slow
def test_names_do_not_depend_on_what_keras_counted(tmp_path, subtests):
    def two(*names):
        return [keras.Input((2,), name=name) for name in names]

    for inputs, expected in [
        (two(None), ["inputs"]),  # In a list.
        (two(None, "right"), ["inputs_0", "right"]),
        ({"a": two(None)[0], "b": two("mine", None)}, ["a", "b_0", "b_1"]),
        (two("age (years)", "café"), ["age__years_", "caf_"]),
    ]:
        with subtests.test(expected=expected):
            student = dense_of(inputs)
            specs = served.signature(symbolic.inputs_of(student), student)
            assert [spec.name for spec in keras.tree.flatten(specs)] == expected
    with pytest.raises(ValueError, match=r"names \['inputs_1', 'inputs_1'\]"):
        exported(dense_of(two("inputs_1", None)), "categorical", tmp_path / "none")

    student = keras.Sequential([keras.Input((SIZE,)), keras.layers.Dense(3)])
    student.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras")
    assert student.inputs[0].name != loaded.inputs[0].name  # Keras's own names do.
    for each in (student, loaded):
        found = exported(each, "categorical", tmp_path / "student")
        assert found.input_names == ["inputs"]
        np.testing.assert_allclose(found(X).probs_parameter(), softmax(student(X)), atol=1e-5)


def test_wrong_input_names_are_refused(joint):
    loaded = joint[2]
    with pytest.raises(ValueError, match=r"\['left', 'right'\]; got \['left', 'up'\]"):
        loaded.parameters({"left": X[:, :2], "up": X[:, 2:]})
    with pytest.raises(ValueError, match=r"\['left', 'right'\]; give a dict"):
        loaded(X)
    with pytest.raises(ValueError, match="'left': 3, 'right': 2"):
        loaded({"left": X[:3, :2], "right": X[:2, 2:]})


def test_wrong_shapes_and_texts_are_refused(categorical):
    loaded = categorical[2]
    masked = np.ma.masked_less(X, 0.0)  # TensorFlow would take what is behind the mask.
    for x, found in [
        (X[:, :3], r"\(64, 3\)"),
        (X[0], rf"\({SIZE},\)"),
        ([["a"] * SIZE], "string"),
        (scipy.sparse.csr_array(X), r"sparse one\. Make it dense"),
        (masked, r"masked one.*fill what is masked"),
    ]:
        with pytest.raises(
            ValueError, match=rf"takes float32 of shape \(None, {SIZE}\); .*{found}"
        ):
            loaded(x)


def test_inputs_that_are_no_numbers_are_told_of_once(categorical):
    loaded = load_student(categorical[1])
    spoiled = X.copy()
    spoiled[3, 1] = np.nan
    with pytest.warns(UserWarning, match="input 'features' holds NaN or Inf") as found:
        loaded(X)
        loaded(spoiled)
        loaded(spoiled)
    assert len([each for each in found if "NaN or Inf" in str(each.message)]) == 1


# The directory.


def test_plain_tensorflow_loads_the_serving_signature_and_finds_no_teacher(categorical):
    student, path, _ = categorical
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    (spec,) = signature.structured_input_signature[1].values()
    assert (spec.name, spec.shape.as_list(), spec.dtype) == ("features", [None, SIZE], tf.float32)
    answer = signature(features=tf.constant(X))
    assert set(answer) == {"probabilities"}
    np.testing.assert_allclose(answer["probabilities"], softmax(student(X)), atol=1e-5)
    stored = tf.train.list_variables(str(path / "variables" / "variables"))
    shapes = {tuple(shape) for _, shape in stored if len(shape) == 2}
    assert shapes == {(4, 5), (5, 3)}  # The teacher's are (4, 50) and (50, 3).


def test_a_directory_that_holds_no_student_is_refused(tmp_path):
    (tmp_path / "student.keras").touch()
    with pytest.raises(FileNotFoundError, match=r"keras\.models\.load_model reads it"):
        load_student(tmp_path / "student.keras")
    with pytest.raises(FileNotFoundError, match=r"no exported student.*distiller\.export"):
        load_student(tmp_path)
    tf.saved_model.save(tf.Module(), str(tmp_path / "module"))
    with pytest.raises(FileNotFoundError, match=r"tf\.saved_model\.load"):
        load_student(tmp_path / "module")


def test_a_student_is_exported_as_it_is_then_and_to_a_home_as_shells_have_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    student = network()
    distiller = Distiller(student, network())
    distiller.export(tmp_path / "student")
    student.set_weights([2.0 * weight for weight in student.get_weights()])
    (tmp_path / "student" / ".DS_Store").touch()  # As macOS leaves it.
    distiller.export("~/student")  # Replaces the first.
    answer = load_student(tmp_path / "student").parameters(X)["probabilities"]
    np.testing.assert_allclose(answer, softmax(student(X)), atol=1e-5)


@pytest.mark.slow
def test_what_no_export_wrote_stays_as_it_is(tmp_path, subtests):
    def note(name):
        def write(path):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text("mine")

        return write

    def exported_and(name):
        return lambda path: (Distiller(network(), network()).export(path), note(name)(path))

    for number, (prepare, message) in enumerate(
        [
            (lambda path: path.write_text("mine"), "it is a file"),
            (exported_and("notes.txt"), r"it holds 'notes\.txt'"),
            (exported_and("variables/mine.npz"), r"it holds 'variables/mine\.npz'"),
        ]
    ):
        with subtests.test(message=message):
            path = tmp_path / str(number)
            prepare(path)
            before = {each: each.stat().st_mtime_ns for each in tmp_path.rglob("*")}
            with pytest.raises(ValueError, match=f"can't be exported.*{message}.*new directory"):
                Distiller(network(), network()).export(path)
            assert {each: each.stat().st_mtime_ns for each in tmp_path.rglob("*")} == before
    with pytest.raises(ValueError, match="0 is a file"):
        Distiller(network(), network()).export(tmp_path / "0" / "student")
    note("saved_model.pb")(path := tmp_path / "of_another_model")
    student = network()
    for _ in range(2):  # The second replaces the first.
        with pytest.warns(UserWarning, match=r"holds 'saved_model\.pb'.*student instead"):
            Distiller(student, network()).export(path)
    assert (path / "saved_model.pb").read_text() == "mine"
    answer = load_student(path / "student")(X).probs_parameter()
    np.testing.assert_allclose(answer, softmax(student(X)), atol=1e-5)


def test_an_export_that_fails_leaves_the_one_before(tmp_path, monkeypatch):
    student, path = network(), tmp_path / "students" / "first"
    exported(student, "categorical", path)

    save = tf.saved_model.save

    def full(module, directory, *arguments, **kwargs):
        save(tf.Module(), directory)
        raise OSError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(tf.saved_model, "save", full)
        with pytest.raises(OSError, match="disk is full"):
            exported(network(), "categorical", path)
    weights = student.get_weights()
    student.set_weights([np.full_like(weights[0], np.nan), *weights[1:]])
    with pytest.raises(ValueError, match=r"NaN or Inf in its weight '.*kernel'"):
        export_student(student, outputs.Categorical(), path)
    student.set_weights(weights)
    np.testing.assert_allclose(load_student(path)(X).probs_parameter(), softmax(student(X)), 1e-4)
    assert [each.name for each in path.parent.iterdir()] == ["first"]

    saved_model = path / "saved_model.pb"
    saved_model.write_bytes(saved_model.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"first is damaged or not complete.*distiller\.export"):
        load_student(path)
    exported(student, "categorical", path)
    described = path / "assets.extra" / "ecl_tf_student.json"
    own = described.read_text()
    for text, message in (
        ("[]", "first is damaged or not complete"),
        ("{}", "first is damaged or not complete"),
        (own.replace("Categorical", "Later"), "output of the class 'Later'.*update ecl_tf"),
    ):
        described.write_text(text)
        with pytest.raises(ValueError, match=message):
            load_student(path)
    described.write_text(own)
    shutil.rmtree(path / "variables")
    with pytest.raises(ValueError, match=r"first is damaged or not complete.*distiller\.export"):
        load_student(path)
    text = tmp_path / "student.tflite"
    text.write_text("an exported student")
    with pytest.raises(ValueError, match=r"student\.tflite is damaged, or no LiteRT file"):
        load_student(text)
    assert is_exported(text)  # So no command takes it for a file of Keras.


@pytest.mark.parametrize("arguments", [{"format": "openvino"}, {"verbose": True}])
def test_other_formats_and_arguments_are_refused(arguments, tmp_path):
    with pytest.raises(ValueError, match=r"one of \['litert', 'onnx', 'saved_model'\]|'verbose'"):
        Distiller(network(), network()).export(tmp_path / "student", **arguments)
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        {"class_names": ["a", "b"]},
        {"class_names": "abc"},
        {"class_names": ["a", "a", "b"]},
        {"class_names": ["a", "b", object()]},
    ],
)
def test_class_names_are_one_for_each_class(arguments, tmp_path):
    with pytest.raises(ValueError, match=r"a name of its own for each class.*3 here"):
        export_student(network(), "categorical", tmp_path / "student", **arguments)
    with pytest.raises(ValueError, match=r"a name of its own for each class.*3 here"):
        own, specs = Subclassed(), tf.TensorSpec((None, 4))
        export_student(own, "categorical", tmp_path / "student", specs, **arguments)
    with pytest.raises(ValueError, match=r"conformal takes what ecl_tf\.conformal"):
        export_student(network(), "categorical", tmp_path / "student", conformal=0.9)


def test_class_names_of_bytes_and_of_numpy_are_written_as_text_and_numbers(tmp_path):
    for given in (np.array([b"a", b"b", b"c"]), [1, np.int64(2), np.float32(2.5)]):
        export_student(network(), "categorical", tmp_path / "s", class_names=given)
        expected = ("a", "b", "c") if given[0] == b"a" else (1, 2, 2.5)
        assert load_student(tmp_path / "s").class_names == expected


def test_a_student_that_answers_with_nan_is_told_of(tmp_path):
    student = keras.Sequential([keras.Input((SIZE,)), keras.layers.BatchNormalization()])
    student.layers[0].moving_variance.assign([-1.0, 1.0, 1.0, 1.0])  # As a mean of weights has it.
    with pytest.raises(ValueError, match=r"NaN to 64 of 64 examples\. Look at its weights"):
        export_student(student, "categorical", tmp_path / "there", examples=X)
    assert not [*tmp_path.iterdir()]
    with pytest.warns(UserWarning, match=r"NaN to 8 of 8 made-up inputs"):
        export_student(student, "categorical", tmp_path / "there")


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (numbers(20, SIZE + 1), rf"shape \(None, {SIZE + 1}\), and the student .*\(None, {SIZE}\)"),
        ({"other": X}, r"are \['other'\], but the student 'student' takes \['features'\]"),
        (np.full((20, SIZE), "1.5"), "inputs are text .*takes numbers"),
        (X[:0], "no rows"),
        (X.tolist(), r"np.asarray\(examples\)"),
    ],
)
@pytest.mark.parametrize("quantization", [None, "int8"])
def test_examples_are_rows_of_the_students_inputs(examples, message, quantization, tmp_path):
    how = {"format": "litert", "quantization": quantization, "examples": examples}
    with pytest.raises(ValueError, match=f"examples must be a batch .*{message}"):
        export_student(network(), "categorical", tmp_path / "student.tflite", **how)
    assert not [*tmp_path.iterdir()]


def test_units_and_suffixes_that_contradict_the_student_are_refused(tmp_path, subtests):
    two = outputs.Normal(2)
    joint = outputs.Joint({"kind": "categorical", "place": two})
    for output, units, message in [
        (two, ["EUR", "m", "s"], "takes a list of 2 texts; got"),
        (two, {"mean": "EUR"}, "takes a list of 2 texts; got"),
        (outputs.Normal(1), 3, "takes a text; got 3"),
        ("categorical", "EUR", "those of numbers, and"),
        (joint, "EUR", r"a dict by their names, \['kind', 'place'\]"),
        (joint, {"kind": "EUR"}, "of output 'kind' are those of numbers"),
    ]:
        with subtests.test(units=units), pytest.raises(ValueError, match=message):
            export_student(network(), output, tmp_path / "s", target_units=units)
    for name, remedy in [
        ("s.tflite", 'format="litert"'),
        ("s.onnx", 'format="onnx"'),
        ("s.keras", r"student\.save"),
    ]:
        with subtests.test(name=name), pytest.raises(ValueError, match=f"a directory.*{remedy}"):
            export_student(network(), "categorical", tmp_path / name)
    assert not [*tmp_path.iterdir()]
    distiller = Distiller(network(4), network(4), output=two)
    distiller.export(tmp_path / "s", target_units=["EUR", "m"])
    assert load_student(tmp_path / "s").target_units == ["EUR", "m"]


# Students without symbolic inputs.


class Batches(keras.utils.PyDataset):
    """Data whose specifications are not known before the first step."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return (X[:8],)


def test_a_subclassed_student_is_exported_after_fit(tmp_path):
    distiller = Distiller(Subclassed(), network(), sampler=samplers.Empirical())
    distiller.compile("sgd", run_eagerly=True)
    distiller.fit(Batches(), verbose=0)
    distiller.export(tmp_path / "student")
    loaded = load_student(tmp_path / "student")
    assert loaded.input_names == ["inputs"]
    expected = softmax(distiller.student(X))
    for rows in (1, 64):
        answer = loaded.parameters(X[:rows])["probabilities"]
        np.testing.assert_allclose(answer, expected[:rows], atol=1e-5)


def test_a_distiller_stands_for_its_student_and_an_ensemble_has_its_members_inputs(tmp_path):
    student, members = network(), [network(), network()]
    export_student(Distiller(student, network()), "categorical", tmp_path / "student")
    export_student(Ensemble(members, "categorical"), "categorical", tmp_path / "both")
    p = softmax(student(X)), np.mean([softmax(each(X)) for each in members], 0)
    for name, expected in zip(("student", "both"), p, strict=True):
        found = load_student(tmp_path / name).parameters(X)["probabilities"]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_before_fit_the_specs_of_a_subclassed_students_inputs_have_to_be_given(tmp_path):
    student = Subclassed()
    with pytest.raises(ValueError, match=r"inputs of student .* not known.*Fit"):
        Distiller(student, network()).export(tmp_path / "student")
    assert not (tmp_path / "student").exists()
    specs = tf.TensorSpec((None, SIZE), tf.float32, "vector")
    student(X[:1])
    export_student(student, outputs.Categorical(), tmp_path / "student", specs)
    loaded = load_student(tmp_path / "student")
    assert loaded.input_names == ["vector"]
    answer = loaded.parameters(X)["probabilities"]
    np.testing.assert_allclose(answer, softmax(student(X)), atol=1e-5)


# Another program.


@pytest.mark.slow
def test_saved_model_cli_runs_it(joint, tmp_path):
    student, path, _ = joint
    np.savez(tmp_path / "inputs.npz", left=X[:3, :2], right=X[:3, 2:])
    inputs = ";".join(f"{name}={tmp_path}/inputs.npz[{name}]" for name in ("left", "right"))
    its = ["--dir", str(path), "--tag_set", "serve", "--signature_def", "serving_default"]
    program = "tensorflow.python.tools.saved_model_cli", "run", *its, "--inputs", inputs
    code, _, errors = processes.start(*program, "--outdir", str(tmp_path)).wait()
    assert code == 0, errors[-3000:]
    raw = student.predict({"left": X[:3, :2], "right": X[:3, 2:]}, verbose=0)
    answer = np.load(tmp_path / "kind_probabilities.npy")
    np.testing.assert_allclose(answer, softmax(raw["kind"]), atol=1e-5)
    np.testing.assert_allclose(np.load(tmp_path / "place_mean.npy"), raw["place"][:, :2], atol=1e-5)


def test_an_exported_student_knows_the_scale_on_which_it_learned(tmp_path):
    images = np.linspace(0.0, 1.0, 64, dtype="float32").reshape(8, 2, 2, 2)[..., :1]

    def made(*first):
        layers = [*first, keras.layers.Flatten(), keras.layers.Dense(3)]
        return keras.Sequential([keras.Input((2, 2, 1)), *layers])

    bytes_to_units = keras.layers.Rescaling(1 / 255)
    plain, expects_bytes = made(), made(bytes_to_units)
    loaded = exported(plain, "categorical", tmp_path / "plain", made())
    with pytest.raises(ValueError, match=r"learned on images that are scaled.*between 0 and 2"):
        loaded(255 * images)
    np.testing.assert_allclose(loaded(images).probs_parameter(), softmax(plain(images)), rtol=1e-4)
    tf.function(loaded.parameters)(255 * images)  # A graph tells nothing.
    # What the student's layers don't tell, the teacher's do.
    for student, teacher in ((expects_bytes, made()), (plain, expects_bytes)):
        loaded = exported(student, "categorical", tmp_path / "bytes", teacher)
        loaded(255 * images)
        with pytest.warns(UserWarning, match=r"learned on values from 0 to 255.*between 0 and 0.9"):
            loaded(images)
        loaded(images)  # It is told once.
    loaded = load_student(tmp_path / "bytes")
    with pytest.raises(ValueError, match=r"learned on values from 0 to 255.*between 0 and 6"):
        loaded(255 * 255 * images)
    export_student(plain, outputs.Categorical(), tmp_path / "alone")
    load_student(tmp_path / "alone")(255 * images)  # Nobody knows what it was trained on.


@pytest.mark.parametrize("of_columns", [True, False])
def test_amounts_in_another_unit_than_a_normalization_learned_are_told_of(of_columns, tmp_path):
    rng = np.random.default_rng(0)
    kg, metres = rng.normal(70.0, 10.0, 64), rng.normal(1.7, 0.1, 64)
    rows = np.stack([kg, metres], 1).astype("float32")
    scaled = keras.layers.Normalization(mean=[70.0, 1.7], variance=[100.0, 0.01])
    layers = [keras.Input((2,)), scaled, keras.layers.Dense(3)]
    student, columns = keras.Sequential(layers), None
    if of_columns:
        columns = data.Columns([data.Number("kg", 70.0), data.Number("metres", 1.7)])
    export_student(student, "categorical", tmp_path / "student", columns=columns)
    loaded = load_student(tmp_path / "student")

    def asked(factor, count=64):
        found = rows[:count] * [1.0, factor]
        return loaded(dict(zip(("kg", "metres"), found.T, strict=True)) if of_columns else found)

    probabilities = softmax((rows - [70.0, 1.7]) / [10.0, 0.1] @ student.get_weights()[-2])
    np.testing.assert_allclose(asked(1.0).probs_parameter(), probabilities, rtol=1e-3)
    name = "'metres'" if of_columns else r"'inputs\[\.\.\., 1\]'"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asked(100.0, count=2)  # Two rows may be anywhere.
        with pytest.raises(
            UserWarning, match=f"around 1.7 with a standard deviation of 0.1 as .*{name}"
        ):
            asked(100.0)  # In centimetres.


def test_one_of_many_features_in_another_unit_is_told_of_whatever_its_statistics_shape(tmp_path):
    images = np.random.default_rng(0).normal(5.0, 2.0, (64, 3, 2, 1)).astype("float32")
    normalization = keras.layers.Normalization(axis=(1, 2, 3))
    normalization.adapt(images)
    layers = [keras.Input((3, 2, 1)), normalization, keras.layers.Flatten(), keras.layers.Dense(2)]
    loaded = exported(keras.Sequential(layers), "categorical", tmp_path / "student")
    loaded(images)
    with pytest.warns(UserWarning, match="e-0.*If they are rows that are alike"):
        loaded(np.zeros_like(images) + 1e-6 * images)
    loaded = load_student(tmp_path / "student")
    images[:, 1, 1] *= 1000.0  # One of six.
    with pytest.warns(UserWarning, match=r"values around \d\."):
        loaded(images)


def test_a_narrow_feature_far_from_zero_is_kept_to_its_digits(tmp_path):
    rows = np.random.default_rng(0).normal(300_123.5, 1.0, (64, 1)).astype("float32")
    scaled = keras.layers.Normalization(mean=[300_123.5], variance=[1.0])
    student = keras.Sequential([keras.Input((1,)), scaled, keras.layers.Dense(2)])
    loaded = exported(student, "categorical", tmp_path / "student")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded(rows)


def test_images_of_whole_numbers_are_refused_where_scaled_ones_may_be_expected(tmp_path):
    student = keras.Sequential(
        [keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    loaded = exported(student, "categorical", tmp_path / "student")
    images = np.arange(8, dtype="uint8").reshape(2, 2, 2, 1) * 36
    for wrong in (images, images.tolist(), tf.constant(images, tf.int32)):
        with pytest.raises(ValueError, match=r"takes float32 images.*got u?int.*/ 255"):
            loaded(wrong)
    scaled = images.astype("float32") / 255
    np.testing.assert_allclose(
        loaded(scaled).probs_parameter(), softmax(student(scaled)), rtol=1e-4
    )
