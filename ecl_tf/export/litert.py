"""Students as LiteRT (TensorFlow Lite) files, for phones and small computers.

The description of the student is appended to the file as a ZIP archive, where LiteRT's own tools
look for files that travel with a model. `unzip` and Python's `zipfile` read it.
"""

import json
import pathlib
import re
import tempfile
import threading
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ecl_tf._internal import extras, files

SUFFIX = ".tflite"
_DESCRIPTION = "ecl_tf_student.json"
_SIGNATURE = "serving_default"
_MAGIC = b"TFL3"
# How the converter names the operations that the file would lack.
_LACKING = re.compile(r"^(?:Flex|Custom) ops: (.*)$", re.MULTILINE)


def convert(
    function: Callable[[Any], dict[str, tf.Tensor]],
    specs: Any,
    tracked: Sequence[Any] = (),
    **settings: Any,
) -> bytes:
    """Returns a function as the bytes of a LiteRT file, whose signature names inputs and outputs.

    Args:
        function: from one nesting of tensors to a dict of tensors.
        specs: the nesting of `tf.TensorSpec`, each with a name, and None as the number of rows.
        tracked: the Keras models and layers whose weights the function reads; empty by default.
        **settings: attributes of `tf.lite.TFLiteConverter`, such as `optimizations`.

    Raises:
        ValueError: if the function has operations that LiteRT lacks, naming them.
    """
    archive = keras.export.ExportArchive()
    for each in tracked:
        archive.track(each)
    archive.add_endpoint("serve", function, input_signature=[specs])
    with tempfile.TemporaryDirectory() as directory:
        archive.write_out(directory, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            directory, signature_keys=[_SIGNATURE]
        )
        for name, value in settings.items():
            setattr(converter, name, value)
        try:
            return converter.convert()
        except Exception as error:  # The converter's own kind is not public.
            lacking = sorted(set(", ".join(_LACKING.findall(str(error))).split(", ")) - {""})
            operations = f"the operations {lacking}" if lacking else f"this student: {error}"
            raise ValueError(f"LiteRT has no {operations}") from error
