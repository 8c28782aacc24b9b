"""A random choice between samplers, row by row."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf import uncertainty
from ecl_tf._internal import random
from ecl_tf.samplers.sampler import Mixture, Sampler, Samples, per_row, row_count
from ecl_tf.samplers.several import Several


@keras.saving.register_keras_serializable("ecl_tf")
class Choice(Several):
    """Each row is drawn by one of several samplers, chosen at random.

    Every sampler runs on the whole batch and each row takes the result of one, so shapes
    are static and mixing partners may be any row. With `Empirical` among them a
    fraction of the rows stays as it is.

    Args:
        samplers: a list of samplers, or of their names or configs.
        probabilities: one number >= 0 for each sampler, summing to 1; None, the default,
            for equal ones.

    Raises:
        ValueError: if there are no samplers, or if the probabilities are not one for
            each sampler, negative, or don't sum to 1.

    Example:
    >>> half = Choice(["Empirical", "Mixup"], [0.5, 0.5])
    >>> share = tf.reduce_mean(tf.cast(half(tf.zeros([1000, 1]), 0).unmodified, tf.float32))
    >>> 0.4 < float(share) < 0.6
    True
    """

    def __init__(
        self,
        samplers: Sequence[Sampler | str | dict[str, Any]],
        probabilities: Sequence[float] | None = None,
    ):
        super().__init__(samplers)
        if probabilities is None:
            probabilities = [1.0 / len(self.samplers)] * len(self.samplers)
        self.probabilities = [float(p) for p in probabilities]
        total = sum(self.probabilities)
        fit = len(self.probabilities) == len(self.samplers) and min(self.probabilities) >= 0.0
        if not fit or not abs(total - 1.0) <= 1e-6:
            raise ValueError(
                f"Choice needs one probability >= 0 for each of its {len(self.samplers)} "
                f"samplers, summing to 1; got {self.probabilities} with the sum {total:g}."
            )

        chosen = zip(self.samplers, self.probabilities, strict=True)
        self.keeps_rows = any(sampler.keeps_rows for sampler, p in chosen if p > 0.0)

    def draw(self, inputs: Any, seed: tf.Tensor, networks: uncertainty.Networks | None) -> Samples:
        rows = row_count(inputs)
        choice_seed, *seeds = random.split(seed, 1 + len(self.samplers))
        u = random.uniform(choice_seed, [rows])
        drawn = [
            sampler.draw(inputs, its_seed, networks)
            for sampler, its_seed in zip(self.samplers, seeds, strict=True)
        ]
        moved = any(samples.is_moved for samples in drawn)
        mixtures = _mixtures([each.mixture for each in drawn], rows)
        parts = [
            Samples(
                each.inputs,
                each.unmodified,
                each.follow(tf.range(rows)) if moved else (),
                mixture=mixture,
            )
            for each, mixture in zip(drawn, mixtures, strict=True)
        ]
        result, lower = parts[0], 0.0
        for other, p in zip(parts[1:], self.probabilities, strict=False):
            lower += p
            result = keras.tree.map_structure(
                lambda new, old, c=u >= lower: tf.where(per_row(c, new), new, old), other, result
            )
        return result

    def get_config(self) -> dict[str, Any]:
        samplers = keras.saving.serialize_keras_object(self.samplers)
        return {"samplers": samplers, "probabilities": self.probabilities}


def _mixtures(given, rows):
    """Mixtures of as many partners each, if there are any: what is not mixed has shares of 0."""
    count = max((each.shares.shape[1] for each in given if each), default=0)
    if not count:
        return given
    none = Mixture(tf.zeros([rows, 0], tf.int32), tf.zeros([rows, 0]))

    def filled(tensor):
        return tf.pad(tensor, [[0, 0], [0, count - tensor.shape[1]]])

    return [Mixture(*map(filled, each or none)) for each in given]
