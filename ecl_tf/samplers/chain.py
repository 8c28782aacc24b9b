"""Samplers one after another."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf import uncertainty
from ecl_tf._internal import random
from ecl_tf.samplers.sampler import Sampler, Samples, require_whole
from ecl_tf.samplers.several import Several


@keras.saving.register_keras_serializable("ecl_tf")
class Chain(Several):
    """Every sampler draws from what the one before it has drawn.

    So rows are augmented and then mixed, and teacher and student see the same: both get what the
    last sampler draws. A row is unmodified if every sampler left it so. A step costs what its
    samplers cost together.

    Args:
        samplers: a list of samplers, or of their names or configs, the first one first; typically
            [Augment(layers), "Mix"].

    Raises:
        ValueError: if there are no samplers, or one but the last mixes within the networks
            (`Embedded`).

    Example: rows that are all mirrored at random, half of which are mixed as well.
    >>> from ecl_tf.samplers import Augment, Choice
    >>> flip = Augment(keras.layers.RandomFlip("horizontal"), keeps_labels=True)
    >>> augmented = Chain([flip, Choice(["Empirical", "Mix"])])
    >>> augmented.keeps_rows
    True
    >>> augmented(tf.zeros([8, 4, 4, 1]), seed=0).inputs.shape
    TensorShape([8, 4, 4, 1])
    """

    def __init__(self, samplers: Sequence[Sampler | str | dict[str, Any]]):
        super().__init__(samplers)
        for sampler in self.samplers[:-1]:
            require_whole(self, sampler)
        self.keeps_rows = all(sampler.keeps_rows for sampler in self.samplers)

    def draw(self, inputs: Any, seed: tf.Tensor, networks: uncertainty.Networks | None) -> Samples:
        first, *others = random.split(seed, len(self.samplers))
        samples = self.samplers[0].draw(inputs, first, networks)
        for sampler, its_seed in zip(self.samplers[1:], others, strict=True):
            drawn = sampler.draw(samples.inputs, its_seed, networks)
            samples = drawn._replace(
                unmodified=drawn.unmodified & drawn.follow(samples.unmodified),
                # Sources of sources; what has not moved has none.
                sources=drawn.follow(samples.sources) if samples.is_moved else drawn.sources,
            )
        return samples

    def get_config(self) -> dict[str, Any]:
        return {"samplers": keras.saving.serialize_keras_object(self.samplers)}
