"""Cross-validation over persons: every fold by itself, then the average, by hand."""

import dataclasses
import json
import re

import numpy as np
import pytest
from tiny import untuned

from configs import mpii_gaze
from ecl_tf import data
from ecl_tf.experiments import selection, tables
from ecl_tf.experiments.experiment import Experiment

METHODS = ["ERM", "standard KD", "tuned KD", "XCL"]


@pytest.fixture
def config():
    config = mpii_gaze.get_config("runlocal")
    config.data.held_out = "all"
    config.data.mock_examples = 16
    config.folds = ("p00", "p01")
    config.tuning_seeds = 1
    config = untuned(config)
    config.kd.label_weights = (0.0,)
    config.export.measures = False
    config.teacher.network.widths = (2, 2, 2)
    config.student.network = {"name": "convnet", "width": 2, "depth": 2}
    for section in (config.teacher, config.student):
        section.train.update({"steps": 2, "epochs": 1, "batch_size": 16})
    return config


@pytest.fixture
def different_folds(monkeypatch):
    """Mock data is the same for all persons: shift the labels of p01's test split."""
    load = data.load

    def shifted(**arguments):
        splits = load(**arguments)
        if arguments["held_out"] == "p00":
            return splits
        return dataclasses.replace(splits, test=splits.test.map(lambda x, y: (x, y + 0.3)))

    monkeypatch.setattr(data, "load", shifted)


@pytest.mark.slow
def test_all_folds_are_compared_and_averaged(
    run_script, config, different_folds, tmp_path, monkeypatch, eagerly
):
    run_script("compare", config, tmp_path, rehearses=False, draws=False)
    folds = [json.loads((tmp_path / p / "results.json").read_text()) for p in ("p00", "p01")]
    results = json.loads((tmp_path / "results.json").read_text())
    for person in ("p00", "p01"):
        own = json.loads((tmp_path / person / "config.json").read_text())
        assert own["data"]["held_out"] == person
        assert (tmp_path / person / "teacher/member_0.keras").exists()

    assert results["folds"] == 2 and list(results["final"]) == METHODS
    rows = (tmp_path / "table.md").read_text().splitlines()
    assert re.search(r"^The directory best/ .* seed \d+, p0[01]\), the network convnet", rows[0])
    assert rows[6].startswith("| method | mean error, degrees | NLL, nats |")
    assert "Test splits of 2 folds; mean of 1 seed with" in rows[-1]
    for method in METHODS:
        # By hand, from (fold, seed).
        errors = np.array([tables.scores(fold, method, "angular_error") for fold in folds])
        assert errors.shape == (2, 1) and not np.allclose(errors[0], errors[1])
        (row,) = (row for row in rows if row.startswith(f"| {method} ("))
        assert f"| {errors.mean():.2f} |" in row
    assert (tmp_path / "plot.png").exists()
    card = (tmp_path / "best/MODEL_CARD.md").read_text()
    assert re.search(r"compared with the mean of those of p0[01]\.", card)
    assert "'image': np.random" in card and "'head_pose': np.zeros((1, 2), 'float32')" in card

    # Once more: nothing is trained, and nothing changes.
    monkeypatch.setattr(Experiment, "train_supervised", None)
    monkeypatch.setattr(Experiment, "train_distilled", None)
    run_script("compare", config, tmp_path, rehearses=False, draws=False)
    assert json.loads((tmp_path / "results.json").read_text()) == results


def test_without_validation_data_comparing_is_refused(config, tmp_path):
    config.data.held_out = "p00"
    experiment = Experiment(config)
    splits = experiment.splits
    experiment.splits = dataclasses.replace(splits, validation=splits.train)
    with pytest.raises(ValueError, match=r"validation.*--config\.data\.validation_persons=1"):
        selection.compare(experiment, tmp_path)
    assert not any(tmp_path.iterdir())
    config.data.held_out = "all"
    with pytest.raises(ValueError, match="held_out is 'all'; one of p00 to p14"):
        Experiment(config)


def fold(error, nll, label, seconds):
    """Results of a fold: one method, seeds 1 and 2 (two degrees apart), and one tuning run."""
    run = {"method": "ERM", "label": label, "seconds": seconds}
    test = {"angular_error": error, "nll": nll}
    return {
        "score": "angular_error",
        "higher_is_better": False,
        "student_steps": 2,
        "student_weights": 7,
        "teacher_weights": 70,
        "teacher": {"angular_error": error / 2, "nll": nll - 1.0},
        "final": {"ERM": ["a", "b"]},
        "runs": {
            "tuning": {**run, "seed": 0},
            "a": {**run, "seed": 1, "test": test},
            "b": {**run, "seed": 2, "test": {**test, "angular_error": error + 2.0}},
        },
    }


def test_average_by_hand():
    folds = [fold(4.0, 0.5, "plain", 1.0), fold(7.0, 1.0, "mixup 0.4", 2.0)]
    folds.append(fold(10.0, 0.0, "plain", 4.0))
    merged = tables.average(folds)
    assert merged["folds"] == 3
    assert merged["teacher"] == pytest.approx({"angular_error": 3.5, "nll": -0.5})
    first, second = (merged["runs"][key] for key in merged["final"]["ERM"])
    assert set(merged["runs"]) == set(merged["final"]["ERM"])
    assert [first["seed"], second["seed"]] == [1, 2]
    assert first["test"] == pytest.approx({"angular_error": 7.0, "nll": 0.5})
    assert second["test"] == pytest.approx({"angular_error": 9.0, "nll": 0.5})
    assert first["label"] == "mixup 0.4 or plain" and first["seconds"] == 7.0
    # The folds themselves are left as they are.
    assert "folds" not in folds[0] and "tuning" in folds[0]["runs"]
    # Over the seeds, 7 and 9: mean 8, half the 95 % interval t(0.975, 1) * 1 = 12.71.
    assert "| ERM (mixup 0.4 or plain) | 8.00 ± 12.71 | 0.50 ± 0.00 |" in tables.table(merged)

    folds[1]["final"]["ERM"].pop()
    with pytest.raises(ValueError):  # Folds have the same seeds.
        tables.average(folds)
