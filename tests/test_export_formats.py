"""A student answers alike in memory, as a SavedModel, as a LiteRT file and as an ONNX file."""

import json
import pathlib
import subprocess
import sys
import zipfile

import keras
import numpy as np
import onnx
import pandas as pd
import pytest
import rest_server
import tensorflow as tf
from by_hand import SIZE, numbers, softmax
from scipy.special import expit

from ecl_tf import Distiller, conformal, costs, export_student, load_student, outputs
from ecl_tf.data import columns as kinds
from ecl_tf.export import litert, parity

FILES = {"saved_model": "student", "litert": "student.tflite", "onnx": "student.onnx"}
CLIENTS = pathlib.Path(__file__).parent.parent / "examples" / "serving"
X = numbers(64, SIZE)
BATCHES = 1, 7, 64


def exported(student, output, directory, format, **about):
    path = directory / FILES[format]
    export_student(student, outputs.get(output), path, format=format, **about)
    return load_student(path)


def network(units=3, width=5):
    inputs = keras.Input((SIZE,), name="features")
    hidden = keras.layers.Normalization(mean=[1.0, 2.0, 0.0, 0.0], variance=[4.0] * 4)(inputs)
    hidden = keras.layers.Dropout(0.5)(keras.layers.Dense(width, "gelu")(hidden))
    return keras.Model(inputs, keras.layers.Dense(units)(hidden), name="student")


