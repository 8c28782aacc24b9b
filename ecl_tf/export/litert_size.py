"""A LiteRT file without the bytes that no runtime reads.

The converter names every tensor, describes how the file was made, and repeats the zero points of
channels, which are all 0, for every weight and bias. In a small network these are a large part.
"""

from typing import Any

import flatbuffers
import numpy as np

from ecl_tf._internal import extras

_ALIGNMENT = 16  # Of constants, by LiteRT's schema. `flatbuffers` in Python does not know it.


def reduced(content: bytes) -> bytes:
    """Returns a file that computes the same, in fewer bytes.

    Inner tensors lose their names, and equal vectors are written once. Inputs, outputs and
    signatures keep theirs, as does what the file says of the runtime that it needs.
    """
    name = "ai_edge_litert.schema_py_generated"
    schema = extras.require(name, "ai-edge-litert", "A LiteRT file", "export")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    if any(buffer.offset for buffer in model.buffers):
        return content  # Of 2 GB and more, where constants lie outside of what is read here.
    model.description = None
    for subgraph in model.subgraphs:
        for number, tensor in enumerate(subgraph.tensors):
            if number not in subgraph.inputs and number not in subgraph.outputs:
                tensor.name = None
    builder = _Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):
    """Writes equal vectors of numbers once."""

    def __init__(self, size: int):
        super().__init__(size)
        self._places: dict[Any, int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802, generated code calls it.
        key = x.dtype.str, x.tobytes()
        if key not in self._places:
            if x.dtype == np.uint8:
                self.Prep(_ALIGNMENT, x.nbytes)
            self._places[key] = super().CreateNumpyVector(x)
        return self._places[key]
