"""Keras layers in front of a network, which adapt the inputs x to what it expects.

Teacher and student see the same sampled x. Where they want another scale, resolution or
layout of it, each has layers of its own, inside its own `keras.Model`: they are saved and
exported with it.
"""

import inspect
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import endless, symbolic, whole_numbers

# Attributes of layers whose statistics were arguments of their own.
_STATISTICS = ("input_mean", "input_bin_boundaries", "input_vocabulary")
# Layers that run code from a config: refused in Keras's safe mode.
_RUN_CODE = ("Lambda", "TFSMLayer")

_Described: TypeAlias = keras.Layer | str | Sequence[Any] | dict[str, Any] | None
_Layers = list[keras.Layer] | dict[str, Any]


def layers(preprocessing: _Described) -> _Layers:
    """Builds preprocessing layers from their description.

    Args:
        preprocessing: a sequence whose items are Keras layers, names of `keras.layers`
            ("Normalization"), or configs such as {"class_name": "Rescaling",
            "config": {"scale": 255.0}}; or a dict from input name to such a sequence; None
            or an empty one for no layers.

    Returns:
        A list of layers, or a dict of lists. Layers are kept as they are.

    Raises:
        ValueError: if an item is none of these, or its layer can't be built.

    Example:
    >>> built = layers(["Flatten", {"class_name": "Rescaling", "config": {"scale": 255.0}}])
    >>> [type(layer).__name__ for layer in built]
    ['Flatten', 'Rescaling']
    """
    if isinstance(preprocessing, dict) and "class_name" not in preprocessing:
        return {name: layers(each) for name, each in preprocessing.items()}
    if isinstance(preprocessing, (str, dict, keras.Layer)):
        preprocessing = [preprocessing]
    return [_layer(item) for item in preprocessing or ()]


def with_preprocessing(
    model: keras.Model | keras.Layer, preprocessing: _Described, input_shape: Any
) -> keras.Model | keras.Layer:
    """Puts preprocessing layers in front of a network.

    Args:
        model: a `keras.Model` (or layer) of the preprocessed inputs.
        preprocessing: as in `layers`; a dict if the inputs are a dict. Inputs whose names it
            leaves out stay as they are.
        input_shape: the shape of one example of x, without the batch, such as (32, 32, 3);
            a dict of shapes for named inputs.

    Returns:
        A functional `keras.Model` of x whose inputs are named as the model's; the model
        itself if there is no preprocessing.

    Raises:
        ValueError: if the preprocessing does not fit the inputs, or the model does not
            fit what the layers give.

    Example:
    >>> network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> with_preprocessing(network, ["Flatten"], (2, 2)).input_shape
    (None, 2, 2)
    """
    built = layers(preprocessing)
    if not any(built.values() if isinstance(built, dict) else built):
        return model
    return compose(model, built, input_shape)


def compose(model: keras.Model | keras.Layer, built: _Layers, input_shape: Any) -> keras.Model:
    """Chains inputs, preprocessing layers and a network, also where there are no layers.

    Args:
        model: a `keras.Model` or layer.
        built: the result of `layers`.
        input_shape: as in `with_preprocessing`.
    """
    inputs = _inputs(model, built, input_shape)
    if isinstance(inputs, dict):
        built = built or {}
        if not isinstance(built, dict) or set(built) - set(inputs):
            raise ValueError(
                f"The inputs are named {sorted(inputs)}, so preprocessing must be a dict from "
                f"some of these names to sequences of layers; got {built!r}."
            )
        features = {name: _chain(x, built.get(name, ())) for name, x in inputs.items()}
    else:
        if isinstance(built, dict):
            raise ValueError(
                "preprocessing is a dict, for named inputs, but the inputs are one tensor of "
                f"shape {tuple(input_shape)}; give a sequence of layers."
            )
        features = _chain(inputs, built)
    try:
        outputs = model(features)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        shapes = keras.tree.map_structure(lambda tensor: tuple(tensor.shape[1:]), features)
        raise ValueError(
            f"The network {model.name!r} can't take inputs of shape {shapes} (one example, "
            f"after preprocessing): {error}\nBring x to what it expects with preprocessing "
            "layers, such as Rescaling, Resizing or Permute."
        ) from error
    return keras.Model(inputs, outputs, name=f"preprocessed_{model.name}")


