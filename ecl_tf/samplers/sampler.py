"""The base class of all samplers, and the simplest of them."""

import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ecl_tf._internal import random
from ecl_tf._internal.batches import row_count


class Samples(NamedTuple):
    """What a sampler returns.

    Attributes:
        inputs: the sampled inputs, with the structure, shapes and dtypes of the batch.
        unmodified: bool of shape (batch,), true for rows that are as they were given,
            so that their labels still hold.
        sources: int32 of shape (batch,): the row of the batch that each row was drawn
            from, whose label and weight it has; () where each is drawn from its own.
        member_outputs: the raw outputs of the teacher's members for `inputs`, a sequence,
            where it was asked already, by a sampler or when they were recorded; else ().
        uncertainty: the `ecl_tf.outputs.Uncertainty` of recorded candidates; else ().
    """

    inputs: Any
    unmodified: Any
    sources: Any = ()
    member_outputs: Any = ()
    uncertainty: Any = ()

    @property
    def is_moved(self):
        """Whether rows may stem from others than their own."""
        return not isinstance(self.sources, tuple)

    def follow(self, rows):
        """Labels or weights of a batch, or None, in the order of the samples' sources."""
        if not self.is_moved or rows is None:
            return rows
        return keras.tree.map_structure(lambda tensor: tf.gather(tensor, self.sources), rows)


class Sampler:
    """Base class: a distribution over inputs that reaches beyond the training set.

    This is the second of the method's sentences: *sample examples from an
    approximation to the underlying data distribution*. A sampler is a pure function
    of (inputs, seed): the same seed gives the same samples on any replica, after a
    restart, and when a stored run is replayed.

    Inputs may be one tensor or any nesting of them (a dict of an image and a head
    pose), of any rank; every input of a row shares the row's partner and coefficient.

    To write your own, implement `sample` with TensorFlow operations, all randomness
    derived from `seed` by `ecl_tf._internal.random` (on several replicas seeds have a third
    number, which TensorFlow's own functions refuse), and register the class with
    `keras.saving.register_keras_serializable`. A sampler that asks the networks, too,
    overrides `draw` instead.

    Attributes:
        keeps_rows: whether some rows may come back unmodified by design.
        models: the Keras models that the sampler draws from. The distiller saves their
            weights with its own, and never trains them.
        asks_networks: whether draws depend on what teacher or student answer.
        candidates: of so many samples that were drawn before, `keep` keeps one.
    """

    asks_networks = False
    candidates = 1
    keeps_rows = False
    models: Sequence[keras.Model] = ()

    def __call__(self, inputs, seed, networks=None):
        """Draws one sample for every row.

        Args:
            inputs: a tensor of shape (batch, ...), or a nesting of them.
            seed: an integer, or an integer tensor of shape (2,), or of shape (3,) with the
                number of the first row where the inputs are a part of a batch.
            networks: `ecl_tf.uncertainty.Networks`, for samplers that ask them.

        Returns:
            `Samples`.

        Raises:
            ValueError: if the sampler can't work on such inputs.
        """
        if not all(hasattr(leaf, "shape") for leaf in keras.tree.flatten(inputs)):
            inputs = tf.convert_to_tensor(inputs)  # Nested lists of numbers.
        inputs = keras.tree.map_structure(tf.convert_to_tensor, inputs)
        self.validate(inputs)
        return self.draw(inputs, random.seed_tensor(seed), networks)

    def validate(self, inputs):
        """Raises ValueError if the sampler can't work on such inputs.

        Args:
            inputs: tensors, or anything that has their `shape` and `dtype`.
        """

    def validate_networks(self, networks):
        """Raises ValueError if the sampler can't work with such networks.

        Args:
            networks: `ecl_tf.uncertainty.Networks`.
        """

    def draw(self, inputs, seed, networks):
        """Draws one sample for every row; `inputs` are valid tensors."""
        del networks
        return self.sample(inputs, seed)

    def keep(self, samples, seed, networks):
        """Of samples that were drawn before (see `ecl_tf.replay`), those to train on."""
        del seed, networks
        return samples

    def sample(self, inputs, seed):
        """The same, where the networks don't matter."""
        raise NotImplementedError

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __repr__(self):
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


@keras.saving.register_keras_serializable("ecl_tf")
class Empirical(Sampler):
    """The training examples themselves: with it, distillation is the ordinary kind.

    Example:
    >>> Empirical()([[1.0], [2.0]], seed=0).unmodified.numpy().tolist()
    [True, True]
    """

    keeps_rows = True

    def sample(self, inputs, seed):
        del seed
        return Samples(inputs, tf.ones([row_count(inputs)], tf.bool))


def inputs_of(x):
    """The inputs of a batch, of recorded samples too."""
    return x.inputs if isinstance(x, Samples) else x


def per_row(values, like):
    """Reshapes (batch,) values to broadcast over the rows of `like`, in its dtype."""
    if values.dtype != tf.bool:
        values = tf.cast(values, like.dtype)
    return tf.reshape(values, tf.concat([tf.shape(values), [1] * (like.shape.rank - 1)], 0))


def as_type(x, dtype):
    """Numbers in another type: whole ones are rounded, and stay in its range."""
    if not dtype.is_integer:
        return tf.cast(x, dtype)
    return tf.saturate_cast(tf.round(x), dtype)


def require_floating_point(sampler, inputs):
    """Raises ValueError unless every input is floating point."""
    for path, leaf in keras.tree.flatten_with_path(inputs):
        if not tf.as_dtype(leaf.dtype).is_floating:
            name = f" {'/'.join(map(str, path))!r}" if path else ""
            raise ValueError(
                f"{type(sampler).__name__} computes weighted sums of inputs, but input{name} "
                f"is {tf.as_dtype(leaf.dtype).name}: rounding would corrupt it. Cast (and "
                "scale) it in the input pipeline, e.g. "
                "dataset.map(lambda x, y: (tf.cast(x, tf.float32) / 255, y))."
            )


def require_positive(sampler, **arguments):
    """Raises ValueError unless every argument is a positive, finite number."""
    for name, value in arguments.items():
        if not (isinstance(value, numbers.Real) and 0.0 < float(value) < float("inf")):
            raise ValueError(
                f"{type(sampler).__name__}'s {name} must be a positive number; got {value!r}."
            )
