"""Teachers that are there already, by name or as files, as Keras models."""

import importlib
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import outputs
from ecl_tf._internal import finite, keras_files, probabilities, symbolic
from ecl_tf._internal.build import call_by_name
from ecl_tf.preprocessing import compose
from ecl_tf.preprocessing import layers as build_layers
from ecl_tf.teachers import answers, black_boxes


def load(
    name: str,
    input_shape: Sequence[int] | dict[str, Sequence[int]],
    output: str | dict | outputs.Output,
    preprocessing: Any = (),
    answer: str | dict[str, str] | None = None,
    **arguments: Any,
) -> keras.Model:
    """Loads a pretrained network as a `keras.Model` from x to a raw output.

    x is the experiment's own: float32 images in [0, 1], table rows, or a dict of inputs. Where a
    network's own preprocessing is put in front, images of another range are refused in training.
    The model is a teacher, or a member of an `ecl_tf.Ensemble`, like any other. It is
    called once here, on zeros, so that what does not fit fails here.

    Args:
        name: what to load, with these arguments:
            "keras": a `.keras` file: `path`, `trust_code=False`;
            "keras_application": a model of `keras.applications`: `model` (its name),
                `weights="imagenet"` (None: random; or the path of a weights file),
                `classes=1000`, `size=None` (height and width, or both as one number; None: the
                model's own);
            "keras_hub": a KerasHub image classifier: `preset` (a name or directory);
            "saved_model": a TensorFlow SavedModel, such as `export` writes: `path`,
                `endpoint="serving_default"`. SavedModels are programs: load only those
                that you trust;
            "tflite": a LiteRT (TensorFlow Lite) file: `path`;
            "onnx": an ONNX file: `path`, `providers=("CPUExecutionProvider",)`.
            The last two run on the host, outside TensorFlow: they can't be compiled by
            XLA (`jit_compile=True` warns and goes without) or exported.
        input_shape: the shape of one example of x, such as (32, 32, 3); a dict of shapes for
            named inputs.
        output: the `ecl_tf.outputs.Output` that the raw output is to be of, or its name.
        preprocessing: layers from x to what the network expects, as in
            `ecl_tf.preprocessing.layers`. Without any, the default, "keras_application" and
            "keras_hub" have the network's own (of images in [0, 1]), which any given
            replace: ["Identity"] is none at all.
        answer: what the network answers: "logits" (the raw output itself),
            "probabilities", "mean" (points: the model's output is then an
            `ecl_tf.outputs.Point`), or a dict from parameter to the network's output,
            {"mean": "mu", "stddev": "sigma"}. None, the default, goes by the names of the
            outputs, and is "logits" for Keras models.
        **arguments: as listed under `name`.

    Returns:
        A functional `keras.Model` (a "keras" file that needs nothing: the model itself).

    Raises:
        ValueError: if there is no such kind of network or argument, or the file, inputs,
            outputs and `answer` don't fit each other: probabilities are refused where logits
            are expected or said. A network of NaN is refused, too.
        FileNotFoundError: if the file is not there.
        ImportError: if a kind needs a package that is not installed.

    Example:
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "teacher.keras")
    >>> keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save(path)
    >>> teacher = load("keras", (4,), "categorical", path=path)
    >>> teacher(np.zeros((5, 4))).shape
    TensorShape([5, 3])
    """
    if any(None in tuple(shape) for shape in _leaves(input_shape)):
        raise ValueError(f"input_shape must hold known sizes only; got {input_shape}.")
    output = outputs.get(output)
    loaded = call_by_name("pretrained network", _KINDS, name, arguments)
    if name == "keras" and answer is None:
        _warn_of_another_output(arguments["path"], output)
    network, own = loaded if isinstance(loaded, tuple) else (loaded, ())
    layers = build_layers(preprocessing or own)
    plain = compose(network, layers, input_shape)
    answered = _on_zeros(plain, input_shape)
    of_keras = isinstance(network, keras.Model)
    parameters = answers.resolve(answer, list(answered), output, "logits" if of_keras else None)
    kind = answers.kind(output, parameters)
    values = {key: answered[name] for key, name in parameters.items()}
    finite.require_weights(network, "teacher", None if of_keras else network.variables_of_file)
    finite.require_answers(values, f"teacher {network.name!r}, asked zeros,")
    answers.check(kind, values)
    unchanged = {"logits": answers.UNNAMED}
    if isinstance(kind, outputs.Joint):
        unchanged = {f"{part}_logits": part for part in kind.outputs}
    if of_keras and parameters == unchanged and len(parameters) == len(answered):
        model = plain if any(_leaves(layers)) else network
    else:
        raw = answers.RawAnswer(kind, parameters)(plain.output)
        model = keras.Model(plain.input, raw, name=plain.name)
    raw_model = plain if model is network else model
    kind.validate(symbolic.output_shape(raw_model), f"teacher {name!r}")
    _require_logits(kind, raw_model, parameters, answer)
    return model


