"""Several named outputs, and the output that a name or configuration stands for."""

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import build, symbolic
from ecl_tf.divergences import Distribution
from ecl_tf.outputs.bernoulli import Bernoulli
from ecl_tf.outputs.categorical import Categorical
from ecl_tf.outputs.counts import NegativeBinomial, Poisson
from ecl_tf.outputs.gaussian import Normal, Point
from ecl_tf.outputs.log_normal import LogNormal
from ecl_tf.outputs.mixture import NormalMixture
from ecl_tf.outputs.numeric import Numeric
from ecl_tf.outputs.output import Output, Uncertainty
from ecl_tf.outputs.student_t import StudentT

_UNITS = ("temperature", "target_mean", "target_stddev")  # Of raw numbers.


@keras.saving.register_keras_serializable("ecl_tf")
class Joint(Output):
    """Several named outputs, each with a distribution of its own, independent.

    This output does with a dict of tensors or distributions what the others do with one.
    Divergences and likelihoods are summed with weights, D = sum_k w_k D_k.
    A dict given as `output` becomes a `Joint`.

    Args:
        outputs: a dict from output name to `Output` (or its name, or its config).
        weights: a dict from output name to its weight >= 0 in the loss; None, the default,
            and names left out stand for 1.

    Raises:
        ValueError: if there are no outputs, or a weight is negative or of no output.

    Example:
    >>> joint = Joint({"digit": "categorical", "angle": Normal(1)}, {"angle": 0.1})
    >>> sorted(joint({"digit": [[0.0, 1.0]], "angle": [[0.0, 0.0]]}))
    ['angle', 'digit']
    """

    def __init__(
        self,
        outputs: Mapping[str, Output | str | dict[str, Any]],
        weights: dict[str, float] | None = None,
    ):
        if not outputs:
            raise ValueError("A joint output needs at least one named output; got none.")
        weights = dict(weights or {})
        unknown = sorted(set(weights) - set(outputs))
        are_numbers = all(
            isinstance(weight, Real) and 0.0 <= weight < math.inf for weight in weights.values()
        )
        if unknown or not are_numbers:
            raise ValueError(
                f"weights must map output names {sorted(outputs)} to numbers >= 0; got {weights}."
            )
        self.outputs = {name: get(output) for name, output in outputs.items()}
        self.weights = {name: float(weights.get(name, 1.0)) for name in outputs}
        self.family = {name: output.family for name, output in self.outputs.items()}
        self.closeness_names = tuple(
            f"{name}_{closeness}"
            for name, output in self.outputs.items()
            for closeness in output.closeness_names
        )
        self.takes_temperature = any(each.takes_temperature for each in self.outputs.values())

    def _map(self, method, *structures, weights=None, **arguments):
        """Calls every output's method with its part of the structures."""
        if weights is not None:
            arguments = {name: {**arguments, "weights": weights[name]} for name in self.outputs}
        else:
            arguments = dict.fromkeys(self.outputs, arguments)
        return {
            name: getattr(output, method)(*(each[name] for each in structures), **arguments[name])
            for name, output in self.outputs.items()
        }

    def _sum(self, method, *structures, **arguments):
        terms = self._map(method, *structures, **arguments)
        return tf.add_n([self.weights[name] * term for name, term in terms.items()])

    def _named(self, raws):
        """A dict of the members' raw tensors by output."""
        return {name: [raw[name] for raw in raws] for name in self.outputs}

    def __call__(self, raw: dict[str, tf.Tensor]) -> dict[str, Distribution]:
        return self._map("__call__", raw)

    def validate(self, shape: dict[str, Any], network: str) -> None:  # type: ignore[override]
        if not isinstance(shape, dict) or set(shape) != set(self.outputs):
            found = sorted(shape) if isinstance(shape, dict) else "one unnamed tensor"
            raise ValueError(
                f"The outputs of the {network} are {found}; expected a dict with the names "
                f"{sorted(self.outputs)} of `output`. Build the network with "
                "keras.Model(inputs, {name: tensor, ...})."
            )
        for name, output in self.outputs.items():
            output.validate(shape[name], f"{network} (output {name!r})")

    def event_size(self, shape: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        return self._map("event_size", shape)

    def raw_size(self, event_size: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        return self._map("raw_size", event_size)

    def tempered(self, temperature: float) -> "Joint":
        return Joint(self._map("tempered", temperature=temperature), self.weights)

    def can_learn_from(self, teacher: Output) -> bool:
        others = getattr(teacher, "outputs", {})
        return others.keys() == self.outputs.keys() and all(
            each.can_learn_from(others[name]) for name, each in self.outputs.items()
        )

    def combine(self, raws: Sequence[dict[str, tf.Tensor]]) -> dict[str, Distribution]:
        return self._map("combine", self._named(raws))

    def uncertainty(self, raws: Sequence[dict[str, tf.Tensor]]) -> dict[str, Uncertainty]:  # type: ignore[override]
        return self._map("uncertainty", self._named(raws))

    def score(
        self, uncertainty: dict[str, tf.Tensor], weights: dict[str, Any] | None = None
    ) -> tf.Tensor:
        return self._sum("score", uncertainty, weights=weights)

    def raw(self, distribution: dict[str, Distribution]) -> dict[str, tf.Tensor]:
        return self._map("raw", distribution)

    def divergence(
        self,
        teacher: dict[str, Distribution],
        student: dict[str, Distribution],
        divergence: Callable[..., tf.Tensor],
        temperature: float | tf.Tensor = 1.0,
        weights: dict[str, Any] | None = None,
    ) -> tf.Tensor:
        given = {"divergence": divergence, "temperature": temperature, "weights": weights}
        return self._sum("divergence", teacher, student, **given)

    def negative_log_likelihood(
        self,
        distribution: dict[str, Distribution],
        labels: dict[str, tf.Tensor],
        weights: dict[str, Any] | None = None,
    ) -> tf.Tensor:
        # What has the weight 0 needs no labels.
        given = {name: labels[name] for name in labels if labels[name] is not None}
        left_out = [n for n, weight in self.weights.items() if weight == 0.0 and n not in given]
        if left_out:
            kept = {n: each for n, each in self.outputs.items() if n not in left_out}
            rest = Joint(kept, {name: self.weights[name] for name in kept})
            return rest.negative_log_likelihood(distribution, given, weights)
        return self._sum("negative_log_likelihood", distribution, labels, weights=weights)

    def compare(
        self,
        teacher: dict[str, Distribution],
        student: dict[str, Distribution],
        weights: dict[str, Any] | None = None,
    ) -> dict[str, tf.Tensor]:
        return _prefixed(self._map("compare", teacher, student, weights=weights))

    def prediction(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return self._map("prediction", raw)

    def parameters(self, distribution: dict[str, Distribution]) -> dict[str, tf.Tensor]:
        return _prefixed(self._map("parameters", distribution))

    def from_parameters(self, parameters: dict[str, tf.Tensor]) -> dict[str, Distribution]:
        return self._map("from_parameters", self.parts(parameters))

    def parts(self, parameters: dict[str, Any]) -> dict[str, dict]:
        """Sorts named `parameters` by the output that they belong to, their names shortened."""
        parts: dict[str, dict] = {name: {} for name in self.outputs}
        for key, value in parameters.items():
            owners = [name for name in parts if key.startswith(f"{name}_")]
            if not owners:
                raise ValueError(
                    f"{key!r} is no parameter of the joint output; expected one of its names "
                    f"{sorted(parts)}, an underscore, and a parameter of that output."
                )
            owner = max(owners, key=len)
            parts[owner][key.removeprefix(f"{owner}_")] = value
        return parts

    def get_config(self) -> dict[str, Any]:
        outputs = keras.saving.serialize_keras_object(self.outputs)
        return {"outputs": outputs, "weights": self.weights}


def parts_of(output: Output, *nests: Any) -> dict[str, tuple]:
    """Returns every single output by name, with its part of nestings that are dicts like it.

    An output that is no `Joint` has the name "". Of a nesting that is no such dict, or that
    lacks the name, the part is None.

    Args:
        output: any output.
        *nests: raw tensors, distributions, labels, masks or weights of it.

    Example:
    >>> parts_of(Joint({"digit": "categorical"}), {"digit": 1}, None)
    {'digit': (Categorical(temperature=1.0), 1, None)}
    """
    if not isinstance(output, Joint):
        return {"": (output, *nests)}
    return {
        name: (each, *(nest.get(name) if isinstance(nest, dict) else None for nest in nests))
        for name, each in output.outputs.items()
    }


def require_fit(output: Output, network: Any, raw: Any = None) -> None:
    """Raises ValueError unless a network's raw outputs are those of an `output`.

    Args:
        output: what they are taken for.
        network: a distiller or teacher, or what our loss trained, whose raw outputs are those of
            its own output, of one family, temperature and unit; or any other network.
        raw: a raw output of another network, or its shape, or a dict of these; None, the default,
            where it is not known.
    """
    own = own_of(network) or trained_as(network)
    if own is None:
        require_shape(output, raw)
        return
    known = parts_of(own)
    for name, (each,) in parts_of(output).items():
        if name not in known or not reads_alike(known[name][0], each):
            raise ValueError(
                f"The raw outputs of {network.name!r} are those of {own!r}; {output!r} would read "
                f"them otherwise{_of_name(name)}. Give the network's own output."
            )


def require_shape(output: Output, raw: Any) -> None:
    """Raises ValueError if raw outputs are of no shape that an `output` takes.

    Args:
        output: what they are taken for.
        raw: one or its shape, a dict of these, or None where it is not known.
    """
    for name, (each, its) in parts_of(output, raw).items():
        if its is not None:
            each.validate(tuple(getattr(its, "shape", its)), f"network{_of_name(name)}")


def _of_name(name):
    return f" (output {name!r})" if name else ""


def own_of(network: Any) -> Any:
    """Returns the output of a distiller or teacher, also one with layers in front; None of others.

    Args:
        network: any network.
    """
    if hasattr(network, "output_kind") or not isinstance(network, keras.Model):
        return getattr(network, "output_kind", None)
    tensors = keras.tree.flatten(symbolic.output_of(network))
    made = [
        operation
        for tensor in tensors
        if isinstance(tensor, keras.KerasTensor)
        for operation, _ in symbolic.made_by(tensor)
    ]
    return next((each.output_kind for each in made if hasattr(each, "output_kind")), None)


def trained_as(network: Any) -> Any:
    """Returns the output of the loss of ours that a network was compiled with; None of others.

    It is None, too, without temperature and units: labels may have been standardised before, and a
    temperature be fitted later.

    Args:
        network: any network.
    """
    loss: Any = getattr(network, "loss", None)
    if type(loss).__module__ != "ecl_tf.losses":
        return None
    for (each,) in parts_of(loss.output).values():
        without = {name: value for name, value in each.get_config().items() if name not in _UNITS}
        if reading(each) != reading(type(each).from_config(without)):
            return loss.output
    return None


def reading(output: Output) -> tuple:
    """Returns what raw numbers stand for, in which two outputs of one network may not differ."""
    size = getattr(output, "size", 1)
    names = (*_UNITS, "min_scale") if output.made_positive else _UNITS
    units = [np.broadcast_to(getattr(output, name, 0.0), size).tolist() for name in names]
    return output.family, output.raw_size(size), units


def reads_alike(own: Output, output: Output) -> bool:
    """Returns whether an `output` reads the raw numbers of a network as its `own` does.

    It may add a temperature, which `ecl_tf.calibrated` fits, to one that has none.
    """
    if own.temperature == 1.0 != output.temperature:
        output = output.tempered(1.0)
    return reading(own) == reading(output)


_OUTPUTS = {
    cls.__name__: cls
    for cls in (
        Bernoulli,
        Categorical,
        Joint,
        LogNormal,
        NegativeBinomial,
        Normal,
        NormalMixture,
        Point,
        Poisson,
        StudentT,
    )
}
# Those that a name alone stands for; of numbers the event size is taken from a network.
_NUMERIC: dict[Any, type[Numeric]] = {
    cls.family: cls for cls in (LogNormal, NegativeBinomial, Normal, Poisson, StudentT)
}
_NAMED: dict[Any, type[Output]] = {
    Bernoulli.family: Bernoulli,
    Categorical.family: Categorical,
    **_NUMERIC,
}


def get(identifier: Output | str | dict[str, Any], shape: Any = None) -> Output:
    """Returns the `Output` that a string, dict, config or instance stands for.

    Args:
        identifier: "categorical", "bernoulli"; "normal", "student_t", "log_normal",
            "negative_binomial" (whose event size is half of the last dimension of `shape`),
            "poisson" (all of it); an `Output`, a config such as {"class_name": "Normal",
            "config": {"event_size": 1}}, or a dict from output names to any of these.
        shape: the static shape (or dict of shapes) of the student's raw output, such as
            (None, 2); None, the default, where it is not known.

    Raises:
        ValueError: if the identifier is not one of these.
    """
    if isinstance(identifier, Output):
        return identifier
    if isinstance(identifier, dict):
        if build.is_named(identifier, _OUTPUTS):
            return _OUTPUTS[identifier["class_name"]].from_config(identifier.get("config", {}))
        if name := identifier.get("class_name"):
            is_saved = "registered_name" in identifier or "module" in identifier
            if not (is_saved or keras.saving.get_registered_object(name)):
                raise ValueError(
                    f"Unknown output {name!r}; expected one of {sorted(_OUTPUTS)}, or a class of "
                    "yours under @keras.saving.register_keras_serializable(), imported before."
                )
            return keras.saving.deserialize_keras_object(identifier)
        shapes = shape if isinstance(shape, dict) else {}
        return Joint({name: get(each, shapes.get(name)) for name, each in identifier.items()})
    if not isinstance(identifier, str) or identifier not in _NAMED:
        raise ValueError(
            f"Unknown output {identifier!r}; expected one of {sorted(_NAMED)}, an "
            "ecl_tf.outputs.Output, or a dict of them for a network with named outputs."
        )
    if identifier not in _NUMERIC:
        return _NAMED[identifier]()
    own = _NUMERIC[identifier]
    count = own(1).raw_size(1)  # Of numbers for each target.
    if shape is None or shape[-1] is None or shape[-1] % count:
        raise ValueError(
            f"output={identifier!r} takes its event size from the student's last dimension "
            f"({count} times the target's), which here is "
            f"{'unknown' if shape is None else shape[-1]}. Use "
            f"ecl_tf.outputs.{own.__name__}(event_size)."
        )
    return own(shape[-1] // count)


def _prefixed(nested):
    return {
        f"{name}_{key}": value for name, values in nested.items() for key, value in values.items()
    }
