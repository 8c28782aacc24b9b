"""A teacher's scores on validation and training rows, by hand, and what is warned of."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from scipy import special, stats
from tiny import rows

import ecl_tf
from ecl_tf import outputs
from ecl_tf.experiments import evaluation, positions, quality, work_directory
from ecl_tf.experiments.experiment import Experiment


def linear(shape, kernel, bias):
    """One Dense layer after flattening, with given weights."""
    layer = keras.layers.Dense(len(bias))
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), layer])
    layer.set_weights([kernel, bias])
    return model


def log_likelihoods(x, y, kernel, bias):
    logits = x.reshape(len(x), -1) @ kernel + bias
    return special.log_softmax(logits, -1)[np.arange(len(y)), y]


@pytest.mark.parametrize("sureness", [3.0, 30.0])
def test_a_teacher_of_classes_that_knows_its_training_rows_alone_is_warned_of(
    digits_config, tmp_path, capsys, sureness
):
    experiment = Experiment(digits_config)
    x, y = rows(experiment.splits.train)  # 64 of them.
    fitted = np.linalg.lstsq(x.reshape(len(x), -1), np.eye(10)[y], rcond=1e-2)[0]
    weights = sureness * fitted, np.zeros(10)
    teacher = ecl_tf.Ensemble(linear((8, 8, 1), *weights), "categorical")
    scores = quality.of_teacher(experiment, teacher)
    printed = capsys.readouterr().out

    train = log_likelihoods(x, y, *weights).mean()
    x, y = rows(experiment.splits.validation)
    validation = log_likelihoods(x, y, *weights).mean()
    assert scores["train"]["nll"] == pytest.approx(-train, rel=1e-4, abs=1e-5)
    assert scores["validation"]["nll"] == pytest.approx(-validation, rel=1e-4)
    assert f"teacher: validation accuracy {scores['validation']['accuracy']:.4g}" in printed
    constant = -stats.entropy(np.bincount(y))
    far = validation - constant < 0.5 * (train - constant)
    assert far == (sureness == 30.0)
    assert ("WARNING: the teacher is far over-fitted" in printed) == far
    assert "or calibrate it" not in printed  # As it is.

    workdir = work_directory.claim(tmp_path / "run", digits_config)
    evaluation.keep_teacher(workdir, scores)
    evaluation.keep(workdir, {"validation": {"student": {"accuracy": 0.5}}})
    kept = json.loads((workdir / "evaluation.json").read_text())
    assert kept["train"] == {"teacher": scores["train"]}
    assert set(kept["validation"]) == {"teacher", "student"}


def test_a_teacher_of_numbers_is_measured_against_a_normal_of_their_spread(casp_config, capsys):
    experiment = Experiment(casp_config)
    teacher = ecl_tf.Ensemble(linear((3,), np.zeros((3, 2)), np.zeros(2)), experiment.output)
    quality.of_teacher(experiment, teacher)
    printed = capsys.readouterr().out
    _, y = rows(experiment.splits.validation)
    expected = -stats.norm.logpdf(y, y.mean(), y.std()).mean()
    assert positions.constant_nll(experiment.output, y) == pytest.approx(expected, rel=1e-5)
    splits, least = experiment.splits, experiment.output.min_scale
    stddev = (least + np.log(2)) * np.asarray(splits.target_stddev)
    own = -stats.norm.logpdf(y, splits.target_mean, stddev).mean()
    assert "WARNING: the teacher knows nothing of the labels" in printed  # Its answer is constant.
    assert f"on validation rows by {own - expected:.3g} nats" in printed


def test_the_best_constant_answer_to_yes_no_labels_is_their_frequency():
    output, labels = outputs.Bernoulli(ignore_class=-1), np.array([1, 0, 1, 1, -1])
    once = stats.entropy([0.25, 0.75])
    assert positions.constant_nll(output, labels) == pytest.approx(once)
    two = np.stack([labels, [0, 1, 0, 1, 0]], -1)
    assert positions.constant_nll(output, two) == pytest.approx(once + stats.entropy([0.4, 0.6]))


def test_where_training_rows_are_all_there_is_they_are_scored_once(digits_config):
    experiment = Experiment(digits_config)
    experiment.splits = dataclasses.replace(experiment.splits, validation=experiment.splits.train)
    network = experiment.network(experiment.config.student)
    teacher = ecl_tf.Ensemble(network, "categorical")
    assert set(quality.of_teacher(experiment, teacher)) == {"validation"}


def test_a_teacher_that_is_no_better_than_erm_is_warned_of(
    digits_config, rotated_digits_config, capsys
):
    classes, angles = Experiment(digits_config), Experiment(rotated_digits_config)
    for experiment, teacher, erm, warned in [
        (classes, 0.9, 0.8, False),
        (classes, 0.8, 0.8, True),
        (angles, 5.0, 6.0, False),
        (angles, 6.0, 5.0, True),
    ]:
        quality.against_erm(experiment, {experiment.score_name: teacher}, erm)
        printed = capsys.readouterr().out
        assert f"{teacher:g} of the teacher, {erm:g} of ERM" in printed
        assert ("WARNING: the teacher is no better" in printed) == warned
