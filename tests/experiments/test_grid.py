"""Grids of comparisons, further methods, and a run that is killed."""

import json

import numpy as np
import processes
import pytest

from ecl_tf.experiments import comparison
from ecl_tf.experiments.experiment import Experiment

CONFIG = """
from configs import digits
from tiny import shrink


def get_config():
    config = shrink(digits.get_config())
    config.seeds = 1
    config.teacher.members = 1
    config.erm.update({"label_smoothing": 0.0, "mixup_alpha": 0.0})
    config.kd.temperatures = (1.0,)
    return config
"""


@pytest.fixture
def config(digits_config):
    digits_config.seeds = 1
    digits_config.teacher.members = 1
    digits_config.erm.update({"label_smoothing": 0.0, "mixup_alpha": 0.0})
    digits_config.kd.temperatures = (1.0,)
    return digits_config


def with_grid(config, *grid):
    with config.unlocked():
        config.grid = grid
    return config


def test_a_grid_is_the_product_of_its_settings(config):
    networks = {"small": {"name": "mlp", "widths": (4,)}, "other": {"name": "lenet"}}
    grid = with_grid(config, ("data.train_size", (32, 64)), ("student.network", networks))
    cells = dict(comparison.grid_cells(grid))
    assert list(cells) == [
        "data.train_size=32, student.network=small",
        "data.train_size=32, student.network=other",
        "data.train_size=64, student.network=small",
        "data.train_size=64, student.network=other",
    ]
    cell = cells["data.train_size=32, student.network=other"]
    assert cell.data.train_size == 32 and cell.student.network.to_dict() == {"name": "lenet"}
    assert "grid" not in cell and config.data.train_size == 64


@pytest.mark.parametrize("key", ["data.train_sizes", "nothing.at.all", "steps"])
def test_a_grid_over_an_unknown_setting_is_refused(config, key):
    with pytest.raises(ValueError, match=f"grid names '{key}', which is no setting"):
        list(comparison.grid_cells(with_grid(config, (key, (1, 2)))))


@pytest.mark.parametrize("key", ["data.seed", "teacher.members"])
def test_one_teacher_for_cells_that_need_their_own_is_refused(run_script, config, tmp_path, key):
    with pytest.raises(ValueError, match=f"config.grid changes {key}"):
        run_script("compare", with_grid(config, (key, (1, 2))), tmp_path, teacher="elsewhere")


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"XCL": {"sampler": "Mix"}}, "names 'XCL', which is compared anyway"),
        ({"teacher": {}}, "names 'teacher', which is compared anyway"),
        ({"warm": {"temprature": 2.0}}, "'warm' has the argument 'temprature'; expected some of"),
        ({"mixed": {"sampler": "Mixupp"}}, "Unknown sampler .*'Mixupp'"),
    ],
)
def test_methods_that_cannot_be_are_refused_before_a_teacher_is_trained(
    config, tmp_path, monkeypatch, methods, message
):
    monkeypatch.setattr(Experiment, "train_supervised", None)
    with config.unlocked():
        config.methods = methods
    with pytest.raises(ValueError, match=message):
        comparison.compare(Experiment(config), tmp_path)


def test_methods_are_labelled_by_their_samplers(config):
    with config.unlocked():
        config.methods = {"named": {"sampler": "Mix"}, "default": {"temperature": 2.0}}
    labels = {setting.method: setting.label for setting in comparison.others(Experiment(config))}
    assert labels == {"named": "Mix", "default": "Uncertain"}


def test_students_of_another_teacher_are_not_continued(run_script, config, tmp_path, eagerly):
    config.teacher.train.update({"steps": 2, "steps_per_execution": 1})
    config.student.train.update({"steps": 2, "steps_per_execution": 1})
    for seed in (1, 2):
        config.seed = seed
        run_script("train_teacher", config, tmp_path / f"teacher {seed}")

    def compare(seed):
        directory = str(tmp_path / f"teacher {seed}" / "teacher")
        run_script("compare", config, tmp_path / "students", teacher=directory)

    compare(1)
    results = tmp_path / "students" / "results.json"
    finished = json.loads(results.read_text())
    for name in ("final", "teacher"):  # As a kill before the test split is read leaves it.
        del finished[name]
    results.write_text(json.dumps(finished))
    with pytest.raises(ValueError, match="learned from another teacher"):
        compare(2)
    compare(1)


@pytest.mark.slow
def test_cells_share_the_teacher_and_are_not_run_again(
    run_script, config, tmp_path, monkeypatch, eagerly
):
    config.student.train.steps_per_execution = 2
    with config.unlocked():
        config.methods = {
            "uncertain": {"sampler": {"class_name": "Uncertain", "config": {"candidates": 2}}},
            "mixed labels": {
                "sampler": {"class_name": "Empirical", "config": {}},
                "label_weight": 1.0,
                "labels": {"mixup_alpha": 1.0},
            },
        }
    run_script("compare", with_grid(config, ("student.train.steps", (4, 8))), tmp_path)
    cells = json.loads((tmp_path / "results.json").read_text())["cells"]
    assert list(cells) == ["student.train.steps=4", "student.train.steps=8"]
    assert len(list((tmp_path / "teachers").iterdir())) == 1
    for steps, cell in zip((4, 8), cells.values(), strict=True):
        methods = ["ERM", "standard KD", "tuned KD", "XCL", "mixed labels", "uncertain"]
        assert list(cell["final"]) == methods
        assert cell["student_steps"] == steps
        for keys in cell["final"].values():
            points = cell["runs"][keys[0]]["curve"]
            assert points[-1]["step"] == steps
            # The last point is the finished student.
            validation = cell["runs"][keys[0]]["validation"]["accuracy"]
            assert points[-1]["accuracy"] == pytest.approx(validation)
            shares = cell["runs"][keys[0]]["reliability"]["weight"]
            assert sum(shares) == pytest.approx(1.0, abs=1e-3)
        shown = cell["gallery"]["distributions"]
        assert list(shown) == ["teacher", *methods]
        assert np.shape(cell["gallery"]["inputs"]) == (8, 8, 8, 1)
        np.testing.assert_allclose(np.sum(shown["XCL"]["probabilities"], -1), 1.0, atol=1e-3)
    teacher = [cell["teacher"] for cell in cells.values()]
    assert teacher[0] == teacher[1]

    def refuse(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(Experiment, "train_supervised", refuse)
    monkeypatch.setattr(Experiment, "train_distilled", refuse)
    run_script("compare", config, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["cells"] == cells


def timeless(workdir):
    results = json.loads((workdir / "results.json").read_text())
    for run in results["runs"].values():
        del run["seconds"]
    return results


@pytest.mark.slow
def test_a_killed_comparison_goes_on_to_the_undisturbed_results(tmp_path):
    config = tmp_path / "config.py"
    config.write_text(CONFIG)

    def start(name):
        workdir = f"--workdir={tmp_path / name}"
        return processes.start("trainers.compare", f"--config={config}", workdir)

    undisturbed, disturbed = start("undisturbed"), start("disturbed")
    with processes.none_left([undisturbed, disturbed]):
        disturbed.wait_for("[run 3/6]")  # Of six trainings.
        disturbed.kill()
        assert len(timeless(tmp_path / "disturbed")["runs"]) == 2
        code, printed, errors = start("disturbed").wait()
        assert code == 0, errors
        assert "[run 1/6]" not in printed and "[run 3/6]" in printed
        assert undisturbed.wait()[0] == 0
    assert timeless(tmp_path / "disturbed") == timeless(tmp_path / "undisturbed")
