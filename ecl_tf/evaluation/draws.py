"""Random numbers of rows: each depends on the seed, the purpose and the row's number alone."""

import math
import zlib
from collections.abc import Iterator

import numpy as np

_PER_COUNT = 8  # Numbers of 32 bits for each value of Philox's counter.


class Draws:
    """What is drawn for rows from a first one on, whatever batch they are in.

    Args:
        seed: a whole number from 0.
        purpose: what the numbers are for; other purposes have others.
        first_row: the number of the first row, 0 by default.
    """

    def __init__(self, seed: int, purpose: str, first_row: int = 0):
        """Takes the arguments that the class describes."""
        self.seed, self.purpose, self.first_row = seed, purpose, first_row

    def at(self, first_row: int) -> "Draws":
        """The draws of later rows.

        Args:
            first_row: how many rows later they begin.
        """
        return Draws(self.seed, self.purpose, self.first_row + first_row)

    def uniform(self, rows: int, shape: tuple[int, ...], stream: int = 0) -> np.ndarray:
        """Float32 in [0, 1), of shape (rows, *shape).

        Args:
            stream: a number that tells apart what one purpose draws; 0 by default.
        """
        size = math.prod(shape)
        counts = -(-size // _PER_COUNT)
        generator = self._generator(stream, self.first_row * counts)
        drawn = generator.random((rows, counts * _PER_COUNT), dtype=np.float32)
        return drawn[:, :size].reshape(rows, *shape)

    def normal(self, rows: int, shape: tuple[int, ...], stream: int = 0) -> np.ndarray:
        """Standard normal float32, of shape (rows, *shape), by the method of Box and Muller.

        NumPy's own takes a varying count of random bits for a number, so that rows would depend
        on those before them.
        """
        size = math.prod(shape)
        u = self.uniform(rows, (2, -(-size // 2)), stream)
        radius = np.sqrt(-2.0 * np.log1p(-u[:, 0]))
        angle = np.float32(2.0 * np.pi) * u[:, 1]
        drawn = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], 1)
        return drawn[:, :size].reshape(rows, *shape)

    def whole(self, rows: int, shape: tuple[int, ...], count: int, stream: int = 0) -> np.ndarray:
        """Whole numbers from 0 to count - 1, int64 of shape (rows, *shape).

        Args:
            count: of the values, less than 2^24.
        """
        u = self.uniform(rows, shape, stream).astype("float64")
        return np.minimum((u * count).astype("int64"), count - 1)

    def generators(self, rows: int) -> Iterator[np.random.Generator]:
        """A generator of each row, for distributions that take a varying count of random bits."""
        key = self._key(0)
        for row in range(self.first_row, self.first_row + rows):
            yield np.random.Generator(np.random.Philox(key=key, counter=row << 128))

    def _generator(self, stream, counter):
        return np.random.Generator(np.random.Philox(key=self._key(stream), counter=counter))

    def _key(self, stream):
        entropy = [self.seed, zlib.crc32(self.purpose.encode()), stream]
        return np.random.SeedSequence(entropy).generate_state(2, np.uint64)
