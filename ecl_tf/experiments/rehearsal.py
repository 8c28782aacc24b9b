"""A rehearsal: every kind of training of a run takes one step, before the first one begins."""

import contextlib
import dataclasses
import json
import logging
import math
import pathlib
import random
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

import ecl_tf
from ecl_tf import data, outputs, replay, samplers
from ecl_tf._internal import identity, keras_files, loggers, replicas
from ecl_tf.experiments import (
    answers,
    best,
    distillation,
    lengths,
    methods,
    progress,
    refusals,
    slow_precision,
    stores,
    strategies,
    suite,
    teaching,
)
from ecl_tf.experiments.experiment import Experiment
from ecl_tf.replay.manifest import MANIFEST
from ecl_tf.resume.state import State

_VALIDATION_ROWS = 512  # One batch.
_TIMED_SECONDS = 1.0  # Of each kind of training, at least, for the plan.
_LARGE = 1e9  # Bytes of stored answers that are told of beforehand.
_CHECKPOINTS = 3  # The last two, and one that is being written.


@dataclasses.dataclass
class _Cost:
    """What a training of some kind takes.

    Attributes:
        beginning: seconds until its first step is done.
        step: seconds of each further step; 0 by default, which is not measured.
        validation: seconds of a validation; 0 by default, which is not measured.
        bytes: of the file of its network; 0 by default, which is not measured.
        checkpoints: bytes of the checkpoints that are there while it trains; 0 by default.
    """

    beginning: float
    step: float = 0.0
    validation: float = 0.0
    bytes: int = 0
    checkpoints: int = 0


@dataclasses.dataclass
class _Item:
    """A line of the plan: trainings of one kind.

    Attributes:
        name: what is trained, in words.
        count: how many times.
        train: the `settings.Train`.
        cost: the `_Cost` of each.
    """

    name: str
    count: int
    train: Any
    cost: _Cost

    @property
    def steps(self) -> tuple[int, int]:
        """The fewest and the most of each."""
        return lengths.least_steps(self.train), self.train.steps

    @property
    def seconds(self) -> np.ndarray:
        """Of all of them, with the fewest and with the most steps."""
        steps = np.array(self.steps)
        validations = self.train.epochs * steps / self.train.steps
        each = self.cost.beginning + steps * self.cost.step + validations * self.cost.validation
        return self.count * each


