"""One weight for each position: masks, sample weights, unknown labels, by NumPy and Keras."""

import by_hand
import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import kl
from scipy.special import log_softmax, softmax
from sklearn.metrics import f1_score, jaccard_score, r2_score

from ecl_tf import Distiller, Ensemble, losses, metrics, outputs, resume
from ecl_tf._class_weights import ClassWeights
from ecl_tf._internal import random

RNG = np.random.default_rng(0)
ROWS, STEPS, CLASSES = 12, 5, 3
LENGTHS = RNG.integers(1, STEPS + 1, ROWS)
REAL = np.arange(STEPS) < LENGTHS[:, None]
TOKENS = np.where(REAL, RNG.integers(1, 9, (ROWS, STEPS)), 0).astype("int32")
TAGS = RNG.integers(0, CLASSES, (ROWS, STEPS))
WEIGHTS = RNG.uniform(size=(ROWS, STEPS)).astype("float32")
VOID = np.where(RNG.uniform(size=(ROWS, STEPS)) < 0.3, 255, TAGS)


def tagger(seed, mask_zero=True):
    keras.utils.set_random_seed(seed)
    tokens = keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(9, 4, mask_zero=mask_zero)(tokens)
    return keras.Model(tokens, keras.layers.Dense(CLASSES)(embedded))


STUDENT, TEACHER = tagger(1).get_weights(), tagger(2).get_weights()


def distiller(mask_zero=True, run_eagerly=True, rate=0.0, metrics=(), weighted=(), **arguments):
    student, teacher = tagger(1, mask_zero), tagger(2, mask_zero)
    student.set_weights([3 * weight for weight in STUDENT])
    its = Distiller(student, teacher, sampler="Empirical", **arguments)
    its.compile(
        keras.optimizers.SGD(rate),
        metrics=list(metrics),
        weighted_metrics=list(weighted),
        run_eagerly=run_eagerly,
    )
    return its


def answers():
    """Raw outputs of teacher and student by their weights."""
    embedding, kernel, bias = TEACHER
    theirs = embedding[TOKENS] @ kernel + bias
    embedding, kernel, bias = (3 * weight for weight in STUDENT)
    return theirs, embedding[TOKENS] @ kernel + bias


TEACHERS, STUDENTS = answers()
DIVERGENCE = kl(TEACHERS, STUDENTS)
SAME = (TEACHERS.argmax(-1) == STUDENTS.argmax(-1)).astype(float)
LIKELIHOOD = np.take_along_axis(log_softmax(STUDENTS, -1), TAGS[..., None], -1)[..., 0]
CORRECT = (STUDENTS.argmax(-1) == TAGS).astype(float)


def test_masked_steps_have_no_say_in_loss_means_and_metrics_at_any_batch_size():
    its = distiller(
        label_weight=0.5, metrics=["accuracy", metrics.NegativeLogLikelihood("categorical")]
    )
    for size in (ROWS, 5):
        logs = its.evaluate(TOKENS, TAGS, batch_size=size, verbose=0, return_dict=True)
        expected = {
            "divergence": DIVERGENCE[REAL].mean(),
            "agreement": SAME[REAL].mean(),
            "label_loss": -LIKELIHOOD[REAL].mean(),
            "accuracy": CORRECT[REAL].mean(),
            "nll": -LIKELIHOOD[REAL].mean(),
        }
        expected["loss"] = expected["divergence"] + 0.5 * expected["label_loss"]
        assert logs == pytest.approx(expected, rel=1e-5)


def test_padding_that_counts_though_a_network_masks_it_is_told(recwarn):
    def attentive(mask_zero):
        tokens = keras.Input((STEPS,), dtype="int32")
        x = keras.layers.Embedding(9, 4, mask_zero=mask_zero)(tokens)
        x = x + keras.layers.MultiHeadAttention(1, 4)(x, x)  # Where Keras's mask ends.
        return keras.Model(tokens, keras.layers.Dense(CLASSES)(x))

    def evaluated(student, teacher, **arguments):
        its = Distiller(student, teacher, sampler="Empirical")
        its.compile("sgd", run_eagerly=True)
        its.evaluate(TOKENS, verbose=0, **arguments)

    for student, teacher in ((attentive(True), attentive(True)), (attentive(False), tagger(1))):
        with pytest.warns(UserWarning, match=r"'embedding.* masks padding.*sample_weight=\(tokens"):
            evaluated(student, teacher)
    recwarn.clear()
    evaluated(student, teacher, y=TAGS, sample_weight=REAL)
    evaluated(tagger(1), tagger(2))
    of_rows = keras.layers.GlobalAveragePooling1D()
    evaluated(*(keras.Model(each.inputs, of_rows(each.output)) for each in (tagger(1), tagger(2))))
    assert not [each for each in recwarn.list if "masks padding" in str(each.message)]


