"""The student alone, as a file that answers with its distribution: SavedModel, LiteRT or ONNX."""

from ecl_tf.export.loading import ExportedStudent, load_student
from ecl_tf.export.measuring import costs, costs_of_all
from ecl_tf.export.writing import export_student, write

__all__ = [
    "ExportedStudent",
    "costs",
    "costs_of_all",
    "export_student",
    "load_student",
    "write",
]
