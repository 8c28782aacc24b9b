"""The range of inputs that a network expects, as its first layers tell, and inputs outside of it.

A wrong scale raises no error by itself: images from 0 to 255 that are multiplied by 255, or images
in [0, 1] that are divided by it, are answered like any others, and wrongly.
"""

import warnings
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import symbolic, whole_numbers

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
# Images whose mean is subtracted are in [0, 255] where it is about the half of that.
_MEANS_OF_BYTES = (90.0, 140.0)
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
# Clipping as many values as this leaves other images.
_MOST_CLIPPED = 0.1
# Layers that take pixels as they are. A batch normalisation scales them by itself.
_WEIGHTED = {"Conv2D", "Conv3D", "ConvLSTM2D", "Dense", "DepthwiseConv2D", "SeparableConv2D"}
# A range is another one if it is so many times as wide.
_RATIO = 16.0
# Images in [0, 1], and a little beyond it by resizing, are 1 / 255 of those from 0 to 255. Dark
# images of the right scale go further.
_NARROWEST = 1 / 200
# Rows that are needed to say that a batch is too narrow, or features of a table too far away.
_FEWEST_ROWS = 8


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


def expected_by(model):
    """What a model expects of its inputs: a dict from path (of names or numbers) to `Expected`.

    Inputs of which the first layers don't tell are left out, and so are all of a model without
    symbolic inputs.
    """
    inputs = symbolic.inputs_of(model)
    if inputs is None:
        return {}
    with tf.init_scope():  # In a step, too, layers' statistics are read as numbers.
        found = {
            tuple(path): _follow(symbolic.graph_of(model), tensor, 1.0, 0.0)
            for path, tensor in keras.tree.flatten_with_path(inputs)
        }
    return {path: each for path, each in found.items() if each is not None}


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


def _takes_as_they_are(model):
    """The paths of inputs that a model's first weights multiply as they are given."""
    inputs = symbolic.inputs_of(model)
    if inputs is None:
        return set()
    return {
        tuple(path)
        for path, tensor in keras.tree.flatten_with_path(inputs)
        if (found := list(symbolic.first_layers(symbolic.graph_of(model), tensor)))
        and all(map(_is_weighted, found))
    }


def _is_weighted(operation):
    is_of_keras = type(operation).__module__.startswith("keras.")
    return is_of_keras and type(operation).__name__ in _WEIGHTED


def require_equal(networks):
    """Raises ValueError if two networks expect other ranges of the same input.

    Args:
        networks: pairs of a role ("student", "teacher") and a Keras model.
    """
    known: dict = {}
    for role, model in networks:
        for path, here in expected_by(model).items():
            of, there = known.setdefault(path, (f"the {role} {model.name!r}", here))
            ratio = np.mean(here.spread) / np.mean(there.spread)
            if not 1 / _RATIO < ratio < _RATIO:
                raise ValueError(
                    f"Both networks get the same inputs, but {of} expects{_named(path)} "
                    f"{there.words}, and the {role} {model.name!r} {here.words}. Bring them to one "
                    "range with a Rescaling layer in front of one of them: ecl_tf.preprocessing."
                    "with_preprocessing(model, [keras.layers.Rescaling(scale)], input_shape)."
                )
    _warn_of_one_that_scales(networks, known)


def _warn_of_one_that_scales(networks, known):
    """Warns if one network expects values up to 255, and another's first layers scale nothing.

    Args:
        networks: as in `require_equal`.
        known: a dict from path to the network in words and what it expects.
    """
    for role, model in networks:
        for path in _takes_as_they_are(model):
            # One input of two networks may have a name in one of them only.
            others = known if () in (path, *known) and len(known) == 1 else {path}
            of, there = known.get(next(iter(others)), ("", SCALED))
            of = f"{of[:1].upper()}{of[1:]}"
            if there.is_range and np.mean(there.spread) >= _RATIO * np.mean(SCALED.spread):
                warnings.warn(
                    f"Both networks get the same inputs. {of} expects{_named(path)} "
                    f"{there.words}, and the {role} {model.name!r} has no layer that scales them. "
                    "If it learned from values in [0, 1], or is to learn now, put a layer in front "
                    "of it: ecl_tf.preprocessing.with_preprocessing(model, [keras.layers.Rescaling("
                    f"1 / {np.max(there.mean + 2.0 * there.spread):g})], input_shape).",
                    stacklevel=3,
                )
                return


