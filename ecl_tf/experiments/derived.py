"""Settings that follow from the data: how long trainings are, and which inputs have no mean."""

import dataclasses

import keras

from ecl_tf import samplers
from ecl_tf.experiments import lengths, optimizers, refusals, strategies


def with_lengths(config, rows):
    """The settings with a length of every training, for so many rows of training data."""
    found = {}
    for name in ("teacher", "student"):
        section = getattr(config, name)
        train = section.train
        if train is not None and None not in (train.steps, train.batch_size, train.weight_decay):
            train = lengths.resolved(f"config.{name}.train", train, rows)
            _validate_training(f"config.{name}.train", train)
            found[name] = dataclasses.replace(section, train=train)
    return dataclasses.replace(config, **found)


def _validate_training(name, train):
    """Refuses a section `train` whose settings don't fit each other, or that Keras refuses."""
    warmup = getattr(train.schedule, "warmup_steps", 0)
    if warmup >= train.steps:
        raise ValueError(
            f"{name}.schedule.warmup_steps={warmup} must be less than {name}.steps={train.steps}."
        )
    with refusals.blaming(f"{name}.optimizer", train.optimizer):
        for weight_decay in (train.weight_decay, train.distillation_weight_decay):
            optimizers.build(train, weight_decay)
    if train.steps % strategies.steps_per_execution(train):
        raise ValueError(
            f"{name}.steps={train.steps} must be a multiple of its "
            f"steps_per_execution={train.steps_per_execution}. Change either."
        )


def with_swaps(config, names):
    """The settings with samplers that swap inputs which have no mean, as the data names them."""
    if not names:
        return config

    def swapping(place, value):
        with refusals.blaming(place, value):
            return keras.saving.serialize_keras_object(samplers.swapping(value, names))

    def of_choice(number, choice):
        if "sampler" not in choice:
            return choice
        place = f"config.xcl.choices[{number}].sampler"
        return {**choice, "sampler": swapping(place, choice["sampler"])}

    xcl = dataclasses.replace(
        config.xcl,
        sampler=swapping("config.xcl.sampler", config.xcl.sampler),
        choices=tuple(of_choice(*each) for each in enumerate(config.xcl.choices)),
    )
    others = {
        name: dataclasses.replace(
            method, sampler=swapping(f"config.methods.{name}.sampler", method.sampler)
        )
        for name, method in config.methods.items()
    }
    return dataclasses.replace(config, xcl=xcl, methods=others)
