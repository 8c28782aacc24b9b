"""Samplers that mix rows of the batch with one another."""

from typing import Any

import keras
import tensorflow as tf

from ecl_tf._internal import groups, random, require
from ecl_tf.samplers.sampler import Sampler, Samples, per_row, require_floating_point, row_count


class _Mixing(Sampler):
    """The settings of samplers that mix rows with partners."""

    def __init__(self, alpha: float = 1.0, group_size: int | None = None):
        self.alpha = require.positive(f"{type(self).__name__}'s alpha", alpha)
        groups.validate(type(self).__name__, group_size)
        self.group_size = group_size

    def validate(self, inputs: Any) -> None:
        require_floating_point(self, inputs)

    def get_config(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "group_size": self.group_size}


@keras.saving.register_keras_serializable("ecl_tf")
class Mixup(_Mixing):
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

    Raises:
        ValueError: if alpha is not positive, if group_size is less than 2, or on inputs that
            are not floating point.

    Example:
    >>> x = tf.constant([[0.0], [1.0]])
    >>> bool(tf.reduce_all(Mixup()(x, seed=1).inputs + Mixup()(1 - x, seed=1).inputs == 1))
    True

    Reference: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018,
    equation 1.
    """

    def sample(self, inputs: Any, seed: tf.Tensor) -> Samples:
        rows = row_count(inputs)
        partner_seed, coefficient_seed = random.split(seed, 2)
        partner = random.partners(partner_seed, rows, self.group_size)
        coefficient = random.beta(coefficient_seed, [rows], self.alpha, self.alpha)

        def mix(x):
            c = per_row(coefficient, x)
            return c * x + (1 - c) * tf.gather(x, partner)

        unmodified = tf.equal(partner, tf.range(rows))
        return Samples(keras.tree.map_structure(mix, inputs), unmodified)


@keras.saving.register_keras_serializable("ecl_tf")
class CutMix(_Mixing):
    """A box of each image is filled with the same box of its partner's.

    The box has the share 1 - c of the area, c ~ Beta(a, a), a uniform centre, and is
    clipped at the border. Inputs of shape (batch, height, width, channels) are cut,
    all with the box at the same relative place. Inputs of other ranks that go with
    them (a head pose) are mixed linearly, x~ = s x_i + (1 - s) x_j, where s is the share of
    the first image that the box leaves.

    Args:
        alpha: a > 0; 1, the default, draws the box's area uniformly.
        group_size: None by default, as in `Mixup`.

    Raises:
        ValueError: if alpha is not positive, if no input has a height and a width, or
            if an input that must be mixed linearly is not floating point.

    Reference: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers
    with Localizable Features", 2019, section 3.1. Mixing the inputs of other ranks is this
    project's.

    Example:
    >>> ones_and_twos = tf.reshape([1.0, 2.0], [2, 1, 1, 1]) * tf.ones([2, 4, 4, 1])
    >>> sorted(set(CutMix()(ones_and_twos, seed=1).inputs.numpy().ravel().tolist()))
    [1.0, 2.0]
    """

    def validate(self, inputs: Any) -> None:
        leaves = keras.tree.flatten(inputs)
        if not any(_is_image(leaf) for leaf in leaves):
            shapes = [tuple(leaf.shape) for leaf in leaves]
            raise ValueError(
                "CutMix cuts boxes out of images, so it needs an input of shape (batch, "
                f"height, width, channels); got {shapes}. Add a channel axis to images "
                "without one, or use Mixup, which takes any shape."
            )
        require_floating_point(self, [leaf for leaf in leaves if not _is_image(leaf)])

    def sample(self, inputs: Any, seed: tf.Tensor) -> Samples:
        rows = row_count(inputs)
        partner_seed, area_seed, y_seed, x_seed = random.split(seed, 4)
        partner = random.partners(partner_seed, rows, self.group_size)
        side = tf.sqrt(1.0 - random.beta(area_seed, [rows], self.alpha, self.alpha))
        centre_y, centre_x = random.uniform(y_seed, [rows]), random.uniform(x_seed, [rows])

        def box(image):
            """True inside the box, of shape (batch, height, width, 1)."""
            inside_y = _interval(centre_y, side, image.shape[1] or tf.shape(image)[1])
            inside_x = _interval(centre_x, side, image.shape[2] or tf.shape(image)[2])
            return (inside_y[:, :, None] & inside_x[:, None, :])[..., None]

        leaves = keras.tree.flatten(inputs)
        boxes = [box(leaf) if _is_image(leaf) else None for leaf in leaves]
        # Of each image the share that its box leaves.
        inside_boxes = [tf.cast(inside, tf.float32) for inside in boxes if inside is not None]
        shares = [1.0 - tf.reduce_mean(inside, [1, 2, 3]) for inside in inside_boxes]

        def mix(x, inside):
            other = tf.gather(x, partner)
            if inside is not None:
                return tf.where(inside, other, x)
            c = per_row(shares[0], x)
            return c * x + (1 - c) * other

        mixed = [mix(leaf, inside) for leaf, inside in zip(leaves, boxes, strict=True)]
        uncut = tf.reduce_all(tf.equal(shares, 1.0), 0)
        unmodified = tf.equal(partner, tf.range(rows)) | uncut
        return Samples(keras.tree.pack_sequence_as(inputs, mixed), unmodified)


@keras.saving.register_keras_serializable("ecl_tf")
class Mix(_Mixing):
    """`CutMix` where there is an image, `Mixup` where there is none.

    On images cut samples teach more than blended ones; docs/results.md holds what was
    measured.

    Args:
        alpha: a > 0, of either; 1, the default, draws shares and coefficients uniformly.
        group_size: None by default, as in `Mixup`.

    Raises:
        ValueError: if alpha is not positive, or on inputs other than images that are
            not floating point.

    Example:
    >>> image = tf.reshape(tf.range(2.0 * 4 * 4), [2, 4, 4, 1])
    >>> row = image[:, 0, :, 0]
    >>> bool(tf.reduce_all(Mix()(image, seed=1).inputs == CutMix()(image, seed=1).inputs))
    True
    >>> bool(tf.reduce_all(Mix()(row, seed=1).inputs == Mixup()(row, seed=1).inputs))
    True
    """

    def _fitting(self, inputs):
        has_image = any(map(_is_image, keras.tree.flatten(inputs)))
        return (CutMix if has_image else Mixup)(self.alpha, self.group_size)

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

    def sample(self, inputs: Any, seed: tf.Tensor) -> Samples:
        rows = row_count(inputs)
        own = tf.range(rows)
        seeds = random.split(seed, 2 * (self.k - 1))
        indices, coefficients, rest = [own], [], 1.0
        for n in range(1, self.k):
            indices.append(random.partners(seeds[2 * n - 2], rows, self.group_size))
            # Stick breaking: the share of the n-th row in what the others left.
            share = random.beta(seeds[2 * n - 1], [rows], self.alpha, self.alpha * (self.k - n))
            coefficients.append(share * rest)
            rest = (1.0 - share) * rest
        coefficients.append(rest)

        def mix(x):
            terms = zip(coefficients, indices, strict=True)
            return tf.add_n([per_row(c, x) * tf.gather(x, j) for c, j in terms])

        unmodified = tf.reduce_all([tf.equal(index, own) for index in indices], 0)
        return Samples(keras.tree.map_structure(mix, inputs), unmodified)

    def get_config(self) -> dict[str, Any]:
        return {"k": self.k, **super().get_config()}


def _is_image(leaf):
    return len(leaf.shape) == 4


def _interval(centre, side, length):
    """Which of `length` pixels are in the box's side, shape (batch, length)."""
    extent = tf.cast(length, tf.float32)
    start = tf.round((centre - side / 2) * extent)
    stop = tf.round((centre + side / 2) * extent)
    pixel = tf.range(extent)
    return (pixel >= start[:, None]) & (pixel < stop[:, None])
