"""The range of inputs that a network expects, as its first layers tell."""

import math
import warnings
import weakref
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import own_inputs, symbolic, whole_numbers
from ecl_tf._internal.probing import UNKNOWN_SIZE

# What functions are asked about: some clip or fold what lies outside of images.
_ASKED = (1.0, 255.0, -1000.0, 10000.0)
_ANSWERS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # Of functions, by their layers.
# A factor that stands for the change from one range of images to another, and the range before it.
_FACTORS = {
    1 / 255: (0.0, 255.0),
    1 / 256: (0.0, 255.0),
    1 / 127.5: (0.0, 255.0),
    1 / 128: (0.0, 255.0),
    1 / 65535: (0.0, 65535.0),
    255.0: (0.0, 1.0),
    256.0: (0.0, 1.0),
    127.5: (-1.0, 1.0),
}
# The mean of images, where it is subtracted, as a share of their greatest value.
_MEANS_OF_IMAGES = (0.35, 0.55)
# Keras's layers that compute with their `value_range`, which is (0, 255) if nothing is said.
_OF_VALUE_RANGE = {
    "AugMix",
    "AutoContrast",
    "CLAHE",
    "Equalization",
    "RandAugment",
    "RandomBrightness",
    "RandomColorJitter",
    "RandomErasing",
    "RandomHue",
    "RandomInvert",
    "RandomPosterization",
    "RandomSaturation",
    "Solarization",
}
# Those that compute without it, and clip what comes out to it.
_CLIPPING = {
    "RandomColorDegeneration",
    "RandomContrast",
    "RandomElasticTransform",
    "RandomGaussianBlur",
    "RandomSharpness",
}
# Layers that take pixels as they are. A batch normalisation scales them by itself.
_WEIGHTED = {
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "ConvLSTM2D",
    "Dense",
    "DepthwiseConv2D",
    "EinsumDense",
    "SeparableConv2D",
}


class Expected(NamedTuple):
    """What a network expects of an input.

    Attributes:
        mean: the middle of the range, or the mean of every feature.
        spread: a quarter of the range's width, or the standard deviation of every feature.
        is_range: whether values have to lie within the range, as those of images do.
        words: the range, for messages.
        highest: the top of a range that begins at 0; None for others.
        remedy: for images in [0, 1], where the range goes further; "" by default, for that of
            networks in general.
        clips: whether values outside of the range are clipped, and others taken as they are; False
            by default.
    """

    mean: np.ndarray
    spread: np.ndarray
    is_range: bool
    words: str
    highest: float | None = None
    remedy: str = ""
    clips: bool = False


def expected_by(model, inputs=None):
    """What a model expects of its inputs: a dict from path (of names or numbers) to `Expected`.

    Inputs of which the first layers don't tell are left out, and so are all of a model without
    a graph (`symbolic.graph_of`).

    Args:
        model: a Keras model.
        inputs: a batch, or specs of one, in which paths are; None, the default, has them in the
            model's own nesting.
    """
    with tf.init_scope():  # In a step, too, layers' statistics are read as numbers.
        found: dict[tuple, Expected] = {}
        for path, tensor in own_inputs.taken(model, inputs):
            told = symbolic.follow(symbolic.graph_of(model, inputs), tensor, (1.0, 0.0), _told_by)
            if (first := next(told, None)) is not None:
                found[path] = first
    return found


def expected_by_layers(layers, scale=1.0, offset=0.0):
    """What the first of Keras's layers that has a `value_range` expects, and the layer.

    Args:
        layers: Keras layers, of which each gets what the one before it gives.
        scale: 1.0 by default; the first layer gets scale * x + offset of the inputs x.
        offset: as `scale`; 0.0 by default.

    Returns:
        An `Expected` and a layer; None and None if another layer changes the values before it.
    """
    for layer in _unrolled(layers):
        kind = type(layer).__name__
        if kind in _OF_VALUE_RANGE | _CLIPPING and getattr(layer, "value_range", None):
            found = _range(layer.value_range, scale, offset, _remedy_of(kind))
            return found._replace(clips=kind in _CLIPPING), layer
        if isinstance(layer, keras.layers.Rescaling) and np.ndim(layer.scale) == 0:
            scale, offset = scale * layer.scale, offset * layer.scale + np.mean(layer.offset)
        elif not (symbolic.passes_values_on(layer) or kind in symbolic.MOVES_VALUES):
            break
    return None, None


