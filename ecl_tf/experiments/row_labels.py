"""Labels of one row, or of its positions: their shapes, and how ERM softens, mixes and weighs them.

Positions are what a network answers about within one row: pixels of an image, steps of a sequence.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import data, outputs, samplers
from ecl_tf._internal import random
from ecl_tf.data.splits import endless
from ecl_tf.experiments import settings
from ecl_tf.samplers import suitable

_SEEN = 64  # Rows that tell one-hot labels from class indices.
_DRAWN_STEPS = 100  # Whose coefficients of mixing are drawn at once.
_MOST_BYTES = 2**31  # Of a network's answers to one split, which are in memory at once.


def positions(splits: data.Splits, output: outputs.Output) -> tuple[int | None, ...]:
    """The sizes of the positions of one row; () where a row has one label."""
    shape = splits.validation.element_spec[1].shape
    if not shape.rank:
        return ()
    is_of_targets = output.family != "categorical" and shape[-1] in (splits.event_size, None)
    return tuple(shape[:-1] if is_of_targets or shape[-1] == 1 else shape)


def require(splits: data.Splits, output: outputs.Output) -> None:
    """Refuses labels of another shape than scripts train on and score.

    Raises:
        ValueError: if labels are texts, one-hot rows, or of another number of targets.
    """
    label, size = splits.validation.element_spec[1], splits.event_size
    if label.dtype == tf.string:
        raise ValueError(
            "The labels are texts; expected numbers. keras.layers.StringLookup(num_oov_indices=0) "
            "numbers names of classes."
        )
    shape = label.shape
    if shape.rank is None:
        return
    found = f"The labels have the shape {tuple(shape)}"
    if output.family == "categorical":
        if shape.rank and shape[-1] == size > 1 and _are_one_hot(splits.validation):
            raise ValueError(
                f"{found}; expected one class index from 0 to {size - 1} for each example, or for "
                "each position of it. Of one-hot rows: dataset.map(lambda x, y: (x, tf.argmax(y, "
                "-1)))."
            )
    elif size > 1 and not shape[-1:].is_compatible_with((size,)):
        raise ValueError(
            f"{found}, and event_size={size} says that each example has {size} targets. Give "
            f"labels of shape {(size,)}, or the number they have."
        )


def _are_one_hot(examples):
    """Whether labels are rows of shares that add up to 1, as far as the first ones tell."""
    rows = np.stack([np.asarray(y) for _, y in examples.take(_SEEN)])
    if rows.dtype.kind not in "biuf":
        return False
    return bool((rows >= 0).all() and (abs(rows.sum(-1, dtype=float) - 1) < 1e-3).all())


def require_values(splits: data.Splits, output: outputs.Output) -> None:
    """Refuses labels that the output can't have, such as a class too many, before a step does.

    Streamed training labels are refused in a step.

    Raises:
        ValueError: naming some of them.
    """
    own = positions(splits, output)
    is_restricted = isinstance(output, outputs.numeric.Restricted)
    is_table = splits.columns is not None  # Whose cells were looked at when they were read.
    is_of_classes = output.family == "categorical" and not is_table
    if not (own or is_restricted or is_of_classes or output.family == "bernoulli"):
        return
    raw_shape = (None, *own, output.raw_size(splits.event_size))
    parts = ("train", "validation", "test") if splits.decode is None else ("validation", "test")
    for part in parts:
        for batch in getattr(splits, part).map(lambda x, y: y).batch(512):
            try:
                output.require_labels(batch, raw_shape)
            except ValueError as error:
                raise ValueError(f"The {part} split: {error}") from error


def require_room(splits: data.Splits, output: outputs.Output) -> None:
    """Refuses splits whose answers would not fit into memory: they are scored all at once.

    Raises:
        ValueError: naming the split and the bytes.
    """
    own = positions(splits, output)
    each = 4 * output.raw_size(splits.event_size) * math.prod(size or 1 for size in own)
    for part in ("validation", "test"):
        rows = int(getattr(splits, part).cardinality())
        if own and rows * each > _MOST_BYTES:
            raise ValueError(
                f"A network's answers to the {rows:,} rows of the {part} split take "
                f"{rows * each / 1e9:,.1f} GB, and they are scored together, in at most "
                f"{_MOST_BYTES / 1e9:.1f} GB. Give at most {_MOST_BYTES // each:,} rows, or labels "
                "and networks of fewer positions."
            )


def require_fit(splits: data.Splits, output: outputs.Output, shape: tuple, network: str) -> None:
    """Refuses a network that answers about other positions than the labels have.

    Args:
        shape: of the network's answers, (batch, positions..., size).
        network: what it is, "teacher" or "student".

    Raises:
        ValueError: naming both.
    """
    own, its = positions(splits, output), tuple(shape[1:-1])
    if len(own) == len(its) and tf.TensorShape(own).is_compatible_with(its):
        return
    label = tuple(splits.validation.element_spec[1].shape)
    expected = f"one answer for each of the positions {its}" if its else "one answer for each row"
    raise ValueError(
        f"The labels of the data have the shape {label}, and the {network} gives {expected}: its "
        f"answers have the shape {tuple(shape)}, of which the last size is that of one answer. "
        "Give a network and labels of the same positions."
    )


def mixing(labels: settings.Labels, swap=()):
    """The sampler that mixes inputs together with their labels, or None.

    Args:
        swap: names of inputs that have no mean.
    """
    alphas = {samplers.Mixup: labels.mixup_alpha, samplers.CutMix: labels.cutmix_alpha}
    each = [make(alpha, swap=swap) for make, alpha in alphas.items() if alpha]
    if len(each) > 1:
        return samplers.Choice(each)
    return each[0] if each else None


def require_mixing(name: str, labels: settings.Labels, splits, output) -> None:
    """Refuses a mixing or a smoothing of labels that would not be right.

    Args:
        name: "erm" or "teacher.labels".

    Raises:
        ValueError: naming the setting, and what to set it to.
    """
    given = f"config.{name} mixes labels"
    remedy = f"Set config.{name}.mixup_alpha and its cutmix_alpha to 0."
    if labels.label_smoothing and output.family != "categorical":
        raise ValueError(
            f"config.{name}.label_smoothing={labels.label_smoothing} needs classes, and "
            f"config.output={output!r} has none. Set it to 0."
        )
    if not (labels.mixup_alpha or labels.cutmix_alpha):
        return
    if not output.takes_mixed_labels:
        raise ValueError(
            f"{given}, and counts can't be mixed, as in config.output={output!r}. {remedy}"
        )
    if output.family == "bernoulli" and output.ignore_class is not None:
        raise ValueError(
            f"{given}, and the mean of a yes/no label and of an unknown one is none of either, as "
            f"in config.output={output!r}. {remedy}"
        )
    own = positions(splits, output)
    shapes = [splits.input_shape] if isinstance(splits.input_shape, tuple) else []
    is_cut_alike = shapes and len(own) == 2 and shapes[0][:2] == own
    if own and labels.cutmix_alpha and not is_cut_alike:
        raise ValueError(
            f"config.{name}.cutmix_alpha={labels.cutmix_alpha} cuts boxes out of images, and the "
            f"labels have the positions {own}, which are not those of the pixels of one image. Set "
            "it to 0."
        )


def prepared(batches, labels, mix, splits, output, seed, first_step):
    """Batches whose labels are softened or mixed.

    Where an unknown label has a say, a row of zeros takes the place of shares of classes.

    Args:
        batches: a dataset of (inputs, labels).
        mix: the sampler of pairs of inputs and labels, or None.
        first_step: the number of the first batch.
    """
    share, own = labels.label_smoothing, len(positions(splits, output))
    hides = output.family == "categorical" and output.ignore_class is not None
    if output.family == "categorical" and (share or mix):
        classes = splits.event_size

        @tf.autograph.experimental.do_not_convert
        def soften(x, y):
            # One label a row, or one for each position.
            y = tf.reshape(y, tf.shape(y)[: 1 + own])
            soft = tf.one_hot(tf.cast(y, tf.int64), classes) * (1 - share) + share / classes
            if not hides:
                return x, soft
            known = ~output.is_ignored(y)[..., None]
            # One more channel, so that it is mixed and cut as the labels are.
            return x, tf.concat([soft, tf.cast(known, tf.float32)], axis=-1)

        batches = batches.map(soften)
    elif mix and own == 2:
        batches = batches.map(lambda x, y: (x, _with_channels(tf.cast(y, tf.float32))))
    if mix:
        batches = _mixed(batches, mix, seed, first_step)
    if hides and (share or mix):
        batches = batches.map(lambda x, y: (x, _of_known(y)))
    return batches


def _mixed(batches, mix, seed, first_step):
    """Batches that a sampler mixes, each by the number of its step."""
    rows = keras.tree.flatten(batches.element_spec)[0].shape[0]
    numbered = batches.enumerate(first_step)
    as_it_is = tf.autograph.experimental.do_not_convert  # As a distiller calls samplers.
    if rows is None or getattr(mix, "alpha", 1.0) == 1.0:  # No quantile, or a choice of samplers.
        return numbered.map(as_it_is(lambda step, xy: mix(xy, random.fold_in(seed, step)).inputs))
    suitable.require(mix, batches.element_spec)

    @as_it_is
    def draw(block):
        steps = block * _DRAWN_STEPS + tf.range(_DRAWN_STEPS, dtype=tf.int64)
        return mix.coefficients(rows, seed, steps)

    @as_it_is
    def mixed(step_and_xy, coefficient):
        step, xy = step_and_xy
        return mix.sample(xy, random.fold_in(seed, step), coefficient).inputs

    # The same blocks wherever it begins, as last bits may depend on the place in one.
    block, within = divmod(first_step, _DRAWN_STEPS)
    drawn = tf.data.Dataset.range(block, tf.int64.max).map(draw).unbatch().skip(within)
    return tf.data.Dataset.zip(numbered, endless(drawn)).map(mixed)


def _of_known(y):
    """Shares of classes; zeros where, as the last channel tells, an unknown one was mixed in."""
    return y[..., :-1] * tf.floor(y[..., -1:] + 1e-6)


def _with_channels(y):
    """Labels of pixels as images, (batch, height, width, numbers), which are cut as such."""
    return y[..., None] if y.shape.rank == 3 else y


def require_class_weight(class_weight, splits, output) -> None:
    """Refuses weights of classes that don't fit the data.

    Raises:
        ValueError: if there is not one for each class, or the data has none.
    """
    if not class_weight:
        return
    is_yes_or_no = output.family == "bernoulli" and splits.event_size == 1
    if output.family != "categorical" and not is_yes_or_no:
        raise ValueError(
            f"config.class_weight={class_weight} is of classes, or of one yes/no label, and "
            f"config.output={output!r} has {splits.event_size} targets. Set it to ()."
        )
    count = 2 if is_yes_or_no else splits.event_size
    if len(class_weight) != count:
        raise ValueError(
            f"config.class_weight={class_weight} has {len(class_weight)} weights, and the data "
            f"{count} classes. Give one for each class, in their order."
        )


def weighted(batches, class_weight, splits, output):
    """Batches with the weight of every label's class, which is 1 of an unknown label.

    The weight of a mixed label is the mean of its classes' weights.

    Args:
        batches: a dataset of (inputs, labels) or (inputs, labels, weights); others stay as they
            are.
        class_weight: a weight for each class.
    """
    if not class_weight or len(batches.element_spec) < 2:
        return batches
    rank = 1 + len(positions(splits, output))
    count, of_class = len(class_weight), tf.constant(class_weight, tf.float32)

    @tf.autograph.experimental.do_not_convert
    def weigh(x, y, weights=1.0):
        if output.family == "bernoulli":
            share = tf.cast(tf.reshape(y, tf.shape(y)[:rank]), tf.float32)
            own = of_class[0] + (of_class[1] - of_class[0]) * tf.clip_by_value(share, 0.0, 1.0)
            known = tf.ones_like(own, tf.bool)
            if output.ignore_class is not None:
                known = tf.not_equal(share, float(output.ignore_class))
        elif y.shape.rank > rank and y.shape[-1] == count:
            own, known = tf.linalg.matvec(y, of_class), tf.reduce_any(y > 0.0, -1)
        else:
            classes = tf.cast(y, tf.int64)
            known = (classes >= 0) & (classes < count)
            own = tf.gather(of_class, tf.where(known, classes, 0))
        return x, y, weights * tf.where(known, own, 1.0)

    return batches.map(weigh)
