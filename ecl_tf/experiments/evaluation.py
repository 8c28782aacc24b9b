"""Scores by split and model, and what models cost, in evaluation.json and in logs."""

import contextlib
import fcntl
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import ecl_tf
from ecl_tf._internal.files import write_json
from ecl_tf.experiments import diagnostics, logs, shipping, strategies, work_directory
from ecl_tf.experiments.experiment import Experiment


def keep(workdir: pathlib.Path, scores: Mapping[str, Mapping[str, dict[str, Any]]]) -> None:
    """Has the chief add scores to those that are there, and to the logs.

    Args:
        workdir: a work directory that was claimed.
        scores: a dict from split to a dict from model to its scores by name. Under "costs" in the
            place of a split are those of `ecl_tf.costs`.
    """

    def add():
        path = workdir / "evaluation.json"
        # Two processes may add at a time. The file is another one each time; this one stays.
        with open(workdir / "config.json", "r+") as held:
            with contextlib.suppress(OSError):  # On a file system without locks.
                fcntl.flock(held, fcntl.LOCK_EX)
            found = work_directory.read_json(path) if path.exists() else {}
            for split, models in scores.items():
                found[split] = {**found.get(split, {}), **models}
            write_json(path, found)
        for split, models in scores.items():
            for model, its in models.items():
                with logs.Run(workdir, re.sub(r"[^\w.=-]+", "_", model)) as run:
                    run.scores(0, split, {k: v for k, v in its.items() if v is not None})

    strategies.on_chief(add)


def keep_teacher(workdir: pathlib.Path, scores: Mapping[str, dict[str, float]]) -> None:
    """Adds a teacher's scores by split, as `quality.of_teacher` gives them."""
    keep(workdir, {split: {"teacher": of_split} for split, of_split in scores.items()})


def keep_costs(
    experiment: Experiment,
    workdir: pathlib.Path,
    paths: Mapping[str, pathlib.Path],
    teacher: Callable[[Experiment], ecl_tf.Teacher] | None,
) -> None:
    """Has the chief measure what models cost, tell of it, and keep it; see `shipping.costs`."""
    found: dict[str, dict[str, Any]] = {}
    strategies.on_chief(lambda: found.update(shipping.costs(experiment, paths, teacher)))
    keep(workdir, {"costs": found})


def log_pictures(
    experiment: Experiment, workdir: pathlib.Path, models: Mapping[str, Any], split: str
) -> None:
    """Adds the reliability of models on a split to the logs, and of "student" sampled inputs.

    Args:
        models: by name, as `Experiment.answers` takes them; "teacher" is the teacher.
        split: "validation" or "test".
    """
    if not logs.in_use():
        return
    output = experiment.output
    curves = {}
    for name, model in models.items():
        labels, raw = experiment.answers(model, split)
        curves[name] = diagnostics.reliability(labels, raw, output)
    results = {
        "score": experiment.score_name,
        "teacher_reliability": curves.pop("teacher", None),
        "final": {name: [name] for name in curves},
        "runs": {name: {"reliability": curve} for name, curve in curves.items()},
    }
    if {"teacher", "student"} <= models.keys():
        teacher, students = models["teacher"], {"XCL": (models["student"], output)}
        sampler = experiment.xcl_arguments()["sampler"]
        results["gallery"] = diagnostics.gallery(experiment, teacher, students, sampler)
    with logs.Run(workdir, f"pictures_of_{split}") as run:
        run.pictures(results)
