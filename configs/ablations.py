"""XCL with one choice changed at a time; the argument is the experiment.

    python -m trainers.compare --config=configs/ablations.py:digits --workdir=runs/ablations

Experiments: digits (default), rotated_digits, fashion_mnist, each as in the config of its name.
What is changed: the sampler, the uncertain samples' score, the temperature, the label weight.
Schedules, data sizes and ensembles: configs/schedules.py. Results: docs/results.md.
"""

from configs import digits, fashion_mnist, rotated_digits

_EXPERIMENTS = {
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "rotated_digits": rotated_digits,
}
_SCORES = ("teacher_uncertainty", "disagreement", "student_uncertainty", "divergence")


def get_config(experiment="digits"):
    if experiment not in _EXPERIMENTS:
        raise ValueError(f"Unknown experiment {experiment!r}; expected one of {[*_EXPERIMENTS]}.")
    config = _EXPERIMENTS[experiment].get_config()
    own = config.xcl.sampler.to_dict()
    methods = {
        "mixup": {"sampler": _sampler("Mixup")},
        "mixup or CutMix": {"sampler": _sampler("Choice", samplers=("Mixup", "CutMix"))},
        "half of the rows unmixed": {"sampler": _sampler("Choice", samplers=("Empirical", own))},
        "label weight 1/10": {"sampler": own, "label_weight": 0.1},
        "label weight 1": {"sampler": own, "label_weight": 1.0},
    }
    for score in _SCORES:
        uncertain = _sampler("Uncertain", base=own, candidates=2, score=score, temperature=1.0)
        methods[score.replace("_", " ")] = {"sampler": uncertain}
    if config.output == "categorical":
        methods["T = 2"] = {"sampler": own, "temperature": 2.0}
        methods["T = 4"] = {"sampler": own, "temperature": 4.0}
    with config.unlocked():
        config.methods = methods
    return config


def _sampler(name, **arguments):
    return {"class_name": name, "config": arguments}