def test_the_logged_loss_is_the_sum_of_its_parts_at_any_batch_size():
    its = distiller(label_weight=0.5, output=outputs.Categorical(ignore_class=255))
    known = REAL & (VOID != 255)
    expected = DIVERGENCE[REAL].mean() - 0.5 * LIKELIHOOD[known].mean()
    for size in (ROWS, 5):
        logs = its.evaluate(TOKENS, VOID, batch_size=size, verbose=0, return_dict=True)
        assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def test_plain_keras_and_a_teacher_leave_masked_steps_out_of_the_metrics():
    model = tagger(1)
    model.set_weights([3 * weight for weight in STUDENT])
    calibration = metrics.ExpectedCalibrationError()
    calibration.update_state(TAGS[REAL], STUDENTS[REAL])
    expected = {"accuracy": CORRECT[REAL].mean(), "ece": float(calibration.result())}
    expected |= dict.fromkeys(["loss", "nll"], -LIKELIHOOD[REAL].mean())
    for each in (model, Ensemble(model, "categorical")):
        own = [metrics.NegativeLogLikelihood("categorical"), metrics.ExpectedCalibrationError()]
        loss = losses.NegativeLogLikelihood("categorical")
        each.compile("sgd", loss, metrics=["accuracy", *own], run_eagerly=True)
        logs = each.evaluate(TOKENS, TAGS, verbose=0, return_dict=True)
        assert logs == pytest.approx(expected, rel=1e-5)


def test_a_step_with_masks_weights_and_unknown_labels_follows_their_gradient():
    output = outputs.Categorical(ignore_class=255)
    its = distiller(run_eagerly=False, rate=1.0, label_weight=0.5, output=output)
    bias = its.student.layers[-1].bias
    before = bias.numpy()
    its.fit(TOKENS, VOID, sample_weight=WEIGHTS, batch_size=ROWS, verbose=0)
    known, one_hot = REAL & (VOID != 255), np.eye(CLASSES)[TAGS]
    p, q = softmax(TEACHERS, -1), softmax(STUDENTS, -1)
    matched = ((WEIGHTS * REAL)[..., None] * (q - p)).sum((0, 1)) / REAL.sum()
    learned = ((WEIGHTS * known)[..., None] * (q - one_hot)).sum((0, 1)) / known.sum()
    np.testing.assert_allclose(before - bias.numpy(), matched + 0.5 * learned, rtol=1e-4)


def test_weights_of_positions_weigh_losses_as_keras_does_and_means_by_their_sum():
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="weighted")
    its = distiller(mask_zero=False, metrics=["accuracy"], weighted=[accuracy])
    logs = its.evaluate(TOKENS, TAGS, sample_weight=WEIGHTS, verbose=0, return_dict=True)
    expected = {
        "divergence": (WEIGHTS * DIVERGENCE).mean(),
        "loss": (WEIGHTS * DIVERGENCE).mean(),
        "agreement": np.average(SAME, weights=WEIGHTS),
        "accuracy": CORRECT.mean(),
        "weighted": np.average(CORRECT, weights=WEIGHTS),
    }
    assert logs == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"sample_weight has shape \(batch, 4\).*positions"):
        distiller().evaluate(TOKENS, TAGS, sample_weight=WEIGHTS[:, :4], verbose=0)


