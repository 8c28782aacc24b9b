"""Functions and estimators teach what they say, in NumPy's and scikit-learn's own numbers."""

import itertools
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pandas as pd
import processes
import pytest
import scipy.stats
import tensorflow as tf
from by_hand import assert_same_weights, softmax
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    BaggingRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, QuantileRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC

import ecl_tf
from ecl_tf import outputs, replay, resume
from ecl_tf.replay import recording
from ecl_tf.samplers import suitable
from ecl_tf.teachers import FunctionTeacher, from_estimator

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3)).astype("float32")
KIND = (X[:, 0] > 0.0).astype(int) + (X[:, 1] > 0.5)  # Classes 0 to 2.
Y = 3.0 * X[:, 0] + X[:, 1] ** 2 + RNG.normal(0.0, 0.4, 120)
NORMAL = outputs.Normal(1, min_scale=1e-4)
NEW = X[:10] + 0.1


@pytest.fixture(scope="module")
def forest():
    return RandomForestClassifier(8, random_state=0).fit(X, KIND)


def student(units=3):
    keras.utils.set_random_seed(3)
    return ecl_tf.models.build("mlp", (3,), units, widths=(4,))


def distiller(teacher, units=3, **arguments):
    made = ecl_tf.Distiller(student(units), teacher, seed=1, output=teacher.output_kind.family)
    made.compile("sgd", **arguments)
    return made


def moments(teacher, x=NEW):
    distribution = teacher.distribution(x)
    return np.asarray(distribution.mean()), np.asarray(distribution.stddev())


def entropy(p):
    return scipy.stats.entropy(p, axis=-1)


# What they answer.


def test_a_classifier_and_its_trees(forest, subtests):
    with subtests.test("probabilities"):
        teacher = from_estimator(forest, "categorical", X)
        p = teacher.distribution(NEW).probs_parameter()
        np.testing.assert_allclose(p, forest.predict_proba(NEW), atol=1e-6)
    with subtests.test("trees"):
        teacher = from_estimator(forest, "categorical", X, spread="members")
        trees = np.array([tree.predict_proba(NEW) for tree in forest.estimators_])
        p = teacher.distribution(NEW).probs_parameter()
        np.testing.assert_allclose(p, trees.mean(0), atol=1e-6)
        parts = teacher.uncertainty(NEW)
        np.testing.assert_allclose(parts.aleatoric, entropy(trees).mean(0), atol=1e-5)
        disagreement = entropy(trees.mean(0)) - entropy(trees).mean(0)
        np.testing.assert_allclose(parts.epistemic, disagreement, atol=1e-5)
    with subtests.test("least probability"):
        with pytest.raises(ValueError, match="least_probability must be a number; got '1e-3'"):
            from_estimator(forest, "categorical", X, least_probability="1e-3")
        teacher = from_estimator(forest, "categorical", X, least_probability=0.01)
        raised = np.maximum(forest.predict_proba(NEW), 0.01)
        p = teacher.distribution(NEW).probs_parameter()
        np.testing.assert_allclose(p, raised / raised.sum(1, keepdims=True), atol=1e-6)
    with subtests.test("another order of classes"):
        named = RandomForestClassifier(8, random_state=0).fit(X, np.array(["b", "c", "a"])[KIND])
        teacher = from_estimator(named, "categorical", X, classes=["b", "c", "a"])
        p = teacher.distribution(NEW).probs_parameter()
        np.testing.assert_allclose(p, named.predict_proba(NEW)[:, [1, 2, 0]], atol=1e-6)
    with subtests.test("a class that it does not know"):
        few = LogisticRegression().fit(X[KIND != 1], KIND[KIND != 1])
        teacher = from_estimator(few, "categorical", X, classes=range(3))
        p = teacher.distribution(NEW).probs_parameter().numpy()
        np.testing.assert_allclose(p[:, [0, 2]], few.predict_proba(NEW), atol=1e-6)
        assert p[:, 1].max() < 1e-30
        teacher = from_estimator(few, "categorical", X, classes=range(3), least_probability=0.01)
        np.testing.assert_allclose(
            teacher.distribution(NEW).probs_parameter()[:, 1], 0.01, rtol=2e-2
        )
    with subtests.test("yes/no labels"):
        labels = np.stack([KIND > 0, KIND > 1], 1).astype(int)
        both = RandomForestClassifier(4, random_state=0).fit(X, labels)
        each = MultiOutputClassifier(LogisticRegression()).fit(X, labels)
        one = LogisticRegression().fit(X, KIND > 0)
        for estimator, expected in [
            (both, [p[:, 1] for p in both.predict_proba(NEW)]),
            (each, [p[:, 1] for p in each.predict_proba(NEW)]),
            (one, [one.predict_proba(NEW)[:, 1]]),
        ]:
            teacher = from_estimator(estimator, "bernoulli", X)
            p = teacher.distribution(NEW).mean()
            np.testing.assert_allclose(p, np.stack(expected, 1), atol=1e-6)


