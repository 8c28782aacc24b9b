"""Modules under the names that they had in version 0.1.0; the next release has them no more."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings

_INTERNAL = "batches build features finite identity keras_fit replicas row_means symbolic"
_TEACHERS = "answers black_boxes calibration inference pretrained"
MOVED = {
    **{f"ecl_tf.{name}": f"ecl_tf._internal.{name}" for name in _INTERNAL.split()},
    **{f"ecl_tf.{name}": f"ecl_tf.teachers.{name}" for name in _TEACHERS.split()},
    "ecl_tf.label_metrics": "ecl_tf._label_metrics",
    "ecl_tf.samplers.groups": "ecl_tf._internal.groups",
    "ecl_tf.samplers.random": "ecl_tf._internal.random",
}


class _Finder(importlib.abc.Loader):
    """Answers an import under an old name with the module itself, and a warning."""

    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name in MOVED else None

    def exec_module(self, module):
        old = module.__name__
        message = f"{old} is now {MOVED[old]}; the old name goes with the next release."
        found = importlib.import_module(MOVED[old])
        if old == "ecl_tf.keras_fit":
            message += " Its mend is ecl_tf.patch_fit now."
            vars(found)["mend"] = found.patch_fit
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        sys.modules[old] = found  # The import returns what it finds here.


def find_moved():
    """Lets old names be imported, by statements and as attributes of their packages."""
    sys.meta_path.append(_Finder())


def attribute(package, name):
    """The module that a package had under this name.

    Raises:
        AttributeError: if it had none.
    """
    if f"{package}.{name}" not in MOVED:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return importlib.import_module(f"{package}.{name}")
