"""Categories as vectors: what stands between ids and a network of numbers."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("ecl_tf")
class CategoryEmbedding(keras.Layer):
    """A learned vector for each category of each column, joined: (batch, k) to (batch, k * width).

    The ids of column c are 1 to `sizes[c]`; 0 stands for a category that training does not know.
    Its vector is zero, in the middle of those that are learned, and is never trained.

    Args:
        sizes: the number of known categories of each of the k columns.
        width: numbers of each vector; 8 by default, typically 4 to 32.
        **kwargs: of `keras.Layer`.

    Example:
    >>> layer = CategoryEmbedding([2, 3], width=4)
    >>> layer(np.array([[1, 3], [2, 0]])).shape
    TensorShape([2, 8])
    >>> print(layer(np.array([[0, 0]])).numpy().any())
    False

    Reference: Guo and Berkhahn, "Entity Embeddings of Categorical Variables", 2016.
    """

    takes_ids = True  # An input of it is int32: float16 has no ids beyond 2048.

    def __init__(self, sizes: Sequence[int], width: int = 8, **kwargs: Any):
        """Takes the arguments that the class describes."""
        super().__init__(**{"autocast": False, **kwargs})
        self.sizes, self.width = [int(size) for size in sizes], width
        self._before = np.cumsum([0, *self.sizes[:-1]]).astype("int32")

    def build(self, input_shape: Any) -> None:
        # A column's vector is as long as a standardised number, on average.
        of_vectors = keras.initializers.RandomNormal(stddev=self.width**-0.5)
        shape = (sum(self.sizes), self.width)
        self.vectors = self.add_weight(shape=shape, initializer=of_vectors, name="vectors")

    def call(self, ids: Any) -> Any:
        ids = ops.cast(ids, "int32")
        found = ops.take(self.vectors, ops.maximum(ids - 1, 0) + self._before, axis=0)
        found = ops.cast(found, self.compute_dtype)
        known = ops.where(ops.expand_dims(ids > 0, -1), found, ops.zeros_like(found))
        return ops.reshape(known, (-1, len(self.sizes) * self.width))

    def compute_output_shape(self, input_shape: Any) -> tuple:
        return (input_shape[0], len(self.sizes) * self.width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sizes": self.sizes, "width": self.width}
