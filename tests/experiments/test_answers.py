"""Answers to the training rows, asked once."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from by_hand import assert_arrays
from tiny import untuned

import ecl_tf
from ecl_tf.experiments import answers, experiment, stores

# On some processors last bits depend on a row's place in the batch.
ROUNDING = {"rtol": 0, "atol": 1e-6}
KD = {"sampler": "Empirical", "temperature": 4.0, "label_weight": 0.1}


@pytest.fixture
def built(digits_config):
    config = untuned(digits_config)
    config.data.train_size = 75
    config.student.train.batch_size = 32  # So that a pass leaves rows out.
    return experiment.Experiment(config)


@pytest.fixture
def teacher(built):
    members = [built.network(built.config.teacher) for _ in range(2)]
    return ecl_tf.Ensemble(members, built.output)


def test_a_student_is_that_of_the_teacher_itself(built, teacher, tmp_path, monkeypatch):
    live = built.train_distilled(teacher, 1, **KD).get_weights()
    stored = stores.Stores(built, teacher, tmp_path / "stores")
    store = stored.of(**KD)
    assert store is stored.of(sampler="Empirical") and not any(tmp_path.iterdir())

    def answer(_):
        raise AssertionError("The teacher was run again.")

    monkeypatch.setattr(teacher, "member_outputs", answer)
    found = built.train_distilled(teacher, 1, store=store, **KD).get_weights()
    assert_arrays(found, live, **ROUNDING)


def test_batches_go_on_after_any_step(built, teacher):
    known = answers.ask(built, teacher)
    rows = built.training_rows()
    whole = list(known.batches(**rows, seed=3).take(5).as_numpy_iterator())
    rest = list(known.batches(**rows, seed=3, first_step=3).take(2).as_numpy_iterator())
    for (samples, labels), (again, its_labels) in zip(whole[3:], rest, strict=True):
        np.testing.assert_array_equal(samples.inputs, again.inputs)
        np.testing.assert_array_equal(labels, its_labels)
        expected = teacher.member_outputs(samples.inputs)
        assert_arrays(again.member_outputs, expected, **ROUNDING)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"sampler": "Empirical"}, True),
        ({}, False),  # The default recipe samples.
        ({"sampler": "Empirical", "labels": {"mixup_alpha": 0.4}}, False),
    ],
)
def test_who_needs_no_more_than_the_training_rows(built, arguments, expected):
    assert answers.suffice(built, **arguments) == expected
    varied = dataclasses.replace(built.splits, augment=lambda x, seed: x)
    built.splits = varied
    assert not answers.suffice(built, **arguments)


def test_many_teachers_are_asked_without_a_warning_of_many_graphs(built, teacher, caplog):
    """Such as those of a comparison's splits."""
    caplog.handler.setLevel("WARNING")
    logger = tf.get_logger()
    logger.addHandler(caplog.handler)
    try:
        for _ in range(6):
            answers.ask(built, ecl_tf.Ensemble(teacher.members, built.output), rows=32)
    finally:
        logger.removeHandler(caplog.handler)
    assert "retracing" not in caplog.text


def test_a_teacher_that_is_not_finite_is_left_to_the_step(built, teacher):
    weights = teacher.members[0].weights
    weights[-1].assign(np.full(weights[-1].shape, np.nan))
    assert answers.ask(built, teacher) is None
