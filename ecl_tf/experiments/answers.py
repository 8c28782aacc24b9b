"""A teacher's answers to the training rows, asked once for all students that see these alone."""

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import data, samplers
from ecl_tf.data import splits
from ecl_tf.experiments import progress

_MEMORY = 2**28  # Bytes of all answers together, like those of a store in memory.
_TOO_LARGE = (
    "The teacher's answers to all training rows would take {:,.1f} GB of memory, so it is asked in "
    "every step. config.replay_epochs stores them on the disk."
)


class Answers:
    """What a `replay.Store` is to an experiment, for ordinary distillation, and in memory.

    Args:
        raws: the raw outputs of its members for every training row.

    Attributes:
        teacher: as it was given.
        batch_size: the same.
    """

    def __init__(self, teacher, raws, batch_size):
        self.teacher, self.batch_size = teacher, batch_size
        self._raws = raws
        self._count = len(keras.tree.flatten(raws)[0])

    def batches(self, x, y=None, *, seed, first_step=0, **_):
        """Endless batches of (`ecl_tf.samplers.Samples`, labels), in the order of `data`'s own.

        Args:
            x: the inputs of the rows that were asked about, or of more.
            y: their labels; None by default.
            seed: an integer, of the order.
            first_step: the number of batches to leave out; 0 by default.
            **_: what a store is given besides.
        """
        rows = keras.tree.map_structure(lambda leaf: leaf[: self._count], (x, y))
        batches = splits.shuffled_batches((*rows, self._raws), self.batch_size, seed, first_step)

        @tf.autograph.experimental.do_not_convert
        def as_samples(x, y, raws):
            unmodified = tf.ones([self.batch_size], tf.bool)
            return samplers.Samples(data.to_float(x), unmodified, member_outputs=raws), y

        return splits.prefetched(batches.map(as_samples, tf.data.AUTOTUNE), self.batch_size)


def suffice(experiment, sampler=None, labels=None, spare=False, **_):
    """Whether a distillation with these arguments asks about training rows alone, in memory.

    They are neither sampled, nor varied at random, nor mixed with their labels, and no others join
    them, and all of the teacher's members teach in every step.
    """
    is_fixed = experiment.splits.decode is None and experiment.splits.augment is None
    is_fixed &= experiment.config.teacher.members_per_step is None
    is_ordinary = isinstance(samplers.get(sampler), samplers.Empirical)
    return is_fixed and is_ordinary and not labels and not spare


def ask(experiment, teacher, rows=None):
    """Asks a teacher about an experiment's training rows, in batches as large as the student's.

    Args:
        rows: so many of the first ones are asked about; None, the default, for all.

    Returns:
        The `Answers`; None if they take much memory, or a number is not finite, of which the
        distiller's own step tells more.
    """
    x, *_ = experiment.splits.train_rows
    size = experiment.config.student.train.batch_size
    count = len(keras.tree.flatten(x)[0]) if rows is None else rows
    answer, found = None, []
    for first in range(0, count, size):
        # The last batch is filled up from the beginning.
        numbers = np.arange(first, first + size) % count
        batch = keras.tree.map_structure(lambda leaf, n=numbers: tf.gather(leaf, n), x)
        batch = data.to_float(batch)
        if answer is None:  # Calls of the function itself count as retracing, of many teachers.
            traced = tf.function(teacher.member_outputs, autograph=False)
            answer = traced.get_concrete_function(batch)
        found.append(tuple(answer(batch)))
        leaves = keras.tree.flatten(found[-1])
        each = sum(leaf.shape.num_elements() * leaf.dtype.size for leaf in leaves)
        is_finite = all(bool(tf.reduce_all(tf.math.is_finite(leaf))) for leaf in leaves)
        if not is_finite:
            return None
        if each * count > _MEMORY * size:
            progress.announce_once([_TOO_LARGE.format(each * count / size / 1e9)])
            return None
    raws = keras.tree.map_structure(lambda *each: tf.concat(each, 0)[:count], *found)
    return Answers(teacher, raws, size)