def require_within(networks, inputs, others=()):
    """Raises ValueError if inputs are far from the range that a network expects.

    Their first rows are read. Where these are narrow, as dark images are, all of them are.

    Args:
        networks: as in `require_equal`.
        inputs: a batch, or the nesting of arrays of a whole data set.
        others: what else takes the inputs, such as a sampler: tuples of its name, the name of the
            input (None for the only one) and an `Expected`; none by default.
    """
    first = keras.tree.map_structure(lambda leaf: tf.convert_to_tensor(leaf[:256]), inputs)
    leaves = keras.tree.flatten(inputs)
    for each, tensor, message, place in _compared(networks, first, others):
        if not (_is_outside(each, tensor) or _is_narrow(each, tensor)):
            continue
        bounds = tuple(f(np.asarray(leaves[place]), axis=0) for f in (np.min, np.max))
        if _is_outside(each, tensor) or _is_narrow(each, tf.stack(bounds), _FEWEST_ROWS):
            low, high = float(np.min(bounds[0])), float(np.max(bounds[1]))
            raise ValueError(f"{message} These inputs lie between {low:g} and {high:g}.")


def outside(networks, inputs, may_be_narrow=False, others=()):
    """Whether a batch is far from the range that a network expects, as a part of a compiled step.

    Args:
        networks: as in `require_equal`.
        inputs: a batch of tensors.
        may_be_narrow: whether the batch may be in a small part of the range, since it is known of
            all rows that they are not; False by default.
        others: as in `require_within`.

    Returns:
        A scalar bool tensor, and the message; None and "" where no network tells of its range.
    """
    compared = list(_compared(networks, inputs, others))
    if not compared:
        return None, ""
    flags = [_is_outside(each, tensor) for each, tensor, *_ in compared]
    # Which one it is a step does not tell. Of one range and input the first stands for all.
    said = {(place, each.words): message for each, _, message, place in reversed(compared)}
    message = " Or: ".join(reversed(said.values()))
    if not may_be_narrow:
        flags += [_is_narrow(each, tensor) for each, tensor, *_ in compared]
        message += (
            " If one batch only is in a small part of the range, such as one of dark images, give "
            "larger or shuffled batches, or arrays, which are looked at as a whole."
        )
    return tf.reduce_any(tf.stack(flags)), message


def expected_in_training(student, others):
    """What a student's inputs were compared with in its training: a dict from path to `Expected`.

    Args:
        student: a Keras model.
        others: the Keras models that got the same inputs in its training.
    """
    inputs = dict(keras.tree.flatten_with_path(symbolic.inputs_of(student)))
    found = expected_by(student)
    for network in others:
        found = {**expected_by(network), **found}
    takes = [_takes_as_they_are(network) for network in (student, *others)]
    for path, tensor in inputs.items():
        scaled = all(path in own or (own and len(inputs) == 1) for own in takes)
        if scaled and is_image(tensor.shape):
            found.setdefault(path, SCALED)
    return {path: each for path, each in found.items() if path in inputs}


def described(expected):
    """An `Expected` as JSON holds it: the bounds, or "scaled"; None of one that is no range."""
    if isinstance(expected, whole_numbers.Whole):
        return {"whole": [*expected]}
    if expected is SCALED:
        return "scaled"
    if not expected.is_range:
        return None
    return [float(expected.mean + sign * 2.0 * expected.spread) for sign in (-1.0, 1.0)]


def of_description(found):
    """The `Expected`, or `whole_numbers.Whole`, that `described` described."""
    if isinstance(found, dict):
        return whole_numbers.Whole(*found["whole"])
    return SCALED if found == "scaled" else _range(found, 1.0, 0.0)


def is_image(shape):
    """Whether inputs of this shape, with the batch first, are images, or coloured videos.

    Of one channel a sequence may be of any amounts, such as rain.
    """
    return shape[-1] in {4: (1, 3, 4), 5: (3, 4)}.get(len(shape), ())


def off(expected, values):
    """In which way a batch is off the range that is expected: "outside", "narrow" or ""."""
    if bool(_is_outside(expected, values)):
        return "outside"
    return "narrow" if bool(_is_narrow(expected, values)) else ""


