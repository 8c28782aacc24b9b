"""The means over rows that a distiller logs."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("ecl_tf")
class RowMeans(keras.metrics.Metric):
    """Means of several values over all rows since the last reset.

    They share one variable, and one count of rows: a `keras.metrics.Mean` for each would be
    1 to 2 % of a small student's step.

    Args:
        names: of the values.

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
        # The number of rows, and every value's sum.
        self.totals = self.add_variable((1 + len(self.names),), initializer="zeros", name="totals")

    def update_state(self, values):
        """Takes a dict from every name to a tensor of shape (rows,)."""
        sums = [tf.reduce_sum(tf.cast(values[name], tf.float32)) for name in self.names]
        rows = tf.cast(tf.shape(values[self.names[0]])[0], tf.float32)
        self.totals.assign_add(tf.stack([rows, *sums]))

    def result(self):
        """Returns a dict from name to mean; 0 without rows."""
        totals = tf.convert_to_tensor(self.totals)
        means = tf.unstack(tf.math.divide_no_nan(totals[1:], totals[0]))
        return dict(zip(self.names, means, strict=True))

    def get_config(self):
        return {"names": self.names, "name": self.name}
