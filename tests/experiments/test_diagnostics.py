"""What the report shows, against numbers by hand, SciPy and scikit-learn."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import assert_same_weights
from scipy import stats
from sklearn.calibration import calibration_curve

import ecl_tf
from configs import sine
from ecl_tf import data, outputs
from ecl_tf.experiments import diagnostics
from ecl_tf.experiments.experiment import Experiment


def test_reliability_of_two_classes_is_scikit_learns():
    generator = np.random.default_rng(0)
    logits = generator.normal(0.0, 2.0, (4000, 2))
    logits[0] = 200.0, 0.0  # A confidence of 1 is in the last bin.
    labels = generator.integers(0, 2, 4000)
    found = diagnostics.reliability(labels, logits.astype("float32"), outputs.Categorical())
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    right = probabilities.argmax(1) == labels
    observed, predicted = calibration_curve(right, probabilities.max(1), n_bins=15)
    np.testing.assert_allclose(found["observed"], observed, atol=2e-5)
    np.testing.assert_allclose(found["predicted"], predicted, atol=2e-5)
    counts = np.histogram(probabilities.max(1), np.linspace(0.0, 1.0, 16))[0]
    np.testing.assert_allclose(found["weight"], counts[counts > 0] / 4000, atol=1e-5)


def test_reliability_of_gaussians_is_their_coverage():
    """Labels of spread 1 in predictions of half the spread."""
    generator = np.random.default_rng(1)
    mean = generator.normal(size=(20_000, 2))
    output = outputs.Normal(2, min_scale=1e-3)
    scale = np.log(np.expm1(0.5 - 1e-3))
    raw = np.concatenate([mean, np.full_like(mean, scale)], 1).astype("float32")
    found = diagnostics.reliability(mean + generator.normal(size=mean.shape), raw, output)
    levels = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(found["predicted"], levels, atol=1e-5)
    expected = 2 * stats.norm.cdf(0.5 * stats.norm.ppf(0.5 + levels / 2)) - 1
    np.testing.assert_allclose(found["observed"], expected, atol=0.015)


def line(slope_of_scale):
    """The mean 2 x; the raw scale grows by this slope."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
    model.set_weights([np.array([[2.0, slope_of_scale]]), np.zeros(2)])
    return model


@pytest.fixture
def experiment():
    config = sine.get_config()
    config.student.train.update({"steps": 40, "epochs": 4, "steps_per_execution": 5})
    with config.unlocked():  # Steps are batches, also where they are no updates.
        adam = {"class_name": "Adam", "config": {"gradient_accumulation_steps": 2}}
        config.student.train.optimizer = adam
    return Experiment(config)


def test_the_learning_curve_holds_the_validation_score_of_every_part(experiment):
    curve = diagnostics.LearningCurve(experiment, experiment.output)
    model = experiment.train_supervised(experiment.config.student, 0, [curve])
    assert [point["step"] for point in curve.points] == [10, 20, 30, 40]
    x, y = experiment.splits.validation.batch(200).get_single_element()
    rmse = np.sqrt(np.mean((model(x).numpy()[:, :1] - y.numpy()) ** 2))
    assert curve.points[-1]["rmse"] == pytest.approx(rmse, rel=1e-5)
    # Looking on changes nothing.
    again = experiment.train_supervised(experiment.config.student, 0)
    assert_same_weights(model, again)


def test_one_dimension_shows_means_and_spreads_over_the_range(experiment):
    network = line(0.0)
    teacher = ecl_tf.Ensemble([network], experiment.output)
    found = diagnostics.one_dimension(experiment, teacher, {"XCL": (network, experiment.output)})
    x, y = (np.ravel(part) for part in experiment.splits.train_rows)
    np.testing.assert_allclose(found["train"]["x"], x, atol=1e-5)
    np.testing.assert_allclose(found["train"]["y"], y, atol=1e-5)
    assert min(found["x"]) < x.min() and max(found["x"]) > x.max()
    for who in ("teacher", "XCL"):
        shown = found["distributions"][who]
        np.testing.assert_allclose(shown["mean"], 2.0 * np.array(found["x"]), atol=1e-4)
        np.testing.assert_allclose(shown["stddev"], 0.01 + np.log(2.0), atol=1e-5)


@pytest.mark.parametrize("kind", ["str", "bool", "uint8"])
def test_texts_and_truth_values_are_no_axis_and_bytes_are_scaled(experiment, kind):
    x = np.array([[0], [255]]).astype(kind)
    rows = tf.data.Dataset.from_tensor_slices((x, np.full((2, 1), 5, "uint8")))
    experiment.splits = data.Splits(rows, rows, rows, event_size=1)
    teacher = ecl_tf.Ensemble([line(0.0)], experiment.output)
    found = diagnostics.one_dimension(experiment, teacher, {})
    if kind == "uint8":
        assert found["train"] == {"x": [0.0, 1.0], "y": [5.0, 5.0]} and found["x"][0] == -0.1
    else:
        assert found is None
    if kind == "str":
        assert diagnostics.gallery(experiment, teacher, {}, "Empirical") is None


def test_the_gallery_shows_training_inputs_that_xcls_student_is_uncertain_about(experiment):
    slopes = {"ERM": 1.0, "XCL": -1.0}  # XCL's is less certain of smaller inputs.
    students = {name: (line(slope), experiment.output) for name, slope in slopes.items()}
    teacher = ecl_tf.Ensemble([line(-1.0)], experiment.output)
    sampler = {"class_name": "Uncertain", "config": {"base": "Empirical", "temperature": 0.0}}
    found = diagnostics.gallery(experiment, teacher, students, sampler)
    inputs = np.array(found["inputs"])
    assert found["shape"] == [1] and inputs.shape == (8, 1)
    rows = np.ravel(experiment.splits.train_rows[0])
    assert np.all(np.abs(inputs - rows).min(1) < 1e-4)
    x = next(iter(experiment.batches(experiment.config.student, experiment.config.seed)))[0]
    assert inputs.max() <= np.median(x) + 1e-4
    np.testing.assert_allclose(found["distributions"]["XCL"]["mean"], 2 * inputs, atol=1e-3)
