"""What is given on the command line, before anything else happens."""

import json
import pathlib
import subprocess
import sys

import pytest

from trainers import command_line

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = (
    "compare",
    "distill",
    "evaluate",
    "reinforce",
    "report",
    "train_generator",
    "train_teacher",
)
# Runs a script, and tells what it had imported when it ended.
RUN = """
import json, runpy, sys
try:
    runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)
finally:
    print(json.dumps([name for name in sys.modules if "." not in name]))
"""


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_waits_for_no_library(name):
    command = [sys.executable, "-c", RUN, f"trainers.{name}", "--help"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    *text, imported = found.stdout.splitlines()
    assert any("--workdir" in line for line in text), found.stderr
    assert not {"tensorflow", "keras", "sklearn", "matplotlib"} & set(json.loads(imported))


def test_every_script_is_asked_for_help():
    scripts = {
        path.stem for path in (ROOT / "trainers").glob("*.py") if "app.run" in path.read_text()
    }
    assert scripts == set(SCRIPTS)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("60 seconds", {"every_seconds": 60.0}),
        ("0.5s", {"every_seconds": 0.5}),
        ("500 steps", {"every_steps": 500, "every_seconds": None}),
        ("1 step", {"every_steps": 1, "every_seconds": None}),
        ("60", None),
        ("often", None),
    ],
)
def test_checkpoints_by_seconds_or_steps(text, arguments):
    assert command_line.interval(text) == arguments


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--config=D", "--workdir=W", "--config.student.widht=3"], "widht"),
        (["--config=D", "--workdir=W", "--config.seeds=many"], "seeds"),
        (["--config=D"], "workdir"),
    ],
)
def test_wrong_flags_end_with_their_name(tmp_path, arguments, message):
    paths = {"=W": f"={tmp_path / 'w'}", "=D": f"={ROOT / 'configs/digits.py'}"}
    for short, path in paths.items():
        arguments = [argument.replace(short, path) for argument in arguments]
    command = [sys.executable, "-m", "trainers.train_teacher", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode != 0
    assert message in ended.stderr + ended.stdout
    assert not (tmp_path / "w").exists()
