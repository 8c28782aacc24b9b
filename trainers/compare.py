"""Compares XCL with ordinary distillation and training on labels, over several seeds.

    ecl-tf compare --config=digits --workdir=runs/digits

trains the teacher ensemble, chooses the settings of ERM, of tuned KD and of XCL on validation
data, trains all methods with the same number of student steps, reads the test split
once, and writes to WORKDIR: results.json, table.md, plot.png, report.html, the students, and the
best of them in best/: exported as config.export says, with a model card. It ends with three
sentences: which student that is, how good it is at what cost, and whether XCL beats KD.
Before the first training every kind of training takes one step, so that a wrong setting is
told at once; --dry_run does no more than that, and says how long all would take. A run that was
stopped continues within the training under way, from its last checkpoint.

With --processes=N, N processes of this machine part the trainings among themselves, each with its
share of the cores: two are nearly twice as fast where networks are small. With --join this process
works together with all others that were started so, on this machine or on others that see the work
directory. They may come and go at any time; what one leaves undone, another one does.

With config.splits=5 it does so for five splits of the data, in WORKDIR/split_0 and so on, each
with a teacher and students of its own; settings are chosen once for all of them, and scores are
means over the splits. With config.data.held_out="all" it does so for each of config.folds, in
WORKDIR/FOLD, and averages their test scores. With config.grid, pairs of a setting's name and its
values (or a dict of named values), it does so for every combination, in WORKDIR/cells, where
cells of equal data and teacher settings share the teacher (but for those with splits or folds):

    grid = (("data.train_size", (1000, 5000)), ("student.train.steps", (2000, 6000)))

The methods:
    ERM          labels only; the best of plain, label smoothing, mixup and CutMix
    standard KD  T = 4, 0.9 T^2 KL + 0.1 cross-entropy on the training inputs, of yes/no
                 labels T = 1; for regression, squared error to the teacher's mean
    tuned KD     KL on the training inputs; the best temperature, then the best label weight
                 there, or standard KD's setting if it is better still
    XCL          as config.xcl says, or one of config.xcl.choices that is better
    oracle       with config.oracle: ordinary distillation on the training inputs and on the spare
                 ones that config.data.train_size leaves, which samples stand for
    others       each of config.methods by its name: arguments of `ecl_tf.Distiller`, and
                 perhaps `labels` for batches mixed with their labels, nothing tuned
"""

from absl import flags

from . import command_line

command_line.takes("checkpoint_every", "dry_run", *command_line.TRACKERS)
_PROCESSES = flags.DEFINE_integer(
    "processes", 1, "How many processes of this machine do the trainings.", lower_bound=1
)
_JOIN = flags.DEFINE_bool(
    "join", False, "Work together with other processes that have this flag, and the same command."
)


def main(_):
    from ecl_tf.experiments import (
        comparison,
        helpers,
        jobs,
        message,
        report,
        strategies,
        suite_table,
        tables,
        work_directory,
    )

    helpers.share_cores(_PROCESSES.value)
    config, directory = command_line.CONFIG.value, command_line.TEACHER.value
    joins = _JOIN.value or _PROCESSES.value > 1
    place = command_line.begin(joins=joins)
    every = command_line.interval(command_line.CHECKPOINT_EVERY.value)
    with helpers.waiting(0 if command_line.DRY_RUN.value else _PROCESSES.value - 1) as waiting:
        rehearsal = comparison.rehearse(config, place, directory, command_line.DRY_RUN.value)
        if command_line.DRY_RUN.value:
            return rehearsal.tell_plan()
        with work_directory.working_in(place, config, joins) as workdir:
            helpers.begin(waiting, config, workdir, directory, every)
            command = command_line.written("compare")
            results = comparison.run(config, workdir, directory, every, command)

            def write():
                written = report.write(results, workdir)
                print(f"\n{tables.table(results)}\nWritten to {workdir}: results.json, {written}")
                if suite_table.has(results):
                    text = suite_table.write(results, workdir)
                    print(f"\n{text}\nWritten to {workdir}: {suite_table.TABLE}")
                said = message.sentences(report.with_config(results, workdir))
                print("", *said, sep="\n")

            with jobs.turn(workdir / "report.html"):
                with jobs.turn(workdir / "results.json"):
                    work_directory.write_json(workdir / "results.json", results)
                strategies.on_chief(write)
                comparison.log(config, workdir, results)


if __name__ == "__main__":
    command_line.run(main)
