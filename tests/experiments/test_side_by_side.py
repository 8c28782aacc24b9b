"""Two work directories side by side, against numbers by hand."""

import html.parser
import json

import processes
import pytest
from compared import results, shipped

from ecl_tf.experiments import side_by_side

CONFIG = {
    "data": {"name": "digits", "seed": 0},
    "output": "categorical",
    "score": "accuracy",
    "student": {"network": {"name": "mlp"}, "train": {"steps": 100, "learning_rate": 0.01}},
}


def longer(steps=200, **data):
    student = {**CONFIG["student"], "train": {"steps": steps, "learning_rate": 0.01}}
    return {**CONFIG, "data": {**CONFIG["data"], **data}, "student": student}


def about(config, test_hash=None):
    data = {"name": "digits", "rows": {"test": 9}, "hash": None, "test_hash": test_hash}
    return {"config": config, "date": "2026-01-01", "data": data}


@pytest.fixture
def directory(tmp_path):
    def make(name, found, config=CONFIG):
        path = tmp_path / name
        path.mkdir(parents=True)
        (path / "results.json").write_text(json.dumps(found))
        if config:
            (path / "config.json").write_text(json.dumps(config))
        return path

    return make


def rows_of(text, title):
    """The rows of the Markdown table beneath a heading."""
    lines = text.split(f"# {title}\n", 1)[1].split("\n#")[0].splitlines()
    cells = [[c.strip() for c in line[1:-1].split("|")] for line in lines if line[:1] == "|"]
    return [row for row in cells if row[0] != "---"]


def test_scores_differences_settings_and_costs_by_hand(directory, tmp_path):
    first = results(standard_KD=(0.70, 0.72, 0.74), XCL=(0.80, 0.82, 0.84))
    second = results(teacher=0.92, standard_KD=(0.72, 0.72, 0.73), XCL=(0.83, 0.84, 0.85))
    costs = {"teacher": (2000, 0.5), "student_keras": (1000, 0.25)}
    first["shipped"] = shipped(**costs)
    paths = [directory("short", first), directory("long", second, longer())]
    text = side_by_side.write(paths, tmp_path / "out")
    assert (tmp_path / "out" / "side_by_side.md").read_text() == text
    assert "short and long were tested on the same rows" in text
    # 4.303 (Student's t, 2 degrees) times the deviation over sqrt(3): that of XCL's differences,
    # 3, 2 and 1 points, is 1, and that of KD's, 2, 0 and -1 points, is 1.528.
    assert rows_of(text, "accuracy, %") == [
        ["", "short", "long", "long minus short"],
        ["teacher", "90.00", "92.00", "+2.00"],
        ["standard KD", "72.00 ± 4.97", "72.33 ± 1.43", "+0.33 (-3.46 to 4.13)"],
        ["XCL", "82.00 ± 4.97", "84.00 ± 2.48", "+2.00 (-0.48 to 4.48)"],
    ]
    assert rows_of(text, "What differs") == [
        ["", "short", "long"],
        ["student.train.steps", "100", "200"],
    ]
    # A column that nothing is known of is empty.
    assert [row[:3] for row in rows_of(text, "Size and speed")] == [
        ["", "file", "bytes"],
        ["short", "teacher", "2,000"],
        ["short", "student.keras", "1,000"],
    ]
    parser = html.parser.HTMLParser()
    found = []
    parser.handle_data = found.append
    parser.feed((tmp_path / "out" / "side_by_side.html").read_text())
    assert {"short", "long", "+2.00 (-0.48 to 4.48)", "student.train.steps"} <= {*found}


