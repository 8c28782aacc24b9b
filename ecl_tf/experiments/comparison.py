"""What `ecl-tf compare` does: the choice among settings, the final runs, and the scores."""

import functools
import hashlib
import itertools
import json
import pathlib
import statistics
from typing import Any

from ml_collections import ConfigDict

from ecl_tf.experiments import (
    grid,
    methods,
    progress,
    quality,
    rehearsal,
    settings,
    stores,
    strategies,
    tables,
    teaching,
    work_directory,
)
from ecl_tf.experiments.experiment import Experiment
from ecl_tf.experiments.runs import Runs, require_its_teacher

# Settings of the teacher that a teacher brought along may have one after the other.
_AFTER_TRAINING = ("teacher.calibrate", "teacher.inference_form")


def rehearse(
    config: ConfigDict,
    workdir: pathlib.Path,
    teacher_directory: str | pathlib.Path | None = None,
    measures: bool = False,
) -> rehearsal.Rehearsal:
    """Refuses what would fail later, after a long time: all that is left to train takes a step.

    Args:
        config: the `ConfigDict`.
        workdir: the work directory, which is only read.
        teacher_directory: as in `run`.
        measures: as `rehearsal.Rehearsal` takes it; False by default.

    Raises:
        ValueError: if a setting is wrong, the data has no validation split, or one teacher
            is given to experiments that each need their own.
    """
    settings.parse(config)
    for _, cell in grid.cells(config):
        settings.parse(cell)
    if teacher_directory:
        _require_one_teacher(config)
        teaching.member_files(teacher_directory)
    rehearsed = rehearsal.Rehearsal(measures)
    with rehearsed.under_way():
        for own, directory, home in _experiments(config, workdir):
            path = directory / "results.json"
            results = work_directory.read_json(path) if path.exists() else {}
            if "final" not in results:
                _rehearse_one(rehearsed, own, home, teacher_directory, results.get("runs", {}))
    return rehearsed


def _rehearse_one(rehearsed, config, home, teacher_directory, done):
    experiment = rehearsed.experiment(config)
    _require_validation_data(experiment)
    to_tune, fixed = _settings(experiment)
    rehearsed.read_batch(experiment, "student")
    teacher = rehearsed.teacher(experiment, home, teacher_directory)
    tuning_seeds, final_seeds = seeds(experiment.config)
    finished = [(run["method"], run["seed"]) for run in done.values()]

    def rehearse(setting, seeds):
        left = sum(setting.key(seed) not in done for seed in seeds)
        rehearsed.student(experiment, teacher, setting, left, home / "stores")

    for tried in to_tune:
        for setting in tried:
            rehearse(setting, tuning_seeds)
        # Whichever is chosen.
        left = [seed for seed in final_seeds if (tried[0].method, seed) not in finished]
        rehearse(tried[0], left)
    for setting in fixed:
        rehearse(setting, final_seeds)


def _experiments(config, workdir):
    """Yields the config of every experiment, its directory, and that of its teacher."""
    for name, cell in grid.cells(config):
        directory, home = workdir, workdir
        if config.get("grid"):
            directory, home = _of_cell(workdir, name), _home(workdir, cell)
        if not grid.has_folds(cell):
            yield cell, directory, home
            continue
        for fold_name, fold in grid.folds(cell):
            yield fold, directory / fold_name, directory / fold_name


def _of_cell(workdir, name):
    return workdir / "cells" / name.replace(", ", "_")


def _home(workdir, cell):
    """Where cells of equal data and teacher settings have their teacher."""
    of_teacher = [cell.get(key) for key in ("seed", "output", "data", "teacher")]
    described = json.dumps(of_teacher, default=lambda section: section.to_dict())
    return workdir / "teachers" / hashlib.sha256(described.encode()).hexdigest()[:12]


def _settings(experiment):
    """The settings to choose from, a list for each tuned method, and the others."""
    to_tune = [methods.erm_settings(experiment), methods.kd_settings(experiment)]
    fixed = [methods.standard_kd(experiment), methods.xcl(experiment), *methods.others(experiment)]
    if experiment.config.oracle:
        fixed.append(methods.oracle(experiment))
    return to_tune, fixed


