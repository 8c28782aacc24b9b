"""The student that is shipped: which one it is, its files, their hashes, and its card."""

import dataclasses
import hashlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from tiny import rows

import ecl_tf
from configs import table
from ecl_tf import data
from ecl_tf._internal import files
from ecl_tf.experiments import best, comparison, settings, work_directory
from ecl_tf.experiments.experiment import Experiment


def results_of(students, score="accuracy", **others):
    """Made-up results, from the score and the NLL of each method's students on validation rows."""
    runs, final = {}, {}
    for method, pairs in students.items():
        final[method] = [f"{method} {seed}" for seed in range(len(pairs))]
        for seed, (value, nll) in enumerate(pairs):
            runs[f"{method} {seed}"] = {
                **{"method": method, "label": f"as {method}", "seed": seed, "seconds": 1.0},
                **{"student": f"{method}{seed}.keras", "output": "categorical"},
                "validation": {score: value, "nll": nll, "ece": 0.01},
                "test": {score: value - 0.01, "nll": nll + 0.1, "ece": 0.0123},
            }
    return {
        **{"score": score, "higher_is_better": score == "accuracy", "runs": runs, "final": final},
        "teacher": {score: 0.912, "nll": 0.4, "ece": 0.03},
        **{"student_steps": 7, "student_weights": 610, "teacher_weights": 1234},
        **others,
    }


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # The best score; of equal ones the smaller NLL. The oracle saw more than others.
        ({"": {"ERM": [(0.8, 1.0)], "XCL": [(0.9, 0.5), (0.9, 0.4)]}}, ("", "XCL 1")),
        ({"": {"ERM": [(0.8, 1.0)], "oracle": [(0.9, 0.5)]}}, ("", "ERM 0")),
        # The best student of all is of a method that is worse in the mean: 0.85 and 0.87.
        ({"": {"ERM": [(0.9, 0.1), (0.8, 0.1)], "XCL": [(0.86, 1), (0.88, 1)]}}, ("", "XCL 1")),
        # Means 0.925 and 0.7: the second is 0.1 above those of its rows, the first 0.025.
        (
            {
                "a": {"ERM": [(0.95, 0.1)], "XCL": [(0.9, 0.1)]},
                "b": {"ERM": [(0.6, 1)], "XCL": [(0.8, 1)]},
            },
            ("b", "XCL 0"),
        ),
    ],
)
def test_the_best_on_validation_rows_is_chosen(found, expected):
    assert best.choose({name: results_of(each) for name, each in found.items()}) == expected


def test_of_errors_the_smallest_is_chosen():
    assert best.choose({"": results_of({"XCL": [(2.0, 0.1), (1.0, 0.9)]}, "rmse")}) == ("", "XCL 1")


@pytest.fixture
def chosen(digits_config, tmp_path):
    """An experiment, its work directory, and a student that was not trained."""
    digits_config.student.network.widths = (4,)
    experiment = Experiment(digits_config)
    (tmp_path / "students").mkdir()
    experiment.network(experiment.config.student).save(tmp_path / "students/XCL1.keras")
    students = {"ERM": [(0.8, 1.0), (0.7, 1.0)], "XCL": [(0.9, 0.5), (0.91, 0.4)]}
    results = results_of(students, teacher_fingerprint="ab12")
    return experiment, tmp_path, best.of_comparison(tmp_path, results, {"": results})


def exporting(config, **values):
    return dataclasses.replace(config, export=settings.Export(**values, measures=False))


