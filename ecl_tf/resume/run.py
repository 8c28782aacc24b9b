"""What tells one run from another, and the refusal to continue another."""

import inspect
import json
import os
import platform
import re
import sys
import warnings

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import identity
from ecl_tf.resume import data, functions

# Numbers of a distiller that callbacks may change while it trains.
_SETTINGS = ("temperature", "label_weight")
# Without these a checkpoint can't be read into the model, whatever the user accepts.
_STRUCTURE = ("replicas", "variables", "attributes")


class Run:
    """What tells this run from another: model, method, optimizer, loss, data and callbacks.

    Args:
        state: the `State` of its model.
        batches: its function from a number of steps to data.
        callbacks: the user's.
        accepted: names in which it may differ from its checkpoint.
        given: the other arguments of its `fit`, such as `class_weight`.
        writes: whether this is the worker that writes. Others may have other callbacks.
    """

    def __init__(self, state, batches, callbacks, accepted, given, writes):
        self.state, self.callbacks, self.accepted = state, callbacks, tuple(accepted)
        self._writes = writes
        self._learning_rates: list = []
        self._settings: dict = {}
        model = state.model
        self._first = {
            "replicas": state.strategy.num_replicas_in_sync,
            "variables": state.shapes(),
            "attributes": state.attribute_shapes(),
            "metrics": state.metric_names(),
            "method": state.method,
            "model": _model(model),
            "loss": None if state.method else _loss(model),
            "data": data.describe(batches) if writes else {},
            "callbacks": [type(callback).__name__ for callback in callbacks],
            "class_weight": {
                str(k): float(v) for k, v in (given.get("class_weight") or {}).items()
            },
            "validation": data.describe_validation(given) if writes else {},
            "versions": versions(),
            **self._changing(),
        }

    def about(self):
        """As JSON holds it: as it began, and what callbacks may have changed since."""
        return {**self._first, "now": {**self._changing(), "settings": self._settings_now()}}

    def _changing(self):
        return {
            "optimizer": _optimizer(self.state.model.optimizer),
            "optimizers": {str(n): _optimizer(o) for n, o in enumerate(self.state.optimizers)},
            "arguments": [arguments(callback) for callback in self.callbacks],
            "functions": [*map(_functions, self.callbacks), self._divergence()],
        }

    def _divergence(self):
        """A hash of a distiller's divergence, if it is a function of the user's."""
        is_own = (self.state.method or {}).get("divergence") == "a function"
        return {"divergence": functions.fingerprint(self.state.model.divergence)} if is_own else {}

    def _settings_now(self):
        model, first = self.state.model, self.state.method or {}
        return {name: getattr(model, name) for name in _SETTINGS if name in first}

    def require_same(self, path, about, finished):
        """Refuses the checkpoint of another run, and says what else differs.

        Args:
            path: the checkpoint's.
            about: what it says.
            finished: whether nothing will be trained.

        Returns:
            Whether its metrics are this model's.

        Raises:
            ValueError: if it is of another run, in what the user did not accept.
        """
        there, here = dict(about), self._first
        # Version 0.1.0 wrote neither of them.
        there.setdefault("replicas", max(copies for copies, *_ in there["variables"]))
        there.setdefault("metrics", here["metrics"])
        self._say_versions(path, there.get("versions", here["versions"]))
        metrics = []
        compared = []
        for run in (there, here):
            variables, of_metrics = self.state.parted(run["variables"])
            metrics.append([of_metrics, run["metrics"]])
            compared.append({**run, "variables": variables})
        names = ["replicas", "variables", "method", "model", "optimizer", "loss"]
        names += ["attributes", "optimizers", "class_weight"]
        names += ["data", "callbacks"] if self._writes else []
        found = self._differing(compared[0], compared[1], about.get("now", {}), names)
        if None in found.get("data.first_batch", ()):  # Drawn at random, which is told.
            del found["data.first_batch"]
        self._refuse(path, found)
        if self._writes and "callbacks" not in found:
            self._say_arguments(path, self._differing_arguments(about), finished)
        self._notice_learning_rate(found)
        self._settings = {
            name: value
            for name, value in about.get("now", {}).get("settings", {}).items()
            if f"method.{name}" not in found
        }
        return metrics[0] == metrics[1]

    def _differing(self, there, here, now, names):
        """Names and both values of what differs from how that run began, and from how it went."""
        names = [name for name in names if name in there]  # Older checkpoints have fewer.
        began = _differences({n: there[n] for n in names}, {n: here[n] for n in names})
        later = {**there, **now}
        went = _differences({n: later[n] for n in names}, {n: here[n] for n in names})
        found = {name: values for name, values in began.items() if name in went}
        if "optimizer.class_name" in found:  # The arguments of two classes are no news.
            found = {
                name: values
                for name, values in found.items()
                if name == "optimizer.class_name" or not name.startswith("optimizer.")
            }
        return found

    def _refuse(self, path, found):
        refused = [name for name in found if not _is_in(name, self.accepted)]
        if any(name.split(".")[0] in _STRUCTURE for name in found):
            refused = [*found]  # Whatever is accepted may be the reason.
        if not refused:
            if found:
                _warn(f"The run of {path} goes on with other {_listed(found, found)}.")
            return
        remedy = "Give the same to continue it, or another directory."
        if not any(name.split(".")[0] in _STRUCTURE for name in refused):
            remedy += f" If it was changed on purpose, say so: accept_changes={refused!r}."
        elif any(name.startswith("optimizer.learning_rate") for name in found):
            remedy += " A run has a number as its learning rate throughout, or a schedule."
        raise ValueError(
            f"The checkpoint {path} is of a run with other {_listed(refused, found)} than this "
            f"one. {remedy}"
        )

    def _notice_learning_rate(self, found):
        """Those that were changed on purpose: variables, which the checkpoint would set."""
        places = {"optimizer.": self.state.model.optimizer}
        places |= {f"optimizers.{n}.": each for n, each in enumerate(self.state.optimizers)}
        for prefix, optimizer in places.items():
            if hasattr(optimizer, "inner_optimizer"):  # It scales the loss.
                optimizer, prefix = optimizer.inner_optimizer, f"{prefix}inner_optimizer.config."
            if f"{prefix}learning_rate" in found:
                self._learning_rates.append((optimizer, found[f"{prefix}learning_rate"][1]))

    def after_write(self):
        """Sets what is no variable, or was accepted by the user, after variables were read."""
        for name, value in self._settings.items():
            if getattr(self.state.model, name) != value:
                setattr(self.state.model, name, value)
        for optimizer, value in self._learning_rates:
            optimizer.learning_rate = value

    def _differing_arguments(self, about):
        kinds = ["arguments"]
        # Another Python compiles the same function to other code.
        if about.get("versions", {}).get("python") == self._first["versions"]["python"]:
            kinds.append("functions")
        found: dict = {}
        for kind in kinds:
            for place, there in enumerate(about.get(kind, [])):  # Older checkpoints have fewer.
                name = [*about["callbacks"], "Distiller"][place]
                here = self._first[kind][place]
                now = about["now"][kind][place]
                # A callback that was used before may have changed them itself.
                found |= {
                    f"{name}.{argument}": values
                    for argument, values in _differences(there, here).items()
                    if argument in _differences(now, here)
                }
        if "validation" in about:
            found |= _differences(about["validation"], self._first["validation"])
        return found

    def _say_arguments(self, path, found, finished):
        if found:
            _warn(
                f"The run of {path} had other arguments: {_listed(found, found)}. "
                + (
                    "The run is finished, and this is its result. Give another directory to train."
                    if finished
                    else "From here on those of this call hold."
                )
            )

    def _say_versions(self, path, there):
        found = _differences(there, self._first["versions"])
        if found:
            _warn(
                f"The checkpoint {path} was written by other versions: {_listed(found, found)}. "
                "The run continues, and its last bits may be others than with one version."
            )


