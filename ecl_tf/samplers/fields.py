"""Cells of inputs (table cells, tokens, pixels), and how they are exchanged between rows."""

import numbers

import keras
import tensorflow as tf

from ecl_tf._internal import random
from ecl_tf._internal.batches import row_count

_FORMATS = ("channels_last", "channels_first")


def name_of(path):
    """The name of an input in a nesting: "" of a single one, "table/age" of a nested one."""
    return "/".join(map(str, path))


def described(path):
    """An input as a message names it."""
    return f"input {name_of(path)!r}" if path else "the input"


def require_names(sampler, argument, names, inputs):
    """Raises ValueError if an argument of a sampler names an input that there is not."""
    found = [name_of(path) for path, _ in keras.tree.flatten_with_path(inputs)]
    if unknown := [name for name in names if name not in found]:
        inputs = found if found != [""] else "one unnamed input"
        raise ValueError(
            f"{type(sampler).__name__} has {argument} for {unknown}, but the inputs are {inputs}."
        )


def by_name(padding):
    """A sampler's padding, of which a dict may have numbers for names of inputs of a tuple."""
    if isinstance(padding, dict):
        return {str(name): value for name, value in padding.items()}
    return padding


def padding_of(padding, path):
    """The padding value of an input, or None: an argument may be a dict by name."""
    return padding.get(name_of(path)) if isinstance(padding, dict) else padding


def require_padding(sampler, padding, inputs):
    """Raises ValueError if a sampler's padding is no value that an input can have."""
    for path, leaf in keras.tree.flatten_with_path(inputs):
        value, dtype = padding_of(padding, path), tf.as_dtype(leaf.dtype)
        if value is None:
            continue
        fits = isinstance(value, str if dtype == tf.string else numbers.Real)
        if fits and not dtype.is_floating and dtype != tf.string:
            fits = value == value and value == int(value)  # Neither NaN nor a fraction.
        if not fits:
            raise ValueError(
                f"{type(sampler).__name__} has padding={value!r} for {described(path)}, which is "
                f"{dtype.name}. Give one value of that type, or a dict of them by names of inputs."
            )


def padding_argument(path, value):
    """How a value is given as a sampler's `padding` for an input alone."""
    return {name_of(path): value} if path else value


def data_format(name, given):
    """Where images have their channels: as it is given, or Keras's own setting for None."""
    if given not in (None, *_FORMATS):
        raise ValueError(
            f"{name}'s data_format must be 'channels_last', 'channels_first', or None for Keras's "
            f"own setting (keras.config.image_data_format()); got {given!r}."
        )
    return given or keras.config.image_data_format()


def exchange(x, partner, probability, seed, padding=None, its_format="channels_last"):
    """Rows some of whose cells are those of other rows, at the same position.

    A cell is a number of a row of rank 1 or 2; of other inputs the vector of a position: all
    features of a step, all channels of a pixel.

    Args:
        x: a tensor (rows, ...) of any dtype.
        partner: a function of the number of cells to the rows that they are taken from, int32
            (rows, cells) or (rows, 1).
        probability: of each cell, a number or float32 (rows,).
        seed: of the choice of cells.
        padding: cells that are (everywhere) this value stay, and are not taken; None for none.
        its_format: of inputs of rank 4 and more, "channels_last" or "channels_first".

    Returns:
        The new tensor, and bool (rows,): the rows that stayed as they were.
    """
    first = its_format == "channels_first" and x.shape.rank >= 4
    last = tf.transpose(x, [0, *range(2, x.shape.rank), 1]) if first else x
    rows = tf.shape(x)[0]
    width = tf.shape(last)[-1] if x.shape.rank > 2 else 1
    cells = tf.reshape(last, [rows, -1, width])
    count = tf.shape(cells)[1]
    own = tf.range(rows)[:, None]
    source = tf.broadcast_to(partner(count), [rows, count])
    place = tf.stack([source, tf.broadcast_to(tf.range(count), [rows, count])], -1)
    taken = random.uniform(seed, [rows, count]) < tf.reshape(probability, [-1, 1])
    taken &= source != own
    if padding is not None:
        real = tf.reduce_any(_differs(cells, padding), -1)
        taken &= real & tf.gather_nd(real, place)
    new = tf.where(taken[..., None], tf.gather_nd(cells, place), cells)
    new = tf.reshape(new, tf.shape(last))
    if first:
        new = tf.transpose(new, [0, x.shape.rank - 1, *range(1, x.shape.rank - 1)])
    return tf.ensure_shape(new, x.shape), ~tf.reduce_any(taken, 1)


def is_real(x, padding):
    """Which numbers of an input are not padding: of steps with features, those of a whole step.

    Args:
        x: a tensor (rows, ...).
        padding: as in `exchange`.

    Returns:
        bool of the shape of x.
    """
    differs = _differs(x, padding)
    if x.shape.rank > 2:
        differs = tf.reduce_any(differs, -1, keepdims=True)
    return tf.broadcast_to(differs, tf.shape(x))


def _differs(x, padding):
    is_nan = padding != padding  # NaN equals nothing, itself included.
    return ~tf.math.is_nan(x) if is_nan else x != tf.cast(padding, x.dtype)


def spread(x, group_size):
    """The standard deviation, lowest and highest value of each number in each row's group."""
    rows = row_count(x)
    flat = tf.reshape(x, [rows, tf.reduce_prod(tf.shape(x)[1:])])
    size = tf.maximum(rows, 1) if group_size is None else group_size
    count = -(-rows // size)
    grouped = tf.pad(flat, [[0, count * size - rows], [0, 0]])
    grouped = tf.reshape(grouped, [count, size, tf.shape(flat)[1]])
    is_real = tf.reshape(tf.range(count * size) < rows, [count, size, 1])
    number = tf.reduce_sum(tf.cast(is_real, tf.float32), 1, keepdims=True)

    def mean(values):
        return tf.reduce_sum(tf.where(is_real, values, 0.0), 1, keepdims=True) / number

    numbers = tf.cast(grouped, tf.float32)
    variance = mean((numbers - mean(numbers)) ** 2)
    low = tf.reduce_min(tf.where(is_real, grouped, x.dtype.max), 1, keepdims=True)
    high = tf.reduce_max(tf.where(is_real, grouped, x.dtype.min), 1, keepdims=True)
    group = tf.range(rows) // size
    return [
        tf.reshape(tf.gather(tf.squeeze(each, 1), group), tf.shape(x))
        for each in (tf.sqrt(variance), low, high)
    ]
