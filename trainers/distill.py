"""Distils one student by extracurricular learning, and exports it.

    python -m trainers.distill --config=configs/digits.py --workdir=runs/digits

takes the teacher from WORKDIR/teacher (see trainers.train_teacher), from --teacher, or
from config.teacher.pretrained, and writes WORKDIR/student.keras and WORKDIR/export, a
SavedModel for serving. A run that was killed continues from its last checkpoint with the
same command, and ends in the bits of one that was not; SIGTERM writes a checkpoint first,
and exits with code 143.
"""

import csv

import keras
from absl import app, flags

from ecl_tf import data
from trainers import fitting, runtime, strategies, teaching
from trainers.experiment import Experiment, save_model

flags.adopt_module_key_flags(runtime)
flags.adopt_module_key_flags(fitting)
flags.adopt_module_key_flags(teaching)


def main(_):
    config = runtime.CONFIG.value
    workdir = runtime.claim(runtime.WORKDIR.value, config)
    experiment = Experiment(config)
    teacher = teaching.load_teacher(experiment, workdir)
    path = workdir / "student.keras"
    if path.exists():
        runtime.announce(f"{path} is there already; nothing to train.")
        student = keras.models.load_model(path, compile=False)
    else:
        student = distill(experiment, teacher, workdir)
        save_model(student, path)
        fitting.forget(workdir / "checkpoints")
    for name, model in (("teacher", teacher), ("student", student)):
        result = experiment.evaluate(model, "validation")
        runtime.announce(f"{name}: validation " + runtime.describe(result))


def distill(experiment, teacher, workdir):
    section, seed = experiment.config.student, experiment.config.seed
    distiller = experiment.distiller(teacher, seed, **experiment.xcl_arguments())
    log = workdir / "log.csv"
    callbacks = []
    if strategies.is_chief():
        callbacks.append(keras.callbacks.CSVLogger(str(log), append=True))
    history = fitting.fit(
        distiller,
        lambda first_step: experiment.batches(section, seed, first_step),
        section.train,
        workdir / "checkpoints",
        callbacks,
        validation_data=data.evaluation_batches(
            experiment.splits.validation, section.train.batch_size
        ),
    )

    def write():
        # An epoch that ended after the last checkpoint before a kill was logged twice.
        with open(log, "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["epoch", *history.history])
            rows.writerows(zip(history.epoch, *history.history.values(), strict=True))
        distiller.export(workdir / "export")

    strategies.let_chief(write)
    return distiller.student


if __name__ == "__main__":
    app.run(main)
