"""Refuses settings that don't fit the data's labels."""

from collections.abc import Mapping

import numpy as np

from ecl_tf import outputs, prediction_sets
from ecl_tf._internal import require
from ecl_tf.experiments import measures, refusals, row_labels


def require_labels_fit(config, splits, output):
    """Raises ValueError if score, output, mixing or class weights don't fit the labels."""
    expected = measures.scores_of(output, row_labels.positions(splits, output))
    if config.score not in expected:
        raise ValueError(
            f"config.score={config.score!r} does not fit the output {output!r}; expected one of "
            f"{expected}."
        )
    if output.family == "normal" and splits.class_names:
        raise ValueError(
            f"config.output={config.output!r} is of numbers, and the target of this data is a "
            f"class, such as {splits.class_names[0]!r}. Say --config=table:classes if it is one; "
            "or name a target of numbers, which are written like 1234.5, without a unit."
        )
    if output.family == "categorical" and splits.event_size < 2:
        raise ValueError(
            f"config.output={config.output!r} needs classes, and this data has targets of one "
            "dimension. For a table with a column of classes say --config.data.classes=True."
        )
    with refusals.blaming("config.output", config.output):
        _require_units(config.output, splits)
    with refusals.blaming("config.data", config.data):
        if splits.class_names is not None:
            size = splits.event_size if output.family == "categorical" else None
            require.class_names(splits.class_names, size)
        row_labels.require(splits, output)
        row_labels.require_values(splits, output)
        row_labels.require_room(splits, output)
    size = getattr(output, "size", splits.event_size)
    if isinstance(output, outputs.Numeric) and size != splits.event_size:
        raise ValueError(
            f"config.output={config.output!r} is of {size} target dimensions, and this data has "
            f"{splits.event_size}. Give the output the data's number."
        )
    for name, each in {"erm": config.erm, "teacher.labels": config.teacher.labels}.items():
        row_labels.require_mixing(name, each, splits, output)
    row_labels.require_class_weight(config.class_weight, splits, output)


def _require_units(output, splits):
    """Refuses units of targets that are not the data's, which all networks learn in."""
    given = output.get("config") or {} if isinstance(output, Mapping) else {}
    for name, default in {"target_mean": 0.0, "target_stddev": 1.0}.items():
        its, own = given.get(name, default), getattr(splits, name)
        # A default says nothing: what Keras serialises has all of them.
        if np.any(np.ravel(its) != default) and not np.array_equal(np.ravel(its), np.ravel(own)):
            raise ValueError(
                f"It has {name}={its}, and the data has {own}, which all networks learn in. Leave "
                "it out, and give data.Splits(..., target_mean=..., target_stddev=...)."
            )


def require_conformal(student, splits, output):
    """Refuses prediction sets of such an output, in 8 bits, or with too few validation rows."""
    if student.conformal is not None:
        with refusals.blaming("config.student.conformal", student.conformal):
            _require_conformal(student, splits, output)


def _require_conformal(student, splits, output):
    coverage = student.conformal
    if own_positions := row_labels.positions(splits, output):
        raise ValueError(
            f"Its guarantee is of rows drawn alike, and the positions {own_positions} of a row are "
            "not independent of each other. Set it to None."
        )
    if student.quantization is not None:
        raise ValueError(
            f"config.student.quantization={student.quantization!r} is trained for LiteRT files "
            "without such sets. Set one of the two to None."
        )
    refusals.require_validation(splits, "It is measured on validation rows")
    prediction_sets.require_output(output)
    count, least = int(splits.validation.cardinality()), prediction_sets.least_rows(coverage)
    if 0 <= count < least:
        raise ValueError(
            f"It needs {least} validation rows at least, and there are {count}. Hold more out, or "
            "ask for a lower coverage."
        )
