"""A few members of an ensemble teach in a step: which, to what end, and what takes all of them."""

import keras
import numpy as np
import pytest
from by_hand import (
    RATE,
    SIZE,
    Recorder,
    assert_arrays,
    linear,
    logits,
    network,
    numbers,
    sgd,
    softmax,
    weights,
)

import ecl_tf
from ecl_tf import Distiller, Ensemble, outputs, resume

X = numbers(16, SIZE)
MEMBERS, STUDENT = [weights(seed=seed) for seed in (1, 2, 3)], weights(seed=4)


def steps_of(members_per_step, members=MEMBERS, student=STUDENT, output="categorical"):
    """A function from a seed to the student's weights after one step on X."""
    teacher = Ensemble(
        [linear(each) for each in members], output, members_per_step=members_per_step
    )
    distiller = Distiller(linear(student), teacher, output=output, sampler="Empirical")
    distiller.compile(keras.optimizers.SGD(RATE), run_eagerly=True)

    def after_a_step(seed):
        distiller.seed = seed
        distiller.step.assign(0)
        distiller.student.set_weights(student)
        distiller.train_on_batch(X)
        return distiller.student.get_weights()

    return after_a_step


@pytest.mark.slow
def test_a_step_is_that_of_drawn_members_and_the_mean_of_them_the_ensembles():
    p, q = [softmax(logits(X, each)) for each in MEMBERS], softmax(logits(X, STUDENT))
    for count in (1, 2):
        possible = [sgd(X, STUDENT, q - (p[m] + p[(m + count - 1) % 3]) / 2) for m in range(3)]
        drawn, after_a_step = [], steps_of(count)
        for seed in range(10):
            kernel, _ = after_a_step(seed)
            distances = [np.abs(kernel - wanted).max() for wanted, _ in possible]
            assert min(distances) < 1e-5
            drawn.append(int(np.argmin(distances)))
        assert set(drawn) == {0, 1, 2}
        mean = [np.mean(parts, 0) for parts in zip(*possible, strict=True)]
        assert_arrays(steps_of(None)(0), mean, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_mean_of_the_steps_is_the_ensembles_for_every_output(subtests):
    members, student = [weights(4, seed=seed) for seed in (1, 2)], weights(4, seed=3)
    for output in ("categorical", "bernoulli", outputs.Normal(2)):
        with subtests.test(output=output):
            after_a_step, steps = steps_of(1, members, student, output), {}
            for seed in range(12):
                its = after_a_step(seed)
                steps[its[0].tobytes()] = its
            assert len(steps) == 2
            mean = [np.mean(parts, 0) for parts in zip(*steps.values(), strict=True)]
            its = steps_of(None, members, student, output)(0)
            assert_arrays(its, mean, rtol=1e-4, atol=1e-5)


def counted(members_per_step, **arguments):
    """A distiller and the recorders of its three members."""
    counters = [Recorder() for _ in MEMBERS]
    members = [linear(each, c) for each, c in zip(MEMBERS, counters, strict=True)]
    teacher = Ensemble(members, "categorical", members_per_step=members_per_step)
    distiller = Distiller(linear(STUDENT), teacher, **arguments)
    distiller.compile("sgd", run_eagerly=True)
    return distiller, counters


@pytest.mark.parametrize(
    ("sampler", "asked"),
    [("Mixup", 1), (ecl_tf.samplers.Uncertain(score="disagreement"), 3)],
    ids=["no score", "disagreement"],
)
def test_a_step_asks_one_member_unless_the_sampler_has_asked_all(sampler, asked):
    distiller, counters = counted(1, sampler=sampler)
    distiller.fit(X, batch_size=16, verbose=0)
    assert sum(len(each.batches) for each in counters) == asked


def test_evaluation_is_against_all_members():
    losses = []
    for count in (1, None):
        distiller, counters = counted(count)
        losses.append(distiller.evaluate(X, batch_size=16, verbose=0, return_dict=True))
        assert [len(each.batches) for each in counters] == [1, 1, 1]
    assert losses[0] == losses[1]


def test_a_continued_training_draws_the_same_members(tmp_path):
    def batches(first_step):
        data = ecl_tf.data.splits.shuffled_batches(X, 4, 0, first_step)
        return ecl_tf.data.splits.endless(data)

    def run(directory, steps=6):
        teacher = Ensemble([linear(each) for each in MEMBERS], "categorical", members_per_step=1)
        distiller = Distiller(linear(STUDENT), teacher, sampler="Empirical")
        distiller.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
        resume.fit(distiller, batches, directory, steps=steps, every_steps=2, verbose=0)
        return distiller.student.get_weights()

    whole = run(tmp_path / "whole")
    (tmp_path / "parts").mkdir()
    (tmp_path / "whole" / "step-4.npz").rename(tmp_path / "parts" / "step-4.npz")
    assert_arrays(run(tmp_path / "parts"), whole)


def test_the_setting_is_saved_and_outlives_a_calibration(tmp_path):
    members = [network(1), network(2)]
    teacher = Ensemble(members, "categorical", members_per_step=1)
    teacher(X)
    teacher.save(tmp_path / "teacher.keras")
    assert keras.saving.load_model(tmp_path / "teacher.keras").members_per_step == 1
    labels = np.arange(len(X)) % 3
    assert ecl_tf.calibrated(teacher, X, labels).members_per_step == 1
    assert "members_per_step" not in Ensemble(members, "categorical").get_config()


@pytest.mark.parametrize(
    ("count", "output", "message"),
    [
        (0, "categorical", "members_per_step must be a whole number >= 1"),
        (3, "categorical", "members_per_step must be at most the number of members, 2; got 3"),
        (1, outputs.Point(3), "gives points and no spread"),
    ],
)
def test_bad_numbers_are_refused(count, output, message):
    with pytest.raises(ValueError, match=message):
        Ensemble([network(1), network(2)], output, members_per_step=count)