class Rehearsal:
    """Builds what a run will build, and has each kind of training take one step on a batch.

    Settings that differ in numbers only, such as temperatures, are of one kind. The code is that
    of the run, on its data and with its batches. A teacher that is yet to be trained is played by
    untrained members. What goes wrong is blamed on the setting that it comes from.

    Args:
        measures: whether further steps are timed, and the networks' files measured, for the
            plan; False by default.
    """

    def __init__(self, measures: bool = False):
        self.measures = measures
        self._plan: list[_Item] = []
        self._recordings: dict[pathlib.Path, dict[str, float]] = {}
        self._stores: dict[str, stores.Few] = {}
        self._costs: dict[str, _Cost] = {}
        self._members: dict[str, keras.Model] = {}
        self._planned: set[pathlib.Path] = set()
        self._exported: set[str] = set()
        self._suites: list[tuple[float, str]] = []  # Seconds, and of what.
        # The settings of the data that was read last, its splits, and these shortened.
        self._data: tuple[str, Any, Any] = ("", None, None)
        self._parts_of_validation = 1.0

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """What is rehearsed within it prints one line at its end, and leaves no other trace."""
        begun = time.monotonic()
        states = random.getstate(), np.random.get_state()
        try:
            with (
                loggers.at_least(logging.ERROR, tf.get_logger().name),  # It warns of many graphs.
                warnings.catch_warnings(),
                progress.quiet(says_data=True),
                replicas.explaining_a_lost_worker(),
            ):
                warnings.simplefilter("ignore")  # The run itself will give them.
                yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
        if self._costs:
            progress.announce(
                f"[rehearsal] {len(self._costs)} kinds of training took one step each on a batch, "
                f"{time.monotonic() - begun:.0f} s"
            )
        size = sum(each["bytes"] for each in self._recordings.values())
        if size > _LARGE:
            progress.announce(f"[rehearsal] The teacher's stored answers will take {_size(size)}.")

    def experiment(self, config: ConfigDict, splits: data.Splits | None = None) -> Experiment:
        """An `Experiment` whose trainings take one step.

        Args:
            splits: its data; None, the default, loads it.
        """
        described = json.dumps(config.data.to_dict(), sort_keys=True, default=str)
        if splits is None and self._data[0] == described:
            splits = self._data[1]
        experiment = _Rehearsed(config, splits=splits)
        slow_precision.tell(experiment.config)
        experiment.measures = self.measures
        if experiment.splits is not self._data[1]:
            rows = int(experiment.splits.validation.cardinality())
            self._parts_of_validation = max(rows / _VALIDATION_ROWS, 1.0)
            self._data = described, experiment.splits, _shortened(experiment.splits)
        experiment.splits = self._data[2]
        return experiment

    def teacher(
        self,
        experiment: Experiment,
        workdir: pathlib.Path,
        directory: str | pathlib.Path | None = None,
    ) -> ecl_tf.Teacher:
        """Rehearses the training of the members that are not there yet.

        Args:
            workdir: where the members are, or will be.

        Returns:
            The teacher, or one of untrained members that stands in for it.
        """
        section, seed = experiment.config.teacher, experiment.config.seed
        if not teaching.is_trained_here(experiment, directory):
            return self.load_teacher(experiment, workdir, directory)
        paths = [teaching.member_path(workdir, number) for number in range(section.members)]
        missing = {path for path in paths if not path.exists()}
        if not missing:
            return self.load_teacher(experiment, workdir)
        self.read_batch(experiment, "teacher")
        kind = _kind(experiment, section, labels=section.labels)
        with refusals.blaming("config.teacher", section):
            if kind not in self._members:

                def train():
                    return experiment.train_supervised(section, seed, labels=section.labels)

                member = self._members[kind] = self._measured(kind, experiment, train)
                _require_loadable(member, section)
            teacher = teaching.ensemble(experiment, [self._members[kind]] * section.members)
        count = len(missing - self._planned)
        self._planned |= missing
        self._plan.append(_Item("teacher", count, section.train, self._costs[kind]))
        return teacher

    def load_teacher(
        self,
        experiment: Experiment,
        workdir: pathlib.Path,
        directory: str | pathlib.Path | None = None,
    ) -> ecl_tf.Teacher:
        """Loads a teacher as `teaching.load_teacher` does; the arguments are the same."""
        blame: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        section = experiment.config.teacher
        if directory is not None:
            blame = refusals.blaming("--teacher", str(directory))
        elif section.function is not None:
            blame = refusals.blaming("config.teacher.function", section.function)
        elif section.pretrained is not None:
            blame = refusals.blaming("config.teacher.pretrained", section.pretrained)
        with blame:
            return teaching.load_teacher(experiment, workdir, directory)

    def student(
        self,
        experiment: Experiment,
        teacher: ecl_tf.Teacher,
        setting: methods.Setting,
        count: int,
        stored: pathlib.Path | None = None,
    ) -> None:
        """Rehearses a training of `ecl-tf compare`.

        Args:
            count: how many times it will be trained; with 0 nothing is rehearsed.
            stored: where stores of the teacher's answers are, or will be.
        """
        section, seed = experiment.config.student, experiment.config.seed
        arguments = setting.arguments
        is_erm = setting.method == "ERM"
        kind, plan = _kind(experiment, section, method=is_erm, **arguments), None
        if not count:
            return
        if stored is not None and not is_erm:
            with refusals.blaming("config.replay_epochs", experiment.config.replay_epochs):
                plan = stores.planned(experiment, **arguments)
        if plan is not None:  # As in the run no step asks the teacher.
            kind += " of a store"
        if kind not in self._costs:
            known = None if plan is None else self._few(experiment, teacher, *plan)
            with refusals.blaming(*setting.blamed(experiment.config)):

                def train():
                    if is_erm:
                        return experiment.train_supervised(section, seed, **arguments)
                    store = known
                    if store is None and answers.suffice(experiment, **arguments):
                        store = answers.ask(experiment, teacher, section.train.batch_size)
                    return experiment.train_distilled(teacher, seed, store=store, **arguments)

                student = self._measured(kind, experiment, train, arguments.get("output"))
            with refusals.blaming("config.student.network", section.network):
                _require_loadable(student, section)
        self._plan.append(_Item(setting.method, count, section.train, self._costs[kind]))
        if plan is not None:
            self._record(experiment, teacher, plan, stored)

    def distillation(
        self,
        experiment: Experiment,
        teacher: ecl_tf.Teacher,
        store: replay.Store | None = None,
        count: int = 1,
    ) -> None:
        """Rehearses `ecl-tf distill`.

        Args:
            teacher: as `teacher` returned it, or the store's.
            store: a store of its answers; None by default.
            count: how many trainings the plan has of it, 1 by default.
        """
        section, xcl = experiment.config.student, experiment.config.xcl
        if store is None:
            self.read_batch(experiment, "student")
        with refusals.blaming("config.xcl", xcl):

            def train():
                distiller, _ = distillation.train(experiment, teacher, store)
                return distiller.student

            self._measured("distill", experiment, train)
        self._plan.append(_Item("student", count, section.train, self._costs["distill"]))

    def export(self, experiment: Experiment) -> None:
        """Tries the formats of config.export that may not hold every network."""
        kind = _kind(experiment, experiment.config.student, export=experiment.config.export)
        if kind not in self._exported:
            best.try_formats(experiment)
            self._exported.add(kind)

    def suite(self, experiment: Experiment, teacher: ecl_tf.Teacher, students: int) -> None:
        """Makes the inputs of the suite of a few rows, and takes the time of it for the plan.

        Args:
            students: how many final students there will be.
        """
        suite.rehearse(experiment)
        if self.measures:
            seconds, sets, rows = suite.seconds(experiment, teacher, students)
            self._suites.append((seconds, f"{students + 1} networks, {sets} sets of {rows:,} rows"))

    def read_batch(self, experiment: Experiment, name: str) -> None:
        """Reads a batch of config.teacher or config.student.

        Args:
            name: "teacher" or "student".
        """
        section = getattr(experiment.config, name)
        size = section.train.batch_size
        with refusals.blaming(f"config.{name}.train.batch_size", size):
            data.splits.validate_batch_size(int(experiment.splits.train.cardinality()), size)
        with refusals.blaming("config.data", experiment.config.data):
            next(iter(experiment.batches(section, experiment.config.seed)))

    def tell_plan(self) -> None:
        """Prints what the run would train, and about how long and how large it would be."""
        by_name: dict[str, list[_Item]] = {}
        for item in filter(lambda item: item.count, self._plan):
            steps = " to ".join(f"{each:,}" for each in dict.fromkeys(item.steps))
            auto = "auto: " * lengths.is_auto(item.train)
            by_name.setdefault(f"{item.name}, {auto}{steps} steps", []).append(item)
        progress.announce("The plan, from a few steps on this machine:")
        for name, items in by_name.items():
            count = sum(item.count for item in items)
            progress.announce(f"    {count:,} x {name}: {_time(_seconds(items))}")
        for directory, cost in self._recordings.items():
            progress.announce(
                f"    stored answers of the teacher, {cost['rows']:,} rows, {directory.name}: "
                f"{_time(cost['seconds'])}, {_size(cost['bytes'])}"
            )
        for seconds, described in self._suites:
            progress.announce(f"    suite, {described}: {_time(seconds)}")
        costs = self._recordings.values()
        seconds = _seconds(self._plan) + sum(cost["seconds"] for cost in costs)
        seconds += sum(each for each, _ in self._suites)
        networks = sum(item.count * item.cost.bytes for item in self._plan)
        size = networks + sum(cost["bytes"] for cost in costs)
        beside = max((item.cost.checkpoints for item in self._plan), default=0)
        progress.announce(
            f"In all about {_time(seconds)}. Files: about {_size(size)} of networks and stored "
            f"answers, and up to {_size(beside)} of checkpoints while a training is under way. "
            "This is a dry run: nothing was written."
        )

    def _measured(self, kind, experiment, train, output=None):
        """Has a training take its step and validate; keeps its cost, and returns its network."""
        begun = time.perf_counter()
        network = train()
        cost = _Cost(experiment.first_step_at - begun, experiment.step_seconds)
        begun = time.perf_counter()
        experiment.evaluate(network, "validation", output)
        if self.measures:
            seconds = time.perf_counter() - begun
            cost.validation = self._parts_of_validation * seconds
            cost.checkpoints = experiment.checkpoint_bytes
            with tempfile.TemporaryDirectory() as directory:
                path = pathlib.Path(directory, "network.keras")
                network.save(path)
                cost.bytes = path.stat().st_size
        self._costs[kind] = cost
        return network

    def _few(self, experiment, teacher, name, plan):
        """A store of a few steps, which is written once for all students that have one like it."""
        replay_epochs = experiment.config.replay_epochs
        with refusals.blaming("config.replay_epochs", replay_epochs):
            if name not in self._stores:
                self._stores[name] = stores.Few(teacher, plan)
        return self._stores[name]

    def _record(self, experiment, teacher, named, stored):
        """Answers a few batches, as they will be stored."""
        name, plan = named
        replay_epochs = experiment.config.replay_epochs
        with refusals.blaming("config.replay_epochs", replay_epochs):
            if stored / name in self._recordings:
                return
            found = replay.estimate(teacher, **plan, steps=5 if self.measures else 1)
            self._recordings[stored / name] = found
            sizes = {place: each["bytes"] for place, each in self._recordings.items()}
            _require_room(stored, sum(_left(*each) for each in sizes.items()))


