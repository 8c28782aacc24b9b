"""Each script, end to end, on a tiny experiment."""

import json
import shutil

import keras
import numpy as np
import pytest
from logged import rows_of, tensors_of
from tiny import rows, untuned

import ecl_tf
from ecl_tf import headroom
from ecl_tf.experiments import selection, settings, work_directory
from ecl_tf.experiments.experiment import Experiment, save_model


@pytest.mark.slow
def test_train_teacher_distill_and_evaluate(run_script, digits_config, tmp_path, capsys, eagerly):
    for section in (digits_config.teacher, digits_config.student):
        section.train.update({"steps": 4, "steps_per_execution": 2})
    digits_config.student.conformal = 0.8
    run_script("train_teacher", digits_config, tmp_path)
    members = sorted((tmp_path / "teacher").glob("*.keras"))
    assert [path.name for path in members] == ["member_0.keras", "member_1.keras"]
    before = [path.read_bytes() for path in members]
    assert "teacher: validation accuracy" in capsys.readouterr().out
    run_script("train_teacher", digits_config, tmp_path)  # Keeps what is there.
    assert "found in" in capsys.readouterr().out

    run_script("distill", digits_config, tmp_path, tensorboard=True)
    rows = rows_of(tmp_path / "log.csv")
    assert [(row["epoch"], row["step"]) for row in rows] == [(0, 2), (1, 4)]
    assert {"loss", "divergence", "agreement", "val_loss", "learning_rate"} <= set(rows[0])
    logged = tensors_of(tmp_path / "logs/tensorboard/student")
    for name in set(rows[0]) - {"epoch", "step"}:
        assert logged[name] == [(row["step"], np.float32(row[name])) for row in rows]
    assert [path.read_bytes() for path in members] == before
    student = keras.models.load_model(tmp_path / "student.keras")
    x = np.random.default_rng(0).random((7, 8, 8, 1), "float32")
    served = ecl_tf.load_student(tmp_path / "export").parameters(x)["probabilities"]
    np.testing.assert_allclose(served, keras.ops.softmax(student(x)), atol=1e-5)
    _require_sets_of_validation_rows(tmp_path / "export", digits_config)
    capsys.readouterr()
    run_script("distill", digits_config, tmp_path)
    assert "nothing to train" in capsys.readouterr().out
    card = (tmp_path / "best/MODEL_CARD.md").read_text()
    shipped = ecl_tf.load_student(tmp_path / "best/saved_model").parameters(x)["probabilities"]
    np.testing.assert_array_equal(shipped, served)
    assert "extracurricular learning (XCL), Choice, with seed 0." in card

    run_script("evaluate", digits_config, tmp_path, tensorboard=True)
    of_file = json.loads((tmp_path / "evaluation.json").read_text())["test"]
    assert set(of_file) == {"teacher", "student"}
    for name, scores in of_file.items():
        logged = tensors_of(tmp_path / "logs/tensorboard" / name)
        assert {f"test/{each}": [(0, np.float32(v))] for each, v in scores.items()}.items() <= (
            logged.items()
        )
    for split in ("validation", "test"):  # By `distill`, and by `evaluate`.
        logged = tensors_of(tmp_path / f"logs/tensorboard/pictures_of_{split}")
        assert logged.keys() == {"settings", "reliability", "sampled inputs"}
    path = str(tmp_path / "export")
    run_script("evaluate", digits_config, tmp_path, model=path)
    written = json.loads((tmp_path / "evaluation.json").read_text())["test"]
    assert written[path] == pytest.approx(of_file["student"], abs=1e-5)
    assert written.keys() > of_file.keys()

    # Half of the ensemble is another teacher.
    (tmp_path / "others").mkdir()
    shutil.copy(members[0], tmp_path / "others")
    with pytest.raises(ValueError, match="The teacher has changed"):
        run_script("distill", digits_config, tmp_path, teacher=str(tmp_path / "others"))


def _require_sets_of_validation_rows(path, config):
    x, y = rows(Experiment(config).splits.validation)
    exported = ecl_tf.load_student(path)
    assert (exported.conformal["rows"], exported.conformal["coverage"]) == (len(y), 0.8)
    members = exported.parameters(x)["prediction_set"].numpy()
    assert members[np.arange(len(y)), y].mean() >= 0.8
    assert 1.0 <= members.sum(-1).mean() < 10.0


