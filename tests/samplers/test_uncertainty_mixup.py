"""UncertaintyMixup: which rows stay, what the others become, at what cost."""

import json
import math

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from scipy.special import softmax

from ecl_tf import Distiller, outputs, samplers, teachers, uncertainty
from ecl_tf.samplers import Mixup, UncertaintyMixup

ROWS, CLASSES = 8, 3
X = np.eye(ROWS, dtype="float32")  # Mixtures show who was mixed.


class Counting(keras.layers.Dense):
    """A dense layer that counts its calls."""

    calls = 0

    def call(self, inputs):
        self.calls += 1
        return super().call(inputs)


def network(seed):
    model = keras.Sequential([keras.Input((ROWS,)), Counting(CLASSES)])
    rng = np.random.default_rng(seed)
    model.set_weights([3 * rng.normal(size=(ROWS, CLASSES)), rng.normal(size=CLASSES)])
    model.layers[0].calls = 0
    return model


def networks():
    teacher = teachers.get(network(1), outputs.Categorical())
    return uncertainty.Networks(teacher, network(2), outputs.Categorical())


def entropy(seed):
    """Of each row of X, by SciPy."""
    weights, bias = network(seed).get_weights()
    return scipy.stats.entropy(softmax(X @ weights.astype("float64") + bias, -1), axis=-1)


@pytest.mark.parametrize(
    ("score", "asked"), [("student_uncertainty", 2), ("teacher_uncertainty", 1)]
)
@pytest.mark.parametrize(("clean", "count"), [(0.0, 0), (0.3, 2), (0.5, 4), (1.0, 8)])
def test_the_most_uncertain_rows_stay_and_the_others_are_mixed(clean, count, score, asked):
    samples = UncertaintyMixup(clean, score)(X, 3, networks())
    stays = np.isin(np.arange(ROWS), np.argsort(-entropy(asked))[:count])
    np.testing.assert_array_equal(samples.unmodified, stays)
    np.testing.assert_array_equal(samples.inputs[stays], X[stays])
    mixed = samples.inputs.numpy()[~stays]
    np.testing.assert_allclose(mixed.sum(-1), 1, rtol=1e-6)
    assert (np.count_nonzero(mixed, axis=-1) == 2).all()
    assert (mixed[:, ~stays].sum(-1) > 0).all()  # The row itself has a share.


def test_the_mixture_is_mixup_of_the_whole_batch():
    expected = Mixup(0.5)(X, 3).inputs
    samples = UncertaintyMixup(0.0, alpha=0.5)(X, 3, networks())
    np.testing.assert_array_equal(samples.inputs, expected)


def test_among_equal_scores_the_first_rows_stay():
    same = np.ones((ROWS, ROWS), "float32")
    samples = UncertaintyMixup(0.5)(same, 0, networks())
    assert samples.unmodified.numpy().tolist() == [True] * 4 + [False] * 4


def test_the_students_score_costs_one_pass_of_the_student_and_none_of_the_teacher():
    asked = networks()
    UncertaintyMixup()(X, 0, asked)
    assert asked.student.layers[0].calls == 1
    assert asked.teacher.members[0].layers[0].calls == 0


@pytest.mark.parametrize("label_weight", [0.0, 1.0])
def test_a_distiller_trains_with_it(label_weight):
    student = network(2)
    before = student.get_weights()
    distiller = Distiller(
        student, network(1), sampler="UncertaintyMixup", label_weight=label_weight
    )
    distiller.compile("sgd")
    history = distiller.fit(X, np.arange(ROWS) % CLASSES, batch_size=ROWS, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert not np.allclose(before[0], student.get_weights()[0])


def test_named_inputs_stay_or_are_mixed_together():
    inputs = {"a": X, "b": 2 * X[:, :, None]}

    def rising(answers):
        return tf.cast(tf.range(ROWS), tf.float32)

    samples = UncertaintyMixup(0.25, rising)(inputs, 1, networks())
    assert samples.unmodified.numpy().tolist() == [False] * 6 + [True] * 2
    np.testing.assert_allclose(samples.inputs["b"][..., 0], 2 * samples.inputs["a"])


@pytest.mark.parametrize("clean", [-0.1, 1.1, math.nan])
def test_the_clean_share_must_be_one(clean):
    with pytest.raises(ValueError, match=r"clean must be a share in \[0, 1\]"):
        UncertaintyMixup(clean)


def test_errors_come_before_the_first_step():
    with pytest.raises(ValueError, match="Unknown score 'entropy'"):
        UncertaintyMixup(score="entropy")
    with pytest.raises(ValueError, match="UncertaintyMixup asks teacher and student"):
        UncertaintyMixup()(X, 0)
    with pytest.raises(ValueError, match="is uint8"):
        UncertaintyMixup()(X.astype("uint8"), 0, networks())
    with pytest.raises(ValueError, match=r"single network.*two networks or more"):
        Distiller(network(1), network(2), sampler=UncertaintyMixup(score="disagreement"))


def test_configs_round_trip():
    sampler = UncertaintyMixup(0.25, "teacher_uncertainty", 0.5)
    expected = sampler(X, 1, networks()).inputs
    short = {"class_name": "UncertaintyMixup", "config": sampler.get_config()}
    full = keras.saving.serialize_keras_object(sampler)
    for config in (short, full):
        restored = samplers.get(json.loads(json.dumps(config)))
        assert restored.get_config() == sampler.get_config()
        np.testing.assert_array_equal(restored(X, 1, networks()).inputs, expected)
