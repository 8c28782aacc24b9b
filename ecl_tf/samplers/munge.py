"""Rows with values of their nearest neighbour: for tables."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf._internal import groups, random, require
from ecl_tf.samplers import fields
from ecl_tf.samplers.sampler import Sampler, Samples, row_count

# Whole numbers up to here are exact in float32, in whatever order they are added.
_EXACT = 2**24
# Factors of 11 bits are exact, too, on devices that round them (TF32).
_FACTOR = 2048


@keras.saving.register_keras_serializable("ecl_tf")
class Munge(Sampler):
    """Each cell is, with probability p, drawn anew by the row's nearest neighbour (MUNGE).

    A category is then the neighbour's. A number x is drawn from a Gaussian around that of the
    neighbour, x', with a standard deviation of their distance over s:

        x~ = x' + |x - x'| / s * z,  z ~ N(0, 1)

    So columns that depend on one another stay so, as `Swap` and noise do not see to. The teacher
    labels the new row.

    The neighbour is the nearest other row of the batch: the larger the batch, the nearer it is.
    The squared distance of two rows is the sum of the squared distances of their cells. That of
    numbers is the distance of their ranks in the batch, from 0 to 1, so units and outliers do not
    matter. That of categories is 0 for equal and 1 for others. Rows of the same ranks and
    categories are no neighbours. Inputs of a row have one neighbour together. A step costs B^2 D
    operations for B rows of D cells; `group_size` makes B smaller.

    Ranks are rounded to whole numbers that float32 adds up exactly (1,024 of them for 16 cells),
    so that every device finds the same neighbours.

    Numbers are inputs that are floating point, and categories are all others. Cast amounts to
    float32, and ids to integers.

    Args:
        probability: p in (0, 1], 0.5 by default; typically 0.2 to 0.8.
        s: a positive number, 1 by default; the larger, the nearer to the neighbour's number. None
            takes the neighbour's number as it is, so that every column holds values of that column.
        conditional: False, the default, looks for a neighbour in all cells. True draws the cells
            given the others of the row: the neighbour is the nearest in the cells that stay, which
            may be far in those that are drawn. A small `probability`, such as 0.2, leaves more to
            look at.
        padding: as in `Swap`, None by default: a cell that is this value stays, and is never taken.
        group_size: as in `Mixup`: the rows among which a neighbour is looked for; None by default.
        swap: names of floating-point inputs whose values are taken as they are, such as ids; none
            by default. Their distance stays that of numbers.

    Raises:
        ValueError: if an argument is out of its range, if `padding` or `swap` names an input that
            there is not, on inputs whose number of columns is not known, or (from a `Distiller`) if
            `s` is a number and a network takes a floating-point input by its exact values.

    Example: the second row is near the first, and the fourth near the third.
    >>> x = tf.constant([[1.0, 20.0], [2.0, 10.0], [8.0, 90.0], [9.0, 80.0]])
    >>> Munge(probability=1.0, s=None)(x, seed=0).inputs[:, 0].numpy().tolist()
    [2.0, 1.0, 9.0, 8.0]
    >>> import numpy as np
    >>> rows = {"sizes": x, "city": np.array(["Bern", "Chur", "Genf", "Basel"])}
    >>> Munge(probability=1.0)(rows, seed=0).inputs["city"].numpy().tolist()
    [b'Chur', b'Bern', b'Basel', b'Genf']

    Reference: Bucila, Caruana and Niculescu-Mizil, "Model Compression", KDD 2006, section 3.3,
    where the distance is Euclidean, in columns scaled to [0, 1], the neighbours are those of the
    whole training set, and two neighbours exchange their values. Ranks, neighbours of the batch,
    one row at a time, and `conditional` are this project's.
    """

    def __init__(
        self,
        probability: float = 0.5,
        s: float | None = 1.0,
        conditional: bool = False,
        padding: float | str | dict[str, Any] | None = None,
        group_size: int | None = None,
        swap: Sequence[str | int] = (),
    ):
        if isinstance(swap, str):
            raise ValueError(f"Munge's swap is a list of names; got {swap!r}, not [{swap!r}].")
        self.swap = [str(each) for each in swap]
        self.probability = require.probability("Munge's probability", probability)
        self.s = None if s is None else require.positive("Munge's s", s)
        self.conditional = require.truth("Munge's conditional", conditional)
        groups.validate("Munge", group_size)
        self.padding, self.group_size = fields.by_name(padding), group_size

    def effect(self, path: tuple, leaf: Any) -> str:
        is_number = tf.as_dtype(leaf.dtype).is_floating and fields.name_of(path) not in self.swap
        return "averages" if is_number and self.s is not None else "swaps"

    def padding_of(self, path: tuple) -> Any:
        return fields.padding_of(self.padding, path)

    def validate(self, inputs: Any) -> None:
        fields.require_names(self, "swap", self.swap, inputs)
        if isinstance(self.padding, dict):
            fields.require_names(self, "padding", self.padding, inputs)
        fields.require_padding(self, self.padding, inputs)
        for path, leaf in keras.tree.flatten_with_path(inputs):
            if tf.TensorShape(leaf.shape)[1:].num_elements() is None:
                raise ValueError(
                    f"Munge looks for a row's neighbours by all of its cells, and of "
                    f"{fields.described(path)}, of shape {tuple(leaf.shape)}, their number is not "
                    "known. Give a fixed shape, or use ecl_tf.samplers.Swap."
                )

    def sample(self, inputs: Any, seed: tf.Tensor) -> Samples:
        rows = row_count(inputs)
        choice_seed, tie_seed, number_seed = random.split(seed, 3)
        leaves = keras.tree.flatten_with_path(inputs)
        flat = [tf.reshape(x, [rows, x.shape[1:].num_elements()]) for _, x in leaves]
        taken = [
            random.uniform(random.fold_in(choice_seed, place), tf.shape(x)) < self.probability
            for place, x in enumerate(flat)
        ]
        neighbour = self._neighbours(flat, taken, tie_seed)
        drawn, unmodified = [], tf.ones([rows], tf.bool)
        for place, ((path, own), x, its) in enumerate(zip(leaves, flat, taken, strict=True)):
            other = tf.gather(x, neighbour)
            its &= (neighbour != tf.range(rows))[:, None]
            padding = self.padding_of(path)
            if padding is not None:
                real = tf.reshape(fields.is_real(own, padding), tf.shape(x))
                its &= real & tf.gather(real, neighbour)
            if self.effect(path, own) == "averages":
                z = random.normal(random.fold_in(number_seed, place), tf.shape(x))
                other += tf.cast(z / self.s, x.dtype) * tf.abs(x - other)
            drawn.append(tf.reshape(tf.where(its, other, x), tf.shape(own)))
            drawn[-1] = tf.ensure_shape(drawn[-1], own.shape)
            unmodified &= ~tf.reduce_any(its, 1)
        return Samples(keras.tree.pack_sequence_as(inputs, drawn), unmodified)

    def _neighbours(self, flat, taken, seed):
        """The nearest row of the same group, by the cells that are not taken if so; int32 (rows,).

        Args:
            flat: tensors (rows, cells).
            taken: bool of the same shapes.
            seed: of the choice among those that are equally near.
        """
        rows = row_count(flat)
        size = tf.maximum(rows, 1) if self.group_size is None else self.group_size
        count = -(-rows // size)

        def grouped(x, fill):
            """(rows, ...) as (groups, rows of a group, ...)."""
            rest = [[0, 0]] * (x.shape.rank - 1)
            x = tf.pad(x, [[0, count * size - rows], *rest], constant_values=fill)
            return tf.reshape(x, tf.concat([[count, size], tf.shape(x)[1:]], 0))

        is_real = grouped(tf.ones([rows], tf.bool), False)
        levels = min(2 * _FACTOR - 1, math.isqrt(_EXACT // sum(x.shape[1] for x in flat)))
        apart, given = tf.zeros([]), tf.zeros([])  # The distances in all cells, and in some.
        for x, its in zip(flat, taken, strict=True):
            stays = tf.cast(~grouped(its, False), tf.float32)
            if x.dtype.is_floating:
                numbers = tf.where(tf.math.is_nan(x), -math.inf, tf.cast(x, tf.float32))
                ranks = _levels(grouped(numbers, math.inf), is_real, levels)
                apart += _distances(ranks, tf.ones_like(stays))
                given += _distances(ranks, stays) if self.conditional else 0.0
            else:
                codes = tf.cast(x, tf.int32) if x.dtype == tf.bool else x
                codes = grouped(codes, "" if x.dtype == tf.string else 0)
                differ = tf.cast(codes[:, :, None] != codes[:, None], tf.float32)
                apart += levels**2 * tf.reduce_sum(differ, -1)
                if self.conditional:
                    given += levels**2 * tf.reduce_sum(differ * stays[:, :, None], -1)
        is_other = (apart > 0.0) & is_real[:, None]
        distances = tf.where(is_other, given if self.conditional else apart, math.inf)
        is_nearest = is_other & (distances == tf.reduce_min(distances, -1, keepdims=True))
        # Of equally near ones it is the first from a row on that is drawn for each.
        start = tf.cast(random.uniform(seed, [rows]) * tf.cast(size, tf.float32), tf.int32)
        place = (tf.range(size) - grouped(start, 0)[..., None]) % size
        nearest = tf.argmin(tf.where(is_nearest, place, size), -1, output_type=tf.int32)
        nearest = tf.where(tf.reduce_any(is_nearest, -1), nearest, tf.range(size))
        return tf.reshape(nearest + size * tf.range(count)[:, None], [-1])[:rows]

    def get_config(self) -> dict[str, Any]:
        return {
            "probability": self.probability,
            "s": self.s,
            "conditional": self.conditional,
            "padding": self.padding,
            "group_size": self.group_size,
            **({"swap": self.swap} if self.swap else {}),
        }


def _levels(x, is_real, levels):
    """The ranks of numbers in their group and column, as whole numbers around 0, int32.

    Args:
        x: float32 (groups, rows, columns), infinite where there is no row.
        is_real: bool (groups, rows).
        levels: ranks are rounded down to so many.
    """
    columns = tf.transpose(x, [0, 2, 1])
    ordered = tf.sort(columns, -1)
    # Equal numbers have one rank: that of their middle.
    twice = tf.searchsorted(ordered, columns, "left") + tf.searchsorted(ordered, columns, "right")
    size = tf.reduce_sum(tf.cast(is_real, tf.int32), -1)[:, None, None]
    # Where there is no row it is any number.
    ranks = tf.minimum(twice * levels // (2 * tf.maximum(size, 1)), levels - 1) - levels // 2
    return tf.transpose(ranks, [0, 2, 1])


def _distances(ranks, stays):
    """The squared distances of a group's rows, in the cells that stay of the first of two.

    Args:
        ranks: int32 (groups, rows, columns), less than 2,048 from 0.
        stays: 0 or 1 as float32 of that shape.

    Returns:
        float32 (groups, rows, rows), exact.
    """
    high, low = ranks**2 // _FACTOR, ranks**2 % _FACTOR
    right = tf.cast(tf.concat([ranks, high, low], -1), tf.float32)
    ranks = tf.cast(ranks, tf.float32)
    left = tf.concat([-2.0 * stays * ranks, float(_FACTOR) * stays, stays], -1)
    own = tf.reduce_sum(stays * ranks**2, -1, keepdims=True)
    return own + tf.matmul(left, right, transpose_b=True)
