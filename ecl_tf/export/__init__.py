"""The student alone, as a file that answers with its distribution: SavedModel, LiteRT or ONNX."""

from ecl_tf.export.loading import ExportedStudent, is_exported, load_student
from ecl_tf.export.measuring import costs, costs_of_all
from ecl_tf.export.writing import export_student, write

__all__ = [
    "ExportedStudent",
    "costs",
    "costs_of_all",
    "export_student",
    "is_exported",
    "load_student",
    "write",
]
