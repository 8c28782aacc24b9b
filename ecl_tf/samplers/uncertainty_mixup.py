"""Mixup that leaves the most uncertain rows as they are."""

import keras
import tensorflow as tf

from ecl_tf import uncertainty
from ecl_tf._internal import groups
from ecl_tf.samplers.mixing import Mixup
from ecl_tf.samplers.sampler import Sampler, Samples, per_row, row_count


@keras.saving.register_keras_serializable("ecl_tf")
class UncertaintyMixup(Sampler):
    """Of B rows, the round(clean * B) most uncertain stay as they are; the others are mixed.

    The mixture is that of `Mixup`: partners may be any row of the batch. A step costs one
    more forward pass of whoever is asked for the score.

    Args:
        clean: the share of rows in [0, 1] that stay.
        score: as in `Uncertain`; the student's uncertainty by default.
        alpha: as in `Mixup`.
        group_size: as in `Mixup`; the share of rows that stay is of each group's.

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

    def __init__(self, clean=0.5, score="student_uncertainty", alpha=1.0, group_size=None):
        if not 0.0 <= clean <= 1.0:
            raise ValueError(f"UncertaintyMixup's clean must be a share in [0, 1]; got {clean!r}.")
        self.clean = float(clean)
        self.score = uncertainty.get(score)
        self.mixup = Mixup(alpha, group_size)

    def validate(self, inputs):
        self.mixup.validate(inputs)

    def validate_networks(self, networks):
        uncertainty.validate(self.score, networks)

    def draw(self, inputs, seed, networks):
        uncertainty.require(networks, self)
        rows = row_count(inputs)
        scores = self.score(uncertainty.Answers(networks, inputs))
        start, size = groups.starts_and_sizes(rows, self.mixup.group_size)
        rank = tf.math.invert_permutation(groups.order(scores, start)) - start
        stays = rank < tf.cast(tf.round(self.clean * tf.cast(size, tf.float32)), tf.int32)
        mixed = self.mixup.sample(inputs, seed)
        kept = keras.tree.map_structure(
            lambda x, new: tf.where(per_row(stays, x), x, new), inputs, mixed.inputs
        )
        return Samples(kept, stays | mixed.unmodified)

    def get_config(self):
        return {
            "clean": self.clean,
            "score": uncertainty.config_of(self.score),
            **self.mixup.get_config(),
        }
