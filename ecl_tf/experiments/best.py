"""What a run ends with: WORKDIR/best, the student that is shipped, with its files and its card."""

import dataclasses
import logging
import pathlib
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import ecl_tf
from ecl_tf import data, export, outputs
from ecl_tf._internal import extras, files, keras_files, loggers
from ecl_tf._internal.quantized_model import QuantizedModel
from ecl_tf.experiments import (
    distillation,
    jobs,
    model_card,
    progress,
    refusals,
    settings,
    shipping,
    strategies,
    work_directory,
)
from ecl_tf.experiments.experiment import Experiment
from ecl_tf.export import quantizing
from ecl_tf.export.writing import FORMATS

NAME = "best"
_CARD, _HASHES, _STUDENT = "MODEL_CARD.md", "SHA256SUMS", "student.keras"
_COSTS = "costs.json"
_TELLING = logging.WARNING, "absl", "tensorflow"  # Below it, of the files of an export.
_EXAMPLES = 512  # Training rows that 8 bits are measured on, and files compared on.
_REFERENCE = "oracle"  # It sees rows that the experiment withholds.


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A student that was chosen on validation data.

    Attributes:
        path: of its .keras file.
        workdir: of its experiment: the directory of its fold or split, where there are some.
        output: the `ecl_tf.outputs.Output` of its raw outputs.
        method: that trained it.
        label: the method's settings in words.
        seed: of its training.
        scores: from split to its scores by name.
        teacher: the same of its teacher; empty if they are not known.
        fingerprint: of the teacher's weights; None if it is not known.
        among: how it was chosen, a sentence.
        results: what its comparison measured, as `tables.table` takes it; None by default, where
            nothing was compared.
    """

    path: pathlib.Path
    workdir: pathlib.Path
    output: outputs.Output
    method: str
    label: str
    seed: int
    scores: Mapping[str, Mapping[str, float]]
    teacher: Mapping[str, Mapping[str, float]]
    fingerprint: str | None
    among: str
    results: dict[str, Any] | None = None


def choose(found: Mapping[str, dict[str, Any]]) -> tuple[str, str]:
    """The best final run of the best method on validation data: by the score, then by the NLL.

    A method's score is the mean over its runs: the best of all runs would be the luckiest method's.
    Folds and splits have validation rows of their own, of which some are easier. So a run is
    compared with the mean of the final runs on its own rows. The oracle is left out.

    Args:
        found: results of comparisons, by the names of the folds or splits; of a single one by "".

    Returns:
        The name of the fold or split, and the run's key in its results.
    """
    ranks: dict[str, dict[tuple[str, str], list[float]]] = {}
    for name, results in found.items():
        scores = {key: results["runs"][key]["validation"] for key in _finals(results)}
        signs = {results["score"]: -1 if results["higher_is_better"] else 1, "nll": 1}
        means = {each: statistics.fmean(own[each] for own in scores.values()) for each in signs}
        for key, own in scores.items():
            of_method = ranks.setdefault(results["runs"][key]["method"], {})
            of_method[name, key] = [
                sign * (own[each] - means[each]) for each, sign in signs.items()
            ]
    means_of = {
        method: [statistics.fmean(each) for each in zip(*own.values(), strict=True)]
        for method, own in ranks.items()
    }
    best = ranks[min(means_of, key=means_of.__getitem__)]
    return min(best, key=best.__getitem__)


def _finals(results):
    """The keys of the final runs, but for the oracle's."""
    final = results["final"].items()
    return [key for method, keys in final if method != _REFERENCE for key in keys]


def of_comparison(
    workdir: pathlib.Path, results: dict[str, Any], parts: Mapping[str, dict[str, Any]]
) -> Chosen:
    """The student that a comparison ends with.

    Args:
        results: of the comparison, averaged over folds or splits where there are some.
    """
    name, key = choose(parts)
    part, run = parts[name], parts[name]["runs"][key]
    students = {
        (place, each["runs"][key]["student"])
        for place, each in parts.items()
        for key in _finals(each)
    }
    among = (
        f"Of {len(students)} final students those of its method have the best mean score on "
        "validation rows, and of these it has the best"
    )
    return Chosen(
        path=workdir / name / "students" / run["student"],
        workdir=workdir / name,
        output=outputs.get(run["output"]),
        method=run["method"],
        label=run["label"],
        seed=run["seed"],
        scores={split: run[split] for split in ("validation", "test")},
        teacher={**part.get("teacher_quality", {}), "test": part["teacher"]},
        fingerprint=part.get("teacher_fingerprint"),
        among=f"{among}, compared with the mean of those of {name}" if name else among,
        results=results,
    )


