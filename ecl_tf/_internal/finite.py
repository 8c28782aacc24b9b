"""Stops training at the first NaN, Inf or wrong label, and says where it came from."""

import warnings

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import batches

_RATE = "the learning rate"
# Where values come from, in the order in which they flow, and what helps.
SOURCES = {
    "the sampled inputs": "Look for NaN in the data, or in a custom sampler. Missing numbers have "
    "to be filled in, even where a network would do it, and may be marked in inputs of their own.",
    "the teacher": "Look at its weights, and at its answers to extreme inputs.",
    "the student": "A lower learning rate or gradient clipping may help. Classes that it masks by "
    "itself need logits such as -1e9 in the place of -inf.",
    "the loss": "Look at the labels, the sample weights and the regularizers; and at the student's "
    "weights: if they have become very large, train it anew at a lower learning rate.",
    "the gradients": "They overflowed, or their squares: look for huge labels. A lower learning "
    "rate or clipvalue of the optimizer may help.",
    _RATE: "Look at its schedule, perhaps beyond its last step, or at what sets it.",
    "the update": "The student's weights overflowed: lower the learning rate.",
}
_LABELS = 2  # After the sources' counts: the number of wrong labels, and their sum.
_REFUSALS = 3  # After these: batches that are refused, for so many reasons.


@keras.saving.register_keras_serializable("ecl_tf")
class NonFiniteCount(keras.metrics.Metric):
    """Counts of steps with a value that is not finite, for each of `SOURCES`, and wrong labels.

    A metric, so that it needs no host inside the compiled step (where XLA drops
    assertions), and so that several replicas' counts are summed.
    """

    def __init__(self, name="non_finite"):
        super().__init__(name=name)
        shape = (len(SOURCES) + _LABELS + _REFUSALS,)
        self.counts = self.add_variable(shape, "zeros", "float32", name="counts")
        self.expected_labels = ""  # In words, set by who counts wrong ones.
        self.reasons: list[str] = []  # In words, of the refusals.

    def count(self, *values, labels=None, refusals=(), are_clipped=False, rate=None):
        """The counts with what is wrong before an update; `update_state` is to keep them.

        Args:
            *values: one nesting of tensors for each of `SOURCES` before the learning rate.
            labels: the number of wrong labels and their sum, float32 (2,); None for none.
            refusals: pairs of a scalar bool tensor, whether the batch is refused, and the reason;
                3 at most, none by default.
            are_clipped: whether the optimizer clips each gradient's values, so that their squares
                may overflow before; False by default.
            rate: the learning rate; None, the default, where there is no update.

        Returns:
            The counts, and whether something is wrong or was before.
        """
        *others, gradients = values
        finite = [
            _all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in _floats(nest)])
            for nest in others
        ]
        # Of squares, because optimizers keep means of them.
        total = tf.reduce_sum if are_clipped else tf.nn.l2_loss
        rate = tf.convert_to_tensor(0.0 if rate is None else rate)
        is_rate = tf.math.is_finite(rate) & (rate >= 0.0)  # Below it weights would go uphill.
        finite += [_have_a_finite_sum(gradients, total), is_rate, True]
        counts = [tf.cast(~tf.stack(finite), tf.float32)]
        counts.append(tf.zeros(_LABELS) if labels is None else labels)
        self.reasons = [reason for _, reason in refusals]
        flags = [flag for flag, _ in refusals] + [tf.constant(False)] * (_REFUSALS - len(refusals))
        counts.append(tf.cast(tf.stack(flags), tf.float32))
        counts = tf.convert_to_tensor(self.counts) + tf.concat(counts, 0)
        return counts, tf.reduce_any(tf.not_equal(counts, 0.0))

    def update_state(self, counts, is_bad=False, weights=()):
        """Keeps the counts, and counts an update that left weights which are not finite.

        Args:
            counts: as `count` gave them, like `is_bad`, with which no update was made.
            weights: tensors after the update; none by default.
        """
        if weights:
            overflowed = tf.cast(~(is_bad | _have_a_finite_sum(weights)), tf.float32)
            place = tf.one_hot(len(SOURCES) - 1, len(SOURCES) + _LABELS + _REFUSALS)
            counts += overflowed * place
        self.counts.assign(counts)

    def result(self):
        return tf.convert_to_tensor(self.counts)