def versions():
    """Versions of all that computes, by name."""
    return {
        "ecl_tf": sys.modules["ecl_tf"].__version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def arguments(callback):
    """The constructor's arguments of a callback that are numbers, texts or truth values."""
    found = {}
    for name in argument_names(type(callback)):
        value = vars(callback).get(name)
        if isinstance(value, np.generic):
            value = value.item()
        is_path = isinstance(value, str) and os.sep in value  # Directories come and go.
        if type(value) in (bool, int, float, str) and not is_path:
            found[name] = value
    return found


def _functions(callback):
    """Hashes of those of its constructor's arguments that are functions."""
    given = {name: vars(callback).get(name) for name in argument_names(type(callback))}
    return {
        name: functions.fingerprint(value)
        for name, value in given.items()
        if functions.is_function(value)
    }


def argument_names(kind):
    """The names of all arguments of a class's constructors, its bases' included."""
    names: dict[str, None] = {}
    for base in inspect.getmro(kind)[:-1]:
        if constructor := vars(base).get("__init__"):
            names |= dict.fromkeys(inspect.signature(constructor).parameters)
    return list(names)


def _model(model):
    """A hash of the layers of the network that is trained."""
    config = _without_code(identity.config_of(getattr(model, "student", model)))
    config = _without_numbers(identity.comparable(config))
    return identity.fingerprint_of_text(json.dumps(config, sort_keys=True))


def _without_numbers(config):
    """A configuration without the numbers by which Keras tells layers of a session apart."""
    if isinstance(config, list):
        return [_without_numbers(item) for item in config]
    if not isinstance(config, dict):
        return config
    found = {key: _without_numbers(item) for key, item in config.items()}
    if isinstance(found.get("name"), str):
        found["name"] = re.sub(r"_\d+$", "", found["name"])
    return found


def _optimizer(optimizer):
    config = _without_code(identity.config_of(optimizer), "name")
    return {"class_name": config["class_name"], **(config.get("config") or {})}


def _loss(model):
    try:
        config = model.get_compile_config()
    except (TypeError, NotImplementedError, ValueError):  # A loss of the user's without one.
        config = {"loss": type(getattr(model, "loss", None)).__name__}
    found = {name: config.get(name) for name in ("loss", "loss_weights")}
    return _without_code(json.loads(json.dumps(found, default=str)), "name")


def _without_code(config, *left_out):
    """A configuration without the code of functions, which has the numbers of its lines."""
    if isinstance(config, list):
        return [_without_code(item, *left_out) for item in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "__lambda__":
        return {"class_name": "a function"}
    unwanted = ("compile_config", *left_out)
    return {k: _without_code(v, *left_out) for k, v in config.items() if k not in unwanted}


def _differences(there, here):
    return {name: (one, two) for name, one, two in identity.differing(there, here)}


def _is_in(name, accepted):
    return any(name == wanted or name.startswith(f"{wanted}.") for wanted in accepted)


def _listed(names, found):
    """Names with both values, where those are short."""
    texts = []
    for name in dict.fromkeys(names):
        there, here = (
            f"{value:g}" if isinstance(value, float) else repr(value) for value in found[name]
        )
        short = max(len(there), len(here)) <= 40  # No fingerprints.
        texts.append(f"{name} ({there} there, {here} here)" if short else name)
    return " and ".join(texts)


def _warn(text):
    warnings.warn(text, stacklevel=2)
