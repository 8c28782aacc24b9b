"""What `trainers.compare` does: settings, their runs, the choice among them, and the scores."""

import dataclasses
import hashlib
import inspect
import itertools
import json
import math
from typing import Any

import keras
from ml_collections import ConfigDict

import ecl_tf
from ecl_tf import data, outputs, samplers, teachers
from ecl_tf.experiments import (
    diagnostics,
    fitting,
    stores,
    strategies,
    tables,
    teaching,
    work_directory,
)
from ecl_tf.experiments.experiment import Experiment, save_model
from trainers import command_line

# What config.methods may say of a method: arguments of the distiller, and how batches are labelled.
_ARGUMENTS = {*inspect.signature(ecl_tf.Distiller).parameters, "labels"}
_ARGUMENTS -= {"student", "teacher", "seed", "name"}
_OWN_METHODS = ("ERM", "standard KD", "tuned KD", "XCL", "teacher")


@dataclasses.dataclass(frozen=True)
class Setting:
    """A method with its settings.

    Attributes:
        method: "ERM", "standard KD", "tuned KD" or "XCL".
        label: the settings in words, unique within the method.
        arguments: of `Experiment.train_supervised` for ERM, else of
            `Experiment.train_distilled`.
    """

    method: str
    label: str
    arguments: dict[str, Any]

    def key(self, seed):
        """The name of a run in results.json."""
        return f"{self.method}, {self.label}, seed {seed}"


def compare_grid(config, workdir):
    """Compares in every cell of config.grid; returns {"cells": {name: results}}.

    The results file is written after every cell.

    Raises:
        ValueError: if --teacher is given for cells with data or teachers of their own.
    """
    own = [key for key, _ in config.grid if key.startswith(("data.", "teacher."))]
    own = [key for key in own if key not in ("teacher.calibrate", "teacher.inference_form")]
    if command_line.TEACHER.value and own:
        raise ValueError(
            f"--teacher would be one teacher for all cells, and config.grid changes {own[0]}: it "
            "may have seen other cells' test rows, or be none of theirs. Leave it away: cells of "
            "equal data and teacher settings share a teacher that is trained once."
        )
    found = {}
    cells = list(grid_cells(config))
    for number, (name, cell) in enumerate(cells):
        work_directory.announce(f"[cell {number + 1}/{len(cells)}] {name}")
        directory = work_directory.claim(workdir / "cells" / name.replace(", ", "_"), cell)
        of_teacher = [cell.get(key) for key in ("seed", "output", "data", "teacher")]
        described = json.dumps(of_teacher, default=lambda section: section.to_dict())
        teacher = workdir / "teachers" / hashlib.sha256(described.encode()).hexdigest()[:12]
        strategies.let_chief(lambda path=teacher: path.mkdir(parents=True, exist_ok=True))
        found[name] = compare_one(cell, directory, teacher)
        work_directory.write_json(workdir / "results.json", {"cells": found})
    return {"cells": found}


def grid_cells(config):
    """Yields the name and the config of every cell of config.grid.

    Raises:
        ValueError: if a name in the grid is no setting of the config.
    """
    axes = []
    for key, values in config.grid:
        named = dict(values) if hasattr(values, "items") else {str(v): v for v in values}
        axes.append([(key, label, value) for label, value in named.items()])
    for cell in itertools.product(*axes):
        own = config.copy_and_resolve_references()
        with own.unlocked(), own.ignore_type():
            del own.grid
            for key, _, value in cell:
                *path, last = key.split(".")
                section = own
                for part in path:
                    section = section.get(part, ConfigDict())
                if last not in section:
                    raise ValueError(f"config.grid names {key!r}, which is no setting.")
                section[last] = ConfigDict(value) if isinstance(value, dict) else value
        yield ", ".join(f"{key}={label}" for key, label, _ in cell), own


