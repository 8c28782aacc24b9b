"""Scores a student and its teacher on a split.

    ecl-tf evaluate --config=digits --workdir=runs/digits

scores WORKDIR's student and teacher on the test split, measures their size and speed on one core
(but with config.export.measures=False), and writes WORKDIR/evaluation.json. --model names another
.keras file, or an exported SavedModel, LiteRT or ONNX file, to score instead. It may run beside a
command that trains in the same directory.

    ecl-tf evaluate --config=digits --workdir=runs/digits --suite

shows corrupted test inputs, and inputs unlike the data, to the teacher and to every final student
of a finished `ecl-tf compare`, of all splits, folds and cells (or to the student of `ecl-tf
distill`), adds what is measured to WORKDIR/results.json (or WORKDIR/evaluation.json), and writes
WORKDIR/suite.md. Run again after it was stopped, it goes on where it was.
"""

import pathlib

from absl import flags

from . import command_line

_MODEL = flags.DEFINE_string(
    "model", None, "A .keras file or an exported student (SavedModel, LiteRT, ONNX) to score."
)
_SPLIT = flags.DEFINE_enum("split", "test", ["validation", "test"], "What to score it on.")
_SUITE = flags.DEFINE_bool(
    "suite",
    False,
    "Show corrupted test inputs, and inputs unlike the data, to the teacher and final students.",
)
command_line.takes(*command_line.TRACKERS)


def main(_):
    from ecl_tf.experiments import (
        distillation,
        evaluation,
        other_data,
        refusals,
        teaching,
        work_directory,
    )

    if _SUITE.value and _SPLIT.value != "test":
        raise ValueError("--suite is of the test split. Leave --split away.")
    if _SUITE.value and not _MODEL.value and _is_comparison():
        return _of_comparison()
    experiment, workdir = command_line.start(shares=True)

    def load_teacher(own):
        return teaching.load_teacher(own, workdir, command_line.TEACHER.value)

    if _MODEL.value:
        teacher, paths = None, {_MODEL.value: pathlib.Path(_MODEL.value)}
        with refusals.blaming("--model", _MODEL.value):
            other_data.tell_of_file(experiment, paths[_MODEL.value])
            model = distillation.load_model(
                paths[_MODEL.value], experiment.output, experiment.splits
            )
        models = {_MODEL.value: model}
    else:
        teacher, paths = load_teacher, {"student": workdir / "student.keras"}
        # First, as a teacher may be calibrated when it is loaded.
        student = distillation.load_model(paths["student"], experiment.output)
        models = {"teacher": load_teacher(experiment), "student": student}
    results = experiment.tell_scores(models, _SPLIT.value)
    work_directory.claim(workdir, command_line.CONFIG.value)
    evaluation.keep(workdir, {_SPLIT.value: results})
    if _SUITE.value:
        return _of_models(experiment, workdir, models, paths, results)
    if experiment.config.export.measures:
        evaluation.keep_costs(experiment, workdir, paths, teacher)
    evaluation.log_pictures(experiment, workdir, models, _SPLIT.value)


def _is_comparison():
    """Whether the work directory holds a comparison, and not one student alone."""
    workdir = pathlib.Path(str(command_line.WORKDIR.value))
    return (workdir / "results.json").exists() or not (workdir / "student.keras").exists()


def _of_comparison():
    """Measures the teachers and final students of a comparison, and writes its report again."""
    from ecl_tf.experiments import comparison, report, strategies, suite_table

    workdir = command_line.begin(shares=True)  # A finished comparison's: it is claimed.
    results = comparison.add_suite(command_line.CONFIG.value, workdir, command_line.TEACHER.value)
    text = suite_table.write(results, workdir)

    def write():
        written = report.write(results, workdir)
        print(f"\n{text}\nWritten to {workdir}: results.json, {suite_table.TABLE}, {written}")

    strategies.on_chief(write)


def _of_models(experiment, workdir, models, paths, known):
    """Measures a student and its teacher, or a model, whose scores are known."""
    from ecl_tf.experiments import evaluation, strategies, suite, suite_table, work_directory

    names = {
        name: f"{name} {work_directory.hash_of_file(path)[:12]}" for name, path in paths.items()
    }
    if "teacher" in models:
        names["teacher"] = f"teacher {models['teacher'].fingerprint()[:12]}"
    found = suite.of_models(experiment, workdir, models, names, known)
    evaluation.keep(workdir, {"suite": found})
    results, written = suite.as_results(experiment, found), "evaluation.json"
    if (workdir / "results.json").exists():  # The file is of the comparison's students.
        text = suite_table.table(results)
    else:
        text, written = suite_table.write(results, workdir), f"{written}, {suite_table.TABLE}"
    strategies.on_chief(lambda: print(f"\n{text}\nWritten to {workdir}: {written}"))


if __name__ == "__main__":
    command_line.run(main)
