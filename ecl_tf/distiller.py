"""Extracurricular learning as a Keras model."""

import keras
import tensorflow as tf

from ecl_tf import divergences, export, outputs, samplers, teachers, uncertainty
from ecl_tf._internal import batches, features, identity, keras_fit, random, replicas, symbolic
from ecl_tf._internal.finite import NonFiniteCount, StopOnNonFinite
from ecl_tf._internal.row_means import RowMeans
from ecl_tf._label_metrics import LabelMetrics


@keras.saving.register_keras_serializable("ecl_tf")
class Distiller(keras.Model):
    """Trains a student to match a teacher's distribution beyond the training set.

    A training step (1) samples inputs x~ beyond the training set, (2) evaluates the
    output distributions of both networks there, and (3) minimises their divergence:

        min E_{x~ ~ sampler} [ T^2 D( p_T(. | x~), p_S(. | x~) ) ]
            + label_weight * E_{(x, y) ~ train} [ -log p_S(y | x) ]

    The teacher labels the sampled input itself. It runs in inference mode, outside the
    gradient tape, and is never trained, whatever its `trainable` says; it is left as it
    was found. Each network runs once a step. With `label_weight` 0 no labels are needed.
    With a label weight the unmodified rows are appended to the student's batch, unless
    the sampler is `Empirical`, whose rows they are already.

    Args:
        student: a `keras.Model` giving raw outputs (logits; means and scales).
        teacher: a `keras.Model`, a sequence of them (an ensemble), or an
            `ecl_tf.Teacher`. Regressors that give points only: see `ecl_tf.outputs.Point`.
        output: "categorical", "normal", "bernoulli", an `ecl_tf.outputs.Output`, or a
            dict of them for networks with several named outputs.
        sampler: an `ecl_tf.samplers.Sampler`; None is `samplers.recipe()`, and
            `Empirical()` makes it ordinary distillation.
        divergence: "kl" (teacher to student), "reverse_kl", "jeffreys",
            "jensen_shannon", or a function of two distributions.
        temperature: T > 0, for categorical outputs.
        label_weight: the weight >= 0 of the labels' negative log-likelihood.
        feature_losses: a list of `keras.distillation.FeatureDistillation`, added to the
            loss; needs a teacher that is a single functional model. It is a mean over the batch,
            in which sample weights have no say.
        seed: integer; all of the sampler's randomness follows from it, the step and the
            row's number in the batch of all replicas.

    Raises:
        ValueError: if the networks don't fit each other or the output, or an argument
            is out of its range.

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
    Empirical Distribution", 2021, of which only the abstract was at hand: the three
    sentences are its, the formulas are a reconstruction.
    """

    def __init__(
        self,
        student,
        teacher,
        *,
        output="categorical",
        sampler=None,
        divergence="kl",
        temperature=1.0,
        label_weight=0.0,
        feature_losses=None,
        seed=0,
        name="distiller",
    ):
        if not isinstance(student, keras.Model):
            raise ValueError(f"The student must be a keras.Model; got {student!r}.")
        # The networks cast for themselves: an input may need more than float16 until it is scaled.
        super().__init__(name=name, dtype=_dtype_policy(student), autocast=False)
        self.student = student
        self.output_kind = outputs.get(output, symbolic.output_shape(student))
        self.teacher = teachers.get(teacher, self.output_kind)
        self.sampler = samplers.get(sampler)
        self.divergence = divergences.get(divergence)
        self.temperature = float(temperature)
        self.label_weight = float(label_weight)
        self.feature_losses = list(feature_losses or [])
        self.seed = int(seed)
        self._validate_arguments()
        features.validate(self.feature_losses, self.teacher, self.student)
        self._feature_means = [features.unreduced(loss) for loss in self.feature_losses]
        self._validate_networks()
        self.sampler.validate_networks(self._networks())
        self.generators = list(self.sampler.models)  # Their weights are saved, not trained.
        if len({id(model) for model in self.generators}) < len(self.generators):
            raise ValueError(
                "The sampler draws from one generator in two places, of which Keras would save "
                "only the first. Give one of them a copy: keras.models.clone_model, with its "
                "weights set."
            )

        student_layers = [loss.student_layer_name for loss in self.feature_losses]
        self._run_student = features.runner(student, student_layers)
        if self.feature_losses:
            teacher_layers = [loss.teacher_layer_name for loss in self.feature_losses]
            self._run_teacher_member = features.runner(self.teacher.members[0], teacher_layers)

        self.step = self.add_weight(
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
            name="step",
        )
        named = ["loss", "divergence", *self.output_kind.closeness_names]
        named += ["label_loss"] if self.label_weight > 0.0 else []
        named += ["feature_loss"] if self.feature_losses else []
        self.means = RowMeans(named)
        self.non_finite = NonFiniteCount()
        self._input_specs = None  # Of the last batch that was traced.
        # Names of what each kind of step returns.
        self._logged: dict[str, list[str]] = {"train": [], "test": []}
        self._mode = "train"
        self.built = student.built

    def _validate_arguments(self):
        if not 0.0 < self.temperature < float("inf"):
            raise ValueError(
                f"temperature must be a positive number; got {self.temperature}. 1 leaves the "
                "distributions as they are, larger values soften them."
            )
        if self.temperature != 1.0 and not self.output_kind.takes_temperature:
            raise ValueError(
                f"temperature={self.temperature} needs a categorical output; a "
                f"{self.output_kind.family} one takes temperature=1."
            )
        if not 0.0 <= self.label_weight < float("inf"):
            raise ValueError(f"label_weight must be a number >= 0; got {self.label_weight}.")
        of_teacher = {id(variable) for variable in self.teacher.variables}
        shared = [v.path for v in self.student.trainable_variables if id(v) in of_teacher]
        if shared:
            raise ValueError(
                f"The student shares trainable weights with the teacher ({shared[0]!r} and "
                f"{len(shared) - 1} more), so training it would change the teacher. Give it "
                "weights of its own, e.g. with keras.models.clone_model."
            )

    def _validate_networks(self, inputs=None):
        """Checks that both networks' outputs fit `output` and each other."""
        symbolic.require_raw(self.output_kind, self.student, "student")
        student_shape = symbolic.output_shape(self.student, inputs)
        if student_shape is not None:
            self.output_kind.validate(student_shape, "student")
        members = getattr(self.teacher, "members", [])
        for member in members:
            shape = symbolic.output_shape(member, inputs)
            if shape is None:
                continue
            its_output = self.teacher.output_kind
            its_output.validate(shape, "teacher")
            if its_output.family != self.output_kind.family:
                raise ValueError(
                    f"The teacher's output {its_output!r} is of another family than the "
                    f"student's, {self.output_kind!r}; they must be the same to be matched."
                )
            if student_shape is None:
                continue
            sizes = its_output.event_size(shape), self.output_kind.event_size(student_shape)
            if sizes[0] != sizes[1]:
                raise ValueError(
                    f"Teacher and student don't fit each other: the teacher "
                    f"({member.name!r}) gives {sizes[0]} classes or target dimensions, the "
                    f"student {sizes[1]}. Change the size of the student's last layer."
                )

    def compile(
        self,
        optimizer="adam",
        loss=None,
        metrics=None,
        weighted_metrics=None,
        teacher_metrics=False,
        evaluate_teacher=True,
        jit_compile=False,
        **kwargs,
    ):
        """Configures the student's training, as `keras.Model.compile` does.

        Args:
            optimizer: the student's optimizer.
            loss: must be None: the loss is the divergence.
            metrics: metrics of the student against labels: a list, or a dict of lists
                for several outputs. They see unmodified rows only. Keras's own get
                probabilities or means (logits where they say `from_logits=True`).
            weighted_metrics: the same, weighted by `sample_weight`.
            teacher_metrics: whether `evaluate` and validation compute the same metrics
                of the teacher, named `teacher_...`.
            evaluate_teacher: False leaves the teacher out of `evaluate` and validation;
                there are then no divergence and no loss, only the metrics.
            jit_compile: whether XLA compiles the step. Unlike Keras's "auto" it means
                the same on every machine.
            **kwargs: as in `keras.Model.compile`.
        """
        if loss is not None:
            raise ValueError(
                "A Distiller's loss is the divergence from the teacher, so compile takes no "
                "loss; use label_weight=... to learn from labels as well."
            )
        asked = evaluate_teacher and self.teacher.answers_new_inputs
        if teacher_metrics and not (asked and (metrics or weighted_metrics)):
            raise ValueError(
                "teacher_metrics=True needs metrics to compute, evaluate_teacher=True, and a "
                "teacher that answers other inputs than a store's."
            )
        with self.distribute_strategy.scope():  # For an optimizer that is named.
            super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        keras_fit.mend(self)
        self._label_metric_arguments = {
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
            "teacher_metrics": teacher_metrics,
            "evaluate_teacher": evaluate_teacher,
        }
        with self.distribute_strategy.scope():
            self._label_metrics = LabelMetrics(self.output_kind, metrics, weighted_metrics)
            self._teacher_metrics = LabelMetrics(
                self.output_kind,
                metrics if teacher_metrics else None,
                weighted_metrics if teacher_metrics else None,
                prefix="teacher_",
            )
        self._teacher_metrics.require_room_for(self.teacher.output_kind)
        # Keras resets the metrics it finds among a model's attributes.
        self._tracked_metrics = self._label_metrics.metrics + self._teacher_metrics.metrics
        self._evaluate_teacher = asked

    def get_compile_config(self):
        config = super().get_compile_config()
        if not self.compiled:
            return config
        return {
            **{key: value for key, value in config.items() if key not in ("loss", "loss_weights")},
            **keras.saving.serialize_keras_object(self._label_metric_arguments),
        }

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    @property
    def trainable_weights(self):
        """The student's: the teacher is never trained, whatever its `trainable` says."""
        return self.student.trainable_weights

    @property
    def trainable_variables(self):
        return self.student.trainable_variables

    def call(self, inputs, training=None):
        """Returns the student's raw output."""
        return self.student(inputs, training=training)

    def train_step(self, data):
        x, y, sample_weight = batches.unpack(data)
        self._input_specs = batches.specs(samplers.inputs_of(x))
        is_recorded = isinstance(x, samplers.Samples)
        rows = samplers.row_count(x) // (self.sampler.candidates if is_recorded else 1)
        first_row, row_count = replicas.row_numbers(rows)

        # 1. Sample inputs beyond the training set.
        draw = self.sampler.keep if is_recorded else self.sampler
        samples = draw(x, self._next_seed(x, first_row), self._networks())
        append = self.label_weight > 0.0 and not isinstance(self.sampler, samplers.Empirical)
        sampled_weight = samples.follow(sample_weight)
        if not append:
            y, sample_weight = samples.follow(y), sampled_weight

        # 2. Evaluate both output distributions there.
        teacher, teacher_features = self._teach(samples.inputs, samples.member_outputs)
        with tf.GradientTape() as tape:
            student_inputs, rows = samples.inputs, samplers.row_count(samples.inputs)
            if append:
                student_inputs = keras.tree.map_structure(
                    lambda sampled, own: tf.concat([sampled, own], 0), samples.inputs, x
                )
            raw, student_features = self._run_student(student_inputs, training=True)
            raw_sampled = _rows(raw, slice(0, rows)) if append else raw
            raw_labelled = _rows(raw, slice(rows, None)) if append else raw
            student_features = _rows(student_features, slice(0, rows))

            # 3. Minimise their divergence.
            loss = self._row_losses(
                teacher,
                self.output_kind(raw_sampled),
                labels=y,
                labelled=self.output_kind(raw_labelled),
                sample_weight=sample_weight,
                sampled_weight=sampled_weight,
                teacher_features=teacher_features,
                student_features=student_features,
            )
            scaled = self.optimizer.scale_loss(tf.reduce_sum(loss) / row_count)
        weights = self.trainable_weights
        gradients = tape.gradient(scaled, weights)
        with tf.control_dependencies(keras.tree.flatten(x)):  # As in _next_seed.
            self.optimizer.apply_gradients(zip(gradients, weights, strict=True))

        given = samples.inputs, self.teacher.output_kind.parameters(teacher)
        if is_recorded and x.member_outputs:  # Only finite answers are ever recorded.
            given = (), ()
        updated = [weight.value for weight in self.student.weights]
        self.non_finite.update_state(*given, raw, loss, updated)
        logged = [self.means]
        if y is not None and (append or self.sampler.keeps_rows):
            unmodified = None if append else samples.unmodified
            self._label_metrics.update(y, raw_labelled, unmodified, sample_weight)
            logged += self._label_metrics.metrics
        return self._log("train", logged)

    def test_step(self, data):
        x, y, sample_weight = batches.unpack(data)
        raw, student_features = self._run_student(x, training=False)
        logged = []
        if self._evaluate_teacher:
            teacher, teacher_features = self._teach(x)
            student = self.output_kind(raw)
            self._row_losses(
                teacher,
                student,
                labels=y,
                labelled=student,
                sample_weight=sample_weight,
                sampled_weight=sample_weight,
                teacher_features=teacher_features,
                student_features=student_features,
            )
            logged.append(self.means)
        if y is not None:
            self._label_metrics.update(y, raw, None, sample_weight)
            logged += self._label_metrics.metrics
            if self._teacher_metrics.metrics:
                teacher_raw = self.output_kind.raw(teacher)
                self._teacher_metrics.update(y, teacher_raw, None, sample_weight)
                logged += self._teacher_metrics.metrics
        if not logged:
            raise ValueError(
                "There is nothing to evaluate: evaluate_teacher is False, or the teacher a store, "
                "and there are no labels or no metrics."
            )
        return self._log("test", logged)

    def _log(self, mode, metrics):
        results = _results(metrics)
        self._logged[mode] = list(results)
        return results

    def get_metrics_result(self):
        """Returns what the last kind of step logged, over all replicas.

        Keras takes these values in place of the step's own, which are one replica's, if
        the names are the same.
        """
        results = _results(self.metrics)  # Keras's own loss comes before the one of `means`.
        return {name: results[name] for name in self._logged[self._mode]}

    def evaluate(self, *args, **kwargs):
        """Evaluates the student, as `keras.Model.evaluate` does."""
        self._mode = "test"
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._mode = "train"

    def _next_seed(self, x, first_row):
        """The seed of this step, for this replica's rows."""
        # Nothing may count a step before its data is there: in a graph, operations that
        # don't depend on the data also run when a dataset has come to its end.
        with tf.control_dependencies(keras.tree.flatten(x)):
            seed = random.fold_in(random.fold_in(self.seed, self.step.value), 0)  # The sampler's.
            self.step.assign_add(tf.ones((), tf.int64))
        return seed if first_row is None else random.at_row(seed, first_row)

    def _networks(self):
        return uncertainty.Networks(self.teacher, self.student, self.output_kind)

    def _teach(self, inputs, member_outputs=()):
        """The teacher's distribution (and features, where a loss needs them)."""
        if not self.feature_losses:
            if member_outputs:
                return self.teacher.output_kind.combine(member_outputs), None
            return self.teacher.distribution(inputs), None
        raw, its_features = self._run_teacher_member(inputs, training=False)
        return self.teacher.output_kind.combine([raw]), its_features

    def _row_losses(
        self,
        teacher,
        student,
        *,
        labels,
        labelled,
        sample_weight,
        sampled_weight,
        teacher_features,
        student_features,
    ):
        """The loss of every row, shape (batch,), and all means updated."""
        divergence = self.output_kind.divergence(
            teacher, student, self.divergence, self.temperature
        )
        values = {"divergence": divergence, **self.output_kind.compare(teacher, student)}
        loss = divergence if sampled_weight is None else divergence * sampled_weight
        if self.label_weight > 0.0:
            if labels is None:
                raise ValueError(
                    f"label_weight={self.label_weight} needs labels, but the data has none. "
                    "Give (inputs, labels), or set label_weight=0."
                )
            label_loss = self.output_kind.negative_log_likelihood(labelled, labels)
            values["label_loss"] = label_loss
            if sample_weight is not None:
                label_loss *= sample_weight
            loss += self.label_weight * label_loss
        feature_values = []
        for feature_loss in self._feature_means:
            value = feature_loss.compute_loss(
                teacher_features[feature_loss.teacher_layer_name],
                student_features[feature_loss.student_layer_name],
            )
            feature_values.append(tf.cast(value, loss.dtype))
            loss += feature_values[-1]
        if feature_values:
            mean = tf.add_n(feature_values) / len(feature_values)
            values["feature_loss"] = mean * tf.ones_like(loss)
        for penalty in self.student.losses:
            loss += tf.cast(penalty, loss.dtype)
        self.means.update_state({"loss": loss, **values})
        return loss

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        **kwargs,
    ):
        """Trains the student; takes all that `keras.Model.fit` takes.

        Labels may be left out: `fit(x)`, or a dataset of inputs alone.

        Raises:
            ValueError: before the first step, if the distiller is not compiled, the data is
                empty, the sampler can't work on the inputs, the networks don't fit them, or
                a strategy can't run them (see `ecl_tf._internal.replicas.validate`).
            FloatingPointError: after a step that met NaN or Inf, naming the step and
                where it came from.
            RuntimeError: if another worker of a MultiWorkerMirroredStrategy was lost.
        """
        if not self.compiled:
            raise ValueError('Call compile before fit: distiller.compile("adam").')
        self._validate_data(x, y)
        replicas.validate(self, batches.smallest(x, batch_size))
        if self.built and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            if not any(isinstance(known, StopOnNonFinite) for known in callbacks.callbacks):
                callbacks.callbacks.insert(0, StopOnNonFinite())
                callbacks.set_model(self)
        else:
            callbacks = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
            callbacks = [StopOnNonFinite(), *(c for c in callbacks if c is not None)]
        before = int(self.step.numpy())
        with replicas.explaining_a_lost_worker():
            history = super().fit(x, y, batch_size, epochs, verbose, callbacks, **kwargs)
        if history.epoch and int(self.step.numpy()) == before:
            raise ValueError(_EMPTY)
        return history

    def _validate_data(self, x, y):
        """Checks the data's specs before anything is traced."""
        element = batches.element_spec(x)
        if element is None:
            return  # Only its iteration would tell; the step's own checks remain.
        if batches.is_empty(x):
            raise ValueError(_EMPTY)
        inputs, labels = element, y
        if isinstance(x, tf.data.Dataset):
            inputs, labels, _ = keras.utils.unpack_x_y_sample_weight(element)
        self._validate_recorded(inputs)
        inputs = samplers.inputs_of(inputs)
        self.sampler.validate(inputs)
        self._validate_networks(inputs)
        self.built = self.student.built
        if self.label_weight > 0.0 and labels is None:
            raise ValueError(
                f"label_weight={self.label_weight} needs labels, but the data has none. Give "
                "(inputs, labels), or set label_weight=0."
            )

    def _validate_recorded(self, inputs):
        """Checks that recorded samples and a teacher that has only recorded answers meet."""
        if not isinstance(inputs, samplers.Samples):
            if not self.teacher.answers_new_inputs:
                raise ValueError(
                    "This distiller's teacher is a store of recorded answers, which has none for "
                    "other inputs. Fit it on the store's own samples: distiller.fit(store.batches("
                    "x, y), steps_per_epoch=...)."
                )
        elif self.label_weight > 0.0 and not isinstance(self.sampler, samplers.Empirical):
            raise ValueError(
                f"label_weight={self.label_weight} needs the unmodified rows beside the recorded "
                "samples, which a store does not give. Use label_weight=0."
            )
        elif not self._reads_as_recorded(inputs):
            raise ValueError(
                "The recorded samples were read for another sampler than the distiller's, "
                f"{self.sampler!r}: their kinds, or the numbers of candidates that one is chosen "
                "of, differ. Give both the same: store.batches(x, y, sampler=sampler)."
            )
        elif inputs.member_outputs:
            stored, own = self.teacher.output_kind, self.output_kind
            shapes = (
                keras.tree.map_structure(lambda spec: spec.shape, inputs.member_outputs[0]),
                symbolic.output_shape(self.student, inputs.inputs),
            )
            there, here = (
                (output.family, output.event_size(shape))
                for output, shape in zip((stored, own), shapes, strict=True)
            )
            if there != here:
                raise ValueError(
                    f"The stored answers are {there[0]}, of size {there[1]}, and the student's "
                    f"output is {here[0]}, of size {here[1]}; they must be the same to be matched."
                )

    def _reads_as_recorded(self, inputs):
        if (self.sampler.candidates > 1) != bool(inputs.uncertainty):
            return False
        if self.teacher.answers_new_inputs:
            return True  # A live teacher, of which only the samples are recorded.
        base, candidates = getattr(self.sampler, "base", self.sampler), self.sampler.candidates
        rows = keras.tree.flatten(inputs.inputs)[0].shape[0]
        as_many = candidates == 1 or rows in (None, self.teacher.batch_size * candidates)
        return type(base).__name__ == self.teacher.sampler and as_many

    def export(self, filepath, **kwargs):
        """Writes the student alone as a SavedModel; see `ecl_tf.export.export_student`.

        Args:
            filepath: the directory to write.
            **kwargs: only Keras's `format="tf_saved_model"` is accepted.
        """
        if kwargs.pop("format", "tf_saved_model") != "tf_saved_model" or kwargs:
            raise ValueError("Distiller.export writes SavedModels: export(path).")
        export.export_student(self.student, self.output_kind, filepath, self._input_specs)

    def describe_method(self):
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
            "seed": self.seed,
            "teacher_output": identity.config_of(self.teacher.output_kind),
            "teacher": self.teacher.fingerprint(),
            "feature_losses": [identity.config_of(loss) for loss in self.feature_losses],
        }

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            "student": serialize(self.student),
            "teacher": serialize(self.teacher),
            "output": serialize(self.output_kind),
            "sampler": serialize(self.sampler),
            "divergence": divergences.name_of(self.divergence) or serialize(self.divergence),
            "temperature": self.temperature,
            "label_weight": self.label_weight,
            "feature_losses": [serialize(loss) for loss in self.feature_losses],
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        for key in ("student", "teacher", "output", "sampler", "feature_losses", "divergence"):
            if not isinstance(config[key], str):
                config[key] = keras.saving.deserialize_keras_object(config[key])
        return cls(**config)


_EMPTY = (
    "The data holds no rows, so there is nothing to train on. Look at the dataset's filter, "
    "take and batch(drop_remainder=True): a batch larger than the data leaves none."
)


def _dtype_policy(student):
    """The policy by which Keras decides on loss scaling: that of a float16 layer, if any."""
    policies = [student.dtype_policy, *(layer.dtype_policy for layer in student._flatten_layers())]
    return next((p for p in policies if p.compute_dtype == "float16"), policies[0])


def _results(metrics):
    """The results of metrics by name, of which one may have several."""
    results = {}
    for metric in metrics:
        result = metric.result()
        results.update(result if isinstance(result, dict) else {metric.name: result})
    return results


def _rows(nest, index):
    return keras.tree.map_structure(lambda tensor: tensor[index], nest)
