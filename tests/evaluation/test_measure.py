"""The whole suite, on networks with known weights, against NumPy."""

import contextlib
import functools
import threading

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from by_hand import heads, linear, network, numbers, softmax, weights
from scipy import special, stats

import ecl_tf
from ecl_tf import data, evaluation, losses, outputs
from ecl_tf.data import Category, Columns, Number
from ecl_tf.evaluation import corruptions
from ecl_tf.evaluation.shown import Shown
from ecl_tf.export import measuring


def pairs(known, other):
    """The share of pairs in which the other one has the higher score."""
    return np.mean(np.sign(other[:, None] - known) / 2 + 0.5)


def entropy(p):
    return -np.sum(p * np.log(p), -1)


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images[:40].reshape(-1, 8, 8, 1).astype("float32") / 16, labels[:40]


@pytest.fixture
def flat():
    """A linear network of the 64 pixels."""
    student = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    student.add(keras.layers.Dense(10))
    student.set_weights([numbers(64, 10), numbers(10, seed=1)])
    return student


def test_a_network_is_asked_about_each_set_once_also_if_it_is_the_teacher():
    asked = []

    def network(inputs):
        asked.append(inputs.numpy().tolist())
        return tf.matmul(inputs, numbers(3, 2))

    sets = {"names": ["noise"], "severities": [1, 5], "other": {"far": numbers(20, 3, seed=2)}}
    arguments = dict(teacher=network, output="categorical", **sets)
    evaluation.measure({"one": network}, numbers(20, 3), np.arange(20) % 2, **arguments)
    assert len(asked) == 4 and all(asked.count(each) == 1 for each in asked)


def test_the_next_inputs_are_made_while_a_network_answers(monkeypatch):
    is_made = threading.Event()

    def corrupt(x, name, severity, **_):
        if severity == 3:
            is_made.set()
        return x + severity

    def network(inputs):
        if float(inputs[0, 0]) == 2.0:  # Before anybody asks about severity 3.
            assert is_made.wait(60)
        return tf.pad(inputs, [[0, 0], [1, 0]])

    monkeypatch.setattr(corruptions, "corrupt", corrupt)
    x, sets = np.zeros((4, 1), "float32"), {"names": ["noise"], "severities": (2, 3), "other": {}}
    found = evaluation.measure(network, x, np.zeros(4, int), output="categorical", **sets)
    for severity in (2, 3):  # The logits are 0 and the severity.
        expected = np.log(1 + np.exp(severity))
        assert found[f"corrupted_nll_{severity}"] == pytest.approx(expected, rel=1e-6)


def test_rows_of_a_frame_are_those_of_an_array():
    rows, labels = numbers(20, 3), np.arange(20) % 2

    def network(inputs):
        return tf.matmul(tf.cast(inputs, tf.float32), numbers(3, 2, seed=1))

    frame = pd.DataFrame(rows, columns=["a", "b", "c"])
    found, expected = (
        evaluation.measure(network, x, labels, output="categorical") for x in (frame, rows)
    )
    assert found == expected


