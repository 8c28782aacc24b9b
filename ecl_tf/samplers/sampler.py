"""The base class of all samplers, and the simplest of them."""

import functools
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ecl_tf import uncertainty
from ecl_tf._internal import own_inputs, random
from ecl_tf._internal.batches import row_count
from ecl_tf._internal.configured import Configured
from ecl_tf.samplers import suitable


class Mixture(NamedTuple):
    """Which rows of a batch are mixed, within the networks (see `samplers.Embedded`).

    Attributes:
        partners: int32 of shape (batch, k): how many rows below each row its k partners are, less
            than 0 for rows above it, and 0 for itself. So parts of a batch that hold whole groups
            need no others.
        shares: float32 of shape (batch, k), of the partners; the row itself has the rest to 1.
    """

    partners: tf.Tensor
    shares: tf.Tensor


class Samples(NamedTuple):
    """What a sampler returns.

    Attributes:
        inputs: the sampled inputs, with the structure, shapes and dtypes of the batch.
        unmodified: bool of shape (batch,), true for rows that are as they were given, so that
            their labels still hold, or that were changed such that they do (`Augment`).
        sources: int32 of shape (batch,): the row of the batch that each row was drawn
            from, whose label and weight it has; (), the default, if each is drawn from its own.
        member_outputs: the raw outputs of the teacher's members for `inputs`, a sequence,
            where it was asked already, by a sampler or when they were recorded; () by default.
        uncertainty: the `ecl_tf.outputs.Uncertainty` of recorded candidates; () by default.
        mixture: the `Mixture` of rows within the networks; (), the default, for none.
    """

    inputs: Any
    unmodified: tf.Tensor
    sources: tf.Tensor | tuple = ()
    member_outputs: Sequence[Any] = ()
    uncertainty: Any = ()
    mixture: Mixture | tuple = ()

    @property
    def is_moved(self) -> bool:
        """Whether rows may stem from others than their own."""
        return not isinstance(self.sources, tuple)

    def follow(self, rows: Any) -> Any:
        """Labels or weights of a batch, or None, in the order of the samples' sources."""
        if not self.is_moved or rows is None:
            return rows
        return keras.tree.map_structure(lambda tensor: tf.gather(tensor, self.sources), rows)


