"""A table from file to exported student, recomputed with NumPy, SciPy and scikit-learn."""

import json
import types

import keras
import numpy as np
import pytest
from scipy import stats
from sklearn.preprocessing import StandardScaler
from tiny import rows

import ecl_tf
from configs import casp
from ecl_tf.experiments import distillation, methods, stores
from ecl_tf.experiments.experiment import Experiment
from ecl_tf.experiments.runs import Runs

MIN_SCALE = 0.1


@pytest.fixture
def config(tmp_path):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 3))
    # Columns of very different scale, one of them constant; a target far from zero.
    x = np.column_stack([1e-3 * z[:, 0], 5.0 + z[:, 1], 1e5 + 1e4 * z[:, 2], np.full(300, 7.0)])
    y = 1000.0 + 50.0 * (z[:, 0] - z[:, 1] * z[:, 2]) + rng.normal(scale=5.0, size=300)
    np.savez(tmp_path / "table.npz", x=x, y=y)
    config = casp.get_config()
    config.data.path = str(tmp_path / "table.npz")
    config.teacher.members = 2
    config.teacher.network.widths = (16, 16)
    config.student.network.update({"widths": (8, 6), "scale_branch": 0})
    config.student.train.epochs = 2
    for section in (config.teacher, config.student):
        section.train.update({"steps": 60, "batch_size": 32, "steps_per_execution": 30})
    return config


def dense_layers(model):
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            yield [np.array(weights, "float64") for weights in layer.get_weights()]
        elif isinstance(layer, keras.Model):
            yield from dense_layers(layer)


def by_numpy(path, splits, x, points=False):
    """Mean and standard deviation in the target's units, from a file's Dense layers."""
    train_x, train_y = (part.astype("float64") for part in rows(splits.train))
    h = StandardScaler().fit(train_x).transform(x.astype("float64"))
    *hidden, (kernel, bias) = dense_layers(keras.models.load_model(path, compile=False))
    for weights, shift in hidden:
        h = np.maximum(h @ weights + shift, 0.0)
    raw = h @ kernel + bias
    mean = train_y.mean() + train_y.std() * raw[:, :1]
    if points:
        return mean
    return mean, train_y.std() * (MIN_SCALE + np.logaddexp(0.0, raw[:, 1:]))


def rmse_and_nll(y, mean, stddev):
    return {
        "rmse": np.sqrt(np.mean((y - mean) ** 2)),
        "nll": -stats.norm.logpdf(y.astype("float64"), mean, stddev).mean(),
        "coverage": np.mean(np.abs(y - mean) <= stats.norm.ppf(0.975) * stddev),
    }


@pytest.mark.slow
def test_export_and_evaluation_are_in_the_targets_units(run_script, config, tmp_path):
    workdir = tmp_path / "run"
    for script in ("train_teacher", "distill", "evaluate"):
        run_script(script, config, workdir, rehearses=False, ships=False)
    splits = Experiment(config).splits
    x, y = rows(splits.test)
    assert x.shape == (30, 4) and y.shape == (30, 1) and x.max() > 1e5

    mean, stddev = by_numpy(workdir / "student.keras", splits, x)
    parameters = ecl_tf.load_student(workdir / "export").parameters(x)
    np.testing.assert_allclose(parameters["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(parameters["stddev"], stddev, rtol=1e-5)

    written = json.loads((workdir / "evaluation.json").read_text())["test"]
    assert written["student"] == pytest.approx(rmse_and_nll(y, mean, stddev), rel=1e-4)
    members = [by_numpy(path, splits, x) for path in sorted(workdir.glob("teacher/*.keras"))]
    means, stddevs = (np.stack(part) for part in zip(*members, strict=True))
    spread = np.sqrt(np.mean(stddevs**2, 0) + np.var(means, 0))
    expected = rmse_and_nll(y, means.mean(0), spread)
    assert written["teacher"] == pytest.approx(expected, rel=1e-4)
    # Trained in standardised units, a few steps come near a target of 1000.
    assert written["teacher"]["rmse"] < 200.0

    # Of the exported student, the same scores.
    path = str(workdir / "export")
    run_script("evaluate", config, workdir, model=path)
    again = json.loads((workdir / "evaluation.json").read_text())["test"][path]
    assert again == pytest.approx(written["student"], rel=1e-4)


def test_classes_of_other_names_are_refused():
    output = ecl_tf.outputs.Categorical()
    student, data = (
        types.SimpleNamespace(output=output, class_names=names)
        for names in (("No", "Yes"), ("Aye", "No"))
    )
    with pytest.raises(ValueError, match="No, Yes, in this order, and the data's Aye, No"):
        distillation._require_exported(student, output, data)


def test_standard_kd_gets_a_spread_in_the_targets_units(config, tmp_path):
    experiment = Experiment(config)
    teacher = ecl_tf.Ensemble([experiment.network(experiment.config.teacher)], experiment.output)
    stored = stores.Stores(experiment, teacher, tmp_path)
    setting = methods.standard_kd(experiment)
    assert isinstance(setting.arguments["output"], ecl_tf.outputs.Point)
    record = Runs(experiment, teacher, stored, tmp_path, 1).run(setting, 3)

    x, y = rows(experiment.splits.validation)
    mean = by_numpy(tmp_path / "students" / record["student"], experiment.splits, x, points=True)
    residual = np.sqrt(np.mean((y - mean) ** 2))
    assert residual > 10.0
    output = record["output"]
    assert output["class_name"] == "Point"
    assert output["config"]["stddev"] == pytest.approx(residual, rel=1e-4)
    assert record["validation"] == pytest.approx(rmse_and_nll(y, mean, residual), rel=1e-4)


def standard_kd_divergence(config, a, b):
    output = methods.standard_kd(Experiment(config)).arguments["output"]
    return np.asarray(output.divergence(output(a), output(b), ecl_tf.divergences.kl))


A, B = np.array([[0.5], [-1.0], [2.0]], "float32"), np.array([[0.2], [1.0], [1.0]], "float32")


def test_squared_error_to_the_mean_is_what_standard_kd_minimises(config, tmp_path):
    divergence = standard_kd_divergence(config, A, B)
    np.testing.assert_allclose(
        divergence / divergence[0], (A - B)[:, 0] ** 2 / (A - B)[0, 0] ** 2, rtol=1e-4
    )
    # It is as large in any unit: SGD's rate is for one scale of the gradients.
    with np.load(config.data.path) as arrays:
        np.savez(tmp_path / "other.npz", x=arrays["x"], y=arrays["y"] / 1000.0)
    config.data.path = str(tmp_path / "other.npz")
    np.testing.assert_allclose(standard_kd_divergence(config, A, B), divergence, rtol=1e-3)
