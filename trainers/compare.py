"""Compares XCL with ordinary distillation and training on labels, over several seeds.

    ecl-tf compare --config=digits --workdir=runs/digits

trains the teacher ensemble, chooses the settings of ERM, of tuned KD and of XCL on validation
data, trains all methods with the same number of student steps, reads the test split
once, and writes to WORKDIR: results.json, table.md, plot.png, report.html, and the students.
Before the first training every kind of training takes one step, so that a wrong setting is
told at once; --dry_run does no more than that, and says how long all would take. A run that was
stopped continues within the training under way, from its last checkpoint.

With config.splits=5 it does so for five splits of the data, in WORKDIR/split_0 and so on, each
with a teacher and students of its own; settings are chosen once for all of them, and scores are
means over the splits. With config.data.held_out="all" it does so for each of config.folds, in
WORKDIR/FOLD, and averages their test scores. With config.grid, pairs of a setting's name and its
values (or a dict of named values), it does so for every combination, in WORKDIR/cells, where
cells of equal data and teacher settings share the teacher (but for those with splits or folds):

    grid = (("data.train_size", (1000, 5000)), ("student.train.steps", (2000, 6000)))

The methods:
    ERM          labels only; the best of plain, label smoothing, mixup and CutMix
    standard KD  T = 4, 0.9 T^2 KL + 0.1 cross-entropy on the training inputs; for
                 regression, squared error to the teacher's mean
    tuned KD     KL on the training inputs; the best temperature, then the best label weight
                 there, or standard KD's setting if it is better still
    XCL          as config.xcl says, or one of config.xcl.choices that is better
    oracle       with config.oracle: ordinary distillation on the training inputs and on the spare
                 ones that config.data.train_size leaves, which no sampler surpasses
    others       each of config.methods by its name: arguments of `ecl_tf.Distiller`, and
                 perhaps `labels` for batches mixed with their labels, nothing tuned
"""

from . import command_line

command_line.takes("checkpoint_every", "dry_run")


def main(_):
    from ecl_tf.experiments import comparison, report, strategies, tables, work_directory

    config, directory = command_line.CONFIG.value, command_line.TEACHER.value
    place = command_line.begin()
    rehearsal = comparison.rehearse(config, place, directory, command_line.DRY_RUN.value)
    if command_line.DRY_RUN.value:
        return rehearsal.tell_plan()
    with work_directory.working_in(place, config) as workdir:
        every = command_line.interval(command_line.CHECKPOINT_EVERY.value)
        results = comparison.run(config, workdir, directory, every)
        work_directory.write_json(workdir / "results.json", results)

        def write():
            written = report.write(results, workdir)
            print(f"\n{tables.table(results)}\nWritten to {workdir}: results.json, {written}")

        strategies.on_chief(write)


if __name__ == "__main__":
    command_line.run(main)
