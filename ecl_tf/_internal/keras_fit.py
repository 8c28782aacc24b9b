"""What Keras 3's `fit` needs to run right in the scope of a `tf.distribute` strategy."""

import keras
import tensorflow as tf


def patch_fit(model: keras.Model) -> keras.Model:
    """Repairs three faults of Keras's `fit`, `evaluate` and `train_on_batch` under a strategy.

    1. Before the first step Keras takes a batch, to see what it looks like, and reduces its
       parts over the replicas, which MultiWorkerMirroredStrategy refuses for nests of tensors
       (https://github.com/keras-team/keras/issues/20585), and every strategy for truth values.
       Here the data's specification serves instead.
    2. MultiWorkerMirroredStrategy averages the values that a step logs over their first axis,
       which scalars don't have (https://github.com/tensorflow/tensorflow/issues/72388). Here
       they get one.
    3. Under "mixed_float16" on several replicas, `keras.optimizers.LossScaleOptimizer` skips
       a step only if the first replica's own gradients overflowed; another's bring NaN into
       all weights. Here every replica hears of it.

    `tests/internal/test_multi_worker.py` and `tests/test_mixed_precision.py` tell when Keras no
    longer needs this.

    Args:
        model: a compiled `keras.Model`. One that was made outside of a strategy's scope is
            left as it is. A `Distiller` calls this itself.

    Returns:
        The model.

    Example:
    >>> with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
    ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    ...     model.compile("sgd", "mse")
    >>> history = patch_fit(model).fit(tf.zeros((8, 4)), tf.zeros((8, 1)), verbose=0)
    >>> history.history["loss"]
    [0.0]
    """
    strategy = model._distribute_strategy
    if strategy:

        def build(iterator=None, data_batch=None):
            if iterator is not None:
                data_batch = iterator.data_adapter.get_tf_dataset().element_spec
            with strategy.scope():
                model._symbolic_build(data_batch=data_batch)

        model._maybe_symbolic_build = build
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        for name in ("train_step", "test_step"):
            setattr(model, name, _with_an_axis(getattr(type(model), name), model))
    optimizer = model.optimizer
    if strategy and isinstance(optimizer, keras.optimizers.LossScaleOptimizer):

        def apply(gradients, trainable_variables=None):
            gradients = _with_overflows_of_all(gradients)
            return type(optimizer).apply(optimizer, gradients, trainable_variables)

        optimizer.apply = apply
    return model


def loss_scaling_policy(model):
    """The policy by which Keras decides on loss scaling: that of a float16 layer, if any."""
    policies = [model.dtype_policy, *(layer.dtype_policy for layer in model._flatten_layers())]
    return next((p for p in policies if p.compute_dtype == "float16"), policies[0])


def _with_an_axis(step, model):
    def logging_rows(data):
        return {name: value[None] for name, value in step(model, data).items()}

    return logging_rows


def _with_overflows_of_all(gradients):
    """This replica's gradients, made NaN if those of any replica are not finite."""
    dense = [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]
    overflows = [tf.reduce_any(~tf.math.is_finite(g)) for g in dense if g is not None]
    context = tf.distribute.get_replica_context()
    count = context.all_reduce(
        tf.distribute.ReduceOp.SUM, tf.cast(tf.reduce_any(overflows), tf.float32)
    )
    nan = float("nan")
    return [None if g is None else tf.where(count > 0, tf.cast(nan, g.dtype), g) for g in dense]
