"""Trains the teacher ensemble of an experiment.

    python -m trainers.train_teacher --config=configs/digits.py --workdir=runs/digits

writes WORKDIR/teacher/member_*.keras. Members that are there already are kept.
"""

from absl import app, flags

from trainers import fitting, runtime, teaching
from trainers.experiment import Experiment

flags.adopt_module_key_flags(runtime)
flags.adopt_module_key_flags(fitting)
flags.adopt_module_key_flags(teaching)


def main(_):
    workdir = runtime.claim(runtime.WORKDIR.value, runtime.CONFIG.value)
    experiment = Experiment(runtime.CONFIG.value)
    teacher = teaching.train_teacher(experiment, workdir)
    scores = [(member.name, member) for member in teacher.members] + [("ensemble", teacher)]
    for number, (name, model) in enumerate(scores):
        label = name if model is teacher else f"member {number}"
        result = experiment.evaluate(model, "validation")
        runtime.announce(f"{label}: validation " + runtime.describe(result))


if __name__ == "__main__":
    app.run(main)
