"""Samples that the networks are uncertain about."""

import keras
import tensorflow as tf

from ecl_tf import uncertainty
from ecl_tf._internal import groups, random
from ecl_tf.samplers.choice import Choice
from ecl_tf.samplers.mixing import Mix
from ecl_tf.samplers.sampler import Empirical, Sampler, Samples, row_count


@keras.saving.register_keras_serializable("ecl_tf")
class Uncertain(Sampler):
    """Draws r samples for every row, and keeps one in r by how uncertain they are.

    This is the end of the method's third sentence, "including uncertain samples". With
    B rows, the base sampler draws r B candidates, each gets a score s >= 0, and B of them
    are kept: those of the highest score, or, with a temperature T > 0, a random choice
    without replacement in proportion to s^(1 / T) (one after another, from those that are
    left). T = 1 is in proportion to the score, a large T hardly looks at it.

    What a step costs, in forward passes of B rows (the student's training pass aside):

    | score | teacher | student |
    |---|---|---|
    | "teacher_uncertainty", "disagreement" | r | 0 |
    | "student_uncertainty" | 1 | r |
    | "divergence" | r | r |
    | (the base sampler alone) | 1 | 0 |

    The teacher's answers for the candidates serve as the kept rows' targets, so it is not
    asked again (but inside of a `Choice`, and where features are matched). Label and weight
    of a kept row are those of the row that it was drawn from.

    Args:
        base: the sampler of the candidates; None is `Choice(["Empirical", "Mix"])`, half of
            the rows as they are and half of them mixed.
        candidates: r >= 2, a whole number.
        score: a name of `ecl_tf.uncertainty.SCORES` ("teacher_uncertainty",
            "disagreement", "student_uncertainty", "divergence"), or a function.
        temperature: T >= 0; 0 keeps the highest scores.
        group_size: None compares all candidates of a replica with one another. A number makes
            groups of as many rows, each of which keeps as many candidates: if it divides
            every replica's rows, the samples are the same on any number of replicas (given
            that the base sampler's are).

    Raises:
        ValueError: if an argument is out of its range, if it is called without networks,
            or for "disagreement" if the teacher is a single network.

    Example:
    >>> from ecl_tf import outputs, teachers
    >>> steep = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    >>> teacher = teachers.get(steep, outputs.Bernoulli())
    >>> networks = uncertainty.Networks(teacher, steep, outputs.Bernoulli())
    >>> x = tf.constant([[-9.0], [0.0], [9.0], [0.5]])  # Logits: sure, unsure, sure, unsure.
    >>> sampler = Uncertain("Empirical", candidates=2)
    >>> sampler(x, seed=0, networks=networks).inputs.numpy().ravel().tolist()
    [0.0, 0.5, 0.0, 0.5]

    References: which samples were meant is not in the abstract; relatives are Xu et al.,
    "Computation-Efficient Knowledge Distillation via Uncertainty-Aware Mixup", 2020
    (student's entropy), and Wang et al., "What Makes a 'Good' Data Augmentation in
    Knowledge Distillation", 2022 (teacher's entropy). Sampling without replacement by the
    largest perturbed log weights: Kool et al., "Stochastic Beams and Where to Find Them",
    2019, section 2.3.
    """

    asks_networks = True

    def __init__(
        self,
        base=None,
        candidates=2,
        score="teacher_uncertainty",
        temperature=0.0,
        group_size=None,
    ):
        from ecl_tf.samplers import get

        if not isinstance(candidates, int) or isinstance(candidates, bool) or candidates < 2:
            raise ValueError(
                f"Uncertain's candidates must be a whole number >= 2; got {candidates!r}."
            )
        if not 0.0 <= temperature < float("inf"):
            raise ValueError(f"Uncertain's temperature must be >= 0; got {temperature!r}.")
        groups.validate("Uncertain", group_size)
        self.base = Choice([Empirical(), Mix()]) if base is None else get(base)
        self.candidates = candidates
        self.score = uncertainty.get(score)
        self.temperature = float(temperature)
        self.group_size = group_size

    @property
    def keeps_rows(self):  # type: ignore[override]
        return self.base.keeps_rows

    @property
    def models(self):  # type: ignore[override]
        return self.base.models

    def validate(self, inputs):
        self.base.validate(inputs)

    def validate_networks(self, networks):
        self.base.validate_networks(networks)
        uncertainty.validate(self.score, networks)

    def draw(self, inputs, seed, networks):
        uncertainty.require(networks, self)
        rows = row_count(inputs)
        choice_seed, *seeds = random.split(seed, 1 + self.candidates)
        drawn = [self.base.draw(inputs, its_seed, networks) for its_seed in seeds]
        own = tf.range(rows)
        parts = [(each.inputs, each.unmodified, each.follow(own)) for each in drawn]
        joined = keras.tree.map_structure(lambda *rows: tf.concat(rows, 0), *parts)
        return self.keep(Samples(*joined), choice_seed, networks)

    def keep(self, samples, seed, networks):
        answers = uncertainty.Answers(
            networks, samples.inputs, samples.member_outputs, samples.uncertainty
        )
        drawn = row_count(samples.inputs)
        kept = self._choose(self.score(answers), drawn // self.candidates, seed)
        if answers.teacher_was_asked:
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

    def get_config(self):
        return {
            "base": keras.saving.serialize_keras_object(self.base),
            "candidates": self.candidates,
            "score": uncertainty.config_of(self.score),
            "temperature": self.temperature,
            "group_size": self.group_size,
        }