class _Rehearsed(Experiment):
    """An experiment whose trainings take one step, or a few that are timed.

    Attributes:
        measures: whether steps are timed.
        first_step_at: when the last training had taken its first step.
        step_seconds: seconds of a further step; 0 if it was not timed.
        checkpoint_bytes: what its checkpoints would take, all that are there at a time.
    """

    measures = False

    def fit(self, model, batches, train, checkpoints=None, callbacks=(), score=None, **kwargs):
        own = strategies.steps_per_execution(train)
        kwargs = {"epochs": 1, "verbose": 0, "shuffle": False, **kwargs}
        State(model, batches(0).element_spec)  # With which `resume.fit` begins.
        # Several steps an execution would be taken at once, if there were so many batches.
        one = batches(0).take(1) if own > 1 else batches(0)
        history = model.fit(one, steps_per_epoch=1, callbacks=list(callbacks), **kwargs)
        if score is not None:
            score(model)
        self.first_step_at, self.step_seconds = time.perf_counter(), 0.0
        variables = [*model.trainable_variables, *model.optimizer.variables]
        each = sum(math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in variables)
        self.checkpoint_bytes = _CHECKPOINTS * each
        if self.measures and not model.stop_training:
            kwargs.pop("validation_data", None)
            executions, seconds = 1, 0.0
            # As long as the chief says: all workers take the same steps.
            while strategies.of_chief(seconds < _TIMED_SECONDS and executions * own <= train.steps):
                begun = time.perf_counter()
                model.fit(batches(0), steps_per_epoch=executions * own, **kwargs)
                seconds = time.perf_counter() - begun
                self.step_seconds = seconds / (executions * own)
                executions *= 4
        return history


