"""What tells networks, samplers and settings apart, in this process or in another."""

import hashlib
import json

import keras
import numpy as np
import tensorflow as tf

# Bytes of one array. Larger ones are known by evenly spread rows of as many bytes.
HASHED_BYTES = 2**28
_CHUNK_BYTES = 2**24


def fingerprint_of_models(models):
    """A hash of networks' weights; of one that has none, of its configuration."""
    digest = hashlib.sha256()
    for model in models:
        weights = [np.ascontiguousarray(weight) for weight in model.get_weights()]
        for weight in weights:
            digest.update(f"{weight.dtype}{weight.shape}".encode())
            digest.update(weight.tobytes())
        if not weights:
            config = comparable(config_of(model))
            digest.update(json.dumps(config, sort_keys=True).encode())
    return digest.hexdigest()


def fingerprint_of_rows(nest):
    """A hash of all arrays of a nesting, or of rows of large ones."""
    digest = hashlib.sha256()
    for path, leaf in keras.tree.flatten_with_path(nest):
        digest.update(str(path).encode())
        for tensor in tf.nest.flatten(leaf, expand_composites=True):
            if tensor is not None:
                _add(digest, np.asarray(tensor))
    return digest.hexdigest()


def _add(digest, array):
    digest.update(f"{array.dtype}{array.shape}".encode())
    if not array.size or array.dtype == object:  # Strings.
        digest.update(repr(array.tolist()).encode())
        return
    rows = array.reshape(len(array) if array.ndim else 1, -1)
    row_bytes = rows[0].nbytes
    step = -(-array.nbytes // HASHED_BYTES)
    chunk = step * max(_CHUNK_BYTES // row_bytes, 1)
    for start in range(0, len(rows), chunk):
        digest.update(rows[start : start + chunk : step].tobytes())


def fingerprint_of_text(text):
    """A hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def config_of(thing):
    """The Keras configuration of a sampler, output or network, as JSON has it.

    A user's layer may have none; then it is the name of its class.
    """
    try:
        return _plain(keras.saving.serialize_keras_object(thing))
    except (TypeError, NotImplementedError):
        return {"class_name": type(thing).__name__}


def differing(found, wanted, prefix=""):
    """Yields the dotted name and both values of every field in which two records differ."""
    found, wanted = comparable(_plain(found)), comparable(_plain(wanted))
    for name in sorted(found.keys() | wanted.keys()):
        one, two = found.get(name), wanted.get(name)
        if isinstance(one, dict) and isinstance(two, dict):
            yield from differing(one, two, f"{prefix}{name}.")
        elif one != two:
            yield f"{prefix}{name}", one, two


def differences(found, wanted):
    """A text for every field in which two records differ: its dotted name, and both values."""
    return [f"{name} ({one!r} there, {two!r} here)" for name, one, two in differing(found, wanted)]


def fingerprint_of_record(record):
    """A hash of a record, the same for two in which `differences` finds none."""
    fields = [[name, value] for name, _, value in differing({}, record)]
    return fingerprint_of_text(json.dumps(fields, sort_keys=True))


def comparable(value):
    """Without what Keras counts or draws in a session: layers' names, seeds, and shapes met."""
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if not isinstance(value, dict):
        return value
    left_out = {"build_config", "inbound_nodes", "input_layers", "output_layers"}
    if value.get("registered_name"):
        left_out.add("module")  # Classes may move.
    if value.keys() & {"trainable", "batch_shape"}:
        left_out |= {"name", "seed"}  # An `Augment` draws by its own.
    return {key: comparable(item) for key, item in value.items() if key not in left_out}


def as_json(name, given):
    """A user's dict as JSON gives it back; ValueError that begins with its name if none can."""
    try:
        if not isinstance(given, dict):
            raise TypeError(f"it is a {type(given).__name__}")
        # NaN is never the same again.
        return json.loads(json.dumps(given, default=_of_numpy, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be a dict from names to values that JSON holds: numbers, texts, truth "
            f"values, None, lists and dicts ({error})."
        ) from error


def _of_numpy(value):
    """NumPy's numbers as Python's. The text of anything else may be another one in a next run."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is none of these")


def _plain(value):
    """As JSON gives it back; NumPy's numbers and arrays as numbers and lists, others as texts."""
    return json.loads(json.dumps(value, default=_plain_leaf))


def _plain_leaf(value):
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else str(value)
