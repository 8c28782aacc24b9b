"""The teacher of an experiment: trained here, found in a directory, or brought along."""

import functools
import json
import pathlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ecl_tf
from ecl_tf import data, outputs, teachers
from ecl_tf._internal import build, files, finite, keras_files, ranges, symbolic
from ecl_tf.experiments import (
    fits,
    fitting,
    jobs,
    logs,
    other_data,
    progress,
    refusals,
    strategies,
)
from ecl_tf.experiments.experiment import Experiment, save_model
from ecl_tf.teachers import pretrained

# What users' functions made in this process, by their arguments and the data's: the rehearsal's
# teacher is that of the run after it.
_made: dict[str, Any] = {}
_TRAINED_AGAIN = "Delete it: `ecl-tf train-teacher` then trains this member again."


def train_teacher(
    experiment: Experiment, workdir: pathlib.Path, directory: str | pathlib.Path | None = None
) -> ecl_tf.Teacher:
    """Trains the members of the teacher that are not in the work directory yet.

    A teacher of a `directory`, of config.teacher.pretrained or of config.teacher.function is only
    loaded.

    Args:
        workdir: the work directory; members go to WORKDIR/teacher.
        directory: of another teacher's .keras files; None, the default, for the experiment's.

    Returns:
        The `ecl_tf.Ensemble` of all members, or the teacher of config.teacher.function.
    """
    section = experiment.config.teacher
    if is_trained_here(experiment, directory):
        own = workdir / "teacher"
        strategies.on_chief(lambda: own.mkdir(exist_ok=True))
        members = [member_path(workdir, number) for number in range(section.members)]
        for path in filter(pathlib.Path.exists, members):  # Before hours of training the others.
            keras_files.require_whole(path, _TRAINED_AGAIN)
        for number, path in enumerate(members):
            if path.exists():
                progress.announce(f"[teacher {number + 1}/{section.members}] found in {path}")

        def train(number):
            progress.announce(f"[teacher {number + 1}/{section.members}]")
            checkpoints = workdir / "checkpoints" / f"teacher_{number}"
            seed, name = experiment.config.seed + number, f"teacher_member_{number}"
            with logs.Run(workdir, name, method="teacher", seed=seed) as run:
                member = experiment.train_supervised(
                    section,
                    seed,
                    [logs.TrainingLog(logs.csv_path(workdir, name), run)],
                    checkpoints,
                    section.labels,
                )
            save_model(member, members[number], experiment.output)
            fitting.forget(checkpoints)

        jobs.complete(
            jobs.Job(path, path.exists, functools.partial(train, number))
            for number, path in enumerate(members)
        )
    return load_teacher(experiment, workdir, directory)


def is_trained_here(experiment: Experiment, directory: str | pathlib.Path | None = None) -> bool:
    """Whether the teacher is trained as config.teacher says, and not brought along.

    Raises:
        ValueError: if it would have to be, and config.teacher does not say how.
    """
    section = experiment.config.teacher
    if section.function is not None and section.pretrained is not None:
        raise ValueError(
            "config.teacher has both `function` and `pretrained`, which are two teachers. Set one "
            "of them to None."
        )
    if directory is not None or section.pretrained is not None or section.function is not None:
        return False
    if section.network is None or section.train is None:
        raise ValueError(
            "config.teacher has no `network` and `train` to make a teacher of. Give them, or "
            "config.teacher.pretrained, config.teacher.function, or the directory of a teacher: "
            "--teacher."
        )
    return True


def member_path(workdir: pathlib.Path, number: int) -> pathlib.Path:
    """The file of a member that is trained here."""
    return workdir / "teacher" / f"member_{number}.keras"


