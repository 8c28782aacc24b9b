"""Is extracurricular learning worth it here? A verdict in minutes, before any long training.

    ecl-tf headroom --config=digits:one_split --workdir=runs/one_split

trains the teacher (or takes WORKDIR/teacher, --teacher, or config.teacher.pretrained), and short
students: one on labels, and one by ordinary distillation, which is trained for half of the steps,
too; of numbers also one by squared error to the teacher's mean. From their scores on validation
data and their divergences from the teacher, on training inputs and on new ones, it tells what is
worth trying, and why:

    XCL             samples beyond the training inputs
    KD              ordinary distillation; a larger student or more steps would do more
    labels          labels, alone or beside the distillation
    better teacher  this one knows no more than the labels
    inconclusive    the numbers speak for neither

It writes WORKDIR/headroom.json. The test split is not read. `ecl-tf compare` of a single experiment
(no splits, folds or grid) may go on in the same work directory, with the same teacher. A run that
was stopped continues with the same command. Before the first training every kind of training takes
one step, so that a wrong setting is told at once; --dry_run does no more than that, and says how
long all would take.
"""

from absl import flags

from . import command_line

STEPS = flags.DEFINE_integer(
    "steps",
    0,
    "Steps of the short trainings, over which the learning rate's schedule goes; 0 takes the "
    "config's own, at most 2,000.",
    lower_bound=0,
)
command_line.takes("checkpoint_every", "dry_run", *command_line.TRACKERS)


def main(_):
    from ecl_tf.experiments import headroom, other_data, work_directory

    config, directory = command_line.CONFIG.value, command_line.TEACHER.value
    experiment, place = command_line.start()
    rehearsed = headroom.rehearse(
        experiment, config, place, directory, STEPS.value, command_line.DRY_RUN.value
    )
    if command_line.DRY_RUN.value:
        return rehearsed.tell_plan()
    with work_directory.working_in(place, config) as workdir:
        other_data.require_same_rows(experiment, workdir)
        found = headroom.run(experiment, config, workdir, directory, STEPS.value)
        work_directory.write_json(workdir / "headroom.json", found)


if __name__ == "__main__":
    command_line.run(main)
