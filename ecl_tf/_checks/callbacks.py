"""What callbacks of `fit` need."""

import keras

from ecl_tf._internal import extras


def packages(callbacks):
    """Raises ImportError if TensorBoard's callback is given, and TensorBoard is not installed.

    TensorFlow does not bring it along, and Keras tells at the end of the first epoch.

    Args:
        callbacks: as Keras's `fit` takes them.
    """
    if any(isinstance(each, keras.callbacks.TensorBoard) for each in _listed(callbacks)):
        extras.require("tensorboard", "TensorBoard", "keras.callbacks.TensorBoard", "tensorboard")


def monitors(callbacks, distiller):
    """Raises ValueError for a callback that can't find what it monitors, as no metric is compiled.

    Keras tells at the end of the first epoch, and asks for a `mode`, which does not help.
    Callbacks of a user may log numbers of their own.

    Args:
        callbacks: as Keras's `fit` takes them.
        distiller: the compiled `Distiller`.
    """
    listed = _listed(callbacks)
    may_log = [
        isinstance(each, keras.callbacks.LambdaCallback)
        or type(each).__module__.partition(".")[0] not in ("keras", "ecl_tf")
        for each in listed
    ]
    if distiller._tracked_metrics or any(may_log):
        return
    for callback in listed:
        monitor, mode = getattr(callback, "monitor", None), getattr(callback, "mode", "auto")
        is_needed = mode == "auto" and getattr(callback, "save_best_only", True)
        if not is_needed or not isinstance(monitor, str):
            continue
        if monitor.removeprefix("val_") not in ("learning_rate", *distiller.means.names):
            raise ValueError(
                f"{type(callback).__name__} monitors {monitor!r}, and no metrics are compiled that "
                "are logged by this name. Give compile them, such as metrics=['accuracy'], or "
                "monitor 'val_divergence'."
            )


def _listed(callbacks):
    given = getattr(callbacks, "callbacks", callbacks) or ()
    return [given] if isinstance(given, keras.callbacks.Callback) else given
