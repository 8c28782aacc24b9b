"""Grids of comparisons, and further methods."""

import contextlib
import json

import numpy as np
import pytest
from ml_collections import ConfigDict
from tiny import untuned

from ecl_tf.experiments import comparison, grid, settings, work_directory
from ecl_tf.experiments.experiment import Experiment


@pytest.fixture
def config(digits_config):
    return untuned(digits_config)


def with_keys(config, **keys):
    with config.unlocked():
        config.update(keys)
    return config


def test_a_grid_is_the_product_of_its_settings(config):
    networks = {"small": {"name": "mlp", "widths": (4,)}, "other": {"name": "lenet"}}
    axes = ("data.train_size", (32, 64)), ("student.network", networks)
    cells = dict(grid.cells(with_keys(config, grid=axes)))
    assert list(cells) == [
        "data.train_size=32, student.network=small",
        "data.train_size=32, student.network=other",
        "data.train_size=64, student.network=small",
        "data.train_size=64, student.network=other",
    ]
    cell = cells["data.train_size=32, student.network=other"]
    assert cell.data.train_size == 32 and cell.student.network.to_dict() == {"name": "lenet"}
    assert "grid" not in cell and config.data.train_size == 64

    # Also those of which the config has no value, or no section.
    left_out = ("student.train.weight_decay", (0.1,)), ("teacher.labels.mixup_alpha", (0.4,))
    ((_, cell),) = grid.cells(with_keys(config, grid=left_out))
    parsed = settings.parse(cell)
    assert (parsed.student.train.weight_decay, parsed.teacher.labels.mixup_alpha) == (0.1, 0.4)


def test_cells_have_a_teacher_of_their_own_where_it_learns_otherwise(config, tmp_path):
    grids = {"class_weight": ((), (0.5,) * 10, (2.0,) * 10), "seeds": (2, 3)}
    config = with_keys(config, class_weight=())
    config.teacher.precision = None
    for name, values in grids.items():
        cells = with_keys(config, grid=((name, values),))
        homes = [home for _, _, home in comparison._experiments(cells, tmp_path)]
        assert len(set(homes)) == (3 if name == "class_weight" else 1)
    # As of versions that knew neither setting.
    old = {
        "seed": 0,
        "output": "categorical",
        "data": {"name": "digits"},
        "teacher": {"members": 2},
    }
    new = {**old, "class_weight": [], "teacher": {"members": 2, "precision": None}}
    for each in (old, new):
        home = comparison._home(tmp_path, *[ConfigDict(each)] * 2)
        assert home == tmp_path / "teachers" / "05dcd129fa1b"
    # Where the data lies elsewhere than at first.
    first, moved = (ConfigDict({"data": {"path": place}, "seed": 0}) for place in ("here", "there"))
    home = comparison._home(tmp_path, first, first)
    work_directory.claim(tmp_path, first)
    assert comparison._home(tmp_path, moved, moved) == home
    assert comparison._home(tmp_path, first, moved) != home  # Of a cell with other data.


