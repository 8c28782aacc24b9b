"""The conditional VAE: its two terms by other means, and what its generator draws."""

from operator import attrgetter

import keras
import numpy as np
import pytest
from scipy import integrate, stats
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from ecl_tf import samplers
from ecl_tf.models import ConditionalVae


def small(input_shape=(8, 8, 1), classes=10, stddev=0.15):
    vae = ConditionalVae(input_shape, classes, latent_size=2, width=4, stddev=stddev)
    vae.compile("adam", run_eagerly=True)  # Building graphs takes longer than a few steps.
    return vae


def examples(rows, input_shape=(8, 8, 1), classes=10):
    generator = np.random.default_rng(0)
    x = generator.uniform(size=(rows, *input_shape)).astype("float32")
    return x, generator.integers(classes, size=rows)


def latents(vae, rows):
    size = vae.latent_size + vae.classes
    return np.random.default_rng(1).normal(size=(rows, size)).astype("float32")


# The loss


def test_the_divergence_is_the_integral():
    vae = small()
    x, y = examples(3)
    _, means, log_variances = (np.array(part, "float64") for part in vae((x, y)))

    def integral(mean, log_variance):
        q, p = stats.norm(mean, np.exp(log_variance / 2)), stats.norm(0.0, 1.0)
        return integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -12, 12)[0]

    expected = np.vectorize(integral)(means, log_variances).sum(1).mean()
    assert vae.evaluate(x, y, verbose=0, return_dict=True)["kl"] == pytest.approx(expected, 1e-4)


@pytest.mark.parametrize("weights", [None, np.array([0.0, 2.0, 1.0], "float32")])
def test_the_reconstruction_is_the_likelihood(weights):
    vae = small(stddev=0.3)
    x, y = examples(3)
    decoded, mean, log_variance = (np.array(part) for part in vae((x, y)))
    rows = -stats.norm(decoded, 0.3).logpdf(x).sum((1, 2, 3))
    kl = (np.square(mean) + np.exp(log_variance) - 1 - log_variance).sum(1) / 2
    loss = vae.compute_loss((x, y), None, (decoded, mean, log_variance), weights)
    weights = 1.0 if weights is None else weights
    assert float(vae.reconstruction_mean.result()) == pytest.approx(np.mean(weights * rows), 1e-4)
    assert float(loss) == pytest.approx(np.mean(weights * (rows + kl)), 1e-4)


def test_z_is_drawn_from_q():
    vae = small()
    x, y = (np.repeat(part, 20_000, 0) for part in examples(1))
    vae.decoder = keras.layers.Identity()
    decoded, mean, log_variance = (np.array(part) for part in vae((x, y)))
    z, label = np.split(decoded, [2], 1)
    np.testing.assert_array_equal(label, np.eye(10)[y])
    np.testing.assert_allclose(z.mean(0), mean[0], atol=0.03)
    np.testing.assert_allclose(z.std(0), np.exp(log_variance[0] / 2), rtol=0.03)
    assert np.all(np.any(vae((x, y))[0][:, :2] != z, 1))  # The next draw is another.


def test_training_follows_from_keras_seed():
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        runs.append(small().fit(*examples(32), epochs=2, verbose=0).history)
    assert runs[0] == runs[1] and set(runs[0]) == {"loss", "reconstruction", "kl"}


# What it generates


@pytest.fixture(scope="module")
def digits():
    bunch = load_digits()
    return (bunch.images / 16.0).astype("float32")[..., None], bunch.target


@pytest.fixture(scope="module")
def trained(digits):
    """A VAE of 1,000 digits, and its loss on the others before and after."""
    keras.utils.set_random_seed(0)
    x, y = digits
    vae = ConditionalVae((8, 8, 1), classes=10, latent_size=8, width=16)
    vae.compile(keras.optimizers.Adam(2e-3), steps_per_execution=20, jit_compile=False)
    new = {"x": x[1000:], "y": y[1000:], "verbose": 0, "return_dict": True}
    before = vae.evaluate(**new)["loss"]
    vae.fit(x[:1000], y[:1000], batch_size=50, epochs=20, verbose=0)
    return vae, before, vae.evaluate(**new)["loss"]


