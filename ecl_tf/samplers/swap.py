"""Rows with cells of other rows: for ids, strings, tables and whatever can't be averaged."""

from typing import Any

import keras
import tensorflow as tf

from ecl_tf._internal import groups, random, require
from ecl_tf.samplers import fields
from ecl_tf.samplers.sampler import Sampler, Samples, row_count


@keras.saving.register_keras_serializable("ecl_tf")
class Swap(Sampler):
    """Each cell is, with probability p, that of another row at the same position.

    A cell is one number of a table's row, one token, or an input of one value a row (shape
    (batch,)); of inputs of rank 3 and more it is the vector of a position: all features of a
    step, all channels of a pixel. No number is computed, so ids stay ids, strings stay strings,
    and every column holds values of that column. The other row is drawn for every cell by
    itself, from the rows of the batch. The teacher labels the new row.

    Args:
        probability: p in (0, 1], 0.15 by default, as in Jahrer's solution; typically 0.05 to 0.3.
        padding: the value that fills sequences up to their common length, such as 0: such a cell
            stays, and is never taken, so every row keeps its length. For named inputs a number for
            all, or a dict from the names of those that have padding. None, the default, for no
            padding. A position of rank 3 is padding if all of its features are that value.
        group_size: as in `Mixup`: the rows that cells are taken from; None by default.
        data_format: "channels_last" or "channels_first", of inputs of rank 4 and more; None, the
            default, is `keras.config.image_data_format()`.

    Raises:
        ValueError: if an argument is out of its range, `padding` names an input that there is
            not, or (from a `Distiller`) a network masks another value than `padding`.

    Example: a column keeps its own values, and the padding 0 its place.
    >>> x = tf.constant([["a", "A"], ["b", "B"], ["c", "C"]])
    >>> swapped = Swap(probability=1.0)(x, seed=0).inputs.numpy()
    >>> set(swapped[:, 0].tolist()) <= {b"a", b"b", b"c"}
    True
    >>> tokens = tf.constant([[5, 6, 0], [7, 8, 9]])
    >>> (Swap(0.5, padding=0)(tokens, seed=0).inputs == 0).numpy().tolist()
    [[False, False, True], [False, False, False]]

    References: Jahrer, 1st place solution of "Porto Seguro's Safe Driver Prediction", 2017
    ("swap noise", in an autoencoder's inputs). Of tokens: Xie et al., "Data Noising as Smoothing
    in Neural Network Language Models", 2017, section 3.2, where the other token is drawn from
    the frequencies of all.
    """

    def __init__(
        self,
        probability: float = 0.15,
        padding: float | str | dict[str, Any] | None = None,
        group_size: int | None = None,
        data_format: str | None = None,
    ):
        self.probability = require.probability("Swap's probability", probability)
        groups.validate("Swap", group_size)
        self.padding, self.group_size = fields.by_name(padding), group_size
        self.data_format = fields.data_format("Swap", data_format)

    def effect(self, path: tuple, leaf: Any) -> str:
        return "swaps"

    def padding_of(self, path: tuple) -> Any:
        return fields.padding_of(self.padding, path)

    def validate(self, inputs: Any) -> None:
        if isinstance(self.padding, dict):
            fields.require_names(self, "padding", self.padding, inputs)
        fields.require_padding(self, self.padding, inputs)

    def sample(self, inputs: Any, seed: tf.Tensor) -> Samples:
        rows = row_count(inputs)
        leaves = keras.tree.flatten_with_path(inputs)
        swapped, unmodified = [], tf.ones([rows], tf.bool)
        for (path, x), its_seed in zip(leaves, random.split(seed, len(leaves)), strict=True):
            row_seed, cell_seed = random.split(its_seed, 2)

            def others(cells, row_seed=row_seed):
                return random.others(row_seed, rows, cells, self.group_size)

            new, stayed = fields.exchange(
                x, others, self.probability, cell_seed, self.padding_of(path), self.data_format
            )
            swapped.append(new)
            unmodified &= stayed
        return Samples(keras.tree.pack_sequence_as(inputs, swapped), unmodified)

    def get_config(self) -> dict[str, Any]:
        return {
            "probability": self.probability,
            "padding": self.padding,
            "group_size": self.group_size,
            "data_format": self.data_format,
        }
