"""Networks in files that something other than Keras runs, as Keras layers.

A layer here takes x (a tensor, or a dict by the file's input names) in any batch size, and
returns a dict from the file's output names to tensors. No gradient passes through it, and
there is nothing to train. A model with such a layer saves as .keras with the *path* of
the file, which must be there when the model is loaded again.
"""

import os
import pathlib
import threading
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import extras
from ecl_tf._internal.batches import as_type


def optional(module, package):
    """Imports a module of the extra `teachers`; ImportError if it is not installed."""
    return extras.require(module, package, "This kind of teacher", "teachers")


class BlackBox(keras.layers.Layer):
    """Base class: named inputs to named outputs, as a file has them.

    Subclasses set `specs`, a dict from input name to `tf.TensorSpec`, in which None
    stands for any size, and `variables_of_file` where the file's weights can be read.

    Args:
        path: the file, or directory.

    Raises:
        FileNotFoundError: if it is not there.
    """

    specs: dict[str, tf.TensorSpec]
    variables_of_file: Sequence[tf.Variable] = ()

    def __init__(self, path: str | os.PathLike, **kwargs: Any):
        # Inputs are cast to what the file wants, not to the policy of the day.
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.file = str(pathlib.Path(path).expanduser().absolute())
        if not pathlib.Path(self.file).exists():
            raise FileNotFoundError(
                f"There is no teacher at {self.file}. (Models with a teacher from a file are "
                "saved with its path, not with its contents.)"
            )

    def build(self, input_shape):
        """Checks the inputs' shapes against the file's."""
        for name, shape in self._by_input(input_shape).items():
            expected = self.specs[name].shape
            if not expected[1:].is_compatible_with(shape[1:]):
                raise ValueError(
                    f"Input {name!r} of {self.file} has the shape {expected} with the batch; "
                    f"got {tuple(shape)}."
                )
        self.built = True

    def _by_input(self, values):
        """Values by the file's input names; one unnamed value is that of the only input."""
        values = values if isinstance(values, dict) else {None: values}
        if len(self.specs) == 1 and len(values) == 1:
            return dict(zip(self.specs, values.values(), strict=True))
        if set(values) != set(self.specs):
            given = "one tensor" if list(values) == [None] else sorted(values)
            raise ValueError(
                f"{self.file} has the inputs {sorted(self.specs)}; give x as a dict with these "
                f"names. Got {given}."
            )
        return {name: values[name] for name in self.specs}

    def _cast_inputs(self, inputs):
        named = self._by_input(inputs).items()
        return {name: as_type(value, self.specs[name].dtype) for name, value in named}

    def get_config(self):
        return {**super().get_config(), "path": self.file}


@keras.saving.register_keras_serializable("ecl_tf")
class SavedModel(BlackBox):
    """A signature of a TensorFlow SavedModel.

    SavedModels are programs, so a Keras model with this layer is not loaded in Keras's
    safe mode: `keras.saving.load_model(path, safe_mode=False)`.

    Args:
        path: the SavedModel's directory.
        endpoint: the name of the signature, "serving_default" by default.

    Raises:
        ValueError: if the directory is no SavedModel, has no such signature, or one that
            takes a fixed number of rows.
    """

    def __init__(self, path: str | os.PathLike, endpoint: str = "serving_default", **kwargs: Any):
        super().__init__(path, **kwargs)
        self.endpoint = endpoint
        try:
            self._loaded = tf.saved_model.load(self.file)
        except OSError as error:
            raise ValueError(f"{self.file} is not a SavedModel directory: {error}") from error
        if endpoint not in self._loaded.signatures:
            raise ValueError(
                f"The SavedModel {self.file} has no signature {endpoint!r}; it has "
                f"{sorted(self._loaded.signatures)}."
            )
        self._signature = self._loaded.signatures[endpoint]
        self.variables_of_file = self._signature.variables
        self.specs = dict(self._signature.structured_input_signature[1])
        for name, spec in self.specs.items():
            if spec.shape.rank is not None and (not spec.shape.rank or spec.shape[0] is not None):
                raise ValueError(
                    f"Input {name!r} of {self.file} has the shape {spec.shape}, which does not "
                    "leave the number of rows open; export it with None there."
                )

    def call(self, inputs):
        return self._signature(**self._cast_inputs(inputs))

    def get_config(self):
        return {**super().get_config(), "endpoint": self.endpoint}

    @classmethod
    def from_config(cls, config, custom_objects=None, safe_mode=None):
        # Keras's own rule for layers that load a SavedModel.
        rule = keras.layers.TFSMLayer.from_config.__func__
        return rule(cls, config, custom_objects, safe_mode)


