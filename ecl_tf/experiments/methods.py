"""The methods that are compared, and the settings that each is tried with."""

import dataclasses
from typing import Any

from ecl_tf import outputs, samplers
from ecl_tf.experiments import progress, refusals, settings
from ecl_tf.experiments.experiment import Experiment

_OWN_METHODS = ("ERM", "standard KD", "tuned KD", "XCL", "oracle", "teacher")


@dataclasses.dataclass(frozen=True)
class Setting:
    """A method with its settings.

    Attributes:
        method: "ERM", "standard KD", "tuned KD", "XCL", "oracle", or a name of config.methods.
        label: the settings in words, unique within the method.
        arguments: of `Experiment.train_supervised` for ERM, otherwise of
            `Experiment.train_distilled`.
        same_as: another method, of which the run of the same label and seed is the same training;
            "" by default.
    """

    method: str
    label: str
    arguments: dict[str, Any]
    same_as: str = ""

    def key(self, seed: int) -> str:
        """The name of a run in results.json."""
        return f"{self.method}, {self.label}, seed {seed}"

    def same(self) -> "Setting":
        """The setting of `same_as`, whose runs are the same trainings."""
        return dataclasses.replace(self, method=self.same_as, same_as="")

    def blamed(self, config: settings.Settings) -> tuple[str, Any]:
        """The name and the value of the part of a configuration that it comes from."""
        if self.method in config.methods:
            return f"config.methods.{self.method}", config.methods[self.method]
        choices = settings.choices(config.xcl)
        if self.method == "XCL" and self.label in choices:
            return f"config.xcl.choices[{[*choices].index(self.label)}]", choices[self.label]
        names = {"tuned KD": "kd", "XCL": "xcl", "oracle": "oracle"}
        name = names.get(self.method, "erm" if "labels" in self.arguments else "student")
        return f"config.{name}", getattr(config, name)


PLAIN = Setting("ERM", "plain", {})  # Training on labels as they are.


def erm_settings(experiment: Experiment) -> list[Setting]:
    """Training on labels: plain, with label smoothing, with mixup, with CutMix."""
    words = {"cutmix_alpha": "CutMix", "label_smoothing": "label smoothing", "mixup_alpha": "mixup"}
    given = {name: getattr(experiment.config.erm, name) for name in words}
    return [PLAIN] + [
        Setting("ERM", f"{words[name]} {value:g}", {"labels": settings.Labels(**{name: value})})
        for name, value in given.items()
        if value
    ]


def kd_temperatures(experiment: Experiment) -> list[Setting]:
    """Distillation on the training inputs by temperature, at the first label weight."""
    section = experiment.config.kd
    temperatures = section.temperatures if experiment.output.takes_temperature else (1.0,)
    return [kd(temperature, section.label_weights[0]) for temperature in temperatures]


def kd_beside(experiment: Experiment, best: Setting) -> list[Setting]:
    """What is tried beside the best temperature: other label weights there, and standard KD.

    A baseline that was tuned is so, on validation data, never worse than one that was not.

    Args:
        best: of `kd_temperatures`.
    """
    temperature = best.arguments["temperature"]
    others = [kd(temperature, weight) for weight in experiment.config.kd.label_weights[1:]]
    standard = standard_kd(experiment)
    same = dataclasses.replace(standard, method="tuned KD", same_as=standard.method)
    return [*others, same]


def kd(temperature: float, label_weight: float) -> Setting:
    """Ordinary distillation: on the training inputs, at a temperature and a label weight."""
    return Setting(
        "tuned KD",
        f"T = {temperature:g}, label weight {label_weight:g}",
        {"sampler": "Empirical", "temperature": temperature, "label_weight": label_weight},
    )


