"""Which settings each method is tried with, and how one is chosen."""

import pathlib

import pytest

from ecl_tf.experiments import jobs, methods, selection
from ecl_tf.experiments.experiment import Experiment


class Scored:
    """In place of `Runs`: scores by label, and what was run."""

    def __init__(self, experiment, scores):
        self.experiment, self.scores, self.done = experiment, scores, []

    def job(self, setting, seed):
        run = setting.label, seed
        return jobs.Job(pathlib.Path(), lambda: run in self.done, lambda: self.done.append(run))

    def run(self, setting, seed):
        accuracy, nll = self.scores.get(setting.label, (0.0, 1.0))
        return {"validation": {"accuracy": accuracy, "nll": nll}}


def weighted(temperature, *weights):
    return [f"T = {temperature}, label weight {weight}" for weight in weights]


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ({"T = 2, label weight 0.3": (0.9, 0.4)}, "T = 2, label weight 0.3"),
        ({"T = 2, label weight 1": (0.8, 0.3)}, "T = 2, label weight 1"),  # By its NLL.
        ({"T = 4, 0.9 KL + 0.1 labels": (0.9, 0.9)}, "T = 4, 0.9 KL + 0.1 labels"),
        ({}, "T = 2, label weight 0"),
    ],
)
def test_kd_is_tuned_by_temperature_then_by_label_weight_and_never_below_standard_kd(
    digits_config, scores, chosen
):
    digits_config.kd = {"temperatures": (1.0, 2.0, 8.0), "label_weights": (0.0, 0.1, 0.3, 1.0)}
    digits_config.tuning_seeds = 2
    experiment = Experiment(digits_config)
    runs = Scored(experiment, {"T = 2, label weight 0": (0.8, 0.5), **scores})
    (found,) = selection.choose([runs], methods.kd_temperatures, methods.kd_beside)
    assert (found.method, found.label) == ("tuned KD", chosen)
    labels = ["T = 1, label weight 0", "T = 2, label weight 0", "T = 8, label weight 0"]
    labels += [*weighted(2, 0.1, 0.3, 1), "T = 4, 0.9 KL + 0.1 labels"]
    assert runs.done == [(label, seed) for label in labels for seed in range(2)]
    standard = methods.standard_kd(experiment)
    assert found.label != standard.label or found.arguments == standard.arguments


def test_xcl_is_tried_as_it_is_and_with_its_choices_but_with_no_more_settings_than_kd(
    digits_config,
):
    def settings(*choices, **changed):
        config = digits_config.copy_and_resolve_references()
        config.xcl = {"sampler": "Mixup", **changed, "choices": choices}
        return methods.xcl_settings(Experiment(config))

    (one,) = settings(label_weight=0.3)
    assert (one.label, one.arguments["label_weight"]) == ("Mixup", 0.3)
    warm = {"name": "warm", "temperature": 2.0}
    tried = settings(warm, {"name": "noise", "sampler": "CutMix"}, label_weight=0.3)
    names = ["sampler", "temperature", "label_weight"]
    assert [(each.label, *(each.arguments[name] for name in names)) for each in tried] == [
        ("Mixup", "Mixup", 1.0, 0.3),
        ("warm", "Mixup", 2.0, 0.3),
        ("noise", "CutMix", 1.0, 0.3),
    ]
    assert all("choices" not in each.arguments for each in tried)
    # KD has two temperatures at one label weight, and standard KD's setting.
    with pytest.raises(ValueError, match=r"4 settings, and tuned KD has 3"):
        settings(*({"name": str(number)} for number in range(3)))
    wrong = {
        r"choices\[0\]\.name=None has a wrong type": ({"temperature": 2.0},),
        r"choices\[1\]\.name='warm' is another's": (warm, warm),
        r"choices\[0\]\.temprature is no setting\. Did you mean 'temperature'": (
            {"name": "warm", "temprature": 2.0},
        ),
        r"choices\[0\]=.*Unknown sampler": ({"name": "mixed", "sampler": "Mixxup"},),
    }
    for message, choices in wrong.items():
        with pytest.raises(ValueError, match=message):
            settings(*choices)


def test_a_run_without_labels_says_what_it_forgoes(capsys):
    methods.tell_of_labels(0.1, "")
    assert not capsys.readouterr().out
    methods.tell_of_labels(0.0, "Try --config.xcl.label_weight=0.3.")
    (line,) = capsys.readouterr().out.splitlines()
    assert "no labels" in line and line.endswith("Try --config.xcl.label_weight=0.3.")
