"""Estimators of scikit-learn as teachers."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from rows_of_functions import KIND, NEW, NORMAL, RNG, X, Y, moments
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
from ecl_tf import outputs
from ecl_tf.samplers import suitable
from ecl_tf.teachers import from_estimator


@pytest.fixture(scope="module")
def forest():
    return RandomForestClassifier(8, random_state=0).fit(X, KIND)


def entropy(p):
    return scipy.stats.entropy(p, axis=-1)


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
        (boosted, outputs.Poisson(1), {}, r"teaches one output of.*Poisson"),  # Spread or not.
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
        (LogisticRegression().fit(X, KIND), NORMAL, {"spread": 1.0}, r"would be taught as means"),
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
