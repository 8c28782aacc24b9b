"""Distils one student by extracurricular learning, and exports it.

    python -m trainers.distill --config=configs/digits.py --workdir=runs/digits

takes the teacher from WORKDIR/teacher (see trainers.train_teacher), from --teacher, or
from config.teacher.pretrained, and writes WORKDIR/student.keras and WORKDIR/export, a
SavedModel for serving. A run that was stopped continues from its last epoch.
"""

import keras
from absl import app, flags

from ecl_tf import data
from trainers import runtime, teaching
from trainers.experiment import Experiment, save_model

flags.adopt_module_key_flags(runtime)
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
    for name, model in (("teacher", teacher), ("student", student)):
        result = experiment.evaluate(model, "validation")
        runtime.announce(f"{name}: validation " + runtime.describe(result))


def distill(experiment, teacher, workdir):
    train = experiment.config.student.train
    distiller = experiment.distiller(teacher, experiment.config.seed, **experiment.xcl_arguments())
    steps_per_epoch = max(train.steps // train.epochs, 1)
    distiller.fit(
        experiment.batches(experiment.config.student, experiment.config.seed),
        epochs=train.steps // steps_per_epoch,
        steps_per_epoch=steps_per_epoch,
        validation_data=data.evaluation_batches(experiment.splits.validation, train.batch_size),
        verbose=runtime.verbosity(),
        shuffle=False,
        callbacks=[
            keras.callbacks.BackupAndRestore(str(workdir / "backup")),
            keras.callbacks.CSVLogger(str(workdir / "log.csv"), append=True),
        ],
    )
    distiller.export(workdir / "export")
    return distiller.student


if __name__ == "__main__":
    app.run(main)
