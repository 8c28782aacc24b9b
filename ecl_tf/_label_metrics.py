"""The metrics given to `Distiller.compile`, computed against labels.

Keras's own container can't be used here: it has no rows to leave out (labels hold on
unmodified rows only), and gives every metric the raw output, where Keras's metrics
expect probabilities or means.
"""

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import outputs


class LabelMetrics:
    """Named metrics of one network.

    Args:
        output: the student's `ecl_tf.outputs.Output`.
        metrics: a list of names, functions or `keras.metrics.Metric`; for a joint
            output a dict from output name to such a list. "accuracy" is the one that
            fits the output.
        weighted_metrics: the same, but weighted by `sample_weight`.
        prefix: put before every metric's name; the metrics are copied then.

    Raises:
        ValueError: if the metrics don't fit the output, or two have one name.
    """

    def __init__(self, output, metrics=None, weighted_metrics=None, prefix=""):
        self.output = output
        self._entries = []  # (output name or None, metric, weighted)
        for weighted, given in ((False, metrics), (True, weighted_metrics)):
            for name, its_output, its_metrics in self._by_output(given):
                for identifier in its_metrics:
                    its_prefix = prefix + (f"{name}_" if name else "")
                    metric = _resolve(identifier, its_output, its_prefix)
                    _require_logits(metric, its_output)
                    self._entries.append((name, metric, weighted))
        names = [metric.name for metric in self.metrics]
        if len(set(names)) < len(names):
            raise ValueError(f"Every metric needs a name of its own; got {names}.")

    def _by_output(self, metrics):
        if not metrics:
            return []
        if not isinstance(self.output, outputs.Joint):
            if not isinstance(metrics, (list, tuple)):
                raise ValueError(f"Expected a list of metrics; got {metrics!r}.")
            return [(None, self.output, metrics)]
        names = self.output.outputs
        if not isinstance(metrics, dict) or not set(metrics) <= set(names):
            raise ValueError(
                f"With several outputs, metrics are a dict from the names {sorted(names)} to "
                f"lists of metrics; got {metrics!r}."
            )
        return [
            (name, names[name], given if isinstance(given, (list, tuple)) else [given])
            for name, given in metrics.items()
        ]

    def require_room_for(self, teacher):
        """Raises ValueError if raw outputs of a Gaussian student can't hold a teacher's spread.

        Args:
            teacher: its `ecl_tf.outputs.Output`.
        """
        for name, metric, _ in self._entries:
            own, its = (
                each if name is None else each.outputs[name] for each in (self.output, teacher)
            )
            if own.family != "normal" or not getattr(metric, "uses_spread", False):
                continue
            if isinstance(own, outputs.Point) or np.any(_floor(own) > _floor(its)):
                raise ValueError(
                    f"teacher_metrics=True would take {metric.name!r} of the teacher's answers as "
                    f"the student's output holds them, {own!r}, which has no room for smaller or "
                    "other spreads. Evaluate the teacher itself: teacher.compile(metrics=[...]), "
                    "then teacher.evaluate(...)."
                )

    @property
    def metrics(self):
        return [metric for _, metric, _ in self._entries]

    def update(self, labels, raw, rows=None, sample_weight=None):
        """Updates all metrics.

        Args:
            labels: labels of the batch; a dict for joint outputs.
            raw: raw outputs of the network.
            rows: bool (batch,), the rows that count; all of them by default.
            sample_weight: float32 (batch,), for the weighted metrics.

        """
        mask = None if rows is None else tf.cast(rows, tf.float32)
        for name, metric, weighted in self._entries:
            output = self.output if name is None else self.output.outputs[name]
            y_true, y_pred = (labels, raw) if name is None else (labels[name], raw[name])
            if _takes_logits(metric):
                y_pred = output.logits(y_pred)
            elif not getattr(metric, "takes_raw_output", False):
                y_pred = output.prediction(y_pred)
            if output.family != "categorical" and not getattr(metric, "takes_raw_output", False):
                y_true = tf.reshape(y_true, tf.shape(y_pred))
            weight = mask
            if weighted and sample_weight is not None:
                weight = sample_weight if mask is None else mask * sample_weight
            metric.update_state(y_true, y_pred, sample_weight=weight)


def _floor(output):
    """The smallest standard deviation of each target dimension."""
    return output.temperature**0.5 * output.min_scale * np.asarray(output.target_stddev)


def _takes_logits(metric):
    return getattr(metric, "takes_logits", False) or metric.get_config().get("from_logits")


def _require_logits(metric, output):
    families = getattr(metric, "families", ("categorical", "bernoulli"))
    if _takes_logits(metric) and output.family not in families:
        raise ValueError(
            f"The metric {metric.name!r} takes logits of {' or '.join(families)} outputs; got "
            f"{output!r}."
        )


def _resolve(identifier, output, prefix):
    if identifier in ("accuracy", "acc"):
        function = {"categorical": _accuracy, "bernoulli": keras.metrics.binary_accuracy}
        if output.family not in function:
            raise ValueError(f"A {output.family} output has no accuracy; use 'mae', say.")
        return keras.metrics.MeanMetricWrapper(function[output.family], prefix + identifier)
    metric = keras.metrics.get(identifier)
    if not isinstance(metric, keras.metrics.Metric):
        return keras.metrics.MeanMetricWrapper(metric, prefix + metric.__name__)
    name = prefix + (identifier if isinstance(identifier, str) else metric.name)
    if name == metric.name:
        return metric
    return type(metric).from_config({**metric.get_config(), "name": name})


def _accuracy(y_true, y_pred):
    if outputs.is_one_hot(y_true, y_pred):
        return keras.metrics.categorical_accuracy(y_true, y_pred)
    return keras.metrics.sparse_categorical_accuracy(y_true, y_pred)
