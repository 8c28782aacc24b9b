"""What a reader of `help` sees: every public name is explained and typed."""

import inspect
import pydoc
import re

import keras
import pytest

import ecl_tf
from ecl_tf import gap, headroom, relatives

MODULES = [ecl_tf, gap, headroom, relatives, *(getattr(ecl_tf, name) for name in ecl_tf.__all__)]
MODULES = [module for module in MODULES if inspect.ismodule(module)]


def public(module):
    """The classes and functions of a module's `__all__`, or those that it defines itself."""
    own = (n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__)
    for name in getattr(module, "__all__", own):
        value = getattr(module, name)
        if name[0] != "_" and (inspect.isclass(value) or inspect.isfunction(value)):
            yield value


def classes(module):
    return filter(inspect.isclass, public(module))


of_each = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)


@of_each
def test_every_name_of_all_is_there(module):
    names = getattr(module, "__all__", [])
    assert module.__doc__ and sorted(names) == list(names)
    assert all(hasattr(module, name) for name in names)


@of_each
def test_docstrings_name_every_argument_and_its_default(module):
    for value in public(module):
        for name, parameter in inspect.signature(value).parameters.items():
            assert re.search(rf"\b{name}\b", value.__doc__), (value, name)
            if parameter.default is not parameter.empty:
                said = re.search(rf"^ +{name}: .*?(?=^ +\w+: |^ *$)", value.__doc__, re.M | re.S)
                assert said and re.search("default|empty", said[0]), (value, name)


def signatures(value):
    """Of a function, or of a class and its public methods and properties."""
    yield value
    for name, member in vars(value).items() if inspect.isclass(value) else ():
        member = getattr(member, "fget", getattr(member, "func", member))
        if name[0] != "_" and inspect.isroutine(member):
            yield getattr(member, "__func__", member)


@of_each
def test_signatures_are_annotated(module):
    for each in (each for value in public(module) for each in signatures(value)):
        signature = inspect.signature(each)
        arguments = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
        assert not [p.name for p in arguments if p.annotation is p.empty], each
        assert inspect.isclass(each) or signature.return_annotation is not signature.empty, each


@of_each
def test_help_of_a_class_is_its_own(module):
    for value in classes(module):
        assert "Initialize self" not in pydoc.render_doc(value, renderer=pydoc.plaintext), value


@of_each
def test_what_keras_can_save_has_a_configuration(module):
    for value in classes(module):
        if keras.saving.get_registered_name(value) != value.__name__:
            assert callable(getattr(value, "get_config", None)), value