def test_regressors_and_their_spread(subtests):
    train, held_out = slice(0, 80), slice(80, None)
    forest = RandomForestRegressor(8, random_state=0).fit(X[train], Y[train])
    with subtests.test("residuals"):
        line = LinearRegression().fit(X[train], Y[train])
        teacher = from_estimator(line, NORMAL, X[held_out], Y[held_out])
        mean, stddev = moments(teacher)
        np.testing.assert_allclose(mean[:, 0], line.predict(NEW), rtol=1e-5)
        rmse = np.sqrt(np.mean((Y[held_out] - line.predict(X[held_out])) ** 2))
        np.testing.assert_allclose(stddev, rmse, rtol=1e-5)
    with subtests.test("trees"):
        bagged = BaggingRegressor(n_estimators=5, random_state=0).fit(X[train], Y[train])
        for estimator in (forest, bagged):
            teacher = from_estimator(estimator, NORMAL, X, spread="members")
            trees = np.array([tree.predict(NEW) for tree in estimator.estimators_])
            mean, stddev = moments(teacher)
            np.testing.assert_allclose(mean[:, 0], trees.mean(0), rtol=1e-5)
            np.testing.assert_allclose(stddev[:, 0], trees.std(0), rtol=1e-4)
            parts = teacher.uncertainty(NEW)
            np.testing.assert_allclose(parts.epistemic[:, 0], trees.var(0), rtol=1e-4)
            assert not np.any(parts.aleatoric)
    with subtests.test("several, and what they leave over"):
        several = [
            GradientBoostingRegressor(n_estimators=9, random_state=s, subsample=0.5).fit(
                X[train], Y[train]
            )
            for s in range(3)
        ]
        teacher = from_estimator(several, NORMAL, X[held_out], Y[held_out])
        at = np.array([each.predict(X[held_out]) for each in several])
        excess = np.mean((Y[held_out] - at.mean(0)) ** 2 - at.var(0))
        new = np.array([each.predict(NEW) for each in several])
        np.testing.assert_allclose(
            moments(teacher)[1][:, 0], np.sqrt(new.var(0) + excess), rtol=1e-4
        )
        disagreement = from_estimator(several, NORMAL, X)
        np.testing.assert_allclose(moments(disagreement)[1][:, 0], new.std(0), rtol=1e-4)
    with subtests.test("a number"):
        teacher = from_estimator(forest, NORMAL, X, spread=2.5)
        np.testing.assert_allclose(moments(teacher)[1], 2.5)
    with subtests.test("quantile regressors"):
        levels = (0.1, 0.3, 0.9)
        at = {a: QuantileRegressor(quantile=a, alpha=0.0).fit(X, Y) for a in levels}
        mean, stddev = moments(from_estimator(at, NORMAL, X))
        quantiles = np.sort([at[a].predict(NEW) for a in levels], 0)
        slope, intercept = np.polyfit(scipy.stats.norm.ppf(levels), quantiles, 1)
        np.testing.assert_allclose(mean[:, 0], intercept, rtol=1e-4)
        np.testing.assert_allclose(stddev[:, 0], slope, rtol=1e-4)
    with subtests.test("several targets"):
        both = np.stack([Y, -Y + X[:, 2]], 1)
        line = LinearRegression().fit(X, both)
        teacher = from_estimator(line, outputs.Normal(2), X, both)
        mean, stddev = moments(teacher)
        np.testing.assert_allclose(mean, line.predict(NEW), rtol=1e-4)
        rmse = np.sqrt(np.mean((both - line.predict(X)) ** 2, 0))
        np.testing.assert_allclose(stddev, np.broadcast_to(rmse, mean.shape), rtol=1e-4)


