"""XCL beside its relatives; the argument is the experiment.

    ecl-tf compare --config=relatives:digits --workdir=runs/relatives

Each is what its paper says in this project's terms, at the same student steps for all: their
own schedules, networks and data are others. Experiments: digits (one split), a student on
Fashion-MNIST (convnet, mlp, transformer; see configs/fashion_mnist.py), or cifar100, which is
cifar100:small with the last three alone. Results: docs/results.

    FunMatch     mixup with a uniform coefficient for both networks, divergence alone; the
                 schedule is to be long. Beyer et al., "Knowledge Distillation: A Good Teacher
                 Is Patient and Consistent", 2022
    UNIX         the half of the rows that the student is most uncertain of stays as it is, the
                 others are mixed, T = 4. Xu et al., "Computation-Efficient Knowledge
                 Distillation via Uncertainty-Aware Mixup", 2020
    CutMixPick   of several CutMix candidates those of the highest teacher entropy, T = 4. Wang
                 et al., "What Makes a 'Good' Data Augmentation in Knowledge Distillation", 2022
    mixed labels mixup of inputs and labels, with KD at T = 4 and the mixed labels' likelihood:
                 the mixup baseline
    logit standardisation, DKD, DIST
                 other divergences on the training rows, with the published constants, T and
                 weight of the labels: see ecl_tf/relatives.py. DKD knows no label there, and
                 takes the teacher's most probable class for the target. Not run on CIFAR-100

ERM is the best of plain, label smoothing, mixup and CutMix.
"""

from ecl_tf.configs import cifar100, common, digits, fashion_mnist


def _on_training_rows(divergence, temperature, label_weight):
    return {
        "sampler": common.sampler("Empirical"),
        "divergence": divergence,
        "temperature": temperature,
        "label_weight": label_weight,
    }


_DIVERGENCES = {
    "logit standardisation": _on_training_rows("standardised_logits", 1.0, 0.1),
    "DKD": _on_training_rows("decoupled", 4.0, 1.0),
    "DIST": _on_training_rows("correlation", 4.0, 1.0),
}


def get_config(experiment="digits"):
    if experiment == "cifar100":
        config = cifar100.get_config("small")
        with config.unlocked():
            config.methods = _DIVERGENCES
        return config
    if experiment == "digits":
        config = digits.get_config("one_split")
    else:
        config = fashion_mnist.get_config(experiment)
    picked = common.sampler(
        "Uncertain", base="CutMix", candidates=2, score="teacher_uncertainty", temperature=0.0
    )
    with config.unlocked():
        config.erm.cutmix_alpha = 1.0
        config.methods = {
            "FunMatch": {"sampler": common.sampler("Mixup", alpha=1.0)},
            "UNIX": {"sampler": common.sampler("UncertaintyMixup", clean=0.5), "temperature": 4.0},
            "CutMixPick": {"sampler": picked, "temperature": 4.0},
            "mixed labels": {
                "sampler": common.sampler("Empirical"),
                "temperature": 4.0,
                "label_weight": 1 / 9,
                "labels": {"mixup_alpha": 1.0},
            },
            **_DIVERGENCES,
        }
    return config
