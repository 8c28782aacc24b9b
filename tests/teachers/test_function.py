"""Functions teach what they say, in numbers of NumPy and of the estimators that they ask."""

import itertools
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import processes
import pytest
import tensorflow as tf
from by_hand import assert_same_weights, softmax
from rows_of_functions import KIND, NEW, NORMAL, RNG, X, moments
from sklearn.ensemble import (
    RandomForestClassifier,
)
from sklearn.linear_model import LinearRegression

import ecl_tf
from ecl_tf import outputs, replay, resume
from ecl_tf.replay import recording
from ecl_tf.teachers import FunctionTeacher, from_estimator


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


# What they answer.


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
    with subtests.test("yes and no are as far from sure"):
        sure = FunctionTeacher(lambda x: x[:, :1] > 0, "bernoulli", X, least_probability=0.001)
        p = sure.output_kind.parameters(sure.distribution(NEW))["probabilities"]
        np.testing.assert_allclose(p, np.where(NEW[:, :1] > 0, 0.999, 0.001), rtol=1e-5)
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


def test_probabilities_may_be_rounded_to_two_digits():
    def rounded(x):
        return np.round(softmax(x), 2)

    assert 0.009 < np.ptp(rounded(X).sum(1)) < 0.03
    teacher = FunctionTeacher(rounded, "categorical", X)
    expected = rounded(NEW) / rounded(NEW).sum(1, keepdims=True)
    np.testing.assert_allclose(teacher.distribution(NEW).probs_parameter(), expected, atol=1e-5)


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_a_function_that_fails_on_drawn_rows_alone_is_told_of_the_sampler(run_eagerly):
    def of_the_data(rows):
        if not np.isin(rows, X).all():
            raise KeyError("no such row")
        return softmax(rows)

    teacher = FunctionTeacher(of_the_data, "categorical", X)
    with pytest.raises(ValueError, match=r"KeyError: 'no such row' These.*drawn by the.*'Swap'"):
        distiller(teacher, run_eagerly=run_eagerly).fit(X, verbose=0)
    with pytest.raises(ValueError, match=r"KeyError: 'no such row'$"):
        distiller(teacher, run_eagerly=run_eagerly).evaluate(X + 1.0, verbose=0)


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
    truths = FunctionTeacher(lambda x: 0.5 * x, NORMAL, np.ones((8, 1), "bool"), stddev=1.0)
    for each in (teacher, truths):
        with pytest.raises(ValueError, match=r"would be rounded. Give x as the student gets it"):
            each.distribution(np.full((2, 1), 0.4, "float32"))
