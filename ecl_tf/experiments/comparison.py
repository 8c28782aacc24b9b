"""What `ecl-tf compare` does in every cell of a grid, and on all folds or splits of a data set."""

import contextlib
import functools
import json
import pathlib
import re
from typing import Any

from ml_collections import ConfigDict

from ecl_tf._internal import identity
from ecl_tf.experiments import (
    best,
    grid,
    jobs,
    logs,
    other_data,
    progress,
    provenance,
    refusals,
    rehearsal,
    selection,
    settings,
    strategies,
    suite,
    tables,
    teaching,
    work_directory,
)
from ecl_tf.experiments.experiment import Experiment
from ecl_tf.experiments.runs import require_its_teacher

# Settings of the teacher that a teacher brought along may have one after the other.
_AFTER_TRAINING = tuple(
    f"teacher.{name}" for name in ("calibrate", "inference_form", "members_per_step", "precision")
)


def rehearse(
    config: ConfigDict,
    workdir: pathlib.Path,
    teacher_directory: str | pathlib.Path | None = None,
    measures: bool = False,
) -> rehearsal.Rehearsal:
    """Refuses what would fail later, after a long time: all that is left to train takes a step.

    Args:
        workdir: the work directory, which is only read.

    Raises:
        ValueError: if a setting is wrong, the data has no validation split, or one teacher
            is given to experiments that each need their own.
    """
    settings.parse(config)
    for name, cell in grid.cells(config):
        best.require(_of_cell(workdir, config, name), settings.parse(cell))
    if teacher_directory:
        _require_one_teacher(config)
        teaching.member_files(teacher_directory)
    rehearsed = rehearsal.Rehearsal(measures)
    with rehearsed.under_way():
        for own, directory, home in _experiments(config, workdir):
            path = directory / "results.json"
            results = work_directory.read_json(path) if path.exists() else {}
            if "final" not in results:
                with _blaming_splits(config, own):
                    _rehearse_one(rehearsed, own, home, teacher_directory, results.get("runs", {}))
    return rehearsed


@contextlib.contextmanager
def _blaming_splits(config, own):
    """Says where a setting comes from that no one has given: the seed of a split's rows."""
    try:
        yield
    except refusals.SettingError as error:
        is_added = "seed" in own.data and "seed" not in config.data
        if not (is_added and re.search(r"has no arguments \[.*'seed'", str(error))):
            raise
        raise refusals.SettingError(
            f"config.splits={config.splits} gives the data set a `seed` of its own for each split. "
            f"{error} Let it take one, from which its rows follow, or set config.splits to 1."
        ) from error


def _rehearse_one(rehearsed, config, home, teacher_directory, done):
    experiment = rehearsed.experiment(config)
    selection.require_validation_data(experiment)
    to_tune, fixed = selection.settings_of(experiment)
    rehearsed.read_batch(experiment, "student")
    rehearsed.export(experiment)
    teacher = rehearsed.teacher(experiment, home, teacher_directory)
    tuning_seeds, final_seeds = selection.seeds(experiment.config)
    if config.get("suite", {}).get("shifts"):
        rehearsed.suite(experiment, teacher, len([*to_tune, *fixed]) * len(final_seeds))
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
        directory = home = _of_cell(workdir, config, name)
        if config.get("grid"):
            home = _home(workdir, config, cell)
        repetitions = grid.repetitions(cell)
        if not repetitions:
            yield cell, directory, home
        for its_name, own in repetitions:
            yield own, directory / its_name, directory / its_name


def _of_cell(workdir, config, name):
    """The directory of a cell of config.grid, or of the one experiment that there is."""
    return workdir / "cells" / name.replace(", ", "_") if config.get("grid") else workdir


def _home(workdir, config, cell):
    """Where cells of equal data and teacher settings have their teacher."""
    plain, path = cell.to_dict(), workdir / "config.json"
    if path.exists():  # Its name is of where the data lay at first.
        there = work_directory.read_json(path)["data"]
        for place in {*work_directory.PLACES} & {*plain["data"]} & {*there}:
            if plain["data"][place] == config.data.get(place):
                plain["data"][place] = there[place]
    for name in ("function", "precision"):
        if plain.get("teacher", {}).get(name, "") is None:
            del plain["teacher"][name]  # Directories of versions without it stay theirs.
    names = ["seed", "output", "data", "teacher"]
    names += ["class_weight"] if plain.get("class_weight") else []
    described = json.dumps([plain.get(name) for name in names])
    return workdir / "teachers" / identity.fingerprint_of_text(described)[:12]