SPLITS = {"standard_KD": (0.7, 0.7), "XCL": (0.8, 0.9)}


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        ({}, {"config": longer(train_size=5)}, "config.data.train_size is None in a and 5 in b"),
        ({}, {"score": "rmse"}, "the score is accuracy in a and rmse in b"),
        ({}, {"kind": "split"}, "what the means are over is seeds in a and 2 splits in b"),
        ({}, {"config": None}, "their settings are not recorded"),
        ({"test": "aa"}, {"test": "bb"}, "their test rows are others"),
        ({"test": "aa"}, {"test": "aa", "config": longer(train_size=5)}, None),
        ({"kind": "split"}, {"kind": "split"}, None),
        ({}, {"data_file": "cd"}, "their data files are others"),
    ],
)
def test_a_difference_is_shown_where_the_test_rows_are_the_same(
    directory, tmp_path, one, two, said
):
    paths = []
    for name, given in {"a": one, "b": two}.items():
        config = given.get("config", CONFIG)
        found = results(given.get("score", "accuracy"), kind=given.get("kind", "seed"), **SPLITS)
        if "test" in given:
            found["about"] = about(config, given["test"])
        paths.append(directory(name, found, config))
        hashes = {"data": given.get("data_file", "ab")}
        (paths[-1] / "hashes.json").write_text(json.dumps(hashes))
    text = side_by_side.write(paths, tmp_path)
    assert (f"No difference of b and a is shown: {said}." in text) == bool(said)
    assert ("b minus a" in text) == (said is None)


def test_other_seeds_grids_and_equal_names(directory, tmp_path):
    one, two = (results(**SPLITS) for _ in range(2))
    two["runs"]["XCL, seed 1"]["seed"] = 7
    a, b = directory("x/run", one), directory("y/run", two)
    text = side_by_side.write([a, b], tmp_path)
    assert f"## {a}\n" in text and f"## {b}\n" in text
    by_method = {row[0]: row[-1] for row in rows_of(text, "accuracy, %")}
    assert by_method["XCL"] == "other seeds" and by_method["standard KD"].startswith("+0.00 (")
    assert "Nothing that is recorded." in text and "Not measured." in text

    cells = {"cells": {"s=1": one, "s=2": two, "s=3": {"runs": {}}}}
    grid, other = directory("grid", cells), directory("other", {"cells": {"s=2": one}})
    for path in (grid / "cells" / "s=1", grid / "cells" / "s=2", other / "cells" / "s=2"):
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps(CONFIG))
    text = side_by_side.write([grid, other], tmp_path)
    assert rows_of(text, "accuracy, %")[0][1:] == [
        *("grid, s=1", "grid, s=2", "other, s=2"),
        *("grid, s=2 minus grid, s=1", "other, s=2 minus grid, s=2"),
    ]


def test_what_cannot_be_compared_is_refused(directory, tmp_path):
    there = directory("there", results(**SPLITS))
    unfinished = directory("unfinished", {"runs": {}})
    with pytest.raises(ValueError, match="named twice"):
        side_by_side.write([there, there], tmp_path)
    with pytest.raises(ValueError, match=r"no results\.json"):
        side_by_side.write([there, tmp_path / "nowhere"], tmp_path)
    with pytest.raises(ValueError, match=r"unfinished are unfinished"):
        side_by_side.write([there, unfinished], tmp_path)
    with pytest.raises(ValueError, match=r"holds no results"):
        side_by_side.write([there, directory("other", [])], tmp_path)


@pytest.mark.slow
def test_the_command(directory, tmp_path):
    a, b = (directory(name, results(**SPLITS)) for name in ("a", "b"))

    def run(*arguments):  # Flags of scripts are those of a process.
        return processes.start("trainers.report", *map(str, arguments)).wait()

    code, printed, _ = run(a, b, f"--output={tmp_path / 'out'}")
    assert not code and "b minus a" in printed and "side_by_side.html" in printed
    assert (tmp_path / "out" / "side_by_side.html").exists()
    code, *_ = run(a, f"--output={tmp_path / 'one'}")
    assert not code and (tmp_path / "one" / "report.html").exists()
    assert not (a / "report.html").exists()
    code, _, errors = run()
    assert code == 2 and errors.splitlines()[-1].startswith("ValueError: Which work directory?")
    assert "Traceback" not in errors
