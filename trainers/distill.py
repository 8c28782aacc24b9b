"""Distils one student by extracurricular learning, and exports it.

    ecl-tf distill --config=digits --workdir=runs/digits

takes the teacher from WORKDIR/teacher (see `ecl-tf train-teacher`), from --teacher, or
from config.teacher.pretrained, or with --replay=DIR what `ecl-tf reinforce` stored of it, and
writes WORKDIR/student.keras, WORKDIR/export, a SavedModel for serving, and WORKDIR/best: the
student in the formats of config.export, with a model card. Before that the student takes one step,
so that a wrong setting is told at once; --dry_run does no more than that, and says how long all
would take.

A run that was killed continues from its last checkpoint with the same command, and ends in the
bits of one that was not; SIGTERM and Ctrl-C write a checkpoint first, and exit with the codes 143
and 130.
"""

from absl import flags

from . import command_line

REPLAY = flags.DEFINE_string(
    "replay", None, "Directory that `ecl-tf reinforce` wrote; no teacher is loaded then."
)
command_line.takes("checkpoint_every", "dry_run", *command_line.TRACKERS)


def main(_):
    from ecl_tf import replay, samplers
    from ecl_tf.experiments import (
        best,
        distillation,
        evaluation,
        fitting,
        other_data,
        progress,
        quality,
        rehearsal,
        teaching,
        work_directory,
    )
    from ecl_tf.experiments.experiment import save_model

    experiment, place = command_line.start()
    store = replay.Store(REPLAY.value) if REPLAY.value else None
    directory = command_line.TEACHER.value
    if store and directory:
        raise ValueError(
            f"--replay={REPLAY.value} has the answers of a teacher, and so --teacher={directory} "
            "would not be asked. Leave one of them away."
        )
    path = place / "student.keras"
    rehearsed = rehearsal.Rehearsal(command_line.DRY_RUN.value)
    best.require(place, experiment.config)
    if not path.exists():
        with rehearsed.under_way():
            own = rehearsed.experiment(command_line.CONFIG.value, experiment.splits)
            teacher = store.teacher if store else rehearsed.load_teacher(own, place, directory)
            rehearsed.export(own)
            rehearsed.distillation(own, teacher, store)
    if command_line.DRY_RUN.value:
        return rehearsed.tell_plan()
    with work_directory.working_in(place, command_line.CONFIG.value) as workdir:
        other_data.require_same_rows(experiment, workdir)
        teacher = store.teacher if store else teaching.load_teacher(experiment, workdir, directory)
        work_directory.require_same(workdir, teacher=teacher.fingerprint())
        if not store:
            of_teacher = quality.of_teacher(experiment, teacher)
            evaluation.keep_teacher(workdir, of_teacher)
        if path.exists():
            progress.announce(f"{path} is there already; nothing to train.")
            student = distillation.load_model(path, experiment.output)
        else:
            student = distillation.distill(experiment, teacher, workdir, store)
            save_model(student, path, experiment.output)
            fitting.forget(workdir / "checkpoints" / "student")
        if not store:  # Once more, beside the student's.
            progress.announce_scores("teacher", "validation", of_teacher["validation"])
        scores = experiment.tell_scores({"student": student}, "validation")
        chosen = best.Chosen(
            path=path,
            workdir=workdir,
            output=experiment.output,
            method="XCL",
            label=type(samplers.get(experiment.config.xcl.sampler)).__name__,
            seed=experiment.config.seed,
            scores={"validation": scores["student"]},
            teacher={} if store else of_teacher,
            fingerprint=teacher.fingerprint(),
            among="No other student was trained beside it",
        )

        def its_teacher(own):
            return teaching.load_teacher(own, workdir, directory)

        command = command_line.written("distill")
        best.keep(lambda: experiment, workdir, chosen, command, None if store else its_teacher)
        evaluation.keep(workdir, {"validation": scores})
        models = {"student": student} if store else {"student": student, "teacher": teacher}
        evaluation.log_pictures(experiment, workdir, models, "validation")


if __name__ == "__main__":
    command_line.run(main)
