"""How good a teacher is, told before its students learn from it."""

import ecl_tf
from ecl_tf.experiments import positions, progress
from ecl_tf.experiments.experiment import Experiment

_LEAST_SHARE = 0.5
_ROWS = 2000  # Of the training data: enough for its mean.


def of_teacher(experiment: Experiment, teacher: ecl_tf.Teacher) -> dict[str, dict[str, float]]:
    """Scores a teacher on validation and on training rows, tells of both, and warns.

    A teacher is called far over-fitted if it keeps less than half of what it knows. What it knows
    of rows is their mean log-likelihood above that of the best answer that is the same for all of
    them: the labels' frequencies, or a normal distribution of the targets' mean and deviation.
    What it keeps is what it knows of validation rows, over what it knows of training rows. One that
    knows nothing of either is warned of, too.

    Returns:
        {"validation": scores, "train": scores}; without "train" where there are no validation
        rows but the training rows.
    """
    splits = experiment.splits
    labels, raw = experiment.answers(teacher, splits.validation)
    scores = {"validation": experiment.scores(labels, raw)}
    progress.announce_scores("teacher", "validation", scores["validation"])
    constant = positions.constant_nll(experiment.output, labels)
    known = {"validation": constant - scores["validation"]["nll"]}
    if not splits.has_validation:  # They are the training rows.
        _warn_of_nothing_known(experiment, known)
        return scores
    labels, raw = experiment.answers(
        teacher, experiment.training_sample(experiment.counted.rows_within_memory(_ROWS))
    )
    scores["train"] = experiment.scores(labels, raw)
    progress.announce_scores("teacher", "train", scores["train"])
    known["train"] = constant - scores["train"]["nll"]
    if known["train"] > 0.0 and known["validation"] < _LEAST_SHARE * known["train"]:
        progress.announce(
            "WARNING: the teacher is far over-fitted. Its log-likelihood is above that of a "
            f"constant answer by {known['train']:.3g} nats on training rows, and by "
            f"{known['validation']:.3g} on validation rows. Students learn its errors. Train it "
            "for fewer steps, with weight decay, config.teacher.labels, more data or more members"
            f"{_or_calibrate(experiment)}."
        )
    _warn_of_nothing_known(experiment, known)
    return scores


def _warn_of_nothing_known(experiment, known):
    """Warns of a teacher whose log-likelihood is that of a constant answer at most, or below."""
    if max(known.values()) <= 0.0:
        progress.announce(
            "WARNING: the teacher knows nothing of the labels. Its log-likelihood is below that of "
            f"a constant answer, on validation rows by {-known['validation']:.3g} nats. Students "
            "learn its answers. Look at the order of its classes, at the range of inputs that it "
            f"expects, and at its training{_or_calibrate(experiment)}."
        )


def _or_calibrate(experiment):
    is_calibrated = experiment.config.teacher.calibrate
    return "" if is_calibrated else ", or calibrate it: --config.teacher.calibrate=True"


def against_erm(experiment: Experiment, teacher: dict[str, float], erm: float) -> None:
    """Tells of a teacher beside training on labels, and warns if it is no better.

    Args:
        teacher: the teacher's scores on validation data.
        erm: the mean score there of students that are trained on labels.
    """
    name = experiment.score_name
    score = teacher[name]
    progress.announce(f"On validation data: {name} {score:.4g} of the teacher, {erm:.4g} of ERM")
    if (score <= erm) if experiment.higher_is_better else (score >= erm):
        progress.announce(
            "WARNING: the teacher is no better than a student that learns from labels alone (ERM), "
            "so that a student can hardly gain by it. Make its network larger, train it for more "
            "steps, or give it more members (config.teacher)."
        )