def test_evaluate_scores_and_measures_any_file(run_script, digits_config, tmp_path, capsys):
    experiment = Experiment(digits_config)
    student = experiment.network(experiment.config.student)  # As it began.
    student.save(tmp_path / "student.keras")
    expected = experiment.evaluate(student, "test")
    files = {"litert": "student.tflite", "onnx": "student.onnx"}
    for format, name in files.items():
        path = tmp_path / name
        ecl_tf.export_student(student, experiment.output, path, format=format)
        run_script("evaluate", digits_config, tmp_path / "run", measures=True, model=str(path))
    told = capsys.readouterr().out
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    for name in files.values():
        path = tmp_path / name
        assert found["test"][str(path)] == pytest.approx(expected, abs=1e-5)
        costs = found["costs"][str(path)]
        assert costs["bytes"] == path.stat().st_size and costs["seconds"]["32"] > 0.0
        # 64 pixels, 8 hidden units, 10 classes.
        assert costs["multiply_adds"] == 64 * 8 + 8 * 10
        assert f"{path}: bytes {costs['bytes']:,}, weights {student.count_params():,}, " in told


@pytest.mark.slow
def test_headroom_and_an_oracle_share_the_teacher(
    run_script, digits_config, tmp_path, capsys, eagerly, monkeypatch
):
    for section in (digits_config.teacher, digits_config.student):
        section.train.update({"steps": 8, "steps_per_execution": 2})
    config = untuned(digits_config)
    run_script("headroom", config, tmp_path / "tried", steps=4, dry_run=True)
    printed = capsys.readouterr().out
    assert "2 x tuned KD" not in printed and "1 x tuned KD, 4 steps" in printed
    assert "1 x ERM, 4 steps" in printed and not (tmp_path / "tried").exists()

    run_script("headroom", config, tmp_path, tensorboard=True)
    found = json.loads((tmp_path / "headroom.json").read_text())
    assert f"Verdict: {found['verdict']}" in capsys.readouterr().out
    runs = {(run["method"], run["steps"]): run for run in found["students"]}
    assert set(runs) == {("ERM", 8), ("tuned KD", 8), ("tuned KD", 4)}
    evidence, kd = found["evidence"], runs["tuned KD", 8]["divergence"]
    assert (evidence["training"], evidence["new"]) == (kd["train"], kd["validation"])
    erm = 1.0 - runs["ERM", 8]["validation"]["accuracy"]
    teacher = 1.0 - found["teacher"]["validation"]["accuracy"]
    assert evidence["teacher_lead"] == pytest.approx(1.0 - teacher / erm, abs=1e-6)
    assert found["verdict"] == headroom.verdict(headroom.Evidence(**evidence)).name

    logged = tensors_of(tmp_path / "logs/tensorboard/headroom")
    assert logged["evidence/teacher_lead"] == [(0, np.float32(evidence["teacher_lead"]))]
    assert f"**{found['verdict']}.**".encode() in logged["verdict"][0][1].item()
    short = (tmp_path / "logs/tensorboard/headroom").glob("*/tuned_KD_*")
    assert {path.parent.name for path in short} == {"4_steps", "8_steps"}

    # Nothing is trained again, nor is the test split read; `compare` goes on beside it.
    for name in ("train_supervised", "train_distilled"):
        monkeypatch.setattr(Experiment, name, None)
    run_script("headroom", config, tmp_path)
    assert json.loads((tmp_path / "headroom.json").read_text()) == found
    monkeypatch.undo()
    assert not any("test" in run for run in found["students"])


@pytest.mark.parametrize(
    "script", ["compare", "distill", "evaluate", "headroom", "reinforce", "train_teacher"]
)
def test_a_wrong_setting_leaves_the_work_directory_free(run_script, casp_config, tmp_path, script):
    file = casp_config.data.path
    casp_config.data.path = "nowhere.npz"
    with pytest.raises(ValueError, match=r"no table at 'nowhere\.npz'"):
        run_script(script, casp_config, tmp_path / "run")
    casp_config.data.path = file
    work_directory.claim(tmp_path / "run", casp_config)


def test_what_is_missing_is_named(run_script, digits_config, tmp_path):
    with pytest.raises(ValueError, match=r"(?s)no teacher in .*teacher.*ecl-tf train-teacher"):
        run_script("distill", digits_config, tmp_path)
    with pytest.raises(ValueError, match=r"no model at .*nowhere.*ecl-tf distill"):
        run_script("evaluate", digits_config, tmp_path, model=str(tmp_path / "nowhere"))
    # Before the teacher, whose temperature may have to be fitted, and which is missing, too.
    with pytest.raises(ValueError, match=r"no model at .*student\.keras.*ecl-tf distill"):
        run_script("evaluate", digits_config, tmp_path)


