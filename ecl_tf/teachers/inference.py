"""Networks in the form that answers fastest: what only training needs is taken out."""

import collections

import keras
import numpy as np

from ecl_tf._internal import batch_normalisation, finite, folding, legacy, low_precision, symbolic


def inference_form(model: keras.Model, dtype: str = "float32") -> keras.Model:
    """A copy of a network for inference: batch normalisation folded, perhaps in low precision.

    Where a convolution or dense layer feeds nothing but a batch normalisation, the two are one
    affine map, which the copy's layer computes alone:

        gamma (W x + b - mean) / sqrt(variance + epsilon) + beta = W' x + b'

    with W' = W gamma / sqrt(variance + epsilon) by output channel. In float32 answers differ by
    rounding only. (An `Ensemble` does much the same by itself, from the weights of the moment. The
    copy saves the product W' in every step, and takes memory of its own.) With
    `dtype="bfloat16"` all but preprocessing and the last layers compute with numbers of 8
    significant bits, which processors that know them do in about half of the time;
    `benchmarks/steps.py` says how much faster it is, and by how many nats answers differ. Measure
    the latter on your own teacher: it is what the student is matched to.

    Args:
        model: a functional or sequential `keras.Model`, which is left as it is. Networks
            within it are copied, too.
        dtype: "float32" (the default), "bfloat16" (typical of processors that know it) or
            "float16": of all layers but those that give the output, and those that prepare
            the input (`Normalization` and its like).

    Returns:
        A `keras.Model` of the same inputs and outputs, not trainable.

    Raises:
        ValueError: if it is no such model, or the dtype is another.

    Example:
    >>> import numpy as np
    >>> image = keras.Input((8, 8, 3))
    >>> x = keras.layers.Conv2D(4, 3, use_bias=False)(image)
    >>> x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    >>> model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    >>> folded = inference_form(model)
    >>> any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    False
    >>> rows = np.random.default_rng(0).random((5, 8, 8, 3), "float32")
    >>> bool(np.allclose(folded(rows), model(rows), atol=1e-5))
    True

    Reference: Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", 2018, section 3.2 and equation 14.
    """
    legacy.refuse(model, "teacher")
    if not symbolic.computes_its_graph(model):
        raise ValueError(
            "inference_form copies functional and sequential models, layer by layer; got "
            f"{type(model).__name__} {getattr(model, 'name', model)!r}. Give its layers as a "
            "functional model, or use it as it is."
        )
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"dtype must be float32, bfloat16 or float16; got {dtype!r}.")
    finite.require_weights(model, "teacher")
    model = folding.functional(model)  # Keras copies a sequential one's layers only as they are.
    folded = {}  # Of layers that are folded away or into: the copy's configuration and weights.
    networks = [*_networks(model)]
    uses = collections.Counter(id(layer) for network in networks for layer in network.layers)
    for network in networks:
        for before, layer, _ in folding.pairs(folding.functional(network)):
            if uses[id(before)] == uses[id(layer)] == 1:  # One of several networks stays.
                folded[id(before)] = _fold(before, layer)
                folded[id(layer)] = None
    last = {id(layer) for layer in low_precision.last_layers(model)}
    copies = []

    def copy(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization) and id(layer) in folded:
            made = keras.layers.Identity(name=layer.name, dtype=config["dtype"])
        else:
            if id(layer) in folded:
                config["use_bias"] = True
                config.pop("lora_rank", None)  # The kernel that is folded has it.
            made = type(layer).from_config(config)
        if not isinstance(layer, keras.Layer):
            return made  # An operation such as a sum: it has no weights, and its inputs' type.
        is_raw = isinstance(layer, low_precision.PREPROCESSING)
        if dtype != "float32" and id(layer) not in last and not is_raw:
            made.dtype_policy = dtype
        copies.append((layer, made))
        return made

    def call(layer, *args, **kwargs):
        # An Identity that stands for a batch normalisation knows no masks.
        return layer(*args, **({} if isinstance(layer, keras.layers.Identity) else kwargs))

    clone = keras.models.clone_model(model, None, copy, call, recursive=True)
    for layer, made in copies:
        if id(layer) not in folded:
            made.set_weights(layer.get_weights())
        elif folded[id(layer)] is not None:
            made.set_weights(folded[id(layer)])
        if isinstance(made, keras.layers.Normalization):
            made.finalize_state()  # It computes with what it makes of its weights.
    clone.trainable = False
    return clone


def _networks(model):
    """The model and all networks within it."""
    yield model
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _networks(layer)


def _fold(before, normalisation):
    """Kernel and bias of the two as one."""
    gain, shift = batch_normalisation.gain_and_shift(normalisation)
    kernel = np.asarray(before.kernel, "float64")
    if isinstance(before, (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)):
        kernel = kernel * gain.reshape(kernel.shape[-2:])
    else:
        kernel = kernel * gain
    if before.use_bias:
        shift += np.asarray(before.bias, "float64") * gain
    return [kernel.astype("float32"), shift.astype("float32")]
