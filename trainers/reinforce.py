"""Stores a teacher's answers on the samples of some passes, for students to replay.

    ecl-tf reinforce --config=digits --workdir=runs/digits --epochs=10
    ecl-tf distill --config=digits --workdir=runs/student --replay=runs/digits/replay

takes the teacher from WORKDIR/teacher, from --teacher, or from config.teacher.pretrained, runs
it once over 10 passes of the training data, augmented and sampled as config.xcl.sampler says,
and writes WORKDIR/replay. Any number of students of any length are then distilled without the
teacher. A recording that was killed goes on where it was; under --strategy=multi_worker the
workers write different shards. The teacher's scores go to WORKDIR/evaluation.json.

--dry_run only says how large and how long it would be, --verify=N recomputes N stored rows.
"""

from absl import flags

from . import command_line

EPOCHS = flags.DEFINE_integer("epochs", 10, "Passes over the training data.", lower_bound=1)
TOP_K = flags.DEFINE_integer(
    "top_k", 10, "Classes whose probabilities are stored one by one.", lower_bound=1
)
SHARDS = flags.DEFINE_integer("shards", 8, "Files.", lower_bound=1)
VERIFY = flags.DEFINE_integer(
    "verify", 0, "Recompute so many stored rows, and fail if they differ.", lower_bound=0
)
command_line.takes("dry_run")


def main(_):
    from ecl_tf import replay
    from ecl_tf.experiments import (
        evaluation,
        other_data,
        progress,
        quality,
        refusals,
        stores,
        teaching,
        work_directory,
    )

    experiment, place = command_line.start(shares=bool(VERIFY.value))
    source = experiment.training_rows()  # Refuses a stream before the teacher is loaded.
    teacher = teaching.load_teacher(experiment, place, command_line.TEACHER.value)
    directory = place / "replay"
    if VERIFY.value:
        nats = replay.Store(directory).verify(teacher, **source, rows=VERIFY.value)
        progress.announce(f"{VERIFY.value} rows of {directory} are as stored, to {nats:.2g} nats.")
        return
    # What can't be recorded is told before the directory is claimed.
    with refusals.blaming("config.xcl", experiment.config.xcl):
        settings = stores.settings(
            experiment,
            experiment.xcl_arguments()["sampler"],
            EPOCHS.value,
            top_k=TOP_K.value,
            shards=SHARDS.value,
        )
        cost = replay.estimate(teacher, **settings)
    progress.announce(
        f"{cost['rows']:,} rows, {cost['bytes'] / 1e6:,.1f} MB ({cost['bytes_per_row']:.1f} bytes "
        f"a row), {cost['seconds']:,.0f} seconds of the teacher."
    )
    if command_line.DRY_RUN.value:
        return
    with work_directory.working_in(place, command_line.CONFIG.value) as workdir:
        other_data.require_same_rows(experiment, workdir)
        if not (workdir / "evaluation.json").is_file():  # It may go on.
            evaluation.keep_teacher(workdir, quality.of_teacher(experiment, teacher))
        stores.record(teacher, directory, settings)
        progress.announce(f"{directory} is written.")


if __name__ == "__main__":
    command_line.run(main)
