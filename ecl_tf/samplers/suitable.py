"""Whether a sampler may work on some inputs of some networks; the one place that decides it."""

import re
import warnings

import keras
import tensorflow as tf

from ecl_tf._internal import channels, exact_values, first_layers, own_inputs, symbolic
from ecl_tf.samplers import fields

_OF_TEXTS = (
    "Where both networks look up vectors of its words (TextVectorization, Embedding), give "
    "ecl_tf.samplers.Embedded(padding=0), which mixes these. Otherwise give ids of words in the "
    "data, and sampler=ecl_tf.samplers.Swap(padding=0). sampler='Empirical' keeps every row as it "
    "is."
)


def require(sampler, inputs, networks=None):
    """Raises ValueError if a sampler can't work on inputs, or would corrupt them.

    Args:
        inputs: a nesting of tensors, or of specs of them.
        networks: the `ecl_tf.uncertainty.Networks` that take what is drawn; None, the default,
            where they are not known.
    """
    for role, network, function in _called(networks):
        _require_exact_values(sampler, inputs, role, network, function)
        _require_format(sampler, inputs, role, network)
    sampler.validate(inputs)
    _require_masks(sampler, inputs)


def warn_of_codes(sampler, inputs, teacher):
    """Warns if a sampler averages all inputs of a teacher that takes some numbers for codes.

    Args:
        sampler: as in `require`.
        inputs: the same.
        teacher: an `ecl_tf.Teacher`.
    """
    leaves = keras.tree.flatten_with_path(inputs)
    effects = {part.effect(path, leaf) for path, leaf in leaves for part in sampler.parts}
    if "averages" not in effects or "swaps" in effects:
        return
    if found := getattr(teacher, "looks_up", []):
        warnings.warn(
            f"The teacher {teacher.name!r} takes numbers for codes ({', '.join(found)}), and "
            f"the sampler {type(sampler).__name__} computes means of all inputs: 1.5 of the codes "
            "1 and 2, which no row has. Give sampler='Swap', which exchanges whole values between "
            "rows; or columns by their names, {'age': ..., 'code': ...}, and "
            "sampler=ecl_tf.samplers.recipe(swap=['code']), which mixes the other ones.",
            stacklevel=5,
        )


def warn_of_whole_texts(sampler, inputs):
    """Warns if a sampler swaps texts as a whole: what it draws are rows that there are."""
    leaves = keras.tree.flatten_with_path(inputs)
    path, leaf = leaves[0]
    swaps = any(part.effect(path, leaf) == "swaps" for part in sampler.parts)
    if len(leaves) == 1 and _is_whole_text(leaf) and swaps:
        warnings.warn(
            f"A row is one text, so the sampler {type(sampler).__name__} exchanges whole rows, and "
            f"draws nothing beyond the training data. {_OF_TEXTS}",
            stacklevel=5,
        )


def warn_of_two_forms(sampler, inputs, networks):
    """Warns if a sampler swaps inputs of the student alone, and others of the teacher alone."""
    members = getattr(networks.teacher, "members", [])
    known = [own_inputs.names_of(each) for each in (networks.student, *members)]
    if not members or None in known:
        return
    leaves = keras.tree.flatten_with_path(inputs)
    swapped = {
        fields.name_of(path)
        for path, leaf in leaves
        if any(part.effect(path, leaf) == "swaps" for part in sampler.parts)
    }
    student, teacher = swapped & set(known[0]), swapped & set().union(*known[1:])
    if student - teacher and teacher - student:
        warnings.warn(
            f"The sampler {type(sampler).__name__} swaps cells of {sorted(student - teacher)}, "
            f"which the student alone takes, and of {sorted(teacher - student)}, the teacher's "
            "alone, each by itself. If they are one row in two forms, as of two tokenisers, "
            "the networks get other rows. ecl_tf.samplers.Embedded(padding=0) mixes both alike.",
            stacklevel=5,
        )


