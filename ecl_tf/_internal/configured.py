"""What samplers and outputs have in common: their arguments are all that they are."""

from typing import Any, Self


class Configured:
    """An object that its class and the arguments of its constructor describe."""

    def __init__(self) -> None:
        """Takes the arguments that the class describes."""

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, as JSON holds them."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Returns the object that `get_config` describes."""
        return cls(**config)

    def __repr__(self):
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"
