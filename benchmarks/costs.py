"""Bytes, multiply-adds and milliseconds of teachers and of students' files.

    python -m benchmarks.costs

prints `ecl_tf.costs` of the networks of `--config=digits` and of `--config=fashion_mnist`, with the
weights with which they begin: costs do not depend on their values. It takes about two minutes.
"""

import pathlib
import tempfile

import numpy as np

import ecl_tf
from configs import digits, fashion_mnist
from ecl_tf import outputs
from ecl_tf.experiments import tables
from ecl_tf.export import costs_of_all

CASES = {
    "digits": (digits.get_config(), (8, 8, 1)),
    "Fashion-MNIST": (fashion_mnist.get_config("convnet"), (28, 28, 1)),
}
FILES = {
    "SavedModel": ("saved_model", "saved_model", None),
    "LiteRT": ("student.tflite", "litert", None),
    "LiteRT, 8 bits": ("student_int8.tflite", "litert", "int8"),
    "ONNX": ("student.onnx", "onnx", None),
}


def network(section, shape):
    described = {name: each for name, each in section.network.items() if name != "preprocessing"}
    return ecl_tf.models.build(input_shape=shape, units=10, **described)


def measure(config, shape, directory):
    members = [network(config.teacher, shape) for _ in range(config.teacher.members)]
    student, output = network(config.student, shape), outputs.Categorical()
    student.save(directory / "student.keras")
    models = {f"teacher, {len(members)} members": (ecl_tf.Ensemble(members, output), None)}
    models["student, .keras"] = directory / "student.keras", None
    x = np.random.default_rng(0).random((256, *shape), "float32")
    for name, (file, format, bits) in FILES.items():
        about = {"format": format, "quantization": bits, "examples": x}
        ecl_tf.export_student(student, output, directory / file, **about)
        models[name] = directory / file, None
    return costs_of_all(models, seconds=2.0)


def main():
    for name, (config, shape) in CASES.items():
        with tempfile.TemporaryDirectory() as directory:
            found = measure(config, shape, pathlib.Path(directory))
        rows = {who: {"scores": {}, "costs": costs} for who, costs in found.items()}
        print(f"\n{name}\n\n{tables.markdown(tables.shipped({'rows': rows}))}", flush=True)


if __name__ == "__main__":
    main()
