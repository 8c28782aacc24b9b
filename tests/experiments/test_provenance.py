"""What results come from, as a report tells it."""

import dataclasses
import hashlib

import numpy as np
import tensorflow as tf
from tiny import rows

from ecl_tf.experiments import provenance
from ecl_tf.experiments.experiment import Experiment

TRAIN = {"steps": 100, "learning_rate": 0.01, "batch_size": 64}
CONFIG = {
    "data": {"name": "digits", "train_size": 64},
    "output": "categorical",
    "score": "accuracy",
    "seed": 0,
    "seeds": 3,
    "student": {"network": {"name": "mlp", "widths": [4]}, "train": {**TRAIN, "epochs": 2}},
    "teacher": {"members": 1, "train": {**TRAIN, "schedule": {"name": "steps", "at": [0.5]}}},
    "methods": {"other": {"temperature": 2.0, "label_weight": 0.0}},
    "erm": {"label_smoothing": 0.0},
}


def test_settings_that_differ_from_the_defaults():
    assert provenance.changed(CONFIG) == {
        "data.name": "digits",
        "data.train_size": 64,
        "output": "categorical",
        "score": "accuracy",
        "seeds": 3,
        "student.network.name": "mlp",
        "student.network.widths": [4],
        "student.train.steps": 100,
        "student.train.learning_rate": 0.01,
        "student.train.epochs": 2,
        "teacher.train.steps": 100,
        "teacher.train.learning_rate": 0.01,
        "teacher.train.schedule.at": [0.5],
        "teacher.train.schedule.factor": 0.1,
        "teacher.train.schedule.name": "steps",
        "methods.other.temperature": 2.0,
    }
    whole = provenance.whole(CONFIG)
    assert whole["teacher.train.batch_size"] == 64 and whole["kd.label_weights"][1] == 0.1
    # What another version wrote is there as it is.
    other = {"data": {"name": "digits"}, "gone": 1}
    as_it_is = {"data.name": "digits", "gone": 1}
    assert provenance.changed(other) == provenance.whole(other) == as_it_is


def test_data_versions_and_machine_of_an_experiment(tmp_path):
    experiment = Experiment(CONFIG)
    about = provenance.of(experiment, tmp_path, [0, 1])
    x, y = rows(experiment.splits.test)
    digest = hashlib.sha256()
    for array in (x, y):
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    assert about["data"]["test_hash"] == digest.hexdigest()
    known = dict(provenance.facts(about))
    assert known["Data"].startswith("digits; rows: train 64, validation ")
    assert "test 597; 10 classes; SHA-256 of the training rows: " in known["Data"]
    assert f"tensorflow {tf.__version__}" in known["Versions"] and "Python 3." in known["Versions"]
    assert "processor core" in known["Machine"] and len(known["Date"]) == len("2000-01-01")
    assert {*dict(provenance.facts({})).values()} == {"not recorded"}

    # Of streamed rows, or of a number that is not known, there are the labels.
    experiment.whole_splits = dataclasses.replace(
        experiment.splits, test=experiment.splits.test.filter(lambda x, y: True)
    )
    streamed = provenance.of(experiment, tmp_path, np.array([1, 2]))
    wanted = hashlib.sha256(b"int64(2,)" + np.array([1, 2]).tobytes()).hexdigest()
    assert streamed["data"]["test_hash"] == wanted and streamed["data"]["rows"]["test"] is None
    assert "test not known" in dict(provenance.facts(streamed))["Data"]

    together = provenance.together([about, streamed])
    assert together["data"]["test_hash"] not in (about["data"]["test_hash"], wanted)
    assert together["data"]["rows"] == about["data"]["rows"]
    assert together == provenance.together([about, streamed])
    assert provenance.together([about, None]) is None
