"""Rows with positions: numbers against NumPy's, labels, weights of classes, and refusals."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import kl, softmax
from scipy import stats
from tiny import rows

from configs import segmentation
from ecl_tf import Ensemble, data, losses, models, outputs, teachers
from ecl_tf.experiments import (
    answers,
    closeness,
    diagnostics,
    figures,
    positions,
    row_labels,
    settings,
    stores,
)
from ecl_tf.experiments import headroom as short_trainings
from ecl_tf.experiments.experiment import Experiment
from tests import dense
from tests.dense import by_hand, of, small


@pytest.fixture
def scenes_config():
    config = small(segmentation.get_config())
    config.data.update({"train_size": 32, "validation_size": 10, "test_size": 12})
    for section in (config.teacher, config.student):
        section.network.width = 2
    return config


@pytest.fixture
def tags_config():
    output = {"class_name": "Categorical", "config": {"ignore_class": dense.UNKNOWN}}
    config = of("tags", output, "tagger")
    config.score = "accuracy"
    config.xcl.sampler = {"class_name": "Swap", "config": {"padding": 0}}
    return config


@pytest.fixture
def masks_config():
    output = {"class_name": "Bernoulli", "config": {"ignore_class": dense.UNKNOWN}}
    return of("images", output, kind="mask")


@pytest.fixture
def numbers_config():
    config = of("images", {"class_name": "Normal", "config": {"event_size": 1}})
    config.score, config.teacher.calibrate = "rmse", False
    return config


def test_a_masked_taggers_numbers_equal_numpys(tags_config):
    experiment = Experiment(tags_config)
    student = experiment.network(experiment.config.student)
    student.set_weights([5 * weight for weight in student.get_weights()])
    tokens, labels = rows(experiment.splits.test)
    logits, real = student(tokens).numpy(), tokens > 0
    known = real & (labels != dense.UNKNOWN)
    assert known.sum() < real.sum() < real.size
    expected = by_hand(logits[known], labels[known])
    assert experiment.evaluate(student, "test") == pytest.approx(expected, rel=1e-4)

    # A function has no mask: the student's counts for it, and unknown labels do not matter.
    bias = np.array([1.0, 0.0, -1.0], "float32")
    teacher_logits = logits + bias

    def function(inputs):
        return tf.convert_to_tensor(student(inputs).numpy() + bias)

    expected = by_hand(teacher_logits[known], labels[known])
    assert experiment.evaluate(function, "test") == pytest.approx(expected, rel=1e-4)
    apart = closeness.Divergences(experiment, function).of(student, "test", experiment.output)
    assert apart == pytest.approx(kl(teacher_logits, logits)[real].mean(), rel=1e-4)
    frequencies = np.unique(labels[known], return_counts=True)[1] / known.sum()
    flat, _ = experiment.answers(student, "test")
    entropy = stats.entropy(frequencies)
    assert positions.constant_nll(experiment.output, flat) == pytest.approx(entropy)


def test_a_segmenters_numbers_equal_numpys(scenes_config):
    experiment = Experiment(scenes_config)
    assert experiment.positions == (16, 16) and experiment.higher_is_better
    student = experiment.network(experiment.config.student)
    images, labels = rows(experiment.splits.test)
    logits, known = student(images).numpy(), labels != 255
    assert np.sum(~known) > 0
    expected = by_hand(logits[known], labels[known].astype(int))
    assert experiment.evaluate(student, "test") == pytest.approx(expected, rel=1e-4)
    curve = diagnostics.reliability(*experiment.answers(student, "test"), experiment.output)
    assert np.average(curve["observed"], weights=curve["weight"]) == pytest.approx(
        expected["accuracy"], abs=1e-4
    )


def test_yes_no_labels_of_pixels_are_scored_as_two_classes(masks_config):
    experiment = Experiment(masks_config)
    student = experiment.network(experiment.config.student)
    images, labels = rows(experiment.splits.test)
    logits, known = student(images).numpy()[..., 0], labels != dense.UNKNOWN
    both = np.stack([np.zeros_like(logits), logits], -1)[known]
    expected = by_hand(both, labels[known].astype(int))
    yes, found = labels[known] > 0.5, logits[known] > 0
    expected["iou"] = np.sum(yes & found) / np.sum(yes | found)  # Of the label's yes alone.
    assert experiment.evaluate(student, "test") == pytest.approx(expected, rel=1e-4)


def test_numbers_of_pixels_are_scored_and_points_get_one_spread(numbers_config):
    experiment = Experiment(numbers_config)
    student = experiment.network(experiment.config.student)
    images, labels = rows(experiment.splits.test)
    mean, scale = np.moveaxis(student(images).numpy().astype("float64"), -1, 0)
    stddev = 1e-3 + np.log1p(np.exp(scale))
    scores = experiment.evaluate(student, "test")
    assert scores["rmse"] == pytest.approx(np.sqrt(np.mean((labels - mean) ** 2)), rel=1e-4)
    expected = -stats.norm.logpdf(labels, mean, stddev).mean()
    assert scores["nll"] == pytest.approx(expected, rel=1e-3)
    assert scores["coverage"] == pytest.approx(np.mean(abs(labels - mean) <= 1.959964 * stddev))
    # Standard KD learns points: their spread is one number, measured over all pixels.
    point = experiment.network(experiment.config.student, experiment.point_output(1.0))
    images, labels = rows(experiment.splits.validation)
    (spread,) = teachers.residual_stddev(point, images, labels)
    assert spread == pytest.approx(np.sqrt(np.mean((labels - point(images)[..., 0]) ** 2)))


@pytest.mark.slow
def test_labels_of_pixels_are_smoothed_mixed_and_cut_as_the_image_is(scenes_config):
    experiment = Experiment(scenes_config)
    section = experiment.config.student
    _, labels = next(iter(experiment.erm_batches(section, 3)))
    known = labels.numpy() != 255
    (_, smooth), *_ = experiment.erm_batches(
        section, 3, labels=settings.Labels(label_smoothing=0.1)
    ).take(1)
    one_hot = np.eye(5)[np.where(known, labels, 0)]
    assert not smooth[~known].numpy().any()
    np.testing.assert_allclose(smooth[known], (0.9 * one_hot + 0.02)[known], rtol=1e-5)

    # Images that show their classes tell what became of both.
    shown = np.where(known, labels, 0).astype("float32")[..., None] / 4
    experiment.batches = lambda *_: tf.data.Dataset.from_tensors((shown, labels)).repeat()
    for mixed in ({"mixup_alpha": 1.0}, {"cutmix_alpha": 1.0}):
        batches = experiment.erm_batches(section, 3, labels=settings.Labels(**mixed))
        x, y = map(np.asarray, next(iter(batches)))
        counts = y.any(-1)
        assert 0.5 < counts.mean() < 1.0
        np.testing.assert_allclose(y[counts].sum(-1), 1.0, rtol=1e-5)
        np.testing.assert_allclose((y @ np.arange(5) / 4)[counts], x[..., 0][counts], atol=1e-5)
        assert (np.max(y, -1)[counts] < 0.99).any() == ("mixup_alpha" in mixed)
        assert not np.allclose(x, shown)


def test_the_loss_of_smooth_labels_is_a_mean_over_steps_that_count(tags_config):
    experiment = Experiment(tags_config)
    model = experiment.network(experiment.config.student)
    model.compile(loss=losses.NegativeLogLikelihood(experiment.output))
    section = experiment.config.student
    (tokens, labels), *_ = experiment.erm_batches(section, 3).take(1)
    known = (tokens > 0).numpy() & (labels != dense.UNKNOWN).numpy()
    assert known.sum() < (tokens > 0).numpy().sum() < known.size
    log_p, classes = np.log(softmax(model(tokens).numpy()))[known], labels.numpy()[known]
    for share in (0.0, 0.3):
        batches = experiment.erm_batches(section, 3, labels=settings.Labels(label_smoothing=share))
        soft = (1 - share) * np.eye(dense.TAGS)[classes] + share / dense.TAGS
        expected = -(soft * log_p).sum(-1).mean()
        assert model.evaluate(batches.take(1), verbose=0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_classes_have_weights_in_all_trainings(scenes_config, masks_config, eagerly):
    weights = np.array([0.5, 2.0, 1.0, 3.0, 0.25], "float32")
    scenes_config.class_weight = tuple(weights.tolist())
    experiment = Experiment(scenes_config)
    section = experiment.config.student
    _, labels, found = next(iter(experiment.erm_batches(section, 3)))
    expected = np.where(labels == 255, 1.0, weights[np.where(labels == 255, 0, labels)])
    np.testing.assert_array_equal(found, expected)
    of_mixed = settings.Labels(mixup_alpha=1.0)
    _, soft, found = next(iter(experiment.erm_batches(section, 3, labels=of_mixed)))
    counts = soft.numpy().any(-1)
    np.testing.assert_allclose(found, np.where(counts, soft.numpy() @ weights, 1.0), rtol=1e-5)

    # As `class_weight` of `fit` does.
    teacher = Ensemble([experiment.network(experiment.config.teacher)], experiment.output)
    stored = answers.ask(experiment, teacher)
    losses = []
    for store in (None, stored):
        distiller = experiment.distiller(teacher, 1, sampler="Empirical", label_weight=0.5)
        batches = experiment.student_batches(3, distiller.sampler, store)
        losses.append(distiller.fit(batches, steps_per_epoch=2, verbose=0).history["loss"])
    distiller = experiment.distiller(teacher, 1, sampler="Empirical", label_weight=0.5)
    experiment.config = dataclasses.replace(experiment.config, class_weight=())
    batches = experiment.student_batches(3, distiller.sampler, None)
    given = {"steps_per_epoch": 2, "class_weight": dict(enumerate(weights)), "verbose": 0}
    expected = distiller.fit(batches, shuffle=False, **given).history["loss"]
    assert losses[0] == pytest.approx(expected, rel=1e-5)
    assert losses[1] == pytest.approx(expected, rel=1e-5)

    masks_config.class_weight = (0.5, 3.0)
    masks = Experiment(masks_config)
    _, labels, found = next(iter(masks.erm_batches(masks.config.student, 3)))
    np.testing.assert_array_equal(found, np.select([labels == 1, labels == 0], [3.0, 0.5], 1.0))


def test_as_many_steps_as_classes_are_no_shares_of_classes():
    y = np.array([[0.0, 1.0, 2.0], [2.0, 2.0, 0.0]], "float32")
    steps = tf.data.Dataset.from_tensor_slices((y, y))
    splits = data.Splits(steps, steps, steps, event_size=3)
    ((*_, found),) = row_labels.weighted(
        steps.batch(2), (1, 10, 100), splits, outputs.Categorical()
    )
    np.testing.assert_array_equal(found, [[1, 10, 100], [100, 100, 1]])
    once = tf.data.Dataset.from_tensor_slices(([[0.0]], [1.0]))
    splits = data.Splits(once, once, once, event_size=1)
    batches = once.batch(1, drop_remainder=True)
    ((*_, found),) = row_labels.weighted(batches, (1, 10), splits, outputs.Bernoulli())
    np.testing.assert_array_equal(found, [10])


def test_stored_answers_are_the_teachers_and_too_large_ones_are_told_of(
    scenes_config, tmp_path, monkeypatch, capsys
):
    scenes_config.replay_epochs = 1
    experiment = Experiment(scenes_config)
    teacher = Ensemble([experiment.network(experiment.config.teacher)], experiment.output)
    known = answers.ask(experiment, teacher).batches(**experiment.training_rows(), seed=3)
    samples, labels = next(iter(known))
    np.testing.assert_allclose(
        samples.member_outputs[0], teacher.members[0](samples.inputs), atol=1e-6
    )
    assert labels.shape == (16, 16, 16)
    store = stores.Stores(experiment, teacher, tmp_path / "stores").of(sampler="Empirical")
    batches = store.batches(**experiment.training_rows(), sampler="Empirical")
    samples, _ = next(iter(batches))
    stored, live = softmax(samples.member_outputs[0]), softmax(teacher.members[0](samples.inputs))
    np.testing.assert_allclose(stored, live, atol=2e-3)  # Logarithms in float16.
    monkeypatch.setattr(answers, "_MEMORY", 1000)
    assert answers.ask(experiment, teacher) is None
    assert "would take 0.0 GB of memory, so it is asked in every step" in capsys.readouterr().out


@pytest.mark.slow
def test_the_error_of_a_lead_is_over_rows_and_not_over_pixels(scenes_config, tmp_path):
    experiment = Experiment(scenes_config)
    networks = [experiment.network(experiment.config.student) for _ in range(2)]
    (tmp_path / "students").mkdir()
    networks[1].save(tmp_path / "students" / "erm.keras")
    erm = {"student": "erm.keras", "output": keras.saving.serialize_keras_object(experiment.output)}
    images, labels = rows(experiment.splits.validation)
    known = labels != 255
    wrong = [known & (network(images).numpy().argmax(-1) != labels) for network in networks]
    own, its = (each.sum((1, 2)) for each in wrong)
    ratio = own.sum() / its.sum()
    experiment.score_name = "accuracy"
    lead, error = short_trainings._lead(experiment, networks[0], tmp_path, erm)
    assert lead == pytest.approx(1 - ratio)
    expected = stats.sem(own - ratio * its) / its.mean()
    assert error == pytest.approx(expected, rel=1e-5)

    experiment.score_name = "iou"
    lead, error = short_trainings._lead(experiment, networks[0], tmp_path, erm)
    scores = [by_hand(n(images).numpy()[known], labels[known].astype(int)) for n in networks]
    assert lead == pytest.approx(1 - (1 - scores[0]["iou"]) / (1 - scores[1]["iou"]))
    rng, leads = np.random.default_rng(1), []
    answered = [n(images).numpy() for n in networks]
    for _ in range(200):
        drawn = rng.integers(0, len(images), len(images))
        its = labels[drawn][known[drawn]].astype(int)
        own, other = (by_hand(each[drawn][known[drawn]], its)["iou"] for each in answered)
        leads.append(1 - (1 - own) / (1 - other))
    assert error == pytest.approx(np.std(leads), rel=0.25)


@pytest.mark.slow
def test_maps_show_answers_and_their_uncertainty(scenes_config, tags_config):
    experiment = Experiment(scenes_config)
    teacher = Ensemble([experiment.network(experiment.config.teacher)], experiment.output)
    student = experiment.network(experiment.config.student)
    found = diagnostics.gallery(
        experiment, teacher, {"XCL": (student, experiment.output)}, "Empirical"
    )
    assert np.shape(found["inputs"]) == (4, 16, 16, 1) and found["size"] == 5
    p = softmax(student(np.array(found["inputs"], "float32")).numpy().astype("float64"))
    np.testing.assert_array_equal(found["maps"]["XCL"]["answer"], p.argmax(-1))
    entropy = stats.entropy(p, axis=-1)
    np.testing.assert_allclose(found["maps"]["XCL"]["spread"], entropy, atol=2e-4)
    groups = figures.maps({"gallery": found})
    assert [len(group) for group in groups] == [3] * 4  # The input, the teacher, the student.
    assert "from 0 (violet) to 4 (yellow). Entropies" in figures.about_maps(found)

    experiment = Experiment(tags_config)
    student = experiment.network(experiment.config.student)
    networks = Ensemble([student], experiment.output), {"XCL": (student, experiment.output)}
    found = json.loads(json.dumps(diagnostics.gallery(experiment, *networks, "Empirical")))
    masked = np.array(found["inputs"]) == 0
    assert (
        masked.any() and (np.isnan(np.array(found["maps"]["XCL"]["spread"], float)) == masked).all()
    )
    assert len(figures.maps({"gallery": found})) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student.conformal": 0.8}, r"conformal=0.8.*positions \(16, 16\)"),
        ({"class_weight": (1.0, 2.0)}, r"class_weight=\(1.0, 2.0\) has 2 .* the data 5 classes"),
        ({"output": "categorical"}, r"train split: Labels are out of range: 255.*ignore_class"),
        ({"score": "rmse"}, r"expected one of \['accuracy', 'iou'\]"),
    ],
)
def test_what_does_not_fit_is_refused(scenes_config, change, message):
    (name, value), *_ = change.items()
    section, _, key = name.rpartition(".")
    with scenes_config.unlocked(), scenes_config.ignore_type():
        (scenes_config[section] if section else scenes_config)[key] = value
    with pytest.raises(ValueError, match=message):
        Experiment(scenes_config)


def test_more_answers_than_memory_holds_are_refused(scenes_config, monkeypatch):
    monkeypatch.setattr(row_labels, "_MOST_BYTES", 12 * 16 * 16 * 5 * 4 - 1)  # 12 test rows.
    with pytest.raises(ValueError, match=r"12 rows of the test split.*Give at most 11 rows"):
        Experiment(scenes_config)


@pytest.mark.slow
def test_wrong_labels_and_networks_are_refused_before_anything_is_written(
    scenes_config, tags_config, masks_config, run_script, tmp_path
):
    experiment = Experiment(scenes_config)

    def labelled(function):
        parts = (experiment.splits.train, experiment.splits.validation, experiment.splits.test)
        splits = [part.map(lambda x, y: (x, function(y))) for part in parts]
        return data.Splits(*splits, event_size=5)

    with pytest.raises(ValueError, match=r"\(16, 16, 5\); expected one class index.*tf.argmax"):
        Experiment(scenes_config, splits=labelled(lambda y: tf.one_hot(y % 5, 5)))
    scenes_config.score = "accuracy"
    one_label = Experiment(scenes_config, splits=labelled(lambda y: tf.cast(y[0, 0] % 5, tf.int32)))
    with pytest.raises(ValueError, match=r"shape \(\), and the student gives one answer for each"):
        one_label.network(one_label.config.student)
    scenes_config.score = "iou"
    tags_config.erm.cutmix_alpha = 1.0
    with pytest.raises(ValueError, match=r"erm.cutmix_alpha=1.0 cuts boxes.*\(6,\).*Set it to 0"):
        Experiment(tags_config)
    masks_config.erm.mixup_alpha = 0.4
    with pytest.raises(ValueError, match=r"erm mixes labels.*an unknown one is none.*mixup_alpha"):
        Experiment(masks_config)
    scenes_config.student.network = {"name": "tests.dense:pixels", "strides": 2}
    with pytest.raises(ValueError, match=r"student.network.*\(16, 16\), .*positions \(8, 8\)"):
        run_script("compare", scenes_config, tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_unets_have_as_many_weights_as_by_hand():
    # 3x3 of 1 to 2, 2 to 4, 4 to 8, 8 + 4 to 4 and 4 + 2 to 2, with two scales a filter.
    convolutions = [(1, 2), (2, 4), (4, 8), (12, 4), (6, 2)]
    expected = sum(9 * a * b + b + 2 * b for a, b in convolutions) + 2 * 3 + 3
    assert models.unet((8, 8, 1), 3, width=2).count_params() == expected
    with pytest.raises(ValueError, match=r"multiples of 4; got .*\(6, 8, 1\)"):
        models.unet((6, 8, 1), 3)