def _compared(networks, inputs, others=()):
    """Yields what is expected, a tensor, the message, and the tensor's place among all inputs.

    That is of every input that is known.
    """
    leaves = {tuple(path): leaf for path, leaf in keras.tree.flatten_with_path(inputs)}
    places = {path: place for place, path in enumerate(leaves)}
    for role, model in networks:
        for path, each in expected_by(model).items():
            own = next(iter(leaves)) if len(leaves) == 1 else path
            leaf = leaves.get(own)
            if leaf is None or not (leaf.dtype.is_floating or leaf.dtype.is_integer):
                continue
            message = (
                f"The first layers of the {role} {model.name!r} expect{_named(path)} {each.words}, "
                f"and the data's range is another one. {_remedy(each)}"
            )
            yield each, leaf, message, places[own]
    for who, name, each in others:
        path = () if name is None else (name,)
        leaf = leaves.get(path)
        if leaf is not None and (leaf.dtype.is_floating or leaf.dtype.is_integer):
            found = f"{who} expects {each.words}, and the data's range is another one."
            yield each, leaf, f"{found} {_remedy(each)}", places[path]
    for role, model in networks:
        for leaf, each in whole_numbers.compared(model, inputs):
            place = next(n for n, own in enumerate(leaves.values()) if own is leaf)
            yield (
                each,
                leaf,
                f"The {role} {model.name!r} takes{_named([*leaves][place])} {each.words}, by the "
                "type of the input or the embedding that looks them up, and some of the data's are "
                "others, which would be cut off, wrapped, or not be found. Give it numbers that it "
                "takes, or build it for others.",
                place,
            )
    takes = [_takes_as_they_are(model) for _, model in networks]
    for path, leaf in leaves.items():
        if (
            is_image(leaf.shape)
            and takes
            and all(path in own or (own and len(leaves) == 1) for own in takes)
        ):
            yield (
                SCALED,
                leaf,
                f"The images{_named(path)} go from 0 to {_top(leaf)}, and neither network scales "
                f"them. Give images in [0, 1], dataset.map(lambda x, y: (tf.cast(x, tf.float32) / "
                f"{_top(leaf)}.0, y)), or put keras.layers.Rescaling(1 / {_top(leaf)}) in front of "
                "both networks. (The commands scale uint8 images.)",
                places[path],
            )


def _top(images):
    """The greatest value of unscaled images of this type; floating-point ones are of bytes."""
    return images.dtype.max if images.dtype in (tf.uint8, tf.uint16) else 255


def _is_outside(expected, values):
    """Whether values are beyond the range that is expected; a scalar bool tensor."""
    if isinstance(expected, whole_numbers.Whole):
        return whole_numbers.are_others(expected, values)
    most = float(_top(values))
    values = tf.cast(values, tf.float32)
    if expected.clips:
        is_clipped = tf.abs(_deviations(expected, values)) > 2.001
        return tf.reduce_mean(tf.cast(is_clipped, tf.float32)) > _MOST_CLIPPED
    if expected is SCALED:
        highest = tf.reduce_max(values)
        return (tf.reduce_min(values) >= 0.0) & (highest > 128.0) & (highest <= most)
    deviations = _deviations(expected, values)
    if not expected.is_range:  # Of features, a few rows may be anywhere.
        share = tf.reduce_mean(tf.cast(tf.abs(deviations) > 30.0, tf.float32))
        return (share > 0.1) & (tf.shape(values)[0] >= _FEWEST_ROWS)
    too_far = tf.reduce_max(tf.abs(deviations)) > 6.0  # By more than its width.
    if expected.highest is not None:  # Images in [-1, 1], or from -128 to 127.
        # Resizing images by cubic splines goes a little below 0.
        lowest = tf.reduce_min(values)
        too_far |= lowest < -0.5 * expected.highest
        width = tf.reduce_max(deviations) - tf.reduce_min(deviations)
        too_far |= (width < 4.0 / 64.0) & (lowest < -0.5)
    return too_far


def _is_narrow(expected, values, rows=None):
    """Whether values are in a small part of the range that is expected; a scalar bool tensor.

    Args:
        expected: the `Expected`.
        values: rows, or the least and the greatest ones of all.
        rows: how many they stand for; None, the default, is as many as there are.
    """
    if expected is SCALED or isinstance(expected, whole_numbers.Whole):
        return tf.constant(False)
    deviations = _deviations(expected, tf.cast(values, tf.float32))
    axis = None if expected.is_range else 0
    width = tf.reduce_max(deviations, axis) - tf.reduce_min(deviations, axis)
    is_narrow = tf.reduce_all(width < (4.0 * _NARROWEST if expected.is_range else 0.05))
    rows = tf.shape(values)[0] if rows is None else rows
    return is_narrow & (tf.reduce_max(width) > 0.0) & (rows >= _FEWEST_ROWS)


def _deviations(expected, values):
    mean, spread = (tf.constant(each, tf.float32) for each in (expected.mean, expected.spread))
    return (values - mean) / spread


def _remedy(expected):
    scaled = "dataset.map(lambda x, y: (tf.cast(x, tf.float32) / 255.0, y))"
    front = (
        "ecl_tf.preprocessing.with_preprocessing(model, [keras.layers.Rescaling({})], input_shape)"
    )
    if expected.is_range and expected.spread > 1.0:
        return expected.remedy or (
            f"Images in [0, 1] need a layer in front of the network: {front.format(255.0)}; "
            "images in [-1, 1] Rescaling(127.5, offset=127.5) there."
        )
    signed = "images in [-1, 1] by (x + 1) / 2, " * (expected.highest is not None)
    return (
        f"Scale images from 0 to 255, {scaled}, {signed}or other data in front: "
        f"{front.format('scale')}."
    )


