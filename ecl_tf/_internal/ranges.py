"""Inputs outside of the range that a network expects.

A wrong scale raises no error by itself: images from 0 to 255 that are multiplied by 255, or images
in [0, 1] that are divided by it, are answered like any others, and wrongly.
"""

import warnings

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import first_layers, own_inputs, whole_numbers
from ecl_tf._internal.first_layers import (
    PIXELS,
    SCALED,
    expected_by,
    is_image,
    may_be_pixels,
    takes_as_they_are,
)

# Clipping as many values as this leaves other images.
_MOST_CLIPPED = 0.1
# A range is another one if it is so many times as wide.
_RATIO = 16.0
# Images in [0, 1], and a little beyond it by resizing, are 1 / 255 of those from 0 to 255. Dark
# images of the right scale go further.
_NARROWEST = 1 / 200
_NEAR = 0.2  # Of 0, in standard deviations of a feature, or quarters of a range.
# What pixels of flat images are at least, on an average.
_LEAST_MEAN = 8.0
# Rows that are needed to say that a batch is too narrow, or features of a table too far away.
FEWEST_ROWS = 8
FAR = 30.0  # Standard deviations of a feature.


def require_equal(networks, inputs=None):
    """Raises ValueError if two networks expect other ranges of the same input.

    Args:
        networks: pairs of a role ("student", "teacher") and a Keras model.
        inputs: specs of a batch; None, the default, before there is data.
    """
    known: dict = {}
    if inputs is None:
        inputs = own_inputs.in_common([model for _, model in networks])
    for role, model in networks:
        for path, here in expected_by(model, inputs).items():
            of, there = known.setdefault(path, (f"the {role} {model.name!r}", here))
            ratio = np.mean(here.spread) / np.mean(there.spread)
            if not 1 / _RATIO < ratio < _RATIO:
                raise ValueError(
                    f"Both networks get the same inputs, but {of} expects{_named(path)} "
                    f"{there.words}, and the {role} {model.name!r} {here.words}. Bring them to one "
                    "range with a Rescaling layer in front of one of them: ecl_tf.preprocessing."
                    "with_preprocessing(model, [keras.layers.Rescaling(scale)], input_shape)."
                )
    _warn_of_one_that_scales(networks, inputs, known)


def _warn_of_one_that_scales(networks, inputs, known):
    """Warns if one network expects values up to 255, and another's first layers scale nothing.

    Args:
        networks: as in `require_equal`.
        inputs: the same.
        known: a dict from path to the network in words and what it expects.
    """
    for role, model in networks:
        for path in takes_as_they_are(model, inputs):
            of, there = known.get(path, ("", SCALED))
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


def _warn_of_one_not_adapted(networks, inputs):
    for role, model in networks:
        if (layer := first_layers.not_adapted(model, inputs)) is not None:
            warnings.warn(
                f"The Normalization {layer.name!r} of the {role} {model.name!r} was never adapted, "
                "and so it changes nothing. Adapt it to training inputs before a network is built "
                "of it: layer.adapt(x), or ecl_tf.preprocessing.adapt(['Normalization'], dataset).",
                stacklevel=3,
            )


def require_within(networks, inputs, others=(), compares_images=True):
    """Raises ValueError if inputs are far from the range that a network expects.

    Grey images without channels, and grey videos, may be other amounts where they are no whole
    numbers: those are a warning.
    Their first rows are read. Where these are narrow, as dark images are, all of them are.

    Args:
        networks: as in `require_equal`.
        inputs: a batch, or the nesting of arrays of a whole data set.
        others: what else takes the inputs, such as a sampler: tuples of its name, the name of the
            input (None for the only one) and an `Expected`; none by default.
        compares_images: whether images are refused that no network scales, and that are not scaled
            already; True by default. Networks that were trained somewhere may take such.
    """
    first = keras.tree.map_structure(lambda leaf: tf.convert_to_tensor(leaf[:256]), inputs)
    leaves = keras.tree.flatten(inputs)
    for each, tensor, message, place in _compared(networks, first, others, compares_images):
        if not (_is_outside(each, tensor) or _is_narrow(each, tensor)):
            if each is PIXELS and len(tensor.shape) > 2 and _is_outside(SCALED, tensor):
                warnings.warn(f"If these inputs are images: {message}", stacklevel=3)
            continue
        bounds = tuple(f(np.asarray(leaves[place]), axis=0) for f in (np.min, np.max))
        if _is_outside(each, tensor) or _is_narrow(each, tf.stack(bounds), FEWEST_ROWS):
            low, high = float(np.min(bounds[0])), float(np.max(bounds[1]))
            raise ValueError(f"{message} These inputs lie between {low:g} and {high:g}.")


