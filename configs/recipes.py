"""Candidates for the default recipe, side by side; the argument is the experiment.

    ecl-tf compare --config=recipes:letters --workdir=runs/recipes_letters

Experiments: letters and friedman (tables drawn by scikit-learn), digits (another split than
those reported), rotated_digits, casp, fashion_mnist. What is changed: the share of mixed rows,
whether uncertain ones are chosen, the temperature or the divergence, the label weight, and for
tables what is drawn in place of mixtures.
A recipe is to be chosen by the validation scores, in results.json. Results: docs/results/index.md.
"""

import numpy as np
import tensorflow as tf
from ecl_tf.configs import casp, common, digits, fashion_mnist, rotated_digits
from sklearn import datasets, model_selection

from ecl_tf.data.splits import Splits


def letters(train_size: int = 2000, seed: int = 0) -> Splits:
    """Classification: 26 classes by 16 numbers, several clusters each; the rest is held out."""
    x, y = datasets.make_classification(
        n_samples=train_size + 6000,
        n_features=16,
        n_informative=12,
        n_redundant=2,
        n_classes=26,
        n_clusters_per_class=3,
        class_sep=1.8,
        flip_y=0.02,
        random_state=seed,
    )
    return _splits(x, y.astype("int64"), train_size, seed, 26)


def friedman(train_size: int = 1000, seed: int = 0) -> Splits:
    """Regression: Friedman's first function of ten numbers, with noise of one unit."""
    x, y = datasets.make_friedman1(train_size + 6000, noise=1.0, random_state=seed)
    return _splits(x, y[:, None].astype("float32"), train_size, seed, 1)


def _splits(x, y, train_size, seed, event_size):
    x = x.astype("float32")
    own_x, rest_x, own_y, rest_y = model_selection.train_test_split(
        x, y, train_size=train_size, random_state=seed
    )
    held = [np.array_split(rest_x, 2), np.array_split(rest_y, 2)]
    parts = [(own_x, own_y), *zip(*held, strict=True)]
    train, validation, test = map(tf.data.Dataset.from_tensor_slices, parts)
    if event_size > 1:
        return Splits(train, validation, test, event_size)
    mean, stddev = own_y.mean(0), own_y.std(0)
    return Splits(train, validation, test, 1, target_mean=mean, target_stddev=stddev)


def get_config(experiment="letters"):
    common.require("experiment", experiment, _EXPERIMENTS)
    config = _EXPERIMENTS[experiment]()
    other: str = "T = 2"
    changed: dict[str, float | str] = {"temperature": 2.0}
    if config.output != "categorical":
        other, changed = "squared error", {"divergence": "squared_error"}
    methods = {
        "a quarter mixed": {"sampler": common.mixed(0.25)},
        "half mixed": {"sampler": common.mixed(0.5)},
        "all mixed": {"sampler": "Mix"},
        "chosen": {"sampler": "Uncertain"},
        other: changed,
        f"half mixed, {other}": {"sampler": common.mixed(0.5), **changed},
        f"all mixed, {other}": {"sampler": "Mix", **changed},
        "label weight 3/10": {"label_weight": 0.3, "label_rows": "unmodified"},
        "label weight 1": {"label_weight": 1.0, "label_rows": "unmodified"},
    }
    if config.output != "categorical":
        methods["half mixed, faithful"] = {"sampler": common.mixed(0.5), "divergence": "faithful"}
    if experiment in ("letters", "friedman", "casp"):
        methods |= _OF_TABLES
    with config.unlocked():
        config.methods = methods
        config.xcl.choices = ()
        config.seeds, config.tuning_seeds = 3, 1
    return config


def _table(function, make, network, steps):
    return make(
        tuning_seeds=1,
        data={"name": f"ecl_tf.configs.recipes:{function}", "train_size": 2000, "seed": 0},
        teacher={
            "members": 4,
            "calibrate": True,
            "network": {"name": "mlp", "widths": (256, 256), "dropout": 0.1, **network},
            "train": common.train(3000, 2e-3, 128),
        },
        student={
            "network": {"name": "mlp", "widths": (48, 48), **network},
            "train": common.train(steps, 3e-3, 128, epochs=5),
        },
    )


def _letters():
    return _table("letters", common.classification, {"preprocessing": ("Normalization",)}, 5000)


def _friedman():
    def make(**settings):
        return common.regression(event_size=1, min_scale=0.05, score="rmse", **settings)

    config = _table("friedman", make, {"preprocessing": ("Normalization",)}, 5000)
    config.data.train_size = 1000
    return config


def _digits():
    config = digits.get_config("one_split")
    config.data.seed = 10
    return config


def _half(sampler):
    return {"sampler": common.sampler("Choice", samplers=("Empirical", sampler))}


_CONDITIONAL = common.sampler("Munge", probability=0.3, s=None, conditional=True)
_OF_TABLES = {
    "all MUNGE": {"sampler": "Munge"},
    "half MUNGE": {"sampler": common.OF_TABLES["sampler"]},
    "half drawn given the others": _half(_CONDITIONAL),
    "half noise": _half(common.sampler("GaussianNoise", stddev=0.3, relative=True)),
}
_EXPERIMENTS = {
    "letters": _letters,
    "friedman": _friedman,
    "digits": _digits,
    "rotated_digits": rotated_digits.get_config,
    "casp": casp.get_config,
    "fashion_mnist": fashion_mnist.get_config,
}
