"""Logs of trainings: always a CSV file, and what `trackers` show if the user asks for it.

Every training is a run of its own, named as its student's file. A run's part that was written to a
tracker is not written again: WORKDIR/logs/written tells what was.
"""

import csv
import functools
import hashlib
import json
import operator
import os
import pathlib
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import files
from ecl_tf.experiments import fitting, jobs, progress, strategies, tables, work_directory
from ecl_tf.experiments.trackers import TRACKERS, Tracker, require

_chosen: tuple[str, ...] = ()
_root = pathlib.Path()


def use(names: Iterable[str], root: str | os.PathLike) -> None:
    """Chooses the trackers of this process.

    Args:
        names: keys of `trackers.TRACKERS`, perhaps none.
        root: the work directory of the command, whose `logs` hold what all runs write.

    Raises:
        ImportError: if the package of one is not installed.
    """
    global _chosen, _root
    chosen = tuple(names)
    for name in chosen:
        require(name)
    _chosen, _root = chosen, pathlib.Path(root)


def in_use() -> bool:
    """Whether there is any."""
    return bool(_chosen)


def chosen() -> tuple[tuple[str, ...], pathlib.Path]:
    """The arguments of `use` in this process."""
    return _chosen, _root


class Run:
    """One run in every tracker that is in use; the chief writes it.

    A tracker is opened when there is something to write, and may fail: a line tells why, and the
    training goes on. What is missing is written at its end, or by the same command again.

    Args:
        directory: the work directory that it belongs to: the command's, or one of a fold, a split
            or a cell beneath.
        name: of the run among those of the directory, which is a file's name.
        title: as a line of progress names it; "", the default, for the name.
        about: what tells it from the others, by name; nothing by default.
    """

    def __init__(self, directory: pathlib.Path, name: str, title: str = "", **about: Any):
        beneath = os.path.relpath(directory, _root) if _chosen else "."
        place = "" if beneath == "." else f"{beneath}/"
        self.name = f"{place}{name}"
        self._directory, self._about = directory, {"run": f"{place}{title or name}", **about}
        self._open: dict[str, Tracker] = {}
        self._written: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: Any) -> None:
        for kind, tracker in self._open.items():
            self._try(kind, tracker.close)
        self._open = {}

    def epochs(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Writes what is not written yet of the rows of a `TrainingLog`."""
        for row in rows:
            step = int(row["step"])
            values = {k: v for k, v in row.items() if k not in ("step", "epoch")}
            self._once(f"step {step}", operator.methodcaller("scalars", step, values))

    def scores(
        self, step: int, part: str, values: Mapping[str, float | Mapping[str, float]]
    ) -> None:
        """Writes scores of what was trained.

        Args:
            step: after how many steps.
            part: what they are of, such as "test".
            values: by name, or by two names. Others than before are written beside those.
        """
        named: dict[str, float] = {}
        for name, value in values.items():
            each = value if isinstance(value, Mapping) else {"": value}
            named |= {
                "/".join(filter(None, (part, name, key))): float(v) for key, v in each.items()
            }
        if named:
            self._once(json.dumps(named), operator.methodcaller("scores", step, named))

    def text(self, name: str, text: str) -> None:
        """Writes a text in Markdown; other ones than before beside those."""
        self._once(f"{name}: {text}", operator.methodcaller("text", name, text))

    def pictures(self, results: Mapping[str, Any]) -> None:
        """Writes the pictures of a comparison's results, or of such as have the same keys."""
        from ecl_tf.experiments import figures  # Matplotlib takes a while.

        described = json.dumps(results, sort_keys=True).encode()
        part = f"pictures of {hashlib.sha256(described).hexdigest()}"
        self._once(part, lambda tracker: tracker.pictures(figures.pictures(results)))

    def _once(self, part: str, write: Callable[[Tracker], None]) -> None:
        if not strategies.is_chief():
            return
        for kind in _chosen:
            path = _root / "logs" / "written" / kind / f"{self.name}.json"
            if kind not in self._written:
                known = work_directory.read_json(path) if path.exists() else {}
                self._written[kind] = {"id": "", "parts": [], **known}
            written = self._written[kind]
            if part in written["parts"]:
                continue
            if self._try(kind, functools.partial(self._write, kind, write)):
                written["parts"].append(part)
                path.parent.mkdir(parents=True, exist_ok=True)
                files.write_json(path, written)

    def _write(self, kind: str, write: Callable[[Tracker], None]) -> None:
        write(self._of(kind))

    def _of(self, kind: str) -> Tracker:
        """The tracker's run, which is opened if it is not."""
        if kind not in self._open:
            place, written = _root / "logs", self._written[kind]
            about = {**self._about, "config": _config(self._directory)}
            place.mkdir(parents=True, exist_ok=True)
            with jobs.turn(place / kind):  # One that makes a data base, too.
                self._open[kind] = TRACKERS[kind](place, self.name, about, written["id"])
            written["id"] = self._open[kind].id
        return self._open[kind]

    def _try(self, kind: str, write: Callable[[], None]) -> bool:
        try:
            write()
        except Exception as error:  # Of a server, perhaps: no reason to end a training.
            progress.announce_once(
                [
                    f"NOTE: --{kind} could not be written ({type(error).__name__}: {error}). "
                    "Training goes on, and its CSV file has all numbers."
                ]
            )
            return False
        return True


class TrainingLog(keras.callbacks.Callback):
    """Writes what an epoch logs to a CSV file and to a run.

    A continued training goes on after the epochs of its checkpoint, each of which is there once.

    Args:
        curve: a `diagnostics.LearningCurve` that is called before, whose scores are logged, too;
            None, the default, for none.

    Attributes:
        rows: a dict of numbers for each epoch, by name; "step" counts batches.
    """

    def __init__(self, path: pathlib.Path, run: Run, curve: Any = None):
        super().__init__()
        self.path, self.run, self.curve = path, run, curve
        self.rows: list[dict[str, float]] = []
        self._told = 0

    def on_epoch_end(self, epoch, logs=None):
        optimizer = self.model.optimizer
        row = {"epoch": epoch, "step": fitting.steps_at_end(self, epoch)}
        row |= {name: float(np.asarray(value)) for name, value in (logs or {}).items()}
        row["learning_rate"] = float(tf.convert_to_tensor(optimizer.learning_rate))
        if self.curve is not None:
            row |= {f"val_{k}": v for k, v in self.curve.points[-1].items() if k != "step"}
        self.rows.append(row)
        if strategies.is_chief():
            self._write()
            self.run.epochs(self.rows[self._told :])
            self._told = len(self.rows)

    def on_train_end(self, logs=None):
        if strategies.is_chief():  # Once more what could not be written then.
            self.run.epochs(self.rows)

    def _write(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(self.path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, dict.fromkeys(name for row in self.rows for name in row))
            writer.writeheader()
            writer.writerows(self.rows)


def csv_path(directory: pathlib.Path, name: str) -> pathlib.Path:
    """Where the `TrainingLog` of a run in a directory is."""
    return directory / "logs" / f"{name}.csv"


def comparison(directory: pathlib.Path, results: Mapping[str, Any]) -> None:
    """Has the chief write what is missing of a comparison's trainings, and its scores.

    Args:
        results: the content of its results.json, perhaps unfinished.
    """
    if not _chosen or not strategies.is_chief():
        return
    for key, record in results["runs"].items():
        name = pathlib.Path(record["student"]).stem
        about = {each: record[each] for each in ("method", "label", "seed")}
        with Run(directory, name, key, **about) as run:
            run.epochs(_read(csv_path(directory, name)))
            for split in ("validation", "test"):
                run.scores(record.get("steps", 0), split, record.get(split, {}))
    for path in sorted((directory / "logs").glob("teacher_member_*.csv")):
        with Run(directory, path.stem, method="teacher") as run:
            run.epochs(_read(path))
    teacher = {**results.get("teacher_quality", {}), "test": results.get("teacher", {})}
    with Run(directory, "teacher") as run:
        for split, scores in teacher.items():
            run.scores(0, split, scores)


def summary(directory: pathlib.Path, results: Mapping[str, Any]) -> None:
    """Has the chief write a comparison's table, mean scores and pictures, if it is finished."""
    if not _chosen or not strategies.is_chief() or not tables.is_finished(results):
        return
    with Run(directory, "comparison") as run:
        run.text("table", tables.table(results))
        run.scores(0, "test/teacher", results["teacher"])
        for method in results["final"]:
            scores = {name: tables.scores(results, method, name) for name in results["teacher"]}
            means = {name: statistics.fmean(seeds) for name, seeds in scores.items()}
            run.scores(0, f"test/{method}", means)
        run.pictures(results)


def _read(path):
    """The rows of a CSV file of a `TrainingLog`; of earlier versions there is none."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def _config(directory):
    """The settings of the nearest work directory above that has some."""
    for place in (directory, *directory.parents):
        if (place / "config.json").exists():
            return work_directory.read_json(place / "config.json")
    return {}
