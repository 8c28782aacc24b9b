"""Mixup that leaves the most uncertain rows as they are."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf import uncertainty
from ecl_tf._internal import groups, require
from ecl_tf.samplers.mixing import Mixup
from ecl_tf.samplers.sampler import Sampler, Samples, per_row, row_count


@keras.saving.register_keras_serializable("ecl_tf")
class UncertaintyMixup(Sampler):
    """Leaves the round(clean * B) most uncertain of B rows as they are, and mixes the others.

    The mixture is that of `Mixup`: partners may be any row of the batch. A step costs one
    more forward pass of each network that is asked for the score.

    Args:
        clean: the share in [0, 1] of rows that stay; 0.5 by default.
        score: as in `Uncertain`; "student_uncertainty" by default.
        alpha: as in `Mixup`; 1 by default.
        group_size: as in `Mixup`; None by default. Each group keeps the share `clean`.

    Raises:
        ValueError: if an argument is out of its range, or if it is called without networks.

    Example:
    >>> from ecl_tf import outputs
    >>> student = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    >>> networks = uncertainty.Networks(student, student, outputs.Bernoulli())
    >>> x = tf.constant([[-9.0], [0.0], [9.0], [0.5]])  # Logits: sure, unsure, sure, unsure.
    >>> UncertaintyMixup()(x, seed=0, networks=networks).unmodified.numpy().tolist()
    [False, True, False, True]

    Reference: Xu et al., "Computation-Efficient Knowledge Distillation via
    Uncertainty-Aware Mixup" (UNIX), 2020. There the least uncertain rows are left out to save
    time, and one coefficient is drawn for the whole batch; here the batch keeps its size.
    """

    asks_networks = True
    keeps_rows = True

    def __init__(
        self,
        clean: float = 0.5,
        score: uncertainty.Score = "student_uncertainty",
        alpha: float = 1.0,
        group_size: int | None = None,
    ):
        if not 0.0 <= require.number("UncertaintyMixup's clean", clean) <= 1.0:
            raise ValueError(f"UncertaintyMixup's clean must be a share in [0, 1]; got {clean!r}.")
        self.clean = float(clean)
        self.score = uncertainty.get(score)
        self.mixup = Mixup(alpha, group_size)

    @property
    def alpha(self) -> float:
        """That of `mixup`, as `group_size` is."""
        return self.mixup.alpha

    @alpha.setter
    def alpha(self, value: float) -> None:
        self.mixup.alpha = value

    @property
    def group_size(self) -> int | None:
        return self.mixup.group_size

    @group_size.setter
    def group_size(self, value: int | None) -> None:
        self.mixup.group_size = value

    def validate(self, inputs: Any) -> None:
        self.mixup.validate(inputs)

    def validate_networks(self, networks: uncertainty.Networks) -> None:
        self.mixup.validate_networks(networks)
        uncertainty.validate(self.score, networks)

    @property
    def parts(self) -> Sequence[Sampler]:
        return [self.mixup]

    def draw(self, inputs: Any, seed: tf.Tensor, networks: uncertainty.Networks | None) -> Samples:
        networks = uncertainty.require(networks, self)
        rows = row_count(inputs)
        scores = uncertainty.scores_of(self.score, uncertainty.Answers(networks, inputs))
        start, size = groups.starts_and_sizes(rows, self.mixup.group_size)
        rank = tf.math.invert_permutation(groups.order(scores, start)) - start
        stays = rank < tf.cast(tf.round(self.clean * tf.cast(size, tf.float32)), tf.int32)
        mixed = self.mixup.sample(inputs, seed)
        kept = keras.tree.map_structure(
            lambda x, new: tf.where(per_row(stays, x), x, new), inputs, mixed.inputs
        )
        return Samples(kept, stays | mixed.unmodified)

    def get_config(self) -> dict[str, Any]:
        return {
            "clean": self.clean,
            "score": uncertainty.config_of(self.score),
            "alpha": self.alpha,
            "group_size": self.group_size,
        }
