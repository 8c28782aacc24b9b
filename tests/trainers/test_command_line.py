"""What is given on the command line, before anything else happens."""

import contextlib
import errno
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import time

import processes
import pytest
from absl.testing import flagsaver

from trainers import command, command_line, evaluate, report

command_line.takes("checkpoint_every", "dry_run", "mlflow")  # The main functions of this file.
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


def test_modules_of_the_current_directory_are_found(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["ecl-tf", "none"])
    with pytest.raises(SystemExit):
        command.main()
    assert sys.path[-1] == str(tmp_path)


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
        ("0 steps", None),
        ("often", None),
    ],
)
def test_checkpoints_by_seconds_or_steps(text, arguments):
    assert command_line.interval(text) == arguments


BROKEN = """
import pathlib

from configs import digits
{line}


def get_config():
    return digits.get_config()
"""


def test_flags_may_name_sections_that_the_config_leaves_out(monkeypatch):
    named = ["suite.shifts=True", "student.train.schedule.warmup_steps=10"]
    given = ["script", "--config=digits", "--workdir=run", *(f"--config.{each}" for each in named)]
    monkeypatch.setattr("sys.argv", list(command_line._with_paths(given)))
    with flagsaver.flagsaver():
        command_line._parse(sys.argv)
        config = command_line.CONFIG.value
        assert config.suite.shifts is True and config.student.train.schedule.warmup_steps == 10


@pytest.mark.slow
def test_a_mistake_is_told_in_a_line_and_leaves_no_directory(tmp_path, subtests):
    """One test, as every worker of pytest would wait for a server of processes of its own."""
    mistakes = [
        (["--config=digits"], "--workdir must have a value"),
        (["--config=digitz"], "There is no config 'digitz'. It is no file, and shipped are: abla"),
        (["--config", "common"], "There is no config 'common'"),
        (["--config=fashion_mnist:vgg"], "Unknown student 'vgg'; expected one of ['convnet', "),
        (["--config=configs/digits.py", "--config.seeds=many"], "--config.seeds=many: invalid"),
        (["--config=digits", "--config.studnet.train.steps=3"], "Did you mean 'student'"),
        (["--config", "digits", "--config.student.widht=3"], "config.student.widht is no setting"),
        (["--config=digits", "--config.student.network.widht=3"], "no arguments ['widht']"),
        (["--config=digits:one_split", "--teacher=nowhere"], "There is no teacher in nowhere"),
        (["--config=digits", "--processes=100000"], "--processes=100000 are more than the "),
        (["--config=digits", "--config.seeds=0"], "config.seeds=0 is out of its range; expected"),
        (
            ["--config=digits", "--config.xcl.sampler=Mixup"],
            "--config.xcl.sampler=\"{'class_name': 'Mixup', 'config': {}}\"",
        ),
    ]
    for number, (line, said) in enumerate(
        [
            ("import missing", "ModuleNotFoundError: No module named 'missing'"),
            ("digits = digitz", "NameError: name 'digitz' is not defined"),
            ("def digits(:", "SyntaxError"),
        ]
    ):
        config = tmp_path / f"{number}.py"
        config.write_text(BROKEN.format(line=line))
        message = f"The config {config} fails at line 5: {said}"
        mistakes.append(([f"--config={config}"], message))
    for arguments, message in mistakes:
        workdir = [] if "workdir" in message else [f"--workdir={tmp_path / 'run'}"]
        with subtests.test(" ".join(arguments)):
            process = processes.start("trainers.compare", *arguments, *workdir)
            code, printed, errors = process.wait()
            assert code == 2 and message in errors and "Traceback" not in errors and not printed
            assert len([line for line in errors.splitlines() if line]) <= 2
            assert not (tmp_path / "run").exists()
    with subtests.test("nothing is returned"):
        config.write_text("def get_config():\n    None")
        process = processes.start("trainers.compare", f"--config={config}", *workdir)
        code, _, errors = process.wait()
        assert code == 2 and "get_config() of the file that --config names returns None" in errors
        config.write_text(BROKEN.format(line=line))
    with subtests.test("--debug"):
        process = processes.start("trainers.compare", *arguments, *workdir, "--debug")
        code, _, errors = process.wait()
        assert code == 2 and message in errors and "Traceback" in errors


def failing(error, monkeypatch, capsys, *flags, script=__name__):
    """The exit code and the errors of a script whose main function raises an error."""

    def main(_):
        raise error

    main.__module__ = script
    monkeypatch.setattr("sys.argv", ["script", "--config=digits", "--workdir=run", *flags])
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "script", *sys.argv[1:]])
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as exit_info:
        command_line.run(main)
    return exit_info.value.code, capsys.readouterr().err


