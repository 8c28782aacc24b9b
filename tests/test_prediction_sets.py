"""Prediction sets hold the truth as often as they say, in memory and in the export."""

import json

import keras
import numpy as np
import pytest
import scipy.special
from by_hand import network, numbers

from ecl_tf import (
    Distiller,
    conformal,
    export_student,
    load_student,
    outputs,
    prediction_sets,
)
from ecl_tf.prediction_sets import PredictionSets

RNG = np.random.default_rng(0)


def noisy_rows(count, dimensions=1):
    """Raw outputs of a student whose spread is wrong by a factor that varies, and targets."""
    mean = RNG.normal(size=(count, dimensions))
    truth = np.exp(RNG.normal(0, 0.7, (count, dimensions)))
    said = truth * np.exp(RNG.normal(0, 0.5, (count, dimensions))) / 3
    raw = np.concatenate([mean, np.log(np.expm1(said - 1e-3 + 1e-2))], -1).astype("float32")
    return raw, (mean + truth * RNG.standard_t(3, (count, dimensions))).astype("float32")


def unsure_classes(count):
    logits = RNG.normal(0, 1.5, (count, 6))
    labels = [RNG.choice(6, p=p) for p in scipy.special.softmax(logits, -1)]
    return (3 * logits).astype("float32"), np.array(labels)  # Far too sure.


def test_thresholds_are_the_quantile_of_the_finite_sample():
    raw, y = noisy_rows(40, 2)
    output = outputs.Normal(2)
    sets = prediction_sets.of_answers(output, raw, y, 0.9)
    distribution = output(raw)
    scores = np.abs(y - distribution.mean()) / distribution.stddev()
    expected = np.sort(scores, 0)[36]  # The 37th: ceil(41 * 0.9).
    np.testing.assert_allclose(sets.thresholds, expected, rtol=3e-5)
    found = sets.parameters(distribution)
    lower, upper = found["lower"].numpy(), found["upper"].numpy()
    np.testing.assert_allclose(
        lower, distribution.mean() - expected * distribution.stddev(), atol=1e-3
    )
    np.testing.assert_array_equal(((lower <= y) & (y <= upper)).sum(0), [37, 37])
    logits, labels = unsure_classes(40)
    sets = prediction_sets.of_answers(outputs.Categorical(), logits, labels, 0.9)
    p = scipy.special.softmax(logits, -1)
    scores = np.sort(1 - p[np.arange(40), labels])
    assert sets.thresholds == pytest.approx(scores[36], rel=1e-4)
    members = sets.parameters(outputs.Categorical()(logits))["prediction_set"].numpy()
    likeliest = p == p.max(-1, keepdims=True)
    np.testing.assert_array_equal(members, (1 - p <= scores[36] + 1e-5) | likeliest)
    one_hot = prediction_sets.of_answers(outputs.Categorical(), logits, np.eye(6)[labels], 0.9)
    assert one_hot.thresholds == sets.thresholds


def test_the_mean_coverage_over_many_calibrations_is_what_was_promised():
    """Of n = 99 rows it is k / 100, k = ceil(100 * coverage), whatever the student's spread is."""
    for output, draw, coverage in [
        (outputs.Normal(1), noisy_rows, 0.9),
        (outputs.Normal(1), noisy_rows, 0.625),
        (outputs.Categorical(), unsure_classes, 0.9),
    ]:
        found = []
        for _ in range(40):
            sets = prediction_sets.of_answers(output, *draw(99), coverage)
            found.append(sets.evaluate(*draw(400))["coverage"])
        expected = np.ceil(100 * coverage) / 100
        error = np.std(found) / np.sqrt(len(found))
        assert np.mean(found) == pytest.approx(expected, abs=4 * error + 1e-3)


