"""The evaluation suite of an experiment: final students on corrupted inputs, and off the data.

It measures, and keeps what it has measured; `suite_table.py` writes the numbers down.
"""

import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras

import ecl_tf
from ecl_tf import data, outputs
from ecl_tf._internal import keras_files
from ecl_tf.evaluation import corruptions, suite
from ecl_tf.experiments import (
    closeness,
    jobs,
    progress,
    refusals,
    shifted_inputs,
    strategies,
    suite_table,
    work_directory,
)
from ecl_tf.experiments.experiment import Experiment

FILE = "suite.json"
_SHOWN, _TIMED = 8, 64  # Rows of a rehearsal, and of one whose time is taken.


def of_answers(
    experiment: Experiment,
    output: outputs.Output,
    raw: Any,
    labels: Any,
    known: Mapping[str, float],
    of_teacher: Any = None,
) -> dict[str, float]:
    """The numbers that answers to the test rows give without another forward pass.

    Args:
        raw: raw outputs for the test rows.
        known: scores of the same answers, which are taken over.
        of_teacher: the teacher's raw outputs, of the experiment's output; None, the default, for
            the teacher itself.
    """
    teacher = None if of_teacher is None else (experiment.output, of_teacher)
    model = suite.Model(None, output)
    return {**suite.of_answers(model, raw, labels, teacher, experiment.score_name), **known}


def about(experiment: Experiment) -> dict[str, Any]:
    """What the numbers of shifted inputs depend on beside rows and networks, as JSON."""
    # Of what has not changed nothing is said, as by versions that did not know of it.
    changed = {"versions": corruptions.VERSIONS} if corruptions.VERSIONS else {}
    return {**_settings(experiment), **changed}


def _settings(experiment):
    found = dataclasses.asdict(experiment.config.suite)
    del found["shifts"]
    return json.loads(json.dumps(found))


def rehearse(experiment: Experiment) -> None:
    """Makes all inputs that will be shown, of a few test rows.

    Raises:
        ValueError: if a setting is wrong, blaming it.
    """
    with refusals.blaming("config.suite", experiment.config.suite):
        shown = shifted_inputs.make(experiment, _SHOWN)
        for _, sets in shown.corrupted():
            next(iter(sets.values()))()
        for make in shown.others().values():
            make()