def test_a_home_directory_after_a_flag_is_the_users(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    given = command_line._with_paths(["script", "--workdir=~/run", "--config=digits", "--x=a~b"])
    assert list(given)[1::2] == ["--workdir=/home/me/run", "--x=a~b"]


def test_an_error_has_a_public_name(monkeypatch, capsys):
    error = type("_GoneError", (FileNotFoundError,), {})(2, "Gone", "t.csv")
    told = "FileNotFoundError: [Errno 2] Gone: 't.csv'\n"
    assert failing(error, monkeypatch, capsys) == (2, told)


@pytest.mark.parametrize("said", [None, "0"])
def test_commands_turn_onednn_on_unless_the_environment_says_so(monkeypatch, said):
    monkeypatch.setattr(command_line.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", said or "")  # So that it is put back.
    if said is None:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    found = []
    monkeypatch.setattr(
        command_line.app, "run", lambda *_, **__: found.append(os.environ["TF_ENABLE_ONEDNN_OPTS"])
    )
    command_line.run(lambda _: None)
    assert found == [said or "1"]


def test_ctrl_c_tells_the_command_that_continues(monkeypatch, capsys):
    flag = "--checkpoint_every=5 steps"
    code, errors = failing(KeyboardInterrupt(), monkeypatch, capsys, flag)
    command = "python -m script --config=digits --workdir=run '--checkpoint_every=5 steps'"
    assert code == 130 and errors == f"Interrupted. To continue: {command}\n"


def test_ctrl_c_before_a_command_begins_is_told_in_a_line(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "_parse", interrupted)  # As while a config is imported.
    code, errors = failing(None, monkeypatch, capsys)
    assert code == 130 and errors.startswith("Interrupted. To continue: python -m script --con")


def test_ctrl_c_while_libraries_are_imported_ends_in_a_line(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise KeyboardInterrupt")
    code = "import sys; sys.argv[0] = 'ecl-tf'; import ecl_tf"
    ended = subprocess.run(
        [sys.executable, "-c", code, "compare"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
    )
    assert ended.returncode and ended.stderr.startswith(b"Interrupted. To continue: ")
    assert ended.stderr.endswith(b" compare\n") and ended.stderr.count(b"\n") == 1


def test_the_command_turns_onednn_on_before_tensorflow_is_imported(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os, sys; sys.exit(os.environ.get('TF_ENABLE_ONEDNN_OPTS', 'not set'))"
    )
    code = "import sys; sys.argv[0] = 'ecl-tf'; import ecl_tf"
    for own in ({}, {"TF_ENABLE_ONEDNN_OPTS": "0"}):
        env = {name: each for name, each in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
        ended = subprocess.run(
            [sys.executable, "-c", code, "compare"],
            cwd=ROOT,
            env={**env, "PYTHONPATH": str(tmp_path), **own},
            capture_output=True,
        )
        is_x86 = platform.machine() in ("x86_64", "AMD64")
        assert ended.stderr.decode().strip() == [*own.values(), "1" if is_x86 else "not set"][0]


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_that_comes_where_python_drops_errors_comes_again(monkeypatch, capsys):
    class Held:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def main(_):
        Held()
        time.sleep(10.0)

    monkeypatch.setattr("sys.argv", ["script", "--config=digits", "--workdir=run"])
    monkeypatch.setattr("sys.unraisablehook", sys.unraisablehook)  # To be put back.
    began = time.monotonic()
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as exit_info:
        command_line.run(main)
    assert time.monotonic() - began < 9.0
    assert exit_info.value.code == 130 and capsys.readouterr().err.startswith("Interrupted.")


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_that_tensorflow_drops_is_not_taken_for_a_mistake(monkeypatch, capsys):
    def main(_):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise ValueError("'dict' object has no attribute '_type_spec'")

    monkeypatch.setattr("sys.argv", ["script", "--config=digits", "--workdir=run"])
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as exit_info:
        command_line.run(main)
    assert exit_info.value.code == 130 and capsys.readouterr().err.startswith("Interrupted.")


def test_a_reader_that_has_gone_ends_it_in_a_line(monkeypatch, tmp_path, capfd):
    with open(tmp_path / "printed", "w") as printed:
        monkeypatch.setattr("sys.stdout", printed)
        monkeypatch.setattr("sys.argv", ["script", "--config=digits", "--workdir=run"])
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as exit_info:
            command_line.run(lambda _: (_ for _ in ()).throw(BrokenPipeError()))
    assert exit_info.value.code == 2
    assert capfd.readouterr().err.startswith("Nobody reads what is printed any more. To continue")


def test_a_missing_file_is_told_in_a_line_and_a_fault_keeps_its_traceback(monkeypatch, capsys):
    missing = FileNotFoundError(errno.ENOENT, "No such file", "labels.csv")
    code, errors = failing(missing, monkeypatch, capsys)
    assert code == 2 and "'labels.csv'" in errors and "Traceback" not in errors
    with pytest.raises(ZeroDivisionError):  # Python prints it, and ends with the code 1.
        failing(ZeroDivisionError(), monkeypatch, capsys)


def test_a_full_disk_ends_it_in_a_line_with_the_command_that_continues(monkeypatch, capsys):
    code, errors = failing(OSError(errno.ENOSPC, "No space left"), monkeypatch, capsys)
    command = "python -m script --config=digits --workdir=run"
    told = f"OSError: [Errno 28] No space left. Make room there. To continue: {command}\n"
    assert (code, errors) == (2, told)


def test_an_argument_that_is_no_flag_or_no_flag_of_the_command_is_refused(monkeypatch, capsys):
    given = AssertionError("main was called"), monkeypatch, capsys
    code, errors = failing(*given, "seeds=3")
    assert code == 2 and "'seeds=3' is no flag" in errors
    code, errors = failing(*given, "--dry_run", script=evaluate.__name__)
    assert code == 2 and "This command takes no --dry_run. Leave" in errors
    _, errors = failing(*given, "--strategy=tpu", script=report.__name__)
    assert "takes no --config, --strategy." in errors
    heeded = failing(FileNotFoundError(2, "Gone", "t"), *given[1:], "--dry_run", "--mlflow")
    assert "Gone" in heeded[1]
