"""XCL beside its relatives; the argument is the experiment.

    ecl-tf compare --config=relatives:digits --workdir=runs/relatives

Each is what its paper says in this project's terms, at the same student steps for all: their
own schedules, networks and data are others. Experiments: digits (one split), or a student on
Fashion-MNIST (convnet, mlp, transformer; see configs/fashion_mnist.py). Results: docs/results.

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

ERM is the best of plain, label smoothing, mixup and CutMix.
"""

from ecl_tf.configs import common, digits, fashion_mnist


def get_config(experiment="digits"):
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
        }
    return config
