"""Trains the teacher ensemble of an experiment.

    python -m trainers.train_teacher --config=configs/digits.py --workdir=runs/digits

writes WORKDIR/teacher/member_*.keras. Members that are there already are kept.
"""

from absl import app, flags

from trainers import command_line

for _name in ("config", "workdir", "strategy", "teacher", "checkpoint_every"):
    flags.declare_key_flag(_name)
flags.mark_flags_as_required(["config", "workdir"])


def main(_):
    from trainers import runtime, teaching
    from trainers.experiment import Experiment

    workdir = runtime.claim(command_line.WORKDIR.value, command_line.CONFIG.value)
    experiment = Experiment(command_line.CONFIG.value)
    teacher = teaching.train_teacher(experiment, workdir)
    scores = [(member.name, member) for member in teacher.members] + [("ensemble", teacher)]
    for number, (name, model) in enumerate(scores):
        label = name if model is teacher else f"member {number}"
        result = experiment.evaluate(model, "validation")
        runtime.announce(f"{label}: validation " + runtime.describe(result))


if __name__ == "__main__":
    app.run(main)
