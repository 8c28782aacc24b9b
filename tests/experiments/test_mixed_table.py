"""A table with texts, dates and missing cells, from file to training and exported student."""

import json

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tiny import untuned

import ecl_tf
from configs import table
from ecl_tf import data, samplers
from ecl_tf.experiments import comparison, methods, rehearsal, sizes
from ecl_tf.experiments.experiment import Experiment

ROWS = 160
NOISE = {"class_name": "GaussianNoise", "config": {"stddev": 0.3, "relative": True}}


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    own = pd.DataFrame({"size in m²": rng.normal(50.0, 9.0, ROWS).round(2)})
    own["city"] = rng.choice(["Bern", "Genf", "Zürich"], ROWS)
    own["Size in m2"] = rng.random(ROWS)  # Served names have no case.
    own["sold"] = pd.date_range("2021-01-01", periods=ROWS, freq="36h").astype(str)
    own["price"] = 1000.0 + 9.0 * own["size in m²"] + 90.0 * (own.city == "Bern")
    own["kind"] = np.where(own.city == "Bern", "flat", "house")
    own.loc[rng.random(ROWS) < 0.2, "size in m²"] = np.nan
    own.loc[rng.random(ROWS) < 0.2, "city"] = None
    return own


def tiny(frame, path, target="number"):
    """The table's config of one short run of each method."""
    frame.to_csv(path, index=False)
    config = table.get_config(target)
    config.data.path = str(path)
    config.data.target = "kind" if target == "classes" else "price"
    config.data.inputs = ",".join(name for name in frame if name not in ("kind", "price"))
    config.kd.label_weights, config.xcl.choices, config.tuning_seeds = (0.0,), (), 1
    config.export.measures = False
    for section in (config.teacher, config.student):
        section.network.widths = (8,)
        section.train.update({"steps": 4, "steps_per_execution": 2, "batch_size": 16})
    config.student.train.epochs = 2
    if target == "number":
        config.student.network.scale_branch = 0
    return untuned(config)


@pytest.mark.slow
def test_every_method_trains_on_categories(frame, tmp_path, capsys, eagerly):
    config = tiny(frame, tmp_path / "t.csv", "classes")
    config.erm.mixup_alpha = 0.4
    config.xcl.choices = ({"name": "MUNGE", "sampler": "Munge"},)
    with config.unlocked():
        config.methods = {"noise by column": {"sampler": NOISE}}
    comparison.rehearse(config, tmp_path / "run")
    told = capsys.readouterr().out
    assert told.startswith(
        "columns: 2 numbers (size in m², Size in m2), 1 category (city: 4), 1 da"
    )
    # Teacher, ERM and mixed labels, standard and tuned KD, XCL's own samples and MUNGE's, noise.
    assert "8 kinds of training took one step each" in told
    config.methods = {"noise": {"sampler": "DirichletMixup"}}
    tried = rehearsal.Rehearsal()
    experiment = tried.experiment(config)
    (setting,) = methods.others(experiment)
    teacher = ecl_tf.Ensemble([experiment.network(experiment.config.teacher)], experiment.output)
    with pytest.raises(ValueError, match=r"config\.methods\.noise={.*'categories'"):
        tried.student(experiment, teacher, setting, count=1)


def test_samplers_swap_categories_and_mix_numbers(frame, tmp_path):
    experiment = Experiment(tiny(frame, tmp_path / "t.csv"))
    (setting,) = methods.xcl_settings(experiment)
    sampler = samplers.get(setting.arguments["sampler"])
    assert sampler.samplers[1].get_config()["swap"] == ["categories"]
    x, _ = next(iter(experiment.batches(experiment.config.student, 0)))
    drawn = sampler(x, seed=0).inputs
    assert drawn["categories"].dtype == tf.int32
    mixed = np.any(drawn["numbers"] != x["numbers"], axis=1)
    assert 0.4 < mixed.mean() <= 1.0
    swapped = np.any(drawn["categories"] != x["categories"], axis=1)
    assert swapped.any() and not (swapped & ~mixed).any()
    noise = samplers.swapping(NOISE, experiment.splits.swap)(x, seed=0).inputs
    np.testing.assert_array_equal(noise["categories"], x["categories"])
    assert np.any(noise["numbers"] != x["numbers"])


def by_numpy(student, splits, cells):
    """The raw outputs of a student, from its weights and the cells of rows in NumPy."""
    city, size, other, day = (cells[name] for name in ("city", "size in m²", "Size in m2", "sold"))
    specs = {spec.name: spec for spec in splits.columns.specs}
    days = (pd.to_datetime(day) - pd.Timestamp(0)) / pd.Timedelta(days=1)
    amounts = [size.fillna(specs["size in m²"].mean), other, days]
    for period in specs["sold"].periods:
        angle = 2 * np.pi * days / period
        amounts += [1 + np.sin(angle), 1 + np.cos(angle)]
    numbers = np.stack([*amounts, size.isna()], 1).astype("float64")
    embedding = next(each for each in student.layers if hasattr(each, "vectors"))
    vectors = np.concatenate([np.zeros((1, 8)), embedding.vectors.numpy()])
    values = ["?", *specs["city"].values]
    found = vectors[[values.index(each) if each in values else 0 for each in city.fillna("")]]
    normal = next(each for each in student.layers if isinstance(each, keras.layers.Normalization))
    h = (numbers - normal.mean.numpy()) / np.sqrt(normal.variance.numpy())
    h = np.concatenate([found, h], 1)
    (hidden, bias), (kernel, shift) = (
        layer.get_weights() for layer in student.layers[-1].layers if layer.weights
    )
    return np.maximum(h @ hidden + bias, 0.0) @ kernel + shift


