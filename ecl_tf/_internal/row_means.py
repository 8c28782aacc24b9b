"""The means over rows that a distiller logs."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("ecl_tf")
class RowMeans(keras.metrics.Metric):
    """Means of several values over all rows, or positions, since the last reset.

    They share one variable: a `keras.metrics.Mean` for each would be 1 to 2 % of a small
    student's step.

    Args:
        names: of the values.

    Attributes:
        label_weight: the factor of "label_loss" in "loss", whose rows may count otherwise; 0 at
            first. Both are given with their own counts, and "loss" is the sum of the means.

    Example:
    >>> means = RowMeans(["loss", "agreement"])
    >>> means.update_state({"loss": tf.constant([1.0, 3.0]), "agreement": tf.constant([1.0, 0.0])})
    >>> means.update_state({"loss": tf.constant([5.0]), "agreement": tf.constant([0.0])})
    >>> {name: round(float(mean), 3) for name, mean in means.result().items()}
    {'loss': 3.0, 'agreement': 0.333}
    """

    def __init__(self, names, name="means"):
        super().__init__(name=name)
        self.names = list(names)
        self.label_weight = 0.0
        # Every value's count, and every value's sum.
        shape = (2, len(self.names))
        self.totals = self.add_variable(shape, "zeros", "float32", name="totals")

    def update_state(self, values, counts=None):
        """Takes a dict of the values' names to tensors of shape (rows,).

        Args:
            values: the dict; names left out stay as they are.
            counts: a dict of a value's name to what each of its rows counts, a scalar; names
                that are left out, and by default all of them, count 1.
        """
        counts = counts or {}
        rows = tf.cast(tf.shape(next(iter(values.values())))[0], tf.float32)
        number, total = [], []
        for name in self.names:
            count = counts.get(name, 1.0)
            own = tf.reduce_sum(tf.cast(values[name], tf.float32)) if name in values else 0.0
            number.append((rows if name in values else 0.0) * count)
            total.append(own * count)
        self.totals.assign_add(tf.stack([tf.stack(number), tf.stack(total)]))

    def result(self):
        """Returns a dict from name to mean; 0 without rows."""
        count, total = tf.unstack(tf.convert_to_tensor(self.totals))
        means = tf.unstack(tf.math.divide_no_nan(total, count))
        means = dict(zip(self.names, means, strict=True))
        if self.label_weight > 0.0:
            loss, label_loss = self.names.index("loss"), self.names.index("label_loss")
            within = tf.math.divide_no_nan(total[label_loss], count[loss])
            means["loss"] += self.label_weight * (means["label_loss"] - within)
        return means

    def counted(self):
        """Returns a dict from name to what its rows count together, numbers of Python."""
        return dict(zip(self.names, self.totals.numpy()[0].tolist(), strict=True))

    def get_config(self):
        return {"names": self.names, "name": self.name}
