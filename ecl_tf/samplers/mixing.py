"""Samplers that mix rows of the batch with one another."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from ecl_tf._internal import groups, random, require
from ecl_tf.samplers import fields, suitable
from ecl_tf.samplers.sampler import Mixture, Sampler, Samples, per_row, row_count


class _Mixing(Sampler):
    """The settings of samplers that mix rows with partners."""

    averages = True

    def __init__(self, alpha: float = 1.0, group_size: int | None = None):
        self.alpha = require.positive(f"{type(self).__name__}'s alpha", alpha)
        groups.validate(type(self).__name__, group_size)
        self.group_size = group_size

    def validate(self, inputs: Any) -> None:
        suitable.require_floating_point(self, inputs)

    def get_config(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "group_size": self.group_size}


class _MixingAndSwapping(_Mixing):
    """The settings of samplers that mix two rows, and swap values of inputs without a mean."""

    _cuts_images = False

    def __init__(
        self,
        alpha: float = 1.0,
        group_size: int | None = None,
        swap: Sequence[str | int] = (),
        padding: Any = None,
        data_format: str | None = None,
    ):
        super().__init__(alpha, group_size)
        name = type(self).__name__
        if isinstance(swap, str):
            raise ValueError(f"{name}'s swap is a list of names; got {swap!r}, not [{swap!r}].")
        self.swap, self.padding = [str(each) for each in swap], fields.by_name(padding)
        self.data_format = fields.data_format(name, data_format)

    def effect(self, path: tuple, leaf: Any) -> str:
        if fields.name_of(path) in self.swap:
            return "swaps"
        return "keeps" if self._cuts_images and _is_image(leaf) else "averages"

    def padding_of(self, path: tuple) -> Any:
        return fields.padding_of(self.padding, path)

    def validate(self, inputs: Any) -> None:
        fields.require_names(self, "swap", self.swap, inputs)
        if isinstance(self.padding, dict):
            fields.require_names(self, "padding", self.padding, inputs)
        super().validate(inputs)

    def coefficients(self, rows: int, seed: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        """What `sample` draws of Beta(a, a) for the seeds `fold_in(seed, step)`.

        Unless a = 1 they are a quantile, which takes many small operations, and little longer for
        a hundred steps than for one.

        Args:
            rows: the number of rows.
            seed: as in `sample`.
            steps: whole numbers (steps,).

        Returns:
            float32 (steps, rows), of which a row is given to `sample`.
        """

        def draw(step):
            _, own = random.split(random.fold_in(seed, step), 2)
            return random.uniform(own, [rows])

        u = tf.map_fn(draw, steps, fn_output_signature=tf.TensorSpec([rows], tf.float32))
        return random.beta_of(u, self.alpha, self.alpha)

    def _swap(self, inputs, partner, kept, seed):
        """The inputs to swap, by path, with the partner's values where a row's own are not kept.

        Args:
            inputs: a nesting of tensors.
            partner: int32 (rows,).
            kept: float32 (rows,), the probability with which each value stays.
            seed: of the choice of values.
        """
        leaves = keras.tree.flatten_with_path(inputs)
        return {
            path: fields.exchange(
                x,
                lambda cells: partner[:, None],
                1.0 - kept,
                random.fold_in(seed, number),
                self.padding_of(path),
                self.data_format,
            )[0]
            for number, (path, x) in enumerate(leaves)
            if self.effect(path, x) == "swaps"
        }

    def get_config(self) -> dict[str, Any]:
        # What is not said is left out, as by versions that did not know of it.
        others = {"swap": self.swap, "padding": self.padding}
        if self.data_format != "channels_last":
            others["data_format"] = self.data_format
        return {**super().get_config(), **{k: v for k, v in others.items() if v not in ([], None)}}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        made = cls(**config)
        if "data_format" not in config:  # As `get_config` left it out, whatever Keras's setting is.
            made.data_format = "channels_last"
        return made


@keras.saving.register_keras_serializable("ecl_tf")
class Mixup(_MixingAndSwapping):
    """Convex combinations of two rows: x~ = c x_i + (1 - c) x_j, c ~ Beta(a, a).

    The coefficient c is drawn for every row, the partner j is never i (in a batch of
    two rows or more). The teacher labels x~ itself; mixing the labels instead is the
    mixup *baseline*, not this method.

    Args:
        alpha: a > 0; 1, the default, draws c uniformly; smaller values, such as 0.2, stay near
            one of the two rows.
        group_size: None, the default, mixes the rows of a replica with one another. A number
            (such as 16) makes groups of as many rows, within which partners are found: if it
            divides every replica's rows, the samples are the same on any number of replicas.
        swap: names of inputs whose values have no mean, such as ids and strings (of a tuple
            their numbers); none by default. Each value of them is the partner's with probability
            1 - c, and the row's own otherwise (see `Swap`).
        padding: of these, as in `Swap`; None by default.
        data_format: of these, as in `Swap`; None by default.

    Raises:
        ValueError: if alpha is not positive, if group_size is less than 2, if `swap` or
            `padding` names an input that there is not, or on other inputs that are not floating
            point, or (from a `Distiller`) that a network takes by their exact values.

    Example:
    >>> x = tf.constant([[0.0], [1.0]])
    >>> bool(tf.reduce_all(Mixup()(x, seed=1).inputs + Mixup()(1 - x, seed=1).inputs == 1))
    True
    >>> inputs = {"age": tf.constant([30.0, 50.0]), "city": tf.constant(["Bern", "Basel"])}
    >>> set(Mixup(swap=["city"])(inputs, seed=1).inputs["city"].numpy()) <= {b"Bern", b"Basel"}
    True

    Reference: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018,
    equation 1.
    """

    def _draw(self, rows, seed, coefficient=None):
        """Every row's partner and coefficient, and the seed of what is swapped."""
        partner_seed, coefficient_seed, swap_seed = random.split(seed, 3)
        partner = random.partners(partner_seed, rows, self.group_size)
        if coefficient is None:
            coefficient = random.beta(coefficient_seed, [rows], self.alpha, self.alpha)
        return partner, coefficient, swap_seed

    def mixture(self, rows: int | tf.Tensor, seed: tf.Tensor) -> Mixture:
        """Returns the `Mixture` that `sample` makes of so many `rows` by this `seed`."""
        partner, coefficient, _ = self._draw(rows, seed)
        return Mixture((partner - tf.range(rows))[:, None], 1.0 - coefficient[:, None])

    def sample(self, inputs: Any, seed: tf.Tensor, coefficient: tf.Tensor | None = None) -> Samples:
        """Draws `Samples`; `coefficient`, float32 (rows,), is drawn, unless it is given."""
        rows = row_count(inputs)
        partner, coefficient, swap_seed = self._draw(rows, seed, coefficient)
        swapped = self._swap(inputs, partner, coefficient, swap_seed)

        def mix(x):
            c = per_row(coefficient, x)
            return c * x + (1 - c) * tf.gather(x, partner)

        mixed = [
            swapped[path] if path in swapped else mix(x)
            for path, x in keras.tree.flatten_with_path(inputs)
        ]
        unmodified = tf.equal(partner, tf.range(rows))
        return Samples(keras.tree.pack_sequence_as(inputs, mixed), unmodified)


