"""Stops training at the first NaN or Inf, and says where it came from."""

import keras
import numpy as np
import tensorflow as tf

# Where values come from, in the order in which they flow, and what helps.
SOURCES = {
    "the sampled inputs": "Look for NaN in the data, or in a custom sampler.",
    "the teacher": "Look at its weights, and at its answers to extreme inputs.",
    "the student": "A lower learning rate or gradient clipping may help.",
    "the loss": "Look at the labels, the sample weights and the regularizers.",
    "the update": "The student's weights overflowed: lower the learning rate.",
}


@keras.saving.register_keras_serializable("ecl_tf")
class NonFiniteCount(keras.metrics.Metric):
    """Counts of steps with a value that is not finite, for each of `SOURCES`.

    A metric, so that it needs no host inside the compiled step (where XLA drops
    assertions), and so that several replicas' counts are summed.
    """

    def __init__(self, name="non_finite"):
        super().__init__(name=name)
        self.counts = self.add_variable((len(SOURCES),), initializer="zeros", name="counts")

    def update_state(self, *values):
        """Takes one nesting of tensors for each of `SOURCES`."""
        # The weights' sum, which is finite if all of it is: one operation for each of a
        # student's, where `is_finite` of all elements takes three. Other values may be as large
        # as float32 goes (logits of masked classes), and their sum infinite.
        *others, updated = values
        finite = [
            _all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in _floats(nest)])
            for nest in others
        ]
        sums = [tf.reduce_sum(tf.cast(tensor, tf.float32)) for tensor in _floats(updated)]
        finite.append(tf.math.is_finite(tf.add_n(sums or [tf.zeros(())])))
        self.counts.assign_add(tf.cast(~tf.stack(finite), tf.float32))

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
    for variable in model.weights if variables is None else variables:
        values = np.asarray(keras.ops.convert_to_numpy(variable))
        # Names of bfloat16 and its like are those of extensions, of NumPy's kind "V".
        if values.dtype.kind not in "fV" or np.isfinite(values.astype("float32")).all():
            continue
        raise ValueError(
            f"The {role} {model.name!r} holds NaN or Inf in its weight "
            f"{getattr(variable, 'path', variable.name)!r}, so its answers are no numbers. Its "
            "training went wrong: train it again with a lower learning rate, or take an earlier "
            "file."
        )


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


def _numbers(values):
    array = np.asarray(values)
    return array.astype("float32") if array.dtype.kind not in "OSUb" else np.zeros(())


def _all(flags):
    return flags[0] if len(flags) == 1 else tf.reduce_all(flags or [True])


def _floats(nest):
    return [tensor for tensor in tf.nest.flatten(nest) if tensor.dtype.is_floating]


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises after the first step that met NaN or Inf, before other callbacks run.

    `Distiller.fit` puts it before all other callbacks, so no checkpoint is written
    over by weights that are not finite. For that the host waits for every execution,
    of `steps_per_execution` steps, and reads five numbers: the only ones in an epoch.
    """

    def on_epoch_begin(self, epoch, logs=None):
        self._steps_before = int(self.model.step.numpy())

    def on_train_batch_end(self, batch, logs=None):
        counts = self.model.non_finite.counts.numpy()
        if not counts.any():
            self._steps_before += self.model.steps_per_execution
            return
        first, last = self._steps_before + 1, int(self.model.step.numpy())
        where = f"step {last}" if first == last else f"steps {first} to {last}"
        # Values flow from the first source to the last, so the first one is the cause. But what
        # an update spoils shows in the student a step later: there, what was met most often.
        place = 0 if counts[0] else 1 if counts[1] else 2 + int(counts[2:].argmax())
        source, remedy = list(SOURCES.items())[place]
        raise FloatingPointError(
            f"Training stopped in {where} (counted from 1): {source} had NaN or Inf. No "
            f"checkpoint was written since. {remedy}"
        )


def stop_before(callbacks, model):
    """The callbacks of `fit`, one of them or none too, with a `StopOnNonFinite` before all."""
    if not isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
        return [StopOnNonFinite(), *(each for each in callbacks if each is not None)]
    if not any(isinstance(known, StopOnNonFinite) for known in callbacks.callbacks):
        callbacks.callbacks.insert(0, StopOnNonFinite())
        callbacks.set_model(model)
    return callbacks
