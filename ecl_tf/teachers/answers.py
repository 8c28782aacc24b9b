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
    probabilities = np.asarray(values["probabilities"], np.float64)
    inside = np.all((probabilities >= 0.0) & (probabilities <= 1.0 + 1e-3))
    # Rounded to 8 bits, each may be off by 1/512.
    tolerance = 1e-2 + probabilities.shape[-1] / 512
    adds_up = np.all(np.abs(probabilities.sum(-1) - 1.0) <= tolerance)
    if not inside or (output.family == "categorical" and not adds_up):
        raise ValueError(
            f"The network's answers are no probabilities of {output!r} (they leave [0, 1] or "
            f"don't add up to 1): {probabilities[0]}. Say {_CHOICES}."
        )


def adds_up_to_one(values):
    """Whether all rows are numbers >= 0 with the sum 1, as logits are hardly ever."""
    values = np.asarray(values, np.float64)
    return bool(np.all(values >= 0.0) and np.all(np.abs(values.sum(-1) - 1.0) < 1e-4))


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

    def call(self, answers):
        if not isinstance(answers, dict):
            answers = {UNNAMED: answers}
        values = {key: answers[name] for key, name in self.parameters.items()}
        return _raw(self.output_kind, values)

    def get_config(self):
        output = keras.saving.serialize_keras_object(self.output_kind)
        return {**super().get_config(), "output": output, "parameters": self.parameters}

    @classmethod
    def from_config(cls, config):
        return cls(**keras.saving.deserialize_keras_object(config))


def _raw(output, values):
    if isinstance(output, outputs.Joint):
        return {
            name: _raw(output.outputs[name], part) for name, part in output.parts(values).items()
        }
    values = {name: tf.cast(value, tf.float32) for name, value in values.items()}
    if "logits" in values:
        return values["logits"]
    if isinstance(output, outputs.Point):
        return output.standardise(values["mean"])
    return output.raw(output.from_parameters(values))


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
    if isinstance(output, outputs.Point):
        return ("mean",)
    return ("mean", "stddev") if output.family == "normal" else ("probabilities",)


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
