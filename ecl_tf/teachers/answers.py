"""What a pretrained network answers, as the raw tensor of an `ecl_tf.outputs.Output`.

An output has *parameters*: `logits` (any output: its raw tensor), `probabilities`
(categorical, Bernoulli), `mean` and `stddev` (normal; in the target's units), `mean`
(points). Parameters of a joint output have the output's name and an underscore before them. A
network answers with some of these, under names of its own; here they are found and
converted.
"""

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf._internal import finite, positions, probabilities, probing, symbolic

# The name of the output of a network that gives one tensor.
UNNAMED = "output"
_CHOICES = (
    "answer='logits' (the raw output: logits; for normal outputs means, then scales), "
    "'probabilities', 'mean' (points), or a dict from parameter to the network's output, "
    "such as {'mean': 'mu', 'stddev': 'sigma'}"
)


def resolve(answer, names, output, default=None):
    """Finds the parameters of `output` among a network's outputs.

    Args:
        answer: "logits", "probabilities", "mean", a dict from parameter to network
            output, or None to go by the names.
        names: the names of the network's outputs.
        output: an `ecl_tf.outputs.Output`.
        default: the answer, if None and the names tell nothing.

    Returns:
        A dict from parameter to network output.

    Raises:
        ValueError: if `answer` does not fit the outputs, or is needed.

    Example:
    >>> resolve(None, ["mean", "stddev"], outputs.Normal(1))
    {'mean': 'mean', 'stddev': 'stddev'}
    """
    if answer is None:
        for parameters in (_parameters(output), _parameters(output, "logits")):
            if set(parameters) <= set(names):
                return {name: name for name in parameters}
        if default is None:
            raise ValueError(
                f"The network's outputs {sorted(names)} don't tell what it answers for "
                f"{output!r}. Say {_CHOICES}."
            )
        answer = default
    if isinstance(answer, str):
        if answer not in ("logits", "probabilities", "mean"):
            raise ValueError(f"Unknown answer {answer!r}; expected {_CHOICES}.")
        answer = _by_name(answer, names, output)
    missing = sorted(set(answer.values()) - set(names))
    if missing:
        raise ValueError(
            f"The network has no outputs {missing}; it has {sorted(names)}. Say {_CHOICES}."
        )
    kind(output, answer)
    return dict(answer)


def kind(output, parameters):
    """The output that a network with these parameters gives: points, without a stddev.

    Raises:
        ValueError: if `output` has not these parameters, or more.
    """
    if isinstance(output, outputs.Joint):
        parts = output.parts(parameters)
        kinds = {name: kind(each, parts[name]) for name, each in output.outputs.items()}
        return outputs.Joint(kinds, output.weights)
    known = [("logits",), _parameters(output)]
    if isinstance(output, outputs.Normal):
        known.append(("mean",))
    if tuple(sorted(parameters)) not in known:
        raise ValueError(
            f"{output!r} is given by {' or by '.join(str(list(k)) for k in known)}; the answer "
            f"has {sorted(parameters)}. Say {_CHOICES}."
        )
    is_point = isinstance(output, outputs.Normal) and list(parameters) == ["mean"]
    return points(output) if is_point else output


def points(output):
    """The `Point`, in the target's own units, of a network that gives a `Normal`'s means only."""
    floor = output.min_scale * float(np.min(output.target_stddev))
    return outputs.Point(output.size, min_scale=floor)


def check(output, values):
    """Raises ValueError if values of `probabilities` are none.

    Args:
        output: an `ecl_tf.outputs.Output`.
        values: dict from parameter to an array of the network's answers.
    """
    if isinstance(output, outputs.Joint):
        for name, part in output.parts(values).items():
            check(output.outputs[name], part)
        return
    if "probabilities" not in values:
        return
    given = np.asarray(values["probabilities"], np.float64)
    inside = np.all((given >= 0.0) & (given <= 1.0 + 1e-3))
    # Rounded to 8 bits, each may be off by 1/512.
    tolerance = 1e-2 + given.shape[-1] / 512
    adds_up = np.all(np.abs(given.sum(-1) - 1.0) <= tolerance)
    if not inside or (output.family == "categorical" and not adds_up):
        if inside and given.any() and output.family == "categorical":
            raise ValueError(
                f"The network's answers are numbers between 0 and 1 that don't add up to 1: "
                f"{given[0]}. If each is a yes/no probability by itself (a sigmoid's), say "
                f"output='bernoulli'; {output!r} takes probabilities of classes, of which one is "
                "right (a softmax's)."
            )
        raise ValueError(
            f"The network's answers are no probabilities of {output!r} (they leave [0, 1] or "
            f"don't add up to 1): {given[0]}. Say {_CHOICES}."
        )