@pytest.mark.parametrize(
    "shape, given, rows",
    [
        ((8, 8, 1), None, 512),
        ((28, 28, 1), None, 167),  # 2^17 / 784
        ((64, 64, 3), None, 64),
        ((28, 28, 1), 300, 300),
    ],
)
def test_large_rows_are_asked_about_in_smaller_batches(shape, given, rows):
    kernel, asked = numbers(3, shape[-1], seed=1).T, []

    def network(inputs):
        asked.append(len(inputs))
        return tf.reduce_mean(inputs, (1, 2)) @ kernel

    x, y = numbers(600, *shape), np.arange(600) % 3
    evaluation.measure(network, x, y, output="categorical", names=(), other={}, batch_size=given)
    assert asked == [rows] * (600 // rows) + [600 % rows] * (600 % rows > 0)


def test_the_numbers_of_images_are_those_of_numpy(digits, flat):
    x, y = digits
    names, severities = ["contrast", "gaussian_noise"], [1, 4]
    found = evaluation.measure(flat, x, y, names=names, severities=severities)

    def ask(inputs):
        return softmax(
            inputs.reshape(40, 64).astype("float64") @ numbers(64, 10) + numbers(10, seed=1)
        )

    def scores(p):
        right, sure = p.argmax(-1) == y, p.max(-1)
        risk = np.cumsum(~right[np.argsort(-sure)]) / np.arange(1, 41)
        bins = np.ceil(sure * 15).astype(int)
        gaps = [abs(np.sum((right - sure)[bins == b])) / 40 for b in range(16)]
        nll = -np.log(p[np.arange(40), y]).mean()
        return dict(accuracy=right.mean(), nll=nll, ece=sum(gaps), aurc=risk.mean())

    clean = scores(ask(x))
    assert {name: found[name] for name in clean} == pytest.approx(clean, rel=1e-4)
    by_set = {
        (name, severity): scores(ask(evaluation.corrupt(x, name, severity)))
        for name in names
        for severity in severities
    }
    for number in clean:
        means = {s: np.mean([by_set[name, s][number] for name in names]) for s in severities}
        got = [found[f"corrupted_{number}_{s}"] for s in severities]
        assert got == pytest.approx([*means.values()], rel=1e-4)
        assert found[f"corrupted_{number}"] == pytest.approx(np.mean(got))
    others = evaluation.drawn_inputs(x)
    for name, other in others.items():
        known, unknown = entropy(ask(x)), entropy(ask(other))
        assert found[f"{name}_auroc_entropy"] == pytest.approx(pairs(known, unknown), abs=1e-4)
    both = [found[f"{name}_fpr95_confidence"] for name in others]
    assert found["ood_fpr95_confidence"] == pytest.approx(np.mean(both))
    # Batches and other networks beside it change nothing.
    again = evaluation.measure(
        {"one": flat, "two": flat}, x, y, names=names, severities=severities, batch_size=7
    )
    assert again["one"] == again["two"] == pytest.approx(found, rel=1e-4)


def test_an_ensemble_disagrees_and_its_student_is_compared_with_it(digits):
    x, y = digits[0].reshape(40, 64)[:, 20:24], digits[1] % 3
    members = [linear(weights(seed=seed)) for seed in (1, 2)]
    teacher, student = ecl_tf.Ensemble(members, "categorical"), linear(weights(seed=3))
    other = {"far": 9.0 * x[::-1].copy()}
    arguments = {"names": (), "other": other}
    models = {"teacher": teacher, "student": student}
    found = evaluation.measure(models, x, y, teacher=teacher, **arguments)
    both = {
        name: [softmax(rows @ weights(seed=s)[0] + weights(seed=s)[1]) for s in (1, 2)]
        for name, rows in (("x", x), ("far", other["far"]))
    }
    apart = {
        name: entropy(np.mean(p, 0)) - np.mean(entropy(np.array(p)), 0) for name, p in both.items()
    }
    expected = pairs(apart["x"], apart["far"])
    assert found["teacher"]["far_auroc_disagreement"] == pytest.approx(expected, abs=2e-3)
    assert "far_auroc_disagreement" not in found["student"]
    assert "agreement" not in found["teacher"]
    p, q = np.mean(both["x"], 0), softmax(x @ weights(seed=3)[0] + weights(seed=3)[1])
    assert found["student"]["agreement"] == np.mean(p.argmax(-1) == q.argmax(-1))
    divergence = np.sum(p * np.log(p / q), -1).mean()
    assert found["student"]["divergence"] == pytest.approx(divergence, rel=1e-4)
    alone = evaluation.measure(student, x, y, teacher=teacher, **arguments)
    assert alone == found["student"]


def test_numbers_named_outputs_and_prediction_sets():
    x, y = numbers(60, 4), numbers(60, 1, seed=5)
    student = network(0, 4, 2)
    output = outputs.Normal(1)
    sets = ecl_tf.conformal(student, numbers(99, 4, seed=6), numbers(99, 1, seed=7), output=output)
    arguments = {"output": output, "sets": sets, "severities": [5]}
    found = evaluation.measure(student, x, y, **arguments)
    answered = output(student(x))
    mean, stddev = np.asarray(answered.mean()), np.asarray(answered.stddev())
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((mean - y) ** 2)), rel=1e-4)
    assert found["nll"] == pytest.approx(-stats.norm(mean, stddev).logpdf(y).mean(), rel=1e-4)
    z = (y - mean) / stddev
    crps = stddev * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - np.pi**-0.5)
    assert found["crps"] == pytest.approx(crps.mean(), rel=1e-4)
    assert found["conformal_coverage"] == np.mean(np.abs(z) <= sets.thresholds[0])
    assert {"corrupted_crps_5", "corrupted_conformal_size", "ood_auroc_variance"} <= found.keys()
    # Of named outputs every name begins with the output's.
    both = heads(kind=3, size=2)
    labels = {"kind": np.arange(60) % 3, "size": y}
    found = evaluation.measure(
        both, x, labels, output={"kind": "categorical", "size": output}, names=(), teacher=both
    )
    assert {"kind_accuracy", "size_crps", "noise_auroc_kind_entropy"} <= found.keys()
    angles = evaluation.measure(student, x, y, output=output, score="angular_error", names=())
    assert angles["angular_error"] > 0 and "rmse" not in angles