def run(
    config: ConfigDict,
    workdir: pathlib.Path,
    teacher_directory: str | pathlib.Path | None = None,
    checkpoint_every: dict[str, Any] | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Compares in every cell of config.grid, or on the one experiment that there is.

    Args:
        workdir: the work directory; finished work in it is only read.
        teacher_directory: of another teacher's .keras files; None, the default, for the
            experiment's own.
        checkpoint_every: as in `fitting.fit`.
        command: that is under way, for the card of the best student, which is exported at the
            end; None, the default, exports none.

    Returns:
        The results; of a grid {"cells": {name: results}}, written after every cell.
    """
    if teacher_directory:
        _require_one_teacher(config)
    if not config.get("grid"):
        return _compare_one(config, workdir, teacher_directory, checkpoint_every, command)
    found: dict[str, Any] = {}
    cells = list(grid.cells(config))
    path = workdir / "results.json"
    for number, (name, cell) in enumerate(cells):
        progress.announce(f"[cell {number + 1}/{len(cells)}] {name}")
        directory = work_directory.claim(_of_cell(workdir, config, name), cell)
        home = _home(workdir, config, cell)
        strategies.on_chief(functools.partial(home.mkdir, parents=True, exist_ok=True))
        arguments = teacher_directory, checkpoint_every, command, home
        found[name] = _compare_one(cell, directory, *arguments)
        with jobs.turn(path):  # Other processes, and earlier commands, have passed other cells.
            known = work_directory.read_json(path)["cells"] if path.exists() else {}
            known |= found
            of_all = {name: known[name] for name, _ in cells if name in known}
            work_directory.write_json(path, {"cells": of_all})
    return {"cells": found}


def log(config: ConfigDict, workdir: pathlib.Path, results: dict[str, Any]) -> None:
    """Has the chief log what is not logged yet, of earlier commands' trainings, too."""
    if logs.in_use():
        for _, directory, _ in _experiments(config, workdir):
            if (path := directory / "results.json").exists():
                logs.comparison(directory, work_directory.read_json(path))
        for name, cell in results.get("cells", {"": results}).items():
            logs.summary(_of_cell(workdir, config, name), cell)


def _compare_one(config, workdir, teacher_directory, checkpoint_every, command, home=None):
    """Compares on one data set, or on all its folds or splits; finished work is only read."""
    path = workdir / "results.json"
    repetitions = grid.repetitions(config)
    experiment = functools.cache(lambda: Experiment(config, checkpoint_every))
    if path.exists() and "final" in (results := work_directory.read_json(path)):
        if not repetitions and other_data.is_a_functions(config.data):
            other_data.require_same_rows(experiment(), workdir)
        if teacher_directory:
            loaded = teaching.load_teacher(experiment(), workdir, teacher_directory)
            require_its_teacher(results, loaded, workdir)
    elif repetitions:
        results = _compare_all(config, repetitions, workdir, checkpoint_every)
    else:
        results = selection.compare(experiment(), workdir, teacher_directory, home)
    if config.get("suite", {}).get("shifts"):
        own = (lambda _: experiment()) if not repetitions else Experiment
        results = _with_suite(config, workdir, own, teacher_directory, home)
    found: dict[str, Any] = {}
    if about := results.get("about"):
        asked = json.loads(json.dumps(config.to_dict()))
        # A process that helps has no command of its own.
        its = {"config": asked, "command": command}
        found["about"] = {"config": asked, **about} if command is None else {**about, **its}
    if command is not None:

        def teacher(own, directory):
            place = directory if repetitions else home or workdir
            return teaching.load_teacher(own, place, teacher_directory)

        arguments = workdir, results, dict(repetitions), experiment, command, teacher
        is_its, found["best"] = _keep_best(*arguments)
        found["shipped"] = best.shipped(workdir) if is_its else None
    if any(results.get(name) != value for name, value in found.items()):
        results |= found
        with jobs.turn(path):
            work_directory.write_json(path, results)
    return results


def add_suite(
    config: ConfigDict, workdir: pathlib.Path, teacher_directory: str | pathlib.Path | None = None
) -> dict[str, Any]:
    """Shows corrupted and other inputs to the teachers and final students of a comparison.

    Args:
        workdir: the work directory of a finished comparison.

    Returns:
        The results, with the numbers of `ecl_tf.evaluation` added.

    Raises:
        ValueError: if the comparison is not finished.
    """
    for _, directory, _ in _experiments(config, workdir):
        path = directory / "results.json"
        if not path.exists() or not tables.is_finished(work_directory.read_json(path)):
            raise ValueError(
                f"There is no finished comparison in {directory}. Run the same `ecl-tf compare` "
                "command (again), and then this one."
            )
    if not config.get("grid"):
        return _with_suite(config, workdir, Experiment, teacher_directory)
    found = {}
    for name, cell in grid.cells(config):
        progress.announce(name)
        arguments = Experiment, teacher_directory, _home(workdir, config, cell)
        found[name] = _with_suite(cell, _of_cell(workdir, config, name), *arguments)
    path = workdir / "results.json"
    with jobs.turn(path):
        work_directory.write_json(path, {"cells": found})
    return {"cells": found}


def _with_suite(config, workdir, make, teacher_directory=None, home=None):
    """The results of an experiment, of all its folds or splits, with those of the suite.

    An `Experiment` is made of a config by `make`.
    """
    repetitions = dict(grid.repetitions(config))
    parts = {}
    for name, own in (repetitions or {"": config}).items():
        place = workdir / name
        if name:
            progress.announce(f"[suite of {name}]")
        experiment = make(own)
        its_home = place if name else home or workdir

        def load(experiment=experiment, place=place, its_home=its_home):
            teacher = teaching.load_teacher(experiment, its_home, teacher_directory)
            require_its_teacher(work_directory.read_json(place / "results.json"), teacher, place)
            return teacher

        def measure(experiment=experiment, place=place, load=load):
            suite.of_comparison(experiment, place, load)

        def is_done(experiment=experiment, place=place):
            results = work_directory.read_json(place / "results.json")
            return results.get("shifted") == suite.about(experiment)

        jobs.complete([jobs.Job(place / "suite.json", is_done, measure)])
        parts[name] = work_directory.read_json(place / "results.json")
    if not repetitions:
        return parts[""]
    path = workdir / "results.json"
    merged = _average([*parts.values()], grid.kind_of_repetition(config))
    with jobs.turn(path):
        results = work_directory.read_json(path) if path.exists() else merged
        suite.of_parts(results, merged)
        work_directory.write_json(path, results)
    return results


def _keep_best(workdir, results, repetitions, experiment, command, teacher):
    """Has the best student exported.

    Returns whether WORKDIR/best is of that student, and if so which one it is, as JSON has it. The
    teacher is a function of an experiment and its place.
    """
    paths = {name: workdir / name / "results.json" for name in repetitions}
    if not all(path.exists() for path in paths.values()):
        return True, results.get("best")  # Of earlier work, of which no more than the mean is left.
    parts = {name: work_directory.read_json(path) for name, path in paths.items()}
    chosen = best.of_comparison(workdir, results, parts or {"": results})
    own = repetitions.get(chosen.workdir.name)
    its = functools.partial(teacher, directory=chosen.workdir)
    of = experiment if own is None else lambda: Experiment(own)
    if not best.keep(of, workdir, chosen, command, its):
        return False, None
    place = chosen.workdir.name if own is not None else None
    return True, {"method": chosen.method, "seed": chosen.seed, "of": place}


def _compare_all(config, repetitions, workdir, checkpoint_every):
    """Compares on all folds or splits; returns the mean of their results."""
    kind = grid.kind_of_repetition(config)

    def start(number):
        name, own = repetitions[number]
        progress.announce(f"[{kind} {number + 1}/{len(repetitions)}] {name}")
        directory = work_directory.claim(workdir / name, own)
        return selection.start(Experiment(own, checkpoint_every), directory, name=name)

    numbers = range(len(repetitions))
    if kind == "split":
        results = selection.finish([start(number) for number in numbers])
    else:  # One at a time, so that one fold's data is in memory.
        results = [result for number in numbers for result in selection.finish([start(number)])]
    return _average(results, kind)


def _average(parts, kind):
    """The mean over folds or splits, with what all of them come from."""
    about = provenance.together([part.get("about") for part in parts])
    return {**tables.average(parts, kind), "about": about}


def _require_one_teacher(config):
    """Refuses --teacher where experiments differ in what a teacher may have seen."""
    changed = [key for key, _ in config.get("grid", ()) if key not in _AFTER_TRAINING]
    if own := [key for key in changed if key.startswith(("data.", "teacher."))]:
        raise ValueError(
            f"--teacher would be one teacher for all cells, and config.grid changes {own[0]}: it "
            "may have seen other cells' test rows, or be none of theirs. Leave it away: cells of "
            "equal data and teacher settings share a teacher that is trained once."
        )
    if kind := grid.kind_of_repetition(config):
        held_out = {"fold": "the persons that are held out", "split": "other splits' test rows"}
        raise ValueError(
            f"--teacher would be one teacher for all {kind}s, and might have seen "
            f"{held_out[kind]}. Leave it away: every {kind} trains its own."
        )