class Sampler(Configured):
    """Base class: a distribution over inputs that reaches beyond the training set.

    This is the second of the method's sentences: *sample examples from an
    approximation to the underlying data distribution*. A sampler is a pure function
    of (inputs, seed): the same seed gives the same samples on any replica, after a
    restart, and when a stored run is replayed.

    Inputs may be one tensor or any nesting of them (a dict of an image and a head
    pose), of any rank; every input of a row shares the row's partner and coefficient.

    A subclass implements `sample`, with TensorFlow operations. It draws all random numbers
    from `seed` by the functions of `ecl_tf.samplers.random`: on several replicas a seed has a
    third number, which TensorFlow's own functions refuse. It is registered with Keras, and
    has a `get_config` if it has arguments. A sampler that asks the networks implements `draw`
    in place of `sample`, and sets `asks_networks`.

    Attributes:
        keeps_rows: whether some rows may come back unmodified by design; False by default.
        models: the Keras models that the sampler draws from; none by default. The distiller
            saves their weights with its own, and never trains them.
        asks_networks: whether draws depend on what teacher or student answer; False by
            default.
        averages: whether drawn numbers are sums, means or noisy ones of those given; False by
            default. Such a sampler is refused for inputs that a network takes by their exact
            values (ids, and what is masked).
        candidates: `keep` keeps one of so many samples that were drawn before; 1 by default.
        mixes_within: whether rows are mixed within the networks, and the sampled inputs are not
            the whole sample; False by default. Such a sampler is no base of one that asks the
            networks.

    Example: a sampler that scales every row by a factor of its own.
    >>> from ecl_tf.samplers import random
    >>> @keras.saving.register_keras_serializable("my_package")
    ... class Scale(Sampler):
    ...     averages = True
    ...
    ...     def __init__(self, by=0.5):
    ...         self.by = by
    ...
    ...     def sample(self, inputs, seed):
    ...         rows = row_count(inputs)
    ...         factor = 1.0 + self.by * random.normal(seed, [rows])
    ...         scaled = keras.tree.map_structure(lambda x: per_row(factor, x) * x, inputs)
    ...         return Samples(scaled, unmodified=tf.zeros([rows], tf.bool))
    ...
    ...     def get_config(self):
    ...         return {"by": self.by}
    >>> Scale()(tf.ones([3, 2]), seed=0).inputs.shape
    TensorShape([3, 2])
    """

    asks_networks = False
    averages = False
    candidates = 1
    keeps_rows = False
    mixes_within = False
    models: Sequence[keras.Model] = ()

    def __init_subclass__(cls, **kwargs: Any):
        """Has `sample` and `draw` of a user's sampler say what is wrong with what they return."""
        super().__init_subclass__(**kwargs)
        if not cls.__module__.startswith("ecl_tf."):
            for name in {"sample", "draw"} & set(vars(cls)):
                setattr(cls, name, _checked(vars(cls)[name]))

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute, and counts it: see `changes_of`."""
        vars(self)["_changes"] = vars(self).get("_changes", 0) + 1
        super().__setattr__(name, value)

    def __call__(
        self, inputs: Any, seed: int | tf.Tensor, networks: uncertainty.Networks | None = None
    ) -> Samples:
        """Draws one sample for every row.

        Args:
            inputs: a tensor of shape (batch, ...), or a nesting of them.
            seed: an integer, or an integer tensor of shape (2,), or of shape (3,) with the
                number of the first row where the inputs are a part of a batch.
            networks: `ecl_tf.uncertainty.Networks`, for samplers that ask them; None by
                default.

        Returns:
            `Samples`.

        Raises:
            ValueError: if the sampler can't work on such inputs, or an attribute was set to what
                its constructor refuses.
        """
        settle(self)
        inputs = _without_lists(inputs)
        own_inputs.require_dense(inputs)
        inputs = keras.tree.map_structure(tf.convert_to_tensor, inputs)
        if any(leaf.shape.rank == 0 for leaf in keras.tree.flatten(inputs)):
            raise ValueError(
                f"{type(self).__name__} takes a batch, with its rows first, and an input is one "
                "number without rows. Give x[None] for a single row."
            )
        suitable.require(self, inputs, networks)
        return self.draw(inputs, random.seed_tensor(seed), networks)

    def validate(self, inputs: Any) -> None:
        """Raises ValueError if the sampler can't work on `inputs`: tensors, or specs of them."""

    def validate_networks(self, networks: uncertainty.Networks) -> None:
        """Raises ValueError if the sampler can't work with such `networks` of a distiller.

        Here it does if they take by its exact value what the sampler averages.
        """
        suitable.require_before_data(self, networks)

    @property
    def proposer(self) -> "Sampler":
        """The sampler of the candidates, where this one chooses of them; here itself."""
        return self

    @property
    def parts(self) -> Sequence["Sampler"]:
        """The samplers that this one draws from; here itself."""
        return [self]

    @property
    def is_recordable(self) -> bool:
        """Whether a store (`ecl_tf.replay`) can hold what it draws: it does not ask the student."""
        return not self.asks_networks

    def effect(self, path: tuple, leaf: Any) -> str:
        """What the sampler does with the numbers of an input.

        Args:
            path: of the input in the nesting, () of a single one.
            leaf: its tensor, or its spec.

        Returns:
            "averages", "swaps" for values of other rows, "embeds" for an input that stays, and is
            mixed within the networks, or "keeps" for anything else that leaves ids ids. Here it is
            "averages" if the attribute says so.
        """
        return "averages" if self.averages else "keeps"

    def padding_of(self, path: tuple) -> Any:
        """The value that is padding of an input whose values are swapped; None for none."""
        return None

    def draw(self, inputs: Any, seed: tf.Tensor, networks: uncertainty.Networks | None) -> Samples:
        """Draws one sample for every row, and may ask the networks for it.

        A subclass that asks them overrides this; here it is `sample`, and nobody is asked.

        Args:
            inputs: tensors of shape (batch, ...), which `validate` took.
            seed: an int32 tensor of shape (2,) or (3,).
            networks: `ecl_tf.uncertainty.Networks`; None if the sampler was called without.
        """
        return self.sample(inputs, seed)

    def sample(self, inputs: Any, seed: tf.Tensor) -> Samples:
        """Draws one sample for every row from the inputs alone; a subclass implements it.

        `inputs` and `seed`, for `ecl_tf.samplers.random`, are as in `draw`.
        """
        raise NotImplementedError

    def keep(self, samples: Samples, seed: tf.Tensor, networks: uncertainty.Networks) -> Samples:
        """Chooses the samples to train on from those that were drawn before; here all of them.

        Args:
            samples: `candidates` samples for every row, such as a store's (`ecl_tf.replay`).
            seed: as in `draw`, like `networks`.
            networks: never None.
        """
        return samples


def require_whole(sampler: Sampler, base: Sampler) -> None:
    """Raises ValueError if the `base` of a sampler draws less than whole inputs.

    Args:
        sampler: one that changes, chooses or asks about the inputs that `base` draws.
        base: any sampler.
    """
    if any(part.mixes_within for part in base.parts):
        raise ValueError(
            f"{type(sampler).__name__} works on inputs that are drawn already, and Embedded mixes "
            "rows later, within the networks. Have Embedded draw from what it is given, as the "
            "last of a Chain, or beside others: Choice(['Empirical', Embedded()])."
        )


def _without_lists(inputs):
    """Inputs with tensors in the place of nested lists of numbers or texts."""
    if all(hasattr(leaf, "shape") for leaf in keras.tree.flatten(inputs)):
        return inputs
    if isinstance(inputs, dict):
        return {name: _without_lists(each) for name, each in inputs.items()}
    return tf.convert_to_tensor(inputs)


