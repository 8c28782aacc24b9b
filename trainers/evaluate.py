"""Scores a student and its teacher on a split.

    ecl-tf evaluate --config=digits --workdir=runs/digits

scores WORKDIR's student and teacher on the test split and writes WORKDIR/evaluation.json.
--model names another .keras file, or an exported SavedModel, to score instead.
"""

import json
import pathlib

from absl import flags

from . import command_line

_MODEL = flags.DEFINE_string("model", None, "A .keras file or an exported student to score.")
_SPLIT = flags.DEFINE_enum("split", "test", ["validation", "test"], "What to score it on.")
command_line.takes()


def main(_):
    from ecl_tf.experiments import distillation, teaching, work_directory

    experiment, workdir = command_line.start()
    if _MODEL.value:
        named = distillation.load_model(pathlib.Path(_MODEL.value), experiment.output)
        models = {_MODEL.value: named}
    else:
        models = {
            "teacher": teaching.load_teacher(experiment, workdir, command_line.TEACHER.value),
            "student": distillation.load_model(workdir / "student.keras", experiment.output),
        }
    results = experiment.tell_scores(models, _SPLIT.value)
    path = workdir / "evaluation.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    found[_SPLIT.value] = {**found.get(_SPLIT.value, {}), **results}
    work_directory.write_json(path, found)


if __name__ == "__main__":
    command_line.run(main)
