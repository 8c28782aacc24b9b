"""XCL with one choice changed at a time; the argument is the experiment.

    ecl-tf compare --config=ablations:digits --workdir=runs/ablations

Experiments: digits (default; one split), rotated_digits, fashion_mnist, as in the config of each
name.
What is changed: which rows are mixed, chosen and moved, the temperature, the label weight.
Schedules, data sizes and ensembles: configs/schedules.py. Results: docs/results.
"""

import functools

from ecl_tf.configs import common, digits, fashion_mnist, rotated_digits

_EXPERIMENTS = {
    "digits": functools.partial(digits.get_config, "one_split"),
    "fashion_mnist": fashion_mnist.get_config,
    "rotated_digits": rotated_digits.get_config,
}
_SCORES = ("teacher_uncertainty", "disagreement", "divergence")


def get_config(experiment="digits"):
    common.require("experiment", experiment, _EXPERIMENTS)
    config = _EXPERIMENTS[experiment]()
    own = config.xcl.sampler.to_dict  # Another dict for each

    def chosen(**arguments):
        return {"sampler": common.sampler("Uncertain", **arguments)}

    methods = {
        "half mixed": {"sampler": common.mixed(0.5)},
        "all mixed": {"sampler": common.sampler("Mix")},
        "half mixup": {"sampler": _half("Mixup")},
        "chosen": chosen(),
        "chosen, all mixed": chosen(base="Mix"),
        "chosen of four": chosen(candidates=4),
        "chosen, highest scores": chosen(temperature=0.0),
        "label weight 1/10": {"sampler": own(), "label_weight": 0.1},
        "label weight 1": {"sampler": own(), "label_weight": 1.0},
    }
    for score in _SCORES:
        methods[f"chosen by {score.replace('_', ' ')}"] = chosen(score=score)
    directions = {"disagreement": "Mix", "output_direction": "Empirical"}
    for score, base in directions.items():
        toward = common.sampler("TowardUncertainty", base=base, score=score)
        methods[f"toward {score.replace('_', ' ')}"] = {"sampler": _half(toward)}
    if config.output == "categorical":
        methods["T = 2"] = {"sampler": own(), "temperature": 2.0}
        methods["T = 4"] = {"sampler": own(), "temperature": 4.0}
    with config.unlocked():
        config.methods = methods
        config.xcl.choices = ()
    return config


def _half(other):
    """A half of the rows as they are, the others by a sampler: its name, or its config."""
    return common.sampler("Choice", samplers=("Empirical", other))
