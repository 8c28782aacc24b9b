"""A conditional variational autoencoder, whose decoder generates examples of a class."""

import math

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("ecl_tf")
class ConditionalVae(keras.Model):
    """A conditional variational autoencoder of images, or of vectors, in [0, 1].

    Trained by plain `compile(optimizer)` and `fit` on batches (x, y), it minimises the
    negative evidence lower bound of log p(x | y), the mean over the rows of

        E_{z ~ q(z | x, y)} [ -log p(x | z, y) ] + KL( q(z | x, y) || N(0, I) )

    with the encoder's q(z | x, y) = N(m, diag s^2) and p(x | z, y) = N(d, stddev^2 I)
    around the decoder's d in [0, 1]. The expectation is estimated by one draw of z, and

        -log p = sum ((x - d)^2 / stddev^2 + log(2 pi stddev^2)) / 2  over all pixels,
        KL = sum (m^2 + s^2 - 1 - log s^2) / 2                        over all of z.

    The logs hold `loss` and its two terms, `reconstruction` and `kl`, in nats. Binary
    cross-entropy, the custom for black-and-white pixels, hardly uses z where they are
    grey (1 nat on the 8x8 digits): the samples of one class would be much alike.

    Args:
        input_shape: (height, width, channels) of an image, of any sides; or (size,).
        classes: the number of classes; y is an integer of shape (batch,), 0 <= y < classes.
        latent_size: the size of z.
        width: filters of the first of two convolutions, of which the second has twice
            as many; the decoder mirrors them. Dense layers have 8 times as many units.
        stddev: that of a pixel around d: the smaller, the more z tells about x. It is no
            weight: learned from few examples, it shrinks as long as training goes on.

    Raises:
        ValueError: if an argument is out of its range, a batch has no such y or its x is
            not floating point, or `compile` was given a loss.

    Example:
    >>> import numpy as np
    >>> vae = ConditionalVae((8, 8, 1), classes=10, latent_size=2, width=4)
    >>> vae.compile("adam")
    >>> x, y = np.random.rand(64, 8, 8, 1), np.random.randint(0, 10, 64)
    >>> sorted(vae.fit(x, y, verbose=0).history)
    ['kl', 'loss', 'reconstruction']
    >>> vae.generator()(np.random.normal(size=(5, 2 + 10))).shape
    TensorShape([5, 8, 8, 1])

    Reference: Kingma & Welling, "Auto-Encoding Variational Bayes", 2014, section 2.3 and
    appendix B; Sohn et al., "Learning Structured Output Representation using Deep
    Conditional Generative Models", 2015, section 4, here with a prior that knows no class.
    """

    def __init__(
        self,
        input_shape,
        classes,
        latent_size=8,
        width=32,
        stddev=0.15,
        name="conditional_vae",
    ):
        super().__init__(name=name)
        if isinstance(input_shape, dict) or len(input_shape) not in (1, 3):
            raise ValueError(
                "ConditionalVae takes images of shape (height, width, channels) or vectors of "
                f"shape (size,); got inputs of shape {input_shape}."
            )
        sizes = {"classes": classes, "latent_size": latent_size, "width": width}
        for argument, value in {**sizes, "stddev": stddev}.items():
            if not value > 0:
                raise ValueError(f"{argument} must be positive; got {value}.")
        shape = tuple(input_shape)
        self.classes, self.latent_size, self.stddev = classes, latent_size, stddev
        self._config = {"input_shape": shape, **sizes, "stddev": stddev, "name": name}
        self.encoder = _encoder(shape, classes, latent_size, width)
        self.decoder = _decoder(shape, classes, latent_size, width)
        self.seed_generator = keras.random.SeedGenerator()
        self.reconstruction_mean = keras.metrics.Mean(name="reconstruction")
        self.kl_mean = keras.metrics.Mean(name="kl")
        self.built = True

    def call(self, inputs):
        """Returns the decoder's d for one draw of z, and the mean and log variance of q.

        Args:
            inputs: a pair of x, of shape (batch, ...), and y, of shape (batch,).
        """
        x, y = inputs
        if not keras.backend.is_float_dtype(x.dtype):
            raise ValueError(
                f"ConditionalVae takes floating point x in [0, 1]; got {x.dtype}. Cast and "
                "scale it in the input pipeline."
            )
        if y is None or not keras.backend.is_int_dtype(y.dtype) or len(y.shape) != 1:
            raise ValueError(
                "ConditionalVae learns from batches (x, y) with integer classes y of shape "
                f"(batch,); got y={y}."
            )
        label = ops.one_hot(y, self.classes)
        mean, log_variance = ops.split(self.encoder([x, label]), 2, axis=-1)
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        z = mean + ops.exp(log_variance / 2) * noise
        return self.decoder(ops.concatenate([z, label], axis=-1)), mean, log_variance

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if self.loss is not None:
            raise ValueError("A ConditionalVae has a loss of its own: give compile none.")
        x, _ = x
        decoded, mean, log_variance = y_pred
        errors = ops.square((ops.cast(x, decoded.dtype) - decoded) / self.stddev)
        pixels = (errors + math.log(2 * math.pi * self.stddev**2)) / 2
        reconstruction = ops.sum(pixels, axis=range(1, len(pixels.shape)))
        kl = ops.sum(ops.square(mean) + ops.exp(log_variance) - 1 - log_variance, axis=-1) / 2
        if sample_weight is not None:
            reconstruction, kl = reconstruction * sample_weight, kl * sample_weight
        self.reconstruction_mean.update_state(reconstruction)
        self.kl_mean.update_state(kl)
        # Keras sums the replicas' gradients.
        return ops.mean(reconstruction + kl) / self.distribute_strategy.num_replicas_in_sync

    def train_step(self, data):
        return super().train_step(_as_inputs(data))

    def test_step(self, data):
        return super().test_step(_as_inputs(data))

    def generator(self):
        """Returns the decoder as a `keras.Model` of one input u ~ N(0, I).

        The first `latent_size` numbers of u are z; the class is the place of the largest
        of the other `classes` numbers, so that all are equally likely. The same u gives
        the same x: d, float32 in [0, 1]. The generator shares its weights with this
        model. It is what `ecl_tf.samplers.Generated` takes.
        """
        u = keras.Input((self.latent_size + self.classes,), name="u")
        return keras.Model(u, self.decoder(LatentAndClass(self.latent_size)(u)), name="generator")

    def get_config(self):
        return self._config


