"""The script that trains a generator: to the end, a second time, and where it can't."""

import dataclasses
import re

import keras
import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

import ecl_tf
from ecl_tf import samplers
from ecl_tf.experiments import generation
from ecl_tf.experiments.experiment import Experiment


@pytest.fixture
def config(digits_config):
    digits_config.generator.width = 4
    digits_config.generator.train.update({"steps": 20, "steps_per_execution": 10})
    return digits_config


def test_a_generator_is_trained_once_and_sampled_from(
    run_script, config, tmp_path, capsys, request, monkeypatch
):
    workdir = tmp_path / "generator"
    run_script("train_generator", config, workdir)
    printed = capsys.readouterr().out
    assert "validation kl" in printed and f"Written to {workdir / 'generator.keras'}" in printed
    assert {path.name for path in workdir.iterdir()} == {"config.json", "generator.keras"}
    generator = keras.models.load_model(workdir / "generator.keras", safe_mode=True)
    assert generator.input_shape == (None, 8 + 10)
    before = (workdir / "generator.keras").read_bytes()
    run_script("train_generator", config, workdir)
    printed = capsys.readouterr().out
    assert "nothing to train" in printed
    assert (workdir / "generator.keras").read_bytes() == before

    # The setting that was printed, as another script reads it.
    (sampler,) = re.findall(r'--config\.xcl\.sampler="(.*)"', printed)
    monkeypatch.chdir(request.config.rootpath)
    values = flags.FlagValues()
    arguments = ["script", "--config=configs/digits.py", f"--config.xcl.sampler={sampler}"]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=arguments)
    values(arguments)
    config.xcl = values.config.xcl
    experiment = Experiment(config)
    choice = samplers.get(experiment.xcl_arguments()["sampler"])
    assert [type(each).__name__ for each in choice.samplers] == ["Uncertain", "Generated"]
    assert choice.probabilities == pytest.approx([1 / 2] * 2)
    teacher = ecl_tf.Ensemble([experiment.network(config.teacher)], experiment.output)
    student = experiment.train_distilled(teacher, 0, **experiment.xcl_arguments())
    assert np.isfinite(experiment.evaluate(student, "validation")["nll"])


def test_a_sampler_that_is_no_choice_becomes_one_of_two():
    mixup = {"class_name": "Mixup", "config": {"alpha": 0.5}}
    parts = generation.sampler_with("g.keras", mixup)["config"]["samplers"]
    assert parts == [mixup, {"class_name": "Generated", "config": {"model": "g.keras"}}]


def test_a_config_without_the_section_is_told_where_to_find_one(run_script, config, tmp_path):
    with config.unlocked():
        del config.generator
    with pytest.raises(ValueError, match=r"no section `generator`.*configs/digits\.py"):
        run_script("train_generator", config, tmp_path / "run")
    assert not (tmp_path / "run").exists()  # So that it is no other experiment's afterwards.


def test_a_regression_has_no_classes(run_script, config, rotated_digits_config, tmp_path):
    with rotated_digits_config.unlocked():
        rotated_digits_config.generator = config.generator
    with pytest.raises(ValueError, match="this experiment has none: its output is Normal"):
        run_script("train_generator", rotated_digits_config, tmp_path / "run")


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda x: {"image": x}, r"inputs are a nest of them: {'image': \(8, 8, 1\)}"),
        (lambda x: 16.0 * x - 2.0, r"from -2 to 14\. Rescale"),
        (lambda x: x[0], r"shape \(size,\); got inputs of shape \(8, 1\)"),
    ],
)
def test_other_inputs_are_refused(config, convert, message):
    experiment = Experiment(config)
    validation = experiment.splits.validation.map(lambda x, y: (convert(x), y))
    experiment.splits = dataclasses.replace(experiment.splits, validation=validation)
    with pytest.raises(ValueError, match=message):
        generation.build(experiment)


def test_a_generator_that_diverged_is_not_written(run_script, config, tmp_path):
    config.generator.train.learning_rate = 1e30
    with pytest.raises(FloatingPointError, match=r"loss became .*train\.learning_rate"):
        run_script("train_generator", config, tmp_path)
    assert not list(tmp_path.glob("*.keras"))