def test_training_lowers_the_loss_on_new_digits(trained):
    _, before, after = trained
    assert after < 0.0 < before


def test_generated_digits_look_like_their_class_and_differ(digits, trained):
    x, y = digits
    vae, *_ = trained
    classifier = LogisticRegression(max_iter=1000).fit(x.reshape(-1, 64), y)
    u = latents(vae, 1000)
    generated = np.array(vae.generator()(u))
    classes = np.argmax(u[:, vae.latent_size :], 1)
    assert np.mean(classifier.predict(generated.reshape(-1, 64)) == classes) > 0.8

    def spread(images, labels):
        return np.mean([images[labels == label].std(0).mean() for label in range(10)])

    assert spread(generated, classes) > 0.5 * spread(x, y)


def test_classes_are_drawn_equally_and_by_the_largest_number(trained):
    vae, *_ = trained
    u = latents(vae, 2000)
    (layer,) = (each for each in vae.generator().layers if each.name.startswith("latent_and"))
    given = np.array(layer(u))
    np.testing.assert_array_equal(given[:, :8], u[:, :8])
    np.testing.assert_array_equal(given[:, 8:], np.eye(10)[np.argmax(u[:, 8:], 1)])
    assert stats.chisquare(given[:, 8:].sum(0)).pvalue > 1e-3


@pytest.mark.parametrize("shape", [(28, 28, 1), (9, 7, 3), (1, 2, 1), (5,)])
def test_every_shape_is_learned_and_generated(shape, tmp_path):
    vae = small(shape, classes=3)
    vae.fit(*examples(4, shape, classes=3), verbose=0)
    generator = vae.generator()
    u = latents(vae, 6)
    x = generator(u)
    assert x.shape == (6, *shape) and x.dtype == "float32"
    assert np.min(x) >= 0.0 and np.max(x) <= 1.0
    generator.save(tmp_path / "generator.keras")
    loaded = keras.models.load_model(tmp_path / "generator.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(u), x)
    drawn = samplers.Generated(tmp_path / "generator.keras")(np.zeros((6, *shape), "float32"), 0)
    assert drawn.inputs.shape == (6, *shape)


def test_a_saved_vae_is_loaded_with_its_optimizer(tmp_path):
    vae = small(stddev=0.2)
    vae.fit(*examples(16), verbose=0)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras", safe_mode=True)
    assert loaded.get_config() == vae.get_config()
    # Not the state of the random numbers: Keras leaves it out, as it does for dropout.
    for name in ("trainable_variables", "optimizer.variables"):
        for given, expected in zip(
            *(attrgetter(name)(each) for each in (loaded, vae)), strict=True
        ):
            np.testing.assert_array_equal(given, expected)
    assert np.isfinite(loaded.fit(*examples(16), verbose=0).history["loss"])


def test_half_precision_trains():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        vae = small()
        assert np.isfinite(vae.fit(*examples(4), verbose=0).history["loss"])
        assert vae.generator()(latents(vae, 2)).dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (8, 8)}, r"shape \(size,\); got inputs of shape \(8, 8\)"),
        ({"input_shape": {"image": (8, 8, 1)}}, "got inputs of shape {'image'"),
        ({"classes": 0}, "classes must be positive; got 0"),
        ({"latent_size": 0}, "latent_size must be"),
        ({"width": -1}, "width must be"),
        ({"stddev": 0.0}, "stddev must be"),
        ({"stddev": float("nan")}, "stddev must be"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConditionalVae(**{"input_shape": (8, 8, 1), "classes": 10, **arguments})


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda x, y: (x, None), r"integer classes y of shape \(batch,\); got y=None"),
        (lambda x, y: (x, y.astype("float32")), "integer classes"),
        (lambda x, y: (x, np.eye(10, dtype="int32")[y]), "integer classes"),
        (lambda x, y: ((255 * x).astype("uint8"), y), "Cast and scale it"),
    ],
)
def test_batches_it_cant_learn_from_are_refused(convert, message):
    with pytest.raises(ValueError, match=message):
        small().fit(*convert(*examples(4)), verbose=0)


def test_another_loss_is_refused():
    vae = small()
    vae.compile("adam", "mse")
    with pytest.raises(ValueError, match="loss of its own"):
        vae.fit(*examples(4), verbose=0)
