"""How results grow with the schedule, the data and the sampler; the argument is the experiment.

    python -m trainers.compare --config=configs/schedules.py:convnet --workdir=runs/schedules

Experiments: convnet, mlp, transformer (students on Fashion-MNIST, see configs/fashion_mnist.py),
rotated_digits, casp. On Fashion-MNIST the teacher has dropout, and inputs are mirrored at
random for all methods. XCL's sampler is CutMix for images and mixup for tables; others stand
beside it. Results and times: docs/results.md.
"""

from configs import casp, fashion_mnist, rotated_digits

_MIXUP = {"class_name": "Mixup", "config": {"alpha": 1.0}}
_CUTMIX = {"class_name": "CutMix", "config": {"alpha": 1.0}}
_EMPIRICAL = {"class_name": "Empirical", "config": {}}


def get_config(experiment="convnet"):
    if experiment == "rotated_digits":
        config = rotated_digits.get_config()
        grid: list = [("student.train.steps", (2000, 10_000))]
        sampler, others = _CUTMIX, {"mixup": _MIXUP, "mixup or CutMix": _choice(_MIXUP, _CUTMIX)}
    elif experiment == "casp":
        config = casp.get_config()
        grid = [("student.train.steps", (5000, 15_000))]
        sampler, others = _MIXUP, {"half mixup": _choice(_EMPIRICAL, _MIXUP)}
    else:
        config = fashion_mnist.get_config(experiment)
        grid = [
            ("data.train_size", (1000, 5000)),
            ("student.train.steps", (6000, 2000, 20_000)),
        ]
        sampler, others = _CUTMIX, {}
    with config.unlocked():
        config.grid = tuple(grid)
        config.xcl.sampler = sampler
        config.methods = {name: {"sampler": other} for name, other in others.items()}
        if experiment not in ("rotated_digits", "casp"):
            config.data.update({"augment": True, "max_shift": 0})
            config.teacher.members = 2
            config.teacher.network.dropout = 0.5
            config.teacher.train.steps = 3000
    return config


def _choice(*samplers):
    return {"class_name": "Choice", "config": {"samplers": samplers}}
