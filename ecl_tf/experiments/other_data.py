"""Compares the data of an experiment with that of the run that trained a network."""

import itertools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ecl_tf import export, outputs
from ecl_tf._internal import identity, keras_files
from ecl_tf.data.splits import in_memory
from ecl_tf.experiments import progress, work_directory
from ecl_tf.experiments.experiment import Experiment


def tell(
    experiment: Experiment, run: pathlib.Path, what: str, paths: Sequence[pathlib.Path]
) -> None:
    """Says so if a run had other data settings than the experiment, or maybe other units.

    Args:
        run: the work directory; without a config.json there nothing is known.
        what: which network it trained, for the message, such as "teacher in runs/a/teacher".
        paths: its .keras files.

    Raises:
        ValueError: if it learned on other columns of a table, on these in another order, or on
            classes or categories of other names.
    """
    differing = _differing(experiment, run, what)
    if differing:
        progress.announce(
            f"NOTE: the {what} was trained with other data settings ({', '.join(differing)}). See "
            "to it that it met none of this experiment's test rows."
        )
    output = experiment.output
    if differing == [] or not isinstance(output, outputs.Numeric):
        return
    mean, stddev = output.target_mean, output.target_stddev
    is_said = all(keras_files.output_of(path) for path in paths)
    if not is_said and (np.any(mean) or np.any(np.not_equal(stddev, 1.0))):
        progress.announce(
            f"NOTE: the {what} does not say in which units it learned. Its means and scales are "
            f"read in this data's units, the training targets' mean {mean} and standard deviation "
            f"{stddev}. An exported student, as best/saved_model, knows its own."
        )


def _differing(experiment, run, what):
    """The data settings that differ, in words; None if nothing is known of the run."""
    record = run / "config.json"
    found = work_directory.read_json(record) if record.exists() else None
    there = found.get("data") if isinstance(found, dict) else None
    if not isinstance(there, dict):  # Other programs have files of that name, too.
        return None
    here = json.loads(json.dumps(experiment.config.data))
    columns = [_listed(each.get("inputs")) for each in (there, here)]
    if all(columns) and columns[0] != columns[1]:
        raise ValueError(
            f"The {what} learned on the inputs {','.join(columns[0])}, in this order, and the "
            f"experiment has {','.join(columns[1])}. Give it those: "
            f"--config.data.inputs={','.join(columns[0])}."
        )
    kept = work_directory.read_hashes(run)
    for name, own in _meanings(experiment.whole_splits).items():
        if (its := kept.get(name, own)) != own:
            pairs = enumerate(itertools.zip_longest(json.loads(its), json.loads(own)))
            number, (old, new) = next(each for each in pairs if each[1][0] != each[1][1])
            raise ValueError(
                f"The {what} learned on another {name}: its number {number} (from 0) was {old!r}, "
                f"and is {new!r} here. Train it again on this data. Of other categories alone an "
                "exported student, as best/saved_model, will do: it knows its own."
            )
    for place in work_directory.PLACES:
        there[place] = here.get(place)
    differing = sorted(identity.differences(there, here))
    file = kept.get("data")
    if file and here.get("path") and file != work_directory.hash_of_file(here["path"]):
        differing.append("data.path, another file")
    return differing


def _meanings(splits):
    """What numbers stand for in the data, in their order: texts of JSON by names for messages."""
    found = {"list of classes": splits.class_names or ()}
    for spec in splits.columns.specs if splits.columns else ():
        found[f"list of categories of {spec.name!r}"] = getattr(spec, "values", ())
    return {name: json.dumps([*map(str, each)]) for name, each in found.items() if each}


def is_a_functions(data: Mapping[str, Any]) -> bool:
    """Whether a function of the user's gives the rows of a data set, as MODULE:FUNCTION.

    Args:
        data: the settings `config.data`.
    """
    return ":" in str(data.get("name"))


def require_same_rows(experiment: Experiment, workdir: pathlib.Path) -> None:
    """Compares names of classes and categories, and a function's rows, with those of earlier runs.

    The first time they are kept there. Rows from a file or of TFDS are known otherwise, and
    streamed data is not looked at.

    Args:
        workdir: its work directory; nothing is compared before it is claimed.

    Raises:
        ValueError: if they differ.
    """
    if not (workdir / "config.json").exists():
        return
    splits = experiment.whole_splits
    work_directory.require_same(workdir, **_meanings(splits))
    if splits.decode is not None or not is_a_functions(experiment.config.data):
        return
    others = in_memory(splits.validation), in_memory(splits.test)
    rows = identity.fingerprint_of_rows([splits.train_rows, *others])
    work_directory.require_same(workdir, **{"set of rows that the data function gives": rows})


def tell_of_file(experiment: Experiment, path: pathlib.Path) -> None:
    """`tell`, of a .keras file of a work directory, or of a directory in one.

    An exported student knows its columns itself.

    Raises:
        ValueError: as there.
    """
    if not path.is_file() or export.is_exported(path):
        return
    parents = path.resolve().parents[:2]
    run = next((each for each in parents if (each / "config.json").exists()), parents[0])
    tell(experiment, run, f"model in {path}", [path])


def _listed(columns):
    """The names of columns as a list; none if they are not named."""
    named = columns.split(",") if isinstance(columns, str) else columns or []
    return [str(each).strip() for each in named]
