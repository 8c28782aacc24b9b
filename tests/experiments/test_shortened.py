"""Short trainings of `headroom`: the schedule goes over all of their steps."""

from configs import digits
from ecl_tf.experiments import headroom, settings


def test_the_schedule_is_fitted_to_the_steps():
    config = digits.get_config("one_split")  # Of 2,000 steps.
    config.student.train.schedule = {"name": "cosine", "warmup_steps": 100}
    for given in (2000, None):  # None: as many as the rows ask for.
        with config.unlocked(), config.ignore_type():
            config.student.train.steps = given
        train = settings.parse(headroom.shortened(config, 500, 2000)).student.train
        assert (train.steps, train.epochs, train.schedule.warmup_steps) == (500, 1, 25)
    with config.unlocked(), config.ignore_type():
        config.student.train.update({"steps": "auto", "max_steps": 20_000})
        config.student.train.schedule = {"name": "restarts", "min_gain": 0.05}
    train = settings.parse(headroom.shortened(config, 500, 14_000)).student.train
    assert (train.steps, train.max_steps, train.schedule) == (500, None, settings.Cosine())
    assert config.student.train.steps == "auto"
