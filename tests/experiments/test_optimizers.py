"""Optimizers and schedules against formulas written out by hand."""

import math

import keras
import numpy as np
import pytest
from ml_collections import ConfigDict

from ecl_tf.experiments import optimizers


def train(**settings):
    return ConfigDict({"steps": 100, "learning_rate": 0.2, **settings})


def rates(schedule, steps):
    return [float(schedule(step)) for step in steps]


@pytest.mark.parametrize("settings", [{}, {"schedule": {"name": "cosine"}}])
def test_the_default_schedule_is_half_a_cosine_to_zero(settings):
    steps = [0, 1, 25, 50, 99, 100, 150]
    expected = [0.1 * (1 + math.cos(math.pi * min(step, 100) / 100)) for step in steps]
    schedule = optimizers.schedule(train(**settings))
    np.testing.assert_allclose(rates(schedule, steps), expected, rtol=1e-4, atol=1e-8)


def test_cosine_after_a_linear_warmup():
    steps = [0, 1, 5, 10, 11, 55, 99, 100]
    expected = [
        0.2 * step / 10 if step < 10 else 0.1 * (1 + math.cos(math.pi * (step - 10) / 90))
        for step in steps
    ]
    schedule = optimizers.schedule(train(schedule={"name": "cosine", "warmup_steps": 10}))
    np.testing.assert_allclose(rates(schedule, steps), expected, rtol=1e-4, atol=1e-7)


def test_steps_multiply_the_rate_by_the_factor():
    schedule = optimizers.schedule(
        train(schedule={"name": "steps", "at": (0.5, 0.75), "factor": 0.3})
    )
    # Keras counts the boundary itself to the rate before it.
    expected = [0.2, 0.2, 0.06, 0.06, 0.018, 0.018]
    np.testing.assert_allclose(rates(schedule, [0, 50, 51, 75, 76, 99]), expected, rtol=1e-5)


def test_steps_divide_by_ten_by_default():
    schedule = optimizers.schedule(train(schedule={"name": "steps", "at": (0.5,)}))
    np.testing.assert_allclose(rates(schedule, [0, 99]), [0.2, 0.02], rtol=1e-5)


@pytest.mark.parametrize(
    "schedule, message",
    [
        ({"name": "linear"}, "Unknown schedule 'linear'; expected 'cosine' or 'steps'"),
        ({"name": "cosine", "factor": 0.1}, r"'cosine' takes no \['factor'\]"),
        (
            {"name": "steps", "at": (0.5,), "warmup_steps": 3},
            r"'steps' takes no \['warmup_steps'\]",
        ),
    ],
)
def test_unknown_schedules_and_arguments_are_refused(schedule, message):
    with pytest.raises(ValueError, match=message):
        optimizers.build(train(schedule=schedule))


def small_model():
    return keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4), keras.layers.BatchNormalization()]
    )


def update(optimizer, variables, gradient=0.0, count=1):
    """The variables before and after updates by a constant gradient, as float64."""
    rng = np.random.default_rng(0)
    for variable in variables:
        variable.assign(rng.uniform(0.5, 2.0, variable.shape))
    before = [np.array(variable, "float64") for variable in variables]
    for _ in range(count):
        optimizer.apply([keras.ops.full(v.shape, gradient) for v in variables], variables)
    return before, [np.array(variable, "float64") for variable in variables]


@pytest.mark.parametrize(
    "optimizer",
    ["Adam", "AdamW", "SGD", {"class_name": "SGD", "config": {"momentum": 0.9, "nesterov": True}}],
    ids=str,
)
def test_decay_shrinks_kernels_by_rate_times_decay_and_nothing_else(optimizer):
    variables = small_model().trainable_variables
    assert [v.name for v in variables] == ["kernel", "bias", "gamma", "beta"]
    built = optimizers.build(train(optimizer=optimizer), weight_decay=0.03)
    before, after = update(built, variables)
    np.testing.assert_allclose(after[0], before[0] * (1 - 0.2 * 0.03), rtol=1e-6)
    for old, new in zip(before[1:], after[1:], strict=True):
        np.testing.assert_array_equal(old, new)


def test_decay_follows_the_schedule():
    variables = small_model().trainable_variables
    settings = train(optimizer="SGD", steps=2, schedule={"name": "cosine"})
    before, after = update(optimizers.build(settings, 0.5), variables, count=2)
    # Half a cosine over two steps: 0.2, then 0.1.
    np.testing.assert_allclose(after[0], before[0] * (1 - 0.2 * 0.5) * (1 - 0.1 * 0.5), rtol=1e-6)


@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_without_weight_decay_zero_gradients_change_nothing(optimizer):
    variables = small_model().trainable_variables
    before, after = update(optimizers.build(train(optimizer=optimizer)), variables, count=2)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_decay_reaches_convolutions_but_not_their_normalisation():
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Conv2D(2, 3, use_bias=False),
            keras.layers.DepthwiseConv2D(2),
            keras.layers.LayerNormalization(),
        ]
    )
    before, after = update(optimizers.build(train(), 0.1), model.trainable_variables)
    assert [v.name for v in model.trainable_variables].count("kernel") == 2
    for variable, old, new in zip(model.trainable_variables, before, after, strict=True):
        kernel = variable.name == "kernel"
        np.testing.assert_allclose(new, old * (1 - 0.2 * 0.1 * kernel), rtol=1e-6)


def test_momentum_from_a_config_by_hand():
    settings = train(
        optimizer={"class_name": "SGD", "config": {"momentum": 0.9}},
        schedule={"name": "steps", "at": (0.9,), "factor": 0.1},
    )
    built = optimizers.build(settings)
    assert type(built) is keras.optimizers.SGD and built.momentum == 0.9
    variables = small_model().trainable_variables[:1]
    before, after = update(built, variables, gradient=1.0, count=3)
    # v = 0.9 v - rate g, w += v: velocities of 1, 1.9 and 2.71 times -rate.
    np.testing.assert_allclose(after[0], before[0] - 0.2 * (1 + 1.9 + 2.71), rtol=1e-5, atol=1e-6)


def test_optimizers_go_by_their_names():
    assert type(optimizers.build(train())) is keras.optimizers.Adam
    built = optimizers.build(train(optimizer="AdamW"), weight_decay=0.1)
    assert type(built) is keras.optimizers.AdamW and built.weight_decay == 0.1


def test_the_first_step_of_adam_is_the_rate():
    variables = small_model().trainable_variables[:1]
    before, after = update(optimizers.build(train()), variables, gradient=7.0)
    np.testing.assert_allclose(after[0], before[0] - 0.2, rtol=1e-4)


def test_adamw_without_weight_decay_does_not_decay():
    variables = small_model().trainable_variables
    before, after = update(optimizers.build(train(optimizer="AdamW"), 0.0), variables)
    np.testing.assert_array_equal(after[0], before[0])


@pytest.mark.parametrize(
    "optimizer",
    ["Sgdd", {"class_name": "Sgdd", "config": {}}, {"class_name": "SGD", "config": {"betas": 1}}],
    ids=str,
)
def test_unknown_optimizers_and_arguments_are_refused(optimizer):
    name = optimizer if isinstance(optimizer, str) else optimizer["class_name"]
    with pytest.raises(ValueError, match=rf"(?s){name}.*learning_rate.*expected for example"):
        optimizers.build(train(optimizer=optimizer))
