"""The model card of a student: what whoever uses it has to know, as Markdown.

The card's words are in model_card.md.
"""

import datetime
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jinja2
import numpy as np

import ecl_tf
from ecl_tf import outputs
from ecl_tf._internal import first_layers
from ecl_tf.data.columns import Category, Date
from ecl_tf.experiments import provenance, tables
from ecl_tf.experiments.experiment import Experiment

_LISTED = 100  # Classes that are named; of more the first ones.
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("ecl_tf.experiments", ""),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
)
_TEMPLATES.filters["json"] = lambda value: json.dumps(value, default=str)


def render(
    experiment: Experiment,
    chosen: Any,
    directory: pathlib.Path,
    exported: str,
    hashes: Mapping[str, str],
    of_files: Mapping[str, Mapping[str, Mapping[str, float]]],
    measured: Mapping[str, Any] | None,
    command: str,
) -> str:
    """The card.

    Args:
        directory: that holds the student's files.
        exported: the one of them that the card's code loads.
        hashes: their SHA-256, by their paths there.
        of_files: the scores of those that answer otherwise than the student, by name and split.
        measured: what `shipping.measure` returned, or None.
    """
    student = ecl_tf.load_student(directory / exported)
    results = chosen.results or {}
    parts = next((name for name in ("splits", "folds") if name in results), None)
    split = "test" if "test" in chosen.scores else "validation"
    return _TEMPLATES.get_template("model_card.md").render(
        chosen=chosen,
        split=split,
        own=chosen.scores[split],
        task=_task(experiment),
        config=experiment.config,
        is_yes_or_no=experiment.output.family == "bernoulli",
        positions=experiment.positions,
        data=provenance.data(experiment, chosen.workdir),
        scores=tables.markdown(_scores(chosen, of_files)),
        compared=results and tables.table(results),
        parts=parts,
        count=results.get(parts),
        signature=tables.markdown(_signature(student)),
        files=tables.markdown(_files(directory, hashes)),
        of_files=of_files,
        costs=measured and tables.markdown(tables.shipped(measured)),
        note_on_costs=measured and tables.note_on_shipped(measured),
        exported=exported,
        student=student,
        example=_example(student),
        listed=_LISTED,
        versions=provenance.versions(),
        command=command,
        date=datetime.date.today().isoformat(),
    )


def _scores(chosen, of_files):
    """A row for each split, of the student, of files that answer otherwise, and of the teacher."""
    metrics = [*chosen.scores["validation"]]
    metrics += [name for name in chosen.scores.get("test", ()) if name not in metrics]
    found = [["rows", "of", *map(tables.title, metrics)]]
    of_whom = {
        "this student": chosen.scores,
        **{f"`{name}`": scores for name, scores in of_files.items()},
        "its teacher": chosen.teacher,
    }
    for split in chosen.scores:
        for name, scores in of_whom.items():
            if own := scores.get(split):
                values = [_value(metric, own.get(metric)) for metric in metrics]
                found.append([split, name, *values])
    return found


def _value(metric, value):
    return "" if value is None else f"{tables.scale(metric, value):.4g}"


def _signature(student):
    """A row for each input and each answer."""
    found = [["", "name", "type", "shape"]]
    for kind, specs in (("input", student.input_specs), ("output", student.parameter_specs)):
        for name, spec in specs.items():
            sizes = ["batch", *("any" if size is None else str(size) for size in spec.shape[1:])]
            found.append([kind, f"`{name}`", spec.dtype.name, f"({', '.join(sizes)})"])
    return found


def _files(directory, hashes):
    """A row for each file."""
    found = [["file", "bytes", "SHA-256"]]
    for name, own in hashes.items():
        found.append([f"`{name}`", f"{(directory / name).stat().st_size:,}", f"`{own}`"])
    return found


def _task(experiment):
    """The task, by the names of model hubs where they have one."""
    splits, output = experiment.splits, experiment.output
    is_of_classes = not isinstance(output, outputs.Numeric)
    kind = "classification" if is_of_classes else "regression"
    if splits.columns is not None:
        return f"tabular-{kind}"
    shape = splits.input_shape
    is_image = (
        isinstance(shape, tuple) and len(shape) == 3 and first_layers.is_image((None, *shape))
    )
    if experiment.positions and is_of_classes:
        return "image-segmentation" if is_image else "token-classification"
    return f"image-{kind}" if is_image and is_of_classes else kind


def _example(student):
    """Code that makes a batch of one row."""
    if student.columns is not None:
        return f"rows = { ({spec.name: [_cell(spec)] for spec in student.columns.specs})!r}"
    arrays = {name: _array(spec) for name, spec in student.input_specs.items()}
    if len(arrays) == 1:
        (made,) = arrays.values()
        return f"rows = {made}"
    lines = "".join(f"    {name!r}: {made},\n" for name, made in arrays.items())
    return f"rows = {{\n{lines}}}"


def _cell(spec):
    """A typical cell of a column."""
    if isinstance(spec, Category):
        return spec.values[0] if spec.values else ""
    if isinstance(spec, Date):
        return str(np.datetime64(int(spec.mean), "D"))
    return float(f"{spec.mean:.6g}")


def _array(spec):
    """Code of a made-up row of an input: images are from 0 to 1, as the commands have them."""
    sizes = (1, *(size or 1 for size in spec.shape[1:]))
    if first_layers.is_image(spec.shape) and spec.dtype.is_floating:
        return f"np.random.default_rng(0).random({sizes}, {spec.dtype.name!r})"
    return f"np.zeros({sizes}, {spec.dtype.name!r})"
