"""A configuration is checked as a whole, and says by its dotted name what is wrong with it."""

import dataclasses
import inspect
import re

import pytest

import ecl_tf
from ecl_tf.experiments import settings


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seedz", 1, "config.seedz is no setting. Did you mean 'seed'?"),
        ("generator", {}, "config.generator is no setting. Expected some of ['class_weight', "),
        ("kd.temperature", 2.0, "config.kd.temperature is no setting. Did you mean 'temperatures'"),
        ("student.train.schedule", {"name": "linear"}, "schedule.name='linear' is unknown; exp"),
        ("student.train.schedule", {"name": "cosine", "factor": 0.1}, "schedule.factor is no set"),
        ("student.train.schedule", {"name": "steps"}, "schedule.at is missing; expected tuple[flo"),
        ("seeds", 2.5, "config.seeds=2.5 has a wrong type; expected int."),
        (
            "student.train.steps",
            "soon",
            "steps='soon' is out of its range; expected a whole number >",
        ),
        (
            "student.train.steps",
            0,
            'steps=0 is out of its range; expected a whole number >= 1, or "',
        ),
        (
            "student.conformal",
            90.0,
            "conformal=90.0 is out of its range; expected a number between 0 and 1",
        ),
        ("seeds", True, "config.seeds=True has a wrong type; expected int."),
        ("teacher.calibrate", 1, "config.teacher.calibrate=1 has a wrong type; expected bool."),
        ("xcl.temperature", "high", "config.xcl.temperature='high' has a wrong type; expected fl"),
        ("kd.label_weights", (0.0, "a"), "config.kd.label_weights[1]='a' has a wrong type"),
        ("kd.label_weights", 0.1, "config.kd.label_weights=0.1 has a wrong type"),
        (
            "student.train.optimizer",
            3,
            "optimizer=3 has a wrong type; expected str | dict[str, Any]",
        ),
        ("methods", {"a": {"temprature": 2.0}}, "methods.a.temprature is no setting. Did you mean"),
        ("teacher", "mine", "config.teacher='mine' has a wrong type; expected Teacher."),
    ],
)
def test_what_is_wrong_is_named(digits_config, key, value, message):
    config = digits_config.to_dict()
    *path, last = key.split(".")
    section = config
    for part in path:
        section = section[part]
    section[last] = value
    with pytest.raises(ValueError, match=re.escape(message)):
        settings.parse(config)


def test_what_has_a_default_may_be_left_out():
    train = {"steps": 10, "learning_rate": 1}  # A whole number is a number.
    config = {"data": {"name": "digits"}, "output": "categorical", "score": "accuracy"}
    with pytest.raises(ValueError, match=r"config\.student is missing; expected Student"):
        settings.parse(config)
    found = settings.parse({**config, "student": {"network": {"name": "mlp"}, "train": train}})
    assert (found.seeds, found.replay_epochs, found.teacher.members) == (5, 0, 1)
    assert found.student.train.schedule == settings.Cosine(warmup_steps=0)
    assert found.erm == settings.Labels(0.0, 0.0, 0.0) and found.methods == {}


def test_defaults_of_a_distillation_are_the_distillers():
    theirs = inspect.signature(ecl_tf.Distiller).parameters
    for field in dataclasses.fields(settings.Distillation):
        assert theirs[field.name].default == field.default


def test_every_key_is_documented_with_its_default():
    sections = [each for each in vars(settings).values() if dataclasses.is_dataclass(each)]
    assert len(sections) == 14
    for section in sections:
        own = inspect.get_annotations(section)
        text = inspect.cleandoc(section.__doc__).partition("Attributes:\n")[2]
        described = dict(re.findall(r"(?ms)^    (\w+): (.*?)(?=^    \w|\Z)", text))
        assert list(described) == list(own), section
        for field in dataclasses.fields(section):
            has_default = field.default is not dataclasses.MISSING
            if has_default and field.name in own and field.name != "name":
                assert "default" in described[field.name], (section, field.name)
