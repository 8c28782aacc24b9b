"""Trains the teacher ensemble of an experiment.

    ecl-tf train-teacher --config=digits --workdir=runs/digits

writes WORKDIR/teacher/member_*.keras. Members that are there already are kept. The ensemble's
scores on validation and on training rows go to WORKDIR/evaluation.json, and a warning tells if it
is far over-fitted.

Before the training teacher and student take one step, so that a wrong setting is told at once;
--dry_run does no more than that, and says how long all would take.
"""

from . import command_line

command_line.takes("checkpoint_every", "dry_run", *command_line.TRACKERS)


def main(_):
    import ecl_tf
    from ecl_tf.experiments import (
        evaluation,
        other_data,
        quality,
        rehearsal,
        teaching,
        work_directory,
    )

    experiment, place = command_line.start()
    directory = command_line.TEACHER.value
    rehearsed = rehearsal.Rehearsal(command_line.DRY_RUN.value)
    with rehearsed.under_way():
        own = rehearsed.experiment(command_line.CONFIG.value, experiment.splits)
        teacher = rehearsed.teacher(own, place, directory)
        # The directory becomes this experiment's, whose student must be right, too.
        rehearsed.distillation(own, teacher, count=0)
    if command_line.DRY_RUN.value:
        return rehearsed.tell_plan()
    with work_directory.working_in(place, command_line.CONFIG.value) as workdir:
        other_data.require_same_rows(experiment, workdir)
        teacher = teaching.train_teacher(experiment, workdir, directory)
        kind = teacher.output_kind
        if getattr(kind, "stddev", 1.0) is not None:  # Of points the ensemble alone has a spread.
            members = enumerate(getattr(teacher, "members", []))  # Of networks.
            named = {f"member {n}": ecl_tf.Ensemble([member], kind) for n, member in members}
            experiment.tell_scores(named, "validation")
        evaluation.keep_teacher(workdir, quality.of_teacher(experiment, teacher))


if __name__ == "__main__":
    command_line.run(main)
