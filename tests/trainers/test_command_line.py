"""What is given on the command line, before anything else happens."""

import json
import pathlib
import subprocess
import sys

import processes
import pytest

from trainers import command, command_line

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = [name.replace("-", "_") for name in command.COMMANDS]
# Runs a module or the command, and tells what was imported when it ended.
RUN = """
import json, runpy, sys
try:
    if sys.argv[1] == "ecl-tf":
        del sys.argv[0]
        from ecl_tf.trainers.command import main
        main()
    else:
        runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)
finally:
    print(json.dumps([name for name in sys.modules if "." not in name]))
"""


def run(*arguments):
    found = subprocess.run([sys.executable, "-c", RUN, *arguments], cwd=ROOT, capture_output=True)
    *text, imported = found.stdout.decode().splitlines()
    assert not {"tensorflow", "keras", "sklearn", "matplotlib"} & set(json.loads(imported))
    return "\n".join(text)


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_waits_for_no_library(name):
    assert "--workdir" in run(f"trainers.{name}", "--help")


def test_the_commands_help_waits_for_no_library():
    """Without a command, and of one of them: its own text and flags."""
    for arguments in ([], ["--help"]):
        text = run("ecl-tf", *arguments)
        assert all(f"\n    {name} " in text for name in command.COMMANDS)
    text = run("ecl-tf", "train-teacher", "--help")
    assert "Trains the teacher ensemble" in text and "--checkpoint_every" in text


def test_every_script_is_a_command():
    scripts = {p.stem for p in (ROOT / "trainers").glob("*.py") if "__main__" in p.read_text()}
    assert scripts - {"command"} == set(SCRIPTS)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("60 seconds", {"every_seconds": 60.0}),
        ("0.5s", {"every_seconds": 0.5}),
        ("500 steps", {"every_steps": 500, "every_seconds": None}),
        ("60", None),
        ("often", None),
    ],
)
def test_checkpoints_by_seconds_or_steps(text, arguments):
    assert command_line.interval(text) == arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=digits"], "--workdir must have a value"),
        (["--config=digitz"], "There is no config 'digitz'. It is no file, and shipped are: abla"),
        (["--config", "common"], "There is no config 'common'"),
        (["--config=fashion_mnist:vgg"], "Unknown student 'vgg'; expected one of ['convnet', "),
        (["--config=configs/digits.py", "--config.seeds=many"], "--config.seeds=many: invalid"),
        (["--config=digits", "--config.studnet.train.steps=3"], 'Did you mean "student"'),
        (["--config", "digits", "--config.student.widht=3"], "config.student.widht is no setting"),
        (["--config=digits", "--config.student.network.widht=3"], "no arguments ['widht']"),
        (["--config=digits", "--teacher=nowhere"], "There is no teacher in nowhere"),
    ],
)
def test_a_mistake_is_told_in_a_line_and_leaves_no_directory(tmp_path, arguments, message):
    workdir = [] if "workdir" in message else [f"--workdir={tmp_path / 'run'}"]
    process = processes.start("trainers.compare", *arguments, *workdir)
    code, printed, errors = process.wait()
    assert code == 1 and message in errors and "Traceback" not in errors and not printed
    assert len([line for line in errors.splitlines() if line]) <= 2
    assert not (tmp_path / "run").exists()


def test_what_fails_by_no_raise_of_this_package_keeps_its_traceback(tmp_path):
    (tmp_path / "config.json").write_text("{")
    arguments = "--config=digits", f"--workdir={tmp_path}"
    code, _, errors = processes.start("trainers.compare", *arguments).wait()
    assert code == 1 and "Traceback" in errors and "JSONDecodeError" in errors