@pytest.mark.parametrize(
    "output", [None, outputs.Point(1, stddev=1.0), outputs.Normal(1, min_scale=0.5)]
)
def test_a_teachers_spread_is_its_own_whatever_the_output_of_its_student(output):
    x = numbers(30, 1)
    y = x + 0.1 * numbers(30, 1, seed=1)
    shifted = keras.Sequential([keras.Input((1,)), keras.layers.Rescaling(1.0, offset=0.2)])
    same = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    teacher = ecl_tf.Ensemble([same, shifted], outputs.Point(1, stddev=0.1))
    found = evaluation.measure(teacher, x, y, output=output, names=(), other={})
    normal = stats.norm(x + 0.1, np.hypot(0.1, 0.1))  # The mixture's moments.
    assert found["nll"] == pytest.approx(-normal.logpdf(y).mean(), rel=1e-4)
    inside = abs(normal.cdf(y) - 0.5) < 0.475
    assert found["coverage"] == pytest.approx(inside.mean())


def test_a_mixture_of_mixtures_is_measured_with_all_its_components():
    output, x, y = outputs.NormalMixture(1, components=2), numbers(30, 4), numbers(30, 1, seed=1)
    members = [network(seed, 4, 6) for seed in (0, 1)]
    raws = [member(x).numpy().astype("float64") for member in members]
    likelihood = 0.0
    for raw in raws:
        logits, means, scales = np.split(raw, 3, -1)
        density = stats.norm(means, 1e-3 + np.log1p(np.exp(scales))).pdf(y)
        likelihood += (softmax(logits) * density).sum(-1) / 2
    found = evaluation.measure(ecl_tf.Ensemble(members, output), x, y, names=(), other={})
    assert found["nll"] == pytest.approx(-np.log(likelihood).mean(), rel=1e-4)


def test_an_exported_student_of_a_table_is_measured_and_timed_on_its_rows(tmp_path):
    columns = data.Columns([Number("age", 40.0), data.Date("day", 19800.0)])
    days = pd.date_range("2024-01-01", periods=20)
    frame = pd.DataFrame({"age": np.arange(31.0, 51.0), "day": days, "other": "text"})
    student = keras.Sequential([keras.Input(columns.shape), keras.layers.Dense(2)])
    kernel = np.zeros((*columns.shape, 2))
    kernel[0, 1] = 1.0
    student.set_weights([kernel, np.array([0.0, -40.5])])  # Class 1 above 40.
    ecl_tf.export_student(student, "categorical", tmp_path / "student", columns=columns)
    loaded, y = ecl_tf.load_student(tmp_path / "student"), np.arange(20) % 2
    for x in (frame, {name: frame[name].to_numpy() for name in ("age", "day")}):
        found = evaluation.measure(loaded, x, y, names=(), other={"same": x})
        assert found["accuracy"] == np.mean((frame["age"] > 40) == y)
        assert found["same_auroc_confidence"] == 0.5
        row = measuring._of_export(tmp_path / "student", x)[2]
        assert {name: np.ravel(each)[0] for name, each in row.items()} == {"age": 31, "day": 19723}


