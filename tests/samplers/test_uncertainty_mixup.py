"""UncertaintyMixup: which rows stay, what the others become, at what cost."""

import math

import numpy as np
import pytest
from by_hand import network

from ecl_tf import Distiller, outputs, teachers, uncertainty
from ecl_tf.samplers import Mixup, UncertaintyMixup

ROWS, CLASSES = 8, 3
X = np.eye(ROWS, dtype="float32")  # Mixtures show who was mixed.


def dense(seed):
    return network(seed, ROWS, CLASSES, scale=3.0)


def networks():
    teacher = teachers.get(dense(1), outputs.Categorical())
    return uncertainty.Networks(teacher, dense(2), outputs.Categorical())


@pytest.mark.parametrize(
    ("clean", "count", "score"),
    [
        *((c, n, "student_uncertainty") for c, n in ((0.0, 0), (0.3, 2), (1.0, 8))),
        (0.5, 4, "teacher_uncertainty"),
    ],
)
def test_the_most_uncertain_rows_stay_and_the_others_are_mixed(clean, count, score):
    scores = uncertainty.get(score)(uncertainty.Answers(networks(), X)).numpy()
    samples = UncertaintyMixup(clean, score, alpha=0.5)(X, 3, networks())
    stays = np.isin(np.arange(ROWS), np.argsort(-scores)[:count])
    np.testing.assert_array_equal(samples.unmodified, stays)
    np.testing.assert_array_equal(samples.inputs[stays], X[stays])
    np.testing.assert_array_equal(samples.inputs[~stays], Mixup(0.5)(X, 3).inputs[~stays])


def test_among_equal_scores_the_first_rows_stay():
    same = np.ones((ROWS, ROWS), "float32")
    samples = UncertaintyMixup(0.5)(same, 0, networks())
    assert samples.unmodified.numpy().tolist() == [True] * 4 + [False] * 4


def test_the_students_score_asks_no_teacher():
    teacherless = uncertainty.Networks(None, dense(2), outputs.Categorical())
    expected = UncertaintyMixup()(X, 0, networks()).inputs
    np.testing.assert_array_equal(UncertaintyMixup()(X, 0, teacherless).inputs, expected)


def test_a_distiller_trains_with_it():
    student = dense(2)
    before = student.get_weights()
    distiller = Distiller(student, dense(1), sampler="UncertaintyMixup", label_weight=1.0)
    distiller.compile("sgd", run_eagerly=True)
    history = distiller.fit(X, np.arange(ROWS) % CLASSES, batch_size=ROWS, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert not np.allclose(before[0], student.get_weights()[0])


def test_errors_come_before_the_first_step():
    for clean in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"clean must be a share in \[0, 1\]"):
            UncertaintyMixup(clean)
    with pytest.raises(ValueError, match="Unknown score 'entropy'"):
        UncertaintyMixup(score="entropy")
    with pytest.raises(ValueError, match="UncertaintyMixup asks teacher and student"):
        UncertaintyMixup()(X, 0)
    with pytest.raises(ValueError, match="is uint8"):
        UncertaintyMixup()(X.astype("uint8"), 0, networks())
    with pytest.raises(ValueError, match=r"single one.*two members or more"):
        Distiller(dense(1), dense(2), sampler=UncertaintyMixup(score="disagreement"))
