"""XCL beside its relatives, on Fashion-MNIST; the argument is the student.

    python -m trainers.compare --config=configs/relatives.py:convnet --workdir=runs/relatives

Each is what its paper says in this project's terms, at the same student steps for all: their
own schedules, networks and data are others. Students: see configs/fashion_mnist.py.

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

The others are XCL with uncertain samples, by score. ERM is the best of plain, label
smoothing, mixup and CutMix.
"""

from configs import fashion_mnist


def get_config(student="convnet"):
    config = fashion_mnist.get_config(student)
    base = config.xcl.sampler.to_dict()
    with config.unlocked():
        config.erm.cutmix_alpha = 1.0
        config.methods = {
            "FunMatch": {"sampler": {"class_name": "Mixup", "config": {"alpha": 1.0}}},
            "UNIX": {
                "sampler": {"class_name": "UncertaintyMixup", "config": {"clean": 0.5}},
                "temperature": 4.0,
            },
            "CutMixPick": {
                "sampler": _uncertain("CutMix", "teacher_uncertainty"),
                "temperature": 4.0,
            },
            "mixed labels": {
                "sampler": {"class_name": "Empirical", "config": {}},
                "temperature": 4.0,
                "label_weight": 1 / 9,
                "labels": {"mixup_alpha": 1.0},
            },
            "teacher uncertainty": {"sampler": _uncertain(base, "teacher_uncertainty", 1.0)},
            "disagreement": {"sampler": _uncertain(base, "disagreement", 1.0)},
            "student uncertainty": {"sampler": _uncertain(base, "student_uncertainty", 1.0)},
            "divergence": {"sampler": _uncertain(base, "divergence", 1.0)},
        }
    return config


def _uncertain(base, score, temperature=0.0):
    config = {"base": base, "candidates": 2, "score": score, "temperature": temperature}
    return {"class_name": "Uncertain", "config": config}
