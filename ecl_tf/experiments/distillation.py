"""The student of an experiment: distilled and exported, or found in a file."""

import functools
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras

import ecl_tf
from ecl_tf import data, export, metrics
from ecl_tf._internal import finite, keras_files, positions, probabilities, ranges, symbolic
from ecl_tf.experiments import fits, logs, methods, stopping_score, strategies
from ecl_tf.experiments.experiment import Experiment


def distill(
    experiment: Experiment,
    teacher: ecl_tf.Teacher,
    workdir: pathlib.Path,
    store: ecl_tf.replay.Store | None = None,
) -> keras.Model:
    """Distils one student as config.xcl says; returns it.

    Args:
        workdir: where log.csv, checkpoints and the exported student go.
        store: an `ecl_tf.replay.Store` of the teacher's answers; None asks the teacher.
    """
    remedy = "Try --config.xcl.label_weight=0.3, or have `ecl-tf compare` choose."
    methods.tell_of_labels(experiment.config.xcl.label_weight, remedy)
    with logs.Run(workdir, "student", method="XCL", seed=experiment.config.seed) as run:
        callbacks = [logs.TrainingLog(workdir / "log.csv", run)]
        distiller, _ = train(
            experiment, teacher, store, workdir / "checkpoints" / "student", callbacks
        )

    sets = experiment.prediction_sets(distiller.student)

    def write():
        about: dict[str, Any] = {"columns": experiment.splits.columns, "conformal": sets}
        about["class_names"] = experiment.splits.class_names
        distiller.export(workdir / "export", **about)

    strategies.on_chief(write)
    return distiller.student


def train(
    experiment: Experiment,
    teacher: ecl_tf.Teacher,
    store: ecl_tf.replay.Store | None = None,
    checkpoints: pathlib.Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> tuple[ecl_tf.Distiller, keras.callbacks.History]:
    """Trains the distiller that config.xcl describes; returns it, and its history.

    Args:
        store: as in `distill`; None by default.
        checkpoints: the directory of checkpoints, as in `fitting.fit`; none by default.
    """
    section, seed = experiment.config.student, experiment.config.seed
    # Without the teacher validation has labels alone to compare with.
    label_metrics = [metrics.NegativeLogLikelihood(experiment.output)] if store else None
    distiller = experiment.distiller(
        teacher, seed, label_metrics=label_metrics, **experiment.xcl_arguments()
    )
    batches = functools.partial(experiment.student_batches, seed, distiller.sampler, store)
    validation = data.evaluation_batches(experiment.splits.validation, section.train.batch_size)
    score = stopping_score.of_distillation(experiment, distiller, teacher)
    history = experiment.fit(
        distiller,
        batches,
        section.train,
        checkpoints,
        callbacks,
        score=score,
        validation_data=validation,
    )
    return distiller, history


def load_model(
    path: pathlib.Path, output: ecl_tf.outputs.Output, splits: data.Splits | None = None
) -> Callable[[Any], Any]:
    """A function from inputs to raw outputs, of a .keras file or an exported student.

    Args:
        path: of a .keras file, or of what `Distiller.export` wrote.
        output: the `ecl_tf.outputs.Output` that its raw outputs are scored as.
        splits: the data that it is to be asked about; None, the default, does not compare.

    Raises:
        ValueError: if there is no such model, it holds NaN, it answers with probabilities or
            several tensors where raw outputs are expected, or it is for other inputs, another range
            of them, or another number of classes, than the data has.
    """
    if not path.exists():
        raise ValueError(
            f"There is no model at {path}. Train one with `ecl-tf distill`, or name "
            "another with --model."
        )
    if export.is_exported(path):
        exported = ecl_tf.load_student(path)
        _require_exported(exported, output, splits)
        return functools.partial(_raw_of_exported, exported, output, splits)
    model = keras_files.load(path, "Give another copy of it, or delete it and train it again.")
    finite.require_weights(model, "model")
    student = getattr(model, "student", model)  # A distiller's.
    if splits is not None:
        members = getattr(student, "members", [student])
        for member in members:
            fits.require_model("model", member, splits, output)
        for rows, _ in data.evaluation_batches(splits.test, 256).take(1):
            ranges.require_within([("model", member) for member in members], rows)
    if isinstance(model, ecl_tf.Teacher):
        return model
    own = fits.output_of(path, output)
    if isinstance(model, ecl_tf.Distiller):
        own = model.output_kind
        fits.require_family("distiller", own, output)
    else:
        shape = symbolic.shape_for(own, model, "model")
        if shape is not None:
            own.validate(shape, f"model {model.name!r}")
        probabilities.require_logits(own, model, "model")

    def answer(inputs):
        raw = symbolic.only(model(inputs, training=False), f"model {model.name!r}")
        return raw if own == output else positions.with_mask_of(raw, output.raw(own(raw)))

    return answer


def _require_exported(exported, output, splits):
    """Raises ValueError if an exported student answers with something else, or to other inputs."""
    if exported.output.family != output.family:
        raise ValueError(
            f"The exported student answers with {exported.output!r}, and config.output is "
            f"{output!r}. Give a student of the same output."
        )
    if splits is not None:
        names = [tuple(map(str, each.class_names or ())) for each in (exported, splits)]
        if all(names) and names[0] != names[1]:
            raise ValueError(
                f"The exported student's classes are {', '.join(names[0])}, in this order, and the "
                f"data's {', '.join(names[1])}: labels would be compared with other classes. Name "
                "them alike in the data, or give a student that was trained on these."
            )
        sizes = [answer.shape[-1] for answer in exported.parameter_specs.values()]
        shapes = {name: tuple(spec.shape[1:]) for name, spec in exported.input_specs.items()}
        if exported.columns is not None or splits.columns is not None:
            _require_same_columns(exported.columns, splits.columns)
            shapes = {}
        fits.require("exported student", shapes, sizes[0], splits, output)


def _require_same_columns(of_student, of_data):
    """Raises ValueError if an exported student takes other columns than the data has."""
    own, its = (
        {spec.name: type(spec) for spec in each.specs} if each else {}
        for each in (of_student, of_data)
    )
    if own != its:
        raise ValueError(
            f"The exported student takes {of_student or 'rows without names of columns'}, and the "
            f"data has {of_data or 'no columns'}. Give one that was trained on this table."
        )


def _raw_of_exported(exported, output, splits, inputs):
    """What an exported student answers to encoded rows, as raw outputs of `output`."""
    columns = exported.columns if splits is None else splits.columns
    if columns is not None:
        inputs = columns.decode(inputs)
    with warnings.catch_warnings():
        # What training did not know is said of the whole table.
        warnings.filterwarnings("ignore", message=".*They share one category")
        return output.raw(exported(inputs))
