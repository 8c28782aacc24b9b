"""Optimizers and learning rate schedules as a configuration names them."""

import inspect
from typing import Any

import keras

from ecl_tf.experiments import lengths, settings

# Weight decay shrinks kernels, not biases nor what scales and shifts normalised activations.
_NOT_DECAYED = ["bias", "gamma", "beta"]


def build(train: settings.Train, weight_decay: float = 0.0) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a section's `train`.

    Args:
        weight_decay: Keras's decoupled one: each step takes rate * weight_decay of every
            kernel away. PyTorch's SGD has weight_decay=w in the gradient instead, where
            momentum m amplifies it: to shrink as fast in the long run, give w / (1 - m).

    Raises:
        ValueError: if the optimizer, or one of its arguments, is unknown to Keras.
    """
    given = train.optimizer
    described: dict[str, Any] = {"class_name": given} if isinstance(given, str) else given
    name, arguments = described.get("class_name", ""), dict(described.get("config", {}))
    arguments["learning_rate"] = schedule(train)
    try:
        optimizer_class = getattr(keras.optimizers, name)
        known = inspect.signature(optimizer_class).parameters
        # Some, AdamW for one, have a decay of their own by default.
        if weight_decay or known["weight_decay"].default:
            arguments["weight_decay"] = weight_decay
        optimizer = optimizer_class(**arguments)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"train.optimizer={name!r} with the arguments {sorted(arguments)} is no optimizer "
            'of Keras; expected for example "Adam", or {"class_name": "SGD", "config": '
            f'{{"momentum": 0.9}}}}: {error}'
        ) from error
    optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return optimizer


def schedule(train: settings.Train) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns Keras's learning rate schedule of a section's `train`."""
    schedules = keras.optimizers.schedules
    form = train.schedule
    if isinstance(form, settings.Restarts):
        return lengths.warm_restarts(train).schedule(train.learning_rate)
    if isinstance(form, settings.Steps):
        return schedules.PiecewiseConstantDecay(
            [round(share * train.steps) for share in form.at],
            [train.learning_rate * form.factor**count for count in range(len(form.at) + 1)],
        )
    if not form.warmup_steps:
        return schedules.CosineDecay(train.learning_rate, train.steps)
    return schedules.CosineDecay(
        0.0,
        train.steps - form.warmup_steps,
        warmup_target=train.learning_rate,
        warmup_steps=form.warmup_steps,
    )
