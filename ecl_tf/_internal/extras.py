"""Modules of packages that only some uses need."""

import importlib


def require(module, package, user, extra):
    """Imports a module of an extra.

    Args:
        module: its name.
        package: that of what is to be installed.
        user: what needs it, in words.
        extra: the extra that installs it, such as "teachers".

    Raises:
        ImportError: if it is not installed, with the remedy.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{user} needs {package}, which can't be imported ({error}). "
            f'Install it with pip install "ecl_tf[{extra}]".'
        ) from error