def names(config: settings.Settings) -> dict[str, tuple[str, str | None]]:
    """What is exported, by its name in WORKDIR/best: the format, and the quantization.

    A student that was trained in 8 bits is always in a LiteRT file, too.
    """
    formats, bits = config.export.formats, config.export.quantization
    if config.student.quantization is not None:
        bits = config.student.quantization
        formats = tuple(dict.fromkeys([*formats, "litert"]))
    litert = f"student_{bits}" if bits else "student"
    known: dict[str, tuple[str, tuple[str, str | None]]] = {
        "saved_model": ("saved_model", ("saved_model", None)),
        "litert": (f"{litert}.tflite", ("litert", bits)),
        "onnx": ("student.onnx", ("onnx", None)),
    }
    return dict(known[each] for each in formats)


def require(workdir: pathlib.Path, config: settings.Settings) -> None:
    """Refuses what can't be exported, before anything long begins.

    Args:
        workdir: which is only read.

    Raises:
        ValueError: if settings contradict each other, a package is missing, or the work directory
            has another `best`.
    """
    section, path, wanted = config.export, workdir / NAME, names(config)
    if path.exists():
        _require_own(path, wanted)
        return
    formats = [format for format, _ in wanted.values()]
    with refusals.blaming("config.export", section):
        if section.quantization and "litert" not in formats:
            raise ValueError(
                f"quantization={section.quantization!r} is of LiteRT files, and formats="
                f'{section.formats} has none. Add "litert" to formats, or set quantization to '
                "None."
            )
        if section.quantization == "int8" and config.student.conformal is not None:
            raise ValueError(
                "The sets of config.student.conformal have their coverage for answers in float32, "
                "and not in 8 bits. Leave one of both away."
            )
        if config.student.quantization not in (None, section.quantization or "int8"):
            raise ValueError(
                f"quantization={section.quantization!r} is of a student that is trained in float32,"
                f" and config.student.quantization={config.student.quantization!r} of another. "
                "Leave one of both away."
            )
        for each in formats:
            for module, package in FORMATS[each].PACKAGES.items():
                extras.require(module, package, f"An export to {FORMATS[each].NAME}", "export")


def _require_own(path, wanted):
    """Refuses a `best` of somebody else, one that is not whole, and one in other formats."""
    remedy = "Move it away, or choose another --workdir."
    if not (path / _HASHES).is_file():
        raise ValueError(
            f"{path} is there, and no student of ours (it has no {_HASHES}), and the run would end "
            f"with a directory of that name. {remedy}"
        )
    listed = [line.split(maxsplit=1)[1] for line in (path / _HASHES).read_text().splitlines()]
    if missing := [name for name in listed if not (path / name).exists()]:
        raise ValueError(
            f"{path} is not whole: it has no {missing[0]}, which its {_HASHES} names. Delete it, "
            "and it is made again; or restore it from a copy."
        )
    there = {name.split("/")[0] for name in listed} - {_STUDENT, _COSTS}
    if there != {*wanted}:
        raise ValueError(
            f"{path} holds {sorted(there)}, and config.export asks for {sorted(wanted)}. Move it "
            "away: the same command then makes it again, and trains nothing. Or set config.export "
            "to what is there."
        )


def try_formats(experiment: Experiment) -> None:
    """Exports an untrained network to LiteRT and ONNX as the config asks, and deletes it.

    Raises:
        ValueError: if a format can't hold it.
    """
    section, wanted = experiment.config.export, names(experiment.config)
    others = {name: how for name, how in wanted.items() if how[0] != "saved_model"}
    if not others:
        return
    with (
        tempfile.TemporaryDirectory() as directory,
        refusals.blaming("config.export", section),
        loggers.at_least(*_TELLING),
    ):
        student = experiment.network(experiment.config.student)
        if isinstance(student, QuantizedModel):
            student.quantized.measure(_examples(experiment))  # As training will do.
        for name, how in others.items():
            path = pathlib.Path(directory, name)
            _export(experiment, student, experiment.output, path, *how)


