"""Is it worth it? A verdict from the teacher and short trainings, before any long one."""

import functools
import pathlib
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from scipy import stats

from ecl_tf import evaluation, headroom, metrics, outputs
from ecl_tf._internal import keras_files
from ecl_tf.evaluation import overlap, selective
from ecl_tf.experiments import (
    logs,
    methods,
    progress,
    quality,
    refusals,
    rehearsal,
    stores,
    strategies,
    teaching,
    work_directory,
)
from ecl_tf.experiments.experiment import Experiment
from ecl_tf.experiments.runs import Runs

_STEPS = 2000  # At most, if nothing is said.
_DRAWINGS = 500  # Of rows, with replacement.
_KD = methods.kd(temperature=1.0, label_weight=0.0)


def rehearse(
    experiment: Experiment,
    config: ConfigDict,
    workdir: pathlib.Path,
    teacher_directory: str | pathlib.Path | None = None,
    steps: int = 0,
    measures: bool = False,
) -> rehearsal.Rehearsal:
    """Has every kind of training that is left take a step.

    Args:
        workdir: the work directory, which is only read.

    Raises:
        ValueError: if a setting is wrong, or the data has no validation split.
    """
    asker = "`ecl-tf headroom` compares training inputs with validation inputs"
    refusals.require_validation(experiment.splits, asker)
    rehearsed = rehearsal.Rehearsal(measures)
    with rehearsed.under_way():
        own = rehearsed.experiment(config, experiment.splits)
        teacher = rehearsed.teacher(own, workdir, teacher_directory)
        rehearsed.read_batch(own, "student")
        whole = experiment.config.student.train.steps
        for number in _lengths(experiment, steps):
            path = _directory(workdir, number) / "results.json"
            done = work_directory.read_json(path)["runs"] if path.exists() else {}
            short = rehearsed.experiment(shortened(config, number, whole))
            for setting in _settings(experiment, number == _lengths(experiment, steps)[0]):
                left = setting.key(experiment.config.seed) not in done
                rehearsed.student(short, teacher, setting, int(left))
    return rehearsed


def run(
    experiment: Experiment,
    config: ConfigDict,
    workdir: pathlib.Path,
    teacher_directory: str | pathlib.Path | None = None,
    steps: int = 0,
) -> dict[str, Any]:
    """Trains the teacher if it is not there, and short students; tells and returns a verdict.

    The students are one on labels, and one by ordinary distillation at temperature 1; of numbers
    one more on the teacher's mean alone. The second is trained for half of the steps, too.

    Args:
        workdir: the work directory; finished work in it is only read.
        teacher_directory: as `teaching.train_teacher` takes it; None by default.
        steps: of the short trainings, over which the learning rate's schedule goes. 0, the
            default, takes the experiment's own, at most 2,000. It is rounded down to an even
            number of executions.

    Returns:
        What headroom.json holds: the verdict, its reasons, what would help, and all numbers.
    """
    teacher = teaching.train_teacher(experiment, workdir, teacher_directory)
    of_teacher = quality.of_teacher(experiment, teacher)
    longer, shorter = _lengths(experiment, steps)
    seed, whole = experiment.config.seed, experiment.config.student.train.steps
    found = {}
    for number in (longer, shorter):
        directory = _directory(workdir, number)
        strategies.on_chief(functools.partial(directory.mkdir, parents=True, exist_ok=True))
        short = Experiment(
            shortened(config, number, whole), experiment.checkpoint_every, experiment.splits
        )
        progress.announce(f"Students of {number:,} steps:")
        settings = _settings(experiment, number == longer)
        runs = Runs(
            short, teacher, stores.Stores(short, teacher, directory), directory, len(settings)
        )
        for setting in settings:
            found[setting.method, number] = runs.run(setting, seed)
    erm, kd = found["ERM", longer], found["tuned KD", longer]
    lead, lead_error = _lead(experiment, teacher, _directory(workdir, longer), erm)
    of_kds = [run for (method, _), run in found.items() if method != "ERM"]
    name = experiment.score_name
    best = (max if experiment.higher_is_better else min)(run["validation"][name] for run in of_kds)
    evidence = headroom.Evidence(
        training=kd["divergence"]["train"],
        new=kd["divergence"]["validation"],
        teacher_lead=lead,
        kd_lead=headroom.lead(best, erm["validation"][name], experiment.higher_is_better),
        lead_error=lead_error,
        shorter=found["tuned KD", shorter]["divergence"]["train"],
    )
    judged = headroom.verdict(evidence)
    progress.announce(f"Verdict: {judged.name}")
    for sentence in (*judged.reasons, judged.sentence):
        progress.announce(f"    {sentence}")
    for number in (longer, shorter):
        directory = _directory(workdir, number)
        logs.comparison(directory, work_directory.read_json(directory / "results.json"))
    with logs.Run(workdir, "headroom") as run:
        run.text("verdict", " ".join([f"**{judged.name}.**", *judged.reasons, judged.sentence]))
        run.scores(0, "evidence", evidence._asdict())
        for split, scores in of_teacher.items():
            run.scores(0, f"teacher/{split}", scores)
    return {
        "verdict": judged.name,
        "reasons": judged.reasons,
        "remedies": judged.remedies,
        "evidence": evidence._asdict(),
        "steps": longer,
        "teacher": of_teacher,
        "students": [
            {key: run[key] for key in ("method", "label", "validation", "divergence", "seconds")}
            | {"steps": number}
            for (_, number), run in found.items()
        ],
    }