def test_an_output_that_would_read_raw_outputs_otherwise_is_refused_everywhere(tmp_path, subtests):
    x, y = numbers(30, 4), np.zeros(30, int)
    doors = {
        "measure": lambda network, output: evaluation.measure(network, x, y, output=output),
        "maps": lambda network, output: evaluation.uncertainty_maps(network, x, output),
        "conformal": lambda network, output: ecl_tf.conformal(network, x, y, output=output),
        "export": lambda network, output: ecl_tf.export_student(
            network, output, tmp_path / "s", tf.TensorSpec((None, 4))
        ),
    }
    one, four = network(0, 4, 1), network(0, 4, 4)
    unit = outputs.Normal(1, target_mean=100.0, target_stddev=10.0)
    of_numbers = ecl_tf.Distiller(network(0, 4, 2), network(1, 4, 2), output=unit)
    calibrated = ecl_tf.Ensemble(four, outputs.Categorical(temperature=2.0))
    cases = [
        (one, "categorical", "output='bernoulli'"),
        (four, outputs.Normal(1), "dimension of 2"),
        (of_numbers, outputs.Normal(1), "would read them otherwise"),
        (calibrated, "categorical", "would read them otherwise"),
    ]
    for door, ask in doors.items():
        for its, output, message in cases:
            if door == "measure" and its is calibrated:
                continue  # Its probabilities are written as logits of the output.
            with subtests.test(door, output=output), pytest.raises(ValueError, match=message):
                ask(its, output)


def test_units_may_be_given_to_what_a_loss_without_any_trained():
    unit = outputs.Normal(1, target_mean=100.0, target_stddev=10.0)
    for trained_in, refused in ((outputs.Normal(1), False), (unit, True)):
        its = network(0, 4, 2)
        its.compile("sgd", losses.NegativeLogLikelihood(trained_in))
        other = outputs.Normal(1) if refused else unit
        with pytest.raises(ValueError, match="otherwise") if refused else contextlib.nullcontext():
            ecl_tf.Ensemble(its, other)
    x = numbers(30, 4)  # A temperature may be fitted afterwards.
    evaluation.uncertainty_maps(its, x, unit.tempered(1.5))
    distiller = ecl_tf.Distiller(network(0, 4, 3), network(1, 4, 3))
    evaluation.uncertainty_maps(distiller, x, outputs.Categorical(temperature=1.5))
    its.compile("sgd", losses.NegativeLogLikelihood(outputs.LogNormal(1)))
    of_unit = outputs.LogNormal(1, target_mean=5.0, target_stddev=2.0)
    ecl_tf.Ensemble(its, of_unit)