@pytest.mark.slow
def test_compare_writes_results_table_plot_and_students(
    run_script, digits_config, tmp_path, eagerly, capsys
):
    for section in (digits_config.teacher, digits_config.student):
        section.train.update({"steps": 4, "steps_per_execution": 2})
    labelled = {"name": "labelled", "label_weight": 0.3, "label_rows": "unmodified"}
    digits_config.xcl.choices = (labelled,)
    digits_config.erm.label_smoothing = 0.0
    digits_config.oracle = True
    digits_config.student.conformal = 0.8
    digits_config.export.update({"formats": ("saved_model", "litert")})
    run_script("compare", digits_config, tmp_path, measures=True)
    printed = capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["final"]) == ["ERM", "standard KD", "tuned KD", "XCL", "oracle"]
    for method, keys in results["final"].items():
        assert [results["runs"][key]["seed"] for key in keys] == [1, 2]
        assert {results["runs"][key]["method"] for key in keys} == {method}
    # Tuning seeds never met the test split, and are not the final ones.
    tuning = [run for run in results["runs"].values() if "test" not in run]
    assert {run["seed"] for run in tuning} == {0}
    assert len(tuning) == 2 + 3 + 2 and len(results["runs"]) == 7 + 5 * 2
    # The settings chosen are the best on validation data.
    for method in ("ERM", "tuned KD", "XCL"):
        of_method = [run for run in tuning if run["method"] == method]
        best = max(of_method, key=lambda r: (r["validation"]["accuracy"], -r["validation"]["nll"]))
        assert results["runs"][results["final"][method][0]]["label"] == best["label"]
    assert all(run["seconds"] > 0 for run in results["runs"].values())
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    for run in results["runs"].values():
        assert set(run["divergence"]) - {"test"} == {"train", "validation"}
        assert ("test" in run["divergence"]) == ("test" in run)
    table = (tmp_path / "table.md").read_text()
    assert "| oracle (900 inputs) |" in table
    assert "coverage of conformal sets" in table and "hold 80 % of the labels" in table
    for scores in (results["teacher"], results["runs"][keys[0]]["test"]):
        assert 0.7 < scores["conformal_coverage"] <= 1.0 <= scores["conformal_size"] <= 10.0
    _require_what_is_shipped(results, tmp_path)
    costs = (tmp_path / "best" / "costs.json").read_bytes()
    xcl = [100 * results["runs"][key]["test"]["accuracy"] for key in results["final"]["XCL"]]
    (tmp_path / "table.md").unlink()
    run_script("report", digits_config, tmp_path, draws=False)  # It writes all again.
    assert (tmp_path / "table.md").read_text() == table
    assert f"| {np.mean(xcl):.2f} ± " in table

    # On validation data the best student of the best method is exported, but for the oracle's.
    def rank(runs):
        scores = [(run["validation"]["accuracy"], -run["validation"]["nll"]) for run in runs]
        return np.mean(scores, axis=0).round(9).tolist()

    final = [keys for name, keys in results["final"].items() if name != "oracle"]
    students = max([[results["runs"][key] for key in keys] for keys in final], key=rank)
    best = max(students, key=lambda run: rank([run]))
    shipped = (tmp_path / "best/student.keras").read_bytes()
    assert shipped == (tmp_path / "students" / best["student"]).read_bytes()
    *said, of_scores = table.split("\n\n### ")[0].strip().split("\n\n", 3)
    assert of_scores in (tmp_path / "best/MODEL_CARD.md").read_text()
    _require_the_message(said, results, printed, digits_config)

    # Without the last run, the same command trains that one alone, to the same student.
    key = results["final"]["XCL"][-1]
    removed = results["runs"].pop(key)
    others = {name: results.pop(name) for name in ("teacher", "final")}
    (tmp_path / "results.json").write_text(json.dumps(results))
    once_more = {"measures": True, "rehearses": False, "draws": False}
    run_script("compare", digits_config, tmp_path, tensorboard=True, **once_more)
    again = json.loads((tmp_path / "results.json").read_text())
    assert again["runs"][key]["test"] == removed["test"]
    assert {name: again[name] for name in others} == others
    assert again["shipped"] == results["shipped"]  # It was not measured again.
    assert (tmp_path / "best" / "costs.json").read_bytes() == costs
    _require_all_in_tensorboard(tmp_path, again)

    # With another teacher it neither goes on, nor is it taken for that one's when finished.
    (tmp_path / "others").mkdir()
    shutil.copy(tmp_path / "teacher" / "member_0.keras", tmp_path / "others")
    once_more["teacher"] = str(tmp_path / "others")
    for kept in (again, {k: v for k, v in again.items() if k not in others}):
        (tmp_path / "results.json").write_text(json.dumps(kept))
        with pytest.raises(ValueError, match="learned from another teacher"):
            run_script("compare", digits_config, tmp_path, **once_more)


