"""The README's code runs, and its commands are those that are tested."""

import pathlib
import re
import sys
import types

from ecl_tf.experiments.experiment import Experiment

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    examples = "".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    written = {"__name__": "my_data"}
    exec(compile(examples, "README.md", "exec"), written)

    # Its own data set, as the scripts load it.
    monkeypatch.setitem(sys.modules, "my_data", types.SimpleNamespace(load=written["load"]))
    experiment = Experiment(written["get_config"]())
    images, labels = next(iter(experiment.batches(experiment.config.student, 0)))
    assert images.shape == (64, 8, 8, 1) and int(max(labels)) < experiment.splits.event_size == 10
    assert "val_teacher_accuracy" in capsys.readouterr().out
    assert (tmp_path / "student/saved_model.pb").exists()


def test_ci_runs_the_readmes_test_command():
    commands = [
        line
        for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
        for line in block.splitlines()
    ]
    (command,) = [line for line in commands if "pytest" in line]
    assert command in (ROOT / ".ci/run").read_text().splitlines()


def test_the_configs_and_scripts_that_are_named_exist():
    for name in set(re.findall(r"configs/\w+\.py", README)):
        assert (ROOT / name).exists()
    for name in set(re.findall(r"-m trainers\.(\w+)", README)):
        assert (ROOT / "trainers" / f"{name}.py").exists()