def seconds(
    experiment: Experiment, teacher: ecl_tf.Teacher, students: int
) -> tuple[float, int, int]:
    """About how long the suite takes, from a few rows.

    Args:
        teacher: its teacher, or one like it.
        students: how many will be measured, all as an untrained one.

    Returns:
        Seconds, the number of sets of inputs, and that of their rows.
    """
    section, size = experiment.config.suite, int(experiment.splits.test.cardinality())
    shown = shifted_inputs.make(experiment, _TIMED)
    networks = (teacher, 1), (experiment.network(experiment.config.student), students)
    each = 0.0  # A set that is made already.
    for network, count in networks:
        answer = _answering(suite.Model(network, experiment.output))
        each += count * _time(functools.partial(suite.ask, answer, shown.x))
    making = sum(_time(make) for make in shown.others().values())
    for _, sets in shown.corrupted():
        makes = [*sets.values()]
        making += len(makes) * _time(makes[len(makes) // 2])
    rows = min(section.rows, size) if size >= 0 else section.rows
    times = rows / len(keras.tree.flatten(shown.x)[0])
    count = len(shown.sets)
    return times * (making + (count + 1) * each), count, rows  # Rows as they are, too.


def _answering(model):
    """`suite.answering`, of inputs as they are stored: the commands' networks see them scaled."""
    answer = suite.answering(model)
    return lambda inputs: answer(data.to_float(inputs))


def _time(do):
    """Seconds of a function's second call."""
    do()
    begun = time.perf_counter()
    do()
    return time.perf_counter() - begun


def shifted(
    experiment: Experiment, workdir: pathlib.Path, load: Mapping[str, Callable[[], suite.Model]]
) -> dict[str, dict[str, float]]:
    """Shows corrupted and other inputs to networks.

    WORKDIR/suite.json keeps what is measured after each corruption, and no network is asked again,
    unless the corruption's version is another one now.

    Args:
        load: from a name, which tells the network from others, to a function that loads it.

    Returns:
        The flat numbers by name.
    """
    path, settings = workdir / FILE, _settings(experiment)
    kept = work_directory.read_json(path) if path.exists() else {}
    found = kept["found"] if kept.get("settings") == settings else {}
    before = kept.get("versions", {})
    strategies.wait_for_all()  # The chief may write it from now on.
    with refusals.blaming("config.suite", experiment.config.suite):
        shown = shifted_inputs.make(experiment, experiment.config.suite.rows)
    sets, steps = shown.sets, shown.versions
    _forget(found, [each for each, version in steps.items() if before.get(each, 1) != version])
    left = [name for name in load if not {*sets} <= found.setdefault(name, {}).keys()]
    if left:
        rows = len(keras.tree.flatten(shown.x)[0])
        progress.announce(
            f"{len(left)} networks are shown {len(sets)} sets of shifted inputs of {rows:,} rows"
        )

    def keep(name, count):
        place = f"{[*steps].index(name) + 1}/{len(steps)}"
        progress.announce(f"[suite {place}] {name}: {count} networks")
        written = {"settings": settings, "versions": steps, "found": found}
        work_directory.write_json(path, written)

    models = {name: load[name]() for name in left}
    known = {name: (_answering(model), None) for name, model in models.items()}
    suite.shift(models, shown, found, keep, known=known, score=experiment.score_name)
    return {name: suite.pooled({each: found[name][each] for each in sets}) for name in load}


def _forget(found, changed):
    """Takes out what was measured of some corruptions, or of some other inputs."""
    for numbers in found.values():
        for name in [each for each in numbers if {each, each.rpartition(" ")[0]} & {*changed}]:
            del numbers[name]


def of_comparison(
    experiment: Experiment, workdir: pathlib.Path, load_teacher: Callable[[], ecl_tf.Teacher]
) -> dict[str, Any]:
    """Measures the teacher and all final students of a comparison; returns its results.

    results.json gets "suite" in the records of final runs, "teacher_suite", and "shifted", the
    settings of both.

    Args:
        workdir: the directory of a finished comparison.
        load_teacher: gives its teacher.
    """
    path = workdir / "results.json"
    results = work_directory.read_json(path)
    if results.get("shifted") == about(experiment):
        return results
    keys = [key for keys in results["final"].values() for key in keys]
    folder = workdir / "students"
    files = {key: results["runs"][key]["student"] for key in keys}
    names = {  # A student that was trained again may have the file's name.
        key: f"{file} {work_directory.hash_of_file(folder / file)[:12]}"
        for key, file in files.items()
    }
    teacher = load_teacher()
    its_name = f"teacher {teacher.fingerprint()[:12]}"
    load = {its_name: functools.partial(_model, experiment, lambda: teacher, experiment.output)}
    for key, file in files.items():
        student = functools.partial(_student, folder / file)
        output = outputs.get(results["runs"][key]["output"])
        load[names[key]] = functools.partial(_model, experiment, student, output)
    _add_answers(experiment, results, workdir, teacher)
    found = shifted(experiment, workdir, load)
    for key, name in names.items():
        record = results["runs"][key]
        record["suite"] = {**_clean(record["suite"]), **found[name]}
    results["teacher_suite"] = {**_clean(results["teacher_suite"]), **found[its_name]}
    results["shifted"] = about(experiment)
    with jobs.turn(path):
        written = work_directory.read_json(path)  # Another command may have added something.
        for key in keys:
            written["runs"][key]["suite"] = results["runs"][key]["suite"]
        written |= {name: results[name] for name in ("teacher_suite", "shifted")}
        work_directory.write_json(path, written)
    return written


def _clean(numbers):
    """The numbers of test rows as they are."""
    return {name: value for name, value in numbers.items() if suite_table.part(name) == 0}


def _add_answers(experiment, results, workdir, teacher):
    """Adds what answers to the test rows tell, where an earlier version has not."""
    keys = [key for keys in results["final"].values() for key in keys]
    missing = [key for key in keys if "suite" not in results["runs"][key]]
    if not missing and "teacher_suite" in results:
        return
    labels, of_teacher = closeness.Divergences(experiment, teacher).of_teacher("test")
    for key in missing:
        record = results["runs"][key]
        output = outputs.get(record["output"])
        student = _student(workdir / "students" / record["student"])
        _, raw = experiment.answers(student, "test", output)
        record["suite"] = of_answers(experiment, output, raw, labels, record["test"], of_teacher)
    output, known = experiment.output, results["teacher"]
    results["teacher_suite"] = of_answers(experiment, output, of_teacher, labels, known)


def of_models(
    experiment: Experiment,
    workdir: pathlib.Path,
    models: Mapping[str, Any],
    names: Mapping[str, str],
    known: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float]]:
    """Measures networks that are loaded; returns their numbers by name.

    Args:
        models: by name, as `Experiment.answers` takes them; "teacher" is the teacher.
        names: by name what tells a network from others, such as a hash.
        known: by name their scores on the test split.
    """
    answers = {name: experiment.answers(model, "test") for name, model in models.items()}
    of_teacher = answers.get("teacher", (None, None))[1]
    output = experiment.output
    load = {
        names[name]: functools.partial(_model, experiment, (lambda model=model: model), output)
        for name, model in models.items()
    }
    found = shifted(experiment, workdir, load)
    measured = {}
    for name, (labels, raw) in answers.items():
        its = None if name == "teacher" else of_teacher
        clean = of_answers(experiment, output, raw, labels, known[name], its)
        measured[name] = {**clean, **found[names[name]]}
    return measured


def as_results(experiment: Experiment, found: Mapping[str, dict[str, float]]) -> dict[str, Any]:
    """What `of_models` returned, as `write` takes it.

    Args:
        found: the numbers by name.
    """
    others = [name for name in found if name != "teacher"]
    results: dict[str, Any] = {
        "final": {name: [name] for name in others},
        "runs": {name: {"suite": found[name]} for name in others},
        "shifted": about(experiment),
        "positions": list(experiment.positions),
    }
    if "teacher" in found:
        results["teacher_suite"] = found["teacher"]
    return results


def of_parts(results: dict[str, Any], merged: dict[str, Any]) -> None:
    """Takes what was measured of folds or splits over to the results of all of them.

    Args:
        results: of all, to which it is added.
        merged: what `tables.average` makes of the parts now.
    """
    for key, record in merged["runs"].items():
        results["runs"][key]["suite"] = record["suite"]
    for name in ("teacher_suite", "teacher_suites", "shifted"):
        if name in merged:
            results[name] = merged[name]


def _model(experiment, load, output):
    """A network with its prediction sets."""
    network = load()
    sets = experiment.prediction_sets(network, output)
    return suite.Model(network, output, sets, experiment.counted.mask)


def _student(path):
    return keras_files.load(path, "Restore it from a copy, or compare again in a new --workdir.")
