"""Students that replay the teacher's answers."""

import numpy as np
import pytest
from by_hand import assert_arrays
from tiny import untuned

import ecl_tf
from ecl_tf.experiments import experiment, stores


@pytest.fixture
def config(digits_config):
    digits_config.replay_epochs = 3
    digits_config.teacher.calibrate = False
    return untuned(digits_config)


def untrained(built):
    return ecl_tf.Ensemble([built.network(built.config.teacher)], built.output)


@pytest.mark.slow
def test_a_replaying_student_runs_no_teacher(config, tmp_path, eagerly, monkeypatch):
    config.student.train.update({"steps": 4, "steps_per_execution": 2})
    built = experiment.Experiment(config)
    teacher = untrained(built)
    stored = stores.Stores(built, teacher, tmp_path / "replay")
    arguments = built.xcl_arguments()
    store = stored.of(**arguments)

    def answer(_):
        raise AssertionError("The teacher was run.")

    monkeypatch.setattr(teacher, "member_outputs", answer)
    monkeypatch.setattr(teacher, "distribution", answer)
    one, again, other = (
        built.train_distilled(store.teacher, seed, store=store, **arguments).get_weights()
        for seed in (1, 1, 2)
    )
    assert_arrays(one, again)
    assert not all(map(np.array_equal, one, other))


MIXUP = {"class_name": "Mixup", "config": {"alpha": 1.0}}


@pytest.mark.parametrize(
    ("arguments", "is_stored"),
    [
        ({"sampler": "Empirical"}, True),
        ({"sampler": "Empirical", "label_weight": 0.1, "temperature": 4.0}, True),
        ({"sampler": MIXUP}, True),
        ({"sampler": {"class_name": "Uncertain", "config": {}}}, True),
        # Labels are needed where there are no samples.
        ({"sampler": MIXUP, "label_weight": 0.1}, False),
        ({"sampler": None, "label_weight": 0.1, "label_rows": "unmodified"}, True),
        ({"sampler": "Empirical", "labels": {"mixup_alpha": 0.4}}, False),
        # The mixing itself asks the teacher.
        ({"sampler": "UncertaintyMixup"}, False),
    ],
)
def test_what_can_be_replayed(config, tmp_path, monkeypatch, arguments, is_stored):
    monkeypatch.setattr(stores, "record", lambda teacher, directory, plan: plan)
    built = experiment.Experiment(config)
    object.__setattr__(built.splits, "event_size", 100)  # A frozen dataclass.
    plan = stores.Stores(built, None, tmp_path).of(**arguments)
    assert (plan is not None) == is_stored
    assert plan is None or plan["top_k"] == 100  # The probabilities of all classes.
    config.replay_epochs = 0
    assert stores.planned(experiment.Experiment(config), **arguments) is None