def run(built: _Layers, inputs: Any) -> Any:
    """Returns inputs as layers change them, in inference mode.

    Args:
        built: the result of `layers`: a list for one tensor, a dict of lists for named inputs.
        inputs: a batch, as tensors or as `keras.KerasTensor`s. Inputs whose names the dict leaves
            out stay as they are.

    Raises:
        ValueError: if the layers are for other inputs, or can't take them.

    Example:
    >>> run(layers([{"class_name": "Resizing", "config": {"height": 4, "width": 4}}]),
    ...     tf.zeros([5, 2, 2, 1])).shape
    TensorShape([5, 4, 4, 1])
    """
    if not isinstance(built, dict):
        if built and keras.tree.is_nested(inputs):
            raise ValueError(
                f"preprocessing is a list of layers, for one tensor, and the inputs are a "
                f"{type(inputs).__name__}; give a dict from names of inputs to lists of layers."
            )
        return _chain(inputs, built)
    if not isinstance(inputs, dict) or set(built) - set(inputs):
        found = sorted(inputs) if isinstance(inputs, dict) else "one unnamed tensor"
        raise ValueError(
            f"preprocessing is for inputs named {sorted(built)}, and the inputs are {found}."
        )
    return {name: _chain(x, built.get(name, ())) for name, x in inputs.items()}


def output_shape(built: _Layers, input_shape: Any) -> Any:
    """Returns the shape (or dict of shapes) of one example after layers.

    Args:
        built: the result of `layers`.
        input_shape: as in `with_preprocessing`.
    """
    outputs = compose(keras.layers.Identity(), built, input_shape).output
    return keras.tree.map_structure(lambda tensor: tuple(tensor.shape[1:]), outputs)


def adapt(preprocessing: _Described, dataset: tf.data.Dataset) -> _Layers:
    """Sets the statistics of preprocessing layers from training inputs.

    Each layer with an `adapt` method whose statistics are not given (`Normalization`
    without a mean, say) is adapted on the outputs of the layers before it. Features that
    are constant in the data are only centred by `Normalization`, not blown up.

    Args:
        preprocessing: as in `layers`.
        dataset: a finite, batched `tf.data.Dataset` of training inputs (a tensor, or a dict
            of them), or of (inputs, labels), whose labels are not read.

    Returns:
        The layers, to be given to `with_preprocessing`: a list, or a dict of lists.

    Raises:
        ValueError: if the dataset is empty or without end, has no input of a name, or holds NaN
            or Inf where a `Normalization` is adapted.

    Example:
    >>> data = tf.data.Dataset.from_tensors([[1.0], [3.0]])
    >>> (normalization,) = adapt(["Normalization"], data)
    >>> print(normalization(np.array([[4.0]])).numpy())
    [[2.]]
    """
    if not isinstance(dataset, tf.data.Dataset):
        raise ValueError(
            f"adapt takes a batched tf.data.Dataset of inputs; got a {type(dataset).__name__}. "
            "tf.data.Dataset.from_tensor_slices(x).batch(256) makes one of arrays."
        )
    if endless.is_endless(dataset):
        raise ValueError("adapt reads the whole dataset, but this one has no end (repeat?).")
    if next(iter(dataset), None) is None:
        raise ValueError("adapt got an empty dataset; give it the training inputs.")
    if isinstance(dataset.element_spec, tuple):
        dataset = dataset.map(lambda inputs, *_: inputs)
    built = layers(preprocessing)
    if not isinstance(built, dict):
        return _adapt(built, dataset)
    names = dataset.element_spec if isinstance(dataset.element_spec, dict) else {}
    if set(built) - set(names):
        raise ValueError(
            f"preprocessing is for the inputs {sorted(built)}; the dataset has {sorted(names)}."
        )
    return {
        name: _adapt(each, dataset.map(lambda inputs, name=name: inputs[name]))
        for name, each in built.items()
    }


def _adapt(built, dataset):
    if isinstance(dataset.element_spec, dict):
        raise ValueError(
            f"The inputs are named {sorted(dataset.element_spec)}, so preprocessing must be a "
            "dict from names to sequences of layers."
        )
    for layer in built:
        holders = layer, getattr(layer, "_lookup_layer", None)  # A TextVectorization's.
        given = (getattr(each, name, None) is not None for each in holders for name in _STATISTICS)
        if hasattr(layer, "adapt") and not any(given):
            is_normalization = isinstance(layer, keras.layers.Normalization)
            shape = dataset.element_spec.shape
            if is_normalization and shape.rank in (0, 1):
                raise ValueError(
                    "A Normalization takes batches of rows with an axis of features, and the "
                    f"dataset's elements have the shape {shape}. If each is one row, batch them: "
                    "dataset.batch(256). If each is a batch of single numbers, put {'class_name': "
                    "'Reshape', 'config': {'target_shape': (1,)}} in front of it."
                )
            layer.adapt(dataset)
            if is_normalization:
                # Features without variance (but for rounding) get the variance 1.
                mean, variance = np.asarray(layer.adapt_mean), np.asarray(layer.adapt_variance)
                if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
                    raise ValueError(
                        f"The inputs that {layer.name!r} is adapted to hold NaN or Inf. Leave such "
                        "rows out, or fill their values in."
                    )
                constant = variance <= (1e-6 * mean) ** 2
                layer.adapt_variance.assign(np.where(constant, 1.0, variance))
                layer.finalize_state()
        _call(layer, next(iter(dataset)))  # Built here, not in the graph of `map`.
        dataset = dataset.map(lambda x, layer=layer: _call(layer, x))
    return built