def test_functions_by_their_answers(subtests):
    for answer, function, output, expected in [
        ("logits", lambda x: x[:, :2], "categorical", softmax(NEW[:, :2])),
        ("probabilities", lambda x: softmax(x[:, :2]), "categorical", softmax(NEW[:, :2])),
        ("logits", tf.function(lambda x: x[:, :2]), "categorical", softmax(NEW[:, :2])),
    ]:
        with subtests.test(answer):
            teacher = FunctionTeacher(function, output, X, answer)
            p = teacher.distribution(NEW).probs_parameter()
            np.testing.assert_allclose(p, expected, atol=1e-6)
    pair = {
        "mean_and_stddev": lambda x: (100.0 * x[:, 0], np.exp(x[:, 1])),
        "mean_and_variance": lambda x: (100.0 * x[:, :1], np.exp(2.0 * x[:, 1:2])),
    }
    for answer, function in pair.items():
        with subtests.test(answer):
            mean, stddev = moments(FunctionTeacher(function, NORMAL, X, answer))
            np.testing.assert_allclose(mean[:, 0], 100.0 * NEW[:, 0], rtol=1e-5)
            np.testing.assert_allclose(stddev[:, 0], np.exp(NEW[:, 1]), rtol=1e-4)
    with subtests.test("a dict of inputs, of which the data has more"):
        columns = {"a": X[:, 0], "b": X[:, 1], "word": np.where(KIND > 1, "x", "yy")}

        def read(rows):
            assert isinstance(rows["word"][0], bytes) and rows["a"].dtype == np.float32
            return np.stack([rows["a"], np.char.str_len(rows["word"].astype("S"))], 1)

        teacher = FunctionTeacher(read, "categorical", columns, "logits")
        given = {**columns, "more": X}
        lengths = np.where(KIND > 1, 1.0, 2.0)
        p = teacher.distribution(given).probs_parameter()
        np.testing.assert_allclose(p, softmax(np.stack([X[:, 0], lengths], 1)), atol=1e-6)
        with pytest.raises(
            ValueError, match=r"takes the inputs \['a', 'b', 'word'\].*'b'.* is mis"
        ):
            teacher.distribution({"a": X[:, 0], "word": columns["word"]})


def test_a_temperature_is_that_of_the_answers(forest):
    teacher = ecl_tf.calibrated(from_estimator(forest, "categorical", X), X, KIND[::-1].copy())
    temperature = teacher.output_kind.temperature
    assert temperature > 2.0 and isinstance(teacher, FunctionTeacher)
    p = np.maximum(forest.predict_proba(NEW), np.finfo("float32").tiny) ** (1.0 / temperature)
    answered = teacher.distribution(NEW).probs_parameter()
    np.testing.assert_allclose(answered, p / p.sum(1, keepdims=True), atol=1e-5)
    output = outputs.Normal(1, temperature=4.0)
    tempered = FunctionTeacher(
        lambda x: (x[:, 0], 1.0 + x[:, 1] ** 2), output, X, "mean_and_stddev"
    )
    np.testing.assert_allclose(moments(tempered)[1][:, 0], 2.0 * (1.0 + NEW[:, 1] ** 2), rtol=1e-5)


# What is refused.


def probabilities(x):
    return softmax(x)


