"""Updates that happen only if a step was good."""

import keras
import tensorflow as tf


def changed_by_passes(model):
    """The variables that a forward pass in training mode may set.

    Those are all that are not trained, and kernels that Keras divides by their spectral norm.
    """
    layers = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.SpectralNormalization) and layer.built
    ]
    return [*model.non_trainable_variables, *(layer.kernel for layer in layers)]


def read(variables):
    """Variables with their values now, to be given to `apply`."""
    return [(variable, tf.identity(variable.value)) for variable in variables]


def apply(optimizer, gradients, weights, is_good, before):
    """Applies gradients if the step was good; otherwise puts all back as it was before the step.

    Args:
        optimizer: a built Keras optimizer.
        gradients: one for each of the weights.
        weights: the trained variables.
        is_good: a scalar bool tensor, this replica's.
        before: what `read` gave of the variables that the step has changed already.
    """
    pairs = list(zip(gradients, weights, strict=True))
    if not tf.distribute.has_strategy():

        def update():
            optimizer.apply_gradients(pairs)

        def put_back():
            for variable, value in before:
                variable.assign(value)

        tf.cond(is_good, update, put_back)
        return
    # Replicas meet in an update, which a strategy does not allow in a condition.
    context = tf.distribute.get_replica_context()
    bad = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(~is_good, tf.float32))
    is_good = tf.equal(bad, 0.0)
    others = {id(variable) for variable, _ in before}
    kept = read([v for v in (*weights, *optimizer.variables) if id(v) not in others])
    with tf.control_dependencies([value for _, value in kept]):
        optimizer.apply_gradients(pairs)
    for variable, value in before:
        variable.assign(tf.where(is_good, variable.value, value))

    def put_back_on_all(strategy, is_good, *values):
        for (variable, _), value in zip(kept, values, strict=True):
            strategy.extended.update(
                variable.value,
                lambda copy, old, good: copy.assign(tf.where(good, copy, old)),
                args=(value, is_good),
            )

    context.merge_call(put_back_on_all, args=(is_good, *(value for _, value in kept)))
