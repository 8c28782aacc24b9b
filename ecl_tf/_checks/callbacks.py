"""What callbacks of `fit` need."""

import keras

from ecl_tf._internal import extras


def packages(callbacks):
    """Raises ImportError if TensorBoard's callback is given, and TensorBoard is not installed.

    TensorFlow does not bring it along, and Keras tells at the end of the first epoch.

    Args:
        callbacks: as Keras's `fit` takes them.
    """
    given = getattr(callbacks, "callbacks", callbacks) or ()
    listed = [given] if isinstance(given, keras.callbacks.Callback) else given
    if any(isinstance(callback, keras.callbacks.TensorBoard) for callback in listed):
        extras.require("tensorboard", "TensorBoard", "keras.callbacks.TensorBoard", "tensorboard")
