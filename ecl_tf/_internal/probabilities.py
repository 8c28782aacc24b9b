"""Probabilities that are given for logits: told by a network's last layers, and by its values.

Taken for logits, probabilities p of a confident network would stand for the nearly uniform
softmax(p).
"""

import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import probing, symbolic

# A row of bfloat16 probabilities adds up to 1 within 1/256; of 8-bit ones, to about 1/100.
_TOLERANCE = 1e-2
# Logits of a few classes may add up to 1 by chance, in one row or two.
_FEWEST_ROWS = 4
# Networks of other weights that are asked whether something keeps all of them in [0, 1].
_DRAWS = 8
_SIZES = (10.0, 100.0, 1000.0)
# Keras's activations that make probabilities: of classes, and of each number by itself.
_OF_A_ROW = {"softmax", "sparsemax"}
_OF_A_NUMBER = {"sigmoid", "hardsigmoid", "sparsesigmoid"}
# TensorFlow's operations whose results are positive.
_POSITIVE = {"Softplus", "Exp", "Sigmoid"}
OF_CLASSES = "answers with rows of numbers that are not negative and add up to 1, or 100"
CUMULATIVE = (
    "answers with rows of numbers that rise to 1: they seem to be sums of probabilities up to each "
    "class, taken for logits. The differences of a row's numbers, with 0 before the "
    "first, are the probabilities."
)
_NO_LOGITS = (
    "The network {}: it gives probabilities where {} takes logits. Leave the last layer's "
    "activation out, make logits of them, ecl_tf.as_logits(model, output), or take Keras's losses "
    "and metrics of probabilities."
)
# What values between bounds are: the bounds, and what makes probabilities of them.
_OF_BOUNDS = {
    "probabilities": ("answers with numbers between 0 and 1", ""),
    "percentages": (
        "answers with numbers between 0 and 100",
        "First make probabilities of them: keras.Model(model.inputs, model.output / 100.0). ",
    ),
    "logarithms": (
        "answers with numbers that are never above 0",
        "First make probabilities of logarithms: keras.Model(model.inputs, keras.ops.exp("
        "model.output)). ",
    ),
}
_LINEAR = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3D,
    keras.layers.Dense,
    keras.layers.DepthwiseConv2D,
    keras.layers.EinsumDense,
)


def rows_that_look_like(output, raw):
    """Whether all rows of a batch look like class probabilities, or like percentages.

    None is negative, and their sum is 1, or 100.

    Made of TensorFlow operations only, so that it may be part of a compiled step.

    Args:
        output: the `ecl_tf.outputs.Output` that the raw tensor is meant for.
        raw: a network's raw tensor (batch, ..., classes), or a dict of them.

    Returns:
        A scalar bool tensor. False for less than 4 rows, for NaN, and for outputs other than
        categorical ones: one batch does not tell yes/no probabilities from small logits. Of
        several named outputs, whether any looks so.
    """
    parts = getattr(output, "outputs", None)
    if parts is not None:
        return tf.reduce_any([rows_that_look_like(parts[name], raw[name]) for name in parts])
    if output.makes_probabilities != "softmax" or raw.shape[-1] == 1:
        return tf.constant(False)
    values = tf.cast(raw, tf.float32)
    sums = tf.reduce_sum(values, -1)
    # Other totals have rules of one number for each class, which may well be logits.
    adds_up = tf.reduce_any(
        [tf.reduce_all(tf.abs(sums / total - 1.0) <= _TOLERANCE) for total in (1.0, 100.0)]
    )
    return (tf.size(sums) >= _FEWEST_ROWS) & (tf.reduce_min(values) >= 0.0) & adds_up


