"""Samplers: approximations of the data distribution beyond the training set.

`random` holds the random numbers of samplers, also for your own (see `Sampler`).
"""

from collections.abc import Sequence
from typing import Any

import keras

from ecl_tf._internal import build, moved, random
from ecl_tf.samplers.chain import Chain
from ecl_tf.samplers.choice import Choice
from ecl_tf.samplers.embedded import Embedded, mixing
from ecl_tf.samplers.generated import Generated
from ecl_tf.samplers.mixing import CutMix, DirichletMixup, Mix, Mixup
from ecl_tf.samplers.munge import Munge
from ecl_tf.samplers.sampler import (
    Empirical,
    Mixture,
    Sampler,
    Samples,
    changes_of,
    inputs_of,
    per_row,
    row_count,
    settle,
)
from ecl_tf.samplers.swap import Swap
from ecl_tf.samplers.toward_uncertainty import TowardUncertainty
from ecl_tf.samplers.uncertain import Uncertain
from ecl_tf.samplers.uncertainty_mixup import UncertaintyMixup
from ecl_tf.samplers.vicinity import Augment, GaussianNoise

__all__ = [
    "Augment",
    "Chain",
    "Choice",
    "CutMix",
    "DirichletMixup",
    "Embedded",
    "Empirical",
    "GaussianNoise",
    "Generated",
    "Mix",
    "Mixture",
    "Mixup",
    "Munge",
    "Sampler",
    "Samples",
    "Swap",
    "TowardUncertainty",
    "Uncertain",
    "UncertaintyMixup",
    "changes_of",
    "get",
    "inputs_of",
    "mixing",
    "per_row",
    "random",
    "recipe",
    "row_count",
    "swapping",
]

# All that are imported here.
_SAMPLERS: dict[str, type[Sampler]] = {
    name: cls
    for name, cls in vars().copy().items()
    if isinstance(cls, type) and issubclass(cls, Sampler) and cls is not Sampler
}


def recipe(
    swap: Sequence[str | int] = (), padding: Any = None, data_format: str | None = None
) -> Choice:
    """Returns the default sampler: a quarter of the rows as they are, `Mix` of the others.

    Mixtures lie between the classes, so uncertain samples are among them. A step costs what one
    of ordinary distillation costs. docs/results/index.md tells how it was chosen. The method's
    abstract does not say which samples its authors take.

    Args:
        swap: names of inputs whose values have no mean, such as ids, which `Mix` swaps; none by
            default.
        padding: of these, as in `Swap`; None by default.
        data_format: of images, as in `CutMix`; None by default.

    Example:
    >>> recipe().samplers, recipe().probabilities
    ([Empirical(), Mix(alpha=1.0, group_size=None)], [0.25, 0.75])
    >>> recipe(swap=["camera"]).samplers[1]
    Mix(alpha=1.0, group_size=None, swap=['camera'])
    """
    mix = Mix(swap=swap, padding=padding, data_format=data_format)
    return Choice([Empirical(), mix], [0.25, 0.75])


def get(identifier: Sampler | str | dict[str, Any] | None) -> Sampler:
    """Returns the `Sampler` that a name, config or instance stands for.

    Args:
        identifier: a `Sampler`; None, which is `recipe()`; a class name such as "Mixup"; or
            a config such as {"class_name": "Mixup", "config": {"alpha": 0.5}}.

    Raises:
        ValueError: if it is none of these, or one of its attributes was set to what its constructor
            refuses.
    """
    if identifier is None:
        return recipe()
    if isinstance(identifier, Sampler):
        settle(identifier)
        return identifier
    if isinstance(identifier, str):
        identifier = {"class_name": identifier, "config": {}}
    if isinstance(identifier, dict) and build.is_named(identifier, _SAMPLERS):
        sampler, config = _SAMPLERS[identifier["class_name"]], identifier.get("config", {})
        if "registered_name" not in identifier and issubclass(sampler, (CutMix, Mix, Mixup)):
            config = {"data_format": None, **config}  # Written by hand: Keras's setting is meant.
        return sampler.from_config(config)
    if isinstance(identifier, dict) and "registered_name" in identifier:
        return keras.saving.deserialize_keras_object(identifier)
    raise ValueError(
        f"Unknown sampler {identifier!r}; expected an ecl_tf.samplers.Sampler, one of the "
        f"names {sorted(_SAMPLERS)}, or {{'class_name': name, 'config': {{...}}}}."
    )


def swapping(
    identifier: Sampler | str | dict[str, Any] | None, names: Sequence[str | int]
) -> Sampler:
    """Returns a sampler whose parts do not average inputs that have no mean.

    `Mix`, `Mixup`, `CutMix` and `Munge` swap them, and `GaussianNoise` with one `stddev` for all
    inputs keeps them. `Embedded` mixes their vectors, and stays as it is.

    Args:
        identifier: as `get` takes it.
        names: of the inputs, such as ids. A part that says itself what it swaps or keeps stays
            as it is.

    Example:
    >>> swapping(None, ["camera"]).samplers[1]
    Mix(alpha=1.0, group_size=None, swap=['camera'])
    """

    def with_names(config):
        if isinstance(config, list):
            return [with_names(each) for each in config]
        if not isinstance(config, dict):
            return config
        if build.is_named(config, _SAMPLERS) and config["class_name"] == "Embedded":
            return config
        config = {key: with_names(value) for key, value in config.items()}
        if build.is_named(config, _SAMPLERS):
            its, own = config["class_name"], config["config"]
            if its in ("CutMix", "Mix", "Mixup", "Munge"):
                config["config"] = {"swap": [*names], **own}
            elif its == "GaussianNoise" and not isinstance(own["stddev"], dict):
                config["config"] = {"unchanged": [*names], **own}
        return config

    return get(with_names(keras.saving.serialize_keras_object(get(identifier))))


def __getattr__(name):
    return moved.attribute(__name__, name)
