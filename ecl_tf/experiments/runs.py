"""The trainings of a comparison: each is recorded in results.json, and done once."""

import math
import re
import time

import keras

from ecl_tf import outputs, teachers
from ecl_tf._internal import identity, keras_files, positions
from ecl_tf.experiments import (
    closeness,
    diagnostics,
    fitting,
    jobs,
    lengths,
    logs,
    progress,
    provenance,
    quality,
    strategies,
    suite,
    work_directory,
)
from ecl_tf.experiments.experiment import save_model


def require_its_teacher(results, teacher, workdir):
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

    Where jobs are shared, results.json holds what all processes have recorded.

    Args:
        total: the number of runs, for the progress line.
        name: of the experiment, for the same line, where there are several; "" by default.
    """

    def __init__(self, experiment, teacher, stored, workdir, total, name=""):
        self.experiment = experiment
        self.teacher = teacher
        self.stored = stored
        self.divergences = closeness.Divergences(experiment, teacher)
        self.path = workdir / "results.json"
        self.students = workdir / "students"
        self.checkpoints = workdir / "checkpoints"
        strategies.on_chief(lambda: self.students.mkdir(exist_ok=True))
        self.total = total
        self.heading = f"{name}, run" if name else "run"
        self.results = {
            "score": experiment.score_name,
            "higher_is_better": experiment.higher_is_better,
            "positions": list(experiment.positions),
            "student_steps": experiment.config.student.train.steps,
            "ends_by_itself": lengths.is_auto(experiment.config.student.train),
            "replay_epochs": stored.epochs,
            "runs": {},
        }
        if self.path.exists():
            self.results = work_directory.read_json(self.path)
        strategies.wait_for_all()  # The chief may write it from now on.
        self.results["teacher_fingerprint"] = require_its_teacher(self.results, teacher, workdir)
        self._began, self._done_before = time.monotonic(), len(self.results["runs"])

    def refresh(self):
        """Takes over what other processes have recorded."""
        if jobs.are_shared() and self.path.exists():
            self.results = work_directory.read_json(self.path)

    def _record(self, runs=None, **others):
        """Adds records of runs, and other results, to results.json."""
        with jobs.turn(self.path):
            self.refresh()
            self.results |= {**others, "runs": {**self.results["runs"], **(runs or {})}}
            work_directory.write_json(self.path, self.results)

    def teacher_quality(self):
        """The teacher's scores on validation and training rows, told and recorded once."""

        def measure():
            self._record(teacher_quality=quality.of_teacher(self.experiment, self.teacher))

        self._complete("teacher_quality", measure)
        return self.results["teacher_quality"]

    def _complete(self, name, do):
        """Has done once what writes an entry of the results."""
        jobs.complete([jobs.Job(self.path / name, lambda: self._has(name), do)])

    def _has(self, name):
        if name not in self.results:
            self.refresh()
        return name in self.results

    def has(self, setting, seed):
        """Whether a run is recorded."""
        if (key := setting.key(seed)) not in self.results["runs"]:
            self.refresh()
        return key in self.results["runs"]

    def job(self, setting, seed):
        """A run as a `jobs.Job`."""
        return jobs.Job(
            self.path / setting.key(seed),
            lambda: self.has(setting, seed),
            lambda: self._run(setting, seed),
        )

    def run(self, setting, seed):
        """Trains one student, or finds it done; returns its record."""
        jobs.complete([self.job(setting, seed)])
        return self.results["runs"][setting.key(seed)]

    def _run(self, setting, seed):
        """Trains one student and records it.

        A run that is the same training as another one has its student, too.
        """
        key = setting.key(seed)
        done = len(self.results["runs"])
        place = f"[{self.heading} {done + 1}/{self.total}] {key}"
        if setting.same_as and self.has(same := setting.same(), seed):
            progress.announce(f"{place}: as {same.key(seed)}")
            record = {**self.results["runs"][same.key(seed)], "method": setting.method}
            self._record(runs={key: record})
            return
        store = None if setting.method == "ERM" else self.stored.of(**setting.arguments)
        progress.announce(place + self._left(done))
        name = _file_name(key)
        checkpoints = self.checkpoints / name
        about = {"method": setting.method, "label": setting.label, "seed": seed}
        with logs.Run(self.path.parent, name, key, **about) as run:
            student, output, curve, stopwatch = self._train(setting, seed, checkpoints, store, run)
            path = self.students / f"{name}.keras"
            save_model(student, path, output)
            record = {
                **about,
                "seconds": round(stopwatch.seconds, 2),
                "student": path.name,
                "output": keras.saving.serialize_keras_object(output),
                "curve": curve.points,
                "steps": curve.points[-1]["step"],
                **self._measured(student, output),
            }
            run.scores(record["steps"], "validation", record["validation"])
        progress.announce(f"    validation {progress.describe(record['validation'])}")
        apart = progress.describe(record["divergence"])
        progress.announce(f"    divergence from the teacher, nats: {apart}")
        self._record(runs={key: record})
        fitting.forget(checkpoints)

    def _left(self, done):
        """How long all runs that are left would take at the pace so far, in brackets."""
        if done == self._done_before:
            return ""
        pace = (time.monotonic() - self._began) / (done - self._done_before)
        return f" (about {progress.duration(pace * (self.total - done))} left for all runs)"

    def _train(self, setting, seed, checkpoints, store, run):
        """Returns the student, the output that its raw tensor stands for, curve and stopwatch."""
        experiment = self.experiment
        output = setting.arguments.get("output", experiment.output)
        curve, stopwatch = diagnostics.LearningCurve(experiment, output), fitting.Stopwatch()
        file = logs.csv_path(self.path.parent, checkpoints.name)
        watching = [curve, stopwatch, logs.TrainingLog(file, run, curve)]
        if setting.method == "ERM":
            section = experiment.config.student
            student = experiment.train_supervised(
                section, seed, watching, checkpoints, **setting.arguments
            )
        else:
            student = experiment.train_distilled(
                self.teacher,
                seed,
                callbacks=watching,
                checkpoints=checkpoints,
                store=store,
                **setting.arguments,
            )
        if isinstance(output, outputs.Point):
            # A student of points has no spread of its own: measure it, in the target's units.
            def points(inputs, training):
                raw = student(inputs, training=training)
                return positions.with_mask_of(raw, output.prediction(raw))

            validation = experiment.counted.batches(experiment.splits.validation)
            output = experiment.point_output(teachers.residual_stddev(points, validation))
        return student, output, curve, stopwatch

    def _measured(self, student, output):
        """A student's scores on validation rows, and its divergences from the teacher."""
        labels, raw = self.experiment.answers(student, "validation", output)
        return {
            "validation": self.experiment.scores(labels, raw, output),
            "divergence": {
                "train": self.divergences.of(student, "train", output),
                "validation": self.divergences.of(student, "validation", output, raw),
            },
        }

    def read_test(self, settings, final_seeds):
        """Scores the teacher and the final runs on the test split, once."""
        self._complete("teacher", lambda: self._read_test(settings, final_seeds))

    def _read_test(self, settings, final_seeds):
        self.refresh()
        experiment = self.experiment
        final: dict[str, list] = {}
        first: dict[str, tuple] = {}
        labels, of_teacher = self.divergences.of_teacher("test")
        for setting in settings:
            keys = [setting.key(seed) for seed in final_seeds]
            final[setting.method] = keys
            for key in keys:
                record = self.results["runs"][key]
                student = keras_files.load(
                    self.students / record["student"],
                    "Restore it from a copy, or compare again in a new --workdir.",
                )
                output = outputs.get(record["output"])
                if "divergence" not in record:  # It is of an earlier version.
                    record["divergence"] = self._measured(student, output)["divergence"]
                record["weights"] = student.count_params()
                _, raw = experiment.answers(student, "test", output)
                record["divergence"]["test"] = self.divergences.of(student, "test", output, raw)
                record["test"] = {
                    **experiment.scores(labels, raw, output),
                    **experiment.scores_of_sets(student, labels, raw, output),
                }
                record["suite"] = suite.of_answers(
                    experiment, output, raw, labels, record["test"], of_teacher
                )
                record["reliability"] = diagnostics.reliability(labels, raw, output)
                record["risk_coverage"] = diagnostics.risk_coverage(labels, raw, output)
                first.setdefault(setting.method, (student, output))
        scores = {
            **experiment.scores(labels, of_teacher),
            **experiment.scores_of_sets(self.teacher, labels, of_teacher),
        }
        output = experiment.output
        weights = self.teacher.weights
        sampler = next(s.arguments.get("sampler") for s in settings if s.method == "XCL")
        self._record(
            runs=self.results["runs"],
            final=final,
            teacher=scores,
            teacher_suite=suite.of_answers(experiment, output, of_teacher, labels, scores),
            conformal=experiment.config.student.conformal,
            teacher_reliability=diagnostics.reliability(labels, of_teacher, output),
            teacher_risk_coverage=diagnostics.risk_coverage(labels, of_teacher, output),
            teacher_weights=sum(math.prod(weight.shape) for weight in weights),
            student_weights=student.count_params(),
            student_quantization=experiment.config.student.quantization,
            gallery=diagnostics.gallery(experiment, self.teacher, first, sampler),
            one_dimension=diagnostics.one_dimension(experiment, self.teacher, first),
            about=provenance.of(experiment, self.path.parent, labels),
        )


def _file_name(key):
    """A run's name as that of a file, which tells what it is: other runs have other ones."""
    words = re.sub(r"[^0-9A-Za-z.=-]+", "_", key)[:60]
    return f"{words}_{identity.fingerprint_of_text(key)[:6]}"
