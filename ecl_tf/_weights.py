"""How much each position of each row counts in a step's loss and means.

`_step.py` takes one factor for each position from here: masks, sample weights, unknown labels and
rows whose labels hold are one number by then.
"""

from types import MappingProxyType
from typing import Any, NamedTuple

import tensorflow as tf

from ecl_tf import outputs
from ecl_tf._internal import positions


class Weights(NamedTuple):
    """Factors of a batch's positions: with mask m in {0, 1} and sample weight w of each.

    A joint output has a dict of the first two, by the names of its outputs.

    Attributes:
        of_loss: float32 (batch, positions...), with which the mean over rows and positions of
            factor * value is sum(m w value) / sum(m): so Keras weighs losses. None where all
            count alike.
        of_mean: the same for sum(m w value) / sum(m w), a weighted mean.
        counts: by what a value's rows count in a mean over several batches: a dict from
            "loss", and from the names that `Output.compare` gives, to the number of
            positions a row that count. Those left out count 1.
    """

    of_loss: Any = None
    of_mean: Any = None
    counts: Any = MappingProxyType({})


def weigh(output, raw, masks=None, sample_weight=None, labels=None, kept=None):
    """The `Weights` of a batch, with sums over all replicas.

    Args:
        raw: its raw tensor (batch, positions..., size), or a dict of them.
        masks: Keras's mask of it, a dict of them, or None.
        sample_weight: numbers of rows or positions, a dict of them by output, or None.
        labels: labels, of which unknown ones don't count, or None.
        kept: bool (batch,), the rows that count; None, the default, is all of them.
    """
    if not isinstance(sample_weight, dict):
        sample_weight = dict.fromkeys(getattr(output, "outputs", [""]), sample_weight)
    of_loss: dict[str, Any] = {}
    of_mean: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    parts = outputs.parts_of(output, raw, masks, labels)
    if not set(sample_weight) <= set(parts):
        names = sorted(name for name in parts if name)
        raise ValueError(
            f"sample_weight is a dict with the names {sorted(sample_weight)}, "
            + (f"and the outputs are {names}." if names else "and the output has no name.")
            + " Give one weight for each row, shape (batch,), or position, or a dict of them by "
            "the outputs' names."
        )
    for name, (each, its_raw, mask, its_labels) in parts.items():
        known = None if its_labels is None else each.known(its_labels, its_raw)
        weight = sample_weight.get(name)
        is_whole = mask is None and known is None and kept is None
        if is_whole and weight is None:
            of_loss[name] = of_mean[name] = None
            continue
        shape, size = its_raw.shape[:-1], tf.shape(its_raw)[:-1]
        counted = _product([mask, known, kept], shape, "The mask")
        weighted = counted * _product([weight], shape, "sample_weight")
        counted, weighted = (tf.broadcast_to(factor, size) for factor in (counted, weighted))
        sums = [*map(tf.reduce_sum, (counted, weighted, tf.ones_like(counted))), size[0]]
        sums = tf.stack([tf.cast(number, tf.float32) for number in sums])
        counted_sum, weighted_sum, all_of_them, rows = tf.unstack(_over_replicas(sums))
        of_loss[name], of_mean[name] = weighted, weighted
        of_mean[name] *= tf.math.divide_no_nan(all_of_them, weighted_sum)
        prefix = f"{name}_" if name else ""
        for closeness in each.closeness_names:
            counts[prefix + closeness] = tf.math.divide_no_nan(weighted_sum, rows)
        if not is_whole:
            of_loss[name] *= tf.math.divide_no_nan(all_of_them, counted_sum)
            if not name:  # The sum of several outputs' losses has no one number of positions.
                counts["loss"] = tf.math.divide_no_nan(counted_sum, rows)
    if kept is not None and "" not in parts:  # It is the same for all outputs.
        sums = tf.stack(
            [tf.reduce_sum(tf.cast(kept, tf.float32)), tf.cast(tf.size(kept), tf.float32)]
        )
        counts["loss"] = tf.math.divide_no_nan(*tf.unstack(_over_replicas(sums)))
    if "" in parts:
        return Weights(of_loss[""], of_mean[""], counts)
    if all(factor is None for factor in of_loss.values()):
        return Weights()
    return Weights(of_loss, of_mean, counts)


def in_common(of_loss):
    """The factors of one output, or of several the mean over positions and outputs, (batch,).

    Args:
        of_loss: as `Weights` has it.
    """
    if not isinstance(of_loss, dict):
        return of_loss
    of_rows = [
        1.0 if each is None else tf.reduce_mean(each, range(1, each.shape.rank))
        for each in of_loss.values()
    ]
    return sum(of_rows) / len(of_rows)


def argument(weights):
    """The argument `weights` of an output's method; none where there are no weights.

    An output of the user's own may have methods without it.
    """
    return {} if weights is None else {"weights": weights}


def _product(factors, shape, what):
    result = tf.ones([1] * len(shape))
    for factor in factors:
        if factor is not None:
            result *= positions.expand(factor, shape, what)
    return result


def _over_replicas(sums):
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return sums
    return context.all_reduce(tf.distribute.ReduceOp.SUM, sums)
