"""A conditional VAE of an experiment, as a generator of its inputs."""

import functools
import math

import keras

from ecl_tf import data
from ecl_tf._internal import keras_fit
from ecl_tf.experiments import fitting, optimizers, strategies, work_directory
from ecl_tf.models import ConditionalVae


def build(experiment):
    """A new `ConditionalVae` as config.generator describes it.

    Raises:
        ValueError: if there is no such section, or the examples are not one input in
            [0, 1] and a class.
    """
    if "generator" not in experiment.config:
        raise ValueError(
            "The config has no section `generator`, which says what to train: see the one of "
            "configs/digits.py."
        )
    if experiment.output.family != "categorical":
        raise ValueError(
            "A conditional VAE generates examples of a class, and this experiment has none: its "
            f"output is {experiment.output!r}."
        )
    splits = experiment.splits
    if not isinstance(splits.input_shape, tuple):
        raise ValueError(
            "A conditional VAE generates one tensor, and this experiment's inputs are a nest of "
            f"them: {splits.input_shape}."
        )
    x, _ = next(iter(data.evaluation_batches(splits.validation)))
    lowest, highest = float(keras.ops.min(x)), float(keras.ops.max(x))
    if lowest < 0.0 or highest > 1.0:
        raise ValueError(
            "A conditional VAE generates inputs in [0, 1], and this experiment's reach from "
            f"{lowest:g} to {highest:g}. Rescale the data."
        )
    keras.utils.set_random_seed(experiment.config.seed)
    arguments = experiment.config.generator.to_dict()
    del arguments["train"]
    with strategies.current().scope():
        vae = ConditionalVae(splits.input_shape, splits.event_size, **arguments)
    strategies.prepare(vae, experiment.config.generator.train.batch_size)
    return vae


def train(vae, experiment, checkpoints=None):
    """Trains it on the training split.

    Raises:
        FloatingPointError: if the loss became NaN or infinite.
    """
    section = experiment.config.generator
    with strategies.current().scope():
        vae.compile(
            optimizers.build(section.train, section.train.get("weight_decay", 0.0)),
            steps_per_execution=strategies.steps_per_execution(section.train),
            jit_compile=False,
        )
    keras_fit.patch_fit(vae)
    batches = functools.partial(experiment.batches, section, experiment.config.seed)
    fitting.fit(vae, batches, section.train, checkpoints)
    validation = data.evaluation_batches(experiment.splits.validation)
    scores = vae.evaluate(validation, verbose=0, return_dict=True)
    if not math.isfinite(scores["loss"]):
        raise FloatingPointError(
            f"The generator's loss became {scores['loss']}; nothing was written. Lower "
            "config.generator.train.learning_rate."
        )
    work_directory.announce(f"validation {work_directory.describe(scores)}")


def sampler_with(path, sampler):
    """A sampler's config with the generator as one more choice, as likely as the others."""
    parts = [sampler]
    if sampler["class_name"] == "Choice":
        parts = list(sampler["config"]["samplers"])
    parts.append({"class_name": "Generated", "config": {"model": str(path)}})
    return {"class_name": "Choice", "config": {"samplers": parts}}