def _warn_of_another_output(path, output):
    """Warns if a file of numbers says that it has another output, such as other units."""
    config = keras_files.output_of(path)
    own = None if config is None else outputs.get(config)
    if isinstance(own, outputs.Numeric) and own != output:
        warnings.warn(
            f"The network in {path} has the output {own!r}, and {output!r} was given, by which its "
            "raw numbers would be read otherwise. Give its own.",
            stacklevel=3,
        )


def _require_logits(kind, model, parameters, answer):
    """Raises ValueError if what is taken for logits is named like probabilities, or looks so."""
    parts = getattr(kind, "outputs", {"": kind})
    places = {name: f"{name}_logits" if name else "logits" for name in parts}
    raw = {name: each for name, each in parts.items() if places[name] in parameters}
    # Whoever says "logits" of yes/no values is believed, unless the file's name says otherwise.
    sure = [
        name
        for name in raw
        if answer is not None
        and not any(word in parameters[places[name]].lower() for word in _NAMED_PROBABILITIES)
    ]
    probabilities.require_logits(kind, model, "teacher", parts=raw, said_to_be_logits=sure)


def _on_zeros(model, input_shape):
    """Dict from output name to the model's answer for two rows of zeros."""
    zeros = keras.tree.map_structure(
        lambda tensor: tf.zeros((2, *tensor.shape[1:]), tensor.dtype), model.input
    )
    answered = model(zeros, training=False)
    if isinstance(answered, (list, tuple)):
        raise ValueError(
            f"The network {model.name!r} has a list of {len(answered)} outputs without names; "
            "build it with keras.Model(inputs, {name: tensor, ...})."
        )
    named = answered if isinstance(answered, dict) else {answers.UNNAMED: answered}
    return {name: np.asarray(array) for name, array in named.items()}


def _keras_file(path, trust_code=False):
    path = pathlib.Path(path).expanduser()
    if path.exists() and path.suffix != ".keras":
        raise ValueError(f"{path} is not a .keras file; write one with model.save('name.keras').")
    return keras_files.load(path, trust_code=trust_code)


def _keras_application(model, weights="imagenet", classes=1000, size=None):
    factory = getattr(keras.applications, model, None)
    if not callable(factory):
        known = sorted(
            n for n in dir(keras.applications) if callable(getattr(keras.applications, n))
        )
        raise ValueError(f"Unknown model {model!r} of keras.applications; expected one of {known}.")
    if isinstance(size, int):
        size = (size, size)
    shape = None if size is None else (*size, 3)
    network = factory(
        weights=weights, classes=classes, classifier_activation=None, input_shape=shape
    )
    resizing = keras.layers.Resizing(*network.input_shape[1:3])
    return network, [keras.layers.Rescaling(255.0), resizing, ApplicationPreprocessing(model)]


@keras.saving.register_keras_serializable("ecl_tf")
class ApplicationPreprocessing(keras.layers.Layer):
    """The `preprocess_input` of a model of `keras.applications`, as a layer.

    Takes images in [0, 255]; grey ones (one channel) become three equal channels.

    Args:
        model: the name of the model, such as "MobileNetV2".
        **kwargs: of `keras.layers.Layer`.

    Example:
    >>> layer = ApplicationPreprocessing("MobileNetV2")
    >>> print(layer(np.full((1, 1, 1, 1), 255.0)).numpy())
    [[[[1. 1. 1.]]]]
    """

    takes_bytes = True  # For `_internal.ranges`.

    def __init__(self, model: str, **kwargs: Any):
        """Takes the arguments that the class describes."""
        super().__init__(**{"dtype": "float32", **kwargs})
        self.model = model
        module = getattr(keras.applications, model).__module__
        self._preprocess = importlib.import_module(module).preprocess_input

    def call(self, images: tf.Tensor) -> tf.Tensor:
        if images.shape[-1] == 1:
            images = tf.repeat(images, 3, axis=-1)
        return self._preprocess(images)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "model": self.model}


def _keras_hub(preset):
    keras_hub = black_boxes.optional("keras_hub", "keras-hub")
    network = keras_hub.models.ImageClassifier.from_preset(preset, activation=None)
    own = [keras.layers.Rescaling(255.0)]
    converter = getattr(network.preprocessor, "image_converter", None)
    if converter is not None:
        # Its own steps as layers of Keras: called as a whole, it would put the network
        # into training mode.
        if converter.image_size is not None:
            own.append(converter.resizing)
        scale = 1.0 if converter.scale is None else converter.scale
        offset = 0.0 if converter.offset is None else converter.offset
        own.append(keras.layers.Rescaling(scale, offset))
    return network, own


# Parts of the names that exporters and users give to such outputs.
_NAMED_PROBABILITIES = ("prob", "sigmoid", "softmax")


def _leaves(nest):
    return list(nest.values()) if isinstance(nest, dict) else [nest]


# Functions to a network, or to one and its own preprocessing.
_KINDS: dict[str, Any] = {
    "keras": _keras_file,
    "keras_application": _keras_application,
    "keras_hub": _keras_hub,
    "onnx": lambda path, providers=("CPUExecutionProvider",): black_boxes.Onnx(path, providers),
    "saved_model": lambda path, endpoint="serving_default": black_boxes.SavedModel(path, endpoint),
    "tflite": lambda path: black_boxes.LiteRT(path),
}