@keras.saving.register_keras_serializable("ecl_tf")
class CutMix(_MixingAndSwapping):
    """A box of each image is filled with the same box of its partner's.

    The box has the share 1 - c of the area, c ~ Beta(a, a), a uniform centre, and is
    clipped at the border. Inputs of shape (batch, height, width, channels) are cut,
    all with the box at the same relative place. Inputs of other ranks that go with
    them (a head pose) are mixed linearly, x~ = s x_i + (1 - s) x_j, where s is the share of
    the first image that the box leaves.

    Args:
        alpha: a > 0; 1, the default, draws the box's area uniformly.
        group_size: None by default, as in `Mixup`.
        swap: names of inputs that are swapped with the probability 1 - s, such as ids, as in
            `Mixup`; none by default.
        padding: of these, as in `Swap`; None by default.
        data_format: "channels_last" for images of shape (batch, height, width, channels), or
            "channels_first" for (batch, channels, height, width); None, the default, is
            `keras.config.image_data_format()`.

    Raises:
        ValueError: if an argument is out of its range, if no input has a height and a width, or
            if an input that must be mixed linearly is not floating point, or (from a `Distiller`)
            is one that a network takes by its exact values.

    Reference: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers
    with Localizable Features", 2019, section 3.1. Mixing the inputs of other ranks is this
    project's.

    Example:
    >>> ones_and_twos = tf.reshape([1.0, 2.0], [2, 1, 1, 1]) * tf.ones([2, 4, 4, 1])
    >>> sorted(set(CutMix()(ones_and_twos, seed=1).inputs.numpy().ravel().tolist()))
    [1.0, 2.0]
    """

    _cuts_images = True

    def validate(self, inputs: Any) -> None:
        if not _has_image(self, inputs):
            shapes = [tuple(leaf.shape) for leaf in keras.tree.flatten(inputs)]
            axes = "height, width, channels"
            if self.data_format == "channels_first":
                axes = "channels, height, width"
            raise ValueError(
                f"CutMix cuts boxes out of images, so it needs an input of shape (batch, {axes}); "
                f"got {shapes}. Add a channel axis to images without one, or use Mixup, which "
                "takes any shape."
            )
        super().validate(inputs)

    def sample(self, inputs: Any, seed: tf.Tensor, coefficient: tf.Tensor | None = None) -> Samples:
        """Draws `Samples`; `coefficient`, float32 (rows,), is drawn, unless it is given."""
        rows = row_count(inputs)
        partner_seed, area_seed, y_seed, x_seed, swap_seed = random.split(seed, 5)
        partner = random.partners(partner_seed, rows, self.group_size)
        if coefficient is None:
            coefficient = random.beta(area_seed, [rows], self.alpha, self.alpha)
        side = tf.sqrt(1.0 - coefficient)
        centre_y, centre_x = random.uniform(y_seed, [rows]), random.uniform(x_seed, [rows])
        of_channels = 1 if self.data_format == "channels_first" else 3
        of_y, of_x = (axis for axis in (1, 2, 3) if axis != of_channels)

        def box(image):
            """True inside the box, of the image's shape but for one channel."""
            inside_y = _interval(centre_y, side, image.shape[of_y] or tf.shape(image)[of_y])
            inside_x = _interval(centre_x, side, image.shape[of_x] or tf.shape(image)[of_x])
            return tf.expand_dims(inside_y[:, :, None] & inside_x[:, None, :], of_channels)

        leaves = keras.tree.flatten_with_path(inputs)
        boxes = {path: box(leaf) for path, leaf in leaves if self.effect(path, leaf) == "keeps"}
        # Of each image the share that its box leaves.
        inside_boxes = [tf.cast(inside, tf.float32) for inside in boxes.values()]
        shares = [1.0 - tf.reduce_mean(inside, [1, 2, 3]) for inside in inside_boxes]
        swapped = self._swap(inputs, partner, shares[0], swap_seed)

        def mix(path, x):
            if path in swapped:
                return swapped[path]
            other = tf.gather(x, partner)
            if path in boxes:
                return tf.where(boxes[path], other, x)
            c = per_row(shares[0], x)
            return c * x + (1 - c) * other

        mixed = [mix(path, leaf) for path, leaf in leaves]
        uncut = tf.reduce_all(tf.equal(shares, 1.0), 0)
        unmodified = tf.equal(partner, tf.range(rows)) | uncut
        return Samples(keras.tree.pack_sequence_as(inputs, mixed), unmodified)


