"""Every example runs, fits on a page, and prints the numbers that its docstring says.

Of all but one that is so with WHOLE_EXAMPLES=1 in the environment.
"""

import ast
import os
import pathlib
import re
import runpy

import numpy as np
import pytest
from by_hand import softmax
from scipy.stats import norm
from tiny import rows

EXAMPLES = sorted((pathlib.Path(__file__).parent.parent / "examples").glob("*.py"))
# Those that train a few steps, unless the environment has WHOLE_EXAMPLES: where the accuracy and
# NLL of the teacher and the last student stand in the last rows, and others, by the row of theirs.
LONGEST = {
    "generated_samples",
    "image_folder",
    "own_sampler_and_divergence",
    "segmentation",
    "tagging",
    "text",
}
ROWS = {
    "regression": "XCL, default recipe",
    "stored_teacher": "convnet store",
    "table": "XCL, default recipe",
}
SHORTENED = set() if os.environ.get("WHOLE_EXAMPLES") else LONGEST | ROWS.keys()


def percentages(text):
    """A dict from the words before the first percentage of each line to its value."""
    found = re.finditer(r"^ *([^\d\n]+) [^%\n]*?\b(\d+\.\d)%", text, re.MULTILINE)
    return {" ".join(row.group(1).split()): float(row.group(2)) for row in found}


def named(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


@pytest.mark.slow
@named([path for path in EXAMPLES if path.stem not in SHORTENED])
def test_an_example_prints_what_its_docstring_says(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")

    expected = percentages(ast.get_docstring(ast.parse(path.read_text())))
    # Processors round otherwise, and versions of Python have other modules to tag.
    assert percentages(capsys.readouterr().out) == pytest.approx(expected, abs=5.0)
    students = [score for name, score in expected.items() if name != "majority class"]
    assert len(students) >= 3 and min(students) > expected.get("majority class", 50.0) + 10.0
    if path.stem == "regression":
        assert (tmp_path / "regression.png").stat().st_size > 10_000


def scores(text):
    """From the name of each network in a table to its weights, if told, accuracy in %, and NLL."""
    found = re.finditer(
        r"^ *(\w[^\d\n]*?) +(?:([\d,]+) +)?(\d+\.\d)% .* (\d+\.\d+)$", text, re.MULTILINE
    )
    return {
        name: ((weights or "").replace(",", ""), float(accuracy), float(nll))
        for name, weights, accuracy, nll in (row.groups() for row in found)
    }


@pytest.mark.slow
@named([path for path in EXAMPLES if path.stem in LONGEST & SHORTENED])
def test_a_shortened_example_prints_the_scores_of_its_networks(
    path, tmp_path, monkeypatch, capsys, briefly, request
):
    """The documented rows, with numbers that are recomputed from the last student and teacher."""
    if path.stem != "own_sampler_and_divergence":  # What readers write must work in graphs.
        request.getfixturevalue("eagerly")
    monkeypatch.chdir(tmp_path)
    made = runpy.run_path(str(path), run_name="__main__")
    printed, documented = capsys.readouterr().out, ast.get_docstring(ast.parse(path.read_text()))
    found, expected = scores(printed), scores(documented)
    weights = {name: row[0] for name, row in found.items()}
    assert weights == {name: row[0] for name, row in expected.items()} and len(weights) >= 3
    assert percentages(printed).get("majority class") == pytest.approx(
        percentages(documented).get("majority class"), abs=5.0
    )

    x, y = rows(made["test"].unbatch()) if "test" in made else (made["test_x"], made["test_y"])
    *_, last, teacher = found
    for name, network in ((last, made["student"]), (teacher, made["teacher"])):
        members = getattr(network, "members", [network])
        p = np.mean([softmax(member.predict(x, verbose=0)) for member in members], axis=0)
        own = np.take_along_axis(p, np.asarray(y)[..., None], -1)
        _, accuracy, nll = found[name]
        assert accuracy == pytest.approx(100 * np.mean(p.argmax(-1) == y), abs=0.06)
        assert nll == pytest.approx(-np.mean(np.log(own)), abs=6e-4)
    if path.stem == "segmentation":
        assert (tmp_path / "segmentation.png").stat().st_size > 10_000


def first_numbers(text):
    """From the name of each row to its first number, in %, or in the target's unit."""
    found = re.finditer(r"^ *([A-Za-z][^\d\n]*?)  +(\d+\.\d+)", text, re.MULTILINE)
    return {" ".join(row.group(1).split()): float(row.group(2)) for row in found}


@pytest.mark.slow
@named([path for path in EXAMPLES if path.stem in ROWS.keys() & SHORTENED])
def test_a_shortened_example_prints_its_rows(path, tmp_path, monkeypatch, capsys, briefly, eagerly):
    """Those that are documented; the number of the last distilled student is recomputed."""
    monkeypatch.chdir(tmp_path)
    made = runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    found = first_numbers(printed)
    expected = first_numbers(ast.get_docstring(ast.parse(path.read_text())))
    assert found.keys() == expected.keys() and len(found) >= 3
    raw, y = made["distiller"].student.predict(made["test_x"], verbose=0), made["test_y"]
    if path.stem == "regression":
        mean, scale = raw[:, :1], 0.01 + np.logaddexp(0.0, raw[:, 1:])
        wanted, digits = np.sqrt(np.mean((mean - y) ** 2)), 6e-4
        (nll,) = re.findall(rf"^{ROWS[path.stem]} +\S+ +(\S+)", printed, re.MULTILINE)
        assert float(nll) == pytest.approx(-norm.logpdf(y, mean, scale).mean(), abs=6e-3)
        assert (tmp_path / "regression.png").stat().st_size > 10_000
    else:
        wanted, digits = 100 * np.mean(raw.argmax(-1) == y), 0.06
    assert found[ROWS[path.stem]] == pytest.approx(wanted, abs=digits)


def test_there_are_examples_and_each_fits_on_a_page():
    assert len(EXAMPLES) >= 8
    for path in EXAMPLES:
        source = path.read_text()
        assert len(source.splitlines()) <= 92, path.name
        assert f"python examples/{path.name}" in ast.get_docstring(ast.parse(source))