def test_rows_labels_and_scales_that_would_give_a_wrong_number_are_refused(digits, flat, subtests):
    x, y = digits
    measure = functools.partial(evaluation.measure, severities=[1], other={})
    pixels = np.round(x * 255.0)
    found = measure(flat, data.to_float(pixels.astype("uint8")), y, names=())["nll"]
    p = softmax(pixels.reshape(40, 64) / 255.0 @ numbers(64, 10) + numbers(10, seed=1))
    assert abs(found + np.log(p[np.arange(40), y]).mean()) < 1e-5
    ending = keras.Sequential([flat, keras.layers.Softmax()])
    table = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)])
    scaled = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), flat])
    for model, rows in ((scaled, pixels), (table, pixels.reshape(40, 64))):  # As fit gives them.
        same = [measure(model, rows.astype(each), y, names=()) for each in ("uint8", "float32")]
        assert same[0]["nll"] == pytest.approx(same[1]["nll"], rel=1e-6)
    normalized = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.BatchNormalization(), flat])
    with pytest.warns(UserWarning, match="don't tell whether it scales them.*to_float"):
        measure(normalized, pixels.astype("uint8"), y, names=())
    # It was trained somewhere, perhaps on such pixels.
    found = measure(flat, pixels.astype("float32"), y, arguments={"value_range": (0, 255)})["nll"]
    logits = pixels.reshape(40, 64) @ numbers(64, 10) + numbers(10, seed=1)
    nll = special.logsumexp(logits, -1) - logits[np.arange(40), y]
    assert found == pytest.approx(nll.mean(), rel=1e-5)
    rows = tf.data.Dataset.from_tensor_slices(x).batch(8)
    gaps = np.where(np.arange(64) == 5, np.nan, x.reshape(40, 64))
    for name, message, arguments in (
        ("no class", "out of range: -1", (flat, x, np.append(y[:-1], -1))),
        ("a label too few", r"so many rows: \[40, 39\]", (flat, x, y[:-1])),
        ("no rows", "one row at least", (flat, x[:0], y[:0])),
        ("no network", "no network to measure", ({}, x, y)),
        ("a scaled network", "data's range is another one", (scaled, x, y)),
        ("bytes", "go from 0 to 255, and neither", (flat, pixels.astype("uint8"), y)),
        ("probabilities", "ends in softmax", (ending, x, y)),
        ("NaN", "NaN or Inf to inputs that hold", (table, gaps, y)),
        ("a dataset", "measure takes arrays .*get_single_element", (flat, rows, y)),
    ):
        with subtests.test(name), pytest.raises(ValueError, match=message):
            measure(*arguments, names=())
    layers = keras.layers.Permute((2, 3, 1)), keras.layers.Conv2D(10, 3)
    first = keras.Sequential([keras.Input((3, 6, 6)), *layers])
    first.add(keras.layers.GlobalAveragePooling2D())
    with (
        subtests.test("black and white"),
        pytest.raises(ValueError, match=r"hold values .*arguments"),
    ):
        measure(lambda rows: 1 / 0, x - 1, y)  # Before any network is asked.
    with subtests.test("channels first"), pytest.raises(ValueError, match="need the channels last"):
        measure(first, numbers(40, 3, 6, 6), y)
    assert np.isfinite(measure(first, numbers(40, 3, 6, 6), y, names=())["nll"])
    with subtests.test("unknown labels"), pytest.raises(ValueError, match="No label is known"):
        measure(flat, x, y * 0 - 1, output=outputs.Categorical(ignore_class=-1))
    with subtests.test("costs"), pytest.raises(ValueError, match="costs takes arrays"):
        ecl_tf.costs(flat, rows)
    with subtests.test("maps"), pytest.raises(ValueError, match="uncertainty_maps takes arrays"):
        evaluation.uncertainty_maps(flat, rows)
    with subtests.test("others"), pytest.raises(ValueError, match=r"other\['a'\] hold NaN"):
        measure(flat, x, y, names=(), other={"a": x * np.nan})
    with subtests.test("another type"), pytest.raises(ValueError, match="those of x float32"):
        measure(flat, x, y, names=(), other={"a": pixels.astype("uint8")})
    with subtests.test("another scale"), pytest.raises(ValueError, match="on the same scale"):
        measure(flat, x, y, names=(), other={"a": pixels})
    with subtests.test("another width"), pytest.raises(ValueError, match="same types and shapes"):
        measure(flat, x, y, names=(), other={"a": x[:, :4]})
    a, b = (measure(flat, x, y, names=(), other={"a": x[::2].astype(t)}) for t in ("f4", "f8"))
    assert a == b
    for others in ({"models": {"a": scaled, "b": flat}}, {"models": scaled, "teacher": flat}):
        with subtests.test("each by itself"), pytest.raises(ValueError, match="neither network"):
            measure(**others, x=pixels.astype("uint8"), y=y, names=())


