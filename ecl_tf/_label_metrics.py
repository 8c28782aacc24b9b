"""The metrics given to `Distiller.compile`, computed against labels.

Keras's own container can't be used here: it has no rows to leave out (labels hold on
unmodified rows only), and gives every metric the raw output, where Keras's metrics
expect probabilities or means.
"""

import dis
import functools
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf._internal import positions

_OVERLAPS = keras.losses.dice, keras.losses.tversky
_IOU = keras.metrics.IoU, keras.metrics.MeanIoU
# What takes rows alone.
_OF_ROWS = keras.metrics.FBetaScore, keras.metrics.R2Score
# What knows classes from each other, by their indices or in one-hot rows, or takes a mean.
_OF_CLASSES = keras.metrics.MeanMetricWrapper, *_IOU, *_OF_ROWS
_OF_SINGLE_LABELS = keras.metrics.MeanMetricWrapper, *_IOU
_DICE = (
    "keras.metrics.F1Score('macro'), which is Dice's coefficient of the likeliest classes; of "
    "yes/no labels F1Score('macro', 0.5)"
)
_MEAN_IOU = "keras.metrics.MeanIoU(num_classes)"
_REMEDIES = {"dice": _DICE, "iou": _MEAN_IOU, "miou": _MEAN_IOU, "mean_iou": _MEAN_IOU}


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
        self._entries = []  # (output name or None, its output, metric, weighted)
        for weighted, given in ((False, metrics), (True, weighted_metrics)):
            for name, its_output, its_metrics in self._by_output(given):
                for identifier in its_metrics:
                    its_prefix = prefix + (f"{name}_" if name else "")
                    metric = _resolve(identifier, its_output, its_prefix)
                    _require_logits(metric, its_output)
                    _require_kind(metric, its_output)
                    _warn_of_unread_weights(metric)
                    if weighted:
                        _require_weighable(metric)
                    self._entries.append((name, its_output, metric, weighted))
        names = [metric.name for metric in self.metrics]
        if len(set(names)) < len(names):
            raise ValueError(
                f"Every metric needs a name of its own; got {names}. Name one otherwise, such as "
                "keras.metrics.SparseCategoricalAccuracy(name='weighted_accuracy')."
            )

    def require_names_beside(self, logged):
        """Raises ValueError if a metric has the name of something else that is logged."""
        if taken := sorted({metric.name for metric in self.metrics} & set(logged)):
            raise ValueError(
                f"The metrics' names {taken} are those of what a Distiller logs itself: "
                f"{sorted(logged)}. Give the metrics other names: Metric(name=...)."
            )

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
        """Raises ValueError if raw outputs of a student can't hold a teacher's spread of numbers.

        Args:
            teacher: its `ecl_tf.outputs.Output`.
        """
        for name, own, metric, _ in self._entries:
            its = teacher if name is None else teacher.outputs[name]
            if not isinstance(own, outputs.Numeric) or not getattr(metric, "uses_spread", False):
                continue
            is_other = isinstance(own, outputs.Point) or own.family != its.family
            if is_other or np.any(own.smallest_stddev > its.smallest_stddev):
                raise ValueError(
                    f"teacher_metrics=True would take {metric.name!r} of the teacher's answers as "
                    f"the student's output holds them, {own!r}, which has no room for smaller or "
                    "other spreads. Evaluate the teacher itself: ecl_tf.evaluation.measure("
                    "teacher, x, y)."
                )

    @property
    def metrics(self):
        return [metric for _, _, metric, _ in self._entries]

    def build(self, shape):
        """Has metrics make their variables, which they could not in a step of several replicas.

        Args:
            shape: of the network's raw output, or a dict of shapes; None where it is not known.
        """
        for name, output, metric, _ in self._entries:
            its = _part(shape, name)
            if its is not None and isinstance(metric, _OF_ROWS) and not metric._built:
                size = None, output.event_size(tuple(its))
                metric._build(size, size)

    def validate(self, labels, raw):
        """Raises ValueError if a metric does not take such labels, or counts other classes.

        Metrics whose variables depend on the output's size get them here.

        Args:
            labels: labels or specs of them; a dict for joint outputs.
            raw: raw outputs, or specs.
        """
        for name, output, metric, _ in self._entries:
            its = _part(labels, name)
            if its is not None and not isinstance(its, tf.NoneTensorSpec):
                _require_fit(metric, output, tuple(its.shape), tuple(_part(raw, name).shape))

    def update(self, labels, raw, rows=None, sample_weight=None, masks=None):
        """Updates all metrics.

        Args:
            labels: labels of the batch; a dict for joint outputs.
            raw: raw outputs of the network.
            rows: bool (batch,), the rows that count; all of them by default.
            sample_weight: float32 (batch,) or (batch, positions...), for the weighted metrics;
                a dict of them for joint outputs, if need be. None by default.
            masks: Keras's mask of the raw outputs, or a dict of them; None by default.
        """
        for name, output, metric, weighted in self._entries:
            y_true, y_pred, mask, weight = (
                _part(each, name) for each in (labels, raw, masks, sample_weight)
            )
            if y_true is None:
                raise ValueError(
                    f"The metric {metric.name!r} needs labels of the output {name!r}; got labels "
                    f"of {sorted(labels)}."
                )
            output.validate_labels(y_true.shape, y_pred.shape)
            _require_fit(metric, output, tuple(y_true.shape), tuple(y_pred.shape))
            known = output.known(y_true, y_pred)
            is_one_hot = outputs.is_one_hot(y_true, y_pred)
            others = [mask, known, weight if weighted else None]
            others = [factor for factor in others if factor is not None]
            weights = _position_weights(y_pred, [rows, *others])
            axes = max(map(_axes, others), default=1)
            # Any class in the place of one that may be out of range.
            if known is not None and output.family == "categorical" and not is_one_hot:
                y_true = tf.reshape(y_true, tf.shape(known))
                y_true = tf.where(known > 0.0, y_true, tf.zeros_like(y_true))
            if output.family == "categorical" and _is_of_keras(metric):
                y_true = _labels_for(metric, y_true, y_pred)
            if _takes_logits(metric):
                y_pred = output.logits(y_pred)
            elif not getattr(metric, "takes_raw_output", False):
                y_pred = output.prediction(y_pred)
            if output.family != "categorical" and not getattr(metric, "takes_raw_output", False):
                y_true = tf.reshape(y_true, tf.shape(y_pred))
            _update(metric, output, y_true, y_pred, weights, axes, None if others else rows)