class _OnHost(BlackBox):
    """Base class of networks that run outside TensorFlow, on the host's CPU.

    Such a network can't be compiled by XLA or exported in a SavedModel. Keras knows by
    `supports_jit`: `compile(jit_compile=True)` warns and goes on without.

    Subclasses set `specs`, and implement `_run`, from a dict of arrays to a dict of arrays, and
    `_fixed_rows`, the only number of rows that the network takes, or None. Calls from several
    threads are safe.

    Attributes:
        rows: how many rows the network takes at a time; None if any.
    """

    rows: int | None = None

    def __init__(self, path: str | os.PathLike, **kwargs: Any):
        super().__init__(path, **kwargs)
        self.supports_jit = False

    def build(self, input_shape):
        super().build(input_shape)
        shapes = {name: tuple(shape[1:]) for name, shape in self._by_input(input_shape).items()}
        try:
            self.rows = self._fixed_rows(shapes)
            zeros = {
                name: np.zeros((2, *shape), self.specs[name].dtype.as_numpy_dtype)
                for name, shape in shapes.items()
            }
            answers = self.answer(zeros)
        except Exception as error:  # Every runtime has exceptions of its own.
            raise ValueError(f"{self.file} can't take inputs of {shapes}: {error}") from error
        self._answers = {name: array.shape[1:] for name, array in answers.items()}

    def call(self, inputs):
        named = self._cast_inputs(inputs)

        def on_host(*arrays):
            answers = self.answer(dict(zip(named, arrays, strict=True)))
            return [answers[name] for name in self._answers]

        tensors = tf.numpy_function(
            on_host, list(named.values()), [tf.float32] * len(self._answers)
        )
        batch = next(iter(named.values())).shape[0]
        answers = dict(zip(self._answers, tf.nest.flatten(tensors), strict=True))
        for name, shape in self._answers.items():
            answers[name].set_shape((batch, *shape))
        return answers

    def answer(self, arrays):
        """Runs the network on the rows of NumPy arrays, as many as there are.

        Args:
            arrays: dict from input name to an array with the file's dtype.

        Returns:
            A dict from output name to a float32 array.
        """
        rows = len(next(iter(arrays.values())))
        size = self.rows or max(rows, 1)
        starts = range(0, max(rows, 1), size)
        missing = len(starts) * size - rows  # Rows of zeros stand for them.
        full = {
            name: np.pad(array, [(0, missing), *[(0, 0)] * (array.ndim - 1)])
            for name, array in arrays.items()
        }
        parts = [
            self._run({name: array[start : start + size] for name, array in full.items()})
            for start in starts
        ]
        for name, array in parts[0].items():
            if array.shape[:1] != (size,):
                raise ValueError(
                    f"output {name!r} has the shape {array.shape} for {size} rows; it must "
                    "have one row for each"
                )
        return {
            name: np.concatenate([part[name] for part in parts])[:rows].astype(np.float32)
            for name in parts[0]
        }


