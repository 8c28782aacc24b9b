"""Networks that work on some numbers of rows or sizes of inputs only, and batches of others."""

import contextlib
import re

import keras
import tensorflow as tf

from ecl_tf import samplers, uncertainty
from ecl_tf._checks import networks
from ecl_tf._internal import batches, own_inputs, symbolic
from ecl_tf.samplers import suitable


def row_counts(asked, sampler, appends):
    """Refuses networks that need the batch's own rows, one step after another, and don't get them.

    Args:
        asked: the distiller's `ecl_tf.uncertainty.Networks`.
        sampler: its sampler.
        appends: whether labelled rows are appended to the sampled ones.
    """
    if not appends and not sampler.asks_networks:
        return
    reason = "the labelled rows are appended to the sampled ones"
    if sampler.asks_networks:
        reason = f"{type(sampler).__name__} asks the networks about rows before it chooses"
    remedy = "Use sampler='Empirical', which takes every batch as it is."
    for role, network in networks.with_roles(asked):
        layers = [layer for layer in network._flatten_layers() if getattr(layer, "stateful", 0)]
        if layers:
            raise ValueError(
                f"The {role} {network.name!r} keeps a state from batch to batch (stateful=True in "
                f"its layer {layers[-1].name!r}), and {reason}: its state would be that of other "
                f"rows, or of another number of them. {remedy}"
            )
    asks_of_its_rows = isinstance(sampler, (samplers.TowardUncertainty, samplers.UncertaintyMixup))
    if appends or not asks_of_its_rows:
        of_teacher = getattr(sampler, "score", None) in (
            uncertainty.teacher_uncertainty,
            uncertainty.disagreement,
            uncertainty.divergence,
        )
        for role, network in networks.with_roles(asked):
            if (role == "student" or of_teacher) and not _takes_more_rows(network):
                raise ValueError(
                    f"The {role} {network.name!r} works on a fixed number of rows (keras.Input("
                    f"batch_shape=...)), and {reason}, which makes more. {remedy} A network that "
                    "is built with keras.Input(shape=...) takes any number."
                )


def fixed_rows(x, batch_size, distiller):
    """Refuses batches of other sizes than the one that a network works on.

    Args:
        x: what `fit` or `evaluate` was given.
        batch_size: the same.
        distiller: the `Distiller`. With several replicas, which part batches, none is refused.
    """
    if distiller.distribute_strategy.num_replicas_in_sync > 1:
        return
    for role, network in networks.with_roles(distiller._networks()):
        for rows in sorted(batches.sizes(x, batch_size)):
            if not _takes_rows(network, rows):
                raise ValueError(_of_fixed_rows(role, network, f"one has {rows}"))


def partners(x, batch_size, sampler):
    """Warns if every batch is one row, and the sampler mixes or swaps the rows of a batch.

    Args:
        x: what `fit` was given.
        batch_size: the same.
        sampler: the distiller's.
    """
    if batches.sizes(x, batch_size) == {1}:
        suitable.warn_of_single_rows(sampler)


@contextlib.contextmanager
def explaining_fixed_rows(asked):
    """Says what a network's error in a step means if the network works on some rows only."""
    try:
        yield
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        for role, network in networks.with_roles(asked):
            rows = _built_for(network)
            if rows is not None and not _takes_rows(network, rows + 1):
                reason = str(error).strip().splitlines()[0][:300]
                found = f"a step failed, perhaps on another number: {reason}"
                raise ValueError(_of_fixed_rows(role, network, found)) from error
        raise


@contextlib.contextmanager
def explaining_a_failed_step(asked, x):
    """Says what an error in a step means: a check's words, an unknown id, or a size left open."""
    try:
        yield
    except tf.errors.DataLossError as error:
        record = re.search(r"(?:corrupted|truncated) record at \d+", error.message)
        which = f": {record[0]}" if record else ""
        raise ValueError(
            f"A file of the data is damaged{which}. If it is of a store, "
            "ecl_tf.replay.Store(directory), without verify=False, says which one."
        ) from error
    except tf.errors.InvalidArgumentError as error:
        # What it says may hold brackets; after it TensorFlow lists values, or begins a line.
        if found := re.search(r"assertion failed: \[(.+?)\](?: \[|\s*$)", str(error), re.MULTILINE):
            raise ValueError(found[1].replace("\\'", "'")) from error  # TensorFlow escapes quotes.
        if found := re.search(r"= (-?\d+) is not in \[0, (\d+)\)", str(error)):
            raise ValueError(
                f"A network takes whole numbers from 0 to {int(found[2]) - 1} to look something up "
                f"by, and got {found[1]}. Look for such ids in the data, and at the size of the "
                "embedding."
            ) from error
        reason = ["", *error.message.partition("[[{{")[0].strip().splitlines()][-1]
        if not isinstance(x, tf.data.Dataset) or not re.search("(?i)shape|size|dimension", reason):
            raise
        given, *_ = batches.unpack(x.element_spec)
        for role, network in networks.with_roles(asked):
            for own, its, _ in own_inputs.pairs(given, network):
                if None in own.shape[1:]:
                    raise ValueError(
                        f"A step failed: {reason[:300]}. The dataset leaves sizes of its inputs "
                        f"open, {tuple(own.shape)}, and the {role} {network.name!r} takes "
                        f"{tuple(its.shape)}, so perhaps a batch has a size that does not fit. "
                        "Give all one that does: dataset.map(lambda x, y: (tf.image.resize(x, "
                        "size), y)), or tf.ensure_shape(x, shape) to find the batch."
                    ) from error
        raise


def _of_fixed_rows(role, network, found):
    rows = _built_for(network)
    return (
        f"The {role} {network.name!r} works on batches of {rows} rows only (keras.Input("
        f"batch_shape=...)), and {found}. Give batches of {rows}, and leave the rest out: "
        f"dataset.batch({rows}, drop_remainder=True). A network that is built with keras.Input("
        "shape=...) takes any number."
    )


def _built_for(network):
    """The number of rows that a network was built for; None if it is not fixed, or not known."""
    inputs = symbolic.inputs_of(network)
    return None if inputs is None else keras.tree.flatten(inputs)[0].shape[0]


def _takes_more_rows(network):
    """Whether a network that was built for a fixed number of rows takes twice as many."""
    rows = _built_for(network)
    return rows is None or _takes_rows(network, 2 * rows)


def _takes_rows(network, rows):
    """Whether a network takes a number of rows. One that was built for another is asked."""
    if _built_for(network) in (None, rows):
        return True
    zeros = keras.tree.map_structure(
        lambda each: tf.zeros([rows, *(size or 1 for size in each.shape[1:])], each.dtype),
        symbolic.inputs_of(network),
    )
    try:
        given = keras.tree.flatten(network(zeros, training=False))
    except Exception:  # Whatever its layers raise.
        return False
    return all(output.shape[0] == rows for output in given)
