"""What `measure` refuses, because it can't be measured, or would be measured wrongly."""

import warnings

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import outputs, teachers
from ecl_tf._internal import (
    batches,
    channels,
    exact_values,
    finite,
    first_layers,
    own_inputs,
    positions,
    probabilities,
    ranges,
)
from ecl_tf.evaluation import scores

_ROWS_COMPARED = 256  # With the range that a network expects.
_TAKEN = {"f": "fi", "i": "iu", "U": "UO", "O": "UO"}  # Types of rows beside those of x.


def require_rows(models, x, y, other):
    """Refuses nothing to measure, or to measure it on, and inputs of another scale."""
    if not models:
        raise ValueError("There is no network to measure: models is an empty dict.")
    own_inputs.require_arrays(x, "measure")
    given = {"x": x} | {f"other[{name!r}]": its for name, its in (other or {}).items()}
    for name, its in given.items():
        batches.require_arrays(its, name)
    own_inputs.require_dense(x)
    for name, its in (other or {}).items():
        finite.require_rows(its, f"The rows of other[{name!r}]")
        pairs = [keras.tree.flatten(nest) for nest in (its, x)]
        is_one = not keras.tree.is_nested(x)
        are_alike = _paths(its) == _paths(x) and (is_one or type(its) is type(x))
        if not (are_alike and all(map(_are_alike, *pairs))):
            forms = [keras.tree.map_structure(_form, nest) for nest in (its, x)]
            raise ValueError(
                f"The rows of other[{name!r}] are {forms[0]}, and those of x {forms[1]}. Give one "
                "row or more of the same types and shapes, and images on the same scale."
            )
    labels = y if isinstance(y, dict) else np.asarray(y)
    counts = [len(leaf) for leaf in keras.tree.flatten((x, labels)) if np.ndim(leaf)]
    if not min(counts, default=0) or len(set(counts)) > 1:
        raise ValueError(
            f"Inputs and labels are arrays of so many rows: {counts}. Expected as many labels as "
            "inputs, of one row at least."
        )
    every = -(-counts[0] // _ROWS_COMPARED)
    some = keras.tree.map_structure(lambda leaf: tf.convert_to_tensor(leaf[::every]), x)
    networks = []
    for model in models:
        network = model.network
        if not callable(network):
            raise ValueError(
                "A network is a Keras model, a Distiller, an ecl_tf.Teacher or a function from "
                f"inputs to raw outputs; got {network!r}. ecl_tf.teachers.from_estimator makes a "
                "teacher of an estimator."
            )
        if isinstance(network, teachers.Teacher):
            _require_family(network.output_kind, model.output)
            network.check_members(some)
        elif isinstance(network, keras.Model):
            probabilities.require_logits(model.output, network, "model", some)
        members = getattr(network, "members", [network])
        networks += [("network", each) for each in members if isinstance(each, keras.Model)]
    # Floating-point images may be what a network that was trained somewhere takes. Those of bytes
    # may have been scaled there, as the commands do.
    of_bytes = [leaf for leaf in keras.tree.flatten(some) if leaf.dtype == tf.uint8]
    are_images = any(first_layers.is_image(leaf.shape) for leaf in of_bytes)
    for each in networks:  # Each may have learned on a scale of its own.
        own_inputs.require_shapes(some, each[1], each[0])
        ranges.require_within([each], some, compares_images=bool(of_bytes))
        network = each[1]
        tells = (first_layers.expected_by, first_layers.takes_as_they_are)
        known = any(told(network, some) for told in tells)
        if are_images and not known and not isinstance(network, teachers.Teacher):
            warnings.warn(
                f"The network {network.name!r} gets uint8 images from 0 to 255, and its first "
                "layers don't tell whether it scales them. If it learned from images in [0, 1], "
                "as by the commands, give ecl_tf.data.to_float(x).",
                stacklevel=3,
            )


def _require_family(its, output):
    """Refuses a teacher's distributions that can't be written as raw outputs of another kind."""
    if not output.can_learn_from(its):
        raise ValueError(
            f"The teacher's distributions are of {its!r}, which {output!r} can't stand for. Leave "
            "output out, or give networks of other families an output of their own: "
            "evaluation.Model(network, output)."
        )


def require_score(models, score):
    """Refuses a score that no output of any network has."""
    known = [
        own for model in models.values() for own, *_ in outputs.parts_of(model.output).values()
    ]
    have = {name for own in known for name in scores.names(own)}
    if score is not None and score not in have:
        raise ValueError(f"The scores of these outputs are {sorted(have)}; got {score!r}.")


def _are_alike(other, leaf):
    """Whether an array of other rows has the type, but for precision, and the shape of x."""
    if not len(other) or np.shape(other)[1:] != np.shape(leaf)[1:]:
        return False
    its, own = (np.asarray(each).dtype.kind for each in (other, leaf))
    if its not in _TAKEN.get(own, own):
        return False
    if np.ndim(leaf) != 4:
        return True
    # On another scale images would be told by that alone.
    least, most = sorted(float(np.max(np.abs(np.asarray(each, "f4")))) for each in (other, leaf))
    return not 0.0 < least <= 1.05 or most <= 128.0


def _paths(nest):
    return [path for path, _ in keras.tree.flatten_with_path(nest)]


def in_types_of(x, other):
    """Numbers of other rows in the types of x, for which networks are traced."""

    def typed(leaf, its):
        dtype = np.asarray(leaf).dtype
        return np.asarray(its).astype(dtype) if dtype.kind in "fi" else its

    return keras.tree.map_structure(typed, x, other)


def _form(leaf):
    return f"{np.asarray(leaf).dtype} {(None, *np.shape(leaf)[1:])}"


def require_channels_last(models, x):
    """Refuses images whose channels would be taken for rows of pixels."""
    leaves = {tuple(path): leaf for path, leaf in keras.tree.flatten_with_path(x)}
    for name, model in models.items():
        for each in getattr(model.network, "members", [model.network]):
            formats = channels.formats_of(each, x) if isinstance(each, keras.Model) else {}
            for path, (known, layer) in formats.items():
                if known == "channels_first" and np.ndim(leaves[path]) == 4:
                    raise ValueError(
                        f"The network {name!r} takes images of the format 'channels_first' (its "
                        f"layer {layer!r}), and corruptions and drawn inputs need the "
                        "channels last. Measure keras.Sequential([keras.Input((height, width, "
                        "channels)), keras.layers.Permute((3, 1, 2)), network]) on "
                        "np.moveaxis(x, 1, -1); or give names=() and other={}, which leaves the "
                        "rows as they are."
                    )


def require_kept_values(models, shown, arguments):
    """Refuses ids that would be taken for amounts; warns of masked steps that would be for steps.

    Args:
        models: `Model`s.
        shown: the `Shown`.
        arguments: as in `measure`.
    """
    changing = {*shown.names} - {"swapped", "cut"}
    if shown.kind not in ("table", "sequence") or not (changing or shown.others()):
        return
    is_told = {"padding", "mask"} & {*(arguments or {})}
    members = [each for m in models for each in getattr(m.network, "members", [m.network])]
    leaves = {tuple(path): np.asarray(x) for path, x in keras.tree.flatten_with_path(shown.x)}
    specs = batches.specs(keras.tree.map_structure(np.asarray, shown.x))
    for network in (each for each in members if isinstance(each, keras.Model)):
        for path, use in exact_values.uses(network, specs):
            name, values = "/".join(map(str, path)), leaves[tuple(path)]
            what = f"the input {name!r}" if name else "x"
            if values.dtype.kind == "f" and not use.is_comparison:
                raise ValueError(
                    f"The network {network.name!r} looks up {what} by its exact values (its layer "
                    f"{use.layer!r}), and corruptions and drawn inputs take floating-point numbers "
                    "for amounts. Give ids as whole numbers, np.asarray(ids, 'int64'), columns "
                    "of them by names of their own; or names=('swapped',) and other={}."
                )
            masks = use.masks if shown.kind == "sequence" and not is_told else None
            are_masked = values == masks
            if values.ndim > 2:  # A step is padding if all of its features are that value.
                are_masked = np.all(are_masked, -1)
            if masks is not None and np.any(are_masked):
                warnings.warn(
                    f"The layer {use.layer!r} of the network {network.name!r} masks steps of "
                    f"{what} that are {masks!r}, and corruptions take them for others. Say "
                    f"arguments={{'padding': {masks!r}}}.",
                    stacklevel=3,
                )
                return


def require_answers(models, answers, x, y):
    """Refuses NaN, answers of another form, and labels that are none; of no y the answers alone."""
    rows = len(keras.tree.flatten(x)[0])
    for name, model in models.items():
        raw, mask = answers[name].raw, answers[name].mask
        who = _named(name)
        names = getattr(model.output, "outputs", ())
        if keras.tree.is_nested(raw) != bool(names) or {*names} - {*getattr(raw, "keys", list)()}:
            expected = f"a dict of the outputs {[*names]}" if names else "one array (rows, size)"
            raise ValueError(
                f"The {who} answers {keras.tree.map_structure(np.shape, raw)}; expected "
                f"{expected}, the raw outputs of {model.output!r}."
            )
        if any(np.isnan(each).any() for each in keras.tree.flatten(raw)):
            finite.require_answers(raw, who, x)
        parts = outputs.parts_of(model.output, y, raw, mask)
        for part, (own, truth, of_part, of_mask) in parts.items():
            if len(of_part) != rows:
                raise ValueError(
                    f"The {who} answers {len(of_part)} rows to {rows} rows of inputs; "
                    "expected one for each."
                )
            if not isinstance(model.network, teachers.Teacher):  # A mixture holds its members'.
                own.validate(np.shape(of_part), who)
            if not isinstance(model.network, keras.Model):
                _require_logits(own, of_part, who)
            if y is None:
                continue
            if truth is None:
                raise ValueError(f"measure needs labels of every output, and {part!r} has none.")
            truth, shape = np.asarray(truth), np.shape(of_part)
            own.validate_labels(truth.shape, shape)
            if of_mask is not None and len(shape) > 2:  # Labels of masked positions may be any.
                counts = positions.counting(shape[:-1], of_mask)
                truth, of_part = truth[counts], np.asarray(of_part)[counts]
            own.require_labels(truth, np.shape(of_part), part)
            scores.require_known(own, of_part, truth, part)


def _named(name):
    return f"network {name!r}" if name else "network"


def _require_logits(output, raw, who):
    """Refuses probabilities in the place of logits, as far as the answers tell."""
    if output.makes_probabilities == "softmax":
        are_others = probabilities.rows_that_look_like(output, raw)
    else:  # Logits that are close to each other may be so small.
        are_others = raw.min() >= 0.0 and raw.max() <= 1.0 and np.ptp(raw) > 0.5
    if output.makes_probabilities and are_others:
        raise ValueError(
            f"The {who} answers with numbers that seem to be probabilities, and they "
            "would be taken for logits. ecl_tf.teachers.FunctionTeacher(function, output, x) makes "
            "a teacher of a function of probabilities, which is measured; if they are logits "
            "nevertheless, give it answer='logits'."
        )


def require_comparable(models, answers, teacher, raw):
    """Refuses a teacher whose answers are of another family, size or shape than a network's."""
    of_teacher = outputs.parts_of(teacher.output, raw)
    for name, model in models.items():
        for part, (own, each) in outputs.parts_of(model.output, answers[name].raw).items():
            output, its = of_teacher.get(part, (None, None))
            fits = output is not None and own.can_learn_from(output)
            here, there = np.shape(each), np.shape(its)
            fits = fits and here[:-1] == there[:-1]
            if not fits or own.event_size(here) != output.event_size(there):
                raise ValueError(
                    f"The teacher answers {output!r} of shape {there}, and the {_named(name)} "
                    f"{own!r} of shape {here}. To be compared they are of one family, with as many "
                    "classes or targets, and as many positions. Leave the teacher out, or give one "
                    "that fits."
                )