@keras.saving.register_keras_serializable("ecl_tf")
class LiteRT(_OnHost):
    """A LiteRT (TensorFlow Lite) file, run by `ai_edge_litert`.

    Quantised inputs and outputs are taken and given as the real numbers that they stand
    for, scale * (q - zero point). A file whose graph holds for its own number of rows
    only is run that many rows at a time.

    Args:
        path: the .tflite file.

    Raises:
        ImportError: if `ai_edge_litert` is not installed.
        ValueError: if the file is not of this format.
    """

    def __init__(self, path: str | os.PathLike, **kwargs: Any):
        super().__init__(path, **kwargs)
        litert = optional("ai_edge_litert.interpreter", "ai-edge-litert")
        try:
            self._interpreter = litert.Interpreter(model_path=self.file)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{self.file} is not a LiteRT file: {error}") from error
        self._one_at_a_time = threading.Lock()
        self._shapes: dict | None = None  # For which tensors are allocated.
        self._sources, self._targets = self._named_details()
        self.specs = {
            name: tf.TensorSpec(
                [None if size < 0 else int(size) for size in detail["shape_signature"]], tf.float32
            )
            for name, detail in self._sources.items()
        }

    def _named_details(self):
        """Details of inputs and outputs, named as in the file's signature if it has one."""
        names = {}
        signatures = list(self._interpreter.get_signature_list())
        if len(signatures) == 1:  # Several have a graph each, with indices of its own.
            runner = self._interpreter.get_signature_runner(signatures[0])
            for details in (runner.get_input_details(), runner.get_output_details()):
                names.update({detail["index"]: name for name, detail in details.items()})
        both = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        return tuple(
            {names.get(detail["index"], detail["name"]): detail for detail in details}
            for details in both
        )

    def _fixed_rows(self, shapes):
        # Resizing may fail, or be followed by a part of the graph only.
        rows = int(next(iter(self._sources.values()))["shape"][0])
        random = np.random.default_rng(0)
        whole = {name: random.random((2 * rows, *s), np.float32) for name, s in shapes.items()}
        try:
            together = self._run(whole)
        except (RuntimeError, ValueError):
            return rows
        halves = slice(rows), slice(rows, None)
        apart = [self._run({name: whole[name][half] for name in whole}) for half in halves]
        for name, array in together.items():
            expected = np.concatenate([half[name] for half in apart])
            tolerance = 1e-3 * max(1.0, float(np.abs(expected).max()))
            if array.shape != expected.shape or not np.allclose(
                array, expected, rtol=0.0, atol=tolerance, equal_nan=True
            ):
                return rows
        return None

    def _run(self, arrays):
        with self._one_at_a_time:
            shapes = {name: array.shape for name, array in arrays.items()}
            if shapes != self._shapes:
                self._shapes = None
                for name, shape in shapes.items():
                    self._interpreter.resize_tensor_input(self._sources[name]["index"], shape)
                self._interpreter.allocate_tensors()
                self._shapes = shapes
            for name, array in arrays.items():
                detail = self._sources[name]
                self._interpreter.set_tensor(detail["index"], _quantised(array, detail))
            self._interpreter.invoke()
            return {
                name: _dequantised(self._interpreter.get_tensor(detail["index"]), detail)
                for name, detail in self._targets.items()
            }


@keras.saving.register_keras_serializable("ecl_tf")
class Onnx(_OnHost):
    """An ONNX file, run by ONNX Runtime.

    Outputs other than tensors of real numbers, such as a classifier's labels, are left
    out.

    Args:
        path: the .onnx file.
        providers: names of ONNX Runtime's execution providers, in order of preference; its
            own for CPUs by default.

    Raises:
        ImportError: if `onnxruntime` is not installed.
        ValueError: if the file is not of this format, or a provider is not there.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        **kwargs: Any,
    ):
        super().__init__(path, **kwargs)
        onnxruntime = optional("onnxruntime", "onnxruntime")
        self.providers = list(providers)
        available = onnxruntime.get_available_providers()
        if set(self.providers) - set(available):
            raise ValueError(f"ONNX Runtime has the providers {available}; got {self.providers}.")
        try:
            self._session = onnxruntime.InferenceSession(self.file, providers=self.providers)
        except Exception as error:
            raise ValueError(f"{self.file} is not an ONNX file that runs: {error}") from error
        self.specs = {each.name: self._spec(each) for each in self._session.get_inputs()}
        types = {each.name: each.type for each in self._session.get_outputs()}
        self._output_names = [name for name, type_ in types.items() if type_ in _ONNX_REAL]
        if not self._output_names:
            raise ValueError(f"{self.file} has no output of real numbers: {types}.")

    def _spec(self, tensor):
        dtype = (_ONNX_REAL | _ONNX_WHOLE).get(tensor.type)
        if dtype is None:
            raise ValueError(f"Input {tensor.name!r} of {self.file} is no number: {tensor.type}.")
        sizes = [size if isinstance(size, int) else None for size in tensor.shape]
        return tf.TensorSpec(sizes or None, tf.as_dtype(dtype))

    def _fixed_rows(self, shapes):
        shape = next(iter(self.specs.values())).shape
        return shape[0] if shape.rank else None

    def _run(self, arrays):
        answers = self._session.run(self._output_names, arrays)
        return dict(zip(self._output_names, answers, strict=True))

    def get_config(self):
        return {**super().get_config(), "providers": self.providers}


_ONNX_REAL = {"tensor(float16)": "float16", "tensor(float)": "float32", "tensor(double)": "float64"}
_ONNX_WHOLE = {
    f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def _quantised(array, detail):
    """Real numbers as a LiteRT tensor holds them."""
    dtype = detail["dtype"]
    if not np.issubdtype(dtype, np.integer):
        return array.astype(dtype)
    scale, zero_point = detail["quantization"]
    whole = np.round(array / scale + zero_point if scale else array)
    limits = np.iinfo(dtype)
    return np.clip(whole, limits.min, limits.max).astype(dtype)


def _dequantised(array, detail):
    """The real numbers that a LiteRT tensor holds."""
    scale, zero_point = detail["quantization"]
    array = array.astype(np.float32)
    return (array - zero_point) * scale if scale else array
