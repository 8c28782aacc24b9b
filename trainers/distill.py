"""Distils one student by extracurricular learning, and exports it.

    ecl-tf distill --config=digits --workdir=runs/digits

takes the teacher from WORKDIR/teacher (see `ecl-tf train-teacher`), from --teacher, or
from config.teacher.pretrained, or with --replay=DIR what `ecl-tf reinforce` stored of it, and
writes WORKDIR/student.keras and WORKDIR/export, a SavedModel for serving. A run that was killed
continues from its last checkpoint with the same command, and ends in the bits of one that was
not; SIGTERM writes a checkpoint first, and exits with code 143.
"""

from absl import flags

from . import command_line

REPLAY = flags.DEFINE_string(
    "replay", None, "Directory that `ecl-tf reinforce` wrote; no teacher is loaded then."
)
command_line.takes("checkpoint_every")


def main(_):
    from ecl_tf import replay
    from ecl_tf.experiments import distillation, fitting, progress, teaching, work_directory
    from ecl_tf.experiments.experiment import save_model

    experiment, workdir = command_line.start()
    store = replay.Store(REPLAY.value) if REPLAY.value else None
    directory = command_line.TEACHER.value
    teacher = store.teacher if store else teaching.load_teacher(experiment, workdir, directory)
    work_directory.require_same(workdir, teacher=teacher.fingerprint())
    path = workdir / "student.keras"
    if path.exists():
        progress.announce(f"{path} is there already; nothing to train.")
        student = distillation.load_model(path, experiment.output)
    else:
        student = distillation.distill(experiment, teacher, workdir, store)
        save_model(student, path)
        fitting.forget(workdir / "checkpoints" / "student")
    models = {"student": student} if store else {"teacher": teacher, "student": student}
    experiment.tell_scores(models, "validation")


if __name__ == "__main__":
    command_line.run(main)