@keras.saving.register_keras_serializable("ecl_tf")
class LatentAndClass(layers.Layer):
    """Keeps the first numbers of a row; of the others the largest becomes 1, the rest 0.

    Args:
        latent_size: how many numbers are kept.

    Example:
    >>> print(LatentAndClass(2)(ops.array([[0.5, -2.0, 0.1, 0.9, -0.3]])).numpy())
    [[ 0.5 -2.   0.   1.   0. ]]
    """

    def __init__(self, latent_size, **kwargs):
        super().__init__(**kwargs)
        self.latent_size = latent_size

    def call(self, u):
        z, scores = u[:, : self.latent_size], u[:, self.latent_size :]
        label = ops.one_hot(ops.argmax(scores, axis=-1), scores.shape[-1], dtype=u.dtype)
        return ops.concatenate([z, label], axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "latent_size": self.latent_size}


def _encoder(shape, classes, latent_size, width):
    """The network from x and the one-hot class to the mean and log variance of z."""
    x, label = inputs = keras.Input(shape, name="x"), keras.Input((classes,), name="label")
    if len(shape) == 3:
        for filters in (width, 2 * width):
            x = layers.Conv2D(filters, 3, 2, padding="same", activation="relu")(x)
        x = layers.Flatten()(x)
    x = layers.Dense(8 * width, activation="relu")(layers.Concatenate()([x, label]))
    raw = layers.Dense(2 * latent_size, dtype="float32", name="mean_and_log_variance")(x)
    return keras.Model(inputs, raw, name="encoder")


def _decoder(shape, classes, latent_size, width):
    """The network from z, joined with the one-hot class, to d."""
    inputs = keras.Input((latent_size + classes,), name="latent_and_class")
    x = layers.Dense(8 * width, activation="relu")(inputs)
    if len(shape) == 1:
        x = layers.Dense(*shape)(x)
    else:
        *sides, channels = shape
        quarters = [math.ceil(side / 4) for side in sides]
        x = layers.Dense(math.prod(quarters) * 2 * width, activation="relu")(x)
        x = layers.Reshape((*quarters, 2 * width))(x)
        x = layers.Conv2DTranspose(width, 4, 2, padding="same", activation="relu")(x)
        x = layers.Conv2DTranspose(channels, 4, 2, padding="same")(x)
        surplus = [4 * quarter - side for quarter, side in zip(quarters, sides, strict=True)]
        x = layers.Cropping2D([(extra // 2, extra - extra // 2) for extra in surplus])(x)
    x = layers.Activation("sigmoid", dtype="float32", name="decoded")(x)
    return keras.Model(inputs, x, name="decoder")


def _as_inputs(data):
    """A batch (x, y) or (x, y, sample_weight) for Keras's own step: x and y as inputs."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    return (x, y), None, sample_weight
