"""What results come from: data, settings, versions, machine, date and command."""

import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import ecl_tf
from ecl_tf._internal import identity
from ecl_tf.data.splits import in_memory
from ecl_tf.experiments import settings, work_directory
from ecl_tf.experiments.experiment import Experiment


def of(experiment: Experiment, workdir: pathlib.Path, test_labels: Any) -> dict[str, Any]:
    """What a report tells beside the numbers, as JSON has it.

    Args:
        workdir: its work directory, which is only read.
        test_labels: of all test rows, in their order: what tells streamed rows from others.
    """
    splits = experiment.whole_splits
    is_in_memory = splits.decode is None and int(splits.test.cardinality()) > 0
    rows = in_memory(splits.test) if is_in_memory else test_labels
    return {
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "machine": _machine(),
        "data": {**data(experiment, workdir), "test_hash": _hash_of_rows(rows)},
    }


def together(parts: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """What `of` returned for each fold or split, as one; None if one of them is not known.

    Args:
        parts: of the folds or splits, in their order. Rows are counted in the first.
    """
    known = [part for part in parts if part]
    if len(known) < len(parts):
        return None
    hashes = {
        name: identity.fingerprint_of_text(" ".join(part["data"][name] for part in known))
        for name in ("hash", "test_hash")
        if all(part["data"].get(name) for part in known)
    }
    return {**known[0], "data": {**known[0]["data"], **hashes}}


def facts(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and words of what `of` returned; "not recorded" for what an earlier version left out.

    Args:
        about: what `of` returned, or {}.
    """
    found = about.get("data") or {}
    data = []
    if found:
        rows = ", ".join(
            f"{part} {'not known' if count is None else format(count, ',')}"
            for part, count in found["rows"].items()
        )
        data = [found["name"], f"rows: {rows}"]
        data += [f"{found['classes']} classes"] if found.get("classes") else []
        data += [f"SHA-256 of {found['hashed']}: {found['hash'][:16]}"] if found["hash"] else []
    versions = [f"{name} {version}" for name, version in about.get("versions", {}).items()]
    known = {
        "Data": "; ".join(data),
        "Versions": ", ".join(versions),
        "Machine": about.get("machine"),
        "Date": about.get("date"),
    }
    return [(name, words or "not recorded") for name, words in known.items()]


def versions() -> dict[str, str]:
    """Versions of what makes students, by name."""
    modules = {
        "ecl_tf": ecl_tf,
        "keras": keras,
        "tensorflow": tf,
        "tensorflow-probability": tfp,
        "numpy": np,
    }
    found = {name: module.__version__ for name, module in modules.items()}
    return {**found, "Python": platform.python_version()}


def _machine():
    """The system, the processor's kind, its cores, and the graphics processors, in words."""
    found = [platform.system(), platform.machine(), f"{os.cpu_count()} processor cores"]
    for device in tf.config.list_physical_devices("GPU"):
        found.append(tf.config.experimental.get_device_details(device).get("device_name", "GPU"))
    return ", ".join(found)


def data(experiment: Experiment, workdir: pathlib.Path) -> dict[str, Any]:
    """The name of the data, the rows of its parts, and what tells it from other data.

    Args:
        workdir: its work directory, which is only read.
    """
    splits, given = experiment.whole_splits, dict(experiment.config.data)
    parts = ("train", *(["validation"] if splits.has_validation else []), "test")
    rows = {part: int(getattr(splits, part).cardinality()) for part in parts}
    found, what = work_directory.read_hashes(workdir).get("data"), "the data file"
    if found is None and splits.decode is None:
        found, what = _hash_of_rows(splits.train_rows), "the training rows"
    is_of_classes = experiment.output.family == "categorical"
    return {
        "name": given.pop("name"),
        "settings": json.loads(json.dumps(given, default=str)),
        "rows": {part: count if count >= 0 else None for part, count in rows.items()},
        "classes": int(splits.event_size) if is_of_classes else None,
        "hash": found,
        "hashed": what,
    }


def _hash_of_rows(rows):
    digest = hashlib.sha256()
    for leaf in tf.nest.flatten(rows):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
    return digest.hexdigest()


def whole(config: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a configuration by their dotted names, defaults among them.

    Args:
        config: the content of config.json. What another version wrote is returned as it is.
    """
    parsed = _parsed(config)
    return dict(_named(config if parsed is None else dataclasses.asdict(parsed)))


def changed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings that have no default or another value, by their dotted names.

    Args:
        config: the content of config.json. What another version wrote is returned as it is.
    """
    parsed = _parsed(config)
    return dict(_named(config) if parsed is None else _changed(parsed))


def _parsed(config):
    try:
        return settings.parse(dict(config))
    except ValueError:
        return None


def _changed(section, prefix=""):
    for field in dataclasses.fields(section):
        value: Any = getattr(section, field.name)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if value == default:
            continue
        name = f"{prefix}{field.name}"
        if not dataclasses.is_dataclass(value):
            yield from _named({field.name: value}, prefix)
        elif default in (None, dataclasses.MISSING) or type(default) is type(value):
            yield from _changed(value, f"{name}.")
        else:
            yield from _named(vars(value), f"{name}.")


def _named(values, prefix=""):
    """Yields dotted names and values of a nest, as JSON gives them back."""
    for name, value in values.items():
        if dataclasses.is_dataclass(value):
            yield from _changed(value, f"{prefix}{name}.")
        elif isinstance(value, Mapping) and value:
            yield from _named(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.loads(json.dumps(value, default=str))
