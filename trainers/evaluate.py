"""Scores a student and its teacher on a split.

    python -m trainers.evaluate --config=configs/digits.py --workdir=runs/digits

scores WORKDIR's student and teacher on the test split and writes WORKDIR/evaluation.json.
--model names another .keras file, or an exported SavedModel, to score instead.
"""

import pathlib

import keras
from absl import app, flags

import ecl_tf
from trainers import runtime, teaching
from trainers.experiment import Experiment

flags.adopt_module_key_flags(runtime)
flags.adopt_module_key_flags(teaching)
_MODEL = flags.DEFINE_string("model", None, "A .keras file or an exported student to score.")
_SPLIT = flags.DEFINE_enum("split", "test", ["validation", "test"], "What to score it on.")


def main(_):
    workdir = runtime.claim(runtime.WORKDIR.value, runtime.CONFIG.value)
    experiment = Experiment(runtime.CONFIG.value)
    if _MODEL.value:
        models = {_MODEL.value: load_model(pathlib.Path(_MODEL.value))}
    else:
        models = {
            "teacher": teaching.load_teacher(experiment, workdir),
            "student": load_model(workdir / "student.keras"),
        }
    results = {name: experiment.evaluate(model, _SPLIT.value) for name, model in models.items()}
    for name, result in results.items():
        runtime.announce(f"{name}: {_SPLIT.value} " + runtime.describe(result))
    runtime.write_json(workdir / "evaluation.json", {_SPLIT.value: results})


def load_model(path):
    """A function from inputs to raw outputs, of a .keras file or an exported student."""
    if not path.exists():
        raise ValueError(
            f"There is no model at {path}. Train one with python -m trainers.distill, or name "
            "another with --model."
        )
    if path.is_file():
        return keras.models.load_model(path, compile=False)
    exported = ecl_tf.load_student(path)
    return lambda inputs: exported.output.raw(exported(inputs))


if __name__ == "__main__":
    app.run(main)
