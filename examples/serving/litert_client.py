"""Asks a student in a LiteRT file. It needs numpy and ai-edge-litert, and no TensorFlow.

    python examples/serving/litert_client.py student.tflite inputs.npz

inputs.npz holds an array for each of the student's inputs, by its name.
"""

import json
import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main(path, inputs):
    with zipfile.ZipFile(path) as archive:  # The description is appended to the model.
        about = json.loads(archive.read("ecl_tf_student.json"))
    interpreter = Interpreter(model_path=path)
    ask = interpreter.get_signature_runner("serving_default")

    with np.load(inputs) as arrays:
        batch = {
            name: arrays[name] if spec["dtype"] == "string" else arrays[name].astype(spec["dtype"])
            for name, spec in about["inputs"].items()
        }
    answers = {name: values.tolist() for name, values in ask(**batch).items()}
    print(json.dumps({"class_names": about.get("class_names"), **answers}))


if __name__ == "__main__":
    main(*sys.argv[1:])
