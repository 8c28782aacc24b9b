"""What layers of a network give, changed while the network is called.

The layers' `call` is exchanged meanwhile, so that this works in any network that calls them, also
a subclassed one, and the network is left as it was found. Replicas are traced in threads that may
wait within a network for each other, so every thread has a change of its own.
"""

import contextlib
import functools
import threading

_own = threading.local()
_lock = threading.RLock()
_MISSING = object()
_exchanged: dict = {}  # By the layer's id: how many contexts hold it, and what was in its place.


@contextlib.contextmanager
def changed(layers, change):
    """Changes what these layers give to calls of this thread.

    Args:
        layers: a list of Keras layers.
        change: a function (layer, outputs, arguments, keyword arguments of the call) -> outputs.

    Yields:
        The ids of the layers that were called, a set that grows.
    """
    called: set = set()
    before = getattr(_own, "changes", {})
    _own.changes = {**before, **{id(layer): (change, called) for layer in layers}}
    for layer in layers:
        _exchange(layer)
    try:
        yield called
    finally:
        for layer in layers:
            _restore(layer)
        _own.changes = before


def _exchange(layer):
    with _lock:
        count, found = _exchanged.get(id(layer), (0, vars(layer).get("call", _MISSING)))
        if count == 0:
            # Keras's own way of setting an attribute would follow it.
            vars(layer)["call"] = _changing(layer, layer.call)
        _exchanged[id(layer)] = count + 1, found


def _restore(layer):
    with _lock:
        count, found = _exchanged.pop(id(layer))
        if count > 1:
            _exchanged[id(layer)] = count - 1, found
        elif found is _MISSING:
            del vars(layer)["call"]
        else:
            vars(layer)["call"] = found


def _changing(layer, call):
    @functools.wraps(call)
    def run(*args, **kwargs):
        outputs = call(*args, **kwargs)
        change, called = getattr(_own, "changes", {}).get(id(layer), (None, None))
        if change is None:
            return outputs
        called.add(id(layer))
        return change(layer, outputs, args, kwargs)

    return run