def _part(given, name) -> Any:
    """What is given for an output; all of it where outputs have no names, or it is one for all."""
    return given.get(name) if name is not None and isinstance(given, dict) else given


def _require_fit(metric, output, labels, raw):
    """Refuses a metric of Keras whose number would not be that of its name.

    Args:
        labels: the shape of the labels.
        raw: that of the raw output.
    """
    if not _is_of_keras(metric):
        return
    name, kind = metric.name, type(metric).__name__
    if isinstance(metric, _IOU):
        fitting = {"categorical": "MeanIoU(num_classes)", "bernoulli": "BinaryIoU()"}
        is_of_two = isinstance(metric, keras.metrics.BinaryIoU)
        if output.family not in fitting or is_of_two != (output.family == "bernoulli"):
            remedy = fitting.get(output.family)
            remedy = f"Use keras.metrics.{remedy}." if remedy else "Use 'mae', say."
            raise ValueError(
                f"The metric {name!r}, {kind}, fits no {output.family} output. {remedy}"
            )
        if not is_of_two and raw[-1] and metric.num_classes < raw[-1]:  # Others would not count.
            raise ValueError(
                f"The metric {name!r} counts {metric.num_classes} classes, and the output has "
                f"{raw[-1]}. Give num_classes={raw[-1]}."
            )
    is_one_hot = len(labels) == len(raw) and labels[-1] == raw[-1]
    if output.family != "categorical" or is_one_hot or isinstance(metric, _OF_CLASSES):
        return
    raise ValueError(
        f"The metric {name!r}, {kind}, is of yes/no answers: of classes it takes each column for "
        "one. If it is to count all of them alike, give labels of as many columns: "
        f"keras.utils.to_categorical(labels, {raw[-1]})."
    )


def _own(metric):
    """The function that a metric is the mean of, or the class of the metric."""
    return getattr(metric, "_fn", type(metric))


