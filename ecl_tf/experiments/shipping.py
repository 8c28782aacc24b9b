"""What is shipped, side by side: scores, size and speed of the teacher and of a student's files."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import ecl_tf
from ecl_tf import data, export, outputs
from ecl_tf._internal import symbolic
from ecl_tf.experiments import distillation, progress, strategies, tables
from ecl_tf.experiments.experiment import Experiment

_ROWS = 32  # Of the data, to ask a teacher about whose inputs are not known otherwise.
_Costs = dict[str, Any]


def costs(
    experiment: Experiment,
    paths: Mapping[str, pathlib.Path],
    teacher: Callable[[Experiment], ecl_tf.Teacher] | None = None,
) -> dict[str, _Costs]:
    """Measures what the teacher and files cost whoever serves them, and tells of it.

    Args:
        paths: of files, by their names.
        teacher: gives the teacher of an experiment; None, the default, leaves it out.

    Returns:
        What `ecl_tf.costs` returns, by "teacher" and the names. If one of them can't be measured,
        or the teacher is not there any more, a warning says so, and all are empty.
    """
    progress.announce("Size and speed are measured, on one core")
    models: dict[str, Any] = {name: (path, None) for name, path in paths.items()}
    try:
        if teacher is not None:
            with strategies.alone(), progress.quiet():
                loaded = teacher(experiment)
            models = {"teacher": (loaded, _examples(experiment, loaded)), **models}
        found = export.costs_of_all(models)
    except Exception as error:  # After hours of training all else is still to be told.
        progress.announce(f"WARNING: size and speed were not measured: {error}")
        return {name: {} for name in models}
    for name, of_model in found.items():
        progress.announce(f"{name}: {tables.describe_costs(of_model)}")
    return found


def _examples(experiment, teacher):
    """Rows of the data, which a function may need to have any answer."""
    first = getattr(teacher, "members", [teacher])[0]
    if symbolic.inputs_of(first) is not None:
        return None
    (rows, _), *_ = data.evaluation_batches(experiment.training_sample(_ROWS), _ROWS)
    return rows


def measure(
    experiment: Experiment,
    paths: Mapping[str, pathlib.Path],
    output: outputs.Output,
    split: str,
    known: Mapping[str, Mapping[str, float]],
    teacher: Callable[[Experiment], ecl_tf.Teacher] | None = None,
) -> dict[str, Any]:
    """Scores files on a split, and measures what they and the teacher cost.

    Args:
        paths: of the student's .keras file and its exports, by names for the table.
        split: "validation" or "test".
        known: scores that are there already, by the same names and "teacher".
        teacher: as `costs` takes it; None by default.

    Returns:
        A dict of `split` and of `rows`: by "teacher" and the names their `scores` and `costs`.
    """
    rows = {}
    for name, of_model in costs(experiment, paths, teacher).items():
        scores = known.get(name, {})
        if not scores and name in paths:
            model = distillation.load_model(paths[name], output)
            scores = experiment.evaluate(model, split, output)
        rows[name] = {"scores": dict(scores), "costs": of_model}
    return {"split": split, "rows": rows}
