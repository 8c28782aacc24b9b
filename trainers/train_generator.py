"""Trains a generator of inputs for a learned sampler, a conditional VAE.

    python -m trainers.train_generator --config=configs/digits.py --workdir=runs/generator

learns from the training split alone, and writes WORKDIR/generator.keras, which
`ecl_tf.samplers.Generated` takes. A generator that is there already is kept. The last
line says how the other scripts sample from it, along with config.xcl.sampler.
"""

import math

import keras
from absl import app, flags

from ecl_tf import data
from ecl_tf.models import ConditionalVae
from trainers import optimizers, runtime
from trainers.experiment import Experiment, save_model

flags.adopt_module_key_flags(runtime)


def main(_):
    config = runtime.CONFIG.value
    experiment = Experiment(config)
    vae = build(experiment)  # Refuses what it can't learn before anything is written.
    path = runtime.claim(runtime.WORKDIR.value, config) / "generator.keras"
    if path.exists():
        runtime.announce(f"{path} is there already; nothing to train.")
    else:
        train(vae, experiment)
        save_model(vae.generator(), path)
        runtime.announce(f"Written to {path}.")
    sampler = sampler_with(path, config.xcl.sampler.to_dict())
    runtime.announce(f'To distil from it, too, give --config.xcl.sampler="{sampler}"')


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
    return ConditionalVae(splits.input_shape, splits.event_size, **arguments)


def train(vae, experiment):
    """Trains it on the training split.

    Raises:
        FloatingPointError: if the loss became NaN or infinite.
    """
    section = experiment.config.generator
    vae.compile(
        optimizers.build(section.train, section.train.get("weight_decay", 0.0)),
        steps_per_execution=section.train.steps_per_execution,
        jit_compile=False,
    )
    vae.fit(
        experiment.batches(section, experiment.config.seed),
        steps_per_epoch=section.train.steps,
        verbose=runtime.verbosity(),
        shuffle=False,
    )
    validation = data.evaluation_batches(experiment.splits.validation)
    scores = vae.evaluate(validation, verbose=0, return_dict=True)
    if not math.isfinite(scores["loss"]):
        raise FloatingPointError(
            f"The generator's loss became {scores['loss']}; nothing was written. Lower "
            "config.generator.train.learning_rate."
        )
    runtime.announce(f"validation {runtime.describe(scores)}")


def sampler_with(path, sampler):
    """A sampler's config with the generator as one more choice, as likely as the others."""
    parts = [sampler]
    if sampler["class_name"] == "Choice":
        parts = list(sampler["config"]["samplers"])
    parts.append({"class_name": "Generated", "config": {"model": str(path)}})
    return {"class_name": "Choice", "config": {"samplers": parts}}


if __name__ == "__main__":
    app.run(main)