@pytest.mark.slow
def test_unknown_labels_are_left_out_of_every_metric_and_wrong_ones_refused(subtests):
    known = VOID != 255
    output = outputs.Categorical(ignore_class=255)
    own = [
        "accuracy",
        metrics.ExpectedCalibrationError(),
        keras.metrics.MeanIoU(CLASSES, sparse_y_pred=False, name="iou"),
    ]
    its = distiller(False, metrics=own, output=output, label_weight=1.0)
    logs = its.evaluate(TOKENS, VOID, batch_size=5, verbose=0, return_dict=True)
    plain = keras.metrics.MeanIoU(CLASSES)
    plain.update_state(TAGS[known], STUDENTS.argmax(-1)[known])
    calibration = metrics.ExpectedCalibrationError()
    calibration.update_state(TAGS[known], STUDENTS[known])
    expected = {
        "label_loss": -LIKELIHOOD[known].mean(),
        "accuracy": CORRECT[known].mean(),
        "iou": float(plain.result()),
        "ece": float(calibration.result()),
    }
    assert {name: logs[name] for name in expected} == pytest.approx(expected, rel=1e-5)

    with subtests.test("plain Keras"):
        model = tagger(1)
        model.set_weights([3 * weight for weight in STUDENT])
        model.compile("sgd", losses.NegativeLogLikelihood(output))
        known &= REAL
        loss = model.evaluate(TOKENS, VOID, verbose=0)
        assert loss == pytest.approx(-LIKELIHOOD[known].mean(), rel=1e-5)

    with subtests.test("of yes and no"):
        yes = np.where(known[:, :CLASSES], TAGS[:, :CLASSES] > 0, -1).astype("float32")
        yes[:2] = -1  # Rows without any known label: a batch of nothing else.
        rows = (yes >= 0).any(-1)
        student = keras.Sequential([keras.Input((CLASSES,)), keras.layers.Identity()])
        raw = RNG.normal(size=(ROWS, CLASSES)).astype("float32")
        unknown = outputs.Bernoulli(ignore_class=-1)
        its = Distiller(student, student, output=unknown, label_weight=1.0)
        own = ["accuracy", keras.metrics.AUC(name="auc"), metrics.NegativeLogLikelihood(unknown)]
        its.compile(metrics=own, run_eagerly=True)
        logs = its.evaluate(raw, yes, batch_size=2, verbose=0, return_dict=True)
        chance = 1 / (1 + np.exp(-raw))
        likelihood = np.where(yes > 0, np.log(chance), np.log(1 - chance))
        auc = keras.metrics.AUC()
        auc.update_state(yes[yes >= 0], chance[yes >= 0])
        expected = {
            "label_loss": -(likelihood * (yes >= 0)).sum(-1)[rows].mean(),
            "nll": -(likelihood * (yes >= 0)).sum(-1)[rows].mean(),
            "accuracy": ((raw > 0) == yes)[yes >= 0].mean(),
            "auc": float(auc.result()),
        }
        assert {name: logs[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_features_and_functions_of_a_whole_batch_leave_masked_steps_out_or_say_that_they_cannot():
    names = {"teacher_layer_name": None, "student_layer_name": None}
    feature_loss = keras.distillation.FeatureDistillation("mse", **names)
    its = distiller(feature_losses=[feature_loss])
    logs = its.evaluate(TOKENS, verbose=0, return_dict=True)
    squares = ((TEACHERS - STUDENTS) ** 2).mean(-1)
    assert logs["feature_loss"] == pytest.approx(squares[REAL].mean(), rel=1e-5)

    def share_right(y_true, y_pred):
        return tf.reduce_mean(tf.cast(tf.argmax(y_pred, -1) == tf.cast(y_true, tf.int64), "float"))

    its = distiller(metrics=[share_right])
    with pytest.raises(ValueError, match=r"share_right.*one number for the whole batch"):
        its.evaluate(TOKENS, TAGS, verbose=0)
    its = distiller(mask_zero=False, metrics=[share_right])
    logs = its.evaluate(TOKENS, TAGS, verbose=0, return_dict=True)
    assert logs["share_right"] == pytest.approx(CORRECT.mean())


def test_a_metric_of_pixels_sees_the_unmodified_images_of_a_training_alone():
    images = RNG.uniform(size=(ROWS, 4, 4, 1)).astype("float32")
    labels = RNG.integers(0, 2, (ROWS, 4, 4))

    def dice(y_true, y_pred):
        return tf.reduce_mean(y_pred[..., 1] * tf.cast(y_true, "float32"))

    student = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 1)])
    iou = keras.metrics.MeanIoU(2, sparse_y_pred=False, name="iou")
    its = Distiller(student, keras.models.clone_model(student), sampler="Uncertain", seed=3)
    its.compile(keras.optimizers.SGD(0.0), metrics=[iou, dice])
    seed = random.fold_in(random.fold_in(its.seed, 0), 0)
    drawn = its.sampler(images, seed=seed, networks=its._networks())
    kept, sources = np.asarray(drawn.unmodified), np.asarray(drawn.sources)
    assert 0 < kept.sum() < ROWS
    logs = its.fit(images, labels, batch_size=ROWS, shuffle=False, verbose=0).history
    shares = softmax(student.predict(images[sources[kept]], verbose=0), -1)
    plain = keras.metrics.MeanIoU(2)
    plain.update_state(labels[sources[kept]], shares.argmax(-1))
    assert logs["iou"][0] == pytest.approx(float(plain.result()), rel=1e-5)
    expected = (shares[..., 1] * labels[sources[kept]]).mean()
    assert logs["dice"][0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_overlaps_of_positions_leave_out_masked_steps_and_unknown_labels(subtests):
    """By scikit-learn and NumPy, of the positions that count alone."""
    known = REAL & (VOID != 255)
    labels, likeliest = VOID[known], STUDENTS.argmax(-1)[known]
    jaccard = jaccard_score(labels, likeliest, average="macro")
    shares, one_hot = softmax(STUDENTS, -1) * known[..., None], np.eye(CLASSES)[TAGS]
    shared, both = (shares * one_hot)[known.any(1)], (shares + one_hot * known[..., None])
    both = both[known.any(1)]  # Rows without any known label have no overlap.
    dice, of_rows, of_classes = (
        (1 - 2 * shared.sum(axis) / both.sum(axis)).mean() for axis in (None, (1, 2), (0, 1))
    )
    given = [
        keras.metrics.MeanIoU(CLASSES, name="iou"),
        keras.metrics.OneHotMeanIoU(CLASSES, name="one_hot"),
        keras.metrics.IoU(CLASSES, [1], name="of_one", sparse_y_pred=False),
        keras.metrics.F1Score("macro", name="f1"),
        keras.losses.Dice(),
        keras.losses.Dice(axis=(1, 2), name="of_rows"),
        keras.losses.Dice(axis=(0, 1), name="of_classes"),
    ]
    expected = {
        "iou": jaccard,
        "one_hot": jaccard,
        "of_one": jaccard_score(labels, likeliest, average=None)[1],
        "f1": f1_score(labels, likeliest, average="macro"),
        "dice": dice,
        "of_rows": of_rows,
        "of_classes": of_classes,
    }
    weighted = [
        keras.metrics.MeanIoU(CLASSES, name="weighted_iou", dtype="float32"),
        keras.metrics.F1Score("macro", name="weighted_f1"),
    ]
    weights = WEIGHTS[known]
    expected["weighted_iou"] = jaccard_score(
        labels, likeliest, average="macro", sample_weight=weights
    )
    expected["weighted_f1"] = f1_score(labels, likeliest, average="macro", sample_weight=weights)
    output = outputs.Categorical(ignore_class=255)
    its = distiller(metrics=given, weighted=weighted, output=output)
    logs = its.evaluate(
        TOKENS, VOID, sample_weight=WEIGHTS, batch_size=ROWS, verbose=0, return_dict=True
    )
    assert {name: logs[name] for name in expected} == pytest.approx(expected, rel=1e-5)

    with subtests.test("indices and shares are the same labels"):
        its = distiller(False, metrics=given)
        both = [
            its.evaluate(TOKENS, each, batch_size=ROWS, verbose=0, return_dict=True)
            for each in (TAGS, one_hot.astype("float32"))
        ]
        assert both[0] == pytest.approx(both[1], rel=1e-6)
        whole = jaccard_score(TAGS.ravel(), STUDENTS.argmax(-1).ravel(), average="macro")
        assert both[0]["iou"] == pytest.approx(whole, rel=1e-5)

    with subtests.test("of yes and no"):
        yes = np.where(known[..., None], one_hot, -1).astype("float32")
        yes[0, 0, 0] = -1  # A position with a known and an unknown label.
        student = keras.Sequential([keras.Input((STEPS, CLASSES)), keras.layers.Identity()])
        binary = keras.metrics.BinaryIoU(name="iou")
        unknown = outputs.Bernoulli(ignore_class=-1)
        for size in (CLASSES, 1):
            f1 = [] if size > 1 else [keras.metrics.F1Score("macro", 0.5, name="f1")]
            its = Distiller(student, student, output=unknown)
            its.compile(metrics=[binary, keras.losses.Dice(), *f1], run_eagerly=True)
            raw, its_yes = STUDENTS[..., :size], yes[..., :size]
            counted = its_yes >= 0
            target, chance = its_yes[counted], 1 / (1 + np.exp(-raw[counted]))
            logs = its.evaluate(raw, its_yes, batch_size=ROWS, verbose=0, return_dict=True)
            expected = {
                "iou": jaccard_score(target, chance > 0.5, average=None).mean(),
                "dice": 1 - 2 * (target * chance).sum() / (target + chance).sum(),
                **({"f1": f1_score(target, chance > 0.5)} if f1 else {}),
            }
            assert {name: logs[name] for name in expected} == pytest.approx(expected, rel=1e-4)
            student = keras.Sequential([keras.Input((STEPS, 1)), keras.layers.Identity()])
            binary = keras.metrics.BinaryIoU(name="iou")

    with subtests.test("refused"):
        for iou, kind, labels, message in [
            (keras.metrics.MeanIoU(2), output, TAGS, r"counts 2 classes.*num_classes=3"),
            (
                keras.metrics.BinaryIoU(),
                output,
                TAGS,
                r"no categorical output\. Use .*\.MeanIoU",
            ),
            (keras.metrics.MeanIoU(2), unknown, yes, r"bernoulli output\. Use .*\.BinaryIoU"),
        ]:
            its = distiller(False, metrics=[iou], output=kind)
            with pytest.raises(ValueError, match=message):
                its.evaluate(TOKENS, labels, verbose=0)


def test_numbers_of_positions_leave_out_masked_steps():
    values = np.where(REAL[..., None], RNG.normal(size=(ROWS, STEPS, 2)), 0.0).astype("float32")
    targets = RNG.normal(size=(ROWS, STEPS, 2)).astype("float32")

    def network(seed):
        keras.utils.set_random_seed(seed)
        layers = keras.layers.Masking(), keras.layers.Dense(4)
        return keras.Sequential([keras.Input((None, 2)), *layers])

    normal = outputs.Normal(2)
    its = Distiller(network(1), network(2), output=normal, label_weight=1.0, sampler="Empirical")
    own = [metrics.NegativeLogLikelihood(normal), metrics.Coverage(normal, 0.5)]
    its.compile(metrics=["mae", keras.metrics.R2Score(name="r2"), *own], run_eagerly=True)
    logs = its.evaluate(values, targets, batch_size=ROWS, verbose=0, return_dict=True)

    def answer(model):
        kernel, bias = model.get_weights()
        raw = (values @ kernel + bias).astype("float64")
        return raw[..., :2], 0.001 + np.log1p(np.exp(raw[..., 2:]))

    (mean, stddev), teachers = answer(its.student), answer(its.teacher.members[0])
    z = (targets - mean) / stddev
    likelihood = (0.5 * z**2 + np.log(stddev) + 0.5 * np.log(2 * np.pi)).sum(-1)[REAL].mean()
    expected = {
        "divergence": by_hand.normal_kl(*teachers, mean, stddev).sum(-1)[REAL].mean(),
        "label_loss": likelihood,
        "nll": likelihood,
        "mae": np.abs(targets - mean)[REAL].mean(),
        "r2": r2_score(targets[REAL], mean[REAL]),
        "coverage": (np.abs(z) <= 0.6744898)[REAL].mean(),
    }
    assert {name: logs[name] for name in expected} == pytest.approx(expected, rel=1e-5)


CLASS_WEIGHT = {0: 0.5, 1: 3.0}  # And 1 of class 2, and of unknown labels.
WEIGHED = WEIGHTS * np.where(VOID == 0, 0.5, np.where(VOID == 1, 3.0, 1.0))


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return TOKENS, VOID, WEIGHTS


@pytest.mark.slow
def test_weights_of_classes_weigh_positions_wherever_labels_come_from(tmp_path, subtests):
    known = REAL & (VOID != 255)
    one = {
        "divergence": (WEIGHED * DIVERGENCE)[REAL].mean(),
        "agreement": np.average(SAME[REAL], weights=WEIGHED[REAL]),
        "label_loss": -(WEIGHED * LIKELIHOOD)[known].mean(),
        "accuracy": CORRECT[known].mean(),
        "weighted": np.average(CORRECT[known], weights=WEIGHED[known]),
    }
    one["loss"] = one["divergence"] + 0.5 * one["label_loss"]
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="weighted")
    output = outputs.Categorical(ignore_class=255)
    arguments = {"label_weight": 0.5, "output": output}
    its = distiller(metrics=["accuracy"], weighted=[accuracy], **arguments)  # Of rate 0.
    dataset = tf.data.Dataset.from_tensors((TOKENS, VOID, WEIGHTS))
    settings = {"class_weight": CLASS_WEIGHT, "verbose": 0}
    half = {"validation_split": 0.5, "batch_size": ROWS}
    twice = [np.concatenate([each, each]) for each in (TOKENS, VOID, WEIGHTS)]
    cases = {
        "arrays": lambda: its.fit(
            TOKENS, VOID, sample_weight=WEIGHTS, batch_size=ROWS, shuffle=False, **settings
        ),
        "a dataset": lambda: its.fit(dataset, **settings),
        "a PyDataset": lambda: its.fit(Batches(), **settings),
        "a generator": lambda: its.fit((each for each in [Batches()[0]]), **settings),
        "resume": lambda: resume.fit(
            its, lambda step: dataset.repeat(), tmp_path, steps=1, **settings
        ),
        "a part": lambda: its.fit(*twice[:2], sample_weight=twice[2], **half, **settings),
    }
    for name, fit in cases.items():
        with subtests.test(name):
            logs = {key: values[0] for key, values in fit().history.items()}
            assert {key: logs[key] for key in one} == pytest.approx(one, rel=1e-5)
    batch = its.train_on_batch(TOKENS, VOID, WEIGHTS, CLASS_WEIGHT, return_dict=True)
    assert {key: batch[key] for key in one} == pytest.approx(one, rel=1e-5)
    expected = (WEIGHTS * DIVERGENCE)[REAL].mean()  # As Keras, without weights of classes.
    assert logs["val_divergence"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"class_weight needs labels"):
        its.fit(((TOKENS,) for _ in range(1)), **settings)