def _left(store, size):
    """The bytes of a store that are not written yet."""
    if (store / MANIFEST).exists():
        return 0
    written = sum(each.stat().st_size for each in store.glob("**/*") if each.is_file())
    return max(size - written, 0)


def _require_room(directory, size):
    """Refuses stores that the disk can't hold."""
    place = directory.resolve()  # A link may lead to another disk.
    home = next(each for each in (place, *place.parents) if each.exists())
    free = shutil.disk_usage(home).free
    if size > free:
        raise ValueError(
            f"The teacher's stored answers would take {_size(size)}, and {home} has {_size(free)} "
            "left. Store fewer epochs, or none: --config.replay_epochs=0."
        )


def _require_loadable(network, section):
    """Refuses a user's network that can't be loaded, as every one is after all trainings."""
    if ":" in section.network["name"]:
        keras_files.require_loadable(network)


def _shortened(splits):
    """With one batch of validation rows: enough to see that scoring works."""
    if not splits.has_validation:
        return splits
    validation = splits.validation.take(_VALIDATION_ROWS)
    test = validation if splits.validation is splits.test else splits.test  # Which is refused.
    return dataclasses.replace(splits, validation=validation, test=test)


def _kind(experiment, section, **arguments):
    """What a training does, but for numbers: of equal ones it is enough to try one."""
    config, train = experiment.config, section.train
    described = {
        "data": [repr(experiment.splits.input_shape), experiment.splits.event_size],
        "output": experiment.output,
        "teacher": [
            config.teacher.network,
            config.teacher.members,
            config.teacher.pretrained,
            config.teacher.function,
        ],
        "network": section.network,
        "quantization": getattr(section, "quantization", None),
        "train": [train.batch_size, train.optimizer, train.schedule, train.steps_per_execution],
        **arguments,
    }
    if "sampler" in described:
        described["sampler"] = samplers.get(described["sampler"])
    return json.dumps(_structure(described), sort_keys=True)


def _structure(value):
    """A value as JSON, with its numbers of floating point as 0 or 1."""
    if dataclasses.is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(key): _structure(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_structure(each) for each in value]
    if isinstance(value, (outputs.Output, samplers.Sampler)):
        return _structure(identity.config_of(value))
    if isinstance(value, float):
        return float(value != 0.0)
    return value if isinstance(value, (bool, int, str, type(None))) else repr(value)


def _seconds(items):
    return sum(item.seconds for item in items)


def _time(seconds):
    """Seconds in words, or the fewest and the most of them."""
    least, most = np.broadcast_to(seconds, 2)
    in_words = [f"{each:,.0f}" if most < 7200 else f"{each / 3600:,.1f}" for each in (least, most)]
    return f"{' to '.join(dict.fromkeys(in_words))} {'seconds' if most < 7200 else 'hours'}"


def _size(count):
    return f"{count / 1e6:,.1f} MB"
