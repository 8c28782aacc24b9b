"""Compares XCL with ordinary distillation and training on labels, over several seeds.

    python -m trainers.compare --config=configs/digits.py --workdir=runs/digits

trains the teacher ensemble, chooses the settings of ERM and of tuned KD on validation
data, trains all methods with the same number of student steps, reads the test split
once, and writes to WORKDIR: results.json, table.md, plot.png, and the students. A run
that was stopped continues after its last finished training. With config.data.held_out="all"
it does so for each of config.folds, in WORKDIR/FOLD, and averages their test scores.

The methods:
    ERM          labels only; the best of plain, label smoothing and mixup
    standard KD  T = 4, 0.9 T^2 KL + 0.1 cross-entropy on the training inputs; for
                 regression, squared error to the teacher's mean
    tuned KD     KL on the training inputs; the best temperature and label weight
    XCL          as config.xcl says, nothing tuned
"""

import dataclasses
import itertools
import json
import math
import time
from typing import Any

import keras
from absl import app, flags

from ecl_tf import data, outputs, teachers
from trainers import report, runtime, teaching
from trainers.experiment import Experiment, save_model

flags.adopt_module_key_flags(runtime)
flags.adopt_module_key_flags(teaching)


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


def main(_):
    config = runtime.CONFIG.value
    workdir = runtime.claim(runtime.WORKDIR.value, config)
    if config.data.get("held_out") == "all":
        results = compare_folds(config, workdir)
    else:
        results = compare(Experiment(config), workdir)
    runtime.write_json(workdir / "results.json", results)
    table = report.table(results)
    (workdir / "table.md").write_text(table)
    report.plot(results, workdir / "plot.png")
    runtime.announce(f"\n{table}\nWritten to {workdir}: results.json, table.md, plot.png")


def compare_folds(config, workdir):
    """Compares on every fold by itself; returns the averaged results."""
    if teaching.TEACHER.value:
        raise ValueError(
            "--teacher would be one teacher for all folds, and might have seen the persons that "
            "are held out. Leave it away: every fold trains its own."
        )
    results = []
    for number, fold in enumerate(config.folds):
        runtime.announce(f"[fold {number + 1}/{len(config.folds)}] {fold}")
        own = config.copy_and_resolve_references()
        own.data.held_out = fold
        directory = runtime.claim(workdir / fold, own)
        results.append(compare(Experiment(own), directory))
    return report.average(results)


def compare(experiment, workdir):
    """Runs the comparison, or what is left of it; returns the results."""
    if experiment.splits.validation is experiment.splits.train:
        raise ValueError(
            "trainers.compare makes its choices on validation data, and this data set is split "
            "without any. Hold some out, e.g. with --config.data.validation_persons=1."
        )
    teacher = teaching.train_teacher(experiment, workdir)
    tuning_seeds, final_seeds = seeds(experiment.config)
    to_tune = [erm_settings(experiment), kd_settings(experiment)]
    fixed = [standard_kd(experiment), xcl(experiment)]
    total = len(tuning_seeds) * sum(map(len, to_tune))
    total += len(to_tune + fixed) * len(final_seeds)
    runs = Runs(experiment, teacher, workdir, total)

    # All choices are made on validation data.
    chosen = [choose(settings, runs, experiment, tuning_seeds) for settings in to_tune]
    final = [chosen[0], fixed[0], chosen[1], fixed[1]]
    for setting, seed in itertools.product(final, final_seeds):
        runs.run(setting, seed)

    runs.read_test(final, final_seeds)
    return runs.results


def seeds(config):
    """The seeds for tuning and, apart from them, for the final runs."""
    first = config.seed + config.tuning_seeds
    return range(config.seed, first), range(first, first + config.seeds)


def erm_settings(experiment):
    """Training on labels: plain, with label smoothing, with mixup."""
    erm = experiment.config.erm
    settings = [Setting("ERM", "plain", {})]
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
    arguments = experiment.xcl_arguments()
    return Setting("XCL", arguments["sampler"]["class_name"], arguments)