def test_weights_of_classes_take_every_form_of_label(subtests):
    segmenter = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Conv2D(3, 1)])
    labels = np.array([[[0, 1], [2, 1]], [[-1, 0], [1, 0]]])
    expected = np.array([[[0.5, 3], [1, 3]], [[1, 0.5], [3, 0.5]]])
    images = np.zeros((2, 2, 2, 1), "float32")

    def weigh(output="categorical", student=segmenter):
        return ClassWeights(CLASS_WEIGHT, images, student, outputs.get(output))

    cases = {"indices": (labels, expected), "a channel": (labels[..., None], expected)}
    shares = np.where(labels[..., None] < 0, 0.0, np.eye(3)[labels])
    cases["shares"] = shares, expected  # A row of zeros is an unknown label.
    for name, (given, right) in cases.items():
        with subtests.test(name):
            for weight in (None, np.float32([2, 3])):
                of_rows = 1.0 if weight is None else weight[:, None, None]
                np.testing.assert_array_equal(weigh()(given, weight), right * of_rows)
                found = weigh()(tf.constant(given), None if weight is None else weight[:, None])
                assert found.dtype == tf.float32
                np.testing.assert_array_equal(found, right * of_rows)
    with subtests.test("yes and no"):
        of_pixels = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Conv2D(1, 1)])
        found = weigh("bernoulli", of_pixels)(np.float32(labels == 1))
        np.testing.assert_array_equal(found, np.where(labels == 1, 3.0, 0.5))
    with subtests.test("refused"):
        its = Distiller(keras.models.clone_model(segmenter), segmenter, output="bernoulli")
        its.compile()
        with pytest.raises(ValueError, match=r"answers with 3 yes/no labels.*sample_weight"):
            its.fit(images, shares, class_weight=CLASS_WEIGHT)
        with pytest.raises(ValueError, match=r"output shape is known"):
            ClassWeights({0: 1.0}, Batches(), by_hand.Subclassed(), outputs.get("categorical"))
