"""Asks a student in an ONNX file. It needs numpy and onnxruntime, and no TensorFlow.

    python examples/serving/onnx_client.py student.onnx inputs.npz

inputs.npz holds an array for each of the student's inputs, by its name.
"""

import json
import sys

import numpy as np
import onnxruntime


def main(path, inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["ecl_tf_student"])

    with np.load(inputs) as arrays:
        batch = {
            # ONNX Runtime takes text as Python's strings.
            name: arrays[name].astype(object if spec["dtype"] == "string" else spec["dtype"])
            for name, spec in about["inputs"].items()
        }
    names = [output.name for output in session.get_outputs()]
    answers = zip(names, session.run(names, batch), strict=True)
    found = {name: values.tolist() for name, values in answers}
    print(json.dumps({"class_names": about.get("class_names"), **found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