@pytest.mark.parametrize(
    ("function", "output", "arguments", "message"),
    [
        (lambda x: probabilities(x)[:-1], "categorical", {}, r"answers 64 rows with .*\(63, 3\)"),
        (lambda x: x, "categorical", {}, r"no probabilities of classes, that add up to 1"),
        (lambda x: x / x, "bernoulli", {"answer": "mean"}, r"answer must be one of \['probab"),
        (lambda x: x, "bernoulli", {}, r"no probabilities in \[0, 1\]"),
        (lambda x: probabilities(x) * np.nan, "categorical", {}, r"answers with NaN or Inf"),
        (lambda x: np.full(len(x), "cat"), "categorical", {}, r"<U3 such as \['cat'\]"),
        (lambda x: x[:, 0], NORMAL, {}, r"gives means and no spread"),
        (lambda x: x, NORMAL, {"stddev": 1.0}, r"\(64, 3\); for answer='mean' expected \(rows, 1"),
        (lambda x: x[:, 0], NORMAL, {"answer": "mean_and_stddev"}, r"returns a pair of arrays"),
        (
            lambda x: (x[:, 0], x[:, 1]),
            NORMAL,
            {"answer": "mean_and_stddev"},
            r"stddev -\d.*below 0",
        ),
        (lambda x: x, NORMAL, {"answer": "quantiles"}, r"levels are of answer='quantiles'"),
        (
            lambda x: x[:, :1] - [[0.0, 1.0]],
            NORMAL,
            {"answer": "quantiles", "levels": (0.1, 0.9)},
            r"quantiles that fall where levels rise",
        ),
        (lambda x: x.missing, "categorical", {}, r"failed on 64 rows .*AttributeError: .*missing"),
        ([probabilities, lambda x: probabilities(x[:, :2])], "categorical", {}, r"\[2, 3\]"),
        (LinearRegression(), NORMAL, {}, r"LinearRegression is an estimator.*from_estimator"),
        (student(), "categorical", {}, r"is a Keras model, which ecl_tf.Ensemble takes"),
        (probabilities, {"a": "categorical"}, {}, r"teaches one output"),
        (probabilities, "categorical", {"answer": "logits"}, r"seem to be probabilities"),
        (
            lambda x: probabilities(x[np.argsort(x[:, 0])]),
            "categorical",
            {},
            r"in another order than that of the rows.*perhaps it sorts",
        ),
    ],
)
def test_functions_that_are_no_teachers(function, output, arguments, message):
    with pytest.raises(ValueError, match=message):
        FunctionTeacher(function, output, X, **arguments)


def test_a_function_of_a_fixed_number_of_rows_is_asked_about_no_fewer():
    def fixed(rows):
        if len(rows) != 64:
            raise ValueError("64 rows alone")
        return softmax(rows)

    FunctionTeacher(fixed, "categorical", X)
    with pytest.raises(ValueError, match="in another order"):
        FunctionTeacher(lambda x: fixed(x[np.argsort(x[:, 0])]), "categorical", X)


def test_a_function_whose_rows_change_each_others_answers_is_told_of():
    with pytest.warns(UserWarning, match="asked again with other rows beside it"):
        FunctionTeacher(lambda x: softmax(x + 2.0 * np.roll(x, 1, 0)), "categorical", X)


def test_a_column_in_small_units_counts_beside_one_in_large_units(recwarn):
    def far(x):  # Beside steps of a thousandth of this column's range the other one is nothing.
        return 1e6 + 1e5 * x[:, :1]

    stddev, two = [1e3, 1.0], outputs.Normal(2)
    FunctionTeacher(lambda x: np.hstack([far(x), x[:, 1:2]]), two, X, stddev=stddev)
    FunctionTeacher(lambda x: np.hstack([far(x), 0 * x[:, :1] + 3.0]), two, X, stddev=stddev)
    assert not recwarn.list
    with pytest.warns(UserWarning, match="asked again with other rows beside it"):
        beside = lambda x: np.hstack([far(x), x[:, 1:2] + np.roll(x[:, 1:2], 1, 0)])  # noqa: E731
        FunctionTeacher(beside, two, X, stddev=stddev)


