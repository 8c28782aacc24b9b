"""How long `train.steps="auto"` trains, and what has to fall for it to go on."""

import dataclasses
import re

import keras
import numpy as np
import processes
import pytest
from by_hand import assert_arrays, kl
from scipy.special import log_softmax
from tiny import rows, untuned

import ecl_tf
from ecl_tf import replay, samplers
from ecl_tf.experiments import lengths, rehearsal, settings, stopping_score, work_directory
from ecl_tf.experiments.experiment import Experiment

AUTO = {"steps": "auto", "learning_rate": 0.01}


@pytest.mark.parametrize(
    ("given", "rows", "first", "steps"),
    [
        ({}, 200, 500, 500 * 63),
        ({"steps_per_execution": 20}, 55_000, 1720, 1720 * 63),  # 2 x 859, rounded up.
        ({"max_steps": 20_000}, 55_000, 1718, 1718 * 7),  # 15 times is too much.
        ({"max_steps": 1000}, 200, 142, 142 * 7),  # A seventh.
        ({"max_steps": 1000, "steps_per_execution": 20}, 200, 140, 140 * 7),
        ({"schedule": settings.Restarts(first_cycle=30)}, 55_000, 30, 30 * 63),
        ({"schedule": settings.Restarts(first_cycle=30), "max_steps": 100}, 200, 30, 30 * 3),
    ],
)
def test_the_first_cycle_and_all_of_them(given, rows, first, steps):
    found = lengths.resolved("train", settings.Train(**AUTO, **given), rows)
    assert (found.schedule.first_cycle, found.steps) == (first, steps)
    assert found.epochs * first == steps
    assert lengths.least_steps(found) == 3 * first
    assert lengths.warm_restarts(found).max_steps == steps


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 100, "max_steps": 200}, 'train.max_steps belongs to train.steps="auto", and'),
        ({"steps": 100, "schedule": settings.Restarts()}, 'schedule.name="restarts" belongs to'),
        (
            {"schedule": settings.Steps(at=(0.5,))},
            "can't be combined with train.schedule.name=\"st",
        ),
        ({"schedule": settings.Cosine(warmup_steps=5)}, "combined with train.schedule.warmup_ste"),
        ({"max_steps": 100, "steps_per_execution": 20}, "Give 140 or more"),
        (
            {"max_steps": 20, "schedule": settings.Restarts(first_cycle=30)},
            "less than the first cycle, 30 st",
        ),
        (
            {"schedule": settings.Restarts(first_cycle=30), "steps_per_execution": 20},
            "first_cycle=30 must be a multiple of its steps_per_execution=20",
        ),
        (
            {"schedule": settings.Restarts(first_cycle=100_000)},
            "train.schedule={'first_cycle': 100000} can't",
        ),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        lengths.resolved("train", settings.Train(**{**AUTO, **given}), 200)


def test_data_of_an_unknown_length_needs_a_first_cycle():
    with pytest.raises(ValueError, match=r"length is not known. Give train.schedule="):
        lengths.resolved("train", settings.Train(**AUTO), -2)


@pytest.fixture
def experiment(digits_config):
    with digits_config.unlocked():
        digits_config.student.train.update({"steps": "auto", "max_steps": 70})
    return Experiment(digits_config)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_the_loss_on_validation_inputs_by_hand(experiment, subtests):
    """Of labels, of a teacher, of stored answers, and of samples in the place of such inputs."""
    x, y = rows(experiment.splits.validation)
    x = x.astype("float32") / 255.0 if x.dtype == np.uint8 else x
    train = experiment.config.student.train
    network = experiment.network(experiment.config.student)
    teacher = ecl_tf.Ensemble([experiment.network(experiment.config.teacher)], experiment.output)
    likelihoods = log_softmax(network(x).numpy(), -1)[np.arange(len(y)), y]

    with subtests.test("labels"):
        network.compile("sgd", ecl_tf.losses.NegativeLogLikelihood("categorical"))
        found = stopping_score.on_labels(experiment, train)(network)
        assert found == pytest.approx(-likelihoods.mean(), rel=1e-5)

    arguments = {"temperature": 2.0, "label_weight": 0.5}
    distiller = ecl_tf.Distiller(network, teacher, **arguments)
    with subtests.test("teacher"):
        score = stopping_score.of_distillation(experiment, distiller, teacher)
        softened = kl(teacher(x).numpy() / 2.0, network(x).numpy() / 2.0)
        wanted = 4.0 * softened.mean() - 0.5 * likelihoods.mean()
        assert score(None) == pytest.approx(wanted, rel=1e-4)

    recorded = replay.RecordedTeacher(experiment.output, "Mixup", 64, "fingerprint")
    stored = ecl_tf.Distiller(network, recorded, sampler="Mixup")
    with subtests.test("stored answers, and the teacher beside"):
        score = stopping_score.of_distillation(experiment, stored, teacher)
        assert score(None) == pytest.approx(
            kl(teacher(x).numpy(), network(x).numpy()).mean(), rel=1e-4
        )
    with subtests.test("stored answers alone"):
        score = stopping_score.of_distillation(experiment, stored, recorded)
        assert score(None) == pytest.approx(-likelihoods.mean(), rel=1e-5)

    experiment.splits = dataclasses.replace(experiment.splits, validation=experiment.splits.train)
    with subtests.test("fresh samples"):
        score = stopping_score.of_distillation(experiment, distiller, teacher)
        batches = [x for (x,) in stopping_score._fresh_samples(experiment, distiller.sampler)]
        drawn = np.concatenate(batches)
        assert len(drawn) == 2048
        softened = kl(teacher(drawn).numpy() / 2.0, network(drawn).numpy() / 2.0)
        assert score(None) == pytest.approx(4.0 * softened.mean(), rel=1e-4)
        first, _ = next(iter(experiment.batches(experiment.config.student, 0)))
        trained_on = samplers.get(None)(first, 0).inputs.numpy()
        assert not (drawn[:64] == trained_on).all((1, 2, 3)).any()
    with subtests.test("nothing to measure with"):
        with pytest.raises(ValueError, match="needs validation data, or the teacher itself"):
            stopping_score.of_distillation(experiment, stored, recorded)
        with pytest.raises(ValueError, match="training on labels needs validation data"):
            stopping_score.on_labels(experiment, train)
        asking = ecl_tf.Distiller(network, teacher, sampler="UncertaintyMixup")
        with pytest.raises(ValueError, match="UncertaintyMixup asks the networks"):
            stopping_score.of_distillation(experiment, asking, teacher)
        with pytest.raises(ValueError, match="Embedded mixes its own within the networks"):
            stopping_score._fresh_samples(experiment, samplers.Embedded())