def _checked(function):
    """A `sample` or `draw` that raises ValueError unless it returns `Samples` like the inputs."""

    @functools.wraps(function)
    def drawn(self, inputs, *arguments):
        samples = function(self, inputs, *arguments)
        if found := _wrong_with(samples, inputs):
            raise ValueError(
                f"{function.__name__} of the sampler {type(self).__name__} returned {found}. "
                "Expected ecl_tf.samplers.Samples(inputs, unmodified): tensors of the batch's "
                "structure, shapes and types, and bool of shape (batch,)."
            )
        given, rows = row_count(inputs), row_count(samples.inputs)
        if tf.is_tensor(given) or tf.is_tensor(rows):
            tf.debugging.assert_equal(
                [rows, tf.size(samples.unmodified)],
                [given, given],
                f"The sampler {type(self).__name__} returned another number of rows than it got.",
            )
        return samples

    return drawn


def _wrong_with(samples, inputs):
    """What is wrong with what a user's sampler returned for a batch, in words, or ""."""
    if not isinstance(samples, Samples):
        return f"a {type(samples).__name__}"
    given, found = (keras.tree.flatten_with_path(each) for each in (inputs, samples.inputs))
    if [path for path, _ in given] != [path for path, _ in found]:
        return f"inputs at {[path for path, _ in found]} for those at {[path for path, _ in given]}"
    for (_, its), (_, own) in zip(given, found, strict=True):
        if not tf.is_tensor(own) or own.dtype != its.dtype or not _alike(own.shape, its.shape):
            return f"{_described(own)} for {_described(its)}"
    flags, rows = samples.unmodified, found[0][1].shape[:1]
    if not tf.is_tensor(flags) or flags.dtype != tf.bool or not _alike(flags.shape, rows):
        return f"as `unmodified` {_described(flags)}"
    return ""


def _described(values):
    if not tf.is_tensor(values):
        return f"a {type(values).__name__}"
    return f"{values.dtype.name} of shape {tuple(values.shape)}"


def _alike(shape, other):
    return shape.rank == other.rank and shape.is_compatible_with(other)


@keras.saving.register_keras_serializable("ecl_tf")
class Empirical(Sampler):
    """The training examples themselves: with it, distillation is the ordinary kind.

    x~ = x. It has no arguments.

    Example:
    >>> Empirical()([[1.0], [2.0]], seed=0).unmodified.numpy().tolist()
    [True, True]
    """

    keeps_rows = True

    def sample(self, inputs: Any, seed: tf.Tensor) -> Samples:
        return Samples(inputs, tf.ones([row_count(inputs)], tf.bool))


def changes_of(sampler: Sampler) -> int:
    """Returns how often attributes of a sampler, and of those within it, were set.

    A compiled step does not follow them by itself. Lists and dicts that were changed in place are
    counted by `settle`.

    Args:
        sampler: any sampler.
    """
    return vars(sampler).get("_changes", 0) + sum(map(changes_of, _within(sampler)))


def settle(sampler: Sampler) -> None:
    """Makes of attributes that were set what the constructor makes of such arguments.

    So what is derived of them is right, too. Of samplers of users nothing is known. An argument
    that is a list or a dict counts as set anew if what it holds has changed.

    Args:
        sampler: any sampler; those within it come first.

    Raises:
        ValueError: as the constructor does.
    """
    for each in _within(sampler):
        settle(each)
    kind, own = type(sampler), vars(sampler)
    names = [name for name in inspect.signature(kind).parameters if hasattr(sampler, name)]
    if own.get("_held", _held(sampler, names)) != _held(sampler, names):
        own["_changes"] = own.get("_changes", 0) + 1
    if own.get("_settled") == changes_of(sampler):
        return
    if kind.__module__.startswith("ecl_tf."):
        made = kind(**{name: getattr(sampler, name) for name in names})
        own.update({name: v for name, v in vars(made).items() if not name.startswith("_")})
    own["_held"] = _held(sampler, names)
    own["_settled"] = changes_of(sampler)


def _held(sampler, names):
    """What tells lists and dicts of a sampler's arguments from what they hold later."""
    nests = [getattr(sampler, name) for name in names]
    leaves = keras.tree.flatten_with_path([nest for nest in nests if _is_nest(nest)])
    plain = int, float, str, type(None)
    return [(path, leaf if isinstance(leaf, plain) else id(leaf)) for path, leaf in leaves]


def _within(sampler):
    """The samplers that a sampler holds."""
    held = keras.tree.flatten([each for each in vars(sampler).values() if _is_nest(each)])
    return [each for each in held if isinstance(each, Sampler)]


def _is_nest(value):
    return isinstance(value, (Sampler, list, tuple, dict))


def inputs_of(x: Any) -> Any:
    """Returns the inputs of a batch `x`, which may be recorded `Samples`."""
    return x.inputs if isinstance(x, Samples) else x


def per_row(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Reshapes `values` (batch,) to broadcast over the rows of `like`, in its dtype."""
    if values.dtype != tf.bool:
        values = tf.cast(values, like.dtype)
    return tf.reshape(values, tf.concat([tf.shape(values), [1] * (like.shape.rank - 1)], 0))