def require_no_activation(output, raw, user):
    """Raises ValueError if a raw tensor comes straight from a softmax, sigmoid or softplus.

    Args:
        output: as in `rows_that_look_like`.
        raw: the tensor, before anything casts it.
        user: what takes logits, for the message.
    """
    if output.makes_probabilities and is_activation(raw):
        raise ValueError(_NO_LOGITS.format("ends in a softmax or a sigmoid", user))
    operation: Any = None if hasattr(raw, "numpy") else getattr(raw, "op", None)
    for name, place in output.made_positive.items():
        last = operation
        if place.start and getattr(last, "type", "") == "ConcatV2":
            last = operation.inputs[-2].op  # The last part, and then the axis.
        is_all = place == slice(None) or last is not operation
        if is_all and getattr(last, "type", "") in _POSITIVE:
            raise ValueError(
                f"The network's {name} end in a {last.type.lower()}, and {user} takes their "
                "softplus itself: none would be small. Leave the activation out."
            )


def checked(output, raw, user):
    """A raw tensor that is refused within a step if it looks like probabilities of classes.

    Args:
        output: as in `rows_that_look_like`.
        raw: the tensor.
        user: what takes logits, for the message.

    Returns:
        The tensor after an assertion, and NaN where XLA leaves assertions out.

    Raises:
        ValueError: as `require_no_activation`.
    """
    require_no_activation(output, raw, user)
    raw = tf.convert_to_tensor(raw)
    if is_weighted_sum(raw):
        return raw
    looks = rows_that_look_like(output, raw)
    said = _NO_LOGITS.format(OF_CLASSES, user)
    with tf.control_dependencies([tf.debugging.assert_equal(looks, False, said)]):
        return tf.where(looks, tf.constant(float("nan"), raw.dtype), raw)


def is_activation(raw):
    """Whether a tensor comes straight from a softmax or a sigmoid, as Keras or the graph tells."""
    kind = "" if hasattr(raw, "numpy") else getattr(getattr(raw, "op", None), "type", "")
    return hasattr(raw, "_keras_logits") or kind in ("Softmax", "Sigmoid")


def is_weighted_sum(raw):
    """Whether the graph tells that a tensor comes straight from a linear layer."""
    if hasattr(raw, "numpy") or not hasattr(raw, "op"):
        return False
    kinds = [raw.op.type]
    if raw.op.type in ("AddV2", "BiasAdd"):  # With a bias.
        kinds = [given.op.type for given in raw.op.inputs]
    return bool({"MatMul", "BatchMatMulV2", "Conv2D"} & set(kinds))


def require_logits(output, model, role, specs=None, parts=None, said_to_be_logits=(), ask=None):
    """Raises ValueError if a model answers with probabilities where logits are expected.

    The last layers tell of most models. Others are asked: probabilities of classes are none
    below 0 and add up to 1 in every row. Those of each number by itself, as of a sigmoid, stay in
    [0, 1] whatever the signs of the weights are, as logits do not. In the same way rates and
    standard deviations stay positive, where numbers before a softplus are expected.

    Args:
        output: the `ecl_tf.outputs.Output` that the model's raw tensors are meant for.
        model: a Keras model.
        role: "student", "teacher" or "model", for the message.
        specs: of a batch of inputs, for a model without symbolic ones, or the batch, whose first
            rows are asked about where made-up ones tell nothing; None by default.
        parts: a dict of the outputs that are looked at by name; None, the default, for all.
        said_to_be_logits: names of outputs ("" of a single one) that may stay in [0, 1], or rise to
            1, because the user insists; none by default.
        ask: a function from inputs to raw tensors, of a user's own teacher; None, the default,
            asks the model.
    """
    looked_at = getattr(output, "outputs", {"": output}) if parts is None else parts
    parts = getattr(output, "outputs", {"": output})
    expected = {
        name: each
        for name, each in looked_at.items()
        if each.makes_probabilities or each.made_positive
    }
    tensors = of_parts(symbolic.output_of(model), parts)
    asked = {}
    for name, each in expected.items():
        tensor = tensors.get(name)
        made = list(symbolic.made_by(tensor)) if isinstance(tensor, keras.KerasTensor) else []
        for operation, path in made:
            activation = _activation(operation)
            kind = activation.replace("_", "")
            if each.makes_probabilities and kind in _OF_A_ROW | _OF_A_NUMBER:
                reason = f"ends in {activation}"
                if each.makes_probabilities == "softmax" and kind in _OF_A_NUMBER:
                    raise _refusal_of_numbers(reason, model, role, name)
                linear = _linear(operation, path) * (len(made) == 1)
                raise refusal(reason, model, role, linear, name)
        if each.made_positive:  # A loaded network's means and deviations may become raw here.
            is_known = made and all(_is_linear(its) or _is_ours(its) for its, _ in made)
        else:
            is_known = made and all(_gives_logits(operation) for operation, _ in made)
        if not is_known:
            asked[name] = each
    if not asked:
        return
    found = of_parts(probing.answers(model, specs, ask=ask), parts)
    for name, each in asked.items():
        values = finite_rows(found.get(name))
        if values is None:
            continue
        if each.made_positive:
            _require_not_positive(model, role, specs, parts, name, ask)
            continue
        of_classes = each.makes_probabilities == "softmax"
        if of_classes and rows_that_look_like(each, tf.constant(values)):
            raise refusal(OF_CLASSES, model, role, name=name)
        is_said = name in said_to_be_logits
        insist = "Say answer='logits' if they are logits nevertheless." * (role == "teacher")
        if is_own(model):
            insist = "If they are logits nevertheless, override its check_members."
        if not is_said and rise_to_1(each, values):
            raise ValueError(f"{_described(role, model, name)} {CUMULATIVE} {insist}".rstrip())
        if of_classes and _have_one_sum(values):
            _warn_of_shares(values, model, role, name)
        elif not is_said and (kind := _kind_of_bounds(model, specs, parts, name, ask)):
            refuse = _refusal_of_numbers if of_classes else refusal
            reason, first = _OF_BOUNDS[kind]
            raise refuse(f"{reason}, whatever it is asked", model, role, first + insist, name)