def _unrolled(layers):
    """Yields layers, and in the place of those that hold others (Sequential, Pipeline) these."""
    for layer in layers:
        inner = getattr(layer, "layers", None)
        if isinstance(layer, keras.layers.InputLayer):
            continue
        yield from [layer] if inner is None else _unrolled(inner)


# Of images that no network scales.
SCALED = Expected(np.asarray(0.5), np.asarray(0.25), True, "images that are scaled already")
# The same of arrays that may be of grey images, which whole numbers alone tell from other amounts.
PIXELS = SCALED._replace(words="pixels that are scaled already")
# The least side of images that are flat, or without channels. Smaller ones are rather features.
_LEAST_SIDE = 16


def takes_as_they_are(model, inputs=None):
    """The paths of inputs that a model's first weights multiply as they are given.

    Args:
        model: a Keras model.
        inputs: as in `expected_by`.
    """

    def visit(node, operation, known):
        return ([], known) if _changes_nothing(node, operation) else ([operation], None)

    with tf.init_scope():  # As in `expected_by`.
        graph = symbolic.graph_of(model, inputs)
        return {
            path
            for path, tensor in own_inputs.taken(model, inputs)
            if (found := list(symbolic.follow(graph, tensor, (), visit)))
            and all(map(_is_weighted, found))
        }


def not_adapted(model, inputs):
    """The first `Normalization` that gets inputs as they are, and was never adapted; or None.

    Args:
        model: a Keras model.
        inputs: as in `expected_by`.
    """

    def visit(node, operation, known):
        if isinstance(operation, keras.layers.Normalization):
            is_given = operation.input_mean is not None
            return ([] if is_given or not _is_identity(operation) else [operation]), None
        return [], known if _changes_nothing(node, operation) else None

    with tf.init_scope():  # As in `expected_by`.
        graph = symbolic.graph_of(model, inputs)
        for _, tensor in own_inputs.taken(model, inputs):
            if found := list(symbolic.follow(graph, tensor, (), visit)):
                return found[0]
    return None


def _changes_nothing(node, operation):
    factor, shift = _affine(operation, node)
    return factor is not None and np.allclose(factor, 1.0, 1e-3) and np.allclose(shift, 0.0)


def _is_identity(normalization):
    mean, variance = map(keras.ops.convert_to_numpy, (normalization.mean, normalization.variance))
    return np.all(mean == 0.0) and np.all(variance == 1.0)


def unscaled(networks, inputs):
    """The paths of inputs that the first weights of all that take them multiply as they are.

    Args:
        networks: Keras models; those of which the inputs are not known say nothing.
        inputs: as in `expected_by`.
    """
    takes = [
        (dict(own_inputs.taken(network, inputs)), takes_as_they_are(network, inputs))
        for network in networks
    ]
    return {
        path
        for _, found in takes
        for path in found
        if all(path in its for taken, its in takes if path in taken)
    }


def _is_weighted(operation):
    if isinstance(operation, keras.layers.SpectralNormalization):
        operation = operation.layer
    is_of_keras = type(operation).__module__.startswith("keras.")
    return is_of_keras and type(operation).__name__ in _WEIGHTED


def expected_in_training(student, others):
    """What a student's inputs were compared with in its training: a dict from path to `Expected`.

    Args:
        student: a Keras model.
        others: the Keras models that got the same inputs in its training.
    """
    networks = [student, *others]
    inputs = own_inputs.in_common(networks)
    found = dict.fromkeys(unscaled(networks, inputs), SCALED)
    for network in reversed(networks):
        found.update(expected_by(network, inputs))
    own = zip(own_inputs.taken(student), own_inputs.taken(student, inputs), strict=False)
    return {
        path: found[its]
        for (path, tensor), (its, _) in own
        if its in found and (found[its] is not SCALED or is_image(tensor.shape))
    }


