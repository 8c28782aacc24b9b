"""Before the first training every kind of training takes a step, and nothing else changes."""

import dataclasses
import random
import re
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import assert_arrays
from tiny import untuned

import ecl_tf
from ecl_tf import samplers
from ecl_tf.evaluation import corruptions
from ecl_tf.experiments import comparison, refusals, rehearsal, suite
from ecl_tf.experiments.experiment import Experiment


def changed(config, **values):
    """With values by their dotted names, where __ stands for a dot."""
    with config.unlocked(), config.ignore_type():
        for name, value in values.items():
            *path, last = name.split("__")
            section = config
            for part in path:
                section = section[part]
            section[last] = value
    return config


@keras.saving.register_keras_serializable("test_rehearsal")
class Rounding(samplers.Sampler):
    """Needs values, which no graph has: only a step tells."""

    def sample(self, inputs, seed):
        rounded = np.round(inputs.numpy())
        return samplers.Samples(tf.constant(rounded), tf.zeros([len(rounded)], tf.bool))


METHOD = {"sampler": {"class_name": "Mixup", "config": {"alfa": 1.0}}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"xcl__divergence": "klx"}, r"config\.xcl={.*} can't be used\. Unknown divergence 'klx'"),
        ({"xcl__temperature": 0.0}, r"config\.xcl\.temperature=0\.0 is out of its range"),
        ({"student__network__widths": (0,)}, r"config\.student\.network={.*positive integer"),
        ({"teacher__network__dropout": 1.5}, r"config\.teacher\.network={.*rate=1\.5"),
        ({"teacher__train__batch_size": 99}, r"config\.teacher\.train\.batch_size=99 .* 64 examp"),
        ({"student__train__batch_size": 99}, r"config\.student\.train\.batch_size=99 .* 64 examp"),
        ({"methods": {"mine": METHOD}}, r"config\.methods\.mine={.*} can't be used\. .*'alfa'"),
        pytest.param(
            {"grid": (("student.network.widths", ((4,), (0,))),)},
            r"config\.student\.network={.*0,",
            marks=pytest.mark.slow,
        ),
        ({"oracle": True, "data__train_size": 900}, r"An oracle needs spare .*train_size=1000"),
        ({"student__train__schedule": {"name": "cosine", "warmup_steps": 20}}, "must be less than"),
        (
            {"student__quantization": "int8", "student__conformal": 0.9},
            r"Set one of the two to None",
        ),
    ],
)
def test_a_wrong_setting_is_named_in_a_line_and_nothing_is_written(
    digits_config, tmp_path, values, message, eagerly
):
    config = changed(untuned(digits_config), **values)
    with pytest.raises(ValueError, match=message) as error:
        comparison.rehearse(config, tmp_path)
    assert len(str(error.value).splitlines()) == 1
    assert not any(tmp_path.iterdir())


def test_test_rows_are_no_validation_rows_in_a_rehearsal_either(digits_config):
    given = Experiment(digits_config).splits
    same = dataclasses.replace(given, validation=given.test)
    found = rehearsal.Rehearsal().experiment(digits_config, same).splits
    with pytest.raises(ValueError, match="has the test's rows as such"):
        refusals.require_validation(found, "Calibration needs validation data")


def test_a_config_needs_no_teacher_of_its_own(digits_config):
    with digits_config.unlocked():
        del digits_config.teacher
    assert rehearsal.Rehearsal().experiment(digits_config).config.teacher.network is None


def test_what_only_a_graph_refuses_is_found(digits_config):
    config = changed(digits_config, xcl__sampler=keras.saving.serialize_keras_object(Rounding()))
    tried = rehearsal.Rehearsal()
    experiment = tried.experiment(config)
    network = experiment.network(experiment.config.student)
    with pytest.raises(ValueError, match=r"config\.xcl={.*} can't be used\. .*has no .*'numpy'"):
        tried.distillation(experiment, ecl_tf.Ensemble(network, "categorical"))


OWN = """
import keras

class Squash(keras.layers.Layer):
    def call(self, x):
        return keras.ops.tanh(x)

def small(input_shape, units):
    layers = [keras.layers.Flatten(), Squash(), keras.layers.Dense(units)]
    return keras.Sequential([keras.Input(input_shape), *layers])
"""


def test_a_network_of_ones_own_is_imported_and_has_to_be_loadable(
    digits_config, tmp_path, monkeypatch
):
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    with digits_config.unlocked():
        digits_config.teacher.network = {"name": "own_networks:small"}
    tried = rehearsal.Rehearsal()
    experiment = tried.experiment(digits_config)
    assert "own_networks" in sys.modules  # Files name layers that it registers.
    with pytest.raises(
        ValueError, match=r"^config\.teacher=.* not locate class 'Squash'.*register"
    ) as error:
        tried.teacher(experiment, tmp_path / "work")
    assert "{'module'" not in str(error.value)


def test_label_smoothing_and_another_size_than_the_datas_are_refused(rotated_digits_config):
    config = changed(rotated_digits_config, erm__label_smoothing=0.1)
    with pytest.raises(ValueError, match=r"config\.erm\.label_smoothing=0\.1 needs classes"):
        Experiment(config)
    config = changed(rotated_digits_config, output__config__event_size=2)
    with pytest.raises(ValueError, match=r"is of 2 target dimensions, and this data has 1"):
        Experiment(config)