def test_five_thousand_rows_cover_within_a_point(subtests):
    raw, y = noisy_rows(5000)
    new_raw, new_y = noisy_rows(5000)
    plain = (
        np.abs(new_y - outputs.Normal(1)(new_raw).mean())
        <= 1.645 * outputs.Normal(1)(new_raw).stddev()
    )
    assert np.mean(plain) < 0.6  # The student's own intervals are far too narrow.
    for output in (outputs.Normal(1), outputs.StudentT(1)):
        with subtests.test(output.family):
            found = prediction_sets.of_answers(output, raw, y, 0.9).evaluate(new_raw, new_y)
            assert found["coverage"] == pytest.approx(0.9, abs=0.01)
    with subtests.test("log-normal"):
        output = outputs.LogNormal(1)
        sets = prediction_sets.of_answers(output, raw, np.exp(y / 4), 0.9)
        found = sets.evaluate(new_raw, np.exp(new_y / 4))
        assert found["coverage"] == pytest.approx(0.9, abs=0.01)
        assert np.all(sets.parameters(output(raw))["lower"] > 0.0)
    with subtests.test("counts"):
        output = outputs.NegativeBinomial(1, target_mean=20.0)
        counts = [RNG.poisson(20 * np.logaddexp(0, each[:, 0])) for each in (raw, new_raw)]
        sets = prediction_sets.of_answers(output, raw, counts[0], 0.9)
        assert sets.evaluate(new_raw, counts[1])["coverage"] == pytest.approx(0.9, abs=0.012)
        lower = sets.parameters(output(raw))["lower"].numpy()
        assert (lower >= 0).all() and (lower == np.floor(lower)).all()
        # Of one and the same answer whole counts score the same, and are in or out together.
        same, ones = raw * 0.0 + np.float32([[0.53, 0.1]]), RNG.poisson(14.0, 5000)
        sets = prediction_sets.of_answers(output, same, ones, 0.9)
        assert 0.9 <= sets.evaluate(same, ones)["coverage"] < 0.95
    with subtests.test("classes"):
        logits, labels = unsure_classes(5000)
        sets = prediction_sets.of_answers(outputs.Categorical(), logits, labels, 0.9)
        found = sets.evaluate(*unsure_classes(5000))
        assert found["coverage"] == pytest.approx(0.9, abs=0.012)
        assert 1.0 < found["size"] < 5.0
        # Where the likeliest class is right more often than asked, so are the sets.
        sure = np.eye(6, dtype="float32")[labels] * 20
        found = prediction_sets.of_answers(outputs.Categorical(), sure, labels, 0.9)
        assert found.evaluate(sure, labels) == {"coverage": 1.0, "size": 1.0}


def test_an_exported_student_answers_with_its_sets(tmp_path):
    inputs = keras.Input((4,), name="x")
    heads = {"kind": keras.layers.Dense(3)(inputs), "place": keras.layers.Dense(4)(inputs)}
    student = keras.Model(inputs, heads)
    output = outputs.Joint({"kind": "categorical", "place": outputs.Normal(2)})
    distiller = Distiller(student, keras.models.clone_model(student), output=output)
    x = numbers(64, 4)
    labels = {"kind": RNG.integers(0, 3, 64), "place": RNG.normal(size=(64, 2)).astype("float32")}
    sets = conformal(distiller, x, labels, coverage=0.8)
    others = conformal(distiller, {"x": x, "of_the_teacher": x}, labels, coverage=0.8)
    assert others.thresholds == sets.thresholds
    distiller.export(tmp_path / "student", conformal=sets)
    loaded = load_student(tmp_path / "student")
    answer = loaded.parameters(x)
    assert answer["kind_prediction_set"].dtype == "bool"
    inside = np.asarray(answer["kind_prediction_set"])[np.arange(64), labels["kind"]]
    assert inside.sum() >= 52  # ceil(65 * 0.8)
    low, high = answer["place_lower"].numpy(), answer["place_upper"].numpy()
    np.testing.assert_array_equal(
        ((low <= labels["place"]) & (labels["place"] <= high)).sum(0), [52, 52]
    )
    evaluated = sets.evaluate(student(x), labels)
    assert evaluated["kind_coverage"] == pytest.approx(inside.mean())
    assert evaluated["place_coverage"] == pytest.approx(52 / 64)
    assert evaluated["place_size"] == pytest.approx((high - low).mean(), rel=1e-5)
    np.testing.assert_allclose(loaded(x)["place"].mean(), student(x)["place"][:, :2], atol=1e-5)
    assert loaded.conformal["coverage"] == 0.8
    assert loaded.conformal["rows"] == {"kind": 64, "place": 64}
    assert loaded.conformal["score"]["place"] == "|label - mean| / stddev"
    assert loaded.conformal["thresholds"] == sets.thresholds
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(sets))
    assert again.describe() == sets.describe()
    # Without them all is as before, also where they were exported once.
    distiller.export(tmp_path / "student")
    loaded = load_student(tmp_path / "student")
    assert loaded.conformal is None and "place_lower" not in loaded.parameters(x)
    description = tmp_path / "student" / "assets.extra" / "ecl_tf_student.json"
    assert "conformal" not in json.loads(description.read_text())


