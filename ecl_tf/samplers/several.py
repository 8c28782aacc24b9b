"""What samplers that draw by several others share."""

from collections.abc import Sequence
from typing import Any

from ecl_tf import uncertainty
from ecl_tf.samplers.sampler import Sampler


class Several(Sampler):
    """A sampler that draws by others, all of which must be able to work on the inputs.

    Args:
        samplers: a list of samplers, or of their names or configs.

    Raises:
        ValueError: if there are none.
    """

    def __init__(self, samplers: Sequence[Sampler | str | dict[str, Any]]):
        from ecl_tf.samplers import get

        if not samplers:
            raise ValueError(f"{type(self).__name__} needs at least one sampler; got none.")
        self.samplers = [get(sampler) for sampler in samplers]
        self.asks_networks = any(sampler.asks_networks for sampler in self.samplers)
        self.models = [model for sampler in self.samplers for model in sampler.models]

    def validate(self, inputs: Any) -> None:
        for sampler in self.samplers:
            sampler.validate(inputs)

    def validate_networks(self, networks: uncertainty.Networks) -> None:
        for sampler in self.samplers:
            sampler.validate_networks(networks)

    @property
    def parts(self) -> Sequence[Sampler]:
        return [part for sampler in self.samplers for part in sampler.parts]

    @property
    def is_recordable(self) -> bool:
        return all(sampler.is_recordable for sampler in self.samplers)