def as_written(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def interrupted(*_):
    raise KeyboardInterrupt


def test_the_best_student_is_written_once_and_whole(chosen, subtests, capsys, monkeypatch):
    experiment, workdir, student = chosen
    directory = workdir / "best"
    left = workdir / f"{files.UNFINISHED}best.killed"
    left.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(best.model_card, "render", interrupted)
        with pytest.raises(KeyboardInterrupt):
            best.keep(lambda: experiment, workdir, student, "ecl-tf compare --config=digits")
    assert sorted(path.name for path in workdir.iterdir()) == ["students"]
    # What is told at the end of a long run goes on without it.
    damaged = dataclasses.replace(student, path=workdir / "students/damaged.keras")
    damaged.path.write_text("no network")
    best.keep(lambda: experiment, workdir, damaged, "ecl-tf compare")
    assert "best was not written." in capsys.readouterr().out
    assert sorted(path.name for path in workdir.iterdir()) == ["students"]

    best.keep(lambda: experiment, workdir, student, "ecl-tf compare --config=digits")
    assert "Best: XCL, seed 1" in capsys.readouterr().out
    card = (directory / "MODEL_CARD.md").read_text()
    written = as_written(directory)

    with subtests.test("hashes"):
        lines = (directory / "SHA256SUMS").read_text().splitlines()
        found = {line[66:]: line[:64] for line in lines}
        relative = {path.relative_to(directory).as_posix(): own for path, own in written.items()}
        del relative["MODEL_CARD.md"], relative["SHA256SUMS"]
        assert found == {name: hashlib.sha256(own).hexdigest() for name, own in relative.items()}
        assert {"student.keras", "saved_model/saved_model.pb"} <= found.keys()
        subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=directory, check=True)
        for name, own in found.items():
            assert f"| `{name}` | {len(relative[name]):,} | `{own}` |" in card

    with subtests.test("answers"):
        x = rows(experiment.splits.test)[0][:7]
        network = keras.models.load_model(directory / "student.keras")
        served = ecl_tf.load_student(directory / "saved_model").parameters(x)["probabilities"]
        np.testing.assert_allclose(served, keras.ops.softmax(network(x)), atol=1e-5)
        with pytest.raises(ValueError, match=r"between 0 and 255\b"):
            ecl_tf.load_student(directory / "saved_model").parameters(255.0 * x)

    with subtests.test("front matter"):
        _, front, _ = card.split("---\n", 2)
        about = yaml.safe_load(front)
        (result,) = about["model-index"][0]["results"]
        assert about["pipeline_tag"] == "image-classification"
        assert result["dataset"] == {"name": "digits", "type": "digits", "split": "test"}
        numbers = {each["type"]: each["value"] for each in result["metrics"]}
        assert numbers == student.results["runs"]["XCL 1"]["test"] == student.scores["test"]

    with subtests.test("words"):
        headings = re.findall(r"^#+ (.*)", card.split("---\n", 2)[2], re.MULTILINE)
        assert headings == [
            *("digits, XCL", "Numbers", "Load it", "Inputs and outputs", "Files"),
            *("Data and teacher", "How it was made", "Limits"),
        ]
        assert "as XCL, with seed 1. Of 4 final students those of its method have" in card
        assert "| test | this student | 90 | 0.5 | 1.23 |" in card
        assert "| validation | this student | 91 | 0.4 | 1 |" in card
        assert "| test | its teacher | 91.2 | 0.4 | 3 |" in card
        # Of 79 and 69 %, and 12.706 times the standard error, which is 5.
        assert "| ERM (as ERM) | 74.00 ± 63.53 |" in card
        assert "| input | `inputs` | float32 | (batch, 8, 8, 1) |" in card
        assert "| output | `probabilities` | float32 | (batch, 10) |" in card
        assert "Rows: train 64, validation 300, test 597." in card
        assert "`ab12`" in card and "ecl-tf compare --config=digits" in card
        assert not re.search(r"None|Undefined|\n\n\n\n", card)

    with subtests.test("its code"):
        (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        monkeypatch.chdir(directory)
        exec(compile(code, "card", "exec"), {})
        assert "probabilities" in capsys.readouterr().out

    with subtests.test("once more"):
        monkeypatch.setattr(best, "_write", None)
        assert best.keep(None, workdir, student, "another command")
        assert as_written(directory) == written and not capsys.readouterr().out
        best.require(workdir, experiment.config)

    with subtests.test("another student"):
        student.path.write_bytes(b"trained again")
        assert not best.keep(None, workdir, student, "another command")  # Nor shown as its own.
        assert "holds another student" in capsys.readouterr().out

    with subtests.test("other formats"):
        other = exporting(experiment.config, formats=("litert",))
        with pytest.raises(ValueError, match=r"holds \['saved_model'\].*\['student\.tflite'\]"):
            best.require(workdir, other)

    with subtests.test("no student any more"):
        student.path.unlink()
        best.keep(None, workdir, student, "another command")
        best.keep(None, workdir / "other", student, "another command")
        assert re.search(
            r"No student is exported to .*other.best: there is", said := capsys.readouterr().out
        )
        assert len(said.splitlines()) == 1

    with subtests.test("not whole"):
        (directory / "student.keras").unlink()
        with pytest.raises(ValueError, match=r"not whole: it has no student\.keras"):
            best.require(workdir, experiment.config)


def test_files_in_fewer_bits_have_scores_of_their_own(chosen, digits_config):
    experiment, workdir, student = chosen
    experiment.config = exporting(experiment.config, formats=("litert",), quantization="int8")
    best.keep(lambda: experiment, workdir, student, "ecl-tf compare")
    x, y = rows(experiment.splits.test)
    served = ecl_tf.load_student(workdir / "best/student_int8.tflite").parameters(x)
    right = np.mean(served["probabilities"].numpy().argmax(-1) == y)
    card = (workdir / "best/MODEL_CARD.md").read_text()
    assert f"| test | `student_int8.tflite` | {100 * right:.4g} | " in card
    assert 'pip install "ecl_tf[export]"' in card and "in fewer bits answers" in card


def test_a_student_trained_in_8_bits_is_always_shipped_in_them(chosen, digits_config):
    _, workdir, student = chosen
    digits_config.student.quantization = "int8"
    experiment = Experiment(digits_config)
    network = experiment.network(experiment.config.student)
    x, y = rows(experiment.splits.test)
    network.quantized.measure(x)
    network.save(student.path)
    best.try_formats(experiment)
    best.keep(lambda: experiment, workdir, student, "ecl-tf compare")
    card = (workdir / "best/MODEL_CARD.md").read_text()
    for name, raw in {"saved_model": network.network(x), "student_int8.tflite": network(x)}.items():
        served = ecl_tf.load_student(workdir / "best" / name).parameters(x)["probabilities"]
        expected = keras.ops.softmax(raw).numpy()
        assert np.mean(np.abs(served - expected) < 1e-5) > 0.98  # Others are a step off.
        right = np.mean(served.numpy().argmax(-1) == y)
        assert f"| test | `{name}` | {100 * right:.4g} | " in card
    assert "It was trained in 8 bits" in card
    with pytest.raises(ValueError, match=r"'float16' is of a student that is trained in float32"):
        best.require(workdir / "other", exporting(experiment.config, quantization="float16"))


def test_the_card_of_a_table_has_its_columns_and_sets(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    lines = ["size,built,colour,price"]
    for size in generator.integers(10, 99, 200):
        colour, day = generator.choice(["red", "blue"]), generator.integers(1, 28)
        lines.append(f"{size},2020-03-{day:02},{colour},{2.0 * size + generator.normal():.3f}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    config = table.get_config()
    config.data.update({"path": str(tmp_path / "table.csv"), "target": "price"})
    config.student.conformal, config.export.measures = 0.8, False
    work_directory.claim(tmp_path / "run", config)
    experiment = Experiment(config)
    path = tmp_path / "run/student.keras"
    experiment.network(experiment.config.student).save(path)
    chosen = best.Chosen(
        **{"path": path, "workdir": path.parent, "output": experiment.output, "seed": 0},
        **{"method": "XCL", "label": "Choice", "fingerprint": None, "among": "It is the only one"},
        scores={"validation": {"rmse": 3.5, "nll": 2.25, "coverage": 0.5}},
        teacher={},
    )
    best.keep(lambda: experiment, tmp_path / "run", chosen, "ecl-tf distill")
    card = (tmp_path / "run/best/MODEL_CARD.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["pipeline_tag"] == "tabular-regression"
    assert "| validation | this student | 3.5 | 2.25 | 50 |" in card and "not read" in card
    assert "| input | `colour` | string | (batch) |" in card and "target, price." in card
    assert re.search(r"to hold 80 % of the labels\. Their thresholds are those of \d+ valid", card)
    own = hashlib.sha256((tmp_path / "table.csv").read_bytes()).hexdigest()
    assert f"SHA-256 of the data file: `{own}`" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(tmp_path / "run/best")
    found = {}
    exec(compile(code, "card", "exec"), found)
    assert found["rows"].keys() == {"size", "built", "colour"}
    assert found["distribution"].mean().shape == (1, 1)


def test_the_card_of_yes_no_labels_says_so(digits_config, tmp_path):
    splits = Experiment(digits_config).splits
    parts = [
        part.map(lambda x, y: (x, tf.cast(y[None] > 4, tf.int64)))
        for part in (splits.train, splits.validation, splits.test)
    ]
    digits_config.output = "bernoulli"
    digits_config.export.measures, digits_config.erm.label_smoothing = False, 0.0
    experiment = Experiment(digits_config, splits=data.Splits(*parts, event_size=1))
    work_directory.claim(tmp_path, digits_config)
    path = tmp_path / "student.keras"
    experiment.network(experiment.config.student).save(path)
    chosen = best.Chosen(
        **{"path": path, "workdir": path.parent, "output": experiment.output, "seed": 0},
        **{"method": "XCL", "label": "Choice", "fingerprint": None, "among": "It is the only one"},
        scores={"validation": {"accuracy": 0.5, "nll": 0.25}},
        teacher={},
    )
    best.keep(lambda: experiment, tmp_path, chosen, "ecl-tf distill")
    card = (tmp_path / "best/MODEL_CARD.md").read_text()
    assert "Answers are probabilities of yes/no labels." in card


def determinants(input_shape, units, widths):
    """A network with an operation that LiteRT lacks."""
    inputs = keras.Input(input_shape)
    found = keras.ops.det(keras.layers.Reshape(input_shape[:2])(inputs))[:, None]
    return keras.Model(inputs, keras.layers.Dense(units)(found))


def test_what_cannot_be_exported_is_refused_before_training(
    digits_config, tmp_path, subtests, monkeypatch
):
    def refused(values, message, **others):
        config = digits_config.copy_and_resolve_references()
        config.export.update(values)
        config.student.update(others)
        with subtests.test(message), pytest.raises(ValueError, match=message):
            comparison.rehearse(config, tmp_path / "run")

    refused(
        {"formats": ("tflite",)}, r"config\.export\.formats=.* some of saved_model, litert, onnx"
    )
    refused({"formats": ()}, r"config\.export\.formats=.* at least one")
    refused({"quantization": "int4"}, r"config\.export\.quantization='int4'")
    refused({"quantization": "int8"}, r"config\.export={.*} can't be used.*Add \"litert\" to")
    int8 = {"formats": ("litert",), "quantization": "int8"}
    refused(int8, r"config\.export={.*conformal.*not in 8 bits", conformal=0.9)
    network = {"name": f"{__name__}:determinants"}
    refused({"formats": ("litert",)}, r"config\.export={.*\['MatrixDeterminant'\]", network=network)
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    refused({"formats": ("onnx",)}, r'config\.export={.*needs tf2onnx.*"ecl_tf\[export\]"')
    assert not any(tmp_path.iterdir())
    (tmp_path / "run/best").mkdir(parents=True)
    refused({}, r"best is there, and no student of ours")


def test_formats_may_be_changed_in_a_work_directory(digits_config, tmp_path):
    work_directory.claim(tmp_path, digits_config)
    digits_config.export.formats = ("onnx",)
    work_directory.check(tmp_path, digits_config)
    with digits_config.unlocked():
        del digits_config.export  # As configs of earlier versions.
    work_directory.check(tmp_path, digits_config)
