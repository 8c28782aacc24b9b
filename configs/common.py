"""What the shipped configurations share."""

import copy

from ml_collections import ConfigDict
from ml_collections.config_dict import FieldReference, placeholder

KD_TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
KD_LABEL_WEIGHTS = (0.0, 0.1, 0.3, 1.0)


def sampler(name, **config):
    """A class of `ecl_tf.samplers` with its arguments."""
    return {"class_name": name, "config": config}


def mixed(share):
    """The sampler that mixes a share of the rows, and leaves the others as they are."""
    return sampler("Choice", samplers=("Empirical", "Mix"), probabilities=(1 - share, share))


# What `compare` tries for XCL on validation data, beside the default recipe.
_SHARES = (
    {"name": "half mixed", "sampler": mixed(0.5)},
    {"name": "all mixed", "sampler": "Mix"},
)
OF_TABLES = {
    "name": "half MUNGE",
    "sampler": sampler("Choice", samplers=("Empirical", "Munge")),
}
CLASS_CHOICES = (*_SHARES, {"name": "T = 2", "temperature": 2.0})
NUMBER_CHOICES = (
    *_SHARES,
    {"name": "half mixed, faithful", "sampler": mixed(0.5), "divergence": "faithful"},
)


def experiment(choices, **settings):
    """A whole configuration: what is common to all, and the given settings.

    Args:
        choices: of `xcl`.
        **settings: top-level keys, those of `ecl_tf.experiments.settings.Settings`.
    """
    # Copies, as a dict that both are given would be one section: a flag would set both.
    teacher = {
        "calibrate": False,
        "function": placeholder(str),
        "inference_form": placeholder(str),
        "members_per_step": placeholder(int),
        "precision": placeholder(str),
        **copy.deepcopy(settings.pop("teacher")),
    }
    student = {
        "conformal": placeholder(float),
        "quantization": placeholder(str),
        **copy.deepcopy(settings.pop("student")),
    }
    return ConfigDict(
        {
            "seed": 0,
            "splits": 1,
            "seeds": 5,  # Of the final runs.
            "tuning_seeds": 1,
            "teacher": teacher,
            "student": student,
            "replay_epochs": 0,  # Of stored answers, for `compare`; 0: the teacher itself.
            "xcl": {
                "sampler": mixed(0.75),
                "divergence": "kl",
                "temperature": 1.0,
                "label_weight": 0.0,
                "label_rows": "appended",
                "choices": choices,
            },
            "export": {
                "formats": ("saved_model",),
                "quantization": placeholder(str),
                "measures": True,
            },
            "suite": {
                "shifts": False,  # Corrupted inputs, and inputs unlike the data.
                "rows": 2000,
                "severities": (1, 2, 3, 4, 5),
                "kind": placeholder(str),
                "arguments": {},
                "other": placeholder(object),  # A name, or a dict.
            },
            **settings,
        }
    )


def classification(**settings):
    """`experiment` with classes, scored by accuracy unless the settings say otherwise."""
    return experiment(
        CLASS_CHOICES,
        **{
            "output": "categorical",
            "class_weight": (),
            "score": "accuracy",
            "erm": {"label_smoothing": 0.1, "mixup_alpha": 0.4},
            "kd": {"temperatures": KD_TEMPERATURES, "label_weights": KD_LABEL_WEIGHTS},
            **settings,
        },
    )


def regression(event_size, min_scale, **settings):
    """`experiment` with a Gaussian output; scales are in standard deviations of the targets."""
    return experiment(
        NUMBER_CHOICES,
        output={
            "class_name": "Normal",
            "config": {"event_size": event_size, "min_scale": min_scale},
        },
        erm={"label_smoothing": 0.0, "mixup_alpha": 0.4},
        kd={"label_weights": KD_LABEL_WEIGHTS},
        **settings,
    )


def train(steps, learning_rate, batch_size=64, steps_per_execution=20, **others):
    """A section `train`."""
    return {
        "steps": FieldReference(steps, field_type=object),  # A flag may set it to "auto".
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "steps_per_execution": steps_per_execution,
        **others,
    }


def sgd(*arguments, epochs, schedule, penalty, config=None, **others):
    """A section `train` by SGD with momentum 0.9, for a published L2 penalty."""
    return train(
        *arguments,
        epochs=epochs,
        optimizer={"class_name": "SGD", "config": {"momentum": 0.9, **(config or {})}},
        schedule=schedule,
        # Decoupled: the published penalty, times 1 / (1 - momentum).
        weight_decay=10 * penalty,
        distillation_weight_decay=penalty,
        **others,
    )


def require(what, given, known):
    """Refuses an argument of a configuration that is not among the known ones."""
    if given not in known:
        raise ValueError(f"Unknown {what} {given!r}; expected one of {[*known]}.")


def run_locally(config, **training):
    """Makes trainings so short that any machine runs them: two epochs of a few steps."""
    config.xcl.choices = ()
    for section in (config.teacher, config.student):
        if "train" in section:
            section.train.update({"epochs": 2, **training})
            section.train.steps_per_execution = 1
