"""Layers that several networks share, kept through Keras's files.

Keras writes the weights of a layer once, and makes the layer anew in every network that it loads.
So of several networks with a common backbone all but one would lack its weights. Here the places
of such layers are written beside the networks, and functional networks that were loaded are
rebuilt around one layer again.
"""

import keras

from ecl_tf._internal import symbolic


def find(networks):
    """The places where networks have a layer with weights that an earlier network has too.

    Args:
        networks: a list of Keras models.

    Returns:
        A list of [number of the network, path of layer names in it, number of the earlier
        network, path in that]; empty if nothing is shared. JSON can hold it.

    Raises:
        ValueError: if a layer is shared in a place that can't be rebuilt.
    """
    first: dict = {}
    places: list[list] = []
    tied, again = set(), []
    for number, network in enumerate(networks):
        earlier = next((n for n in range(number) if networks[n] is network), None)
        if earlier is not None:
            again.append([number, [], earlier, []])
            continue
        own: dict = {}
        for path, layer in _walk(network, first):
            if id(layer) in first:
                places.append([number, list(path), *first[id(layer)]])
                tied |= ids([layer])
            else:
                own.setdefault(id(layer), [number, list(path)])
        first |= own
    # Keras itself keeps a whole network that is there twice, if nothing else holds it.
    places += [place for place in again if id(networks[place[0]]) in tied]
    _require_rebuildable(networks, tied)
    return places


def _walk(layer, known, path=()):
    """All layers with weights, by path, down to the topmost that are known."""
    if not _has_state(layer):
        return
    yield path, layer
    if id(layer) not in known and _is_graph(layer):
        for inner in layer.layers:
            yield from _walk(inner, known, (*path, inner.name))


def _require_rebuildable(networks, tied):
    distinct = {id(network): network for network in networks}.values()
    holders: dict = {}
    for network in distinct:
        for layer in network._flatten_layers():
            if _has_state(layer) and id(layer) not in tied:
                holders.setdefault(id(layer), (layer, []))[1].append(network)
    for layer, its in holders.values():
        if len(its) > 1:
            raise ValueError(
                f"The networks {its[0].name!r} and {its[1].name!r} share the layer "
                f"{layer.name!r} within a layer or network of another class, and Keras's files "
                "can't hold that. Give one of them a copy of it (keras.models.clone_model, with "
                "its weights set), or share it as a layer of functional models."
            )


def require_apart(models, networks):
    """Refuses models that share a layer with weights with one of the networks.

    Raises:
        ValueError: naming the layer.
    """
    theirs = {id(layer) for network in networks for layer in network._flatten_layers()}
    for model in models:
        for layer in model._flatten_layers():
            if id(layer) in theirs and _has_state(layer):
                raise ValueError(
                    f"The sampler's model {model.name!r} shares the layer {layer.name!r} with the "
                    "student or the teacher, and Keras's files can't hold that. Give it a copy: "
                    "keras.models.clone_model, with its weights set."
                )


def _is_graph(layer):
    if isinstance(layer, keras.Sequential):
        return True
    return isinstance(layer, keras.Model) and symbolic.inputs_of(layer) is not None


def _has_state(layer):
    if isinstance(layer, keras.layers.InputLayer):
        return False
    return bool(layer.variables) or any(
        hasattr(each, "save_assets") for each in layer._flatten_layers()
    )


def ids(layers):
    """The ids of layers and all that is within."""
    return {id(inner) for layer in layers for inner in layer._flatten_layers()}


def config_of(objects, networks, places):
    """Serializes objects that hold networks, for `rebuilt` to work on what is made of it.

    Args:
        objects: a dict of what Keras can serialize.
        networks: a list of the networks within.
        places: what `find` said of them.
    """
    config = keras.saving.serialize_keras_object(objects)
    shared = ids(at(networks, number, path) for number, path, *_ in places)
    return _without_ids(config, shared) if shared else config


def _without_ids(config, shared):
    """A config in which the shared layers stand apart: Keras loads no graph of a layer in use."""
    if isinstance(config, dict):
        return {
            key: _without_ids(value, shared)
            for key, value in config.items()
            if not (key == "shared_object_id" and value in shared)
        }
    return [_without_ids(each, shared) for each in config] if isinstance(config, list) else config


def at(networks, number, path):
    """The layer at a path of one of the networks."""
    layer = networks[number]
    for name in path:
        layer = layer.get_layer(name)
    return layer


def rebuilt(networks, places):
    """Networks that share the layers at `places`, which `find` wrote, as those did."""
    result, new = list(networks), {}
    for number in range(len(result)):
        found = {tuple(path): at(result, *earlier) for n, path, *earlier in places if n == number}
        if found:
            new[id(result[number])] = _around(result[number], found)
        result[number] = new.get(id(networks[number]), result[number])
    return result


def _around(layer, found, path=()):
    """A network, or a layer of it, around the layers that were found for some of its paths."""
    if path in found:
        return found[path]
    if not any(place[: len(path)] == path for place in found):
        return layer
    clone = keras.models.clone_model(
        layer, clone_function=lambda inner: _around(inner, found, (*path, inner.name))
    )
    if not layer.trainable:
        clone.trainable = False
    return clone
