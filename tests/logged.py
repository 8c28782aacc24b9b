"""Logs of trainings, read without the code that writes them."""

import csv

import tensorflow as tf


def rows_of(path):
    """The rows of a CSV file, as dicts of numbers."""
    with open(path, newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def tensors_of(directory):
    """All values of event files by tag: pairs of a step and an array."""
    found = {}
    for path in sorted(directory.glob("events*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                tensor = tf.make_ndarray(value.tensor)
                found.setdefault(value.tag, []).append((event.step, tensor))
    return found
