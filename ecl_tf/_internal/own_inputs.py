"""Which of the data's inputs a network takes, and data that networks can't take."""

import functools

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from ecl_tf._internal import batches, symbolic


def names_of(model):
    """The names of a network's inputs, a list; None if they are not known, or in deeper nests."""
    inputs = symbolic.inputs_of(model)
    if isinstance(inputs, dict):
        return list(inputs) if not any(map(keras.tree.is_nested, inputs.values())) else None
    leaves = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    return [leaf.name for leaf in leaves] if all(hasattr(leaf, "name") for leaf in leaves) else None


def of(model, inputs):
    """The inputs that a network takes, of a dict that may hold those of other networks too.

    Keras would give a network with a dict of inputs the first ones of a larger dict, whatever
    their names are.

    Args:
        model: a Keras model.
        inputs: a batch, or specs of one.

    Raises:
        ValueError: if an input of the network is missing.
    """
    names = names_of(model)
    if names is None:
        return inputs
    if not _holds(inputs, names):
        raise ValueError(_message(inputs, [("network", model)]))
    if not isinstance(inputs, dict):
        return inputs
    own = symbolic.inputs_of(model)
    if isinstance(own, dict):
        return {name: inputs[name] for name in names}
    values = [inputs[name] for name in names]
    return values if isinstance(own, (list, tuple)) else values[0]


def require_fit(inputs, networks, may_hold_others=False):
    """Refuses inputs of which a network lacks one, or of which no network takes one.

    Args:
        inputs: a batch, or specs of one.
        networks: pairs of a role ("student", "teacher") and a Keras model.
        may_hold_others: whether inputs that no network takes may be there, as those of a network
            that is not known; False by default.

    Raises:
        ValueError: naming the inputs of the data and of the networks.
    """
    known = [names_of(model) for _, model in networks]
    lacking = any(names is not None and not _holds(inputs, names) for names in known)
    unknown = isinstance(inputs, dict) and None not in known and set(inputs) - set().union(*known)
    if lacking or (unknown and not may_hold_others):
        raise ValueError(_message(inputs, networks))
    for role, model in networks:
        require_shapes(inputs, model, role)


def require_shapes(inputs, model, role):
    """Refuses inputs of other shapes than a network was built for, and text in place of numbers.

    Args:
        inputs: a batch that holds the network's inputs, or specs of one.
        model: a Keras model; one whose inputs are not known is left to Keras.
        role: "student" or "teacher", for the message.

    Raises:
        ValueError: naming the network and both shapes.
    """
    taken = pairs(inputs, model)
    for own, its, path in taken:
        own_shape = tf.TensorShape(own.shape)
        its_shape = tf.TensorShape(its.shape)
        if isinstance(model, keras.Sequential) and own_shape.rank == its_shape.rank:
            # Keras runs its layers on other sizes than it was built for.
            its_shape = tf.TensorShape([*own_shape[:-1], its_shape[-1]])
        _require_kind(own, its, model, role)
        if own_shape.rank is None or _fits(own_shape[1:], its_shape[1:]):
            continue
        name = path[-1] if path and isinstance(path[-1], str) else its.name
        of_one = f" {name!r}" if len(taken) > 1 else ""
        raise ValueError(
            f"The data's inputs{of_one} have the shape {_unsized(own_shape)}, and the {role} "
            f"{model.name!r} takes {_unsized(its.shape)}, with the rows of a batch first. Give the "
            "data that shape (dataset.map, np.reshape), or build the network for the data's: "
            f"keras.Input({tuple(own_shape[1:])})."
        )


def pairs(inputs, model):
    """Of each of a network's inputs what is given for it, its symbolic tensor, and its path.

    Args:
        inputs: a batch that holds the network's inputs, or specs of one.
        model: a Keras model.

    Returns:
        A list; empty if the network's inputs are not known, or a batch is nested lists of numbers.
    """
    own = symbolic.inputs_of(model)
    if own is None:
        return []
    taken = keras.tree.flatten_with_path(own)
    given = keras.tree.flatten_with_path(of(model, inputs))
    if not all(hasattr(leaf, "shape") for _, leaf in given):
        return []  # They are one tensor.
    if names_of(model) is None and [path for path, _ in given] != [path for path, _ in taken]:
        return []  # Deeper nests have to be the same.
    return [(leaf, its, path) for (path, its), (_, leaf) in zip(taken, given, strict=True)]


def taken(model, inputs=None):
    """Of each of a network's inputs its path, and its symbolic tensor.

    Args:
        model: a Keras model.
        inputs: as in `pairs`, which tells the path in them; None, the default, is that in the
            network's own nesting.

    Returns:
        A list, of tensors of `symbolic.graph_of(model, inputs)`; empty if there is no such graph,
        if the batch is nested lists of numbers, and if it lacks an input.
    """
    if inputs is None:
        inputs = symbolic.inputs_of(model)
    if symbolic.inputs_of(model) is None:
        model = symbolic.graph_of(model, inputs)
    if model is None or not are_given(model, inputs):
        return []
    places = {id(leaf): tuple(path) for path, leaf in keras.tree.flatten_with_path(inputs)}
    return [(places[id(leaf)], its) for leaf, its, _ in pairs(inputs, model)]