def load_teacher(
    experiment: Experiment, workdir: pathlib.Path, directory: str | pathlib.Path | None = None
) -> ecl_tf.Teacher:
    """The teacher of a directory, of config.teacher, or of the work directory.

    Raises:
        ValueError: if there is none.
    """
    section = experiment.config.teacher
    scope = strategies.current().scope  # In it every replica gets its own copy.
    if directory is None and section.function is not None:
        return _of_function(experiment)
    if directory is None and section.pretrained is not None:
        found = section.pretrained
        descriptions = [found] if isinstance(found, dict) else found
        # In another form than raw outputs they have no units of their own.
        raw = [each for each in descriptions if each.get("name") == "keras" and "path" in each]
        files_of_raw = [each["path"] for each in raw if each.get("answer") is None]
        output = experiment.output
        if len(files_of_raw) == len(descriptions):
            output = _output_of(files_of_raw, output)
        of_data = {"input_shape": experiment.splits.input_shape, "output": output}
        with scope():
            members = [pretrained.load(**of_data, **description) for description in descriptions]
        return ensemble(experiment, members, output)
    least = section.members if directory is None else 1
    directory = pathlib.Path(directory or workdir / "teacher")
    paths = member_files(directory)
    if len(paths) < least:
        raise ValueError(
            f"Only {len(paths)} of the teacher's {least} members are in {directory}. Run "
            "the command that trains it again: it goes on where it was stopped."
        )
    own = directory.resolve() == (workdir / "teacher").resolve()
    place = "of the work directory" if own else f"in {directory}"
    progress.announce(f"The teacher: {', '.join(path.name for path in paths)} {place}")
    other_data.tell(experiment, directory.parent, f"teacher in {directory}", paths)
    output = _output_of(paths, experiment.output)
    remedy = _TRAINED_AGAIN if own else "Give another copy of it, or delete it."
    with scope():
        members = [keras_files.load(path, remedy) for path in paths]
    _require_equal_shapes(paths, members)
    for path, member in zip(paths, members, strict=True):
        try:
            finite.require_weights(member, "teacher")
            fits.require_model("teacher", member, experiment.splits, output)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return ensemble(experiment, members, output)


def member_files(directory: str | pathlib.Path) -> list[pathlib.Path]:
    """The .keras files of a teacher's directory, in order.

    Hidden files, and those that a stopped process was still writing (`tmp.*.keras`,
    `*.tmp.keras`), are no members.

    Raises:
        ValueError: if there are none.
    """
    directory = pathlib.Path(directory)
    if directory.is_file():
        raise ValueError(
            f"A teacher is a directory of .keras files, and {directory} is a file. Give its "
            f"directory: --teacher={directory.parent}."
        )
    if (directory / "teacher").is_dir():
        raise ValueError(
            f"{directory} is a work directory; its teacher is in {directory / 'teacher'}. Give "
            "that as --teacher."
        )
    found = sorted(directory.glob("*.keras"))
    paths = [path for path in found if not files.is_unfinished(path)]
    if not paths:
        left = f" but {found[0].name}, which is not finished" if found else ""
        raise ValueError(
            f"There is no teacher in {directory}: it holds no .keras file{left}. Train one with "
            "`ecl-tf train-teacher`, or name another directory with --teacher."
        )
    return paths


def _require_equal_shapes(paths, members):
    """Raises ValueError if two members' outputs have other shapes, naming the files."""
    known = [
        (path, [tf.TensorShape(tensor.shape) for tensor in keras.tree.flatten(output)])
        for path, member in zip(paths, members, strict=True)
        if (output := symbolic.output_of(member)) is not None
    ]
    for path, own in known:
        first, expected = known[0]
        pairs = zip(expected, own, strict=False)
        if len(expected) != len(own) or not all(a.is_compatible_with(b) for a, b in pairs):
            raise ValueError(
                f"The members of a teacher give outputs of one shape; in {path.parent} "
                f"{first.name} gives {expected}, and {path.name} gives {own}. Keep the members "
                "of each teacher in a directory of their own."
            )


def _output_of(paths, output):
    """The output of the networks of some files, which has the units that they learned in."""
    own = [fits.output_of(path, output) for path in paths]
    for path, each in zip(paths, own, strict=True):
        if each != own[0]:
            raise ValueError(
                f"The members of a teacher have one output; that of {paths[0]} is {own[0]!r}, and "
                f"that of {path} is {each!r}. Give members that were trained on the same rows."
            )
    return own[0]


def ensemble(
    experiment: Experiment, members: list[keras.Model], output: outputs.Output | None = None
) -> ecl_tf.Ensemble:
    """The members as one distribution, in the form and at the temperature of config.teacher.

    A lone point regressor's spread is measured.

    Args:
        members: networks of raw outputs, or of points.
        output: what their raw outputs stand for; None, the default, for the experiment's output.

    Raises:
        ValueError: if the temperature is to be fitted, and there is no validation data.
    """
    output = experiment.output if output is None else output
    if len(members) == 1 and type(members[0]) is ecl_tf.Ensemble:
        members, output = _unpacked(members[0], output)
    for member in members:
        fits.require_model("teacher", member, experiment.splits, output)
    asked = [("teacher", member) for member in members]
    ranges.require_equal(asked)
    first = next(iter(data.evaluation_batches(experiment.splits.validation, 256)), None)
    if first is not None:
        ranges.require_within(asked, first[0])
    shape = symbolic.shape_for(output, members[0], "teacher")
    if isinstance(output, outputs.Normal) and shape and shape[-1] == output.size:
        stddev = None
        if len(members) == 1:
            validation = experiment.counted.batches(experiment.splits.validation)
            stddev = teachers.residual_stddev(members, validation)
        output = outputs.Point(output.size, stddev)
    form = experiment.config.teacher.inference_form
    if form is not None:
        with strategies.current().scope():
            members = [ecl_tf.inference_form(member, form) for member in members]
    per_step, precision = (
        getattr(experiment.config.teacher, name) for name in ("members_per_step", "precision")
    )
    teacher = ecl_tf.Ensemble(members, output, members_per_step=per_step, precision=precision)
    if precision is not None and first is not None:
        found = teachers.rounding(teacher, first[0])
        progress.announce_once([f"The teacher in {precision} is {found} (validation rows)."])
    if experiment.config.teacher.calibrate:
        return _calibrated(experiment, teacher)
    return teacher


