"""Divergences of students from their teacher, against NumPy and against `evaluate`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax
from tiny import rows

import ecl_tf
from ecl_tf import data
from ecl_tf.experiments import closeness
from ecl_tf.experiments.experiment import Experiment


def test_of_classes_by_hand_whatever_the_temperature_of_training(digits_config):
    experiment = Experiment(digits_config)
    members = [experiment.network(experiment.config.teacher) for _ in range(2)]
    student = experiment.network(experiment.config.student)
    teacher = ecl_tf.Ensemble(members, "categorical")
    found = closeness.Divergences(experiment, teacher)
    for split in ("train", "validation"):
        x, _ = rows(getattr(experiment.splits, split))
        p = np.mean([keras.ops.softmax(member(x)) for member in members], 0)
        expected = np.sum(p * (np.log(p) - log_softmax(student(x), -1)), -1).mean()
        assert found.of(student, split, experiment.output) == pytest.approx(expected, rel=1e-4)
    distiller = ecl_tf.Distiller(student, teacher, sampler="Empirical")
    distiller.compile()
    logs = distiller.evaluate(x, verbose=0, return_dict=True)
    assert logs["divergence"] == pytest.approx(expected, rel=1e-4)


def test_of_numbers_by_hand_and_of_a_student_of_points(casp_config):
    experiment = Experiment(casp_config)
    network = experiment.network(experiment.config.teacher)
    teacher = ecl_tf.Ensemble(network, experiment.output)
    x, _ = rows(experiment.splits.validation)
    theirs = experiment.output(network(x))
    m, s = (np.asarray(part()) for part in (theirs.mean, theirs.stddev))
    output = experiment.point_output(2.0)
    point = experiment.network(experiment.config.student, output)
    mean = np.asarray(output(point(x)).mean())
    expected = np.mean(np.log(2.0 / s) + (s**2 + (m - mean) ** 2) / (2 * 2.0**2) - 0.5)
    found = closeness.Divergences(experiment, teacher).of(point, "validation", output)
    assert found == pytest.approx(expected, rel=1e-4)


def test_training_rows_are_not_augmented(digits_config):
    experiment = Experiment(digits_config)
    splits = experiment.splits
    varied = Experiment(
        digits_config,
        splits=data.Splits(
            splits.train, splits.validation, splits.test, 10, augment=lambda x, seed: 0.0 * x
        ),
    )
    teacher = ecl_tf.Ensemble(experiment.network(experiment.config.teacher), "categorical")
    student = experiment.network(experiment.config.student)
    both = [
        closeness.Divergences(each, teacher).of(student, "train", each.output)
        for each in (experiment, varied)
    ]
    assert both[0] == both[1]


def test_the_oracle_distils_on_the_spare_inputs_too(digits_config):
    experiment = Experiment(digits_config)
    train, spare = (rows(part)[0] for part in (experiment.splits.train, experiment.splits.spare))
    assert (len(train), len(spare)) == (64, 1200 - 300 - 64)
    batches = experiment.with_spare_inputs.student_batches(0, "Empirical", None)
    seen = {row.numpy().tobytes() for (x,) in batches.take(900 // 64) for row in x}
    known = {row.tobytes() for row in (*train, *spare)}
    assert len(seen) > 800 and seen <= known
    # All the same where spare examples come without labels.
    unlabelled = tf.data.Dataset.from_tensor_slices((spare,))
    other = data.Splits(*[experiment.splits.train] * 3, 10, spare=unlabelled)
    data.require_usable(other, "mine")
    assert int(other.with_spare_inputs().train.cardinality()) == 900