def test_estimators_that_are_no_teachers(forest):
    boosted = GradientBoostingRegressor(n_estimators=3).fit(X, Y)
    named = LogisticRegression().fit(X, np.array(["b", "c", "a"])[KIND])
    for estimator, output, arguments, message in [
        (
            boosted,
            NORMAL,
            {},
            r"GradientBoostingRegressor gives means, and a teacher needs a spread",
        ),
        (
            boosted,
            NORMAL,
            {"spread": "members"},
            r"GradientBoostingRegressor predicts something el",
        ),
        (boosted, NORMAL, {"spread": "trees"}, r"Unknown spread 'trees'"),
        (boosted, "categorical", {}, r"has no predict_proba.*CalibratedClassifierCV"),
        (LinearSVC().fit(X, KIND), "categorical", {}, r"LinearSVC has no predict_proba"),
        (named, "categorical", {}, r"fitted on the classes \[.*'a'.*classes=\[\.\.\.\]"),
        (named, "categorical", {"classes": ["a", "b"]}, r"classes=\['a', 'b'\] are others"),
        (forest, "categorical", {"spread": 1.0}, r"spread=1.0 is for regressors"),
        (
            LogisticRegression().fit(X[KIND != 1], KIND[KIND != 1]),
            "categorical",
            {},
            r"fitted on the classes \[.*0.*2.*range\(K\) if it lacks some",
        ),
        (
            LinearRegression().fit(X, np.stack([Y, Y], 1)),
            outputs.Normal(2),
            {"y": Y},
            r"targets of 120 rows have the shape \(120,\), and the members .*\(120, 2\)",
        ),
        (boosted, NORMAL, {"y": Y.astype(str)}, r"Residuals are of numbers, and the targets are"),
        (LinearRegression, NORMAL, {"y": Y}, r"LinearRegression is a class"),
    ]:
        with pytest.raises(ValueError, match=message):
            from_estimator(estimator, output, X, **arguments)
    with pytest.raises(ValueError, match=r"failed on 64 rows of shape \(None, 2\).*expecting 3"):
        from_estimator(forest, "categorical", X[:, :2])
    rows = {"numbers": X, "categories": KIND[:, None]}
    with pytest.raises(ValueError, match=r"takes columns .*numbers \(64, 3\), categories \(64, 1"):
        from_estimator(forest, "categorical", rows)


def test_columns_of_a_frame_are_those_that_the_estimator_was_fitted_on():
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    fitted = RandomForestClassifier(3, random_state=0).fit(frame, KIND)
    teacher = from_estimator(fitted, "categorical", frame)
    found = outputs.Categorical()(teacher(X)).probs_parameter()
    np.testing.assert_allclose(found, fitted.predict_proba(frame), atol=1e-5)
    for others in (frame[["c", "b", "a"]], frame.rename(columns={"a": "d"})):
        for each in (fitted, [fitted, fitted]):
            with pytest.raises(ValueError, match=r"columns \['a', 'b', 'c'\], and x has \['"):
                from_estimator(each, "categorical", others)
    frame.columns = [f"the {name}" for name in frame]
    fitted.feature_names_in_ = np.array(["the_a", "the_b", "the_c"])  # As LightGBM writes them.
    from_estimator(fitted, "categorical", frame)


def test_a_function_may_change_its_rows_in_place():
    def in_place(rows):
        rows -= 5.0
        return probabilities(rows)

    rows = tf.constant(X[:32])
    teacher = FunctionTeacher(in_place, "categorical", X)
    logged = distiller(teacher).evaluate(rows, verbose=0, return_dict=True, batch_size=32)
    kept = distiller(FunctionTeacher(lambda x: in_place(x.copy()), "categorical", X))
    assert logged == kept.evaluate(X[:32], verbose=0, return_dict=True, batch_size=32)
    np.testing.assert_array_equal(rows, X[:32])


@pytest.mark.slow
def test_what_goes_wrong_later_is_told_in_its_own_words(forest):
    teacher = from_estimator(forest, "categorical", X)
    with pytest.raises(ValueError, match=r"teacher.* gives 3 classes .*student 4"):
        distiller(teacher, units=4).fit(X, verbose=0)
    with pytest.raises(ValueError, match=r"shown rows x of shape \(None, 3\).*\(None, 2\)"):
        replay.record(teacher, X[:, :2], directory="none", verbose=0)
    wrong = []

    def function(x):
        p = probabilities(x)
        return wrong[0](p) if wrong else p

    teacher = FunctionTeacher(function, "categorical", X)
    made = distiller(teacher)
    made.fit(X, batch_size=24, verbose=0)
    for change, error, message in [
        (lambda p: p[:16], ValueError, r"^The function of .* 24 rows with an .* \(16, 3\)"),
        (lambda p: p[:, :2], ValueError, r"^The function of .*\(2,\).*answered x with \[\(3,\)\]"),
        (lambda p: 2.0 * p, ValueError, r"^The function of .* no probabilities"),
        (lambda p: p * np.nan, FloatingPointError, r"the teacher had NaN"),
    ]:
        wrong[:] = [change]
        with pytest.raises(error, match=message):
            made.fit(X, batch_size=24, verbose=0)


# What a distiller does with them.


