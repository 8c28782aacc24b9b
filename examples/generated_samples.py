"""Samples of a learned generator: a conditional variational autoencoder of the digits.

    python examples/generated_samples.py
"""

import keras
from keras import layers, ops
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import ecl_tf

LATENT, CLASSES, STDDEV = 8, 10, 0.15  # The last is that of a pixel around the decoder's answer.

keras.utils.set_random_seed(0)
x, y = load_digits(return_X_y=True)
x = (x / 16.0).astype("float32")
x, held_out_x, y, held_out_y = train_test_split(x, y, test_size=597, random_state=0, stratify=y)
#DEV x, held_out_x, y, held_out_y = train_test_split(x, y, test_size=600, random_state=SEED, stratify=y)
x, y = x[:300], y[:300]


class Latent(layers.Layer):
    """Draws z of N(mean, stddev^2), and adds KL(N(mean, stddev^2) || N(0, 1)) to the loss."""

    def build(self, shape):
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, raw):
        mean, log_variance = ops.split(raw, 2, axis=-1)
        kl = (ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance) / 2.0
        self.add_loss(ops.mean(ops.sum(kl, -1)))
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(log_variance / 2.0) * noise


def reconstruction(pixels, decoded):
    """-log N(pixels; decoded, STDDEV^2) of an image, but for a constant."""
    return ops.sum(ops.square((pixels - decoded) / STDDEV), -1) / 2.0


# The encoder gives z for an image and its class, the decoder an image for both.
encoder = keras.Sequential([layers.Dense(256, "relu"), layers.Dense(2 * LATENT), Latent()])
decoder = keras.Sequential([layers.Dense(256, "relu"), layers.Dense(64, "sigmoid")])
image, label = keras.Input((64,)), keras.Input((CLASSES,))
z = encoder(layers.Concatenate()([image, label]))
autoencoder = keras.Model([image, label], decoder(layers.Concatenate()([z, label])))
autoencoder.compile(keras.optimizers.Adam(2e-3), reconstruction, steps_per_execution=5)
autoencoder.fit([x, ops.one_hot(y, CLASSES)], x, batch_size=60, epochs=200, verbose=0)

# A generator is a function of normal numbers alone. The first are z; the class is the place of
# the largest of the others, so that all are equally likely.
numbers = keras.Input((LATENT + CLASSES,))
label = ops.one_hot(ops.argmax(numbers[:, LATENT:], -1), CLASSES)
generator = keras.Model(numbers, decoder(ops.concatenate([numbers[:, :LATENT], label], -1)))

teacher = ecl_tf.models.build("mlp", (64,), CLASSES, widths=(256, 256))
loss = ecl_tf.losses.NegativeLogLikelihood("categorical")
teacher.compile(keras.optimizers.Adam(1e-3), loss, steps_per_execution=5)
teacher.fit(x, y, batch_size=60, epochs=60, verbose=0)

Choice, Generated = ecl_tf.samplers.Choice, ecl_tf.samplers.Generated
metrics = ["accuracy", ecl_tf.metrics.NegativeLogLikelihood("categorical")]
print(f"{'on held-out images':32} {'accuracy':>9} {'NLL, nats':>9}")
for name, sampler in {
    "ordinary distillation": "Empirical",
    "XCL, Mixup": Choice(["Empirical", "Mixup"]),
    "XCL, generated images": Generated(generator),
    "XCL, Mixup and generated images": Choice(["Empirical", "Mixup", Generated(generator)]),
}.items():
    keras.utils.set_random_seed(1)  # All students begin with the same weights.
    student = ecl_tf.models.build("mlp", (64,), CLASSES, widths=(32,))
    distiller = ecl_tf.Distiller(student, teacher, sampler=sampler)
    distiller.compile(keras.optimizers.Adam(3e-3), metrics=metrics, teacher_metrics=True, steps_per_execution=5)
    distiller.fit(x, batch_size=60, epochs=100, verbose=0)
    scores = distiller.evaluate(held_out_x, held_out_y, verbose=0, return_dict=True)
    print(f"{name:32} {scores['accuracy']:9.1%} {scores['nll']:9.3f}")
print(f"{'teacher':32} {scores['teacher_accuracy']:9.1%} {scores['teacher_nll']:9.3f}")