def ends_in_logits(model, parts, name):
    """Whether a model's last layers tell that one of its outputs is logits.

    Args:
        model: a Keras model.
        parts: the outputs by name, {"": output} of a single one.
        name: of the output.
    """
    tensor = of_parts(symbolic.output_of(model), parts).get(name)
    made = list(symbolic.made_by(tensor)) if isinstance(tensor, keras.KerasTensor) else []
    return bool(made) and all(_gives_logits(operation) for operation, _ in made)


def is_sure(output, model):
    """Whether a model's last layers tell that it gives logits, so that a step need not look."""
    parts = getattr(output, "outputs", {"": output})
    tensors = of_parts(symbolic.output_of(model), parts)
    for name, each in parts.items():
        if each.makes_probabilities == "softmax":
            if not isinstance(tensors.get(name), keras.KerasTensor):
                return False
            if not all(_is_linear(made) for made, _ in symbolic.made_by(tensors[name])):
                return False
    return True


def of_parts(answered, parts):
    """A dict of what a network gives by output; without those that it does not name."""
    if answered is None:
        return {}
    if list(parts) == [""]:
        leaves = keras.tree.flatten(answered)
        return {"": leaves[0]} if len(leaves) == 1 else {}
    return answered if isinstance(answered, dict) else {}


def finite_rows(values):
    """An array as float32 rows (rows, size) without those of NaN or Inf; None if there are none."""
    if values is None or values.ndim < 2:
        return None
    rows = values.astype("float32").reshape(-1, values.shape[-1])
    rows = rows[np.isfinite(rows).all(-1)]
    return rows if len(rows) else None


def _kind_of_bounds(model, specs, parts, name, ask):
    """What values that vary are, a key of `_OF_BOUNDS`, as no signs of the weights' elements tell.

    Of classes that is "probabilities" only: percentages and logarithms may be their logits.
    """
    low, high, spread = np.inf, -np.inf, 0.0
    is_of_classes = parts[name].makes_probabilities == "softmax"
    for rows in _of_other_signs(model, specs, parts, name, ask):
        if rows is None:
            return ""
        low, high = min(low, rows.min()), max(high, rows.max())
        if low < 0.0 < high or (is_of_classes and (low < 0.0 or high > 1.0)) or high > 100.0:
            return ""
        spread = max(spread, np.ptp(rows, 0).max())
    # Weights that are not Keras's (a SavedModel's) kept their signs; logits close to each
    # other may then be small, too.
    have_weights = bool(_weights(model))
    if spread <= (0.0 if have_weights else 0.5):
        return ""
    if low >= 0.0 and high <= 1.0:
        return "probabilities"
    if high <= 0.0 and have_weights:
        return "logarithms"
    return "percentages" if high > 90.0 and have_weights else ""


