"""Students as ONNX files, for ONNX Runtime and its kin.

The description of the student is one of the file's metadata properties.
"""

import hashlib
import json
import logging
import pathlib
from typing import Any

import numpy as np

from ecl_tf._internal import extras, loggers
from ecl_tf.export import places, precision
from ecl_tf.export.served import INPUTS, PARAMETERS, LackingError, Served, specs_of, traced

NAME, SUFFIX = "ONNX", ".onnx"
PACKAGES = {name: name for name in ("onnx", "onnxruntime", "tf2onnx")}
_DESCRIPTION, _HASH = "ecl_tf_student", "ecl_tf_sha256"
MISSING = f"it is no ONNX file with the metadata {_DESCRIPTION!r}"
OTHERS = "other ONNX files run in onnxruntime"
# The newest that tf2onnx writes.
_OPSET = 18
_LOOKUPS = "ai.onnx.ml"  # The domain that has them.

whole = places.whole_file


def convert(served: Served) -> bytes:
    """Returns a student as the bytes of an ONNX file.

    Raises:
        ImportError: if onnx or tf2onnx is not installed.
        LackingError: if the student has operations that ONNX lacks, naming them.
    """
    onnx = _require("onnx")
    tf2onnx = _require("tf2onnx")
    function, specs, _ = served.function(served.ids_as_given)
    function = traced(function, specs)
    try:
        with loggers.at_least(logging.CRITICAL, "tf2onnx", "tensorflow"):
            model, _ = tf2onnx.convert.from_function(
                function,
                input_signature=[specs],
                opset=_OPSET,
                custom_op_handlers={name: (make, []) for name, make in _MADE.items()},
            )
    except Exception as error:  # The converter has many for what it can't take.
        raise LackingError(str(error)) from error
    lacking = {n.op_type for n in model.graph.node if not onnx.defs.has(n.op_type, n.domain)}
    if lacking:
        raise LackingError(f"it has no operations {sorted(lacking)}")
    answers = function.get_concrete_function()
    _keep_constants(onnx, model.graph, answers)
    for spec, (keys, ids) in served.vocabularies().items():
        _prepend_lookup(onnx, model.graph, spec, keys, ids)
    for each in (*model.graph.input, *model.graph.output):
        each.type.tensor_type.shape.dim[0].dim_param = "batch"
    model.producer_name = "ecl_tf"
    described = json.dumps(served.full_description(answers.structured_outputs))
    onnx.helper.set_model_props(model, {_DESCRIPTION: described})
    return model.SerializeToString()


def place(path: pathlib.Path) -> pathlib.Path:
    """The file to write; ValueError if it has another suffix, or is something else."""
    return places.file(path, SUFFIX, lambda there: description(there) is not None)


def write(served: Served, path: pathlib.Path) -> None:
    """Writes a student and its description."""
    with precision.single(served.student):
        content = convert(served)
    path.write_bytes(content + _with_hash(hashlib.sha256(content).hexdigest()))


def description(path: pathlib.Path) -> dict[str, Any] | None:
    """The description of the student in a file; None if it is not one of `write`."""
    onnx = _require("onnx")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # It has many for what is no such file.
        return None
    found = {each.key: each.value for each in model.metadata_props}.get(_DESCRIPTION)
    return None if found is None else json.loads(found)


def require_whole(path: pathlib.Path) -> None:
    """Raises an error if a file is no ONNX file, of a student or not, or holds no network."""
    if not _require("onnx").load(path, load_external_data=False).HasField("graph"):
        raise ValueError(f"{path} holds no graph.")


def is_as_written(path: pathlib.Path) -> bool:
    """Whether a file of `write` has its bytes; True of earlier versions, which kept no hash."""
    onnx = _require("onnx")
    properties = onnx.load(path, load_external_data=False).metadata_props
    expected = {each.key: each.value for each in properties}.get(_HASH)
    if expected is None:
        return True
    content = path.read_bytes().removesuffix(_with_hash(expected))
    return hashlib.sha256(content).hexdigest() == expected


def _with_hash(expected):
    """The bytes of a metadata property. Those of messages one after another are of both."""
    onnx = _require("onnx")
    model = onnx.ModelProto()
    onnx.helper.set_model_props(model, {_HASH: expected})
    return model.SerializeToString()


