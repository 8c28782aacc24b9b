"""From configuration to networks, batches and scores."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from sklearn.metrics import accuracy_score, log_loss
from tiny import rows

from configs import table
from ecl_tf import Ensemble, data, outputs, samplers
from ecl_tf.experiments import settings
from ecl_tf.experiments.experiment import Experiment


@pytest.fixture
def experiment(digits_config):
    return Experiment(digits_config)


def test_networks_are_built_from_the_configuration(experiment, rotated_digits_config):
    # 3x3x1x4 + 4, 3x3x4x8 + 8, and 2x2x8 inputs of ten logits.
    weights = experiment.network(experiment.config.teacher).count_params()
    assert weights == 40 + 296 + (32 * 10 + 10)
    weights = experiment.network(experiment.config.student).count_params()
    assert weights == (64 * 8 + 8) + (8 * 10 + 10)
    # A normal output has two raw values for each target.
    regression = Experiment(rotated_digits_config)
    assert regression.network(regression.config.student).output_shape == (None, 2)
    assert not regression.higher_is_better and experiment.higher_is_better


@pytest.mark.parametrize(
    "change, message",
    [
        ({"score": "coverage"}, "config.score='coverage' does not fit"),
        ({"data": {"name": "mnist"}}, "Unknown data set 'mnist'"),
        ({"output": "gaussian"}, "Unknown output 'gaussian'"),
        ({"student": {"train": {"steps": 25}}}, "student.train.steps=25 must be a multiple"),
        ({"teacher": {"train": {"optimizer": "Sgdd"}}}, "'Sgdd' .* is no optimizer of Keras"),
        ({"seedz": 1}, "config.seedz is no setting"),
    ],
)
def test_unknown_settings_are_refused(digits_config, change, message):
    with digits_config.unlocked():
        digits_config.update(change)
    with pytest.raises(ValueError, match=message):
        Experiment(digits_config)


@pytest.mark.slow
def test_labels_are_smoothed_and_mixed_as_their_inputs_are(experiment):
    section = experiment.config.student
    _, y = next(iter(experiment.erm_batches(section, 3)))
    one_hot = np.eye(10, dtype="float32")[y]

    def batches(**labels):
        # Inputs that are their labels show what happens to both.
        experiment.batches = lambda *_: tf.data.Dataset.from_tensors((one_hot, y)).repeat()
        return experiment.erm_batches(section, 3, labels=settings.Labels(**labels)).take(2)

    for inputs, smooth in batches(label_smoothing=0.1):
        np.testing.assert_allclose(smooth, inputs * 0.9 + 0.01, rtol=1e-6)
    (first, labels), (second, _) = batches(mixup_alpha=1.0)
    np.testing.assert_allclose(labels, first, atol=1e-6)
    np.testing.assert_allclose(np.sum(labels, 1), 1.0, rtol=1e-5)
    assert np.max(labels, 1).min() < 0.9
    assert not np.allclose(first, second, atol=1e-3)  # Successive batches differ.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alpha", "make"), [("mixup_alpha", samplers.Mixup), ("cutmix_alpha", samplers.CutMix)]
)
def test_labels_are_mixed_as_the_sampler_mixes_them_at_any_step(experiment, alpha, make):
    section, labels = experiment.config.student, settings.Labels(**{alpha: 0.4})
    batches = experiment.erm_batches(section, 3, labels=labels)
    first = [*batches.take(103)]
    for start in (1, 99):
        continued = experiment.erm_batches(section, 3, start, labels=labels)
        for mixed, again in zip(first[start:], continued.take(5), strict=False):
            assert all(np.array_equal(*pair) for pair in zip(mixed, again, strict=True))
    x, y = next(iter(experiment.batches(section, 3, 101)))
    mixed = make(0.4)((x, tf.one_hot(y, 10)), samplers.random.fold_in(3, 101)).inputs
    for own, expected in zip(first[101], mixed, strict=True):
        np.testing.assert_allclose(own, expected, atol=1e-6)


def test_classification_scores_equal_scikit_learns(experiment):
    model = experiment.network(experiment.config.student)
    x, y = rows(experiment.splits.validation)
    probabilities = keras.ops.softmax(model(x)).numpy().astype("float64")
    probabilities /= probabilities.sum(1, keepdims=True)
    scores = experiment.evaluate(model, "validation")
    assert scores["accuracy"] == pytest.approx(accuracy_score(y, probabilities.argmax(1)))
    assert scores["nll"] == pytest.approx(log_loss(y, probabilities, labels=range(10)), rel=1e-5)
    assert set(scores) == {"accuracy", "nll", "ece"}


def test_regression_scores_equal_numpys(rotated_digits_config):
    experiment = Experiment(rotated_digits_config)
    _, y = rows(experiment.splits.test)
    output = outputs.Point(1, stddev=0.7)
    scores = experiment.evaluate(lambda inputs: 0.0 * inputs[:, 0, 0, :] + 0.2, "test", output)
    assert scores["angular_error"] == pytest.approx(np.degrees(np.abs(y - 0.2)).mean(), rel=1e-5)
    expected = -stats.norm.logpdf(y, 0.2, 0.7).mean()
    assert scores["nll"] == pytest.approx(expected, rel=1e-5)
    inside = np.abs(y - 0.2) <= stats.norm.ppf(0.975) * 0.7
    assert scores["coverage"] == pytest.approx(inside.mean())


def test_counts_have_the_units_of_the_data_and_labels_that_are_none_are_refused(casp_config):
    path = casp_config.data.path
    counts = np.random.default_rng(0).poisson(30.0, 100).astype("float32")
    np.savez(path, x=np.ones((100, 3)), y=counts)
    casp_config.output.class_name = "NegativeBinomial"
    with pytest.raises(ValueError, match=r"config.erm mixes labels.*mixup_alpha.*to 0"):
        Experiment(casp_config)
    casp_config.erm.mixup_alpha = 0.0
    experiment = Experiment(casp_config)
    _, y = experiment.splits.train_rows
    assert experiment.output.target_mean == pytest.approx(np.mean(y))
    mean, stddev = experiment.output.target_mean, 20.0
    constant = {"mean": [[mean]], "stddev": [[stddev]]}
    raw = experiment.output.raw(experiment.output.from_parameters(constant))
    _, y = rows(experiment.splits.test)
    scores = experiment.evaluate(lambda x: tf.repeat(raw, len(x), 0), "test")
    assert scores["rmse"] == pytest.approx(np.sqrt(np.mean((y - mean) ** 2)), rel=1e-4)
    expected = stats.nbinom(mean**2 / (stddev**2 - mean), mean / stddev**2)
    assert scores["nll"] == pytest.approx(-expected.logpmf(y).mean(), rel=1e-3)
    inside = (y >= expected.ppf(0.025)) & (y <= expected.ppf(0.975))
    assert scores["coverage"] == pytest.approx(inside.mean())
    np.savez(path, x=np.ones((100, 3)), y=counts - 100)
    with pytest.raises(ValueError, match=r"can't be negative, and .* have the mean \[?-69\."):
        Experiment(casp_config)
    np.savez(path, x=np.ones((100, 3)), y=counts - 28)
    with pytest.raises(ValueError, match=r"out of range: -\d+.*Expected counts"):
        Experiment(casp_config)


def test_units_and_names_of_classes_are_the_datas(casp_config, experiment):
    with casp_config.unlocked():
        casp_config.output.config.update(target_mean=0.0, target_stddev=1.0)  # As Keras has them.
        Experiment(casp_config)
        casp_config.output.config.target_mean = 50.0
    with pytest.raises(ValueError, match=r"config\.output=.* has target_mean=50\.0, and the data"):
        Experiment(casp_config)
    for names in (("a", "b"), 10 * ("a",)):
        splits = dataclasses.replace(experiment.splits, class_names=names)
        with pytest.raises(ValueError, match=r"config\.data=.* name of its own .* 10 here; got \("):
            Experiment(experiment.config, splits=splits)


def test_prediction_sets_are_of_validation_rows_of_which_there_must_be_enough(casp_config):
    casp_config.student.conformal = 0.8
    experiment = Experiment(casp_config)
    student = experiment.network(experiment.config.student)
    labels, raw = experiment.answers(student, "validation")
    distribution = experiment.output(raw)
    scores = np.sort(np.abs(labels - distribution.mean()) / distribution.stddev(), axis=0)
    sets = experiment.prediction_sets(student)
    assert sets.rows == len(labels) == 30
    np.testing.assert_allclose(sets.thresholds, scores[24], rtol=1e-4)  # ceil(31 * 0.8) = 25.
    found = experiment.scores_of_sets(student, labels, raw)
    assert found["conformal_coverage"] == pytest.approx(25 / 30)
    half = scores[24] * np.asarray(distribution.stddev())
    assert found["conformal_size"] == pytest.approx(2 * half.mean(), rel=1e-3)
    casp_config.student.conformal = 0.97
    with pytest.raises(ValueError, match=r"config.student.conformal=0.97.*needs 33.*there are 30"):
        Experiment(casp_config)


def test_students_learn_in_8_bits_from_labels_and_from_the_teacher(digits_config):
    digits_config.student.quantization = "int8"
    experiment = Experiment(digits_config)
    section, teacher = experiment.config.student, experiment.network(experiment.config.teacher)
    of_labels = experiment.train_supervised(section, 0)
    distilled = experiment.train_distilled(Ensemble(teacher, "categorical"), 0)

    def values(network):
        _, raw = experiment.answers(network, "validation")
        return len(np.unique(raw.round(5)))

    assert values(teacher) > 1000  # Of 300 rows and 10 classes.
    assert values(of_labels) <= 256 and values(distilled) <= 256
    keras.config.set_dtype_policy("mixed_float16")
    try:
        with pytest.raises(ValueError, match=r"config\.student\.quantization='int8' .* float16"):
            experiment.network(section)
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_table_of_classes_is_learnt_and_one_of_targets_refused(tmp_path):
    x = np.random.default_rng(0).normal(size=(600, 3)).astype("float32")
    np.savez(tmp_path / "table.npz", x=x, y=x.argmax(-1))
    config = table.get_config("classes")
    config.data.path = str(tmp_path / "table.npz")
    config.student.train.update({"steps": 200, "batch_size": 64})
    experiment = Experiment(config)
    assert experiment.splits.event_size == 3
    student = experiment.train_supervised(experiment.config.student, 0)
    scores = experiment.evaluate(student, "test")
    assert scores["accuracy"] > 0.85 and scores["nll"] < 0.6
    config.data.classes = False
    with pytest.raises(ValueError, match=r"--config.data.classes=True"):
        Experiment(config)


def test_one_hot_labels_are_refused_when_the_data_is_read(digits_config, experiment):
    rows = experiment.splits.validation.map(lambda x, y: (x, tf.one_hot(y, 10)))
    splits = data.Splits(rows, rows, rows, event_size=10)
    with pytest.raises(ValueError, match=r"config.data.*\(10,\).*class index.*tf.argmax"):
        Experiment(digits_config, splits=splits)


def test_rows_of_an_unknown_class_are_refused_or_left_out_as_the_output_says(
    digits_config, experiment
):
    parts = (experiment.splits.train, experiment.splits.validation, experiment.splits.test)
    hidden = [
        part.map(lambda x, y: (x, tf.where(y == 3, -1, tf.cast(y, tf.int32)))) for part in parts
    ]
    splits = data.Splits(*hidden, event_size=10)
    with pytest.raises(ValueError, match=r"The train split: .* out of range: -1.*ignore_class"):
        Experiment(digits_config, splits=splits)
    with digits_config.unlocked(), digits_config.ignore_type():
        digits_config.output = {"class_name": "Categorical", "config": {"ignore_class": -1}}
    tried = Experiment(digits_config, splits=splits)
    network = tried.network(tried.config.student)
    x, y = rows(experiment.splits.test)
    right = np.argmax(network(data.to_float(x)), -1) == y
    assert tried.evaluate(network, "test")["accuracy"] == pytest.approx(right[y != 3].mean())


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("rate", [1e9, 1e30])
def test_a_loss_or_weights_that_are_not_finite_are_no_result(casp_config, rate):
    casp_config.student.train.learning_rate = rate
    experiment = Experiment(casp_config)
    with pytest.raises(FloatingPointError, match=r"Lower the learning rate"):
        experiment.train_supervised(experiment.config.student, 0)
