"""Calls the function that a configuration names, with clear errors."""

import contextlib
import importlib
import inspect


def call_by_name(kind, functions, name, arguments, *positional):
    """Calls `functions[name]`, or the function that "module:function" names, with the arguments.

    Args:
        kind: what the functions make, for the message ("network").
        functions: dict from name to function.
        name: the name that a configuration gives, or "module:function" of a user's own.
        arguments: dict of keyword arguments that a configuration gives.
        *positional: arguments that it does not give.

    Raises:
        ValueError: if there is no such name, or the function has no such argument.
        ModuleNotFoundError: if there is no such module.
    """
    module, colon, function = str(name).partition(":")
    if colon:
        own = getattr(importlib.import_module(module), function, None)
        if not callable(own):
            raise ValueError(f"Unknown {kind} {name!r}: {module} has no function {function!r}.")
        functions = {name: own}
    if name not in functions:
        raise ValueError(f"Unknown {kind} {name!r}; expected one of {sorted(functions)}.")
    parameters = inspect.signature(functions[name]).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    known = list(parameters)[len(positional) :]
    unknown = sorted(set(arguments) - set(known))
    if unknown and not takes_any:
        raise ValueError(f"The {kind} {name!r} has no arguments {unknown}; it takes {known}.")
    return functions[name](*positional, **arguments)


def import_own(described):
    """Imports the module of a network of one's own, whose layers its files name.

    Args:
        described: a configuration's dict with a "name", or None.
    """
    module, colon, _ = str((described or {}).get("name")).partition(":")
    if module and colon:
        with contextlib.suppress(ImportError):  # To load other files needs no such module.
            importlib.import_module(module)


def is_named(config, known):
    """Whether a config is of one of this package's classes, by its short name or as Keras saves it.

    Somebody's registered class may have the name of one of ours; then it is theirs.
    """
    package, _, _ = (config.get("registered_name") or "ecl_tf>").partition(">")
    return package == "ecl_tf" and config.get("class_name") in known