@keras.saving.register_keras_serializable("ecl_tf")
class Mix(_MixingAndSwapping):
    """`CutMix` where there is an image, `Mixup` where there is none.

    On images cut samples teach more than blended ones; docs/guides/samplers.md holds what was
    measured.

    With `swap` it serves images, numbers and ids together: images are cut, numbers are mixed by
    the share that is left, and of ids each value is the partner's with the probability of the
    rest, all with the same partner.

    Args:
        alpha: a > 0, of either; 1, the default, draws shares and coefficients uniformly.
        group_size: None by default, as in `Mixup`.
        swap: names of inputs that are swapped in place of mixed, such as ids: `["camera"]`; none
            by default. See `Mixup`.
        padding: of these, as in `Swap`; None by default.
        data_format: as in `CutMix`; None by default.

    Raises:
        ValueError: as `CutMix` or `Mixup`, whichever it is.

    Example:
    >>> image = tf.reshape(tf.range(2.0 * 4 * 4), [2, 4, 4, 1])
    >>> row = image[:, 0, :, 0]
    >>> bool(tf.reduce_all(Mix()(image, seed=1).inputs == CutMix()(image, seed=1).inputs))
    True
    >>> bool(tf.reduce_all(Mix()(row, seed=1).inputs == Mixup()(row, seed=1).inputs))
    True
    """

    _cuts_images = True

    def _fitting(self, inputs):
        arguments = {name: each for name, each in vars(self).items() if name[0] != "_"}
        return (CutMix if _has_image(self, inputs) else Mixup)(**arguments)

    def validate(self, inputs: Any) -> None:
        self._fitting(inputs).validate(inputs)

    def sample(self, inputs: Any, seed: tf.Tensor) -> Samples:
        return self._fitting(inputs).sample(inputs, seed)