def validate(config):
    """Builds the first experiment of a comparison, so that a wrong setting raises ValueError."""
    if config.get("grid"):
        _, config = next(grid_cells(config))
    if config.data.get("held_out") == "all":
        config = config.copy_and_resolve_references()
        config.data.held_out = config.folds[0]
    experiment = Experiment(config)
    xcl(experiment)
    others(experiment)


def compare_one(config, workdir, teacher_directory=None):
    """Compares on one data set, or on all of its folds; finished work is only read."""
    path = workdir / "results.json"
    if path.exists() and "final" in (found := json.loads(path.read_text())):
        if command_line.TEACHER.value and config.data.get("held_out") != "all":
            _require_its_teacher(found, teaching.load_teacher(Experiment(config), workdir), workdir)
        return found
    if config.data.get("held_out") == "all":
        return compare_folds(config, workdir)
    return compare(Experiment(config), workdir, teacher_directory)


def compare_folds(config, workdir):
    """Compares on every fold by itself; returns the averaged results."""
    if command_line.TEACHER.value:
        raise ValueError(
            "--teacher would be one teacher for all folds, and might have seen the persons that "
            "are held out. Leave it away: every fold trains its own."
        )
    results = []
    for number, fold in enumerate(config.folds):
        work_directory.announce(f"[fold {number + 1}/{len(config.folds)}] {fold}")
        own = config.copy_and_resolve_references()
        own.data.held_out = fold
        directory = work_directory.claim(workdir / fold, own)
        results.append(compare(Experiment(own), directory))
    return tables.average(results)


def compare(experiment, workdir, teacher_directory=None):
    """Runs the comparison, or what is left of it; returns the results.

    Args:
        experiment: the `Experiment`.
        workdir: where results and students go.
        teacher_directory: where the teacher is or goes; by default the same.
    """
    if experiment.splits.validation is experiment.splits.train:
        raise ValueError(
            "trainers.compare makes its choices on validation data, and this data set is split "
            "without any. Hold some out, e.g. with --config.data.validation_persons=1."
        )
    to_tune = [erm_settings(experiment), kd_settings(experiment)]
    fixed = [standard_kd(experiment), xcl(experiment), *others(experiment)]
    teacher_directory = teacher_directory or workdir
    teacher = teaching.train_teacher(experiment, teacher_directory)
    stored = stores.Stores(experiment, teacher, teacher_directory / "stores")
    tuning_seeds, final_seeds = seeds(experiment.config)
    total = len(tuning_seeds) * sum(map(len, to_tune))
    total += len(to_tune + fixed) * len(final_seeds)
    runs = Runs(experiment, teacher, stored, workdir, total)

    # All choices are made on validation data.
    chosen = [choose(settings, runs, experiment, tuning_seeds) for settings in to_tune]
    final = [chosen[0], fixed[0], chosen[1], *fixed[1:]]
    for setting, seed in itertools.product(final, final_seeds):
        runs.run(setting, seed)

    runs.read_test(final, final_seeds)
    return runs.results


def seeds(config):
    """The seeds for tuning and, apart from them, for the final runs."""
    first = config.seed + config.tuning_seeds
    return range(config.seed, first), range(first, first + config.seeds)


def erm_settings(experiment):
    """Training on labels: plain, with label smoothing, with mixup, with CutMix."""
    erm = experiment.config.erm
    settings = [Setting("ERM", "plain", {})]
    if erm.get("cutmix_alpha"):
        arguments = {"cutmix_alpha": erm.cutmix_alpha}
        settings.append(Setting("ERM", f"CutMix {erm.cutmix_alpha:g}", arguments))
    if erm.label_smoothing:
        arguments = {"label_smoothing": erm.label_smoothing}
        settings.append(Setting("ERM", f"label smoothing {erm.label_smoothing:g}", arguments))
    if erm.mixup_alpha:
        arguments = {"mixup_alpha": erm.mixup_alpha}
        settings.append(Setting("ERM", f"mixup {erm.mixup_alpha:g}", arguments))
    return settings