def test_of_numbers_it_is_the_error(rotated_digits_config):
    """In degrees, of teachers, ERM and distillation alike."""
    with rotated_digits_config.unlocked():
        rotated_digits_config.student.train.update({"steps": "auto", "max_steps": 70})
    experiment = Experiment(rotated_digits_config)
    x, y = rows(experiment.splits.validation)
    x = x.astype("float32") / 255.0 if x.dtype == np.uint8 else x
    network = experiment.network(experiment.config.student)
    mean = experiment.output(network(x)).mean().numpy()
    wanted = np.degrees(np.abs(mean - y.reshape(mean.shape))).mean()
    on_labels = stopping_score.on_labels(experiment, experiment.config.student.train)
    assert on_labels(network) == pytest.approx(wanted, rel=1e-4)
    teacher = replay.RecordedTeacher(experiment.output, "Mixup", 64, "fingerprint")
    distiller = ecl_tf.Distiller(network, teacher, output=experiment.output, sampler="Mixup")
    score = stopping_score.of_distillation(experiment, distiller, teacher)
    assert score(distiller) == pytest.approx(wanted, rel=1e-4)


def test_a_plan_has_the_fewest_and_the_most_steps(experiment, capsys):
    cost = rehearsal._Cost(beginning=1.0, step=0.5)
    planned = rehearsal.Rehearsal()
    planned._plan.append(rehearsal._Item("XCL", 2, experiment.config.student.train, cost))
    planned.tell_plan()
    printed = capsys.readouterr().out
    assert "2 x XCL, auto: 30 to 70 steps: 32 to 72 seconds\n" in printed
    assert "In all about 32 to 72 seconds" in printed


@pytest.mark.slow
def test_compare_ends_every_training_by_one_rule(
    run_script, digits_config, tmp_path, capsys, eagerly
):
    """With stored answers, and a teacher of the same rule."""
    config = untuned(digits_config)
    config.replay_epochs = 2
    with config.unlocked():
        for section in (config.teacher, config.student):
            section.train.update({"steps": "auto", "max_steps": 14, "steps_per_execution": 1})
    run_script("compare", config, tmp_path / "run", dry_run=True)
    planned = re.findall(r"\d x (.+), auto: 6 to 14 steps: \d", capsys.readouterr().out)
    assert sorted(planned) == ["ERM", "XCL", "standard KD", "teacher", "tuned KD"]
    run_script("compare", config, tmp_path / "run", rehearses=False, draws=False, ships=False)
    printed = capsys.readouterr().out
    results = work_directory.read_json(tmp_path / "run" / "results.json")
    assert results["ends_by_itself"] and results["student_steps"] == 14
    ends = re.findall(r"Cycle (\d) of at most 3 ended at step (\d+): .*?(Next|stops|last)", printed)
    by_training = []
    for cycle, step, what in ends:
        assert int(step) == 2 * (2 ** int(cycle) - 1)
        if what != "Next":
            by_training.append(int(step))
    _, *students = by_training
    # Standard KD that is tuned KD's choice is trained once.
    steps = {run["student"]: run["steps"] for run in results["runs"].values()}
    assert students == list(steps.values())
    table = (tmp_path / "run" / "table.md").read_text()
    header, _, *lines = table[table.index("| method |") :].splitlines()
    place = header.split("|").index(" steps ")
    of_final = [results["runs"][keys[0]]["steps"] for keys in results["final"].values()]
    assert [int(line.split("|")[place]) for line in lines[1 : 1 + len(of_final)]] == of_final
    assert "until it got no better on validation data, at most 14 steps each" in lines[-1]
    student = tmp_path / "run/students" / next(iter(results["runs"].values()))["student"]
    assert isinstance(keras.models.load_model(student), keras.Model)


@pytest.mark.slow
def test_two_workers_end_at_the_step_of_one_process():
    """By a loss on labels, and by a divergence."""
    script = "train_until_it_helps_no_more.py"

    alone, workers = processes.start(script), processes.start_workers(2, script)
    one, *both = processes.results([alone, *workers])
    assert {name: training["steps"] for name, training in one.items()} == {
        "teacher": 30,
        "student": 70,
    }
    for worker in both:
        for name, training in one.items():
            assert worker[name]["steps"] == training["steps"], name
            assert_arrays(worker[name]["weights"], training["weights"], atol=1e-5, err_msg=name)
