"""Which way each logged number improves, so that callbacks with `mode="auto"` find it."""

import types

from keras.src.trainers import compile_utils  # Callbacks look into this class's lists alone.

# The ends of the names of what is logged without a metric of its own.
_BY_END = {
    "accuracy": "up",
    "agreement": "up",
    "divergence": "down",
    "error": "down",
    "loss": "down",
}


class Directions(compile_utils.MetricsList):
    """Names of logged numbers with their directions, in the place where callbacks look for them.

    Keras's `EarlyStopping`, `ReduceLROnPlateau` and `ModelCheckpoint` go through the
    `MetricsList`s among a model's metrics, to an entry with the monitored name. This list holds
    no numbers. A metric that should be neither large nor small, such as a coverage, has no
    direction, and callbacks ask for their `mode`.

    Args:
        names: of means of one metric.
        metrics: metrics with a name of their own.

    Example:
    >>> means = Directions(["loss", "agreement"], [])
    >>> [(each.name, each._direction) for each in means.metrics]
    [('loss', 'down'), ('agreement', 'up')]
    """

    def __init__(self, names, metrics):
        known = {name: _by_end(name) for name in names}
        known |= {metric.name: _of_metric(metric) for metric in metrics}
        entries = [
            types.SimpleNamespace(name=name, _direction=direction)
            for name, direction in known.items()
            if direction is not None
        ]
        super().__init__(entries, name="compile_metrics")

    def reset_state(self):
        pass

    def result(self):
        return {}


def _of_metric(metric):
    function = getattr(metric, "_fn", None)  # Of a metric that is the mean of a function.
    return getattr(metric, "_direction", None) or _by_end(getattr(function, "__name__", ""))


def _by_end(name):
    return next((way for end, way in _BY_END.items() if name.endswith(end)), None)