def in_common(models):
    """Symbolic tensors of the inputs of several networks, nested as data for all of them may be.

    That is a dict by names where a network has one, or the largest has the names of all others,
    and otherwise what the largest takes; None if no network's inputs are known.
    """
    known: list[dict] = []
    for model in models:
        nest, names = symbolic.inputs_of(model), names_of(model)
        if nest is not None and names is None:
            return nest  # A deeper one has to be the data's own.
        known.append(dict(zip(names or (), keras.tree.flatten(nest), strict=False)))
    most = max(known, key=len, default={})
    named = {name: tensor for each in known for name, tensor in each.items()}
    have_dict = any(isinstance(symbolic.inputs_of(model), dict) for model in models)
    if len(most) > 1 and (have_dict or len(named) == len(most)):
        return named
    return list(most.values()) if len(most) > 1 else next(iter(most.values()), None)


def are_given(model, inputs):
    """Whether a batch, or specs of one, has what a network takes, where its inputs are known."""
    names = names_of(model)
    return names is None or _holds(inputs, names)


def require_known_rank(nest, what):
    """Refuses tensors, or specs of them, of which not even the number of axes is known."""
    for leaf in keras.tree.flatten(nest):
        if hasattr(leaf, "shape") and tf.TensorShape(leaf.shape).rank is None:
            raise ValueError(
                f"The shape of the data's {what} is not known, as from a generator or a function "
                "of Python that does not tell. Say it: tf.data.Dataset.from_generator(..., "
                "output_signature=...), or tf.ensure_shape(x, (None, ...)) in dataset.map."
            )


def _require_kind(own, its, model, role):
    """Refuses text for a network of numbers, the other way round, and complex numbers."""
    given, taken = _kind(own.dtype), _kind(its.dtype)
    if given != taken:
        raise ValueError(
            f"The data's inputs are {given} ({getattr(own.dtype, 'name', own.dtype)}), and the "
            f"{role} {model.name!r} takes {taken}. Give inputs of that kind: "
            "np.asarray(x, 'float32') or dataset.map of numbers; a keras.layers.StringLookup or "
            "TextVectorization in the network takes text."
        )
    numpy_kind = getattr(own.dtype, "kind", "")
    if numpy_kind == "U" or (numpy_kind == "O" and len(own.shape) > 1):
        raise ValueError(
            f"The data's input {its.name!r} is an array of {own.dtype.name} of the shape "
            f"{_unsized(own.shape)}. Keras takes texts as objects in one axis, or as tensors: give "
            "tf.constant(x)."
        )


def _kind(dtype):
    try:
        dtype = tf.as_dtype(dtype)
    except TypeError:
        return "neither numbers nor text"
    if dtype == tf.string:
        return "text"
    return "complex numbers" if dtype.is_complex else "numbers"


def _fits(given, taken):
    """Whether Keras takes a shape, without the rows, for another: it adds and drops a last 1."""
    if given.rank == taken.rank + 1 and given[-1] == 1:
        given = given[:-1]
    elif given.rank + 1 == taken.rank and taken[-1] == 1:
        taken = taken[:-1]
    return given.is_compatible_with(taken)


def _unsized(shape):
    return (None, *tuple(shape)[1:])


def _holds(inputs, names):
    if isinstance(inputs, dict):
        return set(names) <= set(inputs)
    leaves = keras.tree.flatten(inputs)
    if not all(hasattr(leaf, "shape") for leaf in leaves):
        return True  # Nested lists of numbers are one tensor.
    return len(leaves) == len(names)


def _message(inputs, networks):
    if isinstance(inputs, dict):
        given, hint = str(list(inputs)), symbolic.INPUTS_HINT
    else:
        count = len(keras.tree.flatten(inputs))
        given = f"{count} tensors without names" if count > 1 else "one tensor without a name"
        hint = "Give one tensor for each, or a dict of them by these names."
    taken = [
        f"the {role} {model.name!r} takes {names}"
        for role, model in networks
        if (names := names_of(model)) is not None
    ]
    return f"The data's inputs are {given}, but {' and '.join(taken)}. {hint}"


