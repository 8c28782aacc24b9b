"""Comparisons whose students replay the teacher's answers."""

import json

import numpy as np
import pytest

from ecl_tf import replay
from ecl_tf.experiments import comparison, experiment, stores, tables, teaching


@pytest.fixture
def config(digits_config):
    digits_config.seeds = 1
    digits_config.teacher.members = 1
    digits_config.erm.update({"label_smoothing": 0.0, "mixup_alpha": 0.0})
    digits_config.kd.update({"temperatures": (1.0,), "label_weights": (0.0, 0.1)})
    digits_config.replay_epochs = 3
    return digits_config


def test_students_of_a_comparison_share_stores(config, tmp_path, eagerly, monkeypatch):
    recorded = []
    original = replay.record

    def record(*args, **kwargs):
        recorded.append(kwargs["directory"].name.partition("_")[0])
        return original(*args, **kwargs)

    monkeypatch.setattr(replay, "record", record)
    results = comparison.compare(experiment.Experiment(config), tmp_path)

    # Two KD to choose from, standard KD and XCL, of whom the first three see the same samples.
    assert recorded == ["Empirical", "Choice"]
    manifests = list(tmp_path.glob("stores/*/manifest.json"))
    assert len(manifests) == 2
    for path in manifests:
        plan = json.loads(path.read_text())["plan"]
        assert (plan["epochs"], plan["batch_size"], plan["data"]["rows"]) == (3, 64, 64)
    assert results["replay_epochs"] == 3
    assert "stored for 3 epochs" in tables.note(results)

    # What is finished is not recorded again, nor trained.
    assert comparison.compare(experiment.Experiment(config), tmp_path) == results
    assert len(recorded) == 2


def test_a_replaying_student_runs_no_teacher(config, tmp_path, eagerly, monkeypatch):
    built = experiment.Experiment(config)
    teacher = teaching.train_teacher(built, tmp_path)
    stored = stores.Stores(built, teacher, tmp_path / "replay")
    arguments = built.xcl_arguments()
    store = stored.of(**arguments)

    def answer(_):
        raise AssertionError("The teacher was run.")

    monkeypatch.setattr(teacher, "member_outputs", answer)
    monkeypatch.setattr(teacher, "distribution", answer)
    student = built.train_distilled(store.teacher, 1, store=store, **arguments)
    again = built.train_distilled(store.teacher, 1, store=store, **arguments)
    other = built.train_distilled(store.teacher, 2, store=store, **arguments)
    for one, two in zip(student.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(
        not np.array_equal(one, two)
        for one, two in zip(student.get_weights(), other.get_weights(), strict=True)
    )


MIXUP = {"class_name": "Mixup", "config": {"alpha": 1.0}}


@pytest.mark.parametrize(
    ("arguments", "is_stored"),
    [
        ({"sampler": "Empirical"}, True),
        ({"sampler": "Empirical", "label_weight": 0.1, "temperature": 4.0}, True),
        ({"sampler": MIXUP}, True),
        ({"sampler": {"class_name": "Uncertain", "config": {}}}, True),
        # Labels are needed where there are no samples.
        ({"sampler": MIXUP, "label_weight": 0.1}, False),
        ({"sampler": "Empirical", "labels": {"mixup_alpha": 0.4}}, False),
        # The mixing itself asks the teacher.
        ({"sampler": "UncertaintyMixup"}, False),
    ],
)
def test_what_can_be_replayed(config, tmp_path, eagerly, arguments, is_stored):
    built = experiment.Experiment(config)
    teacher = teaching.train_teacher(built, tmp_path)
    assert (stores.Stores(built, teacher, tmp_path).of(**arguments) is not None) == is_stored
    config.replay_epochs = 0
    assert stores.Stores(built, teacher, tmp_path).of(**arguments) is None


def test_stores_hold_the_probabilities_of_all_classes(config, tmp_path, monkeypatch):
    built = experiment.Experiment(config)
    monkeypatch.setattr(stores, "record", lambda teacher, directory, plan: plan)
    object.__setattr__(built.splits, "event_size", 100)  # A frozen dataclass.
    assert stores.Stores(built, None, tmp_path).of(sampler="Empirical")["top_k"] == 100
