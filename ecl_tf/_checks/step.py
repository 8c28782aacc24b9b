"""What tells in a step that a batch can't be trained on, or should not be."""

import keras
import tensorflow as tf

from ecl_tf import outputs, samplers
from ecl_tf._checks import labels, networks
from ecl_tf._internal import batches, distributions, own_inputs, probabilities, ranges
from ecl_tf.samplers import suitable


def batch(x, y, sample_weight, asked):
    """Refuses ragged and sparse data, and inputs that are not the networks' own.

    Args:
        x: inputs or recorded samples, as tensors or specs of them.
        y: labels, the same; or None.
        sample_weight: weights, the same; or None.
        asked: the `ecl_tf.uncertainty.Networks`.
    """
    for what, part in {"inputs": x, "labels": y, "weights": sample_weight}.items():
        own_inputs.require_dense(part, what)
        own_inputs.require_known_rank(part, what)
    for each in keras.tree.flatten(sample_weight):
        batches.require_numbers(each)
    members = getattr(asked.teacher, "members", [asked.teacher])
    networks = [("student", asked.student), *(("teacher", member) for member in members)]
    own_inputs.require_fit(samplers.inputs_of(x), networks)


def of_equal_rows(x, y, sample_weight):
    """The inputs of a batch, once it is known that its labels and weights have as many rows.

    Where sizes are open only the step itself can tell. Others would be broadcast.

    Args:
        x: inputs or recorded samples, as tensors.
        y: labels, the same; or None.
        sample_weight: weights, the same; or None.
    """
    if isinstance(x, samplers.Samples):
        return x  # They were made of such batches.
    first = keras.tree.flatten(x)[0]
    rows = [
        tf.shape(leaf)[0]
        for leaf in keras.tree.flatten((y, sample_weight))
        if leaf is not None and leaf.shape.rank and not (leaf.shape[0] and first.shape[0])
    ]
    if not rows:
        return x
    message = (
        "A batch has another number of rows of labels or weights than of inputs. Give each row its "
        "own: np.repeat(label, rows) of one for all."
    )
    are_equal = tf.reduce_all(tf.equal(rows, tf.shape(first)[0]))
    # tf.debugging.assert_equal would add branches to each step.
    check = tf.raw_ops.Assert(condition=are_equal, data=[message])
    with tf.control_dependencies([] if check is None else [check]):  # Eagerly it raises.
        return keras.tree.map_structure(tf.identity, x)


def wrong_labels(given, raw, output, are_used):
    """Counts labels that no network can have.

    Args:
        given: labels of the batch, or None.
        raw: raw outputs for it.
        output: the `ecl_tf.outputs.Output`.
        are_used: whether labels are learned from or compared with. Of others those count that are
            no labels of any network, such as weights in their place.

    Returns:
        The number of wrong labels and their sum, float32 (2,), or None where there are none to look
        at; and in words what was expected.
    """
    if given is None:
        return None, ""
    counts, expected = [], []
    for name, (each, its, own) in outputs.parts_of(output, given, raw).items():
        if its is None:
            continue
        invalid = each.invalid(its, own) if are_used else labels.fractions(its, own, each)
        if invalid is None:
            continue
        value = tf.where(invalid, tf.cast(its, tf.float32), 0.0)
        counts.append([tf.reduce_sum(tf.cast(invalid, tf.float32)), tf.reduce_sum(value)])
        wanted = (
            each.expected_labels(own.shape) if are_used else f"whole numbers. {labels.NO_LABELS}"
        )
        expected.append(f"{name}: " * bool(name) + wanted)
    return (tf.reduce_sum(tf.stack(counts), 0) if counts else None), "; ".join(expected)


def answers(member_outputs, raw, asked):
    """Refuses answers of a teacher that have other classes or targets than the student's.

    Args:
        member_outputs: raw outputs of its members; empty where it has none.
        raw: the student's raw output.
        asked: the `ecl_tf.uncertainty.Networks`.
    """
    shape, *its_shapes = (
        keras.tree.map_structure(lambda tensor: tuple(tensor.shape), each)
        for each in (raw, *member_outputs)
    )
    for its in its_shapes:
        asked.teacher.output_kind.validate(its, "teacher")
        networks.equal_sizes(its, shape, asked.teacher.name, asked)


