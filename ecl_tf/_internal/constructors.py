"""What `help` says of constructors."""

import inspect
from collections.abc import Iterable
from typing import Any


def describe(public: Iterable[Any]) -> None:
    """Has `help` of public classes point at the class's own text.

    `help` takes the docstring of a base class for a constructor that has none. For most classes
    that is `object`'s "Initialize self. See help(type(self))", which leads nowhere.

    Args:
        public: classes, and modules whose classes are meant; anything else is left out.
    """
    for each in public:
        for cls in vars(each).values() if inspect.ismodule(each) else [each]:
            for own in cls.__mro__ if inspect.isclass(cls) else ():
                constructor = vars(own).get("__init__")
                is_ours = own.__module__.startswith("ecl_tf.") and inspect.isfunction(constructor)
                if is_ours and not constructor.__doc__:
                    constructor.__doc__ = "Takes the arguments that are described above."