def described(expected):
    """An `Expected` as JSON holds it: the bounds, "scaled", or of features mean and deviation."""
    if isinstance(expected, whole_numbers.Whole):
        return {"whole": [*expected]}
    if expected is SCALED:
        return "scaled"
    if not expected.is_range:
        means, stddevs = (
            np.vectorize(lambda each: float(f"{each:.7g}"), otypes=[float])(found).tolist()
            for found in (expected.mean, expected.spread)
        )
        return {"mean": means, "stddev": stddevs}
    return [float(expected.mean + sign * 2.0 * expected.spread) for sign in (-1.0, 1.0)]


def of_description(found):
    """The `Expected`, or `whole_numbers.Whole`, that `described` described."""
    if isinstance(found, dict) and "mean" in found:
        return of_features(np.asarray(found["mean"]), np.asarray(found["stddev"]))
    if isinstance(found, dict):
        return whole_numbers.Whole(*found["whole"])
    return SCALED if found == "scaled" else _range(found, 1.0, 0.0)


def is_image(shape):
    """Whether inputs of this shape, with the batch first, are images, or coloured videos."""
    return shape[-1] in {4: (1, 3, 4), 5: (3, 4)}.get(len(shape), ())


def may_be_pixels(shape):
    """Whether inputs of this shape, with the batch first, are grey or flat images, or grey videos.

    They may also be other amounts: maps of rain over time, steps of a sequence, or spectra.
    """
    if len(shape) == 5:
        return shape[-1] == 1
    if None in shape[1:]:
        return False
    if len(shape) == 3:
        return shape[1] == shape[2] >= _LEAST_SIDE
    sides = {math.isqrt(shape[1]), math.isqrt(shape[1] // 3)} if len(shape) == 2 else ()
    return any(side >= _LEAST_SIDE and shape[1] in (side**2, 3 * side**2) for side in sides)


def _remedy_of(kind):
    return f"Give {kind} the value_range of the images, such as (0, 1) or (0, 255)."


def _told_by(node, operation, known):
    """What `symbolic.follow` takes: what is expected of an input x, if the node gets s x + o.

    Args:
        node: of the graph.
        operation: its own.
        known: s and o.
    """
    (scale, offset), kind = known, type(operation).__name__
    if isinstance(operation, keras.layers.Normalization):
        found = _of_normalization(operation, scale, offset)
        return [] if found is None else [found], None
    if getattr(operation, "takes_bytes", False):  # A network's own `preprocess_input`.
        return [_range((0.0, 255.0), scale, offset)], None
    if kind in _OF_VALUE_RANGE and getattr(operation, "value_range", None):
        return [_range(operation.value_range, scale, offset, _remedy_of(kind))], None
    factor, shift = _affine(operation, node)
    if factor is not None and np.all(factor):
        for of_images, bounds in _FACTORS.items():
            if np.ndim(factor) == 0 and np.isclose(factor, of_images, rtol=1e-3):
                return [_range(bounds, scale, 0.0)], None  # Whatever was subtracted before.
        middle = np.mean(-shift / factor) if len(node.outputs[0].shape) in (4, 5) else 0.0
        if _MEANS_OF_IMAGES[0] < middle / 255.0 < _MEANS_OF_IMAGES[1]:
            return [_range((0.0, 255.0), scale, 0.0)], None
        is_of_colours = np.size(shift) in (3, 4) and (
            _MEANS_OF_IMAGES[0] < middle < _MEANS_OF_IMAGES[1]
        )
        if is_of_colours or np.isclose(middle, 0.5, rtol=1e-3):  # It becomes 0.
            return [_range((0.0, 1.0), scale, offset)], None
        if np.ndim(factor) or np.ndim(shift):
            return [], None
        scale, offset = scale * factor, offset * factor + shift
        return [], (scale, offset) if scale else None
    return [], None


def _affine(operation, node):
    """The factor and the summand of a layer or an operation with numbers; None, 0 of others."""
    kind = type(operation).__name__
    if symbolic.passes_values_on(operation) or kind in symbolic.MOVES_VALUES:
        return 1.0, 0.0
    if isinstance(operation, keras.layers.Rescaling):
        return np.squeeze(operation.scale), np.squeeze(operation.offset)
    if any(isinstance(each, (keras.Variable, tf.Variable)) for each in node.arguments.args):
        return None, 0.0  # It may be trained.
    is_number = [
        isinstance(each, (int, float, np.ndarray)) or tf.is_tensor(each)
        for each in node.arguments.args
    ]
    if sorted(is_number) != [False, True]:
        return _asked(node)
    is_first = is_number[0]
    number = np.asarray(node.arguments.args[is_number.index(True)])
    if kind == "Multiply":
        return np.squeeze(number), 0.0
    if kind in ("Divide", "TrueDivide") and not is_first:
        return 1.0 / np.squeeze(number), 0.0
    if kind in ("Add", "Subtract") and not is_first:
        return 1.0, np.squeeze(number if kind == "Add" else -1.0 * number)
    return _asked(node)


def _asked(node):
    """The factors and summands of an operation that answers with factor * x + summand, as asked.

    It is one of Keras without weights, such as a `Lambda`, and may move, repeat and pad values. It
    is asked once about images that are all of one number, one after another, because it may
    compute with what the others of a batch are. One of anything else may change a unit.
    """
    operation = node.operation
    is_of_keras = type(operation).__module__.startswith("keras.")
    if not is_of_keras or isinstance(operation, keras.Model) or getattr(operation, "weights", None):
        return None, 0.0
    if operation not in _ANSWERS:
        _ANSWERS[operation] = _line_of(operation, node)
    return _ANSWERS[operation]


def _line_of(operation, node):
    given, *others = node.input_tensors
    if others or len(given.shape) < 4 or not given.dtype.startswith("float"):
        return None, 0.0
    shape = [given.shape[0] or 1, *(size or UNKNOWN_SIZE for size in given.shape[1:])]
    answers = []
    try:
        with tf.init_scope(), keras.StatelessScope(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for each in (0.0, *_ASKED):
                image = tf.fill(shape, tf.cast(each, given.dtype))
                args, kwargs = node.arguments.fill_in({id(given): image})
                answers.append(np.asarray(operation(*args, **kwargs), np.float64))
    except Exception:  # It may want anything of its inputs.
        return None, 0.0
    if answers[0].ndim < len(shape):  # Of all pixels, such as their sum.
        return None, 0.0
    zero, *others = (np.reshape(answer, [-1, answer.shape[-1]]) for answer in answers)
    slopes = np.array([(other - zero) / each for other, each in zip(others, _ASKED, strict=True)])
    are_given = np.any(slopes != 0.0, 0)  # Others are of padding.
    if not np.all(np.isfinite(slopes)) or not np.all(are_given.any(0)):
        return None, 0.0
    factor = np.mean(slopes, (0, 1), where=are_given)  # Of each channel.
    shift = np.mean(zero, 0, where=are_given)
    is_line = (
        np.all(factor != 0.0)
        and np.all(~are_given | np.isclose(slopes, factor, rtol=1e-3))
        and np.all(~are_given | np.isclose(zero, shift, atol=1e-3 * np.min(np.abs(factor))))
    )
    if not is_line:
        return None, 0.0
    factor = factor if np.ptp(factor) > 1e-3 * np.max(np.abs(factor)) else np.mean(factor)
    return factor, shift if np.ptp(shift) else shift[0]


def _range(bounds, scale, offset, remedy=""):
    low, high = sorted((bound - offset) / scale for bound in bounds)
    middle, spread = (low + high) / 2, (high - low) / 4
    words = f"values from {low:g} to {high:g}"
    highest = float(high) if abs(low) < 1e-3 * high else None
    middle, spread = (np.asarray(each, np.float32) for each in (middle, spread))
    return Expected(middle, spread, True, words, highest, remedy)


def _of_normalization(layer, scale, offset):
    if not layer.built or _is_identity(layer):
        return None
    mean, variance = (
        np.asarray(keras.ops.convert_to_numpy(each), "float64")
        for each in (layer.mean, layer.variance)
    )
    if np.any(variance <= 0.0):
        return None
    return of_features((mean - offset) / scale, np.sqrt(variance) / abs(scale))


def of_features(mean, spread):
    """What is expected of features of these means and standard deviations, which have one shape."""
    words = f"values around {np.mean(mean):.3g} with a standard deviation of {np.mean(spread):.3g}"
    mean, spread = (np.asarray(each, "float32") for each in (mean, spread))
    return Expected(mean, spread, False, words)