def _is_of_keras(metric):
    """Whether a metric is Keras's own; a user's class derived from one may change its inputs."""
    return _own(metric).__module__.startswith("keras.")


def _labels_for(metric, labels, raw):
    """Labels of classes in the form that a metric of Keras takes: indices, or one-hot rows."""
    is_one_hot = outputs.is_one_hot(labels, raw)
    own = _own(metric)
    name = getattr(own, "__name__", type(own).__name__)
    if "sparse" in name.lower() or getattr(metric, "sparse_y_true", False):
        return tf.argmax(labels, -1) if is_one_hot else labels
    if is_one_hot:
        return labels
    labels = tf.reshape(tf.cast(labels, tf.int64), tf.shape(raw)[:-1])
    return tf.one_hot(labels, raw.shape[-1] or tf.shape(raw)[-1])


def _position_weights(raw, factors):
    """The product of numbers of rows or positions, (batch, positions...); None of none."""
    factors = [
        positions.expand(factor, raw.shape[:-1], "sample_weight")
        for factor in factors
        if factor is not None
    ]
    if not factors:
        return None
    return tf.broadcast_to(functools.reduce(tf.multiply, factors), tf.shape(raw)[:-1])


def _axes(factor):
    """Of how many axes, from the batch on, the numbers of rows or positions differ."""
    sizes = list(factor.shape)
    while sizes[1:] and sizes[-1] == 1:
        sizes.pop()
    return len(sizes)


def _update(metric, output, y_true, y_pred, weights, axes, rows):
    """Updates a metric with weights in the form that it takes.

    Args:
        y_true: labels.
        y_pred: what the metric compares with them.
        weights: of positions, or None.
        axes: of how many axes the weights differ.
        rows: bool (batch,), if the weights are nothing else, otherwise None.
    """
    if getattr(metric, "takes_raw_output", False):
        metric.update_state(y_true, y_pred, sample_weight=weights)
        return
    is_own_iou = isinstance(metric, _IOU) and _is_of_keras(metric)
    if is_own_iou and output.family == "categorical" and metric.sparse_y_pred:
        y_pred = tf.argmax(y_pred, -1)
    if output.family == "bernoulli" and output.ignore_class is not None:
        known = output.known_labels(y_true, y_pred)
        y_true = tf.where(known > 0.0, y_true, tf.zeros_like(y_true))
        if y_pred.shape[-1] != 1:  # A position has known and unknown ones.
            weights = known if weights is None else known * weights[..., None]
            if not (hasattr(metric, "thresholds") or isinstance(metric, _OF_SINGLE_LABELS)):
                raise ValueError(
                    f"The metric {metric.name!r} takes no weights of single labels, so it can't "
                    f"leave out unknown ones of {output!r}. Use 'accuracy', AUC, Precision, Recall "
                    "or BinaryIoU."
                )
            if isinstance(metric, keras.metrics.MeanMetricWrapper) and not _is_overlap(metric):
                y_true, y_pred = (tf.reshape(each, [-1, 1]) for each in (y_true, y_pred))
                weights = tf.reshape(weights, [-1])
    if isinstance(metric, _OF_ROWS) and y_pred.shape.rank > 2:  # Each position is a row.
        weights = None if weights is None else tf.reshape(weights, [-1])
        y_true, y_pred = (tf.reshape(each, [-1, each.shape[-1]]) for each in (y_true, y_pred))
    if weights is not None and isinstance(metric, _IOU):
        if metric.sparse_y_true:
            missing = y_true.shape.rank - weights.shape.rank
            weights = tf.broadcast_to(weights[(..., *[None] * missing)], tf.shape(y_true))
        weights = tf.cast(weights, metric.dtype)
    elif weights is not None and _is_overlap(metric):
        _update_overlap(metric, y_true, y_pred, weights)
        return
    elif weights is not None and isinstance(metric, keras.metrics.MeanMetricWrapper):
        rank = len(metric._fn(y_true, y_pred, **metric._fn_kwargs).shape)
        if rank == 0:
            _update_by_rows(metric, y_true, y_pred, rows)
            return
        if rank < min(axes, weights.shape.rank):  # Single labels are rows by now.
            raise ValueError(
                f"The metric {metric.name!r} gives one number for a whole row, so masks, unknown "
                "labels and weights of positions can't be left out of it. Write it such that it "
                "gives one for each position."
            )
        weights = tf.reduce_mean(weights, list(range(rank, weights.shape.rank)))
    metric.update_state(y_true, y_pred, sample_weight=weights)