def warn_of_lacking_channels(sampler, inputs, student):
    """Warns if images lack the axis of one channel that the student has, and are blended so."""
    for own, its, path in own_inputs.pairs(inputs, student):
        shape, full = tf.TensorShape(own.shape), its.shape
        is_grey = len(full) == 4 and full[-1] == 1 and shape.rank == 3
        if is_grey and any(part.effect(path, own) != "keeps" for part in sampler.parts):
            warnings.warn(
                f"The data's inputs have the shape {(None, *shape[1:])}, and the student takes "
                f"images, {full}. Keras adds the last axis, but for a sampler they are sequences, "
                "which it mixes otherwise. Give images[..., None].",
                stacklevel=5,
            )


def _is_whole_text(leaf):
    is_text = tf.as_dtype(leaf.dtype) == tf.string
    return is_text and tf.TensorShape(leaf.shape)[1:].num_elements() == 1


def warn_of_single_rows(sampler):
    """Warns if a sampler needs several rows of a batch, for batches of one row."""
    parts = [part for part in sampler.parts if hasattr(part, "group_size")]
    # Noise in other units than the rows' own needs one row alone.
    names = [type(part).__name__ for part in parts if getattr(part, "relative", True)]
    if names:
        warnings.warn(
            f"Every batch is one row, which has no other to be compared with, so {names[0]} leaves "
            "it as it is. Give larger batches, or a sampler that needs one row alone, such as "
            "GaussianNoise(stddev) or Augment.",
            stacklevel=5,
        )


def require_before_data(sampler, networks):
    """The same before there is data, for networks that know the names of their inputs."""
    for role, network, function in _called(networks):
        inputs = symbolic.inputs_of(network) if function is None else None
        # What a network has as a list may have names in the data. Of ragged and sparse inputs
        # it is for the data to say that they are.
        if not isinstance(inputs, (keras.KerasTensor, dict)):
            continue
        if not any(leaf.ragged or leaf.sparse for leaf in network.inputs):
            _require_exact_values(sampler, inputs, role, network, function)
            _require_format(sampler, inputs, role, network)


def exact_uses(inputs, networks):
    """What the networks do with inputs that they take by their exact values.

    Returns:
        A dict from the paths of such inputs to lists of `exact_values.Use`.
    """
    found: dict = {}
    for _, network, function in _called(networks):
        for path, use in exact_values.uses(network, inputs, function):
            found.setdefault(path, []).append(use)
    return found


def padding(inputs, networks):
    """What stays of inputs whose numbers are moved.

    Returns:
        A list with an item for every input: the values that its padding has, a list; or None, if
        all of it stays: it is not floating point, a network looks up its exact values, or it is a
        mask of positions by its name.
    """
    uses = exact_uses(inputs, networks)
    found = []
    for path, leaf in keras.tree.flatten_with_path(inputs):
        values = [use.masks for use in uses.get(path, [])]
        moves = tf.as_dtype(leaf.dtype).is_floating and not _is_mask(path, leaf)
        found.append(values if moves and None not in values else None)
    return found


def require_stored(inputs, networks):
    """Raises ValueError if stored samples were moved where the student takes exact values.

    Args:
        inputs: of the stored samples, or specs of them.
        networks: the `ecl_tf.uncertainty.Networks`. What stayed of the samples is known of a
            recorded teacher; for any other it is what stays for that one.
    """
    stayed = getattr(networks.teacher, "padding", None)
    if stayed is None:
        stayed = padding(inputs, networks._replace(student=None))
    uses = exact_uses(inputs, networks._replace(teacher=None))
    for (path, leaf), values in zip(keras.tree.flatten_with_path(inputs), stayed, strict=True):
        if values is None or not tf.as_dtype(leaf.dtype).is_floating:
            continue
        for use in uses.get(path, []):
            if use.masks is not None and use.masks in values:
                continue
            raise ValueError(
                f"The stored samples were moved, and {fields.described(path)} with them, which the "
                f"student {networks.student.name!r} takes by its exact values (its layer "
                f"{use.layer!r}) and the recorded teacher does not: padding and ids are no longer "
                "what they were. Train with the teacher itself in place of the store, or record a "
                "sampler that does not move samples."
            )


def _is_mask(path, leaf):
    """Whether an input is a mask of positions, as its name tells it."""
    names_it = re.search(r"(^|[_/ ])mask($|[_/ ])", fields.name_of(path).lower())
    shape = tf.TensorShape(leaf.shape)
    is_of_steps = shape.rank == 2 or (shape.rank == 3 and 1 in shape[1:])
    return is_of_steps and names_it is not None


