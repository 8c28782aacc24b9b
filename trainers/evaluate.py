"""Scores a student and its teacher on a split.

    ecl-tf evaluate --config=digits --workdir=runs/digits

scores WORKDIR's student and teacher on the test split, measures their size and speed on one core
(but with config.export.measures=False), and writes WORKDIR/evaluation.json. --model names another
.keras file, or an exported SavedModel, LiteRT or ONNX file, to score instead. It may run beside a
command that trains in the same directory.
"""

import pathlib

from absl import flags

from . import command_line

_MODEL = flags.DEFINE_string(
    "model", None, "A .keras file or an exported student (SavedModel, LiteRT, ONNX) to score."
)
_SPLIT = flags.DEFINE_enum("split", "test", ["validation", "test"], "What to score it on.")
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

    experiment, workdir = command_line.start(shares=True)
    other_data.require_same_rows(experiment, workdir)

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
        models = {
            "teacher": load_teacher(experiment),
            "student": distillation.load_model(paths["student"], experiment.output),
        }
    results = experiment.tell_scores(models, _SPLIT.value)
    work_directory.claim(workdir, command_line.CONFIG.value)
    evaluation.keep(workdir, {_SPLIT.value: results})
    if experiment.config.export.measures:
        evaluation.keep_costs(experiment, workdir, paths, teacher)
    evaluation.log_pictures(experiment, workdir, models, _SPLIT.value)


if __name__ == "__main__":
    command_line.run(main)