def _remedy_of(kind):
    return f"Give {kind} the value_range of the images, such as (0, 1) or (0, 255)."


def _named(path):
    return f" of input {'/'.join(map(str, path))!r}" if path else ""


def _follow(network, tensor, scale, offset, onward=lambda place, scale, offset: None):
    """What is expected of a network's symbolic input, of which a tensor is scale * x + offset.

    Args:
        network: a Keras model with a graph.
        tensor: one of the graph.
        scale: a number.
        offset: a number.
        onward: a function of the number of an output, scale and offset, called if the tensor is
            one.
    """
    for node in (each for nodes in network._nodes_by_depth.values() for each in nodes):
        for place, given in enumerate(node.input_tensors):
            if given is tensor:
                found = _of_operation(network, node, place, scale, offset, onward)
                if found is not None:
                    return found
    numbers = [number for number, output in enumerate(network.outputs) if output is tensor]
    return onward(numbers[0], scale, offset) if numbers else None


def _of_operation(network, node, place, scale, offset, onward):
    operation = symbolic.of_each_step(node.operation)
    kind = type(operation).__name__
    if isinstance(operation, keras.Model):
        inner = symbolic.graph_of(operation)
        if inner is None:
            return None

        def leave(number, scale, offset):
            return _follow(network, node.outputs[number], scale, offset, onward)

        return _follow(inner, inner.inputs[place], scale, offset, leave)
    if isinstance(operation, keras.layers.Normalization):
        return _of_normalization(operation, scale, offset)
    if getattr(operation, "takes_bytes", False):  # A network's own `preprocess_input`.
        return _range((0.0, 255.0), scale, offset)
    if kind in _OF_VALUE_RANGE and getattr(operation, "value_range", None):
        return _range(operation.value_range, scale, offset, _remedy_of(kind))
    factor, shift = _affine(operation, node)
    if factor is not None:
        for known, bounds in _FACTORS.items():
            if np.ndim(factor) == 0 and np.isclose(factor, known, rtol=1e-3):
                return _range(bounds, scale, 0.0)  # Whatever was subtracted before.
        if _MEANS_OF_BYTES[0] < np.mean(np.abs(shift)) < _MEANS_OF_BYTES[1]:
            return _range((0.0, 255.0), scale, 0.0)
        if np.ndim(factor) or np.ndim(shift):
            return None
        is_image = len(node.outputs[0].shape) in (4, 5)
        if is_image and shift and np.isclose(-shift / factor, 0.5, rtol=1e-3):
            return _range((0.0, 1.0), scale, offset)  # Its middle becomes 0.
        scale, offset = scale * factor, offset * factor + shift
    elif not (symbolic.passes_values_on(operation) or kind in symbolic.MOVES_VALUES):
        return None
    return _follow(network, node.outputs[0], scale, offset, onward) if scale else None


def _affine(operation, node):
    """The factor and the summand of a layer or an operation with numbers; None, 0 of others."""
    if isinstance(operation, keras.layers.Rescaling):
        return np.squeeze(operation.scale), np.squeeze(operation.offset)
    is_number = [
        isinstance(each, (int, float, np.ndarray)) or tf.is_tensor(each)
        for each in node.arguments.args
    ]
    if sorted(is_number) != [False, True]:
        return None, 0.0
    is_first = is_number[0]
    number = np.asarray(node.arguments.args[is_number.index(True)])
    kind = type(operation).__name__
    if kind == "Multiply":
        return np.squeeze(number), 0.0
    if kind in ("Divide", "TrueDivide") and not is_first:
        return 1.0 / np.squeeze(number), 0.0
    if kind in ("Add", "Subtract") and not is_first:
        return 1.0, np.squeeze(number)
    return None, 0.0


def _range(bounds, scale, offset, remedy=""):
    low, high = sorted((bound - offset) / scale for bound in bounds)
    middle, spread = (low + high) / 2, (high - low) / 4
    words = f"values from {low:g} to {high:g}"
    highest = float(high) if abs(low) < 1e-3 * high else None
    middle, spread = (np.asarray(each, np.float32) for each in (middle, spread))
    return Expected(middle, spread, True, words, highest, remedy)


def _of_normalization(layer, scale, offset):
    if not layer.built:
        return None
    mean, variance = (
        np.asarray(keras.ops.convert_to_numpy(each), "float64")
        for each in (layer.mean, layer.variance)
    )
    if (np.all(mean == 0.0) and np.all(variance == 1.0)) or np.any(variance <= 0.0):
        return None  # Not adapted.
    mean, spread = (mean - offset) / scale, np.sqrt(variance) / abs(scale)
    words = f"values around {np.mean(mean):.3g} with a standard deviation of {np.mean(spread):.3g}"
    return Expected(mean.astype("float32"), spread.astype("float32"), False, words)