def _require_masks(sampler, inputs):
    """Raises ValueError if a sampler changes a mask of positions, as its name tells it."""
    leaves = keras.tree.flatten_with_path(inputs)
    for path, leaf in leaves:
        name = fields.name_of(path)
        if not _is_mask(path, leaf):
            continue
        told = (
            f"{fields.described(path)}, which by its name says which positions are padding: a "
            "row's length would change."
        )
        for part in sampler.parts:
            does, kind = part.effect(path, leaf), type(part).__name__
            if does == "averages":
                raise ValueError(
                    f"{kind} would compute weighted sums of {told} Use sampler=ecl_tf.samplers."
                    f"Swap(padding={{{name!r}: 0, ...}}), with the padding of all inputs that have "
                    "some, or 'Empirical'. If it is no such mask, give the input another name."
                )
            if does == "swaps" and part.padding_of(path) is None:
                raise ValueError(
                    f"{kind} would swap values of {told} Say which values stay, of all inputs that "
                    f"have padding: {kind}(..., padding={{{name!r}: 0, ...}}). If it is no such "
                    "mask, give the input another name."
                )
            for its_path, its in leaves:
                if part.effect(its_path, its) == "averages" and its.shape[1:2] == leaf.shape[1:2]:
                    raise ValueError(
                        f"{kind} would compute weighted sums of {fields.described(its_path)}, of "
                        f"whose steps {fields.described(path)} says which are padding: the mean "
                        "of a step and of padding is neither. Use sampler=ecl_tf.samplers.Swap("
                        f"padding={{{fields.name_of(its_path)!r}: 0, {name!r}: 0}}), with the "
                        "padding of all inputs that have some, or 'Empirical'."
                    )


def expected_ranges(sampler):
    """The ranges of inputs that a sampler's layers of Keras compute with.

    Args:
        sampler: an `ecl_tf.samplers.Sampler`, which may draw from others.

    Returns:
        A list as `ranges.require_within` takes it. Layers in a generator, which don't get the
        batch's inputs, are left out.
    """
    found = []
    for part in sampler.parts:
        for name, held in vars(part).items():
            layers = [each for each in keras.tree.flatten(held) if isinstance(each, keras.Layer)]
            if not layers or name in ("model", "models"):
                continue
            expected, layer = first_layers.expected_by_layers(layers)
            if expected is not None:
                who = f"The layer {layer.name!r} of {type(part).__name__}"
                found.append((who, getattr(part, "key", None), expected))
    return found


def require_floating_point(sampler, inputs):
    """Raises ValueError unless every input that a sampler averages is floating point."""
    for path, leaf in keras.tree.flatten_with_path(inputs):
        dtype = tf.as_dtype(leaf.dtype)
        if dtype.is_floating or sampler.effect(path, leaf) != "averages":
            continue
        told = (
            f"{type(sampler).__name__} computes weighted sums of inputs, but "
            f"{fields.described(path)} is {dtype.name}: "
        )
        if dtype in (tf.uint8, tf.uint16):
            raise ValueError(
                f"{told}rounding would corrupt it. Cast (and scale) it in the input pipeline, e.g. "
                f"dataset.map(lambda x, y: (tf.cast(x, tf.float32) / {dtype.max}, y))."
            )
        amounts = " Cast amounts (counts, pixels) in the input pipeline: tf.cast(x, tf.float32)."
        raise ValueError(
            f"{told}of ids (words, classes) there is no mean. {_remedy(path, leaf=leaf)}"
            f"{amounts if dtype.is_integer else ''}"
        )


def _called(networks):
    """Of all networks that take inputs: the role, the network, and its function if it has one."""
    if networks is None:
        return
    if networks.student is not None:
        yield "student", networks.student, None
    teacher = networks.teacher
    if not getattr(teacher, "answers_new_inputs", False):
        return
    for member in getattr(teacher, "members", ()):
        yield "teacher", member, None
    if not hasattr(teacher, "members"):
        yield "teacher", teacher, teacher.member_outputs


