"""Modules under the names that they had in version 0.1.0; the next release has them no more."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings

MOVED = {
    **{
        f"ecl_tf.{name}": f"ecl_tf._internal.{name}"
        for name in (
            "batches",
            "build",
            "features",
            "finite",
            "identity",
            "keras_fit",
            "replicas",
            "row_means",
            "symbolic",
        )
    },
    **{
        f"ecl_tf.{name}": f"ecl_tf.teachers.{name}"
        for name in ("answers", "black_boxes", "calibration", "inference", "pretrained")
    },
    "ecl_tf.label_metrics": "ecl_tf._label_metrics",
    "ecl_tf.samplers.groups": "ecl_tf._internal.groups",
    "ecl_tf.samplers.random": "ecl_tf._internal.random",
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers an import under an old name with the module itself, and a warning."""

    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name in MOVED else None

    def create_module(self, spec):
        new, has_mend = MOVED[spec.name], spec.name == "ecl_tf.keras_fit"
        public = " Its mend is ecl_tf.patch_fit now." if has_mend else ""
        warnings.warn(
            f"{spec.name} is now {new}; the old name goes with the next release.{public}",
            DeprecationWarning,
            stacklevel=2,
        )
        module = importlib.import_module(new)
        if has_mend:
            vars(module)["mend"] = module.patch_fit
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = self._own_spec  # The import had set the old name's.


def find_moved():
    """Lets old names be imported, by statements and as attributes of their packages."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def attribute(package, name):
    """The module that a package had under this name.

    Raises:
        AttributeError: if it had none.
    """
    if f"{package}.{name}" not in MOVED:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return importlib.import_module(f"{package}.{name}")
