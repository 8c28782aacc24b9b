"""The suite on work directories: all final students, by splits, once, and those of before."""

import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tiny import rows

import ecl_tf
from ecl_tf import data, evaluation, gap
from ecl_tf.evaluation import corruptions
from ecl_tf.evaluation.shown import Shown
from ecl_tf.experiments import (
    comparison,
    shifted_inputs,
    suite,
    suite_table,
    tables,
    work_directory,
)
from ecl_tf.experiments.experiment import Experiment, save_model

METHODS = ["ERM", "XCL"]
NAMES = ("contrast",)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setitem(corruptions.NAMES, "image", NAMES)


@pytest.fixture
def config(digits_config):
    digits_config.teacher.calibrate = False
    digits_config.suite.update({"rows": 30, "severities": (2, 5)})
    return digits_config


def finished(config, workdir):
    """A comparison of networks that are not trained, as versions before the suite wrote it."""
    experiment = Experiment(config)
    work_directory.claim(workdir, config)
    for name in ("teacher", "students"):
        (workdir / name).mkdir(parents=True)
    for number in range(config.teacher.members):
        path = workdir / f"teacher/member_{number}.keras"
        save_model(experiment.network(experiment.config.teacher), path)
    runs, output = {}, keras.saving.serialize_keras_object(experiment.output)
    for method in METHODS:
        for seed in (1, 2):
            student = experiment.network(experiment.config.student)
            key = f"{method}, seed {seed}"
            save_model(student, workdir / f"students/{key}.keras")
            scores = experiment.evaluate(student, "test")
            runs[key] = {"method": method, "label": "", "seed": seed, "seconds": 1.0}
            runs[key] |= {"student": f"{key}.keras", "output": output, "test": scores}
    results = {
        "score": "accuracy",
        "higher_is_better": True,
        "student_steps": 20,
        "student_weights": 100,
        "teacher_weights": 1000,
        "teacher": {"accuracy": 0.5, "nll": 1.0, "ece": 0.1},
        "runs": runs,
        "final": {method: [key for key in runs if method in key] for method in METHODS},
    }
    work_directory.write_json(workdir / "results.json", results)
    return experiment


def read(path):
    return json.loads(path.read_text())


@pytest.mark.slow
def test_a_finished_comparison_of_before_is_measured_once(
    run_script, config, few, tmp_path, monkeypatch, capsys
):
    experiment = finished(config, tmp_path)
    run_script("evaluate", config, tmp_path, suite=True)
    results = read(tmp_path / "results.json")
    printed = capsys.readouterr().out
    assert "5 networks are shown 4 sets of shifted inputs of 30 rows" in printed
    assert (
        "[suite 3/3] other shuffled: 5 networks" in printed and "results.json, suite.md" in printed
    )

    # The same as in Python, of the same rows.
    x, y = rows(experiment.splits.test)
    chosen = np.sort(np.random.default_rng(0).permutation(len(y))[:30])
    members = sorted((tmp_path / "teacher").glob("*.keras"))
    teacher = ecl_tf.Ensemble([keras.models.load_model(path) for path in members], "categorical")
    key = "XCL, seed 2"
    student = keras.models.load_model(tmp_path / f"students/{key}.keras")
    models = {"teacher": teacher, "student": student}
    expected = evaluation.measure(models, x[chosen], y[chosen], severities=(2, 5))
    of_all = evaluation.measure(student, x, y, teacher=teacher, names=(), other={})
    record = results["runs"][key]
    assert record["suite"].items() >= record["test"].items()
    for number, value in record["suite"].items():
        shifted = "corrupted" in number or "_auroc_" in number or "_fpr95_" in number
        its = expected["student"] if shifted else of_all
        assert value == pytest.approx(its[number], rel=1e-4, abs=1e-6), number
    assert record["suite"].keys() == {*expected["student"], *of_all}
    assert results["teacher_suite"]["accuracy"] == 0.5  # As it was measured before.
    of_teacher = results["teacher_suite"]["ood_auroc_disagreement"]
    assert of_teacher == pytest.approx(expected["teacher"]["ood_auroc_disagreement"], abs=1e-4)

    # Its table has means with intervals over the seeds.
    each = [results["runs"][f"XCL, seed {seed}"]["suite"]["corrupted_nll"] for seed in (1, 2)]
    half = stats.t.ppf(0.975, 1) * stats.sem(each)
    table = (tmp_path / "suite.md").read_text()
    assert f"{np.mean(each):.3f} ± {half:.3f}" in table
    assert (tmp_path / "report.html").exists()

    # Again: nothing is asked. Stopped before its end: only what is left.
    asked = []
    load = suite.keras_files.load
    monkeypatch.setattr(suite.keras_files, "load", lambda *a: asked.append(a[0].stem) or load(*a))
    assert comparison.add_suite(config, tmp_path) == results and not asked
    kept = read(tmp_path / "suite.json")
    (its,) = (name for name in kept["found"] if name.startswith(f"{key}.keras "))
    del kept["found"][its]["contrast 5"]
    work_directory.write_json(tmp_path / "suite.json", kept)
    before = {name: value for name, value in results.items() if name != "shifted"}
    work_directory.write_json(tmp_path / "results.json", before)
    again = comparison.add_suite(config, tmp_path)["runs"][key]["suite"]
    assert [name for name in asked if "member" not in name] == [key]
    assert again == pytest.approx(record["suite"], rel=1e-5)
    # Other settings are other numbers.
    config.suite.severities = (3,)
    again = comparison.add_suite(config, tmp_path)["runs"][key]["suite"]
    assert {n for n in again if "corrupted_nll" in n} == {"corrupted_nll", "corrupted_nll_3"}
    # A corruption whose code has changed is measured anew, and nothing else is.
    monkeypatch.setitem(corruptions.VERSIONS, "image contrast", 2)
    kept = read(tmp_path / "suite.json")
    for numbers in kept["found"].values():
        numbers["contrast 3"]["nll"] = numbers["other noise"]["auroc_entropy"] = 9.0
    work_directory.write_json(tmp_path / "suite.json", kept)
    changed = comparison.add_suite(config, tmp_path)["runs"][key]["suite"]
    assert changed["corrupted_nll_3"] == pytest.approx(again["corrupted_nll_3"], rel=1e-5)
    assert changed["noise_auroc_entropy"] == 9.0
    asked.clear()
    comparison.add_suite(config, tmp_path)
    assert not asked


