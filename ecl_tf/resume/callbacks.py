"""Callbacks of one training that several calls of `fit` make up."""

import keras

from ecl_tf.resume import data


class Callbacks(keras.callbacks.CallbackList):
    """Callbacks of one training that several calls of `fit` make up.

    Raises ValueError in place of an epoch's end if the data ended before.
    """

    def __init__(self, callbacks, checkpointing, **kwargs):
        super().__init__([*callbacks, checkpointing], **kwargs)
        self._checkpointing = checkpointing
        self._begun, self._logs = [], None

    def on_train_begin(self, logs=None):
        for callback in self.callbacks:
            if callback not in self._begun:
                self._begun.append(callback)
                callback.on_train_begin(logs)

    def on_test_begin(self, logs=None):
        self._require_all_steps()  # Validation is the first thing after the last step.
        super().on_test_begin(logs)

    def on_epoch_end(self, epoch, logs=None):
        self._require_all_steps()
        super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs=None):
        self._logs = logs  # Of the last epoch, if this call of `fit` is the last one.

    def end(self):
        for callback in self._begun:
            callback.on_train_end(self._logs)

    def _require_all_steps(self):
        step, epoch = self._checkpointing.step, self._checkpointing.steps_per_epoch
        ends_early = step % epoch or step == self._checkpointing.begun_at
        if ends_early and not self._checkpointing.model.stop_training:
            # Keras would only warn, and go on with the first batches.
            raise data.ended(step, self._checkpointing.steps)