def kd_settings(experiment):
    """Distillation on the training inputs, by temperature and label weight."""
    kd = experiment.config.kd
    temperatures = kd.temperatures if experiment.output.takes_temperature else (1.0,)
    return [
        Setting(
            "tuned KD",
            f"T = {temperature:g}, label weight {label_weight:g}",
            {"sampler": "Empirical", "temperature": temperature, "label_weight": label_weight},
        )
        for temperature, label_weight in itertools.product(temperatures, kd.label_weights)
    ]


def standard_kd(experiment):
    """The usual benchmark setting of ordinary distillation."""
    if experiment.output.takes_temperature:
        # 0.9 T^2 KL + 0.1 cross-entropy, up to a factor of 1 / 0.9: nothing to Adam, a
        # learning rate 11 % higher to SGD.
        arguments = {"sampler": "Empirical", "temperature": 4.0, "label_weight": 1 / 9}
        return Setting("standard KD", "T = 4, 0.9 KL + 0.1 labels", arguments)
    # KL between normals of one and the same spread is the squared error of the means.
    # That spread is the targets', so that gradients are as large as other methods'.
    point = experiment.point_output(experiment.splits.target_stddev)
    arguments = {"sampler": "Empirical", "output": point}
    return Setting("standard KD", "squared error to the mean", arguments)


def xcl(experiment):
    """Extracurricular learning as config.xcl says."""
    return distillation("XCL", experiment.xcl_arguments())


def others(experiment):
    """The methods of config.methods.

    Raises:
        ValueError: if one has the name of a method that is always compared, or says what
            `Distiller` does not take.
    """
    methods = experiment.config.get("methods", ConfigDict()).to_dict()
    if taken := sorted(methods.keys() & set(_OWN_METHODS)):
        raise ValueError(
            f"config.methods names {taken[0]!r}, which is compared anyway. Choose another name."
        )
    return [distillation(name, arguments) for name, arguments in methods.items()]


def distillation(method, arguments):
    """A distillation's `Setting`, labelled by its sampler."""
    if unknown := sorted(arguments.keys() - _ARGUMENTS):
        raise ValueError(
            f"{method!r} has the argument {unknown[0]!r}; expected some of {sorted(_ARGUMENTS)}."
        )
    return Setting(method, type(samplers.get(arguments.get("sampler"))).__name__, arguments)


def choose(settings, runs, experiment, tuning_seeds):
    """The setting with the best mean score on validation data, then the best NLL."""

    def rank(setting):
        results = [runs.run(setting, seed)["validation"] for seed in tuning_seeds]
        score = sum(result[experiment.score_name] for result in results)
        return (-score if experiment.higher_is_better else score, sum(r["nll"] for r in results))

    chosen = settings[strategies.of_chief(settings.index(min(settings, key=rank)))]
    work_directory.announce(f"Chosen for {chosen.method} on validation data: {chosen.label}")
    return chosen


def _require_its_teacher(results, teacher, workdir):
    """The teacher's fingerprint, if it is that of the results, or they have none yet."""
    own = teacher.fingerprint()
    if results.get("teacher_fingerprint", own) != own:
        raise ValueError(
            f"The students in {workdir} learned from another teacher than this one. Give "
            "the same --teacher to continue, or choose another --workdir."
        )
    return own


