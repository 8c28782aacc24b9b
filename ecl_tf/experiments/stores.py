"""The answers of an experiment's teacher, stored once for all students (`ecl_tf.replay`)."""

import functools
import json
import pathlib
import tempfile

import keras

from ecl_tf import replay, samplers
from ecl_tf._internal import identity
from ecl_tf.data.indexed import IndexedExamples
from ecl_tf.experiments import answers, jobs, progress, strategies

_FEW_STEPS = 4
_MEMORY = 2**28  # Bytes, of `replay.Store.batches`.


def settings(experiment, sampler, epochs, **others):
    """The arguments of `replay.record` and `replay.estimate` for an experiment's data."""
    return {
        **experiment.training_rows(),
        "sampler": sampler,
        "batch_size": experiment.config.student.train.batch_size,
        "epochs": epochs,
        "seed": experiment.config.seed,
        **others,
    }


def record(teacher, directory, settings):
    """Records by all workers, or finds what is recorded; returns the `replay.Store`."""
    worker, workers = strategies.worker()
    replay.record(
        teacher,
        **settings,
        directory=directory,
        worker=worker,
        workers=workers,
        verbose=progress.verbosity(),
    )
    strategies.wait_for_all()
    return replay.Store(directory)


class Stores:
    """The stores of a comparison, one for each sampler, recorded when they are first needed.

    Args:
        experiment: the `Experiment`; config.replay_epochs says how many passes are recorded.
            With 0, which is the default, students ask the teacher itself, but for those that
            see the training rows alone: to these it answers once, in memory.
        directory: where the stores are.
    """

    def __init__(self, experiment, teacher, directory):
        self.experiment, self.teacher, self.directory = experiment, teacher, directory
        self.epochs = experiment.config.replay_epochs
        self._stores = {}

    def of(self, **arguments):
        """The store for a distillation with these arguments; None if it must ask the teacher."""
        if (plan := planned(self.experiment, **arguments)) is None:
            return self._answers if answers.suffice(self.experiment, **arguments) else None
        name, recorded = plan
        if name not in self._stores:
            directory = self.directory / name
            progress.announce(f"[teacher's answers, {self.epochs} epochs] {directory}")
            with jobs.turn(directory):  # Another process may record it.
                self._stores[name] = record(self.teacher, directory, recorded)
        return self._stores[name]

    @functools.cached_property
    def _answers(self):
        return answers.ask(self.experiment, self.teacher)


class Few:
    """A store of the first rows' answers, for a rehearsal: its steps cost what the whole one's do.

    Args:
        teacher: the teacher.
        plan: of the whole store, as `settings` returns it.

    Attributes:
        teacher: as a `replay.Store` has it.
        batch_size: the same.
    """

    def __init__(self, teacher, plan):
        self.batch_size = plan["batch_size"]
        self._directory = tempfile.TemporaryDirectory()  # Which is removed with this.
        few = {**plan, "x": self._first(plan["x"]), "y": self._first(plan["y"]), "epochs": 1}
        place = pathlib.Path(self._directory.name, "store")
        replay.record(teacher, **few, shards=1, directory=place, verbose=0)
        self._store = replay.Store(place)
        self.teacher = self._store.teacher
        (x, *_), whole = keras.tree.flatten(plan["x"]), plan["epochs"] / self.batch_size
        whole *= x.count if isinstance(x, IndexedExamples) else len(x)
        self._share = self._store.steps / whole

    def batches(self, x, y=None, **arguments):
        """As those of a `replay.Store`, drawn once and kept if those of the whole one would be."""
        memory = int(self._share * _MEMORY)
        return self._store.batches(self._first(x), self._first(y), memory=memory, **arguments)

    def _first(self, rows):
        count = _FEW_STEPS * self.batch_size
        if rows is None or isinstance(rows, IndexedExamples):
            return rows and rows.first(count)
        return keras.tree.map_structure(lambda leaf: leaf[:count], rows)


def planned(
    experiment,
    sampler=None,
    label_weight=0.0,
    label_rows="appended",
    labels=None,
    spare=False,
    **_,
):
    """The name of the store for a distillation, and the arguments by which it is recorded.

    None if the students must ask the teacher: where samples depend on the student, or where
    labels are mixed or needed at inputs other than the samples, or spare inputs are trained on.
    """
    epochs = experiment.config.replay_epochs
    sampler = samplers.get(sampler)
    base = sampler.proposer
    of_samples = isinstance(sampler, samplers.Empirical) or label_rows == "unmodified"
    is_unlabelled = label_weight == 0.0 or of_samples
    if not epochs or labels or spare or not base.is_recordable or not is_unlabelled:
        return None
    # Of all classes: the rest of a few most probable ones is another rest at T > 1.
    top_k = max(experiment.splits.event_size, 10)
    plan = settings(experiment, base, epochs, top_k=top_k)
    described = [identity.config_of(base), plan["batch_size"], epochs]
    key = identity.fingerprint_of_text(json.dumps(described))[:12]
    return f"{type(base).__name__}_{key}", plan