def _require_not_positive(model, role, specs, parts, name, ask):
    """Raises ValueError if numbers whose softplus is taken are positive for any signs of weights.

    Where all others are, too, nothing tells them apart, and a regressor of positive targets may end
    in anything: that is a warning.
    """
    output = parts[name]
    places = dict(output.made_positive)
    others = np.ones(output.raw_size(output.size), bool)
    low, high = np.full(others.shape, np.inf), np.full(others.shape, -np.inf)
    for place in places.values():
        others[place] = False
    for rows in _of_other_signs(model, specs, parts, name, ask):
        if rows is None or rows.shape[-1] != len(others):  # The output says what it expects.
            return
        low, high = np.minimum(low, rows.min(0)), np.maximum(high, rows.max(0))
        places = {what: place for what, place in places.items() if low[place].min() >= 0.0}
        if not places:
            return
    places = {what: place for what, place in places.items() if high[place].max() > 1.0}
    if not (_weights(model) and places):
        return
    is_sure = not others.any() or low[others].min() < 0.0
    what = " and ".join([*["means"] * (not is_sure), *places])
    names = output.parameter_names
    known = {each: each for each in names} if len(names) > 1 else names[0]
    told = (
        f"{_described(role, model, name)} answers with {what} that are positive whatever it is "
        "asked, as those of a softplus or an exponential are, where raw outputs are numbers before "
        "a softplus, which would be taken once more. Give the layer before the softplus as the "
        "output, or a linear layer. A file of a teacher with outputs of such names is taken as it "
        f"is by ecl_tf.pretrained.load(..., answer={known!r})."
    )
    if is_sure:
        raise ValueError(told)
    warnings.warn(told, stacklevel=3)


def rise_to_1(output, rows):
    """Whether an array (rows, ..., classes) has sums of probabilities up to each class.

    Several different rows are needed: a rule of ordered classes may well answer with 0, 0.5 and 1
    for the last of them.
    """
    if getattr(output, "makes_probabilities", "") != "softmax" or rows.shape[-1] < 3:
        return False
    rise = rows.min() >= 0.0 and np.all(np.diff(rows) >= 0.0)
    end_at_1 = np.all(np.abs(rows[..., -1] - 1.0) < 1e-5)
    return bool(rise and end_at_1) and len(np.unique(rows, axis=0)) >= _FEWEST_ROWS - 1


def _have_one_sum(rows):
    """Whether no number is negative and all rows add up to the same."""
    sums = rows.sum(-1)
    is_one = sums.max() - sums.min() <= _TOLERANCE * sums.max()
    is_one &= np.ptp(rows, 0).max() > 0.0  # Equal rows have it, too.
    return len(sums) >= _FEWEST_ROWS and rows.min() >= 0.0 and sums.min() > 0.0 and is_one


def _warn_of_shares(rows, model, role, name):
    """Warns of rows with one sum that is neither 1 nor 100.

    A rule's answer, such as 5 for its class and 0 for all others, has it, too, and may be logits.
    """
    warnings.warn(
        f"{_described(role, model, name)} answers with rows of numbers that are not negative "
        f"and all add up to {rows.sum(-1).mean():.4g}. They are taken for logits. If they are "
        "shares of the classes, divide them by their sum and say so: ecl_tf.Ensemble(model, "
        "output, answer='probabilities') for a teacher, ecl_tf.as_logits(model, output) for any.",
        stacklevel=3,
    )


def _weights(model):
    return [v for v in model.variables if "float" in v.dtype and "variance" not in v.name]