@pytest.fixture
def trainings(monkeypatch):
    """The number of rehearsed trainings."""
    fit, found = rehearsal._Rehearsed.fit, []

    def counting(self, model, *args, **kwargs):
        found.append(type(model).__name__)
        return fit(self, model, *args, **kwargs)

    monkeypatch.setattr(rehearsal._Rehearsed, "fit", counting)
    return found


@pytest.mark.slow
def test_of_equal_kinds_one_is_tried_and_all_are_planned(
    run_script, digits_config, tmp_path, trainings, eagerly, capsys, monkeypatch
):
    """Temperatures are numbers; with labels a student sees more, and the samplers differ."""
    config = changed(untuned(digits_config), kd__temperatures=(1.0, 2.0, 4.0))
    config.grid = (("student.train.learning_rate", (0.01, 0.02)),)
    config.suite.update({"shifts": True, "rows": 9, "severities": (1,)})
    monkeypatch.setitem(corruptions.NAMES, "image", ("contrast",))
    measure = suite.seconds
    monkeypatch.setattr(suite, "seconds", lambda *given: (5e8, *measure(*given)[1:]))
    run_script("compare", config, tmp_path, dry_run=True)
    # Teacher, ERM; standard KD with labels, tuned KD without, XCL.
    assert sorted(trainings) == ["Distiller"] * 3 + ["Functional"] * 2
    printed = capsys.readouterr().out
    assert "[rehearsal] 5 kinds of training took one step each" in printed
    # Of both cells; the teacher is theirs together. Three temperatures and standard KD's setting,
    # then the chosen one.
    for count, name in [
        (1, "teacher"),
        (4, "ERM"),
        (2, "standard KD"),
        (10, "tuned KD"),
        (2, "XCL"),
    ]:
        assert re.search(rf"\n +{count} x {name}, 20 steps: [\d,]+ seconds\n", printed)
    # The teacher and a final student of each method, contrast, noise and shuffled, of both cells.
    assert printed.count("\n    suite, 5 networks, 3 sets of 9 rows: 138,888.9 hours") == 2
    # Beside which trainings are nothing, however slow the machine is.
    assert re.search(r"In all about 27\d,\d{3}\.\d hours\. Files: about [\d.]+ MB", printed)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_rehearsal_changes_no_result(digits_config, tmp_path, eagerly):
    digits_config.teacher.network.dropout = 0.5

    def member():
        experiment = Experiment(digits_config)
        return experiment.train_supervised(experiment.config.teacher, 0).get_weights()

    random.seed(1)
    np.random.seed(2)
    before = member()
    states = random.getstate(), np.random.get_state()[1].tolist()
    comparison.rehearse(untuned(digits_config.copy_and_resolve_references()), tmp_path)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    assert_arrays(before, member())


@pytest.mark.slow
def test_students_that_replay_take_their_steps_without_the_teacher(
    digits_config, tmp_path, eagerly, monkeypatch
):
    """Else a plan has the time of a teacher that no step asks."""
    config = changed(untuned(digits_config), replay_epochs=3, kd__label_weights=(0.0,))
    fit, teachers = rehearsal._Rehearsed.fit, []

    def noting(self, model, batches, *arguments, **named):
        if isinstance(model, ecl_tf.Distiller):
            teachers.append(model.teacher)
        return fit(self, model, batches, *arguments, **named)

    monkeypatch.setattr(rehearsal._Rehearsed, "fit", noting)
    comparison.rehearse(config, tmp_path)
    assert len(teachers) == 3  # Standard KD, tuned KD, XCL.
    assert not any(each.answers_new_inputs for each in teachers)
    assert not any(tmp_path.iterdir())


def test_stores_that_the_disk_can_not_hold_are_refused(tmp_path, monkeypatch):
    free = types.SimpleNamespace(free=5_000_000)
    monkeypatch.setattr(rehearsal.shutil, "disk_usage", {tmp_path: free}.__getitem__)
    rehearsal._require_room(tmp_path / "work" / "stores", 5_000_000)
    with pytest.raises(ValueError, match=r"take 5.1 MB, .* has 5.0 MB left.*replay_epochs=0"):
        rehearsal._require_room(tmp_path / "work" / "stores", 5_100_000)
    (tmp_path / "large").mkdir()
    (tmp_path / "stores").symlink_to(tmp_path / "large")  # Perhaps on another disk.
    disks = {tmp_path / "large": types.SimpleNamespace(free=9_000_000)}
    monkeypatch.setattr(rehearsal.shutil, "disk_usage", disks.__getitem__)
    rehearsal._require_room(tmp_path / "stores", 5_100_000)

    store = tmp_path / "work" / "stores" / "Empirical_1"
    assert rehearsal._left(store, 1000) == 1000
    (store / "shards").mkdir(parents=True)
    (store / "shards" / "0").write_bytes(bytes(300))
    assert rehearsal._left(store, 1000) == 700
    (store / "manifest.json").write_text("{}")
    assert rehearsal._left(store, 1000) == 0