@pytest.mark.slow
def test_a_distilled_student_and_a_model_are_measured_alone(
    run_script, config, few, tmp_path, capsys
):
    experiment = finished(config, tmp_path)
    (tmp_path / "results.json").unlink()
    save_model(experiment.network(experiment.config.student), tmp_path / "student.keras")
    run_script("evaluate", config, tmp_path, suite=True)
    found = read(tmp_path / "evaluation.json")
    assert found["suite"].keys() == {"teacher", "student"}
    assert found["suite"]["student"].items() >= found["test"]["student"].items()
    assert {"agreement", "corrupted_ece_5", "noise_fpr95_entropy"} <= found["suite"][
        "student"
    ].keys()
    assert "| agreement with the teacher, % |  |" in (tmp_path / "suite.md").read_text()
    path = str(tmp_path / "students/XCL, seed 1.keras")
    capsys.readouterr()
    run_script("evaluate", config, tmp_path, suite=True, model=path)
    assert "1 networks are shown" in capsys.readouterr().out
    written = read(tmp_path / "evaluation.json")["suite"]
    assert written.keys() == {"teacher", "student", path} and "agreement" not in written[path]
    with pytest.raises(ValueError, match="--suite is of the test split"):
        run_script("evaluate", config, tmp_path, suite=True, split="validation")
    (tmp_path / "student.keras").unlink()
    for place in (tmp_path, tmp_path / "new"):
        with pytest.raises(ValueError, match="There is no finished comparison"):
            run_script("evaluate", config, place, suite=True)
    assert not (tmp_path / "new").exists()  # Another experiment may have it.


def test_the_time_of_the_suite_by_hand(config, few, monkeypatch):
    config.suite.rows = 128
    experiment = Experiment(config)
    teacher = ecl_tf.Ensemble([experiment.network(experiment.config.teacher)], "categorical")
    asked = []
    monkeypatch.setattr(suite, "_time", lambda do: asked.append(do()) or 1.0)
    seconds, sets, rows = suite.seconds(experiment, teacher, 3)
    # Noise, shuffled, and contrast at two severities; the rows as they are, too. Of 64 rows at a
    # time all of it is done twice, by four networks.
    assert (seconds, sets, rows) == (2 * (4 + 5 * 4), 4, 128)
    assert len(asked) == 2 + 2 + 1


def test_networks_see_stored_bytes_as_the_commands_trained_them(config, tmp_path, monkeypatch):
    images = np.full((4, 8, 8, 1), 255, "uint8")
    shown = Shown(images, np.zeros(4, int), names=["contrast"], severities=[1], other={})
    monkeypatch.setattr(shifted_inputs, "make", lambda *_: shown)
    seen = []

    def network(x):
        seen.append(x.numpy())
        return np.zeros((4, 10), "float32")

    load = {"one": lambda: evaluation.Model(network, ecl_tf.outputs.Categorical())}
    suite.shifted(Experiment(config), tmp_path, load)
    np.testing.assert_array_equal(seen, np.ones((1, 4, 8, 8, 1)))


def test_other_data_is_brought_into_the_form_of_the_data(rotated_digits_config, casp_config):
    config = rotated_digits_config
    config.suite.other = "digits"  # Smaller images, from 0 to 16, as uint8 or not.
    experiment = Experiment(config)
    suite.rehearse(experiment)
    (name, make), *more = shifted_inputs.make(experiment, 5).others().items()
    assert name == "other digits" and not more
    x, _ = rows(experiment.splits.test)
    assert make().shape == (5, *x.shape[1:]) and make().dtype == x.dtype and make().max() <= x.max()
    casp_config.suite.other = {"name": "digits"}
    with pytest.raises(ValueError, match=r"config.suite=.*'digits' have the shape \(8, 8, 1\)"):
        suite.rehearse(Experiment(casp_config))
    casp_config.suite.other = None
    casp_config.suite.kind = "image"
    with pytest.raises(ValueError, match=r"config\.suite="):
        suite.rehearse(Experiment(casp_config))


