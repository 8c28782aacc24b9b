"""A branch of a network for its scales."""

import keras
from keras import layers

from ecl_tf._internal import symbolic


def with_scale_branch(network: keras.Model, width: int = 32) -> keras.Model:
    """The network with scales from a branch of their own, which teaches the rest nothing.

    Its last layer, dense on features h, gives means and scales. In the result the means are dense
    on h, and the scales dense on relu(dense(held(h))), where held() passes no gradient on. So the
    features serve the means alone, and a bad scale can't spoil them. It is meant for
    `divergence="faithful"`. All other layers are shared with the network that was given.

    Args:
        network: a functional or sequential model, whose last layer is `keras.layers.Dense` of 2 d
            units without activation: the raw output of `ecl_tf.outputs.Normal(d)`.
        width: units of the branch's hidden layer; 32 by default.

    Raises:
        ValueError: if the last layer is another one, or `width` < 1.

    Example:
    >>> network = keras.Sequential([keras.Input((3,)), layers.Dense(8, "relu"), layers.Dense(2)])
    >>> apart = with_scale_branch(network, width=4)
    >>> apart.output_shape, apart.count_params() - network.count_params()
    ((None, 2), 32)

    Reference: Stirn et al., "Faithful Heteroscedastic Regression with Neural Networks", 2023,
    section 4; the branch's hidden layer is this package's.
    """
    inputs, last = symbolic.inputs_of(network), network.layers[-1] if network.layers else None
    is_raw = isinstance(last, layers.Dense) and last.activation is keras.activations.linear
    if inputs is None or last is None or not is_raw or last.units % 2:
        raise ValueError(
            "A branch for scales needs a functional network whose last layer is Dense of means and "
            "scales, an even number of units without activation; that of "
            f"{network.name!r} is {last!r}. "
            "Build the branch in your own network."
        )
    if width < 1:
        raise ValueError(f"The width of a branch must be at least 1; got {width}.")
    features, size = last.input, last.units // 2
    held = layers.Dense(width, "relu", name="scale_branch")(keras.ops.stop_gradient(features))
    means = layers.Dense(size, name="means")(features)
    scales = layers.Dense(size, name="scales")(held)
    raw = layers.Concatenate(name="raw")([means, scales])
    return keras.Model(inputs, raw, name=network.name)