def _require_the_message(said, results, printed, config):
    """Three sentences in table.md and at the end of what is printed; where all comes from."""
    assert printed.endswith("\n" + "\n".join(said) + "\n")
    assert said[0].startswith(
        f"The directory best/ holds a student of {results['shipped']['of'][:3]}"
    )
    assert (
        "the network mlp (widths 8) with 610 weights" in said[0] and "2 seeds in pairs" in said[2]
    )
    about = results["about"]
    assert about["config"]["student"] == json.loads(json.dumps(config.student.to_dict()))
    assert about["config"]["export"]["formats"] == ["saved_model", "litert"]
    assert about["command"].startswith("ecl-tf compare")
    rows = about["data"]["rows"]
    assert (rows["train"], about["data"]["classes"]) == (config.data.train_size, 10)
    assert about["versions"]["keras"] == keras.__version__


def _require_what_is_shipped(results, workdir):
    files = {path.name: path for path in (workdir / "best").iterdir()}
    rows = results["shipped"]["rows"]
    assert [*rows] == ["teacher", "student.keras", "saved_model", "student.tflite"]
    assert rows["teacher"]["scores"] == results["teacher"]
    method, seed = results["shipped"]["of"].split(", seed ")
    (best,) = [results["runs"][key] for key in results["final"][method] if key.endswith(seed)]
    for name in [*rows][1:]:
        scores, costs = rows[name]["scores"], rows[name]["costs"]
        assert scores == pytest.approx({key: best["test"][key] for key in scores}, abs=1e-5)
        assert scores.keys() >= {"accuracy", "nll", "ece"}
        assert (costs["parameters"], costs["multiply_adds"]) == (610, 64 * 8 + 8 * 10)
        assert costs["seconds"]["32"] > 0.0 and costs["seconds"]["1"] > 0.0
        path = files[name]
        parts = [each for each in (path, *path.rglob("*")) if each.is_file()]
        counted = [each for each in parts if each.name != "fingerprint.pb"]
        assert costs["bytes"] == sum(each.stat().st_size for each in counted)
    table = (workdir / "table.md").read_text()
    assert (
        "### What is shipped" in table
        and f"| {rows['student.tflite']['costs']['bytes']:,} |" in table
    )
    assert "What is shipped" in (workdir / "report.html").read_text()
    assert "## Size and speed" in files["MODEL_CARD.md"].read_text()


def _require_all_in_tensorboard(workdir, results):
    """Those that were trained without the flag, too, and everything once."""
    place = workdir / "logs" / "tensorboard"
    trainings = {run["student"].removesuffix(".keras"): run for run in results["runs"].values()}
    for name, record in trainings.items():
        rows, found = rows_of(workdir / "logs" / f"{name}.csv"), tensors_of(place / name)
        curve = [{"step": row["step"], "accuracy": row["val_accuracy"]} for row in rows]
        assert curve == record["curve"]
        assert found["loss"] == [(row["step"], np.float32(row["loss"])) for row in rows]
        for split in ("validation", "test"):
            for metric, value in record.get(split, {}).items():
                assert found[f"{split}/{metric}"] == [(record["steps"], np.float32(value))]
        ((_, text),) = found["settings"]
        about = json.loads(text.item().decode().strip("`json\n"))
        assert about["seed"] == record["seed"]
        assert about["config"] == json.loads((workdir / "config.json").read_text())
    assert rows_of(workdir / "logs" / "teacher_member_0.csv")[0].keys() >= {"step", "loss"}
    found = tensors_of(place / "comparison")
    assert {"scores", "learning curves", "reliability", "sampled inputs"} < found.keys()
    assert found["test/teacher/accuracy"] == [(0, np.float32(results["teacher"]["accuracy"]))]
    assert "| XCL (" in found["table"][0][1].item().decode()
    assert tensors_of(place / "teacher").keys() > {"train/nll", "validation/nll", "test/nll"}


def test_a_saved_network_has_no_optimizer_and_can_still_be_trained(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(300)])
    save_model(model, tmp_path / "never_compiled.keras")
    model.compile("adam", "mse")
    rows = np.ones((8, 4)), np.zeros((8, 300))
    model.fit(*rows, verbose=0)
    save_model(model, tmp_path / "lean.keras")
    weights = 4 * 5 * 300
    assert weights < (tmp_path / "lean.keras").stat().st_size < 2 * weights + 8_000
    loaded = keras.models.load_model(tmp_path / "lean.keras")
    assert not loaded.compiled
    np.testing.assert_array_equal(loaded(rows[0]), model(rows[0]))
    before = model.get_weights()[1]
    model.fit(*rows, verbose=0)
    assert model.optimizer.iterations.numpy() == 2 and (before != model.get_weights()[1]).any()


def test_final_seeds_are_apart_from_tuning_seeds(digits_config):
    digits_config.seed, digits_config.tuning_seeds, digits_config.seeds = 7, 2, 3
    found = selection.seeds(settings.parse(digits_config))
    assert [list(part) for part in found] == [[7, 8], [9, 10, 11]]
