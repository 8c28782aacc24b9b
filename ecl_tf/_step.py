"""What `Distiller.train_step` is made of, in the order of the method's three sentences."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ecl_tf import _checks, _weights, samplers, teachers, uncertainty
from ecl_tf._internal import batches, positions, random, replicas
from ecl_tf._settings import DataFollowed


class Rows(NamedTuple):
    """The rows of a training step.

    Attributes:
        samples: the `samplers.Samples`, on which the divergence is taken.
        sample_weight: of the samples, or None.
        inputs: what the student is asked about: the samples, and after them the batch's own
            inputs, where these are appended.
        are_appended: whether they are.
        labels: of the appended rows; where there are none, of the samples; or None.
        label_weight: of the rows with labels, or None.
        count: the number of samples on all replicas.
        seed: of the step.
    """

    samples: samplers.Samples
    sample_weight: Any
    inputs: Any
    are_appended: bool
    labels: Any
    label_weight: Any
    count: Any
    seed: tf.Tensor


class Answer(NamedTuple):
    """What a network says of a batch.

    Attributes:
        raw: its raw output; of the teacher those of its members, where it tells them.
        features: by layer, where a loss needs them.
        masks: Keras's masks of the raw output.
        distribution: what the raw output stands for.
    """

    raw: Any
    features: Any
    masks: Any
    distribution: Any


class Labelled(NamedTuple):
    """Rows with labels.

    Attributes:
        answer: the student's `Answer` for them.
        labels: their labels, or None.
        weight: their weights, or None.
        kept: bool (batch,), of which of these rows the labels hold; None, the default, is all of
            them.
    """

    answer: Answer
    labels: Any
    weight: Any
    kept: Any = None


class Step(keras.Model):
    """The part of a `Distiller` that its steps are made of."""

    _data_followed: dict[str, DataFollowed]  # Of `Settings`.

    # 1. Sample inputs beyond the training set.

    def _sample(self, x, y, sample_weight):
        """The `Rows` of a batch, of recorded samples too."""
        is_recorded = isinstance(x, samplers.Samples)
        candidates = self.sampler.candidates if is_recorded else 1
        first_row, count = replicas.row_numbers(samplers.row_count(x) // candidates)
        draw = self.sampler.keep if is_recorded else self.sampler
        source, labels = x, y
        if not (is_recorded or isinstance(self.sampler.proposer, samplers.Empirical)):
            names = getattr(self.output_kind, "outputs", ())
            source, labels = batches.without_padding((x, y), sample_weight, names)
        seed = self._next_seed(x, first_row)
        samples = draw(source, seed, self._networks())
        weight = samples.follow(sample_weight)
        if _checks.settings.appends(self.sampler, self.label_weight, self.label_rows):
            joined = keras.tree.map_structure(lambda *t: tf.concat(t, 0), samples.inputs, x)
            return Rows(samples, weight, joined, True, y, sample_weight, count, seed)
        labels = samples.follow(labels)
        return Rows(samples, weight, samples.inputs, False, labels, weight, count, seed)

    def _next_seed(self, x, first_row):
        """The seed of this step, for this replica's rows."""
        # Nothing may count a step before its data is there: in a graph, operations that
        # don't depend on the data also run when a dataset has come to its end.
        with tf.control_dependencies(keras.tree.flatten(x)):
            seed = random.fold_in(random.fold_in(self.seed, self.step.value), 0)  # The sampler's.
            self.step.assign_add(tf.ones((), tf.int64))
        return seed if first_row is None else random.at_row(seed, first_row)

    # 2. Evaluate both output distributions there.

    def _ask_teacher_about(self, rows):
        """The teacher's `Answer` for the samples of a training step."""
        with samplers.mixing(rows.samples, self.sampler, self._networks(), "teacher"):
            return self._ask_teacher(rows.samples.inputs, rows.samples.member_outputs, rows.seed)

    def _ask_teacher(self, inputs, member_outputs=(), seed=None):
        """The teacher's `Answer` for a batch.

        Args:
            inputs: of the batch.
            member_outputs: what its members have answered already; (), the default, if nothing.
            seed: of a training step, in which some of its members may teach; None, the default,
                asks all of them.
        """
        teacher, its_features = self._asked.teacher, None
        if self.feature_losses:
            raw, its_features = self._features.run_teacher(inputs, training=False)
            member_outputs = [teacher.raw_of(raw)]
        if not member_outputs:
            is_ensemble = isinstance(teacher, teachers.Ensemble)
            combines = type(teacher).distribution is teachers.Teacher.distribution
            if is_ensemble and seed is not None:
                member_outputs = teacher.step_outputs(inputs, seed)
            elif is_ensemble or combines:
                member_outputs = teacher.member_outputs(inputs)
            else:
                return self._ask_for_distribution(teacher, inputs)
        distribution = teacher.output_kind.combine(member_outputs)
        return Answer(member_outputs, its_features, None, distribution)

    def _ask_for_distribution(self, teacher, inputs):
        """The `Answer` of a user's own teacher, which may know nothing but its distribution."""
        distribution, kind = teacher.distribution(inputs), teacher.output_kind
        _checks.step.distribution(distribution, teacher)
        raws = [kind.raw(distribution)] if kind.makes_probabilities else ()
        return Answer(raws, None, None, distribution)

    def _ask_student_about(self, rows):
        """The raw output for all rows, the `Answer` for the samples, and the rows with labels."""
        with samplers.mixing(rows.samples, self.sampler, self._networks(), "student"):
            answered = self._ask_student(rows.inputs, training=True)
        student = labelled = self._answer(*answered)
        if rows.are_appended:
            count = samplers.row_count(rows.samples.inputs)
            student = self._answer(*positions.rows(answered, slice(0, count)))
            labelled = self._answer(*positions.rows(answered, slice(count, None)))
        kept = rows.samples.unmodified if self.label_rows == "unmodified" else None
        return answered[0], student, Labelled(labelled, rows.labels, rows.label_weight, kept)

    def _ask_student(self, inputs, training):
        """The student's raw output, features and masks, of which `_answer` makes an `Answer`."""
        raw, student_features = self._features.run_student(inputs, training=training)
        return raw, student_features, positions.masks(raw)

    def _answer(self, raw, its_features, masks):
        return Answer(raw, its_features, masks, self.output_kind(raw))

    def _networks(self):
        """The networks as samplers and checks take them."""
        return uncertainty.Networks(self._asked.teacher, self.student, self.output_kind)

    # 3. Minimise their divergence.

    def _row_losses(self, teacher, student, sample_weight, labelled, training=True):
        """The loss of every row, shape (batch,), and all means updated.

        Args:
            teacher: its `Answer`.
            student: the student's for the same rows.
            sample_weight: weights of these rows, or None.
            labelled: the `Labelled` rows.
            training: whether it is a step of a training, which NaN ends; True by default.
        """
        output, both = self.output_kind, (teacher.distribution, student.distribution)
        _checks.step.answers(teacher.raw, student.raw, self._networks())
        _checks.networks.warn_of_lost_masks(
            self._networks(), student.raw, student.masks, sample_weight
        )
        weights = _weights.weigh(output, student.raw, student.masks, sample_weight)
        divergence = output.divergence(
            *both, self.divergence, self._temperature, **_weights.argument(weights.of_loss)
        )
        closeness = output.compare(*both, **_weights.argument(weights.of_mean))
        if not training:  # Where answers are NaN an argmax agrees all the same.
            closeness = {name: value + 0.0 * divergence for name, value in closeness.items()}
        values = {"divergence": divergence, **closeness}
        counts = {**weights.counts, "divergence": weights.counts.get("loss", 1.0)}
        _checks.step.row_values(output, **values)
        loss = divergence
        if self.label_weight > 0.0:
            values["label_loss"], counts["label_loss"] = self._label_losses(labelled)
            loss += self.label_weight * values["label_loss"]
        if self.feature_losses:
            common = _weights.in_common(weights.of_loss)
            unlike = self._features.mean(teacher.features, student.features, common)
            unlike = tf.cast(unlike, loss.dtype)
            loss += len(self.feature_losses) * unlike
            values["feature_loss"] = unlike * tf.ones_like(loss)
        for penalty in self.student.losses:  # As Keras adds them up, whatever their shape is.
            loss += tf.cast(tf.reduce_sum(penalty), loss.dtype)
        logged = loss
        if self.label_weight > 0.0:
            ratio = tf.math.divide_no_nan(counts["label_loss"], counts["divergence"])
            logged += self.label_weight * (ratio - 1.0) * values["label_loss"]
        self.means.label_weight = self.label_weight
        self.means.update_state({"loss": logged, **values}, counts)
        return loss

    def _label_losses(self, labelled):
        """The negative log-likelihood of every row's labels, and what the rows count in means."""
        output, (answer, labels, weight, kept) = self.output_kind, labelled
        _checks.labels.require_fit(self.label_weight, labels, output, answer.raw)
        weights = _weights.weigh(output, answer.raw, answer.masks, weight, labels, kept)
        losses = output.negative_log_likelihood(
            answer.distribution, labels, **_weights.argument(weights.of_loss)
        )
        _checks.step.row_values(output, negative_log_likelihood=losses)
        return losses, weights.counts.get("loss", 1.0)

    # What is wrong with a step: counted in it, told by a callback after it.

    def _count_non_finite(self, x, rows, teacher, raw, labelled, loss, gradients):
        """Counts all that is NaN, infinite or refused in a training step, for the callbacks.

        Args:
            x: the batch's inputs, or recorded samples.
            rows: its `Rows`.
            teacher: the teacher's `Answer`.
            raw: the student's raw output for all rows.
            labelled: the `Labelled` rows.
            loss: of each sample.
            gradients: of the student's trained weights.

        Returns:
            The counts, and whether the step is bad, so that there must be no update.
        """
        is_recorded = isinstance(x, samplers.Samples)
        if is_recorded and x.member_outputs:  # Only finite answers are ever recorded.
            given: tuple = (), ()
        else:
            parameters = self.teacher.output_kind.parameters(teacher.distribution)
            given = rows.samples.inputs, parameters
        # Where losses are scaled, gradients may overflow: their optimizer sees to it.
        is_scaled = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        watched = [] if is_scaled else [each for each in gradients if each is not None]
        return self.non_finite.count(
            *given,
            raw,
            loss,
            watched,
            labels=self._wrong_labels(labelled, self._labels_hold(rows)),
            refusals=self._refusals("train", x, raw, teacher.raw, self.sampler),
            are_clipped=self.optimizer.clipvalue is not None,
            rate=self.optimizer.learning_rate,
        )

    def _labels_hold(self, rows):
        """Whether some rows are as they were, so that metrics compare answers with labels."""
        return rows.are_appended or self.sampler.keeps_rows

    def _wrong_labels(self, labelled, labels_hold=True):
        """The number of labels that no network can have, and their sum; None if none are."""
        if self.uses_labels and not (self.label_weight > 0.0 or labels_hold):
            return None
        counts, self.non_finite.expected_labels = _checks.step.wrong_labels(
            labelled.labels, labelled.answer.raw, self.output_kind, self.uses_labels
        )
        return counts

    def _refusals(self, mode, x, raw, member_outputs, sampler=None):
        """Whether the batch is none that the networks were made for: see `_checks.step`."""
        was_checked = self._data_followed[mode].was_checked
        return _checks.step.refusals(x, raw, member_outputs, self._networks(), was_checked, sampler)
