"""Gradient boosting beside a finished comparison on a table: scores, speed and bytes.

    python -m benchmarks.boosting --workdir=runs/diabetes

The estimator is scikit-learn's `HistGradientBoosting`, with the leaves, the rows of a leaf and the
number of trees that have the best loss on validation rows, and is then fitted to the training rows.
It gets what the teacher gets: of numbers a spread, the standard deviation of its residuals on
validation rows, of classes a temperature fitted to them. The test rows are those of the comparison,
read once. Speed is the processor time of one core in microseconds a row, the median of runs, of
calls with arrays in memory: the signature of the exported student (SavedModel), the teacher as one
compiled graph, `predict` or `predict_proba`. Bytes are those of the SavedModel, of the teacher's
.keras files, and of the pickled estimator.

`teacher` makes the estimator a comparison's teacher:

    ecl-tf compare --config=embedded_tables:diabetes --workdir=runs/boosted \\
        --config.teacher.function=benchmarks.boosting:teacher
"""

import argparse
import functools
import itertools
import os
import pathlib
import pickle
import tempfile

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

import ecl_tf
from ecl_tf import gap, outputs, teachers
from ecl_tf._internal.processor_time import of_call
from ecl_tf.experiments import grid, tables, teaching, work_directory
from ecl_tf.experiments.experiment import Experiment

_LEAVES, _ROWS_OF_A_LEAF, _MOST_TREES = (4, 8, 31), (5, 20), 500
_PATIENCE = 20  # Trees without a better loss on validation rows after which a fit ends.
_BATCHES, _SECONDS = (1, 1024), 2.0  # The time of all runs of a batch.


def teacher(splits):
    """The estimator of the best loss on validation rows, fitted to the training rows."""
    x, y = _arrays(splits.train)
    held_out = dict(zip(("X_val", "y_val"), _arrays(splits.validation), strict=True))
    is_class = y.dtype.kind == "i"
    make = HistGradientBoostingClassifier if is_class else HistGradientBoostingRegressor
    tried = []
    for leaves, rows in itertools.product(_LEAVES, _ROWS_OF_A_LEAF):
        settings = {"max_leaf_nodes": leaves, "min_samples_leaf": rows, "random_state": 0}
        stops = {"early_stopping": True, "scoring": "loss", "n_iter_no_change": _PATIENCE}
        found = make(max_iter=_MOST_TREES, **stops, **settings).fit(x, y, **held_out)
        scores = found.validation_score_  # Of no tree, one, two, ...
        tried.append((scores.max(), max(int(scores.argmax()), 1), settings))
    _, trees, settings = max(tried, key=lambda each: each[0])
    return make(max_iter=trees, early_stopping=False, **settings).fit(x, y)


def _arrays(part):
    x, y = next(iter(part.batch(max(int(part.cardinality()), 1)).as_numpy_iterator()))
    if isinstance(x, dict):
        raise SystemExit("This benchmark takes tables of numbers, without categories.")
    return x, y.ravel()


def _distribution(estimator, experiment):
    """The estimator as a teacher, with the spread or temperature of the validation rows."""
    output = experiment.output
    x, y = _arrays(experiment.splits.validation)
    if output.family == "categorical":
        classes = range(experiment.splits.event_size)
        answers = teachers.from_estimator(estimator, output, x, classes=classes)
        return ecl_tf.calibrated(answers, x, y)
    return teachers.from_estimator(estimator, output, x, y[:, None])


def _scores(answers, experiment):
    labels, raw = experiment.answers(answers, "test")
    sets = experiment.scores_of_sets(answers, labels, raw)
    return {**experiment.scores(labels, raw), **sets}


def _exported(directory, results, experiment, path):
    """Exports the first student of XCL; returns its signature as a function of an array."""
    record = results["runs"][results["final"]["XCL"][0]]
    student = keras.models.load_model(directory / "students" / record["student"], compile=False)
    ecl_tf.export.export_student(student, outputs.get(record["output"]), path)
    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]
    return lambda x, loaded=loaded: serve(**{name: tf.constant(x)})


def _bytes(path, pattern="**/*"):
    return sum(each.stat().st_size for each in path.glob(pattern) if each.is_file())


def _measure(directory, experiment, estimator):
    """Yields the row of each of the student, the teacher and the estimator."""
    results = work_directory.read_json(directory / "results.json")
    its_teacher = teaching.load_teacher(experiment, directory)
    is_network = experiment.config.teacher.function is None
    x, _ = _arrays(experiment.splits.test)

    def graph(rows):
        return experiment.output.parameters(its_teacher.distribution(rows))

    compiled = tf.function(graph, input_signature=[tf.TensorSpec((None, *x.shape[1:]))])
    calls = {"gradient boosting": getattr(estimator, "predict_proba", estimator.predict)}
    sizes = {"gradient boosting": len(pickle.dumps(estimator))}
    if is_network:
        calls = {"teacher": lambda x: compiled(tf.constant(x)), **calls}
        sizes["teacher"] = _bytes(directory / "teacher", "*.keras")
    with tempfile.TemporaryDirectory() as temporary, threadpool_limits(1):
        path = pathlib.Path(temporary, "student")
        calls = {"XCL's student": _exported(directory, results, experiment, path), **calls}
        sizes["XCL's student"] = _bytes(path)
        for name, call in calls.items():
            batches = [np.resize(x, (rows, *x.shape[1:])) for rows in _BATCHES]
            taken = [of_call(functools.partial(call, rows), _SECONDS) for rows in batches]
            speeds = [1e6 * each / rows for each, rows in zip(taken, _BATCHES, strict=True)]
            shown = [f"{each:,.0f}" if each >= 100.0 else f"{each:.2g}" for each in speeds]
            yield [name, *shown, f"{sizes[name]:,}"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    workdir = parser.parse_args().workdir
    # Before TensorFlow counts the cores.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    config = ConfigDict(work_directory.read_json(workdir / "config.json"))
    results = work_directory.read_json(workdir / "results.json")
    found: list[dict[str, float]] = []
    measured: list[list[str]] = []
    for name in grid.directories(config) or ["."]:
        directory = workdir / name
        experiment = Experiment(work_directory.read_json(directory / "config.json"))
        estimator = teacher(experiment.splits)
        found.append(_scores(_distribution(estimator, experiment), experiment))
        measured = measured or [*_measure(directory, experiment, estimator)]
    header, *rows = tables.rows(results)
    scores = [
        tables.with_interval(gap.mean([tables.scale(metric, each[metric]) for each in found]))
        for metric in results["teacher"]
    ]
    rows.insert(1, ["gradient boosting", *scores, *[""] * (len(header) - 1 - len(scores))])
    print(tables.markdown([header, *rows]), tables.note(results), sep="\n\n")
    columns = [f"µs a row, {batch:,} at a time" for batch in _BATCHES]
    print(tables.markdown([["", *columns, "bytes"], *measured]))


if __name__ == "__main__":
    main()
