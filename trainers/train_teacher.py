"""Trains the teacher ensemble of an experiment.

    python -m trainers.train_teacher --config=configs/digits.py --workdir=runs/digits

writes WORKDIR/teacher/member_*.keras. Members that are there already are kept.
"""

from absl import app, flags

from trainers import command_line

for _name in ("config", "workdir", "strategy", "teacher", "checkpoint_every"):
    flags.declare_key_flag(_name)
flags.mark_flags_as_required(["config", "workdir"])


def main(_):
    import ecl_tf
    from ecl_tf.experiments import teaching, work_directory
    from ecl_tf.experiments.experiment import Experiment

    config = command_line.CONFIG.value
    experiment = Experiment(config)  # Before a wrong setting claims the directory.
    workdir = work_directory.claim(command_line.WORKDIR.value, config)
    teacher = teaching.train_teacher(experiment, workdir)
    kind = teacher.output_kind
    if getattr(kind, "stddev", 1.0) is not None:  # Of points the ensemble alone has a spread.
        for number, member in enumerate(teacher.members):
            result = experiment.evaluate(ecl_tf.Ensemble([member], kind), "validation")
            work_directory.announce(
                f"member {number}: validation " + work_directory.describe(result)
            )
    result = experiment.evaluate(teacher, "validation")
    work_directory.announce("ensemble: validation " + work_directory.describe(result))


if __name__ == "__main__":
    app.run(main)
