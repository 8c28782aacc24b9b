"""What a `Distiller` refuses before its first step, and in a step: a file for each thing asked.

Every function takes values and raises ValueError if they can't be trained with.
"""

from ecl_tf._checks import callbacks, data, labels, networks, rows, settings, step

__all__ = ["callbacks", "data", "labels", "networks", "rows", "settings", "step"]
