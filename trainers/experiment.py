"""From a configuration to data, networks, training and scores."""

import keras
import tensorflow as tf

import ecl_tf
from ecl_tf import data, metrics, models, outputs, samplers
from ecl_tf.samplers import random
from trainers import runtime


class Experiment:
    """What a configuration describes, built: data, output, networks, training.

    Args:
        config: a `ConfigDict`; `configs/digits.py` shows all of its settings.

    Raises:
        ValueError: if a setting is unknown or out of its range.
    """

    def __init__(self, config):
        self.config = config
        self.splits = data.load(**config.data.to_dict())
        self.output = outputs.get(_plain(config.output))
        self.score_name = config.score
        if config.score not in self._metrics(self.output):
            raise ValueError(
                f"config.score={config.score!r} does not fit the output {self.output!r}; "
                f"expected one of {sorted(self._metrics(self.output))}."
            )

    @property
    def higher_is_better(self):
        return self.score_name == "accuracy"

    def network(self, section, output=None):
        """A new network as config.teacher or config.student describes it."""
        output = self.output if output is None else output
        return models.build(
            input_shape=self.splits.input_shape,
            units=output.raw_size(self.splits.event_size),
            **section.network.to_dict(),
        )

    def batches(self, section, seed):
        """Endless training batches for config.teacher or config.student."""
        return data.training_batches(self.splits.train, section.train.batch_size, seed)

    def erm_batches(self, section, seed, label_smoothing=0.0, mixup_alpha=0.0):
        """Training batches whose labels are smoothed, or mixed along with the inputs."""
        batches = self.batches(section, seed)
        if self.output.family == "categorical" and (label_smoothing or mixup_alpha):
            classes = self.splits.event_size

            def soften(x, y):
                return x, tf.one_hot(y, classes) * (1 - label_smoothing) + label_smoothing / classes

            batches = batches.map(soften)
        if mixup_alpha:
            mixup = samplers.Mixup(mixup_alpha)
            batches = batches.enumerate().map(
                lambda step, xy: mixup(xy, random.fold_in(seed, step)).inputs
            )
        return batches

    def optimizer(self, section):
        """Adam with a learning rate that falls to zero along a cosine."""
        train = section.train
        return keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(train.learning_rate, train.steps)
        )

    def train_supervised(self, section, seed, **labels):
        """Trains a network on the labels alone (a teacher, or ERM); returns it."""
        keras.utils.set_random_seed(seed)
        model = self.network(section)
        model.compile(
            self.optimizer(section),
            ecl_tf.losses.NegativeLogLikelihood(self.output),
            steps_per_execution=section.train.steps_per_execution,
            jit_compile=False,
        )
        _fit(model, self.erm_batches(section, seed, **labels), section.train)
        return model

    def distiller(self, teacher, seed, output=None, **arguments):
        """A compiled `ecl_tf.Distiller` with a new student."""
        keras.utils.set_random_seed(seed)
        section = self.config.student
        output = self.output if output is None else output
        student = self.network(section, output)
        distiller = ecl_tf.Distiller(student, teacher, output=output, seed=seed, **arguments)
        distiller.compile(
            self.optimizer(section), steps_per_execution=section.train.steps_per_execution
        )
        return distiller

    def train_distilled(self, teacher, seed, output=None, **arguments):
        """Trains a student on the teacher's distributions; returns the student."""
        distiller = self.distiller(teacher, seed, output, **arguments)
        _fit(distiller, self.batches(self.config.student, seed), self.config.student.train)
        return distiller.student

    def xcl_arguments(self):
        """The `Distiller` arguments of config.xcl."""
        return _plain(self.config.xcl)

    def evaluate(self, model, split, output=None):
        """Scores a model's raw outputs on a split ("validation" or "test").

        Returns:
            A dict from metric name to float: the score, `nll` and a calibration.
        """
        measures = self._metrics(self.output if output is None else output)
        for x, y in data.evaluation_batches(getattr(self.splits, split)):
            raw = model(x)
            for metric in measures.values():
                metric.update_state(y, raw)
        return {name: float(metric.result()) for name, metric in measures.items()}

    def _metrics(self, output):
        if output.family == "categorical":
            return {
                "accuracy": keras.metrics.SparseCategoricalAccuracy(),
                "nll": metrics.NegativeLogLikelihood(output),
                "ece": metrics.ExpectedCalibrationError(),
            }
        return {
            "angular_error": metrics.AngularError(output),
            "nll": metrics.NegativeLogLikelihood(output),
            "coverage": metrics.GaussianCoverage(output, level=0.95),
        }


def train_teacher(experiment, workdir):
    """Trains the members of the teacher that are not in the work directory yet.

    Returns:
        The `ecl_tf.Ensemble` of all members.
    """
    section = experiment.config.teacher
    directory = workdir / "teacher"
    directory.mkdir(exist_ok=True)
    for number in range(section.members):
        path = directory / f"member_{number}.keras"
        if path.exists():
            runtime.announce(f"[teacher {number + 1}/{section.members}] found in {path}")
            continue
        runtime.announce(f"[teacher {number + 1}/{section.members}]")
        member = experiment.train_supervised(section, experiment.config.seed + number)
        save_model(member, path)
    return load_teacher(experiment, directory)


def load_teacher(experiment, directory):
    """The ensemble of the .keras files in a directory.

    Raises:
        ValueError: if there are none.
    """
    paths = sorted(directory.glob("*.keras"))
    if not paths:
        raise ValueError(
            f"There is no teacher in {directory}: it holds no .keras file. Train one with "
            "python -m trainers.train_teacher, or name another directory with --teacher."
        )
    members = [keras.models.load_model(path, compile=False) for path in paths]
    return ecl_tf.Ensemble(members, experiment.output)


def save_model(model, path):
    """Saves a .keras file whole or not at all."""
    temporary = path.with_name(f"{path.stem}.tmp.keras")
    model.save(temporary)
    temporary.replace(path)


def _fit(model, batches, train):
    model.fit(
        batches, epochs=1, steps_per_epoch=train.steps, verbose=runtime.verbosity(), shuffle=False
    )


def _plain(value):
    return value.to_dict() if hasattr(value, "to_dict") else value