@pytest.mark.slow
def test_the_exported_student_takes_raw_columns(frame, tmp_path, run_script, subtests, eagerly):
    config = tiny(frame, tmp_path / "t.csv")
    workdir = tmp_path / "run"
    for script in ("train_teacher", "distill", "evaluate"):
        run_script(script, config, workdir, rehearses=False, ships=False)
    exported = ecl_tf.load_student(workdir / "export")
    splits = Experiment(config).splits
    student = keras.models.load_model(workdir / "student.keras", compile=False)
    own = frame.iloc[:50].copy()
    raw = by_numpy(student, splits, own)
    mean = splits.target_mean[0] + splits.target_stddev[0] * raw[:, :1]
    with subtests.test("a DataFrame, in the target's units"):
        np.testing.assert_allclose(exported.parameters(own)["mean"], mean, rtol=1e-5)
    with subtests.test("served names, from a server"):
        names = {"size_in_m_", "city", "Size_in_m2", "sold"}
        assert set(exported.input_names) == names
        days = (pd.to_datetime(own.sold) - pd.Timestamp(0)) / pd.Timedelta(days=1)
        served = {
            "size_in_m_": own["size in m²"].astype("float32"),
            "city": own.city.fillna("").to_numpy(str),
            "Size_in_m2": own["Size in m2"].astype("float32"),
            "sold": days.astype("float32"),
        }
        answer = tf.saved_model.load(workdir / "export").signatures["serving_default"](
            **{name: tf.constant(column) for name, column in served.items()}
        )
        np.testing.assert_allclose(answer["mean"], mean, rtol=1e-5)
        np.testing.assert_allclose(exported.parameters(served)["mean"], mean, rtol=1e-5)
    with subtests.test("new categories are counted, and answered as one that is not known"):
        own["city"] = ["Chur", "Genf"] * 25
        with pytest.warns(UserWarning, match=r"25 of 50 rows have a 'city' .*'Chur'"):
            found = exported.parameters(own)["mean"]
        raw = by_numpy(student, splits, own)
        expected = splits.target_mean[0] + splits.target_stddev[0] * raw[:, :1]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    with subtests.test("the same scores"):
        run_script("evaluate", config, workdir, model=str(workdir / "export"))
        scores = json.loads((workdir / "evaluation.json").read_text())["test"]
        assert scores[str(workdir / "export")] == pytest.approx(scores["student"], rel=1e-4)
    for changed, message in {
        "vanished": (own.drop(columns="city"), r"no column 'city'; expected 'size in m²', 'city'"),
        "changed": (
            own.assign(**{"Size in m2": "large"}),
            "50 of the 50 rows hold no number in co",
        ),
        "no table": (np.zeros((3, 4)), "takes a DataFrame, or a dict, with the columns"),
    }.values():
        with subtests.test(message), pytest.raises(ValueError, match=message):
            exported.parameters(changed)
    with (
        subtests.test("another table's columns"),
        pytest.raises(ValueError, match="are encoded as"),
    ):
        ecl_tf.export.export_student(
            student, exported.output, tmp_path / "e", columns=data.Columns(splits.columns.specs[:2])
        )


def test_a_class_needs_an_output_of_classes(frame, tmp_path):
    config = tiny(frame, tmp_path / "t.csv")
    config.data.target = "kind"
    with pytest.raises(ValueError, match=r"a class, such as 'flat'\. Say --config=table:classes"):
        Experiment(config)


def test_sizes_follow_from_the_data(frame, tmp_path, capsys):
    config = tiny(frame, tmp_path / "t.csv")
    for section in (config.teacher, config.student):
        section.train.update({"steps_per_execution": 50})
        for name in ("batch_size", "steps"):
            section.train[name] = None
    config.teacher.network.widths = None
    found = Experiment(config).config
    assert found.student.train.batch_size == 32 and found.student.network["widths"] == (8,)
    assert found.teacher.network["widths"] == (64, 64)
    assert found.teacher.network["dropout"] == 0.3 and found.teacher.train.weight_decay == 0.5
    told = capsys.readouterr().out
    assert "sizes for 128 training rows: teacher network.widths=64-64, network.drop" in told
    assert "train.weight_decay=0.5; student train.batch_size=32, train.steps=2,000\n" in told
    # As they were found for CASP's 35,215 training rows.
    assert sizes.batch_size(35_215) == 256 and sizes.steps(35_215, False) == 5000
    assert sizes.steps(35_215, True) == 8000 and sizes.widths(35_215, 9, False) == (64, 64)
    for rows_, batch, steps in [(160, 32, 2000), (1600, 64, 2000), (800_000, 1024, 20_000)]:
        assert (sizes.batch_size(rows_), sizes.steps(rows_, False)) == (batch, steps)