@pytest.mark.slow
def test_a_distiller_learns_as_from_a_network_that_answers_the_same():
    weights = RNG.normal(size=(3, 3)).astype("float32")
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, use_bias=False)])
    network.set_weights([weights])
    function = FunctionTeacher(lambda x: x @ weights, "categorical", X, "logits")
    made = [distiller(each) for each in (ecl_tf.Ensemble(network, "categorical"), function)]
    with pytest.warns(UserWarning, match="jit_compile"):
        made[1].compile("sgd", jit_compile=True)
    graph = FunctionTeacher(tf.function(lambda x: x @ weights), "categorical", X, "logits")
    made.append(distiller(graph, jit_compile=True))
    logs = [each.fit(X, batch_size=24, epochs=2, verbose=0).history for each in made]
    np.testing.assert_allclose(logs[0]["divergence"], logs[1]["divergence"], rtol=1e-5)
    np.testing.assert_allclose(logs[0]["divergence"], logs[2]["divergence"], rtol=1e-4)
    for one, two in zip(made[0].get_weights()[:4], made[1].get_weights()[:4], strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    uncertain = ecl_tf.samplers.Uncertain("Mixup", candidates=2)
    chosen = ecl_tf.Distiller(student(), function, sampler=uncertain)
    chosen.compile("sgd")
    chosen.fit(X, batch_size=24, verbose=0)


@pytest.mark.slow
def test_two_replicas_learn_as_one():
    script = processes.start("teach_by_function_on_replicas.py", VIRTUAL_DEVICES="2")
    ((one, two),) = processes.results([script])
    np.testing.assert_allclose(two["history"]["loss"], one["history"]["loss"], rtol=1e-5)
    for ours, theirs in zip(one["weights"], two["weights"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_saved_and_given_again(forest, tmp_path, subtests):
    teacher = from_estimator(forest, "categorical", X)
    made = distiller(teacher, metrics=["accuracy"])
    keep = keras.callbacks.ModelCheckpoint(str(tmp_path / "kept.keras"))
    made.fit(X[:32], KIND[:32], verbose=0, callbacks=[keep])
    made.save(tmp_path / "saved.keras")
    for name in ("kept", "saved"):
        loaded = keras.models.load_model(tmp_path / f"{name}.keras")
        assert_same_weights(loaded.student, made.student)
        assert loaded.teacher.fingerprint() == teacher.fingerprint()
    np.testing.assert_array_equal(loaded.predict(NEW, verbose=0), made.predict(NEW, verbose=0))
    loaded.export(tmp_path / "export")
    with pytest.raises(ValueError, match=r"'estimator' was saved without its function"):
        loaded.fit(X, verbose=0)
    again = RandomForestClassifier(8, random_state=1).fit(X, KIND)
    with pytest.raises(ValueError, match=r"'estimator' is another one .* the fingerprint"):
        loaded.teacher.give(from_estimator(again, "categorical", X))
    loaded.teacher.give(from_estimator(forest, "categorical", X))
    for each in (made, loaded):
        each.fit(X[:32], verbose=0)
    assert_same_weights(loaded.student, made.student)


def test_fingerprints_tell_functions_and_settings_apart_and_no_rounding(forest):
    def of(function=forest.predict_proba, **arguments):
        return FunctionTeacher(function, "categorical", X, **arguments).fingerprint()

    assert of() == of(lambda x: forest.predict_proba(x) * (1.0 + 1e-9))
    others = [
        of(RandomForestClassifier(8, random_state=1).fit(X, KIND).predict_proba),
        of(lambda x: forest.predict_proba(x)[:, [1, 0, 2]]),
        of(least_probability=0.01),
    ]
    assert len({of(), *others}) == 4


def test_a_run_goes_on_with_the_same_function_only(forest, tmp_path):
    teacher = from_estimator(forest, "categorical", X)
    data = resume.batches((X,), batch_size=24, seed=0)

    def run(teacher, steps, directory):
        made = distiller(teacher, run_eagerly=True)
        resume.fit(made, data, tmp_path / directory, steps=steps, steps_per_epoch=2, verbose=0)
        return made.student

    run(teacher, 2, "first")
    other = RandomForestClassifier(8, random_state=1).fit(X, KIND)
    with pytest.raises(ValueError, match=r"other method\.teacher"):
        run(from_estimator(other, "categorical", X), 4, "first")
    again = from_estimator(forest, "categorical", X)
    assert_same_weights(run(again, 4, "first"), run(teacher, 4, "whole"))


def test_a_function_is_called_once_at_a_time_if_it_allows_no_threads():
    one = threading.Lock()

    def alone(x):
        assert one.acquire(blocking=False)
        time.sleep(0.001)
        one.release()
        return probabilities(x)

    ask = tf.function(FunctionTeacher(alone, "categorical", X).member_outputs)
    with ThreadPoolExecutor(4) as pool:
        found = [raw for (raw,) in pool.map(ask, [tf.constant(NEW)] * 20)]
    np.testing.assert_allclose(softmax(np.stack(found)), [softmax(NEW)] * 20, atol=1e-6)


@pytest.mark.slow
def test_a_slow_function_is_recorded_in_threads_and_in_order(tmp_path, monkeypatch):
    together, calls = threading.Barrier(2, timeout=60), itertools.count()

    def slow(x):
        call = next(calls)
        if call in (3, 4):  # Three are of the construction. These two meet.
            together.wait()
        time.sleep(0.002 * (call % 3))  # Later steps may end before earlier ones.
        return probabilities(x)

    settings = {"batch_size": 8, "epochs": 3, "shards": 2, "sampler": "Mixup", "verbose": 0}
    stores = []
    for function, allowed, rows in (
        (probabilities, 1, 8),
        (probabilities, 1, 2048),
        (slow, 4, 8),
    ):
        monkeypatch.setattr(recording, "_FUNCTION_ROWS", rows)
        teacher = FunctionTeacher(function, "categorical", X, threads=allowed)
        directory = tmp_path / f"{allowed}_{rows}"
        replay.record(teacher, X, directory=directory, **settings)
        stores.append({path.name: path.read_bytes() for path in directory.iterdir()})
    assert stores[0] == stores[1] == stores[2] and next(calls) > 40
    store = replay.Store(directory)
    assert store.verify(teacher, X, rows=100) < 1e-4
    assert replay.estimate(teacher, X, batch_size=8, sampler="Mixup")["seconds"] > 0.0

    answered = itertools.count()

    def failing(x):  # After its construction.
        return probabilities(x)[: len(x) if next(answered) < 3 else 1]

    teacher = FunctionTeacher(failing, "categorical", X, threads=2)
    with pytest.raises(ValueError, match=r"^The function of .* answers 8 rows with"):
        replay.record(teacher, X, directory=tmp_path / "failed", **settings)
    with pytest.raises(ValueError, match="threads must be"):
        FunctionTeacher(probabilities, "categorical", X, threads=0)


def test_progress_tells_the_time_left(tmp_path, capsys):
    settings = {"batch_size": 8, "epochs": 2, "shards": 3, "verbose": 2}
    teacher = FunctionTeacher(probabilities, "categorical", X)
    replay.record(teacher, X, directory=tmp_path, **settings)
    lines = capsys.readouterr().out.strip().splitlines()
    assert [re.match(r"\[shard (\d)/3\] about [\d,]+ s left", line)[1] for line in lines] == [
        *"123"
    ]
    assert lines[-1].endswith("about 0 s left")


def test_yes_is_found_among_the_classes_of_each_label():
    def yes(estimator, **settings):
        teacher = from_estimator(estimator, "bernoulli", X, **settings)
        return teacher.distribution(NEW).distribution.probs_parameter()

    names = np.array(["ham", "spam"])[(X[:, 0] > 0.0).astype(int)]
    mails = LogisticRegression().fit(X, names)
    ham, spam = mails.predict_proba(NEW).T
    np.testing.assert_allclose(yes(mails, classes=["ham", "spam"])[:, 0], spam, atol=1e-5)
    np.testing.assert_allclose(yes(mails, classes=["spam", "ham"])[:, 0], ham, atol=1e-5)
    for classes in (None, ["q", "z"]):
        with pytest.raises(ValueError, match=r"one has to be yes\. Say which: classes=\[no, yes\]"):
            yes(mails, classes=classes)

    labels = np.stack([X[:, 0] > 0.0, np.zeros(len(X))], 1).astype(int)  # Nobody has the second.
    forest = RandomForestClassifier(5, random_state=0).fit(X, labels)
    found = yes(forest)
    np.testing.assert_allclose(found[:, 0], forest.predict_proba(NEW)[0][:, 1], atol=1e-6)
    assert np.all(found[:, 1] < 1e-6)

    both = np.stack([X[:, 0] > 0.0, X[:, 1] > 0.5], 1).astype(int)
    apart = OneVsRestClassifier(LogisticRegression()).fit(X, both)
    np.testing.assert_allclose(yes(apart), apart.predict_proba(NEW), atol=1e-5)


def test_means_of_numbers_that_an_estimator_takes_for_codes_are_told_of(recwarn):
    rows = np.column_stack([RNG.integers(0, 4, 120), X[:, 0]]).astype("float32")
    of_columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), [0]))
    coding = make_pipeline(of_columns, LogisticRegression()).fit(rows, KIND)
    trees = HistGradientBoostingClassifier(max_iter=2).fit(rows, KIND)
    of_codes = HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]).fit(rows, KIND)
    columns = {"code": rows[:, 0], "age": rows[:, 1]}
    by_name = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["code"]))
    named = make_pipeline(by_name, LogisticRegression()).fit(pd.DataFrame(columns), KIND)
    # A template for tables that meets one without texts, and a search for settings.
    of_none = make_column_transformer((OneHotEncoder(), []), remainder="passthrough")
    without = make_pipeline(of_none, LogisticRegression()).fit(rows, KIND)
    searched = GridSearchCV(of_codes, {"max_iter": [2]}, cv=2).fit(rows, KIND)
    swap = ecl_tf.samplers.recipe(swap=["code"])
    for estimator, x, sampler, told in [
        (without, rows, None, None),
        (searched, rows, None, "HistGradientBoostingClassifier"),
        (coding, rows, None, "OneHotEncoder"),
        (of_codes, rows, None, "HistGradientBoostingClassifier"),
        (named, columns, swap, None),
        (coding, rows, "Swap", None),
        (trees, rows, None, None),
    ]:
        recwarn.clear()
        teacher = from_estimator(estimator, "categorical", x)
        suitable.warn_of_codes(ecl_tf.samplers.get(sampler), x, teacher)
        said = [str(each.message) for each in recwarn if each.category is UserWarning]
        assert len(said) == (told is not None)
        assert told is None or f"for codes ({told}), and the sampler Choice" in said[0]
    made = ecl_tf.Distiller(
        ecl_tf.models.build("mlp", (2,), 3, widths=(4,)),
        from_estimator(coding, "categorical", rows),
    )
    made.compile("sgd")
    with pytest.warns(UserWarning, match="numbers for codes"):
        made.fit(rows, verbose=0)


