"""Distils one student by extracurricular learning, and exports it.

    python -m trainers.distill --config=configs/digits.py --workdir=runs/digits

takes the teacher from WORKDIR/teacher (see trainers.train_teacher), from --teacher, or
from config.teacher.pretrained, or with --replay=DIR what trainers.reinforce stored of it, and
writes WORKDIR/student.keras and WORKDIR/export, a SavedModel for serving. A run that was killed
continues from its last checkpoint with the same command, and ends in the bits of one that was
not; SIGTERM writes a checkpoint first, and exits with code 143.
"""

import csv
import functools

import keras
from absl import app, flags

from ecl_tf import data, metrics, replay
from trainers import fitting, runtime, strategies, teaching
from trainers.experiment import Experiment, save_model

REPLAY = flags.DEFINE_string(
    "replay", None, "Directory that trainers.reinforce wrote; no teacher is loaded then."
)
flags.adopt_module_key_flags(runtime)
flags.adopt_module_key_flags(fitting)
flags.adopt_module_key_flags(teaching)


def main(_):
    config = runtime.CONFIG.value
    workdir = runtime.claim(runtime.WORKDIR.value, config)
    experiment = Experiment(config)
    store = None if REPLAY.value is None else replay.Store(REPLAY.value)
    teacher = store.teacher if store else teaching.load_teacher(experiment, workdir)
    path = workdir / "student.keras"
    if path.exists():
        runtime.announce(f"{path} is there already; nothing to train.")
        student = keras.models.load_model(path, compile=False)
    else:
        student = distill(experiment, teacher, workdir, store)
        save_model(student, path)
        fitting.forget(workdir / "checkpoints")
    models = {"student": student} if store else {"teacher": teacher, "student": student}
    for name, model in models.items():
        result = experiment.evaluate(model, "validation")
        runtime.announce(f"{name}: validation " + runtime.describe(result))


def distill(experiment, teacher, workdir, store=None):
    section, seed = experiment.config.student, experiment.config.seed
    # Without the teacher validation has labels alone to compare with.
    label_metrics = [metrics.NegativeLogLikelihood(experiment.output)] if store else None
    distiller = experiment.distiller(
        teacher, seed, label_metrics=label_metrics, **experiment.xcl_arguments()
    )
    log = workdir / "log.csv"
    callbacks = []
    if strategies.is_chief():
        callbacks.append(keras.callbacks.CSVLogger(str(log), append=True))
    history = fitting.fit(
        distiller,
        functools.partial(_batches, experiment, store, distiller.sampler),
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


def _batches(experiment, store, sampler, first_step):
    """Training batches after some steps, live or stored."""
    section, seed = experiment.config.student, experiment.config.seed
    if store is None:
        return experiment.batches(section, seed, first_step)
    if store.batch_size != section.train.batch_size:
        raise ValueError(
            f"{store.directory} holds batches of {store.batch_size} rows, but "
            f"config.student.train.batch_size is {section.train.batch_size}. Give the same."
        )
    rows = experiment.training_rows()
    return store.batches(**rows, sampler=sampler, seed=seed, first_step=first_step)


if __name__ == "__main__":
    app.run(main)
