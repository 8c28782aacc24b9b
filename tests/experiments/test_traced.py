"""Networks of a kind that are trained by one traced step."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import assert_same_weights

from ecl_tf import losses
from ecl_tf.experiments import settings, traced
from ecl_tf.experiments.experiment import Experiment


@pytest.fixture
def experiment(digits_config):
    # A layer that draws at random: its generator is part of what a training begins with.
    shifted = {
        "class_name": "RandomTranslation",
        "config": {"height_factor": 0.1, "width_factor": 0.1},
    }
    digits_config.teacher.network.preprocessing = (shifted,)
    digits_config.teacher.train.update({"steps": 12, "steps_per_execution": 2})
    return Experiment(digits_config)


def test_one_traced_step_trains_all_networks_of_a_kind_to_the_bits_of_their_own(
    experiment, tmp_path, monkeypatch
):
    section, traces = experiment.config.teacher, []
    of_library = losses.NegativeLogLikelihood.call

    def call(self, *arguments):
        traces.append(1)
        return of_library(self, *arguments)

    monkeypatch.setattr(losses.NegativeLogLikelihood, "call", call)
    monkeypatch.setattr(traced, "_kept", {})
    networks = [
        experiment.train_supervised(section, seed, checkpoints=checkpoints)
        for seed, checkpoints in [(0, None), (1, tmp_path)]
    ]
    count = len(traces)
    monkeypatch.setattr(Experiment, "_kind", lambda *_: "")
    for seed, network in enumerate(networks):
        alone = experiment.train_supervised(section, seed)
        for one, other in zip(alone.get_weights(), network.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(traces) == 3 * count  # Each of the last two traces a step of its own.


def test_softened_labels_follow_plain_ones_of_the_same_type(digits_config, monkeypatch):
    def with_numbers(examples):
        return examples.map(lambda x, y: (x, tf.cast(y, tf.float32)))

    digits_config.student.train.update({"steps": 2, "epochs": 1, "steps_per_execution": 1})
    experiment = Experiment(digits_config)
    parts = ("train", "validation", "test")
    changed = {name: with_numbers(getattr(experiment.splits, name)) for name in parts}
    experiment.splits = dataclasses.replace(experiment.splits, **changed)
    section, softened = experiment.config.student, settings.Labels(label_smoothing=0.1)
    monkeypatch.setattr(traced, "_kept", {})
    experiment.train_supervised(section, 0)
    second = experiment.train_supervised(section, 0, labels=softened)
    monkeypatch.setattr(traced, "_kept", {})
    assert_same_weights(second, experiment.train_supervised(section, 0, labels=softened))


@pytest.mark.slow
def test_a_later_process_goes_on_from_the_checkpoint_of_a_network_that_came_second(
    experiment, tmp_path, monkeypatch
):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 6:
                raise KeyboardInterrupt

    section, place = experiment.config.teacher, tmp_path / "one"
    experiment.checkpoint_every = {"every_steps": 2}
    monkeypatch.setattr(traced, "_kept", {})
    whole = [experiment.train_supervised(section, seed).get_weights() for seed in (0, 1)][1]
    with pytest.raises(KeyboardInterrupt):
        experiment.train_supervised(section, 1, [Stop()], place)
    monkeypatch.setattr(traced, "_kept", {})
    continued = experiment.train_supervised(section, 1, [keras.callbacks.Callback()], place)
    for one, other in zip(whole, continued.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("is_of_users", [False, True])
def test_networks_that_variables_do_not_tell_apart_are_trained_themselves(is_of_users):
    class Scaled(keras.layers.Layer):
        def call(self, inputs):
            return 2.0 * inputs

    layer = Scaled() if is_of_users else keras.layers.Normalization()
    network = keras.Sequential([keras.Input((3,)), layer, keras.layers.Dense(1)])
    with traced.compiled_for("a kind", network, None, lambda model: model) as model:
        assert model is network
