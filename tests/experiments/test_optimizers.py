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


def updated(optimizer, count=1):
    """Names of many kinds of weights, and their values before and after updates by gradients of 0.

    Only decay changes them.
    """
    convolutions = [keras.layers.Conv2D(2, 3, use_bias=False), keras.layers.DepthwiseConv2D(2)]
    scales = [keras.layers.LayerNormalization(), keras.layers.BatchNormalization()]
    layers = [*convolutions, *scales, keras.layers.Flatten(), keras.layers.Dense(4)]
    variables = keras.Sequential([keras.Input((4, 4, 1)), *layers]).trainable_variables
    rng = np.random.default_rng(0)
    for variable in variables:
        variable.assign(rng.uniform(0.5, 2.0, variable.shape))
    before = [np.array(variable, "float64") for variable in variables]
    for _ in range(count):
        optimizer.apply([keras.ops.zeros(v.shape) for v in variables], variables)
    return [(v.name, old, np.array(v, "float64")) for v, old in zip(variables, before, strict=True)]


MOMENTUM = {"class_name": "SGD", "config": {"momentum": 0.9, "nesterov": True}}


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "SGD", MOMENTUM], ids=str)
def test_decay_shrinks_kernels_by_rate_times_decay_and_nothing_else(optimizer):
    name, config = (optimizer, {}) if isinstance(optimizer, str) else optimizer.values()
    for decay in (0.03, 0.0):  # AdamW has a decay of its own, if it is told of none.
        built = optimizers.build(train(optimizer=optimizer), weight_decay=decay)
        assert type(built) is getattr(keras.optimizers, name)
        assert built.get_config().items() >= config.items()
        weights = updated(built)
        assert [name for name, _, _ in weights].count("kernel") == 3
        for name_of_weight, before, after in weights:
            shrunk = 0.2 * decay * (name_of_weight == "kernel")
            np.testing.assert_allclose(after, before * (1 - shrunk), rtol=1e-6)


def test_decay_follows_the_schedule():
    *_, (_, before, after), _ = updated(optimizers.build(train(optimizer="SGD", steps=2), 0.5), 2)
    # Half a cosine over two steps: 0.2, then 0.1.
    np.testing.assert_allclose(after, before * (1 - 0.2 * 0.5) * (1 - 0.1 * 0.5), rtol=1e-6)


@pytest.mark.parametrize(
    "optimizer",
    ["Sgdd", {"class_name": "Sgdd", "config": {}}, {"class_name": "SGD", "config": {"betas": 1}}],
    ids=str,
)
def test_unknown_optimizers_and_arguments_are_refused(optimizer):
    name = optimizer if isinstance(optimizer, str) else optimizer["class_name"]
    with pytest.raises(ValueError, match=rf"(?s){name}.*learning_rate.*expected for example"):
        optimizers.build(train(optimizer=optimizer))
