"""Optimizers and schedules against formulas written out by hand."""

import math

import keras
import numpy as np
import pytest

from ecl_tf.experiments import optimizers, settings


def train(**given):
    return settings.Train(**{"steps": 100, "learning_rate": 0.2, **given})


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (settings.Cosine(), lambda step: 0.1 * (1 + math.cos(math.pi * min(step, 100) / 100))),
        (
            settings.Cosine(warmup_steps=10),
            lambda step: (
                0.2 * step / 10
                if step < 10
                else 0.1 * (1 + math.cos(math.pi * (min(step, 100) - 10) / 90))
            ),
        ),
        # Keras counts the boundary itself to the rate before it.
        (
            settings.Steps(at=(0.5, 0.75), factor=0.3),
            lambda step: 0.2 * 0.3 ** ((step > 50) + (step > 75)),
        ),
        (settings.Steps(at=(0.5,)), lambda step: 0.2 * 0.1 ** (step > 50)),
    ],
)
def test_schedules_follow_their_formulas(schedule, expected):
    steps = [0, 1, 5, 10, 11, 50, 51, 75, 76, 99, 100, 150]
    found = optimizers.schedule(train(schedule=schedule))
    rates = [float(found(step)) for step in steps]
    np.testing.assert_allclose(rates, [expected(step) for step in steps], rtol=1e-4, atol=1e-7)
    assert optimizers.schedule(train()).get_config()["decay_steps"] == 100  # The default.


def update(optimizer, variables, gradient=0.0, count=1):
    """The variables before and after updates by a constant gradient, as float64."""
    rng = np.random.default_rng(0)
    for variable in variables:
        variable.assign(rng.uniform(0.5, 2.0, variable.shape))
    before = [np.array(variable, "float64") for variable in variables]
    for _ in range(count):
        optimizer.apply([keras.ops.full(v.shape, gradient) for v in variables], variables)
    return before, [np.array(variable, "float64") for variable in variables]


@pytest.fixture
def variables():
    layers = keras.layers.Dense(4), keras.layers.BatchNormalization()
    found = keras.Sequential([keras.Input((3,)), *layers]).trainable_variables
    assert [v.name for v in found] == ["kernel", "bias", "gamma", "beta"]
    return found


MOMENTUM = {"class_name": "SGD", "config": {"momentum": 0.9, "nesterov": True}}


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "SGD", MOMENTUM], ids=str)
def test_decay_shrinks_kernels_by_rate_times_decay_and_nothing_else(variables, optimizer):
    for decay in (0.03, 0.0):  # AdamW has a decay of its own, if it is told of none.
        built = optimizers.build(train(optimizer=optimizer), weight_decay=decay)
        name = optimizer if isinstance(optimizer, str) else optimizer["class_name"]
        assert type(built) is getattr(keras.optimizers, name)
        before, after = update(built, variables)
        np.testing.assert_allclose(after[0], before[0] * (1 - 0.2 * decay), rtol=1e-6)
        for old, new in zip(before[1:], after[1:], strict=True):
            np.testing.assert_array_equal(old, new)


def test_decay_follows_the_schedule(variables):
    built = optimizers.build(train(optimizer="SGD", steps=2), 0.5)
    before, after = update(built, variables, count=2)
    # Half a cosine over two steps: 0.2, then 0.1.
    np.testing.assert_allclose(after[0], before[0] * (1 - 0.2 * 0.5) * (1 - 0.1 * 0.5), rtol=1e-6)


def test_decay_reaches_convolutions_but_not_their_normalisation():
    convolution = keras.layers.Conv2D(2, 3, use_bias=False)
    layers = convolution, keras.layers.DepthwiseConv2D(2), keras.layers.LayerNormalization()
    model = keras.Sequential([keras.Input((4, 4, 1)), *layers])
    before, after = update(optimizers.build(train(), 0.1), model.trainable_variables)
    assert [v.name for v in model.trainable_variables].count("kernel") == 2
    for variable, old, new in zip(model.trainable_variables, before, after, strict=True):
        kernel = variable.name == "kernel"
        np.testing.assert_allclose(new, old * (1 - 0.2 * 0.1 * kernel), rtol=1e-6)


def test_first_steps_by_hand(variables):
    steady = settings.Steps(at=(0.9,))
    momentum = {"class_name": "SGD", "config": {"momentum": 0.9}}
    built = optimizers.build(train(optimizer=momentum, schedule=steady))
    before, after = update(built, variables[:1], gradient=1.0, count=3)
    # v = 0.9 v - rate g, w += v: velocities of 1, 1.9 and 2.71 times -rate.
    np.testing.assert_allclose(after[0], before[0] - 0.2 * (1 + 1.9 + 2.71), rtol=1e-5, atol=1e-6)
    # Adam's first is the rate.
    before, after = update(optimizers.build(train()), variables[:1], gradient=7.0)
    np.testing.assert_allclose(after[0], before[0] - 0.2, rtol=1e-4)


@pytest.mark.parametrize(
    "optimizer",
    ["Sgdd", {"class_name": "Sgdd", "config": {}}, {"class_name": "SGD", "config": {"betas": 1}}],
    ids=str,
)
def test_unknown_optimizers_and_arguments_are_refused(optimizer):
    name = optimizer if isinstance(optimizer, str) else optimizer["class_name"]
    with pytest.raises(ValueError, match=rf"(?s){name}.*learning_rate.*expected for example"):
        optimizers.build(train(optimizer=optimizer))