def _unpacked(teacher, output):
    """The members of a saved ensemble of raw outputs, and its output with its temperature.

    The label of unknown classes is the experiment's. Others stay as they are.
    """
    own = teacher.output_kind
    if (teacher.answer, teacher.precision, teacher._members_per_step) != (None, None, None):
        return [teacher], output
    if (ignored := getattr(output, "ignore_class", None)) is not None and hasattr(
        own, "ignore_class"
    ):
        own = type(own).from_config({**own.get_config(), "ignore_class": ignored})
    return list(teacher.members), own


def _of_function(experiment):
    """The teacher that config.teacher.function makes."""
    section, splits, output = experiment.config.teacher, experiment.splits, experiment.output
    made = _call(section.function, experiment)
    several = list(made) if isinstance(made, (list, tuple)) else [made]
    is_teacher = isinstance(made, ecl_tf.Teacher)
    if not is_teacher and several and all(isinstance(each, keras.Model) for each in several):
        return ensemble(experiment, several)
    for name in ("inference_form", "members_per_step", "precision"):
        if getattr(section, name) is not None:
            raise ValueError(
                f"config.teacher.{name} is of networks of Keras, and config.teacher.function gives "
                f"something else. Leave it out: --config.teacher.{name}=None."
            )
    teacher = made if is_teacher else _of_predictions(experiment, made)
    fits.require_family(f"teacher {teacher.name!r}", teacher.output_kind, output)
    if teacher.raw_shape is not None:
        size = teacher.output_kind.event_size(teacher.raw_shape)
        fits.require(f"teacher {teacher.name!r}", {}, size, splits, output)
    return _calibrated(experiment, teacher) if section.calibrate else teacher


def _call(described, experiment):
    """What a user's function makes of an experiment's splits, once in a process."""
    arguments = {"name": described} if isinstance(described, str) else dict(described)
    key = json.dumps([arguments, experiment.config.data], sort_keys=True, default=repr)
    if key not in _made:
        name = arguments.pop("name", None)
        if ":" not in str(name):
            raise ValueError(
                "config.teacher.function names a function of yours, 'module:function'; got "
                f"{name!r}."
            )
        _made[key] = build.call_by_name("teacher", {}, name, arguments, experiment.whole_splits)
    return _made[key]


def _of_predictions(experiment, made):
    """The teacher of estimators or functions, which is shown validation rows."""
    output = experiment.output
    batches = list(experiment.counted.batches(experiment.splits.validation))
    x, y = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)
    each = list(made.values()) if isinstance(made, dict) else made
    each = list(each) if isinstance(each, (list, tuple)) else [each]
    of_numbers = output.family == "normal"
    if each and all(hasattr(one, "predict") or hasattr(one, "predict_proba") for one in each):
        # One of few rows may lack a class.
        has_classes = all(hasattr(one, "classes_") for one in each)
        is_of_classes = output.family == "categorical" and has_classes
        classes = range(experiment.splits.event_size) if is_of_classes else None
        y = y if of_numbers else None
        return teachers.from_estimator(made, output, x, y, classes=classes)
    stddev = None
    if of_numbers and each and all(map(callable, each)):
        stddev = teachers.estimator.residuals(each, x, y)
    return teachers.FunctionTeacher(made, output, x, stddev=stddev)


def _calibrated(experiment, teacher):
    """The teacher at the temperature that the validation labels speak for."""
    splits = experiment.splits
    refusals.require_validation(
        splits,
        "config.teacher.calibrate needs validation data",
        "or leave the teacher as it is: --config.teacher.calibrate=False.",
    )
    teacher = ecl_tf.calibrated(teacher, experiment.counted.batches(splits.validation))
    temperature = teacher.output_kind.temperature
    progress.announce(f"The teacher's temperature, fitted to validation data: {temperature:g}")
    return teacher
