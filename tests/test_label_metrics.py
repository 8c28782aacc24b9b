"""The metrics given to compile see probabilities, means or logits, and the right rows."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import network
from scipy.special import expit, log_softmax, softmax
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from ecl_tf import Distiller, Ensemble, losses, metrics, outputs
from ecl_tf._label_metrics import LabelMetrics

RNG = np.random.default_rng(0)
ROWS = 40
LOGITS = (2 * RNG.normal(size=(ROWS, 3))).astype("float32")
CLASSES = RNG.integers(0, 3, ROWS)
YES = RNG.integers(0, 2, (ROWS, 3)).astype("float32")
RAW_NORMAL = RNG.normal(size=(ROWS, 4)).astype("float32")
TARGETS = RNG.normal(size=(ROWS, 2)).astype("float32")
WEIGHTS = RNG.uniform(size=ROWS).astype("float32")
KEPT = RNG.uniform(size=ROWS) < 0.5
CORRECT = LOGITS.argmax(-1) == CLASSES
ERROR = np.abs(RAW_NORMAL[:, :2] - TARGETS)

JOINT = outputs.Joint({"kind": "categorical", "place": outputs.Normal(2)})


def results(output, labels, raw, metrics, weighted=None, rows=None, sample_weight=None, **kwargs):
    its = LabelMetrics(outputs.get(output, (None, 4)), metrics, weighted, **kwargs)
    its.update(labels, raw, rows, sample_weight)
    return {metric.name: float(metric.result()) for metric in its.metrics}


# What metrics see.


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        (CLASSES, "accuracy"),
        (CLASSES[:, None], "accuracy"),
        (CLASSES.astype("uint8"), "acc"),
        (np.eye(3, dtype="float32")[CLASSES], "acc"),
    ],
    ids=["indices", "column", "uint8", "one-hot"],
)
def test_accuracy_of_classes_takes_any_form_of_label(labels, name):
    answer = results("categorical", labels, LOGITS, [name])
    assert answer == {name: pytest.approx(accuracy_score(CLASSES, LOGITS.argmax(-1)))}


def test_accuracy_of_yes_and_no_and_of_dense_predictions_counts_labels_and_positions():
    answer = results("bernoulli", YES, LOGITS, ["accuracy"])
    assert answer == {"accuracy": pytest.approx(((LOGITS > 0) == (YES > 0)).mean())}
    logits = LOGITS.reshape(8, 5, 3)
    answer = results("categorical", CLASSES.reshape(8, 5), logits, ["accuracy"])
    assert answer["accuracy"] == pytest.approx(CORRECT.mean())


def test_regression_metrics_see_the_means_and_targets_of_one_dimension_may_be_flat():
    answer = results("normal", TARGETS, RAW_NORMAL, ["mae", keras.metrics.RootMeanSquaredError()])
    assert answer["mae"] == pytest.approx(ERROR.mean(), rel=1e-5)
    assert answer["root_mean_squared_error"] == pytest.approx(np.sqrt((ERROR**2).mean()), rel=1e-5)
    raw = RAW_NORMAL[:, :2]
    answer = results(outputs.Normal(1), TARGETS[:, 0], raw, ["mae"])
    assert answer["mae"] == pytest.approx(np.abs(raw[:, 0] - TARGETS[:, 0]).mean(), rel=1e-5)


def test_classification_metrics_see_probabilities_and_those_from_logits_logits():
    metric = keras.metrics.SparseCategoricalCrossentropy(name="nll")
    answer = results("categorical", CLASSES, LOGITS, [metric])
    assert answer["nll"] == pytest.approx(log_loss(CLASSES, softmax(LOGITS, -1)), rel=1e-5)
    metric = keras.metrics.SparseCategoricalCrossentropy(name="nll", from_logits=True)
    # Logits so large that a probability taken first would have been clipped.
    answer = results("categorical", CLASSES, 50 * LOGITS, [metric])
    expected = -log_softmax(50 * LOGITS.astype("float64"), -1)[range(ROWS), CLASSES].mean()
    assert answer["nll"] == pytest.approx(expected, rel=1e-5)


def test_metrics_of_logits_see_those_at_the_outputs_temperature():
    # Raw tensors are five times the logits that labels are drawn from: these are calibrated.
    logits = RNG.normal(0, 2, (20_000, 3)).astype("float32")
    labels = (logits + RNG.gumbel(size=logits.shape)).argmax(-1)
    own = metrics.ExpectedCalibrationError(name="own", output=outputs.Categorical(5.0))
    given = [
        metrics.ExpectedCalibrationError(),
        own,
        keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="nll"),
    ]
    answer = results(outputs.Categorical(5.0), labels, 5 * logits, given)
    assert answer["ece"] == answer["own"] < 0.02
    expected = -log_softmax(logits.astype("float64"), -1)[range(len(labels)), labels].mean()
    assert answer["nll"] == pytest.approx(expected, rel=1e-4)
    own.reset_state()
    own.update_state(labels, 5 * logits)  # As plain Keras does.
    assert float(own.result()) == pytest.approx(answer["ece"])


@pytest.mark.parametrize("from_logits", [False, True])
def test_flat_yes_and_no_may_be_given_to_keras_metrics(from_logits):
    metric = keras.metrics.BinaryCrossentropy(from_logits=from_logits, name="nll")
    answer = results("bernoulli", YES[:, 0], LOGITS[:, :1], [metric])
    expected = log_loss(YES[:, 0], expit(LOGITS[:, 0].astype("float64")))
    assert answer["nll"] == pytest.approx(expected, rel=1e-4)


def test_area_under_the_curve_of_bernoulli_outputs():
    # Of few distinct probabilities, all with thresholds between them, Keras's AUC is exact.
    logits = np.round(LOGITS[:, :1])
    answer = results("bernoulli", YES[:, :1], logits, [keras.metrics.AUC(2000, name="auc")])
    assert answer["auc"] == pytest.approx(roc_auc_score(YES[:, 0], logits[:, 0]), abs=1e-4)
    # A sigmoid too many brings these two probabilities between the same two thresholds.
    logits = np.log(np.array([[0.90], [0.91]]) / np.array([[0.10], [0.09]])).astype("float32")
    metric = keras.metrics.AUC(from_logits=True, name="auc")
    answer = results("bernoulli", np.array([[0.0], [1.0]]), logits, [metric])
    assert answer["auc"] == pytest.approx(1.0)


def test_functions_are_metrics_and_metrics_may_ask_for_the_raw_output():
    class LargestLogit(keras.metrics.Mean):
        takes_raw_output = True

        def update_state(self, y_true, y_pred, sample_weight=None):
            super().update_state(tf.reduce_max(y_pred, -1), sample_weight)

    def confidence(y_true, y_pred):
        return tf.reduce_max(y_pred, -1)

    answer = results("categorical", CLASSES, LOGITS, [LargestLogit(name="largest"), confidence])
    assert answer == {
        "largest": pytest.approx(LOGITS.max(-1).mean(), rel=1e-5),
        "confidence": pytest.approx(softmax(LOGITS, -1).max(-1).mean(), rel=1e-5),
    }


# Rows and weights.


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_accuracy_of_a_single_position_weighs_rows(shape):
    labels, raw = CLASSES.reshape(ROWS, *shape), LOGITS.reshape(ROWS, *shape, 3)
    answer = results("categorical", labels, raw, None, ["accuracy"], sample_weight=WEIGHTS)
    assert answer["accuracy"] == pytest.approx(np.average(CORRECT, weights=WEIGHTS), rel=1e-5)


@pytest.mark.parametrize("rows", [None, KEPT, np.zeros(ROWS, bool)], ids=["all", "kept", "none"])
def test_only_the_rows_that_count_count_and_only_weighted_metrics_use_weights(rows):
    weighted = keras.metrics.MeanMetricWrapper(keras.metrics.sparse_categorical_accuracy, "w")
    answer = results(
        "categorical", CLASSES, LOGITS, ["accuracy"], [weighted], rows, sample_weight=WEIGHTS
    )
    mask = np.ones(ROWS, bool) if rows is None else rows
    expected = np.average(CORRECT[mask], weights=WEIGHTS[mask]) if mask.any() else 0.0
    assert answer["accuracy"] == pytest.approx(CORRECT[mask].mean() if mask.any() else 0.0)
    assert answer["w"] == pytest.approx(expected, rel=1e-5)


def test_metrics_that_compare_shares_take_class_indices_too():
    one_hot, p = np.eye(3)[CLASSES], softmax(LOGITS, -1)
    f1 = keras.metrics.F1Score("macro", name="f1")
    nll = keras.losses.CategoricalCrossentropy(name="nll")
    expected = {
        "categorical_accuracy": CORRECT.mean(),
        "f1": f1_score(CLASSES, LOGITS.argmax(-1), average="macro"),
        "mse": ((one_hot - p) ** 2).mean(),
        "nll": log_loss(CLASSES, p),
    }
    for labels in (CLASSES, CLASSES[:, None].astype("float32"), one_hot):
        given = ["categorical_accuracy", f1, "mse", nll]
        assert results("categorical", labels, LOGITS, given) == pytest.approx(expected, rel=1e-5)
        f1.reset_state()


def test_metrics_of_yes_and_no_need_classes_as_columns():
    given = [keras.metrics.AUC(), keras.metrics.Precision()]
    for metric in given:
        its = LabelMetrics(outputs.get("categorical"), [metric])
        with pytest.raises(ValueError, match=r"yes/no answers.*to_categorical\(labels, 3\)"):
            its.update(tf.constant([0, 1]), tf.eye(3)[:2])
    distiller = Distiller(network(1), network(2), sampler="Empirical")
    distiller.compile("sgd", metrics=given, run_eagerly=True)
    x, y = RNG.normal(size=(8, 4)).astype("float32"), np.arange(8) % 3
    with pytest.raises(ValueError, match=r"to_categorical\(labels, 3\)"):
        distiller.fit(x, validation_data=(x, y), verbose=0)
    assert int(distiller.step.numpy()) == 0
    # The remedy; scikit-learn's area is that of all 24 yes/no answers.
    area = distiller.evaluate(x, keras.utils.to_categorical(y, 3), verbose=0, return_dict=True)
    kernel, bias = distiller.student.get_weights()
    p = softmax(x @ kernel + bias, -1)
    expected = roc_auc_score(np.eye(3)[y].ravel(), p.ravel())
    assert area[given[0].name] == pytest.approx(expected, abs=0.02)


def test_joint_outputs_take_a_dict_of_metrics():
    given = {"kind": ["accuracy", "sparse_categorical_crossentropy"], "place": "mae"}
    labels, raw = {"kind": CLASSES, "place": TARGETS}, {"kind": LOGITS, "place": RAW_NORMAL}
    nll = -log_softmax(LOGITS, -1)[range(ROWS), CLASSES]
    assert results(JOINT, labels, raw, given, rows=KEPT) == {
        "kind_accuracy": pytest.approx(CORRECT[KEPT].mean()),
        "kind_sparse_categorical_crossentropy": pytest.approx(nll[KEPT].mean(), rel=1e-4),
        "place_mae": pytest.approx(ERROR[KEPT].mean(), rel=1e-5),
    }


def test_single_unknown_labels_of_positions_are_left_out_beside_weights():
    labels, logits = RNG.integers(-1, 2, (8, 5, 3)), LOGITS.reshape(8, 5, 3)
    weights = np.broadcast_to(WEIGHTS.reshape(8, 5, 1), labels.shape)
    data = outputs.Bernoulli(ignore_class=-1), labels, logits, None, ["accuracy"]
    answer = results(*data, sample_weight=WEIGHTS.reshape(8, 5))
    known, right = labels >= 0, (logits > 0) == (labels > 0)
    expected = np.average(right[known], weights=weights[known])
    assert answer["accuracy"] == pytest.approx(expected, rel=1e-5)


def test_functions_of_rows_take_weights_of_rows_and_no_others():
    def share_right(y_true, y_pred):
        right = tf.argmax(y_pred, -1) == tf.cast(y_true, tf.int64)
        return tf.reduce_mean(tf.cast(right, tf.float32), -1)

    labels, logits = CLASSES.reshape(8, 5), LOGITS.reshape(8, 5, 3)
    data = "categorical", labels, logits, None, [share_right]
    answer = results(*data, sample_weight=WEIGHTS[:8])
    expected = np.average(CORRECT.reshape(8, 5).mean(-1), weights=WEIGHTS[:8])
    assert answer["share_right"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"'share_right' gives one number for a whole row"):
        results(*data, sample_weight=WEIGHTS.reshape(8, 5))


# Names.


@pytest.mark.parametrize("prefix", ["", "teacher_"])
def test_metrics_keep_their_names_behind_the_prefix(prefix):
    given = {
        "mae": "mae",
        "mean_absolute_error": keras.metrics.MeanAbsoluteError(),
        "error": keras.metrics.MeanAbsoluteError(name="error"),
    }
    answer = results("normal", TARGETS, RAW_NORMAL, list(given.values()), prefix=prefix)
    assert list(answer) == [prefix + name for name in given]


def test_with_a_prefix_the_metric_is_a_copy_of_the_same_settings():
    given = keras.metrics.BinaryAccuracy(threshold=0.9, name="sure")
    # Weighted, but without weights.
    answer = results("bernoulli", YES, LOGITS, None, [given], prefix="teacher_")
    expected = ((expit(LOGITS) > 0.9) == (YES > 0)).mean()
    assert answer == {"teacher_sure": pytest.approx(expected)}
    assert float(given.result()) == 0.0


@pytest.mark.parametrize(
    ("output", "given", "weighted", "message"),
    [
        ("categorical", ["accuracy", "accuracy"], None, "name"),
        ("categorical", ["accuracy"], ["accuracy"], "name"),
        ("categorical", {"kind": ["accuracy"]}, None, "list"),
        ("categorical", "accuracy", None, "list"),
        (JOINT, ["accuracy"], None, r"\['kind', 'place'\]"),
        (JOINT, {"colour": ["accuracy"]}, None, r"\['kind', 'place'\]"),
        ("normal", ["accuracy"], None, "mae"),
        ("categorical", ["no_such_metric"], None, "no_such_metric"),
        ("bernoulli", [metrics.ExpectedCalibrationError()], None, "categorical"),
        ("normal", [keras.metrics.BinaryCrossentropy(from_logits=True)], None, "logits"),
        ("categorical", [keras.metrics.Accuracy()], None, r"Give 'accuracy'"),
        ("bernoulli", ["categorical_accuracy"], None, r"CategoricalAccuracy.*Give 'acc"),
        ("normal", [keras.metrics.AUC(name="auc")], None, r"'auc', AUC.*Give 'mae'"),
        ("bernoulli", [keras.metrics.F1Score()], None, r"F1Score\(threshold=0\.5\)"),
        ("bernoulli", [keras.metrics.BinaryAccuracy(threshold=0.0)], None, "0 is the prob.* 0.5"),
        ("bernoulli", [keras.metrics.Recall(thresholds=0)], None, "'recall' has the threshold 0"),
        ("bernoulli", [keras.metrics.BinaryIoU(threshold=-1.0)], None, "threshold -1.0, as of log"),
        ("categorical", ["dice"], None, r"no metric 'dice'.*F1Score\('macro'\)"),
        ("categorical", ["MeanIoU"], None, r"num_classes.* as an object"),
        ("categorical", [losses.NegativeLogLikelihood("categorical")], None, "is a loss"),
        ("categorical", None, [keras.losses.Dice()], "dice.*no weights.*among metrics"),
    ],
)
def test_refuses(output, given, weighted, message):
    with pytest.raises(ValueError, match=message):
        LabelMetrics(outputs.get(output, (None, 4)), given, weighted)


class Counting(keras.metrics.Sum):
    def __init__(self, first, **kwargs):
        super().__init__(**kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(tf.ones(len(y_true)))


def test_metrics_of_a_users_own(recwarn):
    with pytest.warns(UserWarning, match="'sum', Counting, .*never reads it"):
        LabelMetrics(outputs.Categorical(), [Counting(1)])
    with pytest.raises(ValueError, match=r"Counting, can't be made again.*'first'.*get_config"):
        LabelMetrics(outputs.Categorical(), [Counting(1)], prefix="teacher_")
    given = functools.partial(
        keras.metrics.sparse_categorical_crossentropy, from_logits=True, ignore_class=-1
    )
    recwarn.clear()
    answer = results("categorical", CLASSES, LOGITS, [given], prefix="own_")
    expected = log_loss(CLASSES, softmax(LOGITS, -1))
    assert answer == {"own_sparse_categorical_crossentropy": pytest.approx(expected, rel=1e-5)}
    assert not recwarn


# As compile's arguments.


@pytest.mark.parametrize("name", ["loss", "agreement"])
def test_names_of_what_is_logged_are_taken(name):
    its = Distiller(network(1), network(2))
    with pytest.raises(ValueError, match=rf"\['{name}'\] are those of what a Distiller logs"):
        its.compile(metrics=[keras.metrics.SparseCategoricalAccuracy(name=name)])


@pytest.mark.parametrize(
    ("output", "temperature", "has_room"),
    [
        (outputs.Normal(1, min_scale=0.1), 1.0, True),
        (outputs.Normal(1, min_scale=0.2), 4.0, True),
        (outputs.Normal(1, min_scale=0.2), 1.0, False),
        (outputs.Normal(1, min_scale=0.1), 0.25, False),
        (outputs.Point(1, stddev=5.0), 1.0, False),
    ],
)
def test_a_teachers_spread_is_not_scored_as_the_students(output, temperature, has_room):
    normal = outputs.Normal(1, min_scale=0.1, temperature=temperature)
    teacher = Ensemble(network(1, classes=2), normal)
    distiller = Distiller(network(2, classes=output.raw_size(1)), teacher, output=output)
    of_means = ["mae", metrics.AngularError(output)]
    distiller.compile("sgd", metrics=of_means, teacher_metrics=True)
    given = [metrics.NegativeLogLikelihood(output)]
    if has_room:
        distiller.compile("sgd", metrics=given, teacher_metrics=True)
        return
    with pytest.raises(ValueError, match="Evaluate the teacher itself"):
        distiller.compile("sgd", metrics=given, teacher_metrics=True)


def test_one_hot_rows_are_unknown_where_their_classes_are():
    one_hot = np.eye(3, dtype="float32")[CLASSES]
    some = CLASSES < 2
    expected = accuracy_score(CLASSES[some], LOGITS[some, :2].argmax(-1))
    for labels in (CLASSES, one_hot):
        known = results(outputs.Categorical(known_classes=[0, 1]), labels, LOGITS, ["accuracy"])
        assert known == {"accuracy": pytest.approx(expected)}
    expected = accuracy_score(CLASSES[CLASSES != 1], LOGITS[CLASSES != 1].argmax(-1))
    for labels in (CLASSES, one_hot):
        known = results(outputs.Categorical(ignore_class=1), labels, LOGITS, ["accuracy"])
        assert known == {"accuracy": pytest.approx(expected)}


def test_sparse_metrics_take_one_hot_labels_of_any_number_of_rows():
    rows = LOGITS[:3]  # As many as there are classes.
    one_hot = np.eye(3, dtype="float32")[CLASSES[:3]]
    expected = pytest.approx(accuracy_score(CLASSES[:3], rows.argmax(-1)))
    found = results(
        outputs.Categorical(), one_hot, rows, [keras.metrics.SparseCategoricalAccuracy()]
    )
    assert [*found.values()] == [expected]