def row_values(output, **values):
    """Refuses what the methods of a user's output return if it is not one number for each row.

    Args:
        output: the `ecl_tf.outputs.Output`.
        **values: what they returned, by name.
    """
    for name, value in values.items():
        if not tf.is_tensor(value) or value.shape.rank not in (1, None):
            found = f"the shape {tuple(value.shape)}" if tf.is_tensor(value) else f"{value!r}"
            raise ValueError(
                f"The {name} of the output {type(output).__name__} has {found}; expected a tensor "
                "of shape (batch,), one number for each row. ecl_tf.outputs.per_example averages "
                "positions."
            )
    if missing := set(output.closeness_names) - set(values) if "divergence" in values else ():
        raise ValueError(
            f"compare of the output {type(output).__name__} returns no {sorted(missing)}, which "
            "are among its closeness_names."
        )


def distribution(given, teacher):
    """Refuses what a user's `distribution` gives if it is none, or no dict of them."""
    for each in keras.tree.flatten(given):
        if not isinstance(each, distributions.Distribution):
            raise ValueError(
                f"distribution of {type(teacher).__name__} returned a {type(each).__name__}; "
                "expected a distribution of tensorflow_probability, as self.output_kind(raw) gives "
                "it. To return raw outputs implement member_outputs."
            )


def gradients(given, divergence):
    """Refuses a loss that does not depend on the student's weights in a differentiable way.

    Args:
        given: the gradients, None for those that there are not.
        divergence: the distiller's function.
    """
    if all(each is None for each in given):
        name = getattr(divergence, "__name__", type(divergence).__name__)
        raise ValueError(
            f"The loss has no gradient in the student's weights, so nothing would be learned. Look "
            f"at the divergence {name!r}: it must be made of the student's distribution with "
            "TensorFlow operations that have a gradient; modes, comparisons and NumPy have none."
        )


def refusals(x, raw, member_outputs, asked, may_be_narrow=False, sampler=None):
    """What tells on a batch, in a step, that it is not what the networks were made for.

    Args:
        x: the batch's inputs, or recorded samples.
        raw: the student's raw output.
        member_outputs: the raw outputs of the teacher's members; empty where it has none.
        asked: the `ecl_tf.uncertainty.Networks`.
        may_be_narrow: as in `ranges.outside`; False by default.
        sampler: that draws from the batch, or drew it; None, the default, where none does.

    Returns:
        A list of pairs of a scalar bool tensor, whether it does, and the message.
    """
    found = []
    others, are_means = [], False
    if isinstance(x, samplers.Samples):
        x, parts = x.inputs, sampler.parts
        leaves = keras.tree.flatten_with_path(x)
        are_means = any(part.effect(*each) == "averages" for part in parts for each in leaves)
    elif sampler is not None:
        others = suitable.expected_ranges(sampler)
    asked_of = networks.with_roles(asked)
    outside, message = ranges.outside(asked_of, x, may_be_narrow, others, are_means)
    if message:
        found.append((outside, message))
    members = list(getattr(asked.teacher, "members", []))
    if not members and asked.teacher.answers_new_inputs:  # It is a user's own.
        members = [asked.teacher] * len(member_outputs)
    if len(member_outputs) < len(members):  # Some were drawn; any may be one that is not sure.
        unsure = [m for m in members if not probabilities.is_sure(asked.teacher.output_kind, m)]
        members = [(unsure or members)[0]] * len(member_outputs)
    of_teacher = zip(members, member_outputs, strict=False)
    for role, output, answered in (
        ("student", asked.output, [(asked.student, raw)]),
        ("teacher", asked.teacher.output_kind, of_teacher),
    ):
        unsure = [each for each in answered if not probabilities.is_sure(output, each[0])]
        flags = [probabilities.rows_that_look_like(output, its) for _, its in unsure]
        if unsure:
            error = probabilities.refusal(probabilities.OF_CLASSES, unsure[0][0], role)
            found.append((tf.reduce_any(tf.stack(flags)), str(error)))
    return found
