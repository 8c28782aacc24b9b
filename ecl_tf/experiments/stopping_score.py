"""What has to fall for a training of `train.steps="auto"` to go on.

Of numbers it is the error that decides, on validation labels. A Gaussian's likelihood and its
divergence would end trainings on few rows early: its scale overfits long before its mean has
learned all.

Of classes it is the method's own loss on validation inputs, as accuracy moves by whole rows: the
labels' negative log-likelihood, or the student's divergence from the teacher (at the method's
temperature, with its label weight).
"""

from collections.abc import Callable

import keras
import numpy as np

import ecl_tf
from ecl_tf import data, metrics
from ecl_tf._internal import random
from ecl_tf.experiments import lengths, refusals, settings, strategies

Score = Callable[[keras.Model], float]

_FRESH_ROWS = 2048  # Samples in the place of validation inputs.


def on_labels(experiment, train: settings.Train) -> Score | None:
    """The loss, or the error, on validation labels of a network that is trained on labels.

    Args:
        train: the `settings.Train`; None is returned unless it ends by itself.

    Raises:
        ValueError: if it does, and there are no validation labels.
    """
    if not lengths.is_auto(train):
        return None
    splits = experiment.splits
    refusals.require_validation(
        splits,
        'train.steps="auto" of a training on labels needs validation data',
        "or give a number of steps.",
    )
    if not experiment.higher_is_better:
        return lambda model: _error(experiment, model, experiment.output)
    validation = data.evaluation_batches(splits.validation, train.batch_size)
    return lambda model: model.evaluate(validation, verbose=0, return_dict=True)["loss"]


def of_distillation(experiment, distiller, teacher) -> Score | None:
    """The loss of a distiller on validation inputs, or its student's error there.

    Without validation data it is the divergence on samples of the training data, whose seeds are
    apart from all of the training's. With a store's teacher, which answers no new inputs, it is
    the negative log-likelihood of validation labels.

    Args:
        distiller: the `ecl_tf.Distiller`. Its own teacher may be a store's in any case.

    Returns:
        A function of the distiller; None unless config.student.train ends by itself.

    Raises:
        ValueError: if there is neither validation data nor a teacher, or a sampler that asks the
            networks in the place of validation data.
    """
    splits, train = experiment.splits, experiment.config.student.train
    if not lengths.is_auto(train):
        return None
    if not (splits.has_validation or teacher.answers_new_inputs):
        raise ValueError(
            'config.student.train.steps="auto" needs validation data, or the teacher itself, and '
            "here are stored answers alone. Give a number of steps."
        )
    if splits.has_validation and not experiment.higher_is_better:
        return lambda model: _error(experiment, model.student, model.output_kind)
    likelihood = metrics.NegativeLogLikelihood(distiller.output_kind)
    if splits.has_validation:
        batches = data.evaluation_batches(splits.validation, train.batch_size)
    else:
        batches = _fresh_samples(experiment, distiller.sampler)
    with strategies.current().scope():
        measured = ecl_tf.Distiller(
            distiller.student,
            teacher,
            output=distiller.output_kind,
            sampler="Empirical",
            divergence=distiller.divergence,
            temperature=distiller.temperature,
            label_weight=distiller.label_weight if splits.has_validation else 0.0,
        )
        measured.compile("sgd", metrics=None if teacher.answers_new_inputs else [likelihood])
    name = "loss" if teacher.answers_new_inputs else likelihood.name
    return lambda model: measured.evaluate(batches, verbose=0, return_dict=True)[name]


def _error(experiment, model, output):
    """The chief's: rounding must not let workers end at different steps."""
    error = np.float64(experiment.evaluate(model, "validation", output)[experiment.score_name])
    return float(np.int64(strategies.of_chief(int(error.view(np.int64)))).view(np.float64))


def _fresh_samples(experiment, sampler):
    """Batches of samples as a student's, which no training draws: their seeds are negative."""
    while sampler.asks_networks and hasattr(sampler, "base"):
        sampler = sampler.base
    if sampler.asks_networks:
        raise ValueError(
            'config.student.train.steps="auto" without validation data measures the student on '
            f"fresh samples, and {type(sampler).__name__} asks the networks for its own. Hold "
            "validation data out, or give a number of steps."
        )
    if any(part.mixes_within for part in sampler.parts):
        raise ValueError(
            'config.student.train.steps="auto" without validation data measures the student on '
            "fresh samples, and Embedded mixes its own within the networks. Hold validation data "
            "out, or give a number of steps."
        )
    section, seed = experiment.config.student, -1 - experiment.config.seed
    batches = experiment.batches(section, seed).take(-(-_FRESH_ROWS // section.train.batch_size))
    return batches.enumerate().map(
        lambda number, batch: (sampler(batch[0], random.fold_in(seed, number)).inputs,)
    )