def require_weights(model, role, variables=None):
    """Raises ValueError if a network's weights hold NaN or Inf.

    Its answers need not show it: a ReLU may make 0 of NaN.

    Args:
        model: a Keras model or layer.
        role: "student" or "teacher", for the message.
        variables: TensorFlow's, where a layer has others than Keras's; None by default.
    """
    if spoiled := names_of_spoiled(model.weights if variables is None else variables):
        raise ValueError(
            f"The {role} {model.name!r} holds NaN or Inf in its weight {spoiled[0]!r}, so its "
            "answers are no numbers. Its training went wrong: train it again with a lower learning "
            "rate, or take an earlier file."
        )


def names_of_spoiled(variables):
    """The names of those variables that hold NaN or Inf."""
    spoiled = []
    for variable in variables:
        values = np.asarray(keras.ops.convert_to_numpy(variable))
        # Names of bfloat16 and its like are those of extensions, of NumPy's kind "V".
        if values.dtype.kind in "fV" and not np.isfinite(values.astype("float32")).all():
            spoiled.append(getattr(variable, "path", variable.name))
    return spoiled


def require_logits(output, answered, role, inputs):
    """`require_answers` of raw outputs, where -Inf is the logit of a class that is masked.

    Args:
        output: the `ecl_tf.outputs.Output`.
        answered: as there, like `role` and `inputs`.
    """
    parts = getattr(output, "outputs", {"": output})
    found = []
    for name, each in parts.items():
        raw = np.asarray(answered[name] if name else answered)
        if each.family == "categorical":
            is_masked = np.isneginf(raw) & np.isfinite(raw).any(-1, keepdims=True)
            raw = np.where(is_masked, 0.0, raw)
        found.append(raw)
    require_answers(found, role, inputs)


def require_answers(answered, role, inputs=None):
    """Raises ValueError if a network answered NaN or Inf.

    Args:
        answered: the nesting of arrays that it gave.
        role: the network, for the message, such as "teacher 'net'".
        inputs: what it was asked, where that is a user's data; None by default.
    """
    if all(np.isfinite(_numbers(leaf)).all() for leaf in keras.tree.flatten(answered)):
        return
    spoiled = inputs is not None and not all(
        np.isfinite(_numbers(leaf)).all() for leaf in keras.tree.flatten(inputs)
    )
    raise ValueError(
        f"The {role} answers with NaN or Inf"
        + (
            " to inputs that hold NaN or Inf. Leave out these rows, or fill them in."
            if spoiled
            else ". Look at its weights, and whether the inputs have the range that it expects."
        )
    )


def require_rows(rows, name):
    """Raises ValueError if rows that a user gave hold NaN or Inf.

    Args:
        rows: a nesting of arrays.
        name: of the argument, for the message.
    """
    if not all(np.isfinite(_numbers(leaf)).all() for leaf in keras.tree.flatten(rows)):
        raise ValueError(
            f"{name} hold NaN or Inf, to which no answer is a number. Leave out these rows, or "
            "fill them in."
        )


def _numbers(values):
    array = np.asarray(values)
    return array.astype("float32") if array.dtype.kind not in "OSUb" else np.zeros(())


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


def _have_a_finite_sum(tensors, total=tf.reduce_sum):
    """Whether the sum of all elements is finite, which it is if they are.

    It is one operation for each tensor, where `is_finite` of all elements takes three. Other
    values than weights and gradients may be as large as float32 goes (logits of masked
    classes), and their sum infinite.
    """
    sums = [total(tf.cast(tensor, tf.float32)) for tensor in _floats(tensors)]
    return tf.math.is_finite(tf.add_n(sums or [tf.zeros(())]))


def _all(flags):
    return flags[0] if len(flags) == 1 else tf.reduce_all(flags or [True])


