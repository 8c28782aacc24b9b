"""The teacher of an experiment: trained here, found in a directory, or brought along."""

import functools
import json
import pathlib

import keras
import tensorflow as tf

import ecl_tf
from ecl_tf import data, outputs, teachers
from ecl_tf._internal import files, finite, identity, keras_files, ranges, symbolic
from ecl_tf.experiments import fits, fitting, jobs, progress, refusals, strategies, work_directory
from ecl_tf.experiments.experiment import Experiment, save_model
from ecl_tf.teachers import pretrained

_TRAINED_AGAIN = "Delete it: `ecl-tf train-teacher` then trains this member again."


def train_teacher(
    experiment: Experiment, workdir: pathlib.Path, directory: str | pathlib.Path | None = None
) -> ecl_tf.Ensemble:
    """Trains the members of the teacher that are not in the work directory yet.

    A teacher of a `directory`, or of config.teacher.pretrained, is only loaded.

    Args:
        experiment: the `Experiment`.
        workdir: the work directory; members go to WORKDIR/teacher.
        directory: of another teacher's .keras files; None, the default, for the experiment's.

    Returns:
        The `ecl_tf.Ensemble` of all members.
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
            member = experiment.train_supervised(
                section,
                experiment.config.seed + number,
                checkpoints=checkpoints,
                labels=section.labels,
            )
            save_model(member, members[number])
            fitting.forget(checkpoints)

        jobs.complete(
            jobs.Job(path, path.exists, functools.partial(train, number))
            for number, path in enumerate(members)
        )
    return load_teacher(experiment, workdir, directory)


def is_trained_here(experiment: Experiment, directory: str | pathlib.Path | None = None) -> bool:
    """Whether the teacher is trained as config.teacher says, and not brought along.

    Args:
        experiment: the `Experiment`.
        directory: as in `train_teacher`.

    Raises:
        ValueError: if it would have to be, and config.teacher does not say how.
    """
    section = experiment.config.teacher
    if directory is not None or section.pretrained is not None:
        return False
    if section.network is None or section.train is None:
        raise ValueError(
            "config.teacher has no `network` and `train` to make a teacher of. Give them, or "
            "config.teacher.pretrained, or the directory of a teacher: --teacher."
        )
    return True


def member_path(workdir: pathlib.Path, number: int) -> pathlib.Path:
    """The file of a member that is trained here."""
    return workdir / "teacher" / f"member_{number}.keras"


def load_teacher(
    experiment: Experiment, workdir: pathlib.Path, directory: str | pathlib.Path | None = None
) -> ecl_tf.Ensemble:
    """The ensemble of a directory, of config.teacher.pretrained, or of the work directory.

    Args:
        experiment: the `Experiment`.
        workdir: the work directory.
        directory: as in `train_teacher`.

    Raises:
        ValueError: if there is none.
    """
    section = experiment.config.teacher
    scope = strategies.current().scope  # In it every replica gets its own copy.
    if directory is None and section.pretrained is not None:
        of_data = {"input_shape": experiment.splits.input_shape, "output": experiment.output}
        found = section.pretrained
        descriptions = [found] if isinstance(found, dict) else found
        with scope():
            members = [pretrained.load(**of_data, **description) for description in descriptions]
        return ensemble(experiment, members)
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
    _warn_of_other_data(experiment, directory)
    remedy = _TRAINED_AGAIN if own else "Give another copy of it, or delete it."
    with scope():
        members = [keras_files.load(path, remedy) for path in paths]
    for member in members:
        finite.require_weights(member, "teacher")
    _require_equal_shapes(paths, members)
    return ensemble(experiment, members)


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


def _warn_of_other_data(experiment, directory):
    """Says so if the run that trained a teacher had other data settings than the experiment."""
    record = directory.parent / "config.json"
    if not record.exists():
        return
    there = work_directory.read_json(record).get("data", {})
    here = json.loads(json.dumps(experiment.config.data))
    for place in ("data_dir", "manual_dir", "path"):
        there[place] = here.get(place)
    differing = sorted(identity.differences(there, here))
    file = work_directory.read_hashes(directory.parent).get("data")
    if file and here.get("path") and file != work_directory.hash_of_file(here["path"]):
        differing.append("data.path, another file")
    if differing:
        progress.announce(
            f"NOTE: the teacher in {directory} was trained with other data settings "
            f"({', '.join(differing)}). See to it that it met none of this experiment's test rows."
        )


def ensemble(experiment: Experiment, members: list[keras.Model]) -> ecl_tf.Ensemble:
    """The members as one distribution, in the form and at the temperature of config.teacher.

    A lone point regressor's spread is measured.

    Args:
        experiment: the `Experiment`.
        members: networks of raw outputs, or of points.

    Raises:
        ValueError: if the temperature is to be fitted, and there is no validation data.
    """
    output = experiment.output
    for member in members:
        fits.require_model("teacher", member, experiment.splits, output)
    asked = [("teacher", member) for member in members]
    ranges.require_equal(asked)
    first = next(iter(data.evaluation_batches(experiment.splits.validation, 256)), None)
    if first is not None:
        ranges.require_within(asked, first[0])
    shape = symbolic.shape_for(output, members[0], "teacher")
    if output.family == "normal" and shape and shape[-1] == output.size:
        stddev = None
        if len(members) == 1:
            validation = data.evaluation_batches(experiment.splits.validation)
            stddev = teachers.residual_stddev(members, validation)
        output = outputs.Point(output.size, stddev)
    form = experiment.config.teacher.inference_form
    if form is not None:
        with strategies.current().scope():
            members = [ecl_tf.inference_form(member, form) for member in members]
    per_step = experiment.config.teacher.members_per_step
    teacher = ecl_tf.Ensemble(members, output, members_per_step=per_step)
    if experiment.config.teacher.calibrate:
        return _calibrated(experiment, teacher)
    return teacher


def _calibrated(experiment, teacher):
    """The teacher at the temperature that the validation labels speak for."""
    splits = experiment.splits
    refusals.require_validation(
        splits,
        "config.teacher.calibrate needs validation data",
        "or leave the teacher as it is: --config.teacher.calibrate=False.",
    )
    teacher = ecl_tf.calibrated(teacher, data.evaluation_batches(splits.validation))
    temperature = teacher.output_kind.temperature
    progress.announce(f"The teacher's temperature, fitted to validation data: {temperature:g}")
    return teacher
