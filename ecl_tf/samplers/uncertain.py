"""Samples that the networks are uncertain about."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf import uncertainty
from ecl_tf._internal import groups, random, require
from ecl_tf.samplers.choice import Choice
from ecl_tf.samplers.mixing import Mix
from ecl_tf.samplers.sampler import Empirical, Sampler, Samples, require_whole, row_count


@keras.saving.register_keras_serializable("ecl_tf")
class Uncertain(Sampler):
    """Draws r candidates for every row, and keeps one in r of them all, the uncertain ones.

    This is the end of the method's third sentence, "including uncertain samples". The base
    sampler draws r B candidates for B rows. Each gets a score s >= 0, and B of the whole
    batch's candidates are kept. So one row can give several samples, and another none.

    With temperature T = 0 the B highest scores are kept. With T > 0 candidates are drawn one
    after another without replacement, in proportion to s^(1 / T).

    This is what a step costs, in forward passes of B rows, beside the student's training:

    | score | teacher | student |
    |---|---|---|
    | "teacher_uncertainty", "disagreement" | r | 0 |
    | "student_uncertainty" | 1 | r |
    | "divergence" | r | r |
    | (the base sampler alone) | 1 | 0 |

    The teacher's answers for the candidates serve as the kept rows' targets, so it is not
    asked again (except inside of a `Choice`, and where features are matched). A kept row has
    the label and the weight of the row that it was drawn from.

    Args:
        base: the sampler of the candidates. None, the default, is `Choice(["Empirical",
            "Mix"])`: half of the candidates are rows as they are, and half are mixed.
        candidates: r, a whole number >= 2; 2 by default, up to 4 was measured.
        score: "student_uncertainty" (the default), "teacher_uncertainty", "disagreement" or
            "divergence" (see `ecl_tf.uncertainty`), or a function of `uncertainty.Answers`.
        temperature: T >= 0 of the choice, not of a softmax: 1, the default, chooses in
            proportion to the score, 0 the highest scores; a large T hardly looks at it.
        group_size: None, the default, compares all candidates of a replica with one another. A
            number (such as 16) makes groups of as many rows, each of which keeps as many
            candidates: if it divides every replica's rows, the samples are the same on any
            number of replicas (given that the base sampler's are).

    Raises:
        ValueError: if an argument is out of its range, if `base` mixes within the networks
            (`Embedded`), if it is called without networks, or for "disagreement" if the teacher is
            a single network.

    Example:
    >>> from ecl_tf import outputs, teachers
    >>> steep = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    >>> teacher = teachers.get(steep, outputs.Bernoulli())
    >>> networks = uncertainty.Networks(teacher, steep, outputs.Bernoulli())
    >>> x = tf.constant([[-9.0], [0.0], [9.0], [0.5]])  # Logits: sure, unsure, sure, unsure.
    >>> sampler = Uncertain("Empirical", temperature=0.0)
    >>> sampler(x, seed=0, networks=networks).inputs.numpy().ravel().tolist()
    [0.0, 0.5, 0.0, 0.5]

    References: the method's abstract does not say which samples it means. Relatives are Xu et
    al., "Computation-Efficient Knowledge Distillation via Uncertainty-Aware Mixup", 2020
    (student's entropy), and Wang et al., "What Makes a 'Good' Data Augmentation in
    Knowledge Distillation", 2022 (teacher's entropy). The largest perturbed log weights are a
    sample without replacement: Kool et al., "Stochastic Beams and Where to Find Them", 2019,
    section 2.3.
    """

    asks_networks = True

    def __init__(
        self,
        base: Sampler | str | dict[str, Any] | None = None,
        candidates: int = 2,
        score: uncertainty.Score = "student_uncertainty",
        temperature: float = 1.0,
        group_size: int | None = None,
    ):
        from ecl_tf.samplers import get

        if not 0.0 <= require.number("Uncertain's temperature", temperature) < float("inf"):
            raise ValueError(f"Uncertain's temperature must be >= 0; got {temperature!r}.")
        groups.validate("Uncertain", group_size)
        self.base = Choice([Empirical(), Mix()]) if base is None else get(base)
        require_whole(self, self.base)
        self.candidates = require.whole("Uncertain's candidates", candidates, 2)
        self.score = uncertainty.get(score)
        self.temperature = float(temperature)
        self.group_size = group_size
        self.keeps_rows, self.models = self.base.keeps_rows, self.base.models

    def validate(self, inputs: Any) -> None:
        self.base.validate(inputs)

    def validate_networks(self, networks: uncertainty.Networks) -> None:
        self.base.validate_networks(networks)
        uncertainty.validate(self.score, networks)

    @property
    def proposer(self) -> Sampler:
        return self.base

    @property
    def parts(self) -> Sequence[Sampler]:
        return self.base.parts

    def draw(self, inputs: Any, seed: tf.Tensor, networks: uncertainty.Networks | None) -> Samples:
        networks = uncertainty.require(networks, self)
        rows = row_count(inputs)
        choice_seed, *seeds = random.split(seed, 1 + self.candidates)
        drawn = [self.base.draw(inputs, its_seed, networks) for its_seed in seeds]
        own = tf.range(rows)
        parts = [(each.inputs, each.unmodified, each.follow(own)) for each in drawn]
        joined = keras.tree.map_structure(lambda *rows: tf.concat(rows, 0), *parts)
        return self.keep(Samples(*joined), choice_seed, networks)

    def keep(self, samples: Samples, seed: tf.Tensor, networks: uncertainty.Networks) -> Samples:
        answers = uncertainty.Answers(
            networks, samples.inputs, samples.member_outputs, samples.uncertainty
        )
        drawn = row_count(samples.inputs)
        kept = self._choose(
            uncertainty.scores_of(self.score, answers), drawn // self.candidates, seed
        )
        if "member_outputs" in vars(answers):  # The teacher was asked.
            samples = samples._replace(member_outputs=answers.member_outputs)
        if not samples.is_moved:
            samples = samples._replace(sources=tf.range(drawn))
        return keras.tree.map_structure(lambda tensor: tf.gather(tensor, kept), samples)

    def _choose(self, scores, rows, seed):
        """The indices of the kept candidates, by group, in their own order."""
        # NaN is kept, so that the distiller meets it and says so.
        scores = tf.where(tf.math.is_nan(scores), float("inf"), tf.cast(scores, tf.float32))
        if self.temperature > 0.0:
            u = tf.transpose(random.uniform(seed, [rows, self.candidates])) + 2.0**-25
            gumbel = -tf.math.log(-tf.math.log(tf.reshape(u, [-1])))
            scores = tf.math.log(tf.maximum(scores, 1e-30)) / self.temperature + gumbel
        start, size = (
            tf.tile(numbers, [self.candidates])
            for numbers in groups.starts_and_sizes(rows, self.group_size)
        )
        order = groups.order(scores, start)
        rank = tf.math.invert_permutation(order) - self.candidates * start
        place = tf.where(rank < size, start, rows)  # Those not kept come last.
        return tf.argsort(place, stable=True)[:rows]

    def get_config(self) -> dict[str, Any]:
        return {
            "base": keras.saving.serialize_keras_object(self.base),
            "candidates": self.candidates,
            "score": uncertainty.config_of(self.score),
            "temperature": self.temperature,
            "group_size": self.group_size,
        }