def _layer(item):
    if isinstance(item, keras.Layer):
        return item
    config = {"class_name": item, "config": {}} if isinstance(item, str) else item
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise ValueError(
            "A preprocessing layer is a Keras layer, a name such as 'Normalization', or a "
            f"config such as {{'class_name': 'Rescaling', 'config': {{'scale': 255.0}}}}; "
            f"got {item!r}."
        )
    name, arguments = config["class_name"], dict(config.get("config") or {})
    if keras.config.dtype_policy().compute_dtype != "float32":
        arguments.setdefault("dtype", "float32")  # Raw inputs may overflow float16.
    cls = getattr(keras.layers, name, None)
    own = isinstance(cls, type) and issubclass(cls, keras.Layer) and "module" not in config
    try:
        if own and name not in _RUN_CODE:
            layer = getattr(keras.layers, name)(**arguments)
        else:
            module = {"module": "keras.layers", "registered_name": None} if own else {}
            layer = keras.saving.deserialize_keras_object(
                {**config, **module, "config": arguments}, safe_mode=True
            )
    except Exception as error:
        if cls is None and ">" not in name and "module" not in config:
            raise ValueError(
                f"Unknown preprocessing layer {name!r}; expected the name of a layer in "
                "keras.layers, such as 'Rescaling', 'Normalization', 'Resizing', "
                "'CenterCrop', 'Permute', 'Reshape', 'Flatten', 'Discretization' or "
                "'CategoryEncoding', or a config with the registered name of your own."
            ) from error
        raise ValueError(
            f"The preprocessing layer {name!r} can't be built from {arguments}: {error}"
        ) from error
    if not isinstance(layer, keras.Layer):
        raise ValueError(f"{name!r} is not a Keras layer; got {layer!r}.")
    return layer


def _inputs(model, built, input_shape):
    """Symbolic inputs of x, named as the model's where it has names."""
    known = symbolic.inputs_of(model) if isinstance(model, keras.Model) else None
    leaves = keras.tree.flatten(() if known is None else known)
    leaves += whole_numbers.specs_in_file(model).values()
    if isinstance(input_shape, dict):
        chains = built if isinstance(built, dict) else {}
        own = {leaf.name: leaf for leaf in leaves} | (known if isinstance(known, dict) else {})
        return {
            name: keras.Input(tuple(shape), name=name, dtype=_type(chains.get(name), own.get(name)))
            for name, shape in input_shape.items()
        }
    kind = _type(built if isinstance(built, list) else (), leaves[0] if leaves else None)
    name = getattr(known, "name", None) or "inputs"
    return keras.Input(tuple(input_shape), name=name, dtype=kind)


def _type(chain, own):
    """The type of an input; None for the default one.

    Args:
        chain: the layers that take it; None or empty for none.
        own: the network's own input, or the spec of one in a file, which rounds for itself; or
            None.
    """
    first = next(iter(chain or ()), None)
    if isinstance(first, (keras.layers.StringLookup, keras.layers.TextVectorization)):
        return "string"
    if first is not None:
        return "int32" if getattr(first, "takes_ids", False) else None
    if isinstance(own, keras.KerasTensor) or getattr(own, "dtype", None) == tf.string:
        return tf.as_dtype(own.dtype).name
    return None


def _chain(x, built):
    for layer in built:
        try:
            x = _call(layer, x)
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            raise ValueError(
                f"The preprocessing layer {layer.name!r} can't take inputs of shape "
                f"{tuple(x.shape[1:])} (one example): {error}"
            ) from error
    return x


def _call(layer, x):
    # Image layers of Keras take themselves, and by the call context all layers after
    # them, to be training when nobody says otherwise: model(x) would train on.
    if "training" in inspect.signature(layer.call).parameters:
        return layer(x, training=False)
    return layer(x)