def _is_overlap(metric):
    return getattr(metric, "_fn", None) in _OVERLAPS


def _update_overlap(metric, y_true, y_pred, counted):
    """Updates a metric of sums of products, such that positions leave it as 0 in both factors.

    Args:
        metric: the `keras.metrics.MeanMetricWrapper`.
        y_true: labels, of the shape of `y_pred`.
        y_pred: probabilities (batch, positions..., classes).
        counted: 1 for what counts and 0 for the rest, (batch, positions...), or as `y_pred`.
    """
    counted = counted[(..., *[None] * (y_pred.shape.rank - counted.shape.rank))]
    products = (tf.cast(each, tf.float32) * counted for each in (y_true, y_pred))
    values = metric._fn(*products, **metric._fn_kwargs)
    axis = metric._fn_kwargs.get("axis")
    rank = y_pred.shape.rank
    of_rows = axis is not None and all(each % rank for each in keras.tree.flatten(axis))
    some = tf.reduce_max(counted, range(1, counted.shape.rank)) > 0.0
    some = tf.cast(some if of_rows else tf.reduce_any(some), tf.float32)
    # Otherwise one number for the whole batch, or for each class of it.
    values = values if of_rows else tf.reduce_mean(values)
    keras.metrics.Mean.update_state(metric, values, sample_weight=some)


def _update_by_rows(metric, y_true, y_pred, rows):
    if rows is None:
        raise ValueError(
            f"The metric {metric.name!r} gives one number for the whole batch, so masks, unknown "
            "labels and sample weights can't be left out of it. Write it such that it gives one "
            "for each position, or row."
        )
    some = tf.reduce_any(rows)
    kept = rows | ~some  # A function of no rows may be NaN: it counts 0 then.
    values = metric._fn(
        tf.boolean_mask(y_true, kept), tf.boolean_mask(y_pred, kept), **metric._fn_kwargs
    )
    keras.metrics.Mean.update_state(metric, values, sample_weight=tf.cast(some, tf.float32))


def _takes_logits(metric):
    of_function = getattr(metric, "_fn_kwargs", {}).get("from_logits")
    given = of_function or metric.get_config().get("from_logits")
    return getattr(metric, "takes_logits", False) or given


def _require_logits(metric, output):
    families = getattr(metric, "families", ("categorical", "bernoulli"))
    if _takes_logits(metric) and output.family not in families:
        raise ValueError(
            f"The metric {metric.name!r} takes logits of {' or '.join(families)} outputs; got "
            f"{output!r}."
        )


def _require_kind(metric, output):
    """Refuses a metric of Keras that is of another kind of answer, and would log a constant."""
    if not _is_of_keras(metric):
        return
    given = [getattr(metric, name, None) for name in ("threshold", "init_thresholds")]
    given.append(getattr(metric, "_fn_kwargs", {}).get("threshold"))
    thresholds = [each for each in keras.tree.flatten(given) if each is not None]
    if thresholds and (max(thresholds) <= 0.0 or min(thresholds) < 0.0 or max(thresholds) > 1.0):
        raise ValueError(
            f"The metric {metric.name!r} has the threshold {thresholds[0]}, as of logits. Here "
            "Keras's metrics get probabilities: the logit 0 is the probability 0.5, which is the "
            "default of most. Leave the threshold out, or give one between 0 and 1."
        )
    is_of_f1 = isinstance(metric, keras.metrics.FBetaScore)
    name, kind = getattr(_own(metric), "__name__", ""), type(metric).__name__
    remedy = "Give 'accuracy'."
    if isinstance(output, outputs.Numeric):
        remedy = "Give 'mae', say."
        is_other = "categorical" in name or name.startswith("binary")
        is_other |= is_of_f1 or hasattr(metric, "thresholds")
    elif output.family == "bernoulli":
        is_other = "categorical" in name
        remedy = "Give 'accuracy', or one of yes/no answers, such as 'binary_crossentropy'."
        if is_of_f1 and metric.threshold is None:
            is_other = True  # It says yes to the largest probability of a row alone.
            remedy = f"Give {kind}(threshold=0.5)."
    else:
        is_other = False
    if is_other or isinstance(metric, keras.metrics.Accuracy):  # It looks for equal numbers.
        raise ValueError(
            f"The metric {metric.name!r}, {kind}, takes another kind of answers than those of a "
            f"{output.family} output. {remedy}"
        )


