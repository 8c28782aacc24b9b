"""Optimizers and learning rate schedules as a configuration names them."""

import inspect

import keras

# Weight decay shrinks kernels, not biases nor what scales and shifts normalised activations.
_NOT_DECAYED = ["bias", "gamma", "beta"]


def build(train, weight_decay=0.0):
    """Returns the optimizer of a section's `train`.

    Args:
        train: a `ConfigDict` with `steps` and `learning_rate`, and perhaps
            optimizer: a Keras class name ("Adam"), or its class_name and config;
            schedule: {"name": "cosine", "warmup_steps": 0}: after a linear warmup the
                rate falls to zero along half a cosine; or {"name": "steps", "at": (0.5,
                0.75), "factor": 0.1}: at these shares of the steps it is multiplied by
                the factor.
        weight_decay: Keras's decoupled one: each step takes rate * weight_decay of every
            kernel away. PyTorch's SGD has weight_decay=w in the gradient instead, where
            momentum m amplifies it: to shrink as fast in the long run, give w / (1 - m).

    Raises:
        ValueError: if a name is unknown.
    """
    optimizer = train.get("optimizer", "Adam")
    if isinstance(optimizer, str):
        name, arguments = optimizer, {}
    else:
        name, arguments = optimizer.class_name, dict(optimizer.get("config", {}))
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


def schedule(train):
    """Returns the learning rate schedule of a section's `train`; see `build`."""
    settings = dict(train.get("schedule", {"name": "cosine"}))
    name = settings.pop("name", None)
    if name == "cosine":
        warmup = settings.pop("warmup_steps", 0)
        _require_empty(settings, name)
        schedules = keras.optimizers.schedules
        if not warmup:
            return schedules.CosineDecay(train.learning_rate, train.steps)
        return schedules.CosineDecay(
            0.0, train.steps - warmup, warmup_target=train.learning_rate, warmup_steps=warmup
        )
    if name == "steps":
        if "at" not in settings:
            raise ValueError("The schedule 'steps' needs 'at', a tuple of shares of the steps.")
        at, factor = settings.pop("at"), settings.pop("factor", 0.1)
        _require_empty(settings, name)
        return keras.optimizers.schedules.PiecewiseConstantDecay(
            [round(share * train.steps) for share in at],
            [train.learning_rate * factor**count for count in range(len(at) + 1)],
        )
    raise ValueError(f"Unknown schedule {name!r}; expected 'cosine' or 'steps'.")


def _require_empty(settings, name):
    if settings:
        raise ValueError(f"The schedule {name!r} takes no {sorted(settings)}.")