@keras.saving.register_keras_serializable("ecl_tf")
class DirichletMixup(_Mixing):
    """Convex combinations of k rows: x~ = sum_n c_n x_(j_n), c ~ Dirichlet(a, ..., a).

    The first of the k rows is the row itself, the others are rows of the batch at
    independent random distances from it. (With few rows two of them may coincide.)

    Args:
        k: the number of rows that are mixed, at least 2; 3 by default, 2 is `Mixup`.
        alpha: a > 0; 1, the default, is uniform over the simplex.
        group_size: None by default, as in `Mixup`.

    Raises:
        ValueError: if k < 2 or alpha is not positive, or on inputs that are not
            floating point.

    Reference: Shu et al., "Open Domain Generalization with Domain-Augmented
    Meta-Learning", 2021, section 3.2.

    Example:
    >>> constant = DirichletMixup(k=3)(tf.ones([4, 2]), seed=1).inputs
    >>> bool(tf.reduce_all(abs(constant - 1.0) < 1e-6))  # The coefficients add up to 1.
    True
    """

    def __init__(self, k: int = 3, alpha: float = 1.0, group_size: int | None = None):
        super().__init__(alpha, group_size)
        self.k = require.whole("DirichletMixup's k", k, 2)

    def _draw(self, rows, seed):
        """The rows that are mixed to every one, itself first, and their coefficients: two lists."""
        own = tf.range(rows)
        seeds = random.split(seed, 2 * (self.k - 1))
        indices, coefficients, rest = [own], [], 1.0
        for n in range(1, self.k):
            indices.append(random.partners(seeds[2 * n - 2], rows, self.group_size))
            # Stick breaking: the share of the n-th row in what the others left.
            share = random.beta(seeds[2 * n - 1], [rows], self.alpha, self.alpha * (self.k - n))
            coefficients.append(share * rest)
            rest = (1.0 - share) * rest
        return indices, [*coefficients, rest]

    def mixture(self, rows: int | tf.Tensor, seed: tf.Tensor) -> Mixture:
        """Returns the `Mixture` that `sample` makes of so many `rows` by this `seed`."""
        (own, *partners), (_, *shares) = self._draw(rows, seed)
        return Mixture(tf.stack([each - own for each in partners], 1), tf.stack(shares, 1))

    def sample(self, inputs: Any, seed: tf.Tensor) -> Samples:
        indices, coefficients = self._draw(row_count(inputs), seed)

        def mix(x):
            terms = zip(coefficients, indices, strict=True)
            return tf.add_n([per_row(c, x) * tf.gather(x, j) for c, j in terms])

        unmodified = tf.reduce_all([tf.equal(index, indices[0]) for index in indices], 0)
        return Samples(keras.tree.map_structure(mix, inputs), unmodified)

    def get_config(self) -> dict[str, Any]:
        return {"k": self.k, **super().get_config()}


def _is_image(leaf):
    return len(leaf.shape) == 4


def _has_image(sampler, inputs):
    """Whether there is an image that is not swapped."""
    leaves = keras.tree.flatten_with_path(inputs)
    return any(_is_image(leaf) and sampler.effect(path, leaf) != "swaps" for path, leaf in leaves)


def _interval(centre, side, length):
    """Which of `length` pixels are in the box's side, shape (batch, length)."""
    extent = tf.cast(length, tf.float32)
    start = tf.round((centre - side / 2) * extent)
    stop = tf.round((centre + side / 2) * extent)
    pixel = tf.range(extent)
    return (pixel >= start[:, None]) & (pixel < stop[:, None])
