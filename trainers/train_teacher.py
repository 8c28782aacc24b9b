"""Trains the teacher ensemble of an experiment.

    ecl-tf train-teacher --config=digits --workdir=runs/digits

writes WORKDIR/teacher/member_*.keras. Members that are there already are kept.
"""

from . import command_line

command_line.takes("checkpoint_every")


def main(_):
    import ecl_tf
    from ecl_tf.experiments import teaching

    experiment, workdir = command_line.start()
    teacher = teaching.train_teacher(experiment, workdir, command_line.TEACHER.value)
    kind = teacher.output_kind
    models = {}
    if getattr(kind, "stddev", 1.0) is not None:  # Of points the ensemble alone has a spread.
        for number, member in enumerate(teacher.members):
            models[f"member {number}"] = ecl_tf.Ensemble([member], kind)
    experiment.tell_scores({**models, "ensemble": teacher}, "validation")


if __name__ == "__main__":
    command_line.run(main)
