"""The positions that count, of every row of an experiment: those that the student does not mask."""

import functools

import numpy as np

from ecl_tf import data, outputs
from ecl_tf._internal import positions as masking
from ecl_tf.evaluation import selective

_ROWS = 512  # Of a forward pass.
_AT_ONCE = 2**18  # Positions of a forward pass, of rows that have some.
_MOST_BYTES = 2**28  # Of answers to some training rows.


class Positions:
    """Which positions of rows count, the same ones for all networks of an experiment.

    Keras's masks come from a network, and exports and functions have none. So those of the student
    count, as in `Distiller`: they follow from its inputs, and so are those of an untrained one.
    """

    def __init__(self, experiment):
        self._experiment = experiment

    @functools.cached_property
    def _network(self):
        """An untrained student, if it masks positions; else None."""
        experiment = self._experiment
        if not experiment.positions:
            return None
        network = experiment.network(experiment.config.student)
        (first, _), *_ = data.evaluation_batches(experiment.splits.validation.take(1))
        return None if masking.masks(network(first, training=False)) is None else network

    def mask(self, inputs):
        """Keras's mask of the student's answers to a batch, or None."""
        if self._network is None:
            return None
        return masking.masks(self._network(inputs, training=False))

    def as_rows(self, inputs, y, raw, output):
        """Labels and raw outputs of a batch, of which every position that counts is a row.

        Args:
            inputs: the batch's inputs, which tell what is masked.
            raw: raw outputs (batch, positions..., size).

        Returns:
            Labels (rows,) of classes or (rows, d), raw outputs (rows, size), and the number of
            the row of the batch that each is of.
        """
        y, raw = np.asarray(y), np.asarray(raw)
        shape = raw.shape[:-1]
        counts = masking.counting(shape, self.mask(inputs))
        tail = () if output.family == "categorical" else (y.size // counts.size,)
        return y.reshape(*shape, *tail)[counts], raw[counts], np.nonzero(counts)[0]

    def batches(self, examples):
        """Batches of one pass that a network answers at once.

        Args:
            examples: a `tf.data.Dataset` of single ones.
        """
        each = int(np.prod([size or 1 for size in self._experiment.positions], dtype=int))
        return data.evaluation_batches(examples, int(np.clip(_AT_ONCE // each, 1, _ROWS)))

    def rows_within_memory(self, count):
        """So many training rows, or as many as have answers of a moderate size."""
        experiment = self._experiment
        each = 4 * experiment.output.raw_size(experiment.splits.event_size)
        each *= int(np.prod([size or 1 for size in experiment.positions], dtype=int))
        return max(1, min(count, _MOST_BYTES // each))


def as_classes(output, raw, labels):
    """Answers with a known label as those of classes: a yes/no label is one of two.

    Args:
        output: an `ecl_tf.outputs.Output` of classes, or of yes/no labels.
        raw: raw outputs (rows, size).
        labels: classes (rows,), or yes/no labels (rows, size).

    Returns:
        Logits (n, classes) at temperature 1, and classes (n,).
    """
    kept = selective.known_answers(output, raw, labels)
    logits = np.asarray(output.logits(raw))
    if output.family == "categorical":
        return logits[kept], np.asarray(labels).reshape(len(logits))[kept].astype("int64")
    logits, labels = logits.ravel()[kept], np.asarray(labels).ravel()[kept]
    return np.stack([np.zeros_like(logits), logits], -1), (labels > 0.5).astype("int64")


def constant_nll(output, labels):
    """The mean negative log-likelihood of the best answer that is the same for all rows.

    Args:
        labels: classes (rows,), or numbers or yes/no labels (rows, d); of one (rows,), too.
    """
    labels = np.asarray(labels)
    if isinstance(output, outputs.Numeric):
        variances = np.var(np.reshape(labels, [len(labels), -1]).astype("float64"), axis=0)
        return float(0.5 * np.sum(np.log(2.0 * np.pi * np.e * np.maximum(variances, 1e-300))))
    columns = labels.reshape(-1, 1 if output.family == "categorical" else labels[0].size)
    return float(sum(_entropy(each, output.ignore_class) for each in columns.T))


def _entropy(labels, unknown):
    """Of the frequencies of labels that are known."""
    known = labels if unknown is None else labels[labels != unknown]
    frequencies = np.unique(known, return_counts=True)[1] / max(len(known), 1)
    return -np.sum(frequencies * np.log(frequencies))