def _of_other_signs(model, specs, parts, name, ask):
    """Yields finite rows of an output, of a model as it is and with other signs of its weights.

    The last are of larger weights, beside which a constant summand is small. They may overflow.
    """
    variables = _weights(model)
    random = np.random.default_rng(0)
    for size in (None, *[1.0] * _DRAWS, *_SIZES):
        weights = []
        for variable in variables:
            factor = 1.0 if size is None else size * random.choice([-1.0, 1.0], variable.shape)
            weights.append((variable, np.asarray(variable) * factor))
        answered = of_parts(probing.answers(model, specs, weights, ask), parts).get(name)
        rows = finite_rows(answered)
        if rows is not None or size in (None, 1.0):
            yield rows


def _is_ours(operation):
    return type(operation).__module__.startswith("ecl_tf.")


def _described(role, model, name):
    return f"The {role} {model.name!r}{f' (output {name!r})' * bool(name)}"


def _activation(operation):
    """The name of the activation that an operation ends with: a layer's argument, or itself."""
    own = getattr(operation, "activation", None) or operation
    return getattr(own, "__name__", type(own).__name__).lower()


def _is_linear(operation):
    """Whether an operation is a layer of Keras that ends with weighted sums."""
    own = isinstance(operation, _LINEAR) and type(operation).__module__.startswith("keras.")
    return own and operation.activation is keras.activations.linear


def _gives_logits(operation):
    """Whether an operation is a linear layer that weighs something negatively.

    Without a negative weight it may well be a mean of probabilities.
    """
    return (
        _is_linear(operation)
        and operation.built
        and bool(np.min(keras.ops.convert_to_numpy(operation.kernel)) < 0.0)
    )


def _linear(operation, path):
    """How to make a layer's activation linear, where it is an attribute of the layer."""
    if not path or not callable(getattr(operation, "activation", None)):
        return ""
    places = "".join(f".get_layer({name!r})" for name in path)
    return f"model{places}.activation = keras.activations.linear leaves the logits alone."


def is_own(model):
    """Whether a model is a user's own `ecl_tf.Teacher`, and no ensemble of networks."""
    return hasattr(model, "member_outputs") and not hasattr(model, "members")


def _refusal_of_numbers(reason, model, role, also="", name=""):
    """`refusal`, of a model for classes whose probabilities need not add up to 1."""
    return ValueError(
        f"{_described(role, model, name)} {reason}: each number is a probability by itself, where "
        "raw outputs are logits of classes of which one is right, and they would be taken for "
        "these. If several labels may be right, say output='bernoulli'. If one is, divide them by "
        "their sum, keras.Model(model.inputs, model.output / keras.ops.sum(model.output, -1, "
        f"keepdims=True)), which makes probabilities of classes. {also}".rstrip()
    )


def refusal(reason, model, role, also="", name=""):
    """The error of a model that gives probabilities for logits.

    Args:
        reason: how that is known, after "The teacher 'name' ".
        model: the Keras model.
        role: "student", "teacher" or "model".
        also: another remedy; none by default.
        name: of the output, where there are several; "" by default.
    """
    remedy = "ecl_tf.as_logits(model, output) makes logits of them, trainable as before."
    if is_own(model):
        values = f"{{{name + '_probabilities' if name else 'probabilities'!r}: p}}"
        remedy = (
            "Have its member_outputs return logits: self.output_kind.raw("
            f"self.output_kind.from_parameters({values}))."
        )
    elif role == "teacher":
        remedy = (
            "ecl_tf.Ensemble(teacher, output, answer={0}) takes it as it is, and "
            "ecl_tf.pretrained.load(..., answer={0}), config.teacher.pretrained of the "
            "scripts, a file."
        ).format({name: "probabilities"} if name else repr("probabilities"))
    elif role == "model":
        remedy = "ecl_tf.as_logits(model, output).save(path) writes a file of logits."
    return ValueError(
        f"{_described(role, model, name)} {reason}: it gives probabilities where raw outputs are "
        f"logits, and they would be taken for these. {remedy} {also}".rstrip()
    )