class Runner:
    """A file of `write`, as a function from named arrays to named arrays."""

    on_host = True

    def __init__(self, path: pathlib.Path, about: dict[str, Any], threads: int | None = None):
        runtime = _require("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0  # It chooses.
        self._session = runtime.InferenceSession(path, options, ["CPUExecutionProvider"])
        self._names = [each.name for each in self._session.get_outputs()]
        self.input_specs = specs_of(about[INPUTS])
        self.parameter_specs = specs_of(about[PARAMETERS])

    def __call__(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        given = {name: _with_texts(array) for name, array in arrays.items()}
        return dict(zip(self._names, self._session.run(None, given), strict=True))


def _require(module):
    return extras.require(module, module, "An ONNX file", "export")


def _with_texts(array):
    """Text as ONNX Runtime takes it, which is not in bytes."""
    if array.dtype != object:
        return array
    return np.array([each.decode() for each in array.ravel()], object).reshape(array.shape)


def _keep_constants(onnx, graph, answers):
    """Has the graph hold what a function took from outside, which tf2onnx makes inputs of it.

    Such are the mean and the variance of a normalization.
    """
    count = len(answers.captured_inputs)
    taken = {
        symbol.name: value
        for symbol, value in zip(
            answers.inputs[len(answers.inputs) - count :], answers.captured_inputs, strict=True
        )
    }
    for each in [each for each in graph.input if each.name in taken]:
        graph.input.remove(each)
        value = onnx.numpy_helper.from_array(taken[each.name].numpy(), each.name)
        graph.initializer.append(value)


def _prepend_lookup(onnx, graph, name, keys, ids):
    """Makes of an input of ids one of text."""
    (given,) = [each for each in graph.input if each.name == name]
    inner = f"{name}/ids"
    for node in graph.node:
        node.input[:] = [inner if each == name else each for each in node.input]
    lookup = onnx.helper.make_node(
        "LabelEncoder",
        [name],
        [inner],
        domain=_LOOKUPS,
        keys_strings=keys,
        values_int64s=ids,
        default_int64=0,
    )
    graph.node.insert(0, lookup)
    given.type.tensor_type.elem_type = onnx.TensorProto.STRING


# Operations of TensorFlow that tf2onnx lacks, made of those that ONNX has.


def _expm1(graph, result, x):
    # exp(x) - 1 = tanh(x / 2) (exp(x) + 1) is exact for small x, too.
    half, one = _constant(graph, 0.5), _constant(graph, 1.0)
    tanh = _node(graph, "Tanh", _node(graph, "Mul", x, half))
    _node(graph, "Mul", tanh, _node(graph, "Add", _node(graph, "Exp", x), one), **result)


def _erfc(graph, result, x):
    _node(graph, "Sub", _constant(graph, 1.0), _node(graph, "Erf", x), **result)


def _broadcast_shapes(graph, result, first, second):
    # That of an array of the one shape, expanded to the other.
    int64 = {"to": _require("onnx").TensorProto.INT64}
    first, second = (_node(graph, "Cast", each, attr=int64) for each in (first, second))
    both = _node(graph, "Expand", _node(graph, "ConstantOfShape", first), second)
    dtype = {"to": result["dtypes"][0]}
    _node(graph, "Cast", _node(graph, "Shape", both), attr=dtype, **result)


def _node(graph, kind, *inputs, **arguments):
    return graph.make_node(kind, list(inputs), **arguments).output[0]


def _constant(graph, value):
    name = _require("tf2onnx").utils.make_name("constant")
    return graph.make_const(name, np.float32(value)).output[0]


def _replacing(make):
    """As tf2onnx calls what replaces a node."""

    def replace(graph, node, name, _):
        inputs, (output,) = list(node.input), node.output
        result = {"name": name, "outputs": [output]}
        result |= {"shapes": [graph.get_shape(output)], "dtypes": [graph.get_dtype(output)]}
        graph.remove_node(name)
        make(graph, result, *inputs)

    return replace


_MADE = {
    "BroadcastArgs": _replacing(_broadcast_shapes),
    "Erfc": _replacing(_erfc),
    "Expm1": _replacing(_expm1),
}
