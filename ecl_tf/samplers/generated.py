"""Samples of a learned generator."""

import os
from typing import Any, Self

import keras
import tensorflow as tf

from ecl_tf._internal import files, keras_files, random, symbolic
from ecl_tf._internal.batches import as_type
from ecl_tf.samplers.sampler import Sampler, Samples, row_count


@keras.saving.register_keras_serializable("ecl_tf")
class Generated(Sampler):
    """x~ = model(z) with z ~ N(0, I), for any generator.

    The generator may be that of a GAN (generative adversarial network), the decoder of a VAE
    (variational autoencoder), or a diffusion sampler. A batch gives the number of rows only.
    The model must be a function of z: random layers of its own would make samples differ from
    run to run. It can make a condition (a class) of z: the argmax of K normal numbers is a
    uniform choice of one of K.

    Args:
        model: a `keras.Model` with one input z of known shape (batch, ...), whose output
            has the shape (or structure of shapes) of the batch of inputs; or the path of
            a `.keras` file of one. It is run in inference mode, and is never trained. Ids are
            outputs of an integer dtype (an argmax).

    Raises:
        ValueError: if it is no such model, or its output does not have the inputs' shapes.
        FileNotFoundError: if there is no such file.

    Example:
    >>> double = keras.Sequential([keras.Input((3,)), keras.layers.Rescaling(2.0)])
    >>> Generated(double)(tf.zeros((5, 3)), seed=0).inputs.shape
    TensorShape([5, 3])
    """

    def __init__(self, model: keras.Model | str | os.PathLike):
        if isinstance(model, (str, os.PathLike)):
            model = files.at_home(model)
            if not model.is_file():
                raise FileNotFoundError(f"There is no generator at {model}.")
            model = keras_files.load(model)
        latent = symbolic.inputs_of(model) if isinstance(model, keras.Model) else None
        if not isinstance(latent, keras.KerasTensor) or None in latent.shape[1:]:
            raise ValueError(
                "Generated needs a keras.Model with one input z of known shape (batch, ...); "
                f"got {model!r}."
            )
        self.model, self.models = model, [model]
        self.latent_shape = latent.shape[1:]

    def effect(self, path: tuple, leaf: Any) -> str:
        outputs = dict(keras.tree.flatten_with_path(symbolic.output_of(self.model)))
        is_whole = path in outputs and not tf.as_dtype(outputs[path].dtype).is_floating
        return "keeps" if is_whole else "averages"

    def validate(self, inputs: Any) -> None:
        outputs = symbolic.output_of(self.model)
        given, wanted = (
            keras.tree.map_structure(lambda leaf: tuple(leaf.shape[1:]), nest)
            for nest in (outputs, inputs)
        )
        if given != wanted:
            raise ValueError(
                f"The generator {self.model.name!r} gives rows of shape {given}, but the inputs "
                f"are {wanted}. Add a layer, such as Reshape, at its end."
            )

    def sample(self, inputs: Any, seed: tf.Tensor) -> Samples:
        rows = row_count(inputs)
        generated = self.model(random.normal(seed, [rows, *self.latent_shape]), training=False)
        generated = keras.tree.map_structure(
            lambda new, x: as_type(new, x.dtype), generated, inputs
        )
        return Samples(generated, tf.zeros([rows], tf.bool))

    def get_config(self) -> dict[str, Any]:
        return {"model": keras.saving.serialize_keras_object(self.model)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        model = config["model"]
        return cls(
            keras.saving.deserialize_keras_object(model) if isinstance(model, dict) else model
        )