def _floats(nest):
    return [tensor for tensor in tf.nest.flatten(nest) if tensor.dtype.is_floating]


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises after the first step that met NaN, Inf or wrong labels, before other callbacks run.

    What that step did is put back, unless its update itself overflowed. `Distiller.fit` puts this
    before all other callbacks, so no checkpoint is written over by weights that are not finite.
    For that the host waits for every execution, of `steps_per_execution` steps, and reads twelve
    numbers: the only ones in an epoch. At the end of an evaluation that met NaN or Inf it warns.
    """

    _is_empty, _is_within_epoch = False, False

    def on_epoch_begin(self, epoch, logs=None):
        self._is_within_epoch = True

    def on_epoch_end(self, epoch, logs=None):
        self._end_epoch()

    def _end_epoch(self):
        """Looks at the weights of an epoch, before a validation has taken its means."""
        if self._is_within_epoch:
            self._is_within_epoch = False
            if said := self._lacks_weight():  # An epoch need not be all data.
                warnings.warn(f"The epoch ended: {said}", stacklevel=2)

    def _lacks_weight(self):
        """What is wrong with weights of a stream, of which only its end tells; or ""."""
        counted = self.model.means.counted()
        weights = [counted[name] for name in self.model.output_kind.closeness_names]
        if counted["loss"] > 0.0 and weights and (min(weights) < 0.0 or max(weights) == 0.0):
            return batches.NO_WEIGHT.format(min(weights))
        return ""

    def on_train_batch_begin(self, batch, logs=None):
        is_first = batch == 0  # Of an epoch, or of one batch alone: looking at layers takes time.
        if is_first:
            self.model.follow_attributes()
        self.model.follow_sampler(in_place=is_first)
        self.model.follow_precision()  # Of weights that another callback may have loaded.

    def on_train_batch_end(self, batch, logs=None):
        counts = self.model.non_finite.counts.numpy()
        if not counts.any():
            return
        source, remedy = _first(counts)
        # A step that was not applied is not counted.
        is_applied = source == "the update"
        step = int(self.model.step.numpy()) + (0 if is_applied else 1)
        stopped = f"Training stopped in step {step} (counted from 1)"
        self._raise_for_data(counts, stopped)
        what = "was NaN, infinite or below 0" if source == _RATE else "had NaN or Inf"
        student = "" if is_applied else "Student and optimizer are as they were before that step. "
        raise FloatingPointError(
            f"{stopped}: {source} {what}. {student}No checkpoint was written since. {remedy}"
        )

    def on_test_begin(self, logs=None):
        self._end_epoch()
        self._is_empty = True

    def on_test_batch_end(self, batch, logs=None):
        self._is_empty = False

    def on_test_end(self, logs=None):
        if self._is_empty:
            raise ValueError(batches.NO_ROWS.format("evaluate"))
        if said := self._lacks_weight():
            raise ValueError(f"The evaluation ended: {said}")
        self.tell_of_evaluated()

    def tell_of_evaluated(self):
        """Raises ValueError for labels out of range, and warns of NaN, in batches so far."""
        counts = self.model.non_finite.counts.numpy()
        if not counts.any():
            return
        self._raise_for_data(counts, "The evaluation stopped")
        place = int(counts.nonzero()[0][0])
        source, remedy = _first(counts)
        if not place:
            source = "the inputs"
            remedy = "Rows with such inputs count as NaN. Look for NaN in the data."
        warnings.warn(
            f"The evaluation met NaN or Inf: {source} had it in {counts[place]:g} of the batches, "
            f"so results are NaN, where they depend on it. {remedy}",
            stacklevel=2,
        )

    def _raise_for_data(self, counts, what):
        own = counts[len(SOURCES) :]
        for refused, reason in zip(own[_LABELS:], self.model.non_finite.reasons, strict=False):
            if refused:
                raise ValueError(f"{what}: {reason}")
        number, total = (float(count) for count in own[:_LABELS])
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
        callbacks = [each for each in callbacks if each is not None]
        if wrong := [each for each in callbacks if not hasattr(type(each), "set_model")]:
            raise ValueError(
                f"callbacks must be objects of keras.callbacks.Callback; got {wrong[0]!r}. Of a "
                "class make one: EarlyStopping(...)."
            )
        return [StopOnNonFinite(), *callbacks]
    if not any(isinstance(known, StopOnNonFinite) for known in callbacks.callbacks):
        callbacks.callbacks.insert(0, StopOnNonFinite())
        callbacks.set_model(model)
    return callbacks
