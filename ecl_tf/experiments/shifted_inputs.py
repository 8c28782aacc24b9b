"""The inputs that the suite shows in an experiment: some test rows, and those of other data."""

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import data
from ecl_tf.evaluation.shown import Shown
from ecl_tf.experiments.experiment import Experiment

_RANGES = ((0, 1), (-1, 1), (0, 255))  # Black and white, from the narrowest on.


def make(experiment: Experiment, count: int) -> Shown:
    """What is shown to all networks, of at most so many test rows at random.

    Args:
        experiment: the `Experiment`, whose `config.suite` says what is shown.

    Raises:
        ValueError: if the inputs of another data set can't be brought into the form of the data.
    """
    section, splits = experiment.config.suite, experiment.splits
    x, y = _rows(splits.test, count)
    other = None
    if section.other is not None:
        other = _other(section.other, splits, x, count)
    arguments = dict(section.arguments)
    if splits.columns is not None:
        arguments["columns"] = splits.columns
    shown = Shown(x, y, section.kind, None, section.severities, other, arguments=arguments)
    if experiment.positions:
        shown.leave_out_moving()
    return shown


def _rows(dataset, count):
    """Inputs and labels of at most so many examples at random, as arrays."""
    size = int(dataset.cardinality())
    if size < 0:
        size = int(dataset.reduce(np.int64(0), lambda n, _: n + 1))
    kept = np.sort(np.random.default_rng(0).permutation(size)[:count])
    is_kept = np.zeros(size, bool)
    is_kept[kept] = True
    chosen = tf.constant(is_kept)
    some = dataset.enumerate().filter(lambda number, _: chosen[number]).map(lambda _, each: each)
    rows = some.batch(max(len(kept), 1)).get_single_element()
    return keras.tree.map_structure(lambda leaf: leaf.numpy(), rows)


def _other(described, splits, x, count):
    """Test inputs of another data set, in the form of this one's, by its name."""
    described = {"name": described} if isinstance(described, str) else described
    name = str(described.get("name")).rpartition(":")[2]
    theirs = data.load(**described)
    inputs, _ = _rows(theirs.test, count)
    if splits.columns is not None:
        if theirs.columns is None or theirs.columns.names != splits.columns.names:
            names = theirs.columns.names if theirs.columns else "not named"
            raise ValueError(
                f"The columns of the other data set {name!r} are {names}, and those of this table "
                f"{splits.columns.names}. Give one with the same columns."
            )
        return {name: splits.columns.encode(theirs.columns.decode(inputs))}
    if keras.tree.is_nested(x) or keras.tree.is_nested(inputs):
        keras.tree.assert_same_structure(x, inputs)
        return {name: inputs}
    if x.ndim == inputs.ndim and (x.ndim == 4 or np.uint8 in (x.dtype, inputs.dtype)):
        inputs = _in_range(inputs, x, name)
    if inputs.shape[1:] != x.shape[1:]:
        inputs = _resized(inputs, x, name)
    if x.dtype == np.uint8:  # Values beyond black and white would wrap around.
        inputs = np.rint(inputs).clip(0, 255)
    return {name: inputs.astype(x.dtype)}


def _in_range(images, x, name):
    """Images in the range of those of the data, as the values of both tell it.

    On a scale of their own they would be told from the data by that alone.
    """
    own, its = _range_of(x), _range_of(images)
    if own == its:
        return images
    if None in (own, its):
        told = [f"{each.min():.3g} to {each.max():.3g}" for each in (images, x)]
        raise ValueError(
            f"The other data set {name!r} holds values from {told[0]}, and the data from "
            f"{told[1]}. Give both on the same scale: only images from 0 to 1, from -1 to 1, "
            "and of whole numbers from 0 to 255 are brought to one."
        )
    shares = (images.astype("float32") - its[0]) / (its[1] - its[0])
    return shares * (own[1] - own[0]) + own[0]


def _range_of(images):
    """The values of black and white; None if they are not known."""
    if images.dtype.kind in "iu":
        return 0, 255
    low, high = float(images.min()), float(images.max())
    for black, white in _RANGES:
        if black - 0.05 <= low and high <= white + 0.05:  # Resized images may go beyond.
            return black, white
    return None


def _resized(images, x, name):
    """Images of another size as large as those of the data."""
    if images.ndim != 4 or x.ndim != 4 or images.shape[-1] != x.shape[-1]:
        raise ValueError(
            f"Rows of the other data set {name!r} have the shape {images.shape[1:]}, and those of "
            f"the data {x.shape[1:]}. Give one of the same shape, or images of as many channels."
        )
    return np.asarray(tf.image.resize(images, x.shape[1:3], antialias=True))
