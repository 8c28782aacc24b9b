"""`help` of a public class says what its arguments are."""

import inspect
import pydoc

import ecl_tf


def test_help_of_no_public_class_says_initialize_self():
    public = [getattr(ecl_tf, name) for name in ecl_tf.__all__]
    found = [each for part in public if inspect.ismodule(part) for each in vars(part).values()]
    classes = {each for each in [*public, *found] if inspect.isclass(each)}
    classes = {each for each in classes if each.__module__.startswith("ecl_tf")}
    assert len(classes) > 20
    for each in classes:
        said = pydoc.render_doc(each, renderer=pydoc.plaintext)
        assert "Initialize self" not in said, each