def standard_kd(experiment: Experiment) -> Setting:
    """The usual benchmark setting of ordinary distillation."""
    if experiment.output.takes_temperature:
        # 0.9 T^2 KL + 0.1 cross-entropy, up to a factor of 1 / 0.9: nothing to Adam, a
        # learning rate 11 % higher to SGD.
        arguments = {"sampler": "Empirical", "temperature": 4.0, "label_weight": 1 / 9}
        return Setting("standard KD", "T = 4, 0.9 KL + 0.1 labels", arguments)
    if experiment.output.family == "bernoulli":  # It takes no temperature.
        arguments = {"sampler": "Empirical", "label_weight": 1 / 9, "temperature": 1.0}
        return Setting("standard KD", "T = 1, 0.9 KL + 0.1 labels", arguments)
    arguments = {"sampler": "Empirical", **_squared_error(experiment)}
    return Setting("standard KD", "squared error to the mean", arguments)


def _squared_error(experiment):
    """The arguments of a distillation to the teacher's mean alone."""
    # KL between normals of one and the same spread is the squared error of the means.
    # That spread is the targets', so that gradients are as large as other methods'.
    return {"output": experiment.point_output(experiment.splits.target_stddev)}


def xcl_settings(experiment: Experiment) -> list[Setting]:
    """Extracurricular learning as config.xcl says, then each of config.xcl.choices.

    Raises:
        ValueError: if they are more than ordinary distillation is tuned over, or one is none.
    """
    xcl = experiment.config.xcl
    choices = settings.choices(xcl)
    temperatures = kd_temperatures(experiment)
    count = len(temperatures) + len(kd_beside(experiment, temperatures[0]))
    if len(choices) >= count:
        raise ValueError(
            f"config.xcl and its {len(choices)} choices are {len(choices) + 1} settings, and tuned "
            f"KD has {count} to choose from, which would favour XCL. Give KD more "
            "(config.kd.label_weights), or XCL none: --config.xcl.choices='()'."
        )
    tried = [_distillation(experiment, "XCL", "config.xcl", xcl, experiment.xcl_arguments())]
    for number, (name, choice) in enumerate(choices.items()):
        place = f"config.xcl.choices[{number}]"
        if name == tried[0].label:
            raise ValueError(f"{place}.name={name!r} is that of config.xcl. Choose another one.")
        chosen = _distillation(experiment, "XCL", place, choice, vars(choice))
        tried.append(dataclasses.replace(chosen, label=name))
    return tried


def tell_of_labels(label_weight: float, remedy: str) -> None:
    """Tells in a line what XCL without labels forgoes.

    Args:
        label_weight: that of the training; nothing is told of others than 0.
        remedy: how to learn from labels.
    """
    if label_weight == 0.0:
        progress.announce(
            "XCL learns from no labels here. They help where the teacher is hardly better than "
            f"training on labels. {remedy}"
        )


def oracle(experiment: Experiment) -> Setting:
    """Ordinary distillation on the training inputs and the spare ones, which samples stand for.

    Raises:
        ValueError: if the data has no spare inputs.
    """
    rows = int(experiment.splits.with_spare_inputs().train.cardinality())
    return Setting("oracle", f"{rows:,} inputs", {"sampler": "Empirical", "spare": True})


def others(experiment: Experiment) -> list[Setting]:
    """The methods of config.methods.

    Raises:
        ValueError: if one has the name of a method that is always compared, or no sampler is as
            it says.
    """
    methods = experiment.config.methods
    if taken := sorted(methods.keys() & set(_OWN_METHODS)):
        raise ValueError(
            f"config.methods names {taken[0]!r}, which is compared anyway. Choose another name."
        )
    return [
        _distillation(experiment, name, f"config.methods.{name}", section, vars(section))
        for name, section in methods.items()
    ]


def _distillation(experiment, method, name, section, arguments):
    """A distillation's `Setting`, labelled by its sampler."""
    with refusals.blaming(name, section):
        label = type(samplers.get(section.sampler)).__name__
        if section.divergence == "squared_error":
            if not isinstance(experiment.output, outputs.Numeric):
                raise ValueError("divergence='squared_error' is of numbers, and these are classes.")
            arguments = {**arguments, "divergence": "kl", **_squared_error(experiment)}
    return Setting(method, label, arguments)