def test_another_table_is_encoded_as_the_tables_own_columns(monkeypatch):
    own = data.Columns([data.Number("age", 30.0), data.Category("city", ("Basel", "Bern"))])
    theirs = data.Columns([data.Number("age", 5.0, True), data.Category("city", ("Bern", ""))])
    cells = {"age": np.array([20.0, np.nan]), "city": np.array(["Bern", "Bern"])}
    encoded = theirs.encode(cells), np.zeros(2)
    dataset = tf.data.Dataset.from_tensor_slices(encoded).filter(lambda x, y: True)
    loaded = types.SimpleNamespace(test=dataset, columns=theirs)
    monkeypatch.setattr(data, "load", lambda name: loaded)
    splits = types.SimpleNamespace(columns=own)
    found = shifted_inputs._other({"name": "mine:other"}, splits, own.encode(cells), 9)["other"]
    np.testing.assert_array_equal(found["numbers"], [[20.0], [30.0]])  # Its own mean.
    np.testing.assert_array_equal(found["categories"], [[2], [2]])
    splits.columns = data.Columns([data.Number("weight", 1.0)])
    with pytest.raises(ValueError, match="columns of the other data set 'other' are"):
        shifted_inputs._other("mine:other", splits, np.zeros((2, 1)), 9)


def test_other_images_are_in_the_range_of_the_datas_own(monkeypatch):
    images = np.linspace(0.0, 1.0, 2 * 64, dtype="float32").reshape(2, 8, 8, 1)
    test = tf.data.Dataset.from_tensor_slices((images, np.zeros(2)))
    loaded = types.SimpleNamespace(test=test, columns=None)
    monkeypatch.setattr(data, "load", lambda name: loaded)
    splits = types.SimpleNamespace(columns=None)
    for side in (8, 16):
        found = shifted_inputs._other(
            "mine:other", splits, np.zeros((2, side, side, 1), "uint8"), 2
        )
        assert found["other"].dtype == np.uint8 and found["other"].max() > 250
    loaded.test = tf.data.Dataset.from_tensor_slices((1.08 * images - 0.04, np.zeros(2)))
    found = shifted_inputs._other("a:b", splits, np.zeros((2, 8, 8, 1), "uint8"), 2)["b"]
    assert found.min() == found[0, 0, 0, 0] == 0 and found.max() == found[1, 7, 7, 0] == 255
    loaded.test = test
    own = np.linspace(-1.0, 1.0, 2 * 64, dtype="float32").reshape(2, 8, 8, 1)
    np.testing.assert_allclose(shifted_inputs._other("a:b", splits, own, 2)["b"], own, atol=1e-6)
    loaded.test = tf.data.Dataset.from_tensor_slices((own, np.zeros(2)))
    found = shifted_inputs._other("a:b", splits, images, 2)["b"]
    np.testing.assert_allclose(found, images, atol=1e-6)
    with pytest.raises(ValueError, match=r"'b' holds values from -1 to 1, and the data from -4 to"):
        shifted_inputs._other("a:b", splits, 4.0 * own, 2)


def test_splits_are_averaged_with_their_teachers():
    def part(nll, of_teacher, **more):
        runs = {"XCL 1": {"label": "", "seed": 1, "seconds": 1.0, "test": {"nll": 1.0}}}
        runs["XCL 1"]["suite"] = {"corrupted_nll": nll, **more}
        return {
            "teacher": {"nll": 1.0},
            "teacher_suite": {"corrupted_nll": of_teacher},
            "final": {"XCL": ["XCL 1"]},
            "runs": runs,
        }

    merged = tables.average([part(1.0, 0.5, agreement=1.0), part(2.0, 0.7)], "split")
    assert merged["teacher_suite"]["corrupted_nll"] == pytest.approx(0.6)
    assert suite_table.means(merged, "XCL") == {"corrupted_nll": gap.mean([1.0, 2.0])}
    assert suite_table.means(merged, "teacher") == {"corrupted_nll": gap.mean([0.5, 0.7])}
    before = tables.average([part(9.0, 9.0), part(9.0, 9.0)], "split")
    suite.of_parts(before, merged)
    assert suite_table.means(before, "XCL") == suite_table.means(merged, "XCL")
    row = "| NLL, nats | 0.6000 ± 1.2706 | 1.500 ± 6.353 |"
    assert row in suite_table.table(merged)
    cell = {**merged, "shifted": {"severities": [1, 2], "rows": 50}}
    grid = {"cells": {"a=1": cell, "a=2": merged}}
    text = suite_table.table(grid)
    assert suite_table.has(grid) and text.startswith("## a=1\n") and text.count(row) == 1
    assert "at most 50 test rows" in text and "severities 1, 2;" in text
