"""Shows the examples of docstrings, which are doctests, as code."""

import re

import griffe

# An example's lines, up to the next empty one.
_EXAMPLE = re.compile(r"^( *)>>> .*(?:\n\1\S.*|\n\1 +\S.*)*", re.MULTILINE)


class Doctests(griffe.Extension):
    """Puts fences around doctests, which Markdown would take for quotations."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            obj.docstring.value = _EXAMPLE.sub(_fenced, obj.docstring.value)


def _fenced(found):
    indent, code = found[1], found[0]
    return f"{indent}```pycon\n{code}\n{indent}```"