def require_probabilities(output, model, given, remedy, specs=None):
    """Raises ValueError if a model answers with something else where probabilities are expected.

    The last layers tell of most models that they give logits. Others are asked.

    Args:
        output: the `ecl_tf.outputs.Output` of the model.
        model: a Keras model.
        given: the result of `by_part`.
        remedy: what to do with a model that gives logits, for the message.
        specs: of a batch of inputs, for a model without symbolic ones; None by default.
    """
    parts = getattr(output, "outputs", {"": output})
    of_probabilities = [name for name in parts if given[name] == "probabilities"]
    for name in of_probabilities:
        if probabilities.ends_in_logits(model, parts, name):
            whose = f"{model.name!r}{f' (output {name!r})' * bool(name)}"
            raise ValueError(
                f"The network {whose} ends in a linear layer: it gives logits already, and no "
                f"probabilities. {remedy}"
            )
    if not of_probabilities:
        return
    found = probabilities.of_parts(probing.answers(model, specs), parts)
    for name in of_probabilities:
        rows = probabilities.finite_rows(found.get(name))
        if rows is not None:
            check(parts[name], {"probabilities": rows})


def by_part(answer, output):
    """What members of an ensemble, or a network as it is, give for every part of an output.

    Args:
        answer: "logits", "probabilities", None (logits, as long as they don't look like
            probabilities), or a dict of these by the name of an output.
        output: an `ecl_tf.outputs.Output`.

    Returns:
        A dict from the name of each part ("" of a single one) to "logits", "probabilities" or
        None. Parts that have no probabilities (means and scales) give their raw output.

    Raises:
        ValueError: if it is none of these, or no part has probabilities.

    Example:
    >>> joint = outputs.Joint({"digit": "categorical", "angle": outputs.Normal(1)})
    >>> by_part("probabilities", joint)
    {'digit': 'probabilities', 'angle': None}
    """
    parts = output.outputs if isinstance(output, outputs.Joint) else {"": output}
    named = answer if isinstance(answer, dict) else dict.fromkeys(parts, answer)
    unknown = sorted(set(named) - set(parts))
    given = {name: named.get(name) for name in parts}
    have = [name for name, each in parts.items() if each.makes_probabilities]
    if unknown or not set(given.values()) <= {None, "logits", "probabilities"}:
        raise ValueError(
            "answer must be 'logits', 'probabilities', None, or a dict of these by the names "
            f"{sorted(parts)} of the outputs; got {answer!r}."
        )
    without = [n for n, each in named.items() if each == "probabilities" and n not in have]
    if without and (isinstance(answer, dict) or not have):
        raise ValueError(
            f"answer='probabilities' is for categorical and Bernoulli outputs; {output!r} has "
            f"none{' for ' + repr(without[0]) if without[0] else ''}. Means and scales are given "
            "as they are: leave out answer."
        )
    return {name: each if name in have else None for name, each in given.items()}


def raw_of(output, given, answered):
    """The raw tensor (or dict of them) of a network's answer.

    Args:
        output: an `ecl_tf.outputs.Output`.
        given: the result of `by_part`.
        answered: a tensor, or a dict of them by the output's names.
    """
    if isinstance(output, outputs.Joint):
        return {
            name: raw_of(each, {"": given[name]}, answered[name])
            for name, each in output.outputs.items()
        }
    if given[""] != "probabilities":
        return answered
    # An output's temperature belongs to what the network answers: p^(1/T), of its own p.
    own = output if output.temperature == 1.0 else output.tempered(1.0)
    return raw(own, {"probabilities": answered})


