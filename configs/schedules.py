"""How results grow with the schedule, the data and the ensemble; the argument is the experiment.

    python -m trainers.compare --config=configs/schedules.py:convnet --workdir=runs/schedules

Experiments:
    convnet, mlp, transformer   students on Fashion-MNIST, by training images and steps; the
                                teacher has dropout, all inputs are mirrored at random
    digits                      by steps
    ensembles                   the digits by members of the teacher
    rotated_digits, casp        by steps

Results and times: docs/results.md.
"""

from configs import casp, digits, fashion_mnist, rotated_digits

_NOT_CHOSEN = {"class_name": "Choice", "config": {"samplers": ("Empirical", "Mix")}}


def get_config(experiment="convnet"):
    if experiment == "digits":
        config = digits.get_config()
        grid: list = [("student.train.steps", (2000, 6000, 20_000))]
    elif experiment == "ensembles":
        config = digits.get_config()
        grid = [("teacher.members", (1, 2, 8))]
    elif experiment == "rotated_digits":
        config = rotated_digits.get_config()
        grid = [("student.train.steps", (2000, 6000, 20_000))]
    elif experiment == "casp":
        config = casp.get_config()
        grid = [("student.train.steps", (5000, 15_000))]
    else:
        config = fashion_mnist.get_config(experiment)
        grid = [
            ("data.train_size", (1000, 5000)),
            ("student.train.steps", (6000, 2000, 20_000)),
        ]
        with config.unlocked():
            config.data.update({"augment": True, "max_shift": 0})
            config.teacher.members = 2
            config.teacher.network.dropout = 0.5
            config.teacher.train.steps = 3000
    with config.unlocked():
        config.grid = tuple(grid)
        config.methods = {"not chosen": {"sampler": _NOT_CHOSEN}}
    return config
