"""Samplers: approximations of the data distribution beyond the training set.

`random` holds the random numbers of samplers, also for your own (see `Sampler`).
"""

from collections.abc import Sequence
from typing import Any

import keras

from ecl_tf._internal import build, moved, random
from ecl_tf.samplers.chain import Chain
from ecl_tf.samplers.choice import Choice
from ecl_tf.samplers.generated import Generated
from ecl_tf.samplers.mixing import CutMix, DirichletMixup, Mix, Mixup
from ecl_tf.samplers.sampler import (
    Empirical,
    Sampler,
    Samples,
    changes_of,
    inputs_of,
    per_row,
    row_count,
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
    "Empirical",
    "GaussianNoise",
    "Generated",
    "Mix",
    "Mixup",
    "Sampler",
    "Samples",
    "Swap",
    "TowardUncertainty",
    "Uncertain",
    "UncertaintyMixup",
    "changes_of",
    "get",
    "inputs_of",
    "per_row",
    "random",
    "recipe",
    "row_count",
]

# All that are imported here.
_SAMPLERS: dict[str, type[Sampler]] = {
    name: cls
    for name, cls in vars().copy().items()
    if isinstance(cls, type) and issubclass(cls, Sampler) and cls is not Sampler
}


def recipe(swap: Sequence[str | int] = (), padding: Any = None) -> Uncertain:
    """Returns the default sampler, which is `Uncertain` with its default arguments.

    Every row gives two candidates, each with even odds the row itself or `Mix` of it. Half of
    all candidates are kept, in proportion to the student's uncertainty. A step costs the
    student two more forward passes, and the teacher none. docs/results.md holds what was
    measured of it and of others. The method's abstract does not say which samples its authors
    take.

    Args:
        swap: names of inputs whose values have no mean, such as ids, which `Mix` swaps; none by
            default.
        padding: of these, as in `Swap`; None by default.

    Example:
    >>> [type(part).__name__ for part in recipe().base.samplers]
    ['Empirical', 'Mix']
    >>> recipe(swap=["camera"]).base.samplers[1]
    Mix(alpha=1.0, group_size=None, swap=['camera'])
    """
    return Uncertain(Choice([Empirical(), Mix(swap=swap, padding=padding)]))


def get(identifier: Sampler | str | dict[str, Any] | None) -> Sampler:
    """Returns the `Sampler` that a name, config or instance stands for.

    Args:
        identifier: a `Sampler`; None, which is `recipe()`; a class name such as "Mixup"; or
            a config such as {"class_name": "Mixup", "config": {"alpha": 0.5}}.

    Raises:
        ValueError: if it is none of these.
    """
    if identifier is None:
        return recipe()
    if isinstance(identifier, Sampler):
        return identifier
    if isinstance(identifier, str):
        identifier = {"class_name": identifier, "config": {}}
    if isinstance(identifier, dict) and build.is_named(identifier, _SAMPLERS):
        return _SAMPLERS[identifier["class_name"]].from_config(identifier.get("config", {}))
    if isinstance(identifier, dict) and "registered_name" in identifier:
        return keras.saving.deserialize_keras_object(identifier)
    raise ValueError(
        f"Unknown sampler {identifier!r}; expected an ecl_tf.samplers.Sampler, one of the "
        f"names {sorted(_SAMPLERS)}, or {{'class_name': name, 'config': {{...}}}}."
    )


def __getattr__(name):
    return moved.attribute(__name__, name)
