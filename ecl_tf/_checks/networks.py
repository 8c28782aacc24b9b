"""What a `Distiller` refuses of its networks, alone and beside each other."""

import math
import warnings

import keras
import tensorflow as tf

from ecl_tf import divergences, outputs
from ecl_tf._internal import exact_values, finite, probabilities, ranges, symbolic


def with_roles(asked):
    teacher = asked.teacher
    teachers = getattr(teacher, "members", getattr(teacher, "plain_networks", []))
    return [("student", asked.student), *(("teacher", member) for member in teachers)]


def require_fit(asked, inputs=None):
    """Refuses networks whose outputs don't fit `output` or each other, or that share weights.

    Args:
        asked: the `ecl_tf.uncertainty.Networks`.
        inputs: specs of a batch, for networks without symbolic outputs; None leaves those out.
    """
    teacher, own, output = asked
    apart(teacher, own)
    shape = symbolic.shape_for(output, own, "student", inputs)
    if shape is not None:
        output.validate(shape, "student")
    if own.built:
        probabilities.require_logits(output, own, "student", inputs)
    teacher.check_members(inputs)
    ranges.require_equal(with_roles(asked), inputs)
    for name, of_member in _raw_shapes(teacher, inputs):
        teacher.output_kind.validate(of_member, "teacher")
        if not output.can_learn_from(teacher.output_kind):
            raise ValueError(
                f"The teacher's output {teacher.output_kind!r} is of another family than the "
                f"student's, {output!r}; they must be the same to be matched."
            )
        if shape is None:
            continue
        equal_sizes(of_member, shape, name, asked)
        _positions(of_member, shape, name)


def warn_of_order(asked):
    """Warns of a student much larger than its teacher, as one that was given in its place is."""
    own, its = (
        sum(math.prod(weight.shape) for weight in network.weights)
        for network in (asked.student, asked.teacher)
    )
    if own > 2 * its > 0:
        warnings.warn(
            f"The student has {own:,} weights, and its teacher {its:,}. Distiller(student, "
            "teacher) trains its first argument; of keras.distillation.Distiller that is the "
            "teacher.",
            stacklevel=5,
        )


def warn_of_own_views(student):
    """Warns of a student that augments its inputs, which its teacher answers as they were."""
    for layer in student._flatten_layers():
        kind = type(layer).__name__
        is_of_keras = type(layer).__module__.startswith("keras.")
        if is_of_keras and kind.startswith(("Rand", "AugMix", "CutMix", "MixUp")):
            warnings.warn(
                f"The student's layer {layer.name!r}, {kind}, changes its inputs in training, and "
                "the teacher answers them as they were: to a flipped image the student learns the "
                "map of the other. For one view of both, move it to the data, dataset.map(...), or "
                'into the sampler: Chain([Augment(layers), "Mix"]).',
                stacklevel=5,
            )
            return


def warn_of_lost_masks(asked, raw, masks, sample_weight):
    """Warns of padding that counts: a network masks its inputs, and none of the answers is masked.

    Args:
        asked: the `ecl_tf.uncertainty.Networks`.
        raw: the student's raw output, or a dict of them.
        masks: Keras's masks of it.
        sample_weight: weights of the batch, a dict of them, or None.
    """
    given = [*keras.tree.flatten(masks), *keras.tree.flatten(sample_weight)]
    if any(each is not None and len(each.shape) > 1 for each in given):
        return  # They say which positions count.
    answers = [tf.TensorShape(each.shape) for each in keras.tree.flatten(raw)]
    steps = [shape[1:2] for shape in answers if shape.rank > 2]
    for role, network in with_roles(asked):
        taken = keras.tree.flatten(symbolic.inputs_of(network))
        have_steps = any(
            each is None or its.is_compatible_with(each.shape[1:2])
            for each in taken
            for its in steps
        )
        for layer in network._flatten_layers() if have_steps else ():
            if exact_values.masked_value(layer) is None:
                continue
            warnings.warn(
                f"The layer {layer.name!r} of the {role} {network.name!r} masks padding, and the "
                "student's answers of positions carry no mask, so padding counts in the loss and "
                "in all means. Keras's mask ends at many layers: Conv1D, Reshape, the sum of "
                "attention and its input. Give weights of positions, sample_weight=(tokens != 0); "
                "or hand the mask on in the student.",
                stacklevel=2,
            )
            return


def _raw_shapes(teacher, inputs):
    """Names and shapes of the members' raw outputs, as far as they are known."""
    if teacher.raw_shape is not None:
        yield teacher.name, teacher.raw_shape
    for member in getattr(teacher, "members", []):
        shape = symbolic.shape_for(teacher.output_kind, member, "teacher", inputs)
        if shape is not None:
            yield member.name, shape


def equal_sizes(there, here, name, asked):
    """Refuses shapes of a teacher's and a student's output with other numbers of classes.

    Args:
        there: the shape, or dict of shapes, of the teacher's raw tensor.
        here: the student's.
        name: of the teacher's network.
        asked: the `ecl_tf.uncertainty.Networks`.
    """
    sizes = asked.teacher.output_kind.event_size(there), asked.output.event_size(here)
    if sizes[0] == sizes[1]:
        return
    remedy = "Change the size of the student's last layer."
    if not isinstance(here, dict) and len(here) == len(there) > 2:
        for role, its, other in (("student", here, there), ("teacher", there, here)):
            if its[1] == other[-1]:
                order = (*range(2, len(its)), 1)
                remedy = (
                    f"The {role}'s classes seem to come first, {tuple(its)}, and have to come "
                    f"last: keras.Model({role}.inputs, keras.layers.Permute({order})"
                    f"({role}.output))."
                )
    raise ValueError(
        f"Teacher and student don't fit each other: the teacher {name!r} gives {sizes[0]} "
        f"classes or target dimensions, the student {sizes[1]}. {remedy}"
    )