@pytest.mark.parametrize(
    ("keys", "teacher", "message"),
    [
        ({"grid": (("steps", (1, 2)),)}, None, "config.steps is no setting"),
        ({"grid": (("seeds", (1, "a")),)}, None, "config.seeds='a' has a wrong type"),
        ({"grid": (("seeds", ()),)}, None, r"gives seeds the values \(\); expected each once"),
        ({"grid": (("seeds", (1, 1)),)}, None, "expected each once"),
        ({"grid": (("seeds", 2),)}, None, "gives seeds the value 2; expected several"),
        ({"grid": (("seeds",),)}, None, "expected pairs of a setting's name"),
        ({"grid": (("seed", ("a" * 90,)),)}, None, "too long for the name of a directory"),
        ({"grid": (("data.seed", (1, 2)),)}, "elsewhere", "config.grid changes data.seed"),
        ({"grid": (("teacher.members", (1, 2)),)}, "elsewhere", "changes teacher.members"),
        ({"data": {"held_out": "all"}}, "elsewhere", "one teacher for all folds"),
        ({"data": {"held_out": "all"}}, None, "config.folds is empty"),
        ({"folds": ("p00", "p01")}, None, r"config.folds=\('p00', 'p01'\).*data has not"),
        ({"methods": {"XCL": {"sampler": "Mix"}}}, None, "names 'XCL', which is compared anyway"),
        ({"methods": {"mixed": {"sampler": "Mixupp"}}}, None, "Unknown sampler .*'Mixupp'"),
        ({"student": {"network": {"hight": 3}}}, None, r"no arguments \['hight'\]"),
    ],
)
@pytest.mark.usefixtures("eagerly")
def test_what_cannot_be_compared_is_refused_before_all(config, tmp_path, keys, teacher, message):
    with pytest.raises(ValueError, match=message):
        comparison.rehearse(with_keys(config, **keys), tmp_path, teacher)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_cells_share_the_teacher_and_are_not_run_again(
    run_script, config, tmp_path, monkeypatch, eagerly
):
    config.teacher.train.update({"steps": 2, "steps_per_execution": 1})
    config.student.train.steps_per_execution = 1
    mixed = {"sampler": "Empirical", "label_weight": 1.0, "labels": {"mixup_alpha": 1.0}}
    config.kd.label_weights = (0.0, 0.1)
    config = with_keys(config, methods={"mixed labels": mixed}, replay_epochs=3)
    config = with_keys(config, grid=(("student.train.steps", (2, 4)),))
    run_script("compare", config, tmp_path, rehearses=False, draws=False, ships=False)
    cells = json.loads((tmp_path / "results.json").read_text())["cells"]
    assert list(cells) == ["student.train.steps=2", "student.train.steps=4"]
    assert len(list((tmp_path / "teachers").iterdir())) == 1
    compared = ["ERM", "standard KD", "tuned KD", "XCL", "mixed labels"]
    for steps, cell in zip((2, 4), cells.values(), strict=True):
        assert list(cell["final"]) == compared and cell["student_steps"] == steps
        for keys in cell["final"].values():
            run = cell["runs"][keys[0]]
            # The last point is the finished student.
            assert run["curve"][-1]["step"] == steps
            assert run["curve"][-1]["accuracy"] == pytest.approx(run["validation"]["accuracy"])
            assert sum(run["reliability"]["weight"]) == pytest.approx(1.0, abs=1e-3)
        shown = cell["gallery"]["distributions"]
        assert list(shown) == ["teacher", *compared]
        assert np.shape(cell["gallery"]["inputs"]) == (8, 8, 8, 1)
        np.testing.assert_allclose(np.sum(shown["XCL"]["probabilities"], -1), 1.0, atol=1e-3)
    first, second = (cell["teacher"] for cell in cells.values())
    assert first == second

    # Standard KD, all KD to choose from, and XCL: all but the last see the same samples.
    manifests = sorted(tmp_path.glob("teachers/*/stores/*/manifest.json"))
    assert [path.parent.name.partition("_")[0] for path in manifests] == ["Choice", "Empirical"]
    for path in manifests:
        plan = json.loads(path.read_text())["plan"]
        assert (plan["epochs"], plan["batch_size"], plan["data"]["rows"]) == (3, 64, 64)
    assert "stored for 3 epochs" in (tmp_path / "table.md").read_text()

    monkeypatch.setattr(Experiment, "train_supervised", None)
    monkeypatch.setattr(Experiment, "train_distilled", None)
    run_script("compare", config, tmp_path, rehearses=False, draws=False, ships=False)
    assert json.loads((tmp_path / "results.json").read_text())["cells"] == cells


def test_cells_that_others_have_passed_stay_in_the_results_and_writing_has_its_turn(
    config, tmp_path, monkeypatch
):
    class StoppedError(Exception):
        pass

    def compare(cell, *_):
        if stops and cell.seeds == 3:
            raise StoppedError
        return {"seeds": cell.seeds}

    def write(path, content):
        assert path in held
        path.write_text(json.dumps(content))

    @contextlib.contextmanager
    def turn(place):
        held.append(place)
        yield True
        held.remove(place)

    held, stops = [], False
    monkeypatch.setattr(comparison, "_compare_one", compare)
    monkeypatch.setattr(comparison.work_directory, "write_json", write)
    monkeypatch.setattr(comparison.jobs, "turn", turn)
    config = with_keys(config, grid=(("seeds", (2, 3)),))
    whole = {"cells": {"seeds=2": {"seeds": 2}, "seeds=3": {"seeds": 3}}}
    assert comparison.run(config, tmp_path) == whole
    stops = True
    with pytest.raises(StoppedError):  # The same command again, stopped after the first cell.
        comparison.run(config, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == whole
