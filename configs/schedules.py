"""How results grow with the schedule, the data and the ensemble; the argument is the experiment.

    ecl-tf compare --config=schedules:convnet --workdir=runs/schedules

Experiments:
    convnet, mlp, transformer   students on Fashion-MNIST with 1,000 training images, by steps;
                                the teacher has dropout, all inputs are mirrored at random
    convnet_5000 and so on      the same with 5,000 images, 12,000 steps, a larger teacher, and its
                                answers stored
    convnet_all and so on       the same with all 60,000 images but those held out
    digits                      one split of them by steps
    ensembles                   the same by members of the teacher
    rotated_digits, casp        by steps

Results and times: docs/results.
"""

import functools

from ecl_tf.configs import casp, common, digits, fashion_mnist, rotated_digits

# Training images, epochs of stored answers, steps of each member of the teacher.
_SIZES = {"5000": (5000, 20, 5000), "all": (55_000, 4, 8000)}
_DIGITS = functools.partial(digits.get_config, "one_split")
_STEPS = "student.train.steps"
_GRIDS = {
    "digits": (_DIGITS, _STEPS, (2000, 6000, 20_000)),
    "ensembles": (_DIGITS, "teacher.members", (1, 2, 8)),
    "rotated_digits": (rotated_digits.get_config, _STEPS, (2000, 4000, 6000, 10_000)),
    "casp": (casp.get_config, _STEPS, (5000, 15_000)),
}


def get_config(experiment="convnet"):
    if experiment in _GRIDS:
        base, *axis = _GRIDS[experiment]
        config, grid = base(), (tuple(axis),)
    else:
        student, _, images = experiment.partition("_")
        if images and images not in _SIZES:
            raise ValueError(f"Unknown size {images!r}; expected one of {[*_SIZES]} or none.")
        config = fashion_mnist.get_config(student)
        grid = ((_STEPS, (6000, 2000, 20_000)),)
        with config.unlocked():
            config.data.update({"augment": True, "max_shift": 0})
            config.teacher.members = 2
            config.teacher.network.dropout = 0.5
            config.teacher.train.steps = 3000
            if images:
                config.data.train_size, config.replay_epochs, steps = _SIZES[images]
                config.teacher.network.update({"width": 48, "depth": 3})
                config.teacher.train.steps = steps
                config.student.train.steps = 12_000
                return config
    with config.unlocked():
        config.grid = grid
        config.methods = {
            "half mixed": {"sampler": common.mixed(0.5)},
            "chosen": {"sampler": "Uncertain"},
        }
    return config
