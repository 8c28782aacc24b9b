"""Files that version 0.1.0 wrote load, and answer what they answered then.

Version 0.1.0 wrote `written_by_0_1_0` before modules moved into packages, so the files name
classes by the modules of that time. `expected.npz` holds what that version answered.
"""

import importlib
import json
import pathlib
import shutil
import sys

import keras
import numpy as np
import pytest

import ecl_tf

OLD = pathlib.Path(__file__).parent / "written_by_0_1_0"
EXPECTED = np.load(OLD / "expected.npz")
X, Y = EXPECTED["x"], EXPECTED["y"]


def load(name):
    return keras.models.load_model(OLD / name)


def require_as_before(values, name):
    np.testing.assert_allclose(values, EXPECTED[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["teacher", "point", "erm", "answered", "application"])
def test_a_network_answers_as_before(name):
    x = np.full((2, 8, 8, 3), 7.0) if name == "application" else X
    require_as_before(load(f"{name}.keras")(x), name)


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_a_distiller_answers_samples_and_trains_on_as_a_supervised_network_does():
    distiller = load("distiller.keras")
    require_as_before(distiller.student(X), "student")
    require_as_before(distiller.teacher(X), "teacher")
    networks = ecl_tf.uncertainty.Networks(
        distiller.teacher, distiller.student, distiller.output_kind
    )
    require_as_before(distiller.sampler(X, 7, networks).inputs, "sampled")
    assert int(distiller.step.numpy()) == EXPECTED["step"]
    assert distiller.label_weight == 0.1
    history = distiller.fit(X, Y, verbose=0).history
    assert {"accuracy", "ece", "nll", "divergence"} <= set(history)
    assert int(distiller.step.numpy()) == EXPECTED["step"] + 1  # 32 rows are one batch.
    assert "nll" in load("erm.keras").fit(X, Y, verbose=0).history


def test_an_exported_student_answers_as_before():
    require_as_before(ecl_tf.load_student(OLD / "export").parameters(X)["probabilities"], "served")


def test_a_joint_output_has_its_settings():
    joint = keras.saving.deserialize_keras_object(json.loads((OLD / "joint.json").read_text()))
    assert joint == ecl_tf.outputs.Joint(
        {"kind": "categorical", "size": ecl_tf.outputs.Normal(1, target_mean=2.0)}, {"size": 0.5}
    )


@pytest.mark.slow
def test_a_store_is_replayed_and_found_complete(tmp_path):
    directory = shutil.copytree(OLD / "store", tmp_path / "store")
    store = ecl_tf.replay.Store(directory)
    samples, *_ = next(iter(store.batches(X)))
    require_as_before(samples.inputs, "stored")
    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    distiller = ecl_tf.Distiller(student, store.teacher, sampler=store.sampler)
    distiller.compile("sgd", run_eagerly=True)
    history = distiller.fit(store.batches(X), epochs=2, steps_per_epoch=8, verbose=0)
    assert history.history["divergence"][1] < history.history["divergence"][0]

    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    settings = {"sampler": ecl_tf.samplers.Mixup(0.4), "epochs": 2, "batch_size": 8, "shards": 1}
    settings |= {"about": {"data": {"name": "rows"}}, "verbose": 0}
    assert ecl_tf.replay.record(load("teacher.keras"), X, directory=directory, **settings)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


class Stop(keras.callbacks.Callback):
    """Counts steps; a checkpoint knows its callbacks by their class's name."""

    def on_train_begin(self, logs=None):
        self.steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1


@pytest.mark.slow
def test_a_stopped_run_ends_where_the_undisturbed_one_did(tmp_path):
    directory = shutil.copytree(OLD / "checkpoints", tmp_path / "checkpoints")
    student, teacher = load("student_before.keras"), load("teacher.keras")
    mixup = ecl_tf.samplers.Mixup(0.4)
    distiller = ecl_tf.Distiller(student, teacher, sampler=mixup, seed=3)
    distiller.compile("sgd")
    batches = ecl_tf.resume.batches((X,), batch_size=8, seed=0)
    stop = Stop()
    ecl_tf.resume.fit(
        distiller, batches, directory, steps=8, steps_per_epoch=4, callbacks=[stop], verbose=0
    )
    assert stop.steps == 4  # The checkpoint was written after the first 4 of 8.
    for number, weight in enumerate(distiller.student.get_weights()):
        require_as_before(weight, f"resumed_{number}")


def test_an_old_module_name_is_the_module_and_warns(monkeypatch):
    def old_module(name, warning):
        monkeypatch.delitem(sys.modules, name, raising=False)
        with pytest.warns(DeprecationWarning, match=warning):
            return importlib.import_module(name)

    for old, new in (
        ("ecl_tf.pretrained", "ecl_tf.teachers.pretrained"),
        ("ecl_tf.samplers.random", "ecl_tf._internal.random"),
    ):
        assert old_module(old, f"{old} is now {new}") is importlib.import_module(new)
    mended = old_module("ecl_tf.keras_fit", r"Its mend is ecl_tf\.patch_fit now")
    assert mended.mend is ecl_tf.patch_fit
