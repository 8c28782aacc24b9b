"""The supervised loss, for teachers and for students trained without one (ERM)."""

from typing import Any

import keras
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf._internal import probabilities
from ecl_tf._internal.positions import by_row, expand


@keras.saving.register_keras_serializable("ecl_tf")
class NegativeLogLikelihood(keras.losses.Loss):
    """-log p(y | x) in nats, where the network's raw output stands for p.

    For categorical outputs this is cross-entropy, for normal ones the Gaussian
    likelihood with a predicted scale. With it, plain `compile`/`fit` trains a network
    whose output `Distiller` understands.

    Call it with y_true, which is class indices (batch,), one-hot or soft rows (batch, K), or
    targets (batch, d) of normal outputs, and with y_pred, the raw output (batch, K) or
    (batch, 2d). Both may have positions after the batch: (batch, positions...) indices and
    (batch, positions..., K) raw outputs. Masks, and labels that the output ignores, are left
    out of the mean.

    Args:
        output: an `ecl_tf.outputs.Output`, "categorical" or "bernoulli". A network with
            several named outputs takes a dict of these losses in `compile`.
        reduction: over examples, as in every Keras loss; the default "sum_over_batch_size"
            is the mean.
        name: "negative_log_likelihood" by default.
        dtype: that losses are computed in; Keras's own default.

    Raises:
        ValueError: if `output` is none of these; in a call, before the first step, if the network
            answers with probabilities of a softmax or sigmoid, or with scales or rates of a
            softplus, as the graph tells.
        tf.errors.InvalidArgumentError: in a step, before its update, if labels are out of range, or
            answers look like probabilities of classes. With `jit_compile=True` the loss is NaN.

    Example:
    >>> import math
    >>> loss = NegativeLogLikelihood("categorical")
    >>> math.isclose(float(loss([0], [[0.0, 0.0]])), math.log(2), rel_tol=1e-6)
    True

    Reference: Nix and Weigend, "Estimating the mean and variance of the target
    probability distribution", 1994.
    """

    def __init__(
        self,
        output: outputs.Output | str | dict[str, Any],
        reduction: str = "sum_over_batch_size",
        name: str = "negative_log_likelihood",
        dtype: Any = None,
    ):
        """Takes the arguments that the class describes."""
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.output = outputs.get(output)

    def __call__(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> tf.Tensor:
        if isinstance(self.output, outputs.Joint) and not isinstance(y_pred, dict):
            raise ValueError(
                "Keras asks a loss about one output after another. Give compile a dict of losses, "
                "{name: NegativeLogLikelihood(output)}, with the names of the outputs "
                f"{sorted(self.output.outputs)}."
            )
        for output, raw in outputs.parts_of(self.output, y_pred).values():
            probabilities.require_no_activation(output, raw, "NegativeLogLikelihood")
        if sample_weight is not None and not isinstance(self.output, outputs.Joint):
            positions = tf.convert_to_tensor(y_pred).shape[:-1]
            sample_weight = expand(sample_weight, positions, "sample_weight")
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        if isinstance(self.output, outputs.Joint):
            return self.output.negative_log_likelihood(self.output(y_pred), y_true, by_row(y_pred))
        y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
        self.output.validate_labels(y_true.shape, y_pred.shape)
        invalid = tf.reduce_any(self.output.invalid(y_true, y_pred))
        said = f"Labels are out of range. Expected {self.output.expected_labels(y_pred.shape)}."
        y_pred = probabilities.checked(self.output, y_pred, "NegativeLogLikelihood")
        # No update comes before it.
        with tf.control_dependencies([tf.debugging.assert_equal(invalid, False, said)]):
            y_pred = tf.identity(y_pred)
        losses = self.output.negative_log_likelihoods(self.output(y_pred), y_true)
        known = self.output.known(y_true, y_pred)
        if known is not None:
            losses._keras_mask = tf.cast(known, tf.bool)  # Keras leaves those out of the mean.
        return losses

    def get_config(self) -> dict[str, Any]:
        output = keras.saving.serialize_keras_object(self.output)
        return {**super().get_config(), "output": output}