def test_unknown_labels_are_left_out():
    logits, labels = unsure_classes(60)
    output = outputs.Categorical(ignore_class=-1)
    some = np.where(np.arange(60) < 20, -1, labels)
    sets = prediction_sets.of_answers(output, logits, some, 0.9)
    expected = prediction_sets.of_answers(output, logits[20:], labels[20:], 0.9)
    assert (sets.rows, sets.thresholds) == (40, expected.thresholds)
    members = np.asarray(sets.parameters(output(logits))["prediction_set"])[20:]
    by_hand = {
        "coverage": members[np.arange(40), labels[20:]].mean(),
        "size": members.sum(-1).mean(),
    }
    one_hot = np.eye(6)[labels] * (some >= 0)[:, None]
    for each in (some, some[:, None], one_hot):
        assert sets.evaluate(logits, each) == pytest.approx(by_hand)


def test_answers_that_are_no_numbers_have_sets_of_all_classes_and_no_coverage():
    logits, labels = unsure_classes(60)
    sets = prediction_sets.of_answers(outputs.Categorical(), logits, labels, 0.9)
    some = np.where(np.arange(60)[:, None] < 1, np.nan, logits)
    members = np.asarray(sets.parameters(outputs.Categorical()(some))["prediction_set"])
    assert members[0].all() and not members[1:].all()
    assert np.isnan([*sets.evaluate(some, labels).values()]).all()


def test_what_can_give_no_guarantee_is_refused_in_words(subtests):
    student, x = network(0), numbers(32, 4)
    few, classes = np.zeros(8, int), np.zeros(32, int)
    dense = keras.Sequential([keras.Input((5, 4)), keras.layers.Dense(3)])
    cases = [
        (lambda: conformal(student, x[:8], few), "coverage=0.9 needs 9 labelled rows.*are 8"),
        (lambda: conformal(student, x, classes, coverage=0.99), "needs 99 labelled rows"),
        (lambda: conformal(student, x, classes, coverage=90), "coverage must be a number between"),
        (lambda: conformal(student, x), "conformal needs labels"),
        (lambda: conformal(student, (row for row in x)), "takes arrays.*got a generator"),
        (lambda: conformal(student, x, classes + 3), "Labels are out of range: 3"),
        (lambda: conformal(student, x, np.full((32, 3), 1 / 3)), "got rows of shares"),
        (lambda: conformal(student, x, np.zeros((32, 3)), output="bernoulli"), "ecl_tf.calibrated"),
        (
            lambda: conformal(dense, np.zeros((32, 5, 4)), np.zeros((32, 5), int)),
            "one answer for each row",
        ),
    ]
    for make, message in cases:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(ValueError, match=r"measured for Categorical.*student's output is Normal"):
        sets = conformal(student, x, classes)
        export_student(network(1, classes=2), outputs.Normal(1), "none", conformal=sets)
    with pytest.raises(ValueError, match=r"keep their coverage.*Measure them anew"):
        sets.coverage = 0.5
    again = PredictionSets.from_config(sets.get_config())  # As by a file.
    student.set_weights([1.5 * weight for weight in student.get_weights()])
    for its in (sets, again):
        with pytest.raises(ValueError, match=r"on other weights than those of the student"):
            export_student(student, "categorical", "none", conformal=its)
