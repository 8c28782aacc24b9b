"""What the workers of a strategy agree on."""

import time

import numpy as np

from ecl_tf._internal import replicas


class Workers:
    """What the workers of a strategy agree on, at steps that all of them know."""

    def __init__(self, strategy):
        self.strategy, self.own_number = strategy, replicas.worker_number(strategy)
        self.are_several = replicas.workers(strategy) > 1
        self._next_step, self._last_step, self._last_time = 0, 0, time.monotonic()

    def ask(self, answer):
        """Every worker's answer, in their order; all of them have to ask."""
        answer = np.asarray(answer)
        local = self.strategy.num_replicas_in_sync // replicas.workers(self.strategy)
        return np.stack(replicas.gather(self.strategy, [answer] * local)[::local])

    def meet(self, step):
        """Whether workers ask each other after this step: after every one, if it is one worker.

        Otherwise about once a second by the chief's clock.
        """
        if not self.are_several:
            return True
        if step < self._next_step:
            return False
        seconds = max(time.monotonic() - self._last_time, 1e-6) / max(step - self._last_step, 1)
        self._next_step = step + int(self.ask(min(max(1.0 / seconds, 1.0), 1000.0))[0])
        self._last_step, self._last_time = step, time.monotonic()
        return True