class Runs:
    """Trains settings seed by seed, records each in results.json, and skips what is there.

    Args:
        experiment: the `Experiment`.
        teacher: the `ecl_tf.Teacher`.
        stored: the `stores.Stores` of its answers.
        workdir: the work directory.
        total: the number of runs, for the progress line.
    """

    def __init__(self, experiment, teacher, stored, workdir, total):
        self.experiment = experiment
        self.teacher = teacher
        self.stored = stored
        self.path = workdir / "results.json"
        self.students = workdir / "students"
        self.checkpoints = workdir / "checkpoints"
        strategies.let_chief(lambda: self.students.mkdir(exist_ok=True))
        self.total = total
        self.done = 0
        self.results = {
            "score": experiment.score_name,
            "higher_is_better": experiment.higher_is_better,
            "student_steps": experiment.config.student.train.steps,
            "replay_epochs": stored.epochs,
            "runs": {},
        }
        if self.path.exists():
            self.results = json.loads(self.path.read_text())
        self.results["teacher_fingerprint"] = _require_its_teacher(self.results, teacher, workdir)

    def run(self, setting, seed):
        """Trains one student, or finds it done; returns its record."""
        self.done += 1
        key = setting.key(seed)
        if key in self.results["runs"]:
            return self.results["runs"][key]
        store = None if setting.method == "ERM" else self.stored.of(**setting.arguments)
        work_directory.announce(f"[run {self.done}/{self.total}] {key}")
        number = len(self.results["runs"])
        checkpoints = self.checkpoints / str(number)
        student, output, (curve, stopwatch) = self._train(setting, seed, checkpoints, store)
        path = self.students / f"{number}.keras"
        save_model(student, path)
        record = {
            "method": setting.method,
            "label": setting.label,
            "seed": seed,
            "seconds": round(stopwatch.seconds, 2),
            "student": path.name,
            "output": keras.saving.serialize_keras_object(output),
            "curve": curve.points,
            "validation": self.experiment.evaluate(student, "validation", output),
        }
        work_directory.announce(f"    validation {work_directory.describe(record['validation'])}")
        self.results["runs"][key] = record
        work_directory.write_json(self.path, self.results)
        fitting.forget(checkpoints)
        return record

    def _train(self, setting, seed, checkpoints, store):
        """Returns the student, the output that its raw tensor stands for, curve and stopwatch."""
        experiment = self.experiment
        output = setting.arguments.get("output", experiment.output)
        watching = [diagnostics.LearningCurve(experiment, output), fitting.Stopwatch()]
        if setting.method == "ERM":
            section = experiment.config.student
            student = experiment.train_supervised(
                section, seed, watching, checkpoints, **setting.arguments
            )
        else:
            student = experiment.train_distilled(
                store.teacher if store else self.teacher,
                seed,
                callbacks=watching,
                checkpoints=checkpoints,
                store=store,
                **setting.arguments,
            )
        if isinstance(output, outputs.Point):
            # A student of points has no spread of its own: measure it, in the target's units.
            def points(inputs, training):
                return output.prediction(student(inputs, training=training))

            validation = data.evaluation_batches(experiment.splits.validation)
            output = experiment.point_output(teachers.residual_stddev(points, validation))
        return student, output, watching

    def read_test(self, settings, final_seeds):
        """Scores the teacher and the final runs on the test split, once."""
        if "teacher" in self.results:
            return
        experiment = self.experiment
        final: dict[str, list] = {}
        first: dict[str, tuple] = {}
        for setting in settings:
            keys = [setting.key(seed) for seed in final_seeds]
            final[setting.method] = keys
            for key in keys:
                record = self.results["runs"][key]
                student = keras.models.load_model(self.students / record["student"], compile=False)
                output = outputs.get(record["output"])
                labels, raw = experiment.answers(student, "test", output)
                record["test"] = experiment.scores(labels, raw, output)
                record["reliability"] = diagnostics.reliability(labels, raw, output)
                first.setdefault(setting.method, (student, output))
        labels, raw = experiment.answers(self.teacher, "test")
        weights = self.teacher.weights
        sampler = experiment.xcl_arguments().get("sampler")
        self.results |= {
            "final": final,
            "teacher": experiment.scores(labels, raw),
            "teacher_reliability": diagnostics.reliability(labels, raw, experiment.output),
            "teacher_weights": sum(math.prod(weight.shape) for weight in weights),
            "student_weights": student.count_params(),
            "gallery": diagnostics.gallery(experiment, self.teacher, first, sampler),
            "one_dimension": diagnostics.one_dimension(experiment, self.teacher, first),
        }
        work_directory.write_json(self.path, self.results)
