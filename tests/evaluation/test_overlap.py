"""Intersection over union against scikit-learn and Keras."""

import keras
import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from ecl_tf import evaluation, outputs

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(5, 4, 6, 4)).astype("float32")
LOGITS[..., 3] = -9.0  # Predicted nowhere, and labelled nowhere.
LABELS = RNG.integers(0, 3, (5, 4, 6))
ROW = np.broadcast_to(np.arange(5)[:, None, None], LABELS.shape)


def test_classes_against_scikit_learn_and_keras():
    output = outputs.Categorical(ignore_class=255)
    labels = np.where(RNG.uniform(size=LABELS.shape) < 0.3, 255, LABELS)
    known, found = labels != 255, LOGITS.argmax(-1)
    expected = jaccard_score(labels[known], found[known], average=None, labels=range(3))
    intersection, union = evaluation.overlaps(output, LOGITS, labels)
    np.testing.assert_allclose(intersection[:3] / union[:3], expected)
    assert union[3] == 0
    metric = keras.metrics.MeanIoU(4)
    metric.update_state(labels[known], found[known])
    iou = evaluation.mean_iou(output, LOGITS, labels)
    assert iou == pytest.approx(expected.mean()) == pytest.approx(float(metric.result()))
    assert evaluation.main_scores(output, LOGITS, labels, "iou")["iou"] == iou
    own = evaluation.overlaps(output, LOGITS, labels, ROW)
    np.testing.assert_array_equal(own[0][2], evaluation.overlaps(output, LOGITS[2], labels[2])[0])
    np.testing.assert_array_equal(np.sum(own, 1), [intersection, union])
    one_hot = np.eye(4)[LABELS]
    assert evaluation.mean_iou(output, LOGITS, one_hot) == evaluation.mean_iou(
        output, LOGITS, LABELS
    )


def test_yes_no_labels_against_scikit_learn():
    output = outputs.Bernoulli(ignore_class=-1)
    labels = RNG.integers(-1, 2, LOGITS.shape)
    ious = []
    for label in range(4):
        known = labels[..., label] >= 0
        found = LOGITS[..., label][known] > 0
        ious.append(jaccard_score(labels[..., label][known], found, zero_division=0))
    assert evaluation.mean_iou(output, LOGITS, labels) == pytest.approx(np.mean(ious))
    whole = evaluation.overlaps(output, LOGITS, labels)
    np.testing.assert_array_equal(
        np.sum(evaluation.overlaps(output, LOGITS, labels, ROW), 1), whole
    )
    with pytest.raises(ValueError, match="classes or yes/no labels"):
        evaluation.overlaps(outputs.Normal(2), LOGITS, labels)


@pytest.mark.parametrize("kind", [outputs.Categorical, outputs.Bernoulli])
def test_rows_without_answers_have_no_number_and_labels_that_are_none_are_refused(kind):
    output = kind(ignore_class=255)
    of_classes = output.family == "categorical"
    labels = LABELS if of_classes else np.eye(4)[LABELS].astype(int)
    unknown, broken = labels.copy(), LOGITS.copy()
    unknown[3, 0, 0], broken[3, 0, 0] = 255, np.nan
    # Nobody asks for an answer there.
    assert np.isfinite(evaluation.mean_iou(output, broken, unknown))
    assert np.isnan(evaluation.mean_iou(output, broken, labels))
    found, whole = (evaluation.overlaps(output, each, labels, ROW) for each in (broken, LOGITS))
    others = [0, 1, 2, 4]
    assert np.isnan(np.asarray(found)[:, 3]).all()
    np.testing.assert_array_equal(np.take(found, others, 1), np.take(whole, others, 1))
    for wrong in (7, -1):
        labels[1, 0, 0] = wrong
        for rows in (ROW, None):
            with pytest.raises(ValueError, match=f"out of range: {wrong}"):
                evaluation.overlaps(output, LOGITS, labels, rows)