def _require_exact_values(sampler, inputs, role, network, function):
    """Raises ValueError if a sampler averages what a network takes by its exact value."""
    leaves = dict(keras.tree.flatten_with_path(inputs))
    effects = {
        path: [(part, part.effect(path, leaf)) for part in sampler.parts]
        for path, leaf in leaves.items()
    }
    if not any(does != "keeps" for each in effects.values() for _, does in each):
        return
    for path, use in exact_values.uses(network, inputs, function):
        place = f"the {role} {network.name!r}"
        for part, does in effects[path]:
            name = type(part).__name__
            if use.is_length:
                if does != "keeps" and len(leaves) > 1:
                    raise ValueError(
                        f"{name} would change {fields.described(path)}, which {place} compares "
                        f"with positions (its layer {use.layer!r}): it is a row's length, and "
                        "padding would count. Let the networks tell padding by its value, "
                        "Embedding(mask_zero=True) or Masking(0.0), without a length, and give "
                        "Swap(padding=0); or sampler='Empirical', which keeps every row as it is."
                    )
                continue
            if does == "averages":
                does_what = (
                    f"compares it with {'a value' if use.masks is None else use.masks}, which "
                    "mixed values no longer equal"
                    if use.is_comparison
                    else "takes it for ids (words, classes), of which there is no mean"
                )
                raise ValueError(
                    f"{name} computes weighted sums of inputs, but {place} looks at the exact "
                    f"values of {fields.described(path)}: its layer {use.layer!r} {does_what}. "
                    f"{_remedy(path, use.masks, part.mixes_within, leaves[path])}"
                )
            padding = use.masks if does == "keeps" else part.padding_of(path)
            if use.masks is not None and padding != use.masks:
                verb, given = "swap", fields.padding_argument(path, use.masks)
                if does == "embeds":
                    verb, given = "mix", use.masks
                raise ValueError(
                    f"{name} would {verb} padding with values of {fields.described(path)}, of "
                    f"which {place} masks those that are {use.masks!r}: a row's length would "
                    f"change. Say so: {name}(..., padding={given})."
                )


def _require_format(sampler, inputs, role, network):
    """Raises ValueError if a sampler looks elsewhere for the channels of images than a network."""
    parts = [part for part in sampler.parts if hasattr(part, "data_format")]
    leaves = {tuple(path): leaf for path, leaf in keras.tree.flatten_with_path(inputs)}
    for path, (known, layer) in channels.formats_of(network, inputs).items() if parts else ():
        for part in parts:
            if part.data_format == known or part.effect(path, leaves[path]) == "averages":
                continue
            name = type(part).__name__
            recipe = f"ecl_tf.samplers.recipe(data_format={known!r}), the default one so; "
            raise ValueError(
                f"{name} takes {fields.described(path)} for images of data_format="
                f"{part.data_format!r}, and the {role} {network.name!r} for those of {known!r} "
                f"(its layer {layer!r}): channels would be taken for rows of pixels. Say so: "
                f"sampler={recipe * (name == 'Mix')}ecl_tf.samplers.{name}(data_format={known!r})."
            )


def _remedy(path, masked=None, mixes_within=False, leaf=None):
    """What to use in place of a sampler that averages."""
    name = fields.name_of(path)
    if not name and leaf is not None and _is_whole_text(leaf):
        return _OF_TEXTS
    if mixes_within:
        return f"Leave it to the networks: Embedded(..., unchanged=[{name!r}])."
    padding = "" if masked is None else f"padding={fields.padding_argument(path, masked)}"
    keeps = "sampler='Empirical' keeps every row as it is."
    if not name:
        return (
            f"Use ecl_tf.samplers.Swap({padding}), which exchanges whole values between rows, or "
            f"Choice(['Empirical', Swap({padding})]); {keeps}"
        )
    swap = ", ".join([f"swap=[{name!r}]", *([padding] if padding else [])])
    return (
        f"Use sampler=ecl_tf.samplers.recipe({swap}), which mixes the other inputs and exchanges "
        f"whole values of this one between rows (as ecl_tf.samplers.Mix({swap}) does); {keeps}"
    )