_KINDS = {
    "ragged": (tf.RaggedTensor, tf.RaggedTensorSpec),
    "sparse": (tf.SparseTensor, tf.SparseTensorSpec),
    "masked": (np.ma.MaskedArray,),
}
DENSE = {  # What to do.
    "ragged": "Pad it, and mask the padding in the networks (Embedding(mask_zero=True), say): "
    "dataset.map(lambda x, y: (x.to_tensor(), y)).",
    "sparse": "Make it dense: dataset.map(lambda x, y: (tf.sparse.to_dense(x), y)), or x.toarray() "
    "of a SciPy matrix.",
    "masked": "Nobody would look at NumPy's mask. Leave such rows out; or fill what is masked, "
    "x.filled(value), and give weights: sample_weight=~np.ma.getmaskarray(x).",
}


def not_dense(leaf):
    """What a tensor or an array is that networks here don't take, a key of `DENSE`, or ""."""
    if type(leaf).__module__.startswith("scipy.sparse"):
        return "sparse"
    return next((kind for kind, types in _KINDS.items() if isinstance(leaf, types)), "")


def _require_numbers(frame, what):
    """Refuses a table of which a column holds no numbers."""
    others = [str(name) for name, kind in frame.dtypes.items() if kind.kind not in "biuf"]
    if others:
        raise ValueError(
            f"The data's {what} are a DataFrame, whose column {others[0]!r} holds no numbers. "
            "ecl_tf.data.table(frame, target=...) encodes the columns of a table for a network, "
            "and splits.columns.encode(frame) other rows of it."
        )
    if others := [kind for kind in frame.dtypes if not isinstance(kind, np.dtype)]:
        raise ValueError(
            f"The data's {what} are a DataFrame with columns of the type {others[0]} of pandas, "
            "which Keras does not take. Give frame.to_numpy('float32')."
        )


def arrays_of_frames(x, y=None, sample_weight=None):
    """The arguments of `fit` with arrays in the place of pandas' DataFrames, as Keras makes them.

    Args:
        x: inputs, or data of any other kind, which stays as it is.
        y: labels, or None.
        sample_weight: weights, or None.

    Raises:
        ValueError: if a column holds no numbers, or is of a type that Keras does not take.
    """

    def array_of(frame, what):
        if not isinstance(frame, pd.DataFrame):
            return frame
        _require_numbers(frame, what)
        values = frame.to_numpy()  # Of truth values beside numbers they are objects.
        return values.astype("float32") if values.dtype == object else values

    return [
        keras.tree.map_structure(functools.partial(array_of, what=what), part)
        for what, part in {"inputs": x, "labels": y, "weights": sample_weight}.items()
    ]


def require_arrays(x, asker):
    """Refuses a dataset, a generator or the like where arrays are taken.

    Args:
        x: inputs.
        asker: the function that takes them, for the message.
    """
    if batches.is_stream(x):
        raise ValueError(
            f"{asker} takes arrays of rows; got a {type(x).__name__}. Of a tf.data.Dataset these "
            "are inputs, labels = dataset.unbatch().batch(rows).get_single_element(), of the first "
            "rows or of all."
        )


def require_dense(nest, what="inputs"):
    """Refuses ragged and sparse tensors, masked arrays, and tables of text in a part of a batch.

    Args:
        nest: tensors, or specs of them.
        what: the part, for the message.

    Raises:
        ValueError: naming the tensor and what to do.
    """
    for path, leaf in keras.tree.flatten_with_path(nest):
        kind = not_dense(leaf)
        if isinstance(leaf, pd.DataFrame):
            _require_numbers(leaf, what)
        if kind:
            name = f" at {'/'.join(map(str, path))!r}" if path else ""
            raise ValueError(
                f"The data's {what}{name} are a {kind} tensor, and a distiller takes dense "
                f"ones: it samples, weighs and averages whole rows. {DENSE[kind]}"
            )
        if getattr(getattr(leaf, "dtype", None), "kind", "") == "O" and hasattr(leaf, "shape"):
            _require_texts(np.asarray(leaf), what, path)


def _require_texts(values, what, path):
    """Refuses an array of objects of which some or all are no text, such as None."""
    if values.size and isinstance(values.flat[0], (list, tuple, np.ndarray)):
        raise ValueError(
            f"The data's {what} are an array of lists, as rows of unequal lengths become. Pad "
            "them, keras.utils.pad_sequences(rows), and mask the padding in the networks: "
            "Embedding(mask_zero=True), say."
        )
    are_text = np.array([isinstance(each, (str, bytes)) for each in values.ravel()], bool)
    if values.size and not are_text.any():
        if what != "inputs":  # Labels are looked at by what the output takes.
            return
        raise ValueError(
            f"The data's {what} are an array of objects, such as {values.flat[0]!r}. Give numbers: "
            "np.asarray(x, 'float32')."
        )
    if not are_text.all():
        place = int(are_text.argmin())
        name = f" {'/'.join(map(str, path))!r}" if path else ""
        at = np.unravel_index(place, values.shape)
        raise ValueError(
            f"The data's {what}{name} hold texts, and {values[at]!r} in row {at[0]} (from 0). Give "
            "texts alone, such as '' for missing ones."
        )