def keep(
    experiment: Callable[[], Experiment],
    workdir: pathlib.Path,
    chosen: Chosen,
    command: str,
    teacher: Callable[[Experiment], ecl_tf.Teacher] | None = None,
) -> bool:
    """Has WORKDIR/best written, whole or not at all, by one process; leaves one that is there.

    Args:
        experiment: gives the `Experiment` that the student is of.
        workdir: which gets it.
        teacher: gives the teacher, whose size and speed are measured beside the student's; None,
            the default, leaves it out.

    Returns:
        Whether it is there, and not of another student.
    """
    path = workdir / NAME

    def is_there():
        return bool(strategies.of_chief(path.exists()))  # The same for all workers.

    def do():
        own = experiment()

        def write():
            try:
                _write(own, path, chosen, command, teacher)
            # After hours of training all else is still to be told.
            except Exception as error:
                kind = type(error).__name__
                progress.announce(f"WARNING: {path} was not written. {kind}: {error}")

        with loggers.at_least(*_TELLING):
            strategies.on_chief(write)

    if not is_there() and not chosen.path.exists():
        progress.announce(f"No student is exported to {path}: there is no {chosen.path}.")
        return False
    jobs.complete([jobs.Job(path, is_there, do)])
    if not (path.exists() and chosen.path.exists()):
        return path.exists()  # Of a student that was removed since.
    own = work_directory.hash_of_file(chosen.path)
    is_its = f"{own}  {_STUDENT}" in (path / _HASHES).read_text()
    if not is_its:
        progress.announce(
            f"WARNING: {path} was there before, and holds another student than {chosen.path}. "
            "Move it away, and the same command exports this one."
        )
    return is_its


def shipped(workdir: pathlib.Path) -> dict[str, Any] | None:
    """What `shipping.measure` found of WORKDIR/best; None if nothing was measured.

    Args:
        workdir: which is only read.
    """
    path = workdir / NAME / _COSTS
    return work_directory.read_json(path) if path.exists() else None


def _write(experiment, path, chosen, command, teacher):
    for left in path.parent.glob(f"{files.UNFINISHED}{path.name}.*"):
        shutil.rmtree(left)  # Of a process that was killed: no two write it.
    student = keras_files.load(chosen.path, "Restore it from a copy.")
    sets = experiment.prediction_sets(student, chosen.output)
    about = {
        "columns": experiment.splits.columns,
        "class_names": experiment.splits.class_names,
        "conformal": sets,
    }
    with files.whole_directory(path) as temporary:
        temporary.mkdir()
        shutil.copyfile(chosen.path, temporary / _STUDENT)
        of_files = {}
        for name, how in names(experiment.config).items():
            _export(experiment, student, chosen.output, temporary / name, *how, **about)
            # Others answer as the student.
            if how[1] is not None or isinstance(student, QuantizedModel):
                of_files[name] = _scores(experiment, temporary / name, chosen)
        measured = None
        if experiment.config.export.measures:
            measured = _measured(experiment, temporary, chosen, of_files, teacher)
            files.write_json(temporary / _COSTS, measured)
        hashes = _hashes(temporary)
        lines = [f"{each}  {name}\n" for name, each in hashes.items()]
        (temporary / _HASHES).write_text("".join(lines))
        first = next(name for name in hashes if name not in (_STUDENT, _COSTS))
        exported = first.split("/")[0]
        told = exported, hashes, of_files, measured, command
        card = model_card.render(experiment, chosen, temporary, *told)
        (temporary / _CARD).write_text(card, encoding="utf-8")
    progress.announce(f"Best: {chosen.method}, seed {chosen.seed}; written to {path}")


def _export(experiment, student, output, path, format, quantization, **about):
    """Writes one file, with ranges that are measured on training rows."""
    examples = _examples(experiment)
    batches = quantizing.parted(examples, student)
    prepared = quantizing.prepared(student, quantization, batches, output)
    # Its inputs are what the commands train on: images from 0 to 1.
    export.write(
        *(student, output, path),
        others=(),
        format=format,
        examples=examples,
        quantization=prepared,
        **about,
    )


def _examples(experiment):
    """Some training inputs, as the student takes them."""
    rows = experiment.training_sample(_EXAMPLES)
    (examples, _), *_ = data.evaluation_batches(rows, _EXAMPLES)
    return examples


def _scores(experiment, path, chosen):
    """The scores of an exported file on the splits on which the student has some."""
    model = distillation.load_model(path, chosen.output)
    return {split: experiment.evaluate(model, split, chosen.output) for split in chosen.scores}


def _measured(experiment, directory, chosen, of_files, teacher):
    """The scores, size and speed of the files and of the teacher."""
    split = "test" if "test" in chosen.scores else "validation"
    known = {_STUDENT: chosen.scores[split], "teacher": chosen.teacher.get(split, {})}
    known |= {name: scores[split] for name, scores in of_files.items()}
    paths = {name: directory / name for name in (_STUDENT, *names(experiment.config))}
    found = shipping.measure(experiment, paths, chosen.output, split, known, teacher)
    return {**found, "of": f"{chosen.method}, seed {chosen.seed}"}


def _hashes(directory):
    """SHA-256 of every file in a directory, by its path there."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    hash_of = work_directory.hash_of_file
    return {path.relative_to(directory).as_posix(): hash_of(path) for path in paths}
