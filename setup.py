"""Installs `ecl_tf`; `trainers` and `configs` are run from the checkout."""

import pathlib
import re

from setuptools import setup

here = pathlib.Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (here / "ecl_tf/__init__.py").read_text())
# Kinds of pretrained teachers that need more than TensorFlow (`ecl_tf.pretrained`).
teachers = ["ai-edge-litert>=2.3", "keras-hub>=0.32", "onnxruntime>=1.32"]

setup(
    name="ecl_tf",
    version=version.group(1),
    description="Extracurricular learning: knowledge distillation beyond the training set",
    long_description=(here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=["ecl_tf", "ecl_tf.data", "ecl_tf.models", "ecl_tf.replay", "ecl_tf.samplers"],
    # Lower bounds are the versions that the tests were run with. TensorFlow Probability
    # needs tf_keras without declaring it; TensorFlow Datasets needs importlib_resources,
    # and its own test case dill.
    install_requires=[
        "absl-py>=2.3",
        "importlib_resources>=6.5",
        "keras>=3.15",
        "matplotlib>=3.10",
        "ml_collections>=1.1",
        "numpy>=2.0",
        "scikit-learn>=1.7",
        "scipy>=1.15",
        "tensorflow>=2.21",
        "tensorflow-datasets>=4.9.10",
        "tensorflow-probability>=0.25",
        "tf_keras>=2.21",
    ],
    extras_require={
        "benchmarks": ["torch>=2.14", "torchvision>=0.29"],  # A loop to compare steps with.
        "teachers": teachers,
        "test": [
            *teachers,
            "dill>=0.4",
            "mypy>=2.0",
            "onnx>=1.23",
            "pytest>=9.0",
            "pytest-cov>=7.0",
            "pytest-xdist>=3.8",
            "ruff>=0.15",
        ],
    },
)
