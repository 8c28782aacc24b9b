"""Stops training at the first NaN, Inf or wrong label, and says where it came from."""

import warnings

import keras
import tensorflow as tf

# Where values come from, in the order in which they flow, and what helps.
SOURCES = {
    "the sampled inputs": "Look for NaN in the data, or in a custom sampler.",
    "the teacher": "Look at its weights, and at its answers to extreme inputs.",
    "the student": "A lower learning rate or gradient clipping may help.",
    "the loss": "Look at the labels, the sample weights and the regularizers.",
    "the gradients": "They overflowed: a lower learning rate or gradient clipping may help.",
    "the update": "The student's weights overflowed: lower the learning rate.",
}
_LABELS = 2  # After the sources' counts: the number of wrong labels, and their sum.


@keras.saving.register_keras_serializable("ecl_tf")
class NonFiniteCount(keras.metrics.Metric):
    """Counts of steps with a value that is not finite, for each of `SOURCES`, and wrong labels.

    A metric, so that it needs no host inside the compiled step (where XLA drops
    assertions), and so that several replicas' counts are summed.
    """

    def __init__(self, name="non_finite"):
        super().__init__(name=name)
        shape = (len(SOURCES) + _LABELS,)
        self.counts = self.add_variable(shape, initializer="zeros", name="counts")
        self.expected_labels = ""  # In words, set by who counts wrong ones.

    def update_state(self, *values, labels=None):
        """Counts what is wrong before an update, and returns whether something is, or was.

        Args:
            *values: one nesting of tensors for each of `SOURCES` but the update.
            labels: the number of wrong labels and their sum, float32 (2,); None for none.
        """
        *others, gradients = values
        finite = [
            _all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in _floats(nest)])
            for nest in others
        ]
        finite += [_have_a_finite_sum(gradients), True]
        counts = [tf.cast(~tf.stack(finite), tf.float32)]
        counts.append(tf.zeros(_LABELS) if labels is None else labels)
        counts = tf.convert_to_tensor(self.counts) + tf.concat(counts, 0)
        self.counts.assign(counts)
        return tf.reduce_any(tf.not_equal(counts, 0.0))

    def count_update(self, weights):
        """Counts an update that left weights which are not finite, if nothing was wrong before."""
        counts = tf.convert_to_tensor(self.counts)
        is_bad = tf.reduce_all(tf.equal(counts, 0.0)) & ~_have_a_finite_sum(weights)
        place = tf.one_hot(len(SOURCES) - 1, len(SOURCES) + _LABELS)
        self.counts.assign(counts + tf.cast(is_bad, tf.float32) * place)

    def result(self):
        return tf.convert_to_tensor(self.counts)


def nan_where_inputs_are_not(raw, inputs):
    """Raw outputs with NaN in rows whose inputs are not finite, whatever a network makes of them.

    TensorFlow's relu makes 0 of NaN on some processors.
    """
    leaves = _floats(inputs)
    if not leaves:
        return raw
    finite = [tf.reduce_all(tf.math.is_finite(leaf), range(1, leaf.shape.rank)) for leaf in leaves]
    is_finite = tf.reduce_all(tf.stack(finite), 0)

    def of(tensor):
        rows = tf.reshape(is_finite, tf.concat([[-1], [1] * (tensor.shape.rank - 1)], 0))
        return tf.where(rows, tensor, tf.constant(float("nan"), tensor.dtype))

    return tf.nest.map_structure(of, raw)


def _have_a_finite_sum(tensors):
    """Whether the sum of all elements is finite, which it is if they are.

    It is one operation for each tensor, where `is_finite` of all elements takes three. Other
    values than weights and gradients may be as large as float32 goes (logits of masked
    classes), and their sum infinite.
    """
    sums = [tf.reduce_sum(tf.cast(tensor, tf.float32)) for tensor in _floats(tensors)]
    return tf.math.is_finite(tf.add_n(sums or [tf.zeros(())]))


def _all(flags):
    return flags[0] if len(flags) == 1 else tf.reduce_all(flags or [True])


def _floats(nest):
    return [tensor for tensor in tf.nest.flatten(nest) if tensor.dtype.is_floating]


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises after the first step that met NaN, Inf or wrong labels, before other callbacks run.

    What that step did is put back, unless its update itself overflowed. `Distiller.fit` puts this
    before all other callbacks, so no checkpoint is written over by weights that are not finite.
    For that the host waits for every execution, of `steps_per_execution` steps, and reads eight
    numbers: the only ones in an epoch. At the end of an evaluation that met NaN or Inf it warns.
    """

    def on_train_batch_end(self, batch, logs=None):
        counts = self.model.non_finite.counts.numpy()
        if not counts.any():
            return
        source, remedy = _first(counts)
        # A step that was not applied is not counted.
        is_applied = source == "the update"
        step = int(self.model.step.numpy()) + (0 if is_applied else 1)
        stopped = f"Training stopped in step {step} (counted from 1)"
        self._raise_for_labels(counts, stopped)
        student = "" if is_applied else "Student and optimizer are as they were before that step. "
        raise FloatingPointError(
            f"{stopped}: {source} had NaN or Inf. {student}No checkpoint was written since. "
            f"{remedy}"
        )

    def on_test_end(self, logs=None):
        counts = self.model.non_finite.counts.numpy()
        if not counts.any():
            return
        self._raise_for_labels(counts, "The evaluation stopped")
        place = int(counts.nonzero()[0][0])
        source, _ = _first(counts)
        source = source.replace("the sampled inputs", "the inputs")
        warnings.warn(
            f"The evaluation met NaN or Inf: {source} had it in {counts[place]:g} of the batches. "
            "Rows with such inputs count as NaN, and so do the results. Look for NaN in the data.",
            stacklevel=2,
        )

    def _raise_for_labels(self, counts, what):
        number, total = (float(count) for count in counts[-_LABELS:])
        if number:
            raise ValueError(
                f"{what}: {number:g} labels are out of range; their mean is {total / number:g}. "
                f"Expected {self.model.non_finite.expected_labels}."
            )


def _first(counts):
    """The source that was the first to meet something: an update, or what flows before others."""
    counts = counts[: len(SOURCES)]
    return list(SOURCES.items())[-1 if counts[-1] else int((counts > 0).argmax())]


def stop_before(callbacks, model):
    """The callbacks of `fit`, one of them or none too, with a `StopOnNonFinite` before all."""
    if not isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
        return [StopOnNonFinite(), *(each for each in callbacks if each is not None)]
    if not any(isinstance(known, StopOnNonFinite) for known in callbacks.callbacks):
        callbacks.callbacks.insert(0, StopOnNonFinite())
        callbacks.set_model(model)
    return callbacks
