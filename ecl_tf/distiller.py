"""Extracurricular learning as a Keras model.

`Distiller.train_step` is the method. `_step.py` holds its parts, in the same order. `_loops.py`
runs it over data, `_settings.py` has it follow what is set after `compile`, `_exports.py` writes
the student, and `_checks/` holds what is refused.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from ecl_tf import _checks, divergences, outputs, samplers, teachers
from ecl_tf._exports import Exports
from ecl_tf._internal import (
    batches,
    directions,
    fake_quantization,
    features,
    finite,
    guarded,
    identity,
    legacy,
    own_inputs,
    require,
    shared_layers,
    symbolic,
)
from ecl_tf._internal.keras_fit import loss_scaling_policy, patch_fit
from ecl_tf._internal.row_means import RowMeans
from ecl_tf._label_metrics import LabelMetrics
from ecl_tf._loops import Loops
from ecl_tf._settings import DataFollowed, Settings
from ecl_tf._step import Labelled, Step


@keras.saving.register_keras_serializable("ecl_tf")
class Distiller(Step, Loops, Settings, Exports, keras.Model):
    """Trains a student to match a teacher's distribution beyond the training set.

    A training step (1) samples inputs x~ beyond the training set, (2) evaluates the
    output distributions of both networks there, and (3) minimises their divergence:

        min E_{x~ ~ sampler} [ T^2 D( p_T(. | x~), p_S(. | x~) ) ]
            + label_weight * E_{(x, y) ~ train} [ -log p_S(y | x) ]

    The teacher labels the sampled input itself. It runs in inference mode, outside the
    gradient tape, and is never trained, whatever its `trainable` says; it is left as it
    was found. With `label_weight` 0 no labels are needed. `label_rows` says on which rows
    labels are learned: on all rows of the batch, appended to the sampled ones, or on those
    sampled rows that stay as they are.

    In a step each network runs once, on the sampled rows: the teacher in inference mode, the
    student in training mode. A sampler that chooses by what the networks answer runs them on
    its candidates before: `ecl_tf.samplers.Uncertain` says what that costs.

    Args:
        student: a `keras.Model` giving raw outputs (logits; means and scales), typically
            a small one.
        teacher: a `keras.Model`, a sequence of them (an ensemble, typically of 2 to 5), or an
            `ecl_tf.Teacher`. Regressors that give points only: see `ecl_tf.outputs.Point`.
        output: "categorical" (the default), "normal", "bernoulli" or another name that
            `outputs.get` knows, an `ecl_tf.outputs.Output` (typically
            `Normal(d, target_mean=..., target_stddev=...)`), or a dict of them for networks with
            several named outputs.
        sampler: an `ecl_tf.samplers.Sampler`, its name or config. None, the default, is
            `samplers.recipe()`; `Empirical()` makes it ordinary distillation.
        divergence: "kl" (the default; teacher to student), "reverse_kl", "jeffreys",
            "jensen_shannon", "faithful" (of normal outputs: squared error for the mean), for
            classes one of `ecl_tf.relatives`, or a function of two distributions.
        temperature: T > 0, which softens both distributions before they are compared, for
            categorical outputs only. 1 by default; typically 1 to 4. (An output's own
            temperature, in contrast, belongs to what the network answers.)
        label_weight: the weight >= 0 of the labels' negative log-likelihood. 0 by default;
            typically 0 to 1.
        label_rows: "appended" (the default) appends the batch's own rows to the student's
            batch, which is then twice as large, unless the sampler is `Empirical`, whose rows
            they are already. "unmodified" takes the mean over those sampled rows that stay
            unmodified, on all replicas, and costs nothing; in a step with no such row it is 0. It
            needs a sampler that keeps rows, such as the default one.
        feature_losses: a list of `keras.distillation.FeatureDistillation`, added to the
            loss; None, the default, is none. They need a teacher that is a single functional
            model. Each is a mean over the batch, weighted as the divergence is; with several
            outputs by the mean of their weights of a row.
        seed: an integer, 0 by default. All of the sampler's randomness follows from it, the
            step and the row's number in the batch of all replicas.
        name: of the Keras model, "distiller" by default.
        quantization: None, the default, or "int8", which trains the student at the precision at
            which LiteRT serves it: its weights and activations are rounded as 8 bits would, and
            gradients go straight through. All that the distiller answers, logs and minimises is
            then of the rounded student; `student` keeps its weights in float32, and shares them.
            A sampler that chooses by what the student answers asks it in float32. The student has
            to be functional or sequential, in float32; a warning names the layers that stay in
            floating point.
        teacher_precision: None, the default, asks the teacher as it was made. "bfloat16" or
            "float16" asks it in that precision, as `ecl_tf.Ensemble(precision=...)` says; a
            teacher that can't is asked as it is, with a warning. "auto" has `fit` measure on its
            first batch whether bfloat16 takes at most 0.9 of the teacher's time and moves its
            answers by no more than 1e-3 nats in the mean, and say what it chose. The choice is
            kept with the weights, so that a training that goes on after a stop is the same; two
            trainings may choose differently.

    Raises:
        ValueError: if the networks don't fit each other or the output, a weight of one is NaN or
            infinite, or an argument is out of its range.

    Example:
    >>> import numpy as np
    >>> def network(width):
    ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width, "relu"),
    ...                              keras.layers.Dense(3)])
    >>> distiller = Distiller(network(4), network(32), output="categorical")
    >>> distiller.compile("adam")
    >>> history = distiller.fit(np.random.rand(64, 4).astype("float32"), verbose=0)
    >>> sorted(history.history)
    ['agreement', 'divergence', 'loss']

    Reference: Pouransari et al., "Extracurricular Learning: Knowledge Transfer Beyond
    Empirical Distribution", 2021. Only the abstract was at hand: the three sentences are
    its, the formulas are a reconstruction.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model | Sequence[keras.Model],
        *,
        output: str | dict | outputs.Output = "categorical",
        sampler: str | dict | samplers.Sampler | None = None,
        divergence: str | Callable = "kl",
        temperature: float = 1.0,
        label_weight: float = 0.0,
        label_rows: str = "appended",
        feature_losses: Sequence[keras.distillation.FeatureDistillation] | None = None,
        seed: int = 0,
        name: str = "distiller",
        quantization: str | None = None,
        teacher_precision: str | None = None,
    ):
        """Takes the arguments that the class describes."""
        legacy.refuse(student, "student")
        if not isinstance(student, keras.Model):
            raise ValueError(f"The student must be a keras.Model; got {student!r}.")
        # The networks cast for themselves: an input may need more than float16 until it is scaled.
        super().__init__(name=name, dtype=loss_scaling_policy(student), autocast=False)
        self.student = student
        self.output_kind = outputs.get(output, symbolic.shape_for(output, student, "student"))
        teacher = teachers.get(teacher, self.output_kind)
        self._take_teacher(teacher, teacher_precision, feature_losses)
        self.sampler = samplers.get(sampler)
        self.divergence = divergences.get(divergence)
        self._temperature: float | tf.Variable = require.number("temperature", temperature)
        self.label_weight = require.number("label_weight", label_weight)
        self.label_rows = _checks.settings.label_rows(label_rows)
        if isinstance(feature_losses, keras.distillation.FeatureDistillation):
            feature_losses = [feature_losses]
        self.feature_losses = tuple(feature_losses or ())  # A list could grow after it was read.
        self.seed = require.integer("seed", seed)
        _checks.settings.numbers(self.temperature, self.label_weight, self.output_kind)
        self.quantization = _checks.settings.quantization(quantization)
        self.quantized = quantization and fake_quantization.FakeQuantized(student)
        if self.quantized:
            self.ranges = self.quantized.ranges  # Their weights are saved, not trained.
        self._features = features.FeatureLosses(
            self.feature_losses, self.teacher, student, self.quantized
        )
        self.generators = list(self.sampler.models)  # Their weights are saved, not trained.
        self._require_fit()
        self._begin_counting()
        self.built = student.built
        self._is_made = True  # From now on settings are followed, or refused.

    def _require_fit(self):
        """Refuses networks and settings that don't fit each other."""
        networks = self._networks()
        _checks.networks.require_fit(networks)
        finite.require_weights(self.student, "student")
        labelled = self.sampler, self.label_weight, self.label_rows
        _checks.settings.labelled_rows(*labelled)
        _checks.rows.row_counts(networks, self.sampler, _checks.settings.appends(*labelled))
        self.sampler.validate_networks(networks)
        _checks.settings.generators(self.generators)

    def _begin_counting(self):
        """Makes the counter of steps, the logged means, and what is known of steps and data."""
        self.step = self.add_weight(
            dtype="int64", trainable=False, aggregation="only_first_replica", name="step"
        )
        closeness = self.output_kind.closeness_names
        self.means = RowMeans(["loss", "divergence", *closeness, "label_loss", "feature_loss"])
        self.non_finite = finite.NonFiniteCount()
        self._input_specs = None  # The last traced batch's.
        # Of each kind of step: its metrics, and the names of those of their results that it logs.
        self._logged_metrics: dict[str, list] = {"train": [], "test": []}
        self._logged_names: dict[str, list[str]] = {"train": [], "test": []}
        self._data_followed = {"train": DataFollowed(), "test": DataFollowed()}
        self._changes_followed = samplers.changes_of(self.sampler)
        self._followed = None
        self._mode = "train"  # The kind of step under way.
        self._is_fitting = False

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        loss: None = None,
        metrics: list | dict | None = None,
        weighted_metrics: list | dict | None = None,
        teacher_metrics: bool = False,
        evaluate_teacher: bool = True,
        jit_compile: bool = False,
        **kwargs: Any,
    ) -> None:
        """Configures the student's training, as `keras.Model.compile` does.

        Args:
            optimizer: the student's optimizer, "adam" by default; typically one with a
                learning-rate schedule.
            loss: must be None, the default: the loss is the divergence.
            metrics: metrics of the student against labels: a list, or a dict of lists
                for several outputs; None by default, typically ["accuracy"]. They see
                unmodified rows only. Keras's own and functions get probabilities or means (logits
                where they say `from_logits=True`, or have an attribute `takes_logits = True`).
            weighted_metrics: the same, weighted by `sample_weight`; None by default.
            teacher_metrics: whether `evaluate` and validation compute the same metrics
                of the teacher, named `teacher_...`; False by default.
            evaluate_teacher: True by default. False leaves the teacher out of `evaluate` and
                validation; there are then no divergence and no loss, only the metrics.
            jit_compile: whether XLA compiles the step; False by default. Unlike Keras's
                "auto" it means the same on every machine.
            **kwargs: as in `keras.Model.compile`.

        Raises:
            ValueError: if a loss is given or weights of one, metrics that don't fit the output, or
                an optimizer with a setting that is NaN or infinite; or within `fit`.
        """
        if self._is_fitting:
            raise ValueError(
                "compile was called within fit, for example by a callback, where the step under "
                "way and the optimizer can't be exchanged. Compile between two calls of fit, or "
                "set what changes: distiller.optimizer.learning_rate, temperature, label_weight."
            )
        asks_teacher = evaluate_teacher and self.teacher.answers_new_inputs
        has_metrics, loss_weights = metrics or weighted_metrics, kwargs.get("loss_weights")
        _checks.settings.compilation(loss, loss_weights, has_metrics, teacher_metrics, asks_teacher)
        self._label_metric_arguments = {
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
            "teacher_metrics": teacher_metrics,
            "evaluate_teacher": evaluate_teacher,
        }
        with self.distribute_strategy.scope():  # For an optimizer that is named.
            super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
            _checks.settings.optimizer(self.optimizer)
            self._label_metrics = LabelMetrics(self.output_kind, metrics, weighted_metrics)
            of_teacher = (metrics, weighted_metrics) if teacher_metrics else (None, None)
            self._teacher_metrics = LabelMetrics(self.output_kind, *of_teacher, prefix="teacher_")
            for each in (self._label_metrics, self._teacher_metrics):
                each.build(symbolic.shape_for(self.output_kind, self.student, "student"))
        self._label_metrics.require_names_beside(self.means.names)
        self._teacher_metrics.require_room_for(self.teacher.output_kind)
        patch_fit(self)
        # Keras resets the metrics it finds among a model's attributes.
        self._tracked_metrics = self._label_metrics.metrics + self._teacher_metrics.metrics
        self._evaluate_teacher = asks_teacher

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        if not self.compiled:
            return config
        return {**config, **keras.saving.serialize_keras_object(self._label_metric_arguments)}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        arguments = keras.saving.deserialize_keras_object(config)
        # Versions that did not refuse such weights left them out.
        arguments["loss_weights"] = None
        try:
            self.compile(**arguments)
        except ValueError as error:  # Of metrics that earlier versions took.
            raise ValueError(f"{error} (A file that holds it loads with compile=False.)") from error
        if self.built:
            self.optimizer.build(self.trainable_variables)

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """The student's: the teacher is never trained, whatever its `trainable` says."""
        return self.student.trainable_weights

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        return self.student.trainable_variables

    @property
    def non_trainable_weights(self) -> list[keras.Variable]:
        """All others, the teacher's among them."""
        trained = {id(weight) for weight in self.trainable_weights}
        return [weight for weight in self.weights if id(weight) not in trained]

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        trained = {id(weight) for weight in self.trainable_weights}
        return [variable for variable in self.variables if id(variable) not in trained]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics, and a list of the directions of all that is logged, for callbacks."""
        if not self.compiled:
            return super().metrics
        return [*super().metrics, directions.Directions(self.means.names, self._tracked_metrics)]

    @property
    def metrics_names(self) -> list[str]:
        """The names of the numbers that the last `evaluate` returned as a list, in its order."""
        found = self._flatten_metrics_in_order({name: name for name in self._logged_names["test"]})
        return [found] if isinstance(found, str) else found

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns the student's raw output."""
        inputs = samplers.inputs_of(inputs)  # Keras tries a batch of the data as it is.
        if self.quantized:
            return self.quantized(inputs, training=bool(training))
        return self.student(own_inputs.of(self.student, inputs), training=training)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        x, y, sample_weight = batches.unpack(data)
        _checks.step.batch(x, y, sample_weight, self._networks())
        x = _checks.step.of_equal_rows(x, y, sample_weight)
        _checks.networks.trained(self.student)
        self._input_specs = batches.specs(samplers.inputs_of(x))
        ranges = self.quantized.variables if self.quantized else []
        before = guarded.read([self.step, *ranges, *guarded.changed_by_passes(self.student)])

        # 1. Sample inputs beyond the training set.
        rows = self._sample(x, y, sample_weight)

        # 2. Evaluate both output distributions there.
        teacher = self._ask_teacher_about(rows)
        with tf.GradientTape() as tape:
            raw, student, labelled = self._ask_student_about(rows)

            # 3. Minimise their divergence.
            loss = self._row_losses(teacher, student, rows.sample_weight, labelled)
            scaled = self.optimizer.scale_loss(tf.reduce_sum(loss) / rows.count)
        _checks.networks.trained(self.student)  # It may have been built by its call.
        weights = self.trainable_weights
        gradients = tape.gradient(scaled, weights)
        _checks.step.gradients(gradients, self.divergence)
        counts, is_bad = self._count_non_finite(x, rows, teacher, raw, labelled, loss, gradients)
        with tf.control_dependencies(keras.tree.flatten(x)):  # As in _next_seed.
            guarded.apply(self.optimizer, gradients, weights, ~is_bad, before)
        now = [weight.value for weight in self.student.weights]
        self.non_finite.update_state(counts, is_bad, now)
        self._changes_followed = samplers.changes_of(self.sampler)

        if y is None or not self._labels_hold(rows):
            return self._log("train", [self.means])
        unmodified = None if rows.are_appended else rows.samples.unmodified
        return self._log("train", [self.means, *self._compare(labelled, unmodified)])

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        x, y, sample_weight = batches.unpack(data)
        _checks.step.batch(x, y, sample_weight, self._networks())
        x = _checks.step.of_equal_rows(x, y, sample_weight)
        raw, *others = self._ask_student(x, training=False)
        student = self._answer(finite.nan_where_inputs_are_not(raw, x), *others)
        labelled = Labelled(student, y, sample_weight)
        logged, loss, teacher_raws = [], (), ()
        if self._evaluate_teacher:
            teacher = self._ask_teacher(x)
            teacher_raws = teacher.raw
            loss = self._row_losses(teacher, student, sample_weight, labelled, training=False)
            logged.append(self.means)
        if y is not None:
            logged += self._compare(labelled)
            if self._teacher_metrics.metrics:
                its_raw = self.output_kind.raw(teacher.distribution)
                self._teacher_metrics.update(y, its_raw, None, sample_weight, student.masks)
                logged += self._teacher_metrics.metrics
        wrong = self._wrong_labels(labelled)
        refusals = self._refusals("test", x, student.raw, teacher_raws)
        counts, _ = self.non_finite.count(
            x, teacher_raws, student.raw, loss, (), labels=wrong, refusals=refusals
        )
        self.non_finite.update_state(counts)
        if not logged:
            raise ValueError(
                "There is nothing to evaluate: evaluate_teacher is False, or the teacher a store, "
                "and there are no labels or no metrics."
            )
        return self._log("test", logged)

    def _compare(self, labelled, unmodified=None):
        """Updates the metrics of labels on rows that stay unmodified, or on all; returns them."""
        answer, labels, weight, _ = labelled
        self._label_metrics.update(labels, answer.raw, unmodified, weight, answer.masks)
        return self._label_metrics.metrics

    @property
    def uses_labels(self) -> bool:
        """Whether labels, where there are any, have a say in the loss or in metrics."""
        return self.label_weight > 0.0 or bool(self.compiled and self._label_metrics.metrics)

    def require_metrics_fit(self, labels: Any, raw: Any) -> None:
        """Raises ValueError if a metric does not take such labels, or such answers.

        Args:
            labels: labels, or specs of them.
            raw: specs of the student's raw output.
        """
        if self.compiled:
            with self.distribute_strategy.scope():
                shape = keras.tree.map_structure(lambda spec: tuple(spec.shape), raw)
                for each in (self._label_metrics, self._teacher_metrics):
                    each.build(shape)
                    each.validate(labels, raw)

    def _log(self, mode, metrics):
        unused = {"label_loss"} if self.label_weight == 0.0 else set()
        unused |= set() if self.feature_losses else {"feature_loss"}
        results = {name: value for name, value in _results(metrics).items() if name not in unused}
        self._logged_metrics[mode], self._logged_names[mode] = metrics, list(results)
        return results

    def get_metrics_result(self) -> dict[str, tf.Tensor]:
        """Returns what the last kind of step logged, over all replicas.

        Keras takes these values in place of the step's own, which are one replica's, if
        the names are the same.
        """
        results = _results(self._logged_metrics[self._mode])
        return {name: results[name] for name in self._logged_names[self._mode]}

    def describe_method(self) -> dict[str, Any]:
        """What tells this training from another one of networks of the same shapes.

        Returns:
            A dict of the settings and of the teacher's fingerprint, as JSON holds it.
        """
        return {
            "output": identity.config_of(self.output_kind),
            "sampler": identity.config_of(self.sampler),
            "divergence": divergences.name_of(self.divergence) or "a function",
            "temperature": self.temperature,
            "label_weight": self.label_weight,
            # What is not said is left out, as by versions that did not know of it.
            **({} if self.label_rows == "appended" else {"label_rows": self.label_rows}),
            **({"quantization": self.quantization} if self.quantization else {}),
            "seed": self.seed,
            **({"teacher_precision": "auto"} if self.teacher_precision == "auto" else {}),
            "teacher_output": identity.config_of(self.teacher.output_kind),
            "teacher": self.teacher.fingerprint(),
            "members_per_step": getattr(self.teacher, "members_per_step", None),
            "feature_losses": [identity.config_of(loss) for loss in self.feature_losses],
        }

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Saves as `keras.Model.save` does; warns of HDF5, of which Keras finds no own classes."""
        if str(filepath).endswith((".h5", ".hdf5")):
            warnings.warn(
                f"{filepath} will load only with custom_objects={{'Distiller': ecl_tf.Distiller, "
                "...}, of all classes that are not Keras's. Give a name that ends with .keras.",
                stacklevel=2,
            )
        super().save(filepath, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        names = ("student", "teacher", "sampler", "temperature", "label_weight", "label_rows")
        own = {name: getattr(self, name) for name in names}
        own |= {
            "seed": self.seed,
            "name": self.name,
            "output": self.output_kind,
            "divergence": divergences.name_of(self.divergence) or self.divergence,
            "feature_losses": list(self.feature_losses),
        }
        if self.quantization:
            own["quantization"] = self.quantization
        if self.teacher_precision == "auto":  # Otherwise the teacher holds it.
            own["teacher_precision"] = "auto"
        networks = [*self._members(), self.student]
        places = shared_layers.find(networks)
        shared_layers.require_apart(self.generators, networks)
        config = shared_layers.config_of(own, networks, places)
        return {**config, "shared_layers": places} if places else config

    def _members(self):
        return list(getattr(self.teacher, "members", [self.teacher]))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Distiller":
        arguments = keras.saving.deserialize_keras_object(config)
        if places := arguments.pop("shared_layers", []):
            # The members share their layers already: the teacher is rebuilt by itself.
            members = list(getattr(arguments["teacher"], "members", ()))
            of_student = [place for place in places if place[0] == len(members)]
            networks = shared_layers.rebuilt([*members, arguments["student"]], of_student)
            arguments["student"] = networks[-1]
        return cls(**arguments)


def _results(metrics):
    """The results of metrics by name; one metric may have several."""
    results = {}
    for metric in metrics:
        result = metric.result()
        results.update(result if isinstance(result, dict) else {metric.name: result})
    return results