def _warn_of_unread_weights(metric):
    """Warns of a user's metric that takes weights, by which rows are left out, and reads none."""
    update = type(metric).update_state
    if update.__module__.startswith(("keras.", "ecl_tf.")) or not hasattr(update, "__code__"):
        return
    read = [each.argval for each in dis.get_instructions(update) if each.opname.startswith("LOAD")]
    if "sample_weight" in update.__code__.co_varnames and "sample_weight" not in str(read):
        warnings.warn(
            f"The metric {metric.name!r}, {type(metric).__name__}, takes sample_weight and never "
            "reads it. It is 0 for rows that a sampler changed, and for positions that do not "
            "count: these would count, too. Weigh by it, or give a function of labels and "
            "predictions.",
            stacklevel=5,
        )


def _require_weighable(metric):
    if isinstance(metric, _IOU) and "int" in str(metric.dtype):
        raise ValueError(
            f"The metric {metric.name!r} counts in {metric.dtype}, which would round weights off. "
            "Give it dtype='float32' among weighted_metrics."
        )
    if _is_overlap(metric):
        raise ValueError(
            f"The metric {metric.name!r} takes no weights. Give it among metrics, or use {_DICE}."
        )


def _resolve(identifier, output, prefix):
    if identifier in ("accuracy", "acc"):
        function = {"categorical": _accuracy, "bernoulli": keras.metrics.binary_accuracy}
        if output.family not in function:
            raise ValueError(f"A {output.family} output has no accuracy; use 'mae', say.")
        return keras.metrics.MeanMetricWrapper(function[output.family], prefix + identifier)
    try:
        metric = keras.metrics.get(identifier)
    except (TypeError, ValueError) as error:
        remedy = _REMEDIES.get(str(identifier).lower())
        remedy = f"Use {remedy}." if remedy else "Give it as an object if it takes arguments."
        raise ValueError(f"There is no metric {identifier!r}: {error} {remedy}") from error
    if isinstance(metric, keras.losses.Loss):
        if not hasattr(metric, "fn"):
            raise ValueError(
                f"The metric {metric.name!r} is a loss, {type(metric).__name__}, of which no "
                "weighted mean can be taken. Give a keras.metrics.Metric or a function."
            )
        # Its own call would give the mean of a batch, whatever counts in it.
        name = prefix + metric.name
        return keras.metrics.MeanMetricWrapper(metric.fn, name, **metric._fn_kwargs)
    if isinstance(metric, functools.partial) and not metric.args:
        name = prefix + metric.func.__name__
        return keras.metrics.MeanMetricWrapper(metric.func, name, **metric.keywords)
    if not isinstance(metric, keras.metrics.Metric):
        name = getattr(metric, "__name__", type(metric).__name__)
        return keras.metrics.MeanMetricWrapper(metric, prefix + name)
    name = prefix + (identifier if isinstance(identifier, str) else metric.name)
    if name == metric.name:
        return metric
    try:
        return type(metric).from_config({**metric.get_config(), "name": name})
    except TypeError as error:
        raise ValueError(
            f"The metric {metric.name!r}, {type(metric).__name__}, can't be made again under the "
            f"name {name!r}: {error}. Give it a get_config() with all arguments of its constructor."
        ) from error


def _accuracy(y_true, y_pred):
    if outputs.is_one_hot(y_true, y_pred):
        right = keras.metrics.categorical_accuracy(y_true, y_pred)
    else:
        right = keras.metrics.sparse_categorical_accuracy(y_true, y_pred)
    right = tf.reshape(right, tf.shape(y_pred)[:-1])  # Keras drops a single position.
    # NaN where the answer is: an argmax finds a class even there.
    return right + 0.0 * tf.reduce_sum(y_pred, -1)