def outside(networks, inputs, may_be_narrow=False, others=(), are_means=False):
    """Whether a batch is far from the range that a network expects, as a part of a compiled step.

    Args:
        networks: as in `require_equal`.
        inputs: a batch of tensors.
        may_be_narrow: whether the batch may be in a small part of the range, since it is known of
            all rows that they are not; False by default.
        others: as in `require_within`.
        are_means: whether the batch is drawn, as means of the data's rows, so that fractions are
            none of the data's; False by default.

    Returns:
        A scalar bool tensor, and the message; None and "" where no network tells of its range.
    """
    compared = list(_compared(networks, inputs, others, are_means=are_means))
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


def off(expected, values):
    """In which way a batch is off the range that is expected: "outside", "narrow" or ""."""
    if bool(_is_outside(expected, values)):
        return "outside"
    return "narrow" if bool(_is_narrow(expected, values)) else ""


def _compared(networks, inputs, others=(), compares_images=True, are_means=False):
    """Yields what is expected, a tensor, the message, and the tensor's place among all inputs.

    That is of every input that is known.
    """
    _warn_of_one_not_adapted(networks, inputs)
    leaves = {tuple(path): leaf for path, leaf in keras.tree.flatten_with_path(inputs)}
    places = {path: place for place, path in enumerate(leaves)}
    for role, model in networks:
        for path, each in expected_by(model, inputs).items():
            leaf = leaves[path]
            if not (leaf.dtype.is_floating or leaf.dtype.is_integer):
                continue
            message = (
                f"The first layers of the {role} {model.name!r} expect{_named(path)} {each.words}, "
                f"and the data's range is another one. {_remedy(each, is_image(leaf.shape))}"
            )
            yield each, leaf, message, places[path]
    named = {"/".join(map(str, path)): path for path in leaves}
    for who, name, each in others:
        path = named.get("" if name is None else str(name), ("",))
        leaf = leaves.get(path)
        if leaf is not None and (leaf.dtype.is_floating or leaf.dtype.is_integer):
            found = f"{who} expects {each.words}, and the data's range is another one."
            yield each, leaf, f"{found} {_remedy(each)}", places[path]
    for role, model in networks:
        for leaf, each in whole_numbers.compared(model, inputs):
            place = next(n for n, own in enumerate(leaves.values()) if own is leaf)
            yield (
                each,
                tf.floor(leaf) if are_means and leaf.dtype.is_floating else leaf,
                f"The {role} {model.name!r} takes{_named([*leaves][place])} {each.words}, by the "
                "type of the input or the embedding that looks them up, and some of the data's are "
                "others, which would be cut off, wrapped, or not be found. Give it numbers that it "
                "takes, or build it for others."
                + " Images in [0, 1] need a Rescaling(255.0) in front."
                * is_image(leaf.shape),
                place,
            )
    models = [model for _, model in networks]
    unscaled = first_layers.unscaled(models, inputs) if compares_images else set()
    for role, model in networks:
        if role == "student":  # One that is not known may scale them.
            unscaled &= takes_as_they_are(model, inputs)
    # Keras gives grey images their axis of channels, which the network's input has.
    told = [
        own
        for _, model in networks
        for own, its, _ in own_inputs.pairs(inputs, model)
        if len(own.shape) == 3 and len(its.shape) == 4 and its.shape[-1] == 1
    ]
    for path, leaf in leaves.items():
        are_told = is_image(leaf.shape) or any(leaf is each for each in told)
        if path in unscaled and (are_told or may_be_pixels(leaf.shape)):
            yield (
                SCALED if are_told else PIXELS,
                leaf,
                f"The images{_named(path)} go from 0 to {_top(leaf)}, and neither network scales "
                f"them. Give images in [0, 1], dataset.map(lambda x, y: (tf.cast(x, tf.float32) / "
                f"{_top(leaf)}.0, y)), or put keras.layers.Rescaling(1 / {_top(leaf)}) in front of "
                "both networks; of 12 or 16 bits it is 4095 or 65535. If the teacher learned from "
                "such values, or scales them by itself, put the layer in front of the student "
                "alone. (The commands scale "
                "uint8 images. evaluation.measure takes float32 ones for a network that learned "
                "from bytes.)",
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
    if expected is SCALED or expected is PIXELS:
        highest, some = tf.reduce_max(values), values[:FEWEST_ROWS]
        # Beyond that whole numbers are pixels of more bits, others any amounts. Rows of zeros
        # are whole, and say nothing.
        are_whole = tf.reduce_all(tf.equal(some, tf.floor(some))) & (tf.reduce_max(some) > 128.0)
        is_finite = highest <= values.dtype.max
        is_of_pixels = (highest <= most) | are_whole
        if expected is PIXELS:  # Counts of many features are few.
            is_of_pixels = (highest <= most) & are_whole & (tf.reduce_mean(values) > _LEAST_MEAN)
        return (tf.reduce_min(values) >= 0.0) & (highest > 128.0) & is_of_pixels & is_finite
    deviations = _deviations(expected, values)
    if not expected.is_range:  # Of features, a few rows may be anywhere.
        share = tf.reduce_mean(tf.cast(tf.abs(deviations) > FAR, tf.float32))
        return (share > 0.1) & (tf.shape(values)[0] >= FEWEST_ROWS)
    too_far = tf.reduce_max(tf.abs(deviations)) > 6.0  # By more than its width.
    if expected.highest is not None:  # Images in [-1, 1], or from -128 to 127.
        # Resizing images by cubic splines goes a little below 0.
        lowest = tf.reduce_min(values)
        too_far |= lowest < -0.5 * expected.highest
        width = tf.reduce_max(deviations) - tf.reduce_min(deviations)
        too_far |= (width < 4.0 / 64.0) & (lowest < -0.5)
    return too_far


def _is_narrow(expected, values, rows=None):
    """Whether values are in a small part of the range that is expected, at 0; a bool tensor.

    Args:
        expected: the `Expected`.
        values: rows, or the least and the greatest ones of all.
        rows: how many they stand for; None, the default, is as many as there are.
    """
    if expected is SCALED or expected is PIXELS or isinstance(expected, whole_numbers.Whole):
        return tf.constant(False)
    values = tf.cast(values, tf.float32)
    deviations = _deviations(expected, values)
    axis = None if expected.is_range else 0
    width = tf.reduce_max(deviations, axis) - tf.reduce_min(deviations, axis)
    is_narrow = tf.reduce_all(width < (4.0 * _NARROWEST if expected.is_range else 0.05))
    # So another unit brings them near 0. Elsewhere they are rows that are alike.
    is_narrow &= tf.reduce_all(tf.abs(values) < tf.constant(_NEAR * expected.spread, tf.float32))
    rows = tf.shape(values)[0] if rows is None else rows
    return is_narrow & (tf.reduce_max(width) > 0.0) & (rows >= FEWEST_ROWS)


def _deviations(expected, values):
    mean, spread = (tf.constant(each, tf.float32) for each in (expected.mean, expected.spread))
    return (values - mean) / spread


def _remedy(expected, is_of_images=True):
    scaled = "dataset.map(lambda x, y: (tf.cast(x, tf.float32) / 255.0, y))"
    front = (
        "ecl_tf.preprocessing.with_preprocessing(model, [keras.layers.Rescaling({})], input_shape)"
    )
    if not (expected.is_range or is_of_images):
        return (
            "Give numbers in the units that it learned, or put what brings them there in front: "
            f"{front.format('scale')}."
        )
    if np.mean(expected.mean) > 2.0 and np.mean(expected.spread) > 1.0:
        return expected.remedy or (
            f"Images in [0, 1] need a layer in front of the network: {front.format(255.0)}; "
            "images in [-1, 1] Rescaling(127.5, offset=127.5) there."
        )
    signed = "images in [-1, 1] by (x + 1) / 2, " * (expected.highest is not None)
    return (
        f"Scale images from 0 to 255, {scaled}, {signed}or other data in front: "
        f"{front.format('scale')}."
    )


def _named(path):
    return f" of input {'/'.join(map(str, path))!r}" if path else ""