def test_numbers_in_other_units_than_those_of_x_are_told_of(tmp_path, recwarn):
    rows = np.column_stack([X, np.full(120, 0.1)]).astype("float32")
    teacher = FunctionTeacher(lambda x: softmax(x[:, :3]), "categorical", rows[:64])
    model = ecl_tf.models.build("mlp", (4,), 3, widths=(4,))
    made = ecl_tf.Distiller(model, teacher, sampler="Empirical")
    made.compile("sgd")
    # One column may go on with time, and rows may be in order.
    grown = rows * np.array([1.0, 1.0, 1000.0, 1.0], "float32")
    made.fit(grown[np.argsort(grown[:, 0])], verbose=0)
    assert not [each for each in recwarn if "rows x" in str(each.message)]
    some = np.linspace(0, 119, 64).astype(int)
    ratios = 255.0 * abs(rows[some]).max(0) / abs(rows[:64]).max(0)
    with pytest.warns(UserWarning, match=rf"are {np.median(ratios):.3g} times as large"):
        made.fit(255.0 * rows, verbose=0)
    with pytest.warns(UserWarning, match="times as large"):
        replay.record(teacher, 255.0 * rows, directory=tmp_path, epochs=1, verbose=0)


def test_real_numbers_are_not_rounded_to_the_whole_ones_that_x_had():
    teacher = FunctionTeacher(lambda x: 0.5 * x, NORMAL, np.ones((8, 1), "int64"), stddev=1.0)
    with pytest.raises(ValueError, match=r"would be rounded. Give x as the student gets it"):
        teacher.distribution(np.full((2, 1), 0.4, "float32"))