def test_what_is_shown_by_the_kind_of_inputs():
    columns = Columns([Number("age", 30.0), Category("city", ("Basel", "Bern"))])
    x = columns.encode({"age": np.arange(20.0), "city": ["Bern", "Basel"] * 10})
    shown = Shown(x, np.zeros(20), arguments={"columns": columns})
    made = {name: make() for _, sets in shown.corrupted() for name, make in sets.items()}
    assert [*made] == shown.sets[: len(made)] and len(made) == 5 * len(corruptions.NAMES["table"])
    for rows in made.values():  # As the network takes them.
        assert rows["numbers"].shape == (20, 1) and set(np.ravel(rows["categories"])) <= {0, 1, 2}
    assert any((rows["numbers"] != x["numbers"]).any() for rows in made.values())
    ids = np.arange(24).reshape(4, 6)
    assert Shown(ids, None).kind == Shown(numbers(4, 6, 2), None).kind == "sequence"
    shuffled = evaluation.drawn_inputs(ids)["shuffled"]
    assert (shuffled != ids).any() and (np.sort(shuffled, 1) == ids).all()  # Within each row.
    several = {"image": np.zeros((3, 4, 4, 1), "float32"), "pose": np.ones((3, 2), "float32")}
    shown = Shown(several, None, names=["brightness"])
    ((_, sets),) = shown.corrupted()
    brighter = sets["brightness 3"]()
    assert shown.kind == "image" and (brighter["pose"] == 1).all() and brighter["image"].min() > 0
    noise = evaluation.drawn_inputs(several)["noise"]
    assert (noise["image"] == 0).all()  # In the range of all pixels.
    assert "shuffled" not in evaluation.drawn_inputs(numbers(5, 1))
    table = {
        "city": np.array(["Bern", "Basel", "Bern"], object),
        "open": np.array([True, False, True]),
        "age": np.array([30.0, np.nan, 50.0]),
    }
    noise = evaluation.drawn_inputs(table)["noise"]
    assert set(noise["city"]) <= {"Bern", "Basel"} and noise["open"].dtype == bool
    assert ((noise["age"] >= 20.0) & (noise["age"] <= 60.0)).all()
    for wrong, message in (
        ({"names": ["rain"]}, "no corruption 'rain' of the kind 'image'"),
        ({"severities": [6]}, "severities are of"),
        ({"kind": "picture"}, "kind must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            Shown(several, None, **wrong)


def test_ids_are_no_amounts_and_masked_steps_are_told_of():
    layers = keras.layers

    def network():
        look_up, last = layers.Embedding(9, 4, mask_zero=True, name="words"), layers.Dense(3)
        pooled = layers.GlobalAveragePooling1D()
        return keras.Sequential([keras.Input((6,)), look_up, pooled, last])

    ids, y = np.random.default_rng(0).integers(1, 9, (20, 6)), np.arange(20) % 3
    floats = ids.astype("float32")
    with pytest.raises(ValueError, match=r"looks up x by its exact values .*'words'.*'int64'"):
        evaluation.measure(network(), floats, y)
    evaluation.measure(network(), floats, y, names=("swapped",), other={})
    evaluation.measure(network(), ids, y, arguments={"padding": 0})
    ids[:5, 4:] = 0
    with pytest.warns(UserWarning, match=r"'words' .* masks steps of x that are 0.*'padding': 0"):
        evaluation.measure(network(), ids, y)


def test_answers_that_are_not_what_they_seem_are_refused(subtests):
    x, y = numbers(30, 2), np.arange(30) % 2
    measure = functools.partial(evaluation.measure, names=(), other={})
    p, normal = special.expit, ecl_tf.Ensemble(network(0, 2, 2), outputs.Normal(1))
    student = lambda x: tf.stack([x[:, 0], -x[:, 0]], 1)  # noqa: E731
    for name, message, arguments in (
        ("shares", "seem to be probabilities", {"models": lambda x: softmax(x)}),
        ("yes/no", "seem to be", {"models": lambda x: p(9 * x[:, :1]), "output": "bernoulli"}),
        ("a teacher of shares", "seem to be", {"models": student, "teacher": lambda x: softmax(x)}),
        ("a teacher of NaN", "NaN or Inf", {"models": student, "teacher": lambda x: x * np.nan}),
        (
            "three classes",
            "to be compared",
            {"models": student, "teacher": lambda x: tf.gather(x, [0, 0, 0], axis=1)},
        ),
        ("a dict", "expected one array", {"models": lambda x: {"logits": x}}),
        ("an estimator", "from_estimator", {"models": object()}),
        ("no such score", "scores of .*'iou'", {"models": student, "score": "accurcy"}),
        ("a score of numbers", "scores of .*'rmse'", {"models": student, "score": "rmse"}),
        ("no batch", "batch_size must be", {"models": student, "batch_size": 0}),
        ("a list", r"Give np\.asarray\(x\)", {"models": student, "x": x.tolist()}),
        ("another width", r"shape \(None, 1\)", {"models": network(0, 2, 2), "x": x[:, :1]}),
        ("a row", "1 rows to 30", {"models": lambda x: x[:1]}),
        ("one logit", "at least 2 classes", {"models": lambda x: x[:, 0]}),
        ("another family", "of one family", {"models": student, "teacher": normal}),
        (
            "another kind",
            "of Normal.* can't stand for",
            {"models": normal, "output": "categorical"},
        ),
    ):
        with subtests.test(name), pytest.raises(ValueError, match=f"(?i){message}"):
            measure(**{"x": tf.constant(x), "y": y, **arguments})
    with (
        subtests.test("labels of one output of two"),
        pytest.raises(ValueError, match="'b' has no"),
    ):
        both = outputs.Joint({"a": "categorical", "b": "categorical"})
        measure(lambda x: {"a": x, "b": x}, x, {"a": y}, output=both)
    with subtests.test("yes/no logits between 0 and 1"):
        shares = lambda x: p(9 * x[:, :1])  # noqa: E731
        teacher = ecl_tf.teachers.FunctionTeacher(shares, "bernoulli", x, answer="logits")
        found = measure(teacher, x, y)["nll"]
        z = p(9 * x[:, 0].astype("float64"))
        assert found == pytest.approx(np.log1p(np.exp(z * (1 - 2 * y))).mean(), rel=1e-5)
    with subtests.test("raw outputs without their last axis"):
        for rows in (lambda x: x[:, 0], lambda x: x[:, :1]):
            found = measure(rows, x, y, output="bernoulli")["nll"]
            assert found == pytest.approx(np.log1p(np.exp(-x[:, 0] * (2 * y - 1))).mean(), rel=1e-5)
        with pytest.raises(ValueError, match=r"raw\[:, None\]"):
            evaluation.main_scores(outputs.Bernoulli(), x[:, 0], y)


def test_inputs_that_are_not_corrupted_are_measured_as_they_are(tmp_path):
    """Videos, several inputs without names, and what an exported student answers."""
    y = np.arange(20) % 2
    series = {"age": numbers(20, 2), "series": numbers(20, 4, 3)}
    for x in (numbers(20, 2, 3, 3, 2), [numbers(20, 2), numbers(20, 3)], series):

        def flat(given):
            first = keras.tree.flatten(given)[0]
            return tf.reshape(first, (len(first), -1))[:, :2]

        found = evaluation.measure(flat, x, y)
        p = softmax(flat(x).numpy())
        assert found["nll"] == pytest.approx(-np.log(p[np.arange(20), y]).mean(), rel=1e-5)
        assert "noise_auroc_entropy" in found and not any("corrupted" in name for name in found)
    student = network(0, inputs=3, classes=2)
    ecl_tf.export_student(student, "categorical", tmp_path / "student")
    exported = ecl_tf.load_student(tmp_path / "student")
    rows = numbers(20, 3)
    found = evaluation.measure({"it": student, "file": exported}, rows, y, names=(), other={})
    assert found["file"] == pytest.approx(found["it"], rel=1e-4)