def shortened(config: ConfigDict, steps: int, whole: int) -> ConfigDict:
    """The config with students of so many steps, and a learning rate's schedule for them.

    Args:
        whole: the steps of its own students, which may follow from the data.
    """
    own = config.copy_and_resolve_references()
    with own.unlocked(), own.ignore_type():
        train = own.student.train
        if train.steps == "auto":  # Whose schedule is of cycles.
            train.schedule = {"name": "cosine"}
            if "max_steps" in train:
                del train["max_steps"]
        elif warmup := train.get("schedule", {}).get("warmup_steps"):
            train.schedule.warmup_steps = warmup * steps // whole
        train.steps, train.epochs, own.replay_epochs = steps, 1, 0
    return own


def _lengths(experiment, steps):
    """The steps of the short trainings, and their half."""
    train = experiment.config.student.train
    unit = 2 * strategies.steps_per_execution(train)
    steps = max((steps or min(train.steps, _STEPS)) // unit, 1) * unit
    return steps, steps // 2


def _directory(workdir, steps):
    return workdir / "headroom" / f"{steps}_steps"


def _settings(experiment, is_longer):
    """What is trained for all of the steps, or for half of them."""
    if not is_longer:
        return [_KD]
    if experiment.output.takes_temperature:
        return [methods.PLAIN, _KD]
    return [methods.PLAIN, _KD, methods.standard_kd(experiment)]


def _lead(experiment, teacher, directory, erm):
    """How far the teacher is ahead of a student of labels, and the standard error of that.

    Both are compared row by row, as a row that is hard is hard for both.
    """
    path = directory / "students" / erm["student"]
    student = keras_files.load(path, "Delete the directory `headroom` and run the command again.")
    output = outputs.get(erm["output"])
    if experiment.score_name == "iou":
        return _lead_of_iou(experiment, (teacher, experiment.output), (student, output))
    own = _errors(experiment, teacher, experiment.output)
    its = _errors(experiment, student, output)
    if its.mean() == 0.0 or len(its) < 2:
        return 0.0, 0.0
    # Of a ratio of means, and of its root for the RMSE (the delta method).
    power = 0.5 if experiment.score_name == "rmse" else 1.0
    ratio = own.mean() / its.mean()
    error = stats.sem(own - ratio * its) / its.mean()
    slope = power * max(ratio, 1e-12) ** (power - 1.0)
    return float(1.0 - ratio**power), float(slope * error)


def _errors(experiment, model, output):
    """The error of every validation row, whose mean is the score's, or for the RMSE its square.

    Of rows with several labels it is the sum over those that count, up to a factor that is the same
    for all: labels of one row are not independent of each other, and rows are.
    """
    labels, raw, rows = experiment.answers_by_row(model, "validation", output)
    if experiment.score_name == "angular_error":
        errors = np.asarray(metrics.AngularError(output).values(labels, raw), "float64")
    elif experiment.score_name == "accuracy":
        kept = selective.known_answers(output, raw, labels)
        errors, _ = selective.losses_and_uncertainty(output, raw, labels)
        rows = np.repeat(rows, raw.shape[-1] if output.family == "bernoulli" else 1)[kept]
    else:
        predicted = np.asarray(output.prediction(raw), "float64")
        errors = np.square(predicted - np.reshape(labels, predicted.shape)).mean(-1)
    if len(np.unique(rows)) == len(errors):
        return errors
    sums = np.bincount(rows, errors)
    return sums * len(sums) / len(errors)


def _lead_of_iou(experiment, teacher, student):
    """The same of 1 - the mean IoU, whose standard error is that over drawings of the rows."""
    of_rows = []
    for model, output in (teacher, student):
        labels, raw, rows = experiment.answers_by_row(model, "validation", output)
        of_rows.append(evaluation.overlaps(output, raw, labels, rows))
    count = len(of_rows[0][0])

    def ratio(drawn):
        own, its = (1.0 - overlap.iou_of(*(drawn @ each for each in both)) for both in of_rows)
        return own / its if its else 1.0

    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _DRAWINGS)
    error = np.std([ratio(each) for each in drawn], ddof=1)
    return 1.0 - ratio(np.ones(count, int)), float(error)
