"""Every example runs, fits on a page, and prints the numbers that its docstring says."""

import ast
import pathlib
import re
import runpy

import pytest

EXAMPLES = sorted((pathlib.Path(__file__).parent.parent / "examples").glob("*.py"))


def percentages(text):
    """A dict from the words before the first percentage of each line to its value."""
    found = re.finditer(r"^ *([^\d\n]+) [^%\n]*?\b(\d+\.\d)%", text, re.MULTILINE)
    return {" ".join(row.group(1).split()): float(row.group(2)) for row in found}


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
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


def test_there_are_examples_and_each_fits_on_a_page():
    assert len(EXAMPLES) >= 8
    for path in EXAMPLES:
        source = path.read_text()
        assert len(source.splitlines()) <= 92, path.name
        assert f"python examples/{path.name}" in ast.get_docstring(ast.parse(source))
