"""How far students are from their teacher: on training inputs, and on new ones."""

import numpy as np

from ecl_tf import divergences

_ROWS = 10_000  # Of the training inputs: enough for a mean, and soon read.
_TOGETHER = 4096


class Divergences:
    """The mean divergence of students from one teacher, which is asked once for each split.

    It is KL(teacher, student) at temperature 1 in nats, whatever a student was trained with: what
    `Distiller.evaluate` logs as `divergence`. Training inputs are at most 10,000 at random, not
    augmented (but drawn at random where images are decoded so).

    Args:
        experiment: the `Experiment`.
        teacher: the `ecl_tf.Teacher`.
    """

    def __init__(self, experiment, teacher):
        self.experiment, self.teacher = experiment, teacher
        self._answers = {}

    def of(self, student, split, output, raw=None):
        """The divergence of a student on a split, a float.

        Args:
            student: its network.
            split: "train", "validation" or "test".
            output: what its raw outputs stand for.
            raw: its raw outputs for all of the split, if they are known; None by default.
        """
        experiment = self.experiment
        rows = experiment.training_sample(_ROWS) if split == "train" else split
        if split not in self._answers:
            _, self._answers[split] = experiment.answers(self.teacher, rows)
        if raw is None:
            _, raw = experiment.answers(student, rows, output)
        return mean(experiment.output, self._answers[split], output, raw)


def mean(teacher_output, teacher_raw, output, raw):
    """The mean KL of a student from a teacher, of raw outputs (rows, size) of each."""
    values = []
    for first in range(0, len(raw), _TOGETHER):
        part = slice(first, first + _TOGETHER)
        both = teacher_output(teacher_raw[part]), output(raw[part])
        values.append(output.divergence(*both, divergences.get("kl")))
    return float(np.mean(np.concatenate(values), dtype="float64"))
