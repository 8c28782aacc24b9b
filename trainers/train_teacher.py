"""Trains the teacher ensemble of an experiment.

    ecl-tf train-teacher --config=digits --workdir=runs/digits

writes WORKDIR/teacher/member_*.keras. Members that are there already are kept.
"""

from absl import flags

from . import command_line

for _name in ("config", "workdir", "strategy", "teacher", "checkpoint_every"):
    flags.declare_key_flag(_name)
flags.mark_flag_as_required("config")


def main(_):
    import ecl_tf
    from ecl_tf.experiments import progress, strategies, teaching, work_directory
    from ecl_tf.experiments.experiment import Experiment

    strategies.use(command_line.STRATEGY.value)
    config = command_line.CONFIG.value
    every = command_line.interval(command_line.CHECKPOINT_EVERY.value)
    experiment = Experiment(config, every)  # Before a wrong setting claims the directory.
    workdir = work_directory.claim(command_line.WORKDIR.value, config)
    teacher = teaching.train_teacher(experiment, workdir, command_line.TEACHER.value)
    kind = teacher.output_kind
    if getattr(kind, "stddev", 1.0) is not None:  # Of points the ensemble alone has a spread.
        for number, member in enumerate(teacher.members):
            result = experiment.evaluate(ecl_tf.Ensemble([member], kind), "validation")
            progress.announce(f"member {number}: validation " + progress.describe(result))
    result = experiment.evaluate(teacher, "validation")
    progress.announce("ensemble: validation " + progress.describe(result))


if __name__ == "__main__":
    command_line.run(main)