def as_logits(
    model: keras.Model, output: str | dict | outputs.Output = "categorical"
) -> keras.Model:
    """A model that answers with logits, of one that answers with probabilities.

    The logarithm of class probabilities, and log p - log(1 - p) of yes/no ones, are logits that
    give the same probabilities. Both models share their weights, so that one is trained with the
    other. Probabilities of exactly 0 (and 1, of yes/no labels) become the nearest that float32
    holds.

    Args:
        model: a `keras.Model` that ends in a softmax or sigmoid, wherever that is: in a network
            in it, in a `Lambda`, in a subclass.
        output: the `ecl_tf.outputs.Output` of its probabilities, or its name; "categorical" by
            default. Of a dict of outputs those that have probabilities are converted.

    Returns:
        A `keras.Model`, which may be a student, a teacher, or saved as a file.

    Raises:
        ValueError: if the output has no probabilities, or the model answers with something else,
            such as logits.

    Example:
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    >>> logits = as_logits(model)
    >>> x = np.ones((5, 4), "float32")
    >>> bool(np.allclose(tf.nn.softmax(logits(x)), model(x), atol=1e-6))
    True
    """
    output = outputs.get(output, symbolic.shape_for(output, model, "model"))
    parts = output.outputs.values() if isinstance(output, outputs.Joint) else [output]
    if not any(part.makes_probabilities for part in parts):
        raise ValueError(
            "as_logits is for networks that answer with probabilities, of categorical and "
            f"Bernoulli outputs; {output!r} has none. Use the network as it is."
        )
    finite.require_weights(model, "network")
    given = by_part("probabilities", output)
    remedy = "Use it as it is, without as_logits."
    require_probabilities(output, model, given, remedy)
    parameters = {"probabilities": UNNAMED}
    if isinstance(output, outputs.Joint):
        parameters = {f"{name}_{each or 'logits'}": name for name, each in given.items()}
    convert = RawAnswer(output, parameters)
    inputs = symbolic.inputs_of(model)
    if inputs is None:
        return keras.Sequential([model, convert], name=model.name)
    return keras.Model(inputs, convert(symbolic.output_of(model)), name=model.name)


@keras.saving.register_keras_serializable("ecl_tf")
class RawAnswer(keras.layers.Layer):
    """A network's outputs to the raw tensor(s) of an output, in float32.

    Probabilities of exactly 0 (and 1, of yes/no labels) become the nearest that float32
    holds, so that all logits are finite; standard deviations below the output's
    `min_scale` are raised to it.

    Args:
        output: the `ecl_tf.outputs.Output`.
        parameters: dict from parameter to network output, the result of `resolve`.

    Example:
    >>> layer = RawAnswer("categorical", {"probabilities": "p"})
    >>> print(tf.nn.softmax(layer({"p": tf.constant([[0.25, 0.75]])})).numpy().round(4))
    [[0.25 0.75]]
    """

    def __init__(self, output, parameters, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.output_kind = outputs.get(output)
        self.parameters = dict(parameters)
        self.supports_masking = True

    def call(self, answers):
        if not isinstance(answers, dict):
            answers = {UNNAMED: answers}
        values = {key: answers[name] for key, name in self.parameters.items()}
        return raw(self.output_kind, values)

    def compute_mask(self, inputs, previous_mask):
        return None  # `raw` keeps each output's own.

    def get_config(self):
        output = keras.saving.serialize_keras_object(self.output_kind)
        return {**super().get_config(), "output": output, "parameters": self.parameters}

    @classmethod
    def from_config(cls, config):
        return cls(**keras.saving.deserialize_keras_object(config))


def raw(output, values):
    """The raw tensor (or dict of them) of an output, of its parameters by their names."""
    if isinstance(output, outputs.Joint):
        return {
            name: raw(output.outputs[name], part) for name, part in output.parts(values).items()
        }
    first = next(iter(values.values()))
    values = {name: tf.cast(value, tf.float32) for name, value in values.items()}
    if "logits" in values:
        found = values["logits"]
    elif isinstance(output, outputs.Point):
        found = output.standardise(values["mean"])
    else:
        found = output.raw(output.from_parameters(values))
    return positions.with_mask_of(first, found)


def _parameters(output, parameter=None):
    """The names of an output's parameters, or of one parameter of each of its parts."""
    if isinstance(output, outputs.Joint):
        return tuple(
            f"{name}_{key}"
            for name, each in output.outputs.items()
            for key in _parameters(each, parameter)
        )
    if parameter is not None:
        return (parameter,)
    return output.parameter_names


def _by_name(parameter, names, output):
    """Where one and the same parameter of an output, or of its parts, is found."""
    if not isinstance(output, outputs.Joint):
        if parameter in names:
            return {parameter: parameter}
        if len(names) == 1:
            return {parameter: next(iter(names))}
        raise ValueError(
            f"answer={parameter!r} could be any of the network's outputs {sorted(names)}. Say "
            f"which, e.g. answer={{{parameter!r}: {sorted(names)[0]!r}}}."
        )
    # An output's own name will do: {"digit": logits, "angle": logits}.
    return {
        f"{name}_{parameter}": f"{name}_{parameter}" if f"{name}_{parameter}" in names else name
        for name in output.outputs
    }
