"""What models and files cost: bytes, weights, multiply-adds, and time on one core."""

import json
import math
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from ecl_tf import Ensemble, costs, export, export_student, outputs, teachers
from ecl_tf._internal import processor_time

FILES = {"saved_model": "student", "litert": "student.tflite", "onnx": "student.onnx"}
SIZES = ["1", "32"]


def network():
    """4 x 4 x 1 numbers, 2 x 2 x 3 of a convolution, 5 classes."""
    image = keras.Input((4, 4, 1))
    hidden = layers.BatchNormalization()(layers.Conv2D(3, 3, activation="relu")(image))
    return keras.Model(image, layers.Dense(5)(layers.Flatten()(hidden)))


WEIGHTS = (9 * 3 + 3) + 4 * 3 + (12 * 5 + 5)
MULTIPLY_ADDS = 2 * 2 * 9 * 3 + 12 * 5


def size(path):
    parts = [part for part in (path, *path.rglob("*")) if part.is_file()]
    return sum(part.stat().st_size for part in parts if part.name != "fingerprint.pb")


def require_times(found, sizes=SIZES):
    """The other costs, of which the seconds are a row's by how many are asked about."""
    assert list(found["seconds"]) == sizes
    assert all(0.0 < seconds < math.inf for seconds in found["seconds"].values())
    return {name: value for name, value in found.items() if name != "seconds"}


@pytest.mark.parametrize("format", ["litert", "onnx"])
def test_a_file_knows_the_network_that_it_was(tmp_path, format):
    path = tmp_path / FILES[format]
    export_student(network(), outputs.Categorical(), path, format=format)
    x = np.zeros((2, 4, 4, 1))  # NumPy's own type, which the file does not take.
    found = costs(path, x, batch_sizes=(3,), seconds=0.0)
    expected = {"bytes": path.stat().st_size, "parameters": WEIGHTS, "multiply_adds": MULTIPLY_ADDS}
    assert require_times(found, ["3"]) == expected
    assert json.loads(json.dumps(found)) == found


def test_a_function_costs_time_alone():
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")

    def function(rows):
        return np.stack([rows[:, 0] > 0.0, rows[:, 0] <= 0.0], -1).astype("float32")

    teacher = teachers.FunctionTeacher(function, "categorical", x)
    unknown = dict.fromkeys(["bytes", "parameters", "multiply_adds"])
    assert require_times(costs(teacher, x, seconds=0.0)) == unknown
    with pytest.raises(ValueError, match=r"inputs of 'function_teacher' are not known.*examples=x"):
        costs(teacher)
    with pytest.raises(FileNotFoundError, match="no Keras file"):
        costs("nowhere.keras")


def test_a_process_that_fails_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(processor_time.sys, "executable", shutil.which("false"))
    with pytest.raises(RuntimeError, match=r"can't run what it was to time: exit status 1"):
        processor_time.of_saved_models({"": (tmp_path, {"x": np.ones((1, 3))})}, (1,), 0.0)


@pytest.mark.slow
def test_all_that_tensorflow_runs(tmp_path, subtests):
    student = network()
    student.save(tmp_path / "student.keras")
    export_student(student, outputs.Categorical(), tmp_path / "student")
    texts, numbers = keras.Input((), dtype="string", name="text"), keras.Input((3,), name="x")
    ids = layers.StringLookup(vocabulary=["a", "b"])(texts)
    joined = layers.Concatenate()([layers.Embedding(4, 2)(ids), numbers])
    named = keras.Model({"text": texts, "x": numbers}, layers.Dense(2)(joined))
    rows = {"text": np.array(["a", "ö"]), "x": np.ones((2, 3)), "unused": np.ones(2)}
    models = {
        "memory": (student, None),
        "keras": (tmp_path / "student.keras", None),
        "saved_model": (tmp_path / "student", None),
        "ensemble": (Ensemble([network(), network()], "categorical"), None),
        "text": (named, rows),
    }
    found = export.costs_of_all(models, seconds=0.0)
    counts = {name: require_times(each) for name, each in found.items()}
    with subtests.test("bytes"):
        for name, path in (("keras", "student.keras"), ("saved_model", "student")):
            assert counts[name]["bytes"] == size(tmp_path / path)
        of_file = counts["keras"]["bytes"]
        assert counts["memory"]["bytes"] == pytest.approx(of_file, rel=0.05)
        assert of_file < counts["ensemble"]["bytes"] < 3 * of_file
    with subtests.test("counts"):
        names = ("parameters", "multiply_adds")
        own = {name: tuple(each[key] for key in names) for name, each in counts.items()}
        assert own == {
            **dict.fromkeys(("memory", "keras", "saved_model"), (WEIGHTS, MULTIPLY_ADDS)),
            "ensemble": (2 * WEIGHTS, 2 * MULTIPLY_ADDS),
            "text": (4 * 2 + (5 * 2 + 2), 5 * 2),
        }


def test_signatures_are_timed_for_every_size(tmp_path):
    spec = {"x": tf.TensorSpec((None, 3), name="x"), "t": tf.TensorSpec((None,), tf.string, "t")}

    @tf.function
    def serve(x, t):
        with tf.control_dependencies([tf.debugging.assert_equal(t, "ab")]):
            return {"sum": tf.reduce_sum(x, -1)}

    tf.saved_model.save(tf.Module(), str(tmp_path / "m"), serve.get_concrete_function(**spec))
    rows = {"x": np.ones((2, 3), "float32"), "t": np.array([b"ab"])}
    np.savez(tmp_path / "rows.npz", **rows)
    job = {"m": (str(tmp_path / "m"), str(tmp_path / "rows.npz"))}
    # What the process of one core does, in this one.
    times = processor_time._timed(job, [1, 5], 0.0)
    assert [*times] == ["m"] and len(times["m"]) == 2 and min(times["m"]) > 0.0
