"""XLA compiles the whole training step for every sampler, and every score, output and divergence.

What is compiled takes its seed from the step counter, a tensor: seeds that are constants would
be folded away before XLA, and hide operations that it lacks.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import assert_arrays, numbers

from ecl_tf import Distiller, Ensemble, outputs, samplers, uncertainty
from ecl_tf.divergences import DIVERGENCES

pytestmark = pytest.mark.slow

X = np.random.default_rng(0).normal(size=(16, 4, 4, 1)).astype("float32")


def network(width, seed, units=4):
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Flatten(), keras.layers.Dense(width, "tanh"), keras.layers.Dense(units)]
    return keras.Sequential([keras.Input((4, 4, 1)), *layers])


LAYERS = [keras.Input((2,)), keras.layers.Dense(16), keras.layers.Reshape((4, 4, 1))]
SAMPLERS = {
    "Chain": lambda: samplers.Chain(["Swap", "Mixup"]),
    "CutMix": samplers.CutMix,
    "DirichletMixup": samplers.DirichletMixup,
    "Empirical": samplers.Empirical,
    "GaussianNoise": lambda: samplers.GaussianNoise(0.5),
    "Generated": lambda: samplers.Generated(keras.Sequential(LAYERS)),
    "Mix": samplers.Mix,
    "Mixup": samplers.Mixup,
    "Munge": samplers.Munge,
    "Swap": samplers.Swap,
    "TowardUncertainty": samplers.TowardUncertainty,
    "UncertaintyMixup": samplers.UncertaintyMixup,
    "Uncertain": lambda: samplers.Uncertain("Mixup", 2, "teacher_uncertainty", 0.0),
}


def train(compiled, members_per_step=None, **arguments):
    """Losses and weights after two steps of one student."""
    student, members = network(5, 1), [network(8, 2), network(8, 3)]
    teacher = Ensemble(members, "categorical", members_per_step=members_per_step)
    distiller = Distiller(student, teacher, seed=7, **arguments)
    ways = {"jit_compile": True} if compiled else {"run_eagerly": True}
    distiller.compile(keras.optimizers.SGD(0.01, 0.9), **ways)
    data = tf.data.Dataset.from_tensor_slices(X).batch(8, drop_remainder=True)
    history = distiller.fit(data, verbose=0).history
    return history["loss"], student.get_weights()


def assert_xla_is_the_same(**arguments):
    losses, weights = train(False, **arguments)
    xla_losses, xla_weights = train(True, **arguments)
    assert np.isfinite(losses).all()
    np.testing.assert_allclose(xla_losses, losses, rtol=1e-3)
    assert_arrays(xla_weights, weights, atol=1e-4)


def test_every_sampler():
    # At once, for a compilation takes seconds. Choice draws from all for every row. Augment, which
    # draws other numbers under XLA, is compiled in `test_sampler.py`.
    assert SAMPLERS.keys() | {"Augment", "Choice", "Embedded"} == samplers._SAMPLERS.keys()
    assert_xla_is_the_same(sampler=samplers.Choice([make() for make in SAMPLERS.values()]))


def test_rows_that_are_mixed_within_the_networks():
    def of_ids(seed):
        keras.utils.set_random_seed(seed)
        layers = [keras.layers.Embedding(7, 3), keras.layers.Flatten(), keras.layers.Dense(3)]
        return keras.Sequential([keras.Input((4,), dtype="int32"), *layers])

    ids, losses = np.random.default_rng(0).integers(0, 7, (16, 4)).astype("int32"), []
    for ways in ({"jit_compile": True}, {"run_eagerly": True}):
        distiller = Distiller(of_ids(1), of_ids(2), sampler="Embedded")
        distiller.compile(keras.optimizers.SGD(0.1), **ways)
        fitted = distiller.fit(ids, batch_size=8, shuffle=False, verbose=0)
        losses.append(fitted.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-3)


def test_one_member_a_step():
    assert_xla_is_the_same(sampler="Empirical", members_per_step=1)


def assert_compiled_is_the_same(function, *given):
    expected, found = function(*given), tf.function(function, jit_compile=True)(*given)
    for one, other in zip(expected, found, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)


def test_every_score():
    student, teacher = network(5, 1), Ensemble([network(8, 2), network(8, 3)], "categorical")
    networks = uncertainty.Networks(teacher, student, outputs.Categorical())

    def scores(x):
        answers = uncertainty.Answers(networks, x)
        return [score(answers) for score in uncertainty.SCORES.values()]

    assert_compiled_is_the_same(scores, X)


@pytest.mark.parametrize("output", ["categorical", "bernoulli", outputs.Normal(2)], ids=str)
def test_every_divergence_of_every_output(output):
    """Their values and gradients, without the rest of a step, which is the same for all."""
    of_classes = {"standardised_logits", "decoupled", "correlation"}
    names = DIVERGENCES.keys() - (set() if output == "categorical" else of_classes)
    output = outputs.get(output)

    def all_divergences(teacher, student):
        with tf.GradientTape() as tape:
            tape.watch(student)
            both = output(teacher), output(student)
            values = [output.divergence(*both, DIVERGENCES[name]) for name in sorted(names)]
        return *values, tape.gradient(values, student)

    assert_compiled_is_the_same(
        all_divergences, *(tf.constant(numbers(8, 4, seed=n)) for n in (1, 2))
    )