def choose(settings, runs, experiment, tuning_seeds):
    """The setting with the best mean score on validation data, then the best NLL."""

    def rank(setting):
        results = [runs.run(setting, seed)["validation"] for seed in tuning_seeds]
        score = sum(result[experiment.score_name] for result in results)
        return (-score if experiment.higher_is_better else score, sum(r["nll"] for r in results))

    chosen = min(settings, key=rank)
    runtime.announce(f"Chosen for {chosen.method} on validation data: {chosen.label}")
    return chosen


class Runs:
    """Trains settings seed by seed, records each in results.json, and skips what is there.

    Args:
        experiment: the `Experiment`.
        teacher: the `ecl_tf.Teacher`.
        workdir: the work directory.
        total: the number of runs, for the progress line.
    """

    def __init__(self, experiment, teacher, workdir, total):
        self.experiment = experiment
        self.teacher = teacher
        self.path = workdir / "results.json"
        self.students = workdir / "students"
        self.students.mkdir(exist_ok=True)
        self.total = total
        self.done = 0
        self.results = {
            "score": experiment.score_name,
            "higher_is_better": experiment.higher_is_better,
            "student_steps": experiment.config.student.train.steps,
            "runs": {},
        }
        if self.path.exists():
            self.results = json.loads(self.path.read_text())

    def run(self, setting, seed):
        """Trains one student, or finds it done; returns its record."""
        self.done += 1
        key = setting.key(seed)
        if key in self.results["runs"]:
            return self.results["runs"][key]
        runtime.announce(f"[run {self.done}/{self.total}] {key}")
        start = time.monotonic()
        student, output = self._train(setting, seed)
        seconds = time.monotonic() - start
        path = self.students / f"{len(self.results['runs'])}.keras"
        save_model(student, path)
        record = {
            "method": setting.method,
            "label": setting.label,
            "seed": seed,
            "seconds": round(seconds, 2),
            "student": path.name,
            "output": keras.saving.serialize_keras_object(output),
            "validation": self.experiment.evaluate(student, "validation", output),
        }
        runtime.announce(f"    validation {runtime.describe(record['validation'])}")
        self.results["runs"][key] = record
        runtime.write_json(self.path, self.results)
        return record

    def _train(self, setting, seed):
        """Returns the student and the output that its raw tensor stands for."""
        experiment = self.experiment
        if setting.method == "ERM":
            section = experiment.config.student
            return experiment.train_supervised(
                section, seed, **setting.arguments
            ), experiment.output
        student = experiment.train_distilled(self.teacher, seed, **setting.arguments)
        output = setting.arguments.get("output", experiment.output)
        if isinstance(output, outputs.Point):
            # A student of points has no spread of its own: measure it, in the target's units.
            def points(inputs, training):
                return output.prediction(student(inputs, training=training))

            validation = data.evaluation_batches(experiment.splits.validation)
            output = experiment.point_output(teachers.residual_stddev(points, validation))
        return student, output

    def read_test(self, settings, final_seeds):
        """Scores the teacher and the final runs on the test split, once."""
        if "teacher" in self.results:
            return
        final = {}
        for setting in settings:
            keys = [setting.key(seed) for seed in final_seeds]
            final[setting.method] = keys
            for key in keys:
                record = self.results["runs"][key]
                student = keras.models.load_model(self.students / record["student"], compile=False)
                output = outputs.get(record["output"])
                record["test"] = self.experiment.evaluate(student, "test", output)
        self.results["final"] = final
        self.results["teacher"] = self.experiment.evaluate(self.teacher, "test")
        weights = self.teacher.weights
        self.results["teacher_weights"] = sum(math.prod(weight.shape) for weight in weights)
        self.results["student_weights"] = student.count_params()
        runtime.write_json(self.path, self.results)


if __name__ == "__main__":
    app.run(main)