def close(answer, expected):
    assert set(answer) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(answer[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


# Values.

EVERY = outputs.Joint(
    {
        "kind": "categorical",
        "tags": "bernoulli",
        "place": outputs.Normal(2, target_mean=3.0, target_stddev=2.0),
        "heavy": outputs.StudentT(1, 5.0),
        "price": outputs.LogNormal(1),
        "modes": outputs.NormalMixture(1, 2),
        "count": outputs.NegativeBinomial(1, target_mean=8.0),
        "rate": outputs.Poisson(1, target_mean=8.0),
    }
)


def parameters_by_hand(raw):
    """Of EVERY's raw outputs, by the formulas of the docstrings."""
    positive = {name: 1e-3 + np.logaddexp(0.0, values) for name, values in raw.items()}
    log_unit = np.log(2.0) ** 0.5
    log_mean, log_stddev = log_unit * raw["price"][:, :1], log_unit * positive["price"][:, 1:]
    log_mean = log_mean - log_unit**2 / 2
    price = np.exp(log_mean + log_stddev**2 / 2)
    weights = softmax(raw["modes"][:, :2])
    means, stddevs = raw["modes"][:, 2:4, None], positive["modes"][:, 4:, None]
    mean = np.sum(weights[..., None] * means, 1)
    square = np.sum(weights[..., None] * (means**2 + stddevs**2), 1)
    count, dispersion = 8.0 * positive["count"][:, :1], positive["count"][:, 1:]
    rate = 8.0 * positive["rate"]
    return {
        "kind_probabilities": softmax(raw["kind"]),
        "tags_probabilities": expit(raw["tags"]),
        "place_mean": 3.0 + 2.0 * raw["place"][:, :2],
        "place_stddev": 2.0 * positive["place"][:, 2:],
        "heavy_mean": raw["heavy"][:, :1],
        "heavy_stddev": positive["heavy"][:, 1:],
        "heavy_degrees_of_freedom": np.full((len(rate), 1), 5.0),
        "price_log_mean": log_mean,
        "price_log_stddev": log_stddev,
        "price_mean": price,
        "price_stddev": price * np.sqrt(np.expm1(log_stddev**2)),
        "modes_weights": weights,
        "modes_means": means,
        "modes_stddevs": stddevs,
        "modes_mean": mean,
        "modes_stddev": np.sqrt(square - mean**2),
        "count_mean": count,
        "count_stddev": np.sqrt(count + dispersion * count**2),
        "count_dispersion": dispersion,
        "rate_mean": rate,
        "rate_stddev": np.sqrt(rate),
    }


@pytest.mark.slow
def test_every_family_answers_alike_at_any_batch_size(tmp_path, subtests):
    inputs = {"left": keras.Input((2,), name="left"), "right": keras.Input((2,), name="right")}
    hidden = keras.layers.Dense(8, "gelu")(keras.layers.Concatenate()(list(inputs.values())))
    events = {**dict.fromkeys(EVERY.outputs, 1), "kind": 3, "tags": 4, "place": 2}
    sizes = EVERY.raw_size(events)
    student = keras.Model(inputs, {n: keras.layers.Dense(s)(hidden) for n, s in sizes.items()})
    x = {"left": X[:, :2], "right": X[:, 2:]}
    expected = parameters_by_hand(student.predict(x, verbose=0))
    for format in FILES:
        loaded = exported(student, EVERY, tmp_path, format)
        assert loaded.input_names == ["left", "right"]
        for rows in BATCHES:
            with subtests.test(format=format, rows=rows):
                answer = loaded.parameters({name: each[:rows] for name, each in x.items()})
                close(answer, {name: values[:rows] for name, values in expected.items()})
        both = loaded(x), EVERY(student(x))
        for name in ("heavy", "price", "modes", "count", "rate"):
            likelihood, its = (each[name].log_prob(np.full((64, 1), 3.0, "f")) for each in both)
            np.testing.assert_allclose(likelihood, its, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_images_get_classes_for_every_pixel_with_all_that_travels(tmp_path, subtests):
    inputs = keras.Input((8, 8, 1), name="image")
    hidden = keras.layers.Rescaling(1 / 255)(inputs)
    hidden = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(hidden)
    hidden = keras.layers.UpSampling2D()(keras.layers.BatchNormalization()(hidden))
    student = keras.Model(inputs, keras.layers.Conv2D(3, 1)(hidden))
    images = np.random.default_rng(0).uniform(0.0, 255.0, (64, 8, 8, 1)).astype("float32")
    expected = softmax(student.predict(images, verbose=0))
    about = {"class_names": ["sky", "road", "tree"], "examples": images[:4]}
    for format in FILES:
        loaded = exported(student, "categorical", tmp_path, format, **about)
        assert loaded.class_names == ("sky", "road", "tree")
        assert loaded.parameter_specs["probabilities"].shape[3] == 3
        for rows in BATCHES:
            with subtests.test(format=format, rows=rows):
                close(loaded.parameters(images[:rows]), {"probabilities": expected[:rows]})
        with subtests.test("no rows", format=format):
            assert loaded(images[:0]).batch_shape[0] == 0
        with subtests.test("the range in training", format=format):
            with pytest.raises(ValueError, match=r"learned on values from 0 to 255"):
                loaded(255.0 * images)
            with pytest.raises(ValueError, match=r"float32 images as input 'image', and got uint8"):
                loaded(images.astype("uint8"))


@pytest.mark.slow
def test_intervals_and_units_travel(tmp_path, subtests):
    student, output = network(2), outputs.Normal(1, target_mean=100.0, target_stddev=20.0)
    truth = 100.0 + 20.0 * numbers(64, 1)
    sets = conformal(student, X, truth, coverage=0.8, output=output)
    raw = student.predict(X, verbose=0)
    mean = 100.0 + 20.0 * raw[:, :1]
    stddev = 20.0 * (1e-3 + np.logaddexp(0.0, raw[:, 1:]))
    expected = {"mean": mean, "stddev": stddev}
    expected["lower"] = mean - sets.thresholds[0] * stddev
    expected["upper"] = mean + sets.thresholds[0] * stddev
    for format in ("litert", "onnx"):  # Of a SavedModel in `test_prediction_sets.py`.
        with subtests.test(format=format):
            about = {"conformal": sets, "target_units": "EUR"}
            loaded = exported(student, output, tmp_path, format, **about)
            close(loaded.parameters(X), expected)
            assert loaded.target_units == "EUR"
            assert loaded.conformal["coverage"] == 0.8 and loaded.conformal["rows"] == 64
            assert loaded.output == output


def test_half_precision_computes_in_single_precision_and_stays_as_it_was(tmp_path, subtests):
    inputs = keras.Input((SIZE,), name="features")
    hidden = keras.layers.Dense(8, "relu", dtype="mixed_bfloat16")(inputs)
    student = keras.Model(inputs, keras.layers.Dense(3, dtype="mixed_float16")(hidden))
    kernel, bias, kernel_2, bias_2 = student.get_weights()
    expected = softmax(np.maximum(X @ kernel + bias, 0.0) @ kernel_2 + bias_2)
    for format in ("litert", "onnx"):
        with subtests.test(format=format):
            loaded = exported(student, "categorical", tmp_path, format)
            close(loaded.parameters(X), {"probabilities": expected})
    assert student.layers[1].compute_dtype == "bfloat16"


@pytest.mark.slow
def test_a_table_is_taken_as_it_is(tmp_path, subtests):
    columns = kinds.Columns(
        [
            kinds.Number("age", 30.0, marked=True),
            kinds.Date("born", 15000.0),
            kinds.Category("home (city)", ("Basel", "Zürich", "")),
            kinds.Category("pet", ("cat",)),
        ]
    )
    inputs = {
        "numbers": keras.Input(columns.shape["numbers"], name="numbers"),
        "categories": keras.Input((2,), dtype="int32", name="categories"),
    }
    ids = keras.layers.Rescaling(1.0, dtype="float32")(inputs["categories"])
    numbers_ = keras.layers.Rescaling(1e-4)(inputs["numbers"])
    joined = keras.layers.Concatenate()([numbers_, ids])
    student = keras.Model(inputs, keras.layers.Dense(2)(joined))
    frame = pd.DataFrame(
        {
            "age": [1.0, None, 3.0],
            "born": pd.to_datetime(["2020-01-05", None, "1960-02-03"]),
            "home (city)": ["Zürich", "Chur", None],
            "pet": ["cat", "dog", "cat"],
        }
    )
    encoded = columns.encode(frame)
    assert encoded["categories"].tolist() == [[2, 1], [0, 0], [3, 1]]
    expected = softmax(student.predict(encoded, verbose=0))
    for format in FILES:
        with subtests.test(format=format), pytest.warns(UserWarning, match="They share one"):
            loaded = exported(student, "categorical", tmp_path, format, columns=columns)
            assert loaded.input_specs["home__city_"].dtype == tf.string
            close(loaded.parameters(frame), {"probabilities": expected})
        with subtests.test("without this package", format=format):
            cells = columns.cells(frame)
            served = {columns.served[name]: values for name, values in cells.items()}
            served = {n: v.astype("U") if v.dtype == object else v for n, v in served.items()}
            if format != "saved_model":
                answer = ran(format, tmp_path, served)
                np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
                # With made-up cells.
                assert costs(tmp_path / FILES[format], seconds=0.0)["seconds"]["1"] > 0.0


# Refusals.


def test_what_does_not_fit_is_refused(tmp_path, subtests):
    for format in ("litert", "onnx"):
        loaded = exported(network(), "categorical", tmp_path, format)
        for x, found in [(X[:, :3], r"\(64, 3\)"), (X[0], r"\(4,\)"), ([["a"] * SIZE], "string")]:
            with (
                subtests.test(format=format, found=found),
                pytest.raises(ValueError, match=rf"float32 of shape \(None, {SIZE}\); .*{found}"),
            ):
                loaded(x)
        with pytest.raises(ValueError, match=r"inputs \['features'\]; got \['x'\]"):
            loaded({"x": X})
        with pytest.raises(ValueError, match=r"runs outside of TensorFlow.*as a SavedModel"):
            tf.function(loaded.parameters)(X)


def test_what_a_format_lacks_is_said_and_nothing_is_written(tmp_path, subtests):
    words = keras.layers.Hashing(8)
    layers = [words, keras.layers.Embedding(8, 4), keras.layers.Flatten(), keras.layers.Dense(3)]
    student = keras.Sequential([keras.Input((2,), dtype="int64"), *layers])
    lacking = "can't hold the student.*no operations .*StringToHashBucketFast.*saved_model"
    for format in ("litert", "onnx"):
        with subtests.test(format=format), pytest.raises(ValueError, match=lacking):
            exported(student, "categorical", tmp_path, format)
    rolled = keras.Sequential([keras.Input((4, 2)), keras.layers.LSTM(3, name="lstm")])
    lacking = r"TensorListReserve.*with unroll=True alone, which \['lstm'\] are not"
    with pytest.raises(ValueError, match=lacking):
        exported(rolled, "categorical", tmp_path, "litert")
    assert not [*tmp_path.iterdir()]


def test_limits_that_nearly_cancel_are_compared_in_units_of_the_mean():
    found = {"mean": [[5e4]], "stddev": [[3e4]], "lower": [[100.0]], "probabilities": [[0.5]]}
    found = parity._largest({key: np.array(value) for key, value in found.items()})
    assert found == {"mean": 5e4, "stddev": 3e4, "lower": 5e4, "probabilities": 1.0}
    off = np.array([[100.004]]), np.array([[100.0]])
    assert parity._difference(*off, largest=5e4) == pytest.approx(0.004 / 5e4, rel=1e-3)


def test_a_missing_package_is_named_before_anything_else(tmp_path, monkeypatch):
    for module, format in (("tf2onnx", "onnx"), ("ai_edge_litert.interpreter", "litert")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=r'pip install "ecl_tf\[export\]"'):
            exported(network(), "categorical", tmp_path, format)


class Odd(keras.layers.Layer):
    """Adds what is not the same each time."""

    def call(self, x):
        return x + tf.random.uniform(tf.shape(x))


@pytest.mark.slow
def test_a_file_that_would_answer_otherwise_is_not_written(tmp_path, monkeypatch, subtests):
    student, other = network(), network()
    original = litert.convert
    exported(student, "categorical", tmp_path, "litert")
    before = (tmp_path / "student.tflite").read_bytes()

    def confused(function, specs, tracked, **settings):
        def answers(x):
            return {"probabilities": tf.nn.softmax(other(x))}

        return original(answers, specs, [other])

    with monkeypatch.context() as patch:
        patch.setattr(litert, "convert", confused)
        for examples in (None, X):
            with (
                subtests.test(examples=examples is not None),
                pytest.raises(ValueError, match=r"would answer otherwise.*'probabilities' is off"),
            ):
                exported(student, "categorical", tmp_path, "litert", examples=examples)
    assert (tmp_path / "student.tflite").read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["student.tflite"]
    with pytest.raises(ValueError, match=r"examples must be a batch .*are text"):
        exported(student, "categorical", tmp_path, "litert", examples={"features": "text"})
    odd = keras.Sequential([keras.Input((SIZE,)), Odd(), keras.layers.Dense(3)])
    with pytest.warns(UserWarning, match=r"SavedModel was not compared.*examples=x"):
        exported(odd, "categorical", tmp_path, "saved_model")


# Files.


@pytest.mark.slow
def test_files_are_replaced_only_where_an_export_wrote_them(tmp_path, subtests):
    student = network()
    for format, name in [("litert", "student.tflite"), ("onnx", "student.onnx")]:
        path = tmp_path / "new" / name
        with subtests.test(format=format):
            distiller = Distiller(student, network(3, 50))
            with pytest.raises(
                ValueError, match=rf"called \*\{path.suffix}.*Give .*\.txt\{path.suffix}"
            ):
                distiller.export(path.with_suffix(".txt"), format=format)
            distiller.export(path, format=format)
            assert path.stat().st_size < 30_000  # Without the teacher.
            student.set_weights([2.0 * weight for weight in student.get_weights()])
            distiller.export(path, format=format)
            close(load_student(path).parameters(X), {"probabilities": softmax(student(X))})

            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
            with pytest.raises(ValueError, match=r"damaged or not complete\. Export it again"):
                load_student(path)
            with pytest.raises(ValueError, match="no export of a student wrote the file"):
                distiller.export(path, format=format)
            assert path.read_bytes() == content[: len(content) // 2]
            path.unlink()
            path.mkdir()
            with pytest.raises(ValueError, match="it is a directory"):
                distiller.export(path, format=format)
    with pytest.raises(FileNotFoundError, match="no exported student at"):
        load_student(tmp_path / "nowhere.onnx")
    assert not (tmp_path / "new" / "student.txt").exists()


def test_the_description_is_in_the_file_itself(tmp_path):
    about = {"class_names": ["a", "b", "c"]}
    exported(network(), "categorical", tmp_path, "litert", **about)
    exported(network(), "categorical", tmp_path, "onnx", **about)
    with zipfile.ZipFile(tmp_path / "student.tflite") as archive:
        of_litert = json.loads(archive.read("ecl_tf_student.json"))
    model = onnx.load(tmp_path / "student.onnx")
    onnx.checker.check_model(model, full_check=True)
    of_onnx = json.loads({p.key: p.value for p in model.metadata_props}["ecl_tf_student"])
    assert of_litert == of_onnx
    assert of_onnx["class_names"] == ["a", "b", "c"]
    assert of_onnx["inputs"] == {"features": {"shape": [None, SIZE], "dtype": "float32"}}
    assert of_onnx["parameters"] == {"probabilities": {"shape": [None, 3], "dtype": "float32"}}


def test_a_changed_byte_of_a_weight_is_told(tmp_path, subtests, recwarn):
    student = network()
    bias = student.layers[-1].bias
    bias.assign([0.123, 0.456, 0.789])
    for format in ("litert", "onnx"):
        exported(student, "categorical", tmp_path, format)
        path = tmp_path / FILES[format]
        assert not [w for w in recwarn if "damaged" in str(w.message)]
        content, number = path.read_bytes(), np.float32(0.456).tobytes()
        assert content.count(number) == 1
        path.write_bytes(content.replace(number, np.float32(0.5).tobytes()))
        with subtests.test(format), pytest.warns(UserWarning, match=f"{path.name} is damaged, or"):
            load_student(path)
        recwarn.clear()


# Clients.


def ran(format, directory, arrays, address=None):
    """What a client prints, in a process that can import neither TensorFlow nor this package."""
    np.savez(directory / "inputs.npz", **arrays)
    name = {"litert": "litert", "onnx": "onnx", "saved_model": "rest"}[format]
    blocked = "".join(f"sys.modules[{m!r}] = None; " for m in ("tensorflow", "keras", "ecl_tf"))
    run = "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    code = f"import runpy, sys; {blocked}{run}"
    given = [str(CLIENTS / f"{name}_client.py"), address or str(directory / FILES[format])]
    command = [sys.executable, "-c", code, *given, str(directory / "inputs.npz")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_clients_without_tensorflow_ask_a_file(tmp_path, subtests):
    student = network()
    expected = softmax(student.predict(X[:3], verbose=0))
    sets = conformal(student, X, np.arange(64) % 3, coverage=0.7)
    members = (1.0 - expected <= sets.thresholds) | (expected == expected.max(-1, keepdims=True))
    about = {"class_names": ["a", "b", "c"], "conformal": sets}
    for format in ("litert", "onnx"):
        with subtests.test(format=format):
            exported(student, "categorical", tmp_path, format, **about)
            answer = ran(format, tmp_path, {"features": X[:3]})
            np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
            assert answer["prediction_set"] == members.tolist()
            assert answer["class_names"] == ["a", "b", "c"]


@pytest.mark.slow
def test_a_client_asks_a_server(tmp_path, subtests):
    student = network(4)
    kinds_ = {"categorical": ["probabilities"], "normal": ["mean", "stddev"]}
    for output, names in kinds_.items():
        own = outputs.get(output, (None, 4))
        loaded = exported(student, own, tmp_path, "saved_model")
        expected = loaded.parameters(X[:3])
        with subtests.test(output=output), rest_server.serving(tmp_path / "student") as address:
            answer = ran("saved_model", tmp_path, {"features": X[:3]}, address)
            assert sorted(answer) == names
            close(answer, expected)
            with pytest.raises(RuntimeError, match="400: "):
                ran("saved_model", tmp_path, {"features": X[:3, :2]}, address)
