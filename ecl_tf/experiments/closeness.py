"""How far students are from their teacher: on training inputs, and on new ones."""

from ecl_tf.evaluation import fidelity

_ROWS = 10_000  # Of the training inputs: enough for a mean, and soon read.


class Divergences:
    """The mean divergence of students from one teacher, which is asked once for each split.

    It is KL(teacher, student) at temperature 1 in nats, whatever a student was trained with: what
    `Distiller.evaluate` logs as `divergence`. Training inputs are at most 10,000 at random, not
    augmented (but drawn at random where images are decoded so); fewer where rows have many
    positions.
    """

    def __init__(self, experiment, teacher):
        self.experiment, self.teacher = experiment, teacher
        self._answers = {}

    def of(self, student, split, output, raw=None):
        """The divergence of a student on a split, a float.

        Args:
            split: "train", "validation" or "test".
            raw: its raw outputs for all of the split, if they are known; None by default.
        """
        _, its = self.of_teacher(split)
        if raw is None:
            _, raw = self.experiment.answers(student, self._rows(split), output)
        return fidelity.divergence(self.experiment.output, its, output, raw)

    def of_teacher(self, split):
        """The labels of a split, and the teacher's raw outputs for it."""
        if split not in self._answers:
            self._answers[split] = self.experiment.answers(self.teacher, self._rows(split))
        return self._answers[split]

    def _rows(self, split):
        if split != "train":
            return split
        count = self.experiment.counted.rows_within_memory(_ROWS)
        return self.experiment.training_sample(count)
