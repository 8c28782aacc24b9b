"""The trainings of a comparison."""

import json

import ecl_tf
from ecl_tf.experiments import experiment, methods, runs, stores


def test_tuned_kd_that_is_standard_kd_is_trained_once(
    digits_config, tmp_path, monkeypatch, eagerly
):
    digits_config.student.train.update({"steps": 2, "epochs": 1, "steps_per_execution": 1})
    built = experiment.Experiment(digits_config)
    teacher = ecl_tf.Ensemble([built.network(built.config.teacher)], built.output)
    stored = stores.Stores(built, teacher, tmp_path / "stores")
    begun = runs.Runs(built, teacher, stored, tmp_path, total=2)
    standard = methods.standard_kd(built)
    same = methods.kd_beside(built, methods.kd_temperatures(built)[0])[-1]
    record = begun.run(standard, 3)
    monkeypatch.setattr(experiment.Experiment, "train_distilled", None)
    assert begun.run(same, 3) == {**record, "method": "tuned KD"}
    found = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert [run["student"] for run in found.values()] == [record["student"]] * 2