def run(
    config: ConfigDict,
    workdir: pathlib.Path,
    teacher_directory: str | pathlib.Path | None = None,
    checkpoint_every: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Compares in every cell of config.grid, or on the one experiment that there is.

    Args:
        config: the `ConfigDict`.
        workdir: the work directory; finished work in it is only read.
        teacher_directory: of another teacher's .keras files; None, the default, for the
            experiment's own.
        checkpoint_every: as in `fitting.fit`.

    Returns:
        The results; of a grid {"cells": {name: results}}, written after every cell.
    """
    if teacher_directory:
        _require_one_teacher(config)
    if not config.get("grid"):
        return _compare_one(config, workdir, teacher_directory, checkpoint_every)
    found = {}
    cells = list(grid.cells(config))
    for number, (name, cell) in enumerate(cells):
        progress.announce(f"[cell {number + 1}/{len(cells)}] {name}")
        directory = work_directory.claim(_of_cell(workdir, name), cell)
        home = _home(workdir, cell)
        strategies.on_chief(functools.partial(home.mkdir, parents=True, exist_ok=True))
        found[name] = _compare_one(cell, directory, teacher_directory, checkpoint_every, home)
        work_directory.write_json(workdir / "results.json", {"cells": found})
    return {"cells": found}


def _compare_one(config, workdir, teacher_directory, checkpoint_every, home=None):
    """Compares on one data set, or on all of its folds; finished work is only read."""
    path = workdir / "results.json"
    if path.exists() and "final" in (found := work_directory.read_json(path)):
        if teacher_directory:
            loaded = teaching.load_teacher(Experiment(config), workdir, teacher_directory)
            require_its_teacher(found, loaded, workdir)
        return found
    if not grid.has_folds(config):
        return compare(Experiment(config, checkpoint_every), workdir, teacher_directory, home)
    results = []
    folds = list(grid.folds(config))
    for number, (name, fold) in enumerate(folds):
        progress.announce(f"[fold {number + 1}/{len(folds)}] {name}")
        directory = work_directory.claim(workdir / name, fold)
        results.append(compare(Experiment(fold, checkpoint_every), directory))
    return tables.average(results)


def compare(
    experiment: Experiment,
    workdir: pathlib.Path,
    teacher_directory: str | pathlib.Path | None = None,
    home: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Runs the comparison, or what is left of it; returns the results.

    Args:
        experiment: the `Experiment`.
        workdir: where results and students go.
        teacher_directory: as in `run`.
        home: where the teacher and its stored answers go; None, the default, for `workdir`.
    """
    _require_validation_data(experiment)
    to_tune, fixed = _settings(experiment)
    home = home or workdir
    teacher = teaching.train_teacher(experiment, home, teacher_directory)
    stored = stores.Stores(experiment, teacher, home / "stores")
    tuning_seeds, final_seeds = seeds(experiment.config)
    total = len(tuning_seeds) * sum(map(len, to_tune))
    total += len(to_tune + fixed) * len(final_seeds)
    runs = Runs(experiment, teacher, stored, workdir, total)

    teacher_scores = runs.teacher_quality()

    # All choices are made on validation data.
    erm = _choose(to_tune[0], runs, experiment, tuning_seeds)
    of_erm = [runs.results["runs"][erm.key(seed)]["validation"] for seed in tuning_seeds]
    mean = statistics.fmean(scores[experiment.score_name] for scores in of_erm)
    quality.against_erm(experiment, teacher_scores["validation"], mean)
    tuned_kd = _choose(to_tune[1], runs, experiment, tuning_seeds)
    final = [erm, fixed[0], tuned_kd, *fixed[1:]]
    for setting, seed in itertools.product(final, final_seeds):
        runs.run(setting, seed)

    runs.read_test(final, final_seeds)
    return runs.results


def seeds(config: settings.Settings) -> tuple[range, range]:
    """The seeds for tuning and, apart from them, for the final runs."""
    first = config.seed + config.tuning_seeds
    return range(config.seed, first), range(first, first + config.seeds)


def _require_one_teacher(config):
    """Refuses --teacher where experiments differ in what a teacher may have seen."""
    changed = [key for key, _ in config.get("grid", ()) if key not in _AFTER_TRAINING]
    if own := [key for key in changed if key.startswith(("data.", "teacher."))]:
        raise ValueError(
            f"--teacher would be one teacher for all cells, and config.grid changes {own[0]}: it "
            "may have seen other cells' test rows, or be none of theirs. Leave it away: cells of "
            "equal data and teacher settings share a teacher that is trained once."
        )
    if grid.has_folds(config):
        raise ValueError(
            "--teacher would be one teacher for all folds, and might have seen the persons that "
            "are held out. Leave it away: every fold trains its own."
        )


def _require_validation_data(experiment):
    if experiment.splits.validation is experiment.splits.train:
        raise ValueError(
            "`ecl-tf compare` makes its choices on validation data, and this data set is split "
            "without any. Hold some out, e.g. with --config.data.validation_persons=1."
        )


def _choose(tried, runs, experiment, tuning_seeds):
    """The setting with the best mean score on validation data, then the best NLL."""

    def rank(setting):
        results = [runs.run(setting, seed)["validation"] for seed in tuning_seeds]
        score = sum(result[experiment.score_name] for result in results)
        return (-score if experiment.higher_is_better else score, sum(r["nll"] for r in results))

    chosen = tried[strategies.of_chief(tried.index(min(tried, key=rank)))]
    progress.announce(f"Chosen for {chosen.method} on validation data: {chosen.label}")
    return chosen
