"""Samplers that mix rows of the batch with one another."""

import keras
import tensorflow as tf

from ecl_tf._internal import groups, random
from ecl_tf.samplers.sampler import (
    Sampler,
    Samples,
    per_row,
    require_floating_point,
    require_positive,
    row_count,
)


class _Mixing(Sampler):
    """What mixes rows with partners: its settings.

    Args:
        alpha: a > 0 of the Beta or Dirichlet distribution.
        group_size: partners are rows of one group; None for one group, the replica's rows.
    """

    def __init__(self, alpha=1.0, group_size=None):
        require_positive(self, alpha=alpha)
        groups.validate(type(self).__name__, group_size)
        self.alpha = float(alpha)
        self.group_size = group_size

    def get_config(self):
        return {"alpha": self.alpha, "group_size": self.group_size}


@keras.saving.register_keras_serializable("ecl_tf")
class Mixup(_Mixing):
    """Convex combinations of two rows: x~ = c x_i + (1 - c) x_j, c ~ Beta(a, a).

    The coefficient c is drawn for every row, the partner j is never i (in a batch of
    two rows or more). The teacher labels x~ itself; mixing the labels instead is the
    mixup *baseline*, not this method.

    Args:
        alpha: a > 0. 1 draws c uniformly, smaller values stay near one of the two.
        group_size: None mixes the rows of a replica with one another. A number makes groups
            of as many rows, within which partners are found: if it divides every replica's
            rows, the samples are the same on any number of replicas.

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

    def validate(self, inputs):
        require_floating_point(self, inputs)

    def sample(self, inputs, seed):
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
    them (a head pose) are mixed linearly, with the share of the first image that was
    kept as coefficient.

    Args:
        alpha: a > 0; 1 draws the box's area uniformly.
        group_size: as in `Mixup`.

    Raises:
        ValueError: if alpha is not positive, if no input has a height and a width, or
            if an input that must be mixed linearly is not floating point.

    Reference: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers
    with Localizable Features", 2019, section 3.1.
    """

    def validate(self, inputs):
        leaves = keras.tree.flatten(inputs)
        if not any(_is_image(leaf) for leaf in leaves):
            shapes = [tuple(leaf.shape) for leaf in leaves]
            raise ValueError(
                "CutMix cuts boxes out of images, so it needs an input of shape (batch, "
                f"height, width, channels); got {shapes}. Add a channel axis to images "
                "without one, or use Mixup, which takes any shape."
            )
        require_floating_point(self, [leaf for leaf in leaves if not _is_image(leaf)])

    def sample(self, inputs, seed):
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
        shares = [
            1.0 - tf.reduce_mean(tf.cast(inside, tf.float32), [1, 2, 3])
            for inside in boxes
            if inside is not None
        ]

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

    On images cut samples teach more than blended ones; what was measured is in
    docs/results.md.

    Args:
        alpha: a > 0, of either; 1 draws shares and coefficients uniformly.
        group_size: as in `Mixup`.

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

    def validate(self, inputs):
        self._fitting(inputs).validate(inputs)

    def sample(self, inputs, seed):
        return self._fitting(inputs).sample(inputs, seed)


@keras.saving.register_keras_serializable("ecl_tf")
class DirichletMixup(_Mixing):
    """Convex combinations of k rows: x~ = sum_n c_n x_(j_n), c ~ Dirichlet(a, ..., a).

    The first of the k rows is the row itself, the others are rows of the batch at
    independent random distances from it. (With few rows two of them may coincide.)

    Args:
        k: the number of rows that are mixed, at least 2; 2 is `Mixup`.
        alpha: a > 0; 1 is uniform over the simplex.
        group_size: as in `Mixup`.

    Raises:
        ValueError: if k < 2 or alpha is not positive, or on inputs that are not
            floating point.

    Reference: Shu et al., "Open Domain Generalization with Domain-Augmented
    Meta-Learning", 2021, section 3.2.
    """

    def __init__(self, k=3, alpha=1.0, group_size=None):
        super().__init__(alpha, group_size)
        if not isinstance(k, int) or k < 2:
            raise ValueError(f"DirichletMixup's k must be a whole number >= 2; got {k!r}.")
        self.k = k

    def validate(self, inputs):
        require_floating_point(self, inputs)

    def sample(self, inputs, seed):
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

    def get_config(self):
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