def _positions(there, here, name):
    """Refuses shapes of a teacher's and a student's output that differ between batch and event.

    Broadcast to each other, they would match rows to other rows.

    Args:
        there: the shape, or dict of shapes, of the teacher's raw tensor.
        here: the student's.
        name: of the teacher's network.
    """
    if isinstance(here, dict):
        for part in here:
            _positions(there[part], here[part], f"{name}: {part}")
    elif not tf.TensorShape(there[1:-1]).is_compatible_with(here[1:-1]):
        raise ValueError(
            "Teacher and student don't fit each other: the shape of the teacher's output "
            f"({name!r}) is {there}, that of the student's {here}, with the batch first and the "
            "classes or targets last. Their positions (steps of a sequence, pixels) must be the "
            "same, since each is matched to the same one. Bring one to the other's resolution, "
            "e.g. with keras.layers.UpSampling2D, a pooling layer, or return_sequences."
        )


def apart(teacher, student):
    """Refuses networks that share weights which the student's training changes.

    Args:
        teacher: an `ecl_tf.Teacher`.
        student: a Keras model.
    """
    changing = list(student.trainable_variables)
    for layer in student._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            changing += layer.variables  # Its statistics.
    of_teacher = {id(variable) for variable in teacher.variables}
    shared = list(dict.fromkeys(v.path for v in changing if id(v) in of_teacher))
    if shared:
        raise ValueError(
            f"The student shares weights with the teacher ({shared[0]!r} and "
            f"{len(shared) - 1} more) that training it would change, and so the teacher. Give it "
            "weights of its own, e.g. with keras.models.clone_model, or set trainable = False of "
            "the layers that they share."
        )


def finite_weights(asked):
    """Refuses networks with a weight that is NaN or infinite, whatever their answers are.

    Args:
        asked: the `ecl_tf.uncertainty.Networks`.
    """
    teacher = asked.teacher
    for network in getattr(teacher, "members", [teacher]):
        finite.require_weights(network, "teacher")
    finite.require_weights(asked.student, "student")


def divergence(function, output, student):
    """Refuses a function that does not give one number for each row and position.

    Args:
        function: a function of two distributions.
        output: the student's `ecl_tf.outputs.Output`.
        student: the student; one without symbolic outputs is left to the step's own check.
    """
    shape = symbolic.output_shape(student)
    if shape is None or function is divergences.kl:
        return
    name = getattr(function, "__name__", type(function).__name__)
    known = sorted(divergences.DIVERGENCES)
    if isinstance(function, keras.losses.Loss):
        raise ValueError(
            f"divergence={name} is a loss of Keras, which compares arrays; a divergence compares "
            f"two distributions. Use one of {known}, or a function of two distributions."
        )
    rows = 5
    for own, its in outputs.parts_of(output, shape).values():
        positions = [min(size or 2, 2) for size in its[1:-1]]  # As good as all of an image's.
        raw = tf.zeros([rows, *positions, its[-1]])
        try:
            own.divergence(own(raw), own(raw), function)
        except (TypeError, AttributeError) as error:
            raise ValueError(
                f"The divergence {name!r} fails for two distributions of the output {own!r}: "
                f"{str(error).strip().removesuffix('.')}. Expected one of {known}, or a "
                "function (teacher, student) of two distributions of tensorflow_probability."
            ) from error


def trained(student):
    """Refuses a student of whose weights none is trained."""
    if student.built and not student.trainable_weights:
        raise ValueError(
            f"The student {student.name!r} has no trainable weights, so there is nothing to train: "
            "trainable is False of it, or of all its layers with weights. Set "
            "student.trainable = True, or that of the layers to train, and compile again."
        )


def still_trained(student, optimizer):
    """Refuses an optimizer that keeps NaN, or met other weights than the student now trains."""
    if not optimizer.built:
        return
    known = getattr(optimizer, "inner_optimizer", optimizer)._trainable_variables
    known = {id(variable) for variable in known}
    if not known & {id(variable) for variable in student.variables}:
        raise ValueError(
            f"The optimizer {optimizer.name!r} was built for the weights of another model than the "
            f"student {student.name!r}, and keeps a state for each of them. Compile with an "
            "optimizer of its own, such as a new one: distiller.compile(keras.optimizers.Adam())."
        )
    if known != {id(variable) for variable in student.trainable_variables}:
        raise ValueError(
            f"The student {student.name!r} has other trainable weights than when it was compiled, "
            "which the step would not follow. Compile again after changing trainable: "
            "distiller.compile(...)."
        )
    # Of single numbers some may be infinite, such as the least loss so far.
    kept = [variable for variable in optimizer.variables if len(variable.shape)]
    if spoiled := finite.names_of_spoiled(kept):
        raise ValueError(
            f"The optimizer {optimizer.name!r} holds NaN or Inf in {spoiled[0]!r}, which an update "
            "would hand on to the student. Compile with a new one: "
            "distiller.compile(keras.optimizers.Adam())."
        )
