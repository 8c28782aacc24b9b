"""What a `Distiller` refuses before its first step: arguments, networks and data.

Every function takes values and raises ValueError if they can't be trained with.
"""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from ecl_tf import divergences, outputs, samplers, uncertainty
from ecl_tf._internal import (
    batches,
    endless,
    finite,
    own_inputs,
    probabilities,
    ranges,
    require,
    symbolic,
)
from ecl_tf.samplers import suitable

NO_LABELS = (
    "They can't be class indices, and no labels are used here: label_weight is 0, and there are no "
    "metrics. If they are weights of rows, give them as sample_weight=..., or batches (inputs, "
    "None, weights); if not, leave them out."
)
NO_ROWS = (
    "The data holds no rows, so there is nothing to train on. Look at the dataset's filter, "
    "take and batch(drop_remainder=True): a batch larger than the data leaves none."
)


def numbers(temperature, label_weight, output):
    """Refuses numbers out of their range, and a temperature for outputs that have no logits."""
    if not 0.0 < temperature < float("inf"):
        raise ValueError(
            f"temperature must be a positive number; got {temperature}. 1 leaves the "
            "distributions as they are, larger values soften them."
        )
    if temperature != 1.0 and not output.takes_temperature:
        raise ValueError(
            f"temperature={temperature} needs a categorical output; a "
            f"{output.family} one takes temperature=1."
        )
    if not 0.0 <= label_weight < float("inf"):
        raise ValueError(f"label_weight must be a number >= 0; got {label_weight}.")


def label_rows(given):
    """The name of the rows on which labels are learned; refuses others."""
    if given not in ("appended", "unmodified"):
        raise ValueError(
            f"Unknown label_rows {given!r}; expected 'appended', the rows of the batch beside the "
            "samples, or 'unmodified', the samples that stay as they are."
        )
    return given


def labelled_rows(sampler, label_weight, label_rows):
    """Refuses labels on unmodified samples of a sampler that leaves none.

    Args:
        sampler: the distiller's sampler.
        label_weight: its label weight.
        label_rows: its `label_rows`.
    """
    if label_weight > 0.0 and label_rows == "unmodified" and not sampler.keeps_rows:
        raise ValueError(
            f"label_rows='unmodified' needs samples that stay as they are, and {sampler!r} keeps "
            "none. Have it keep some, as in Choice(['Empirical', sampler]), use "
            "label_rows='appended', which adds the batch's own rows, or set label_weight=0."
        )


def appends(sampler, label_weight, label_rows):
    """Whether the batch's own rows are appended to the samples; arguments as `labelled_rows`."""
    is_apart = label_rows == "appended" and not isinstance(sampler, samplers.Empirical)
    return label_weight > 0.0 and is_apart


def networks(asked, inputs=None):
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
    ranges.require_equal(_with_roles(asked))
    for member in getattr(teacher, "members", []):
        of_member = symbolic.shape_for(teacher.output_kind, member, "teacher", inputs)
        if of_member is None:
            continue
        teacher.output_kind.validate(of_member, "teacher")
        if teacher.output_kind.family != output.family:
            raise ValueError(
                f"The teacher's output {teacher.output_kind!r} is of another family than the "
                f"student's, {output!r}; they must be the same to be matched."
            )
        if shape is None:
            continue
        sizes = teacher.output_kind.event_size(of_member), output.event_size(shape)
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"Teacher and student don't fit each other: the teacher "
                f"({member.name!r}) gives {sizes[0]} classes or target dimensions, the "
                f"student {sizes[1]}. Change the size of the student's last layer."
            )
        _positions(of_member, shape, member.name)


def finite_weights(asked):
    """Refuses networks with a weight that is NaN or infinite, whatever their answers are.

    Args:
        asked: the `ecl_tf.uncertainty.Networks`.
    """
    teacher = asked.teacher
    for network in getattr(teacher, "members", [teacher]):
        finite.require_weights(network, "teacher")
    finite.require_weights(asked.student, "student")


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


def row_counts(asked, sampler, appends):
    """Refuses networks that need the batch's own rows, one step after another, and don't get them.

    Args:
        asked: the distiller's `ecl_tf.uncertainty.Networks`.
        sampler: its sampler.
        appends: whether labelled rows are appended to the sampled ones.
    """
    if not appends and not sampler.asks_networks:
        return
    reason = "the labelled rows are appended to the sampled ones"
    if sampler.asks_networks:
        reason = f"{type(sampler).__name__} asks the networks about rows before it chooses"
    remedy = "Use sampler='Empirical', which takes every batch as it is."
    for role, network in _with_roles(asked):
        layers = [layer for layer in network._flatten_layers() if getattr(layer, "stateful", 0)]
        if layers:
            raise ValueError(
                f"The {role} {network.name!r} keeps a state from batch to batch (stateful=True in "
                f"its layer {layers[-1].name!r}), and {reason}: its state would be that of other "
                f"rows, or of another number of them. {remedy}"
            )
    asks_of_its_rows = isinstance(sampler, (samplers.TowardUncertainty, samplers.UncertaintyMixup))
    if appends or not asks_of_its_rows:
        of_teacher = getattr(sampler, "score", None) in (
            uncertainty.teacher_uncertainty,
            uncertainty.disagreement,
            uncertainty.divergence,
        )
        for role, network in _with_roles(asked):
            if (role == "student" or of_teacher) and not _takes_more_rows(network):
                raise ValueError(
                    f"The {role} {network.name!r} works on a fixed number of rows (keras.Input("
                    f"batch_shape=...)), and {reason}, which makes more. {remedy} A network that "
                    "is built with keras.Input(shape=...) takes any number."
                )


def _with_roles(asked):
    teachers = getattr(asked.teacher, "members", [])
    return [("student", asked.student), *(("teacher", member) for member in teachers)]


def fixed_rows(x, batch_size, distiller):
    """Refuses batches of other sizes than the one that a network works on.

    Args:
        x: what `fit` or `evaluate` was given.
        batch_size: the same.
        distiller: the `Distiller`. With several replicas, which part batches, none is refused.
    """
    if distiller.distribute_strategy.num_replicas_in_sync > 1:
        return
    for role, network in _with_roles(distiller._networks()):
        for rows in sorted(batches.sizes(x, batch_size)):
            if not _takes_rows(network, rows):
                raise ValueError(_of_fixed_rows(role, network, f"one has {rows}"))


@contextlib.contextmanager
def explaining_fixed_rows(asked):
    """Says what a network's error in a step means if the network works on some rows only."""
    try:
        yield
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        for role, network in _with_roles(asked):
            rows = _built_for(network)
            if rows is not None and not _takes_rows(network, rows + 1):
                reason = str(error).strip().splitlines()[0][:300]
                found = f"a step failed, perhaps on another number: {reason}"
                raise ValueError(_of_fixed_rows(role, network, found)) from error
        raise


def _of_fixed_rows(role, network, found):
    rows = _built_for(network)
    return (
        f"The {role} {network.name!r} works on batches of {rows} rows only (keras.Input("
        f"batch_shape=...)), and {found}. Give batches of {rows}, and leave the rest out: "
        f"dataset.batch({rows}, drop_remainder=True). A network that is built with keras.Input("
        "shape=...) takes any number."
    )


def _built_for(network):
    """The number of rows that a network was built for; None if it is not fixed, or not known."""
    inputs = symbolic.inputs_of(network)
    return None if inputs is None else keras.tree.flatten(inputs)[0].shape[0]


def _takes_more_rows(network):
    """Whether a network that was built for a fixed number of rows takes twice as many."""
    rows = _built_for(network)
    return rows is None or _takes_rows(network, 2 * rows)


def _takes_rows(network, rows):
    """Whether a network takes a number of rows. One that was built for another is asked."""
    if _built_for(network) in (None, rows):
        return True
    zeros = keras.tree.map_structure(
        lambda each: tf.zeros([rows, *(size or 1 for size in each.shape[1:])], each.dtype),
        symbolic.inputs_of(network),
    )
    try:
        given = keras.tree.flatten(network(zeros, training=False))
    except Exception:  # Whatever its layers raise.
        return False
    return all(output.shape[0] == rows for output in given)


def divergence(function, output, student):
    """Refuses a function that does not give one number for each row and position.

    Args:
        function: a function of two distributions.
        output: the student's `ecl_tf.outputs.Output`.
        student: the student; one without symbolic outputs is left to the step's own check.
    """
    shape = symbolic.output_shape(student)
    if shape is None or divergences.name_of(function):
        return
    rows = 5
    for own, its in outputs.parts_of(output, shape).values():
        raw = tf.zeros([rows, *(2 if size is None else size for size in its[1:])])
        own.divergence(own(raw), own(raw), function)


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
    for each in keras.tree.flatten(sample_weight):
        require_numbers(each)
    members = getattr(asked.teacher, "members", [asked.teacher])
    networks = [("student", asked.student), *(("teacher", member) for member in members)]
    own_inputs.require_fit(samplers.inputs_of(x), networks)


def inputs_of_data(x, y, asked):
    """Refuses data whose inputs the networks can't take, by its specs.

    Args:
        x: what `fit` or `evaluate` was given.
        y: the same.
        asked: as in `data`.
    """
    if isinstance(x, tf.data.Dataset):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(x.element_spec)
        batch(x, y, sample_weight, asked)
        return
    own_inputs.require_dense(x)
    own_inputs.require_dense(y, "labels")
    if batches.element_spec(x) is not None:
        batch(x, y, None, asked)


def refusals(x, raw, member_outputs, asked, may_be_narrow=False):
    """What tells on a batch, in a step, that it is not what the networks were made for.

    Args:
        x: the batch's inputs.
        raw: the student's raw output.
        member_outputs: the raw outputs of the teacher's members; empty where it has none.
        asked: the `ecl_tf.uncertainty.Networks`.
        may_be_narrow: as in `ranges.outside`; False by default.

    Returns:
        A list of pairs of a scalar bool tensor, whether it does, and the message.
    """
    found = []
    outside, message = ranges.outside(_with_roles(asked), x, may_be_narrow)
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


def inputs_in_range(x, asked):
    """Refuses arrays of inputs of another scale than a network expects."""
    if batches.element_spec(x) is not None and not isinstance(x, tf.data.Dataset):
        ranges.require_within(_with_roles(asked), samplers.inputs_of(x))


def same_scale(x, its_x):
    """Refuses arrays of images in [0, 1] beside others from 0 to 255.

    Args:
        x: inputs to train on.
        its_x: inputs to validate on.
    """
    if isinstance(x, tf.data.Dataset) or isinstance(its_x, tf.data.Dataset):
        return
    if batches.element_spec(x) is None or batches.element_spec(its_x) is None:
        return
    for own, its in zip(keras.tree.flatten(x), keras.tree.flatten(its_x), strict=False):
        if len(own.shape) < 4 or own.dtype != its.dtype or not len(own) or not len(its):
            continue
        highest = [float(np.max(each[:256])) for each in (own, its)]
        if min(highest) > 1.0 or max(highest) <= 127.0:
            continue
        highest = [float(np.max(each)) for each in (own, its)]  # The first ones may be dark.
        if min(highest) <= 1.0:
            raise ValueError(
                f"The images to train on go up to {highest[0]:g}, and those to validate on up to "
                f"{highest[1]:g}. Give both the same scale, such as images / 255."
            )


def evaluation(x, y, steps, argument, distiller, batch_size=None):
    """Refuses data that a distiller can't be evaluated on, before the first batch.

    Args:
        x: what `evaluate` was given.
        y: the same.
        steps: how many batches to take, or None.
        argument: the name of that argument.
        distiller: the `Distiller`.
        batch_size: rows of the batches of arrays; None, the default, for Keras's own.
    """
    if isinstance(x, batches.Weighted):  # In the place of inputs, for Keras.
        x = x.inputs
    arrays(x, y)
    ends(x, steps, argument)
    divergence(distiller.divergence, distiller.output_kind, distiller.student)
    inputs_of_data(x, y, distiller._networks())
    inputs_in_range(x, distiller._networks())
    if (inputs := batches.element_spec(x)) is not None:
        if isinstance(x, tf.data.Dataset):
            inputs, _, _ = keras.utils.unpack_x_y_sample_weight(inputs)
        networks(distiller._networks(), samplers.inputs_of(inputs))
    fixed_rows(x, batch_size, distiller)
    labels_of_data(x, y, distiller)


def trained(student):
    """Refuses a student of whose weights none is trained."""
    if student.built and not student.trainable_weights:
        raise ValueError(
            f"The student {student.name!r} has no trainable weights, so there is nothing to train: "
            "trainable is False of it, or of all its layers with weights. Set "
            "student.trainable = True, or that of the layers to train, and compile again."
        )


def still_trained(student, optimizer):
    """Refuses a student whose `trainable` was changed after its optimizer met the weights."""
    if not optimizer.built:
        return
    known = getattr(optimizer, "inner_optimizer", optimizer)._trainable_variables
    if {id(variable) for variable in known} != {id(v) for v in student.trainable_variables}:
        raise ValueError(
            f"The student {student.name!r} has other trainable weights than when it was compiled, "
            "which the step would not follow. Compile again after changing trainable: "
            "distiller.compile(...)."
        )


def generators(models):
    """Refuses one model in two places of a sampler."""
    if len({id(model) for model in models}) < len(models):
        raise ValueError(
            "The sampler draws from one generator in two places, of which Keras would save "
            "only the first. Give one of them a copy: keras.models.clone_model, with its "
            "weights set."
        )


def compilation(loss, metrics, teacher_metrics, asks_teacher):
    """Refuses a loss, and the teacher's metrics where there are none, or no teacher to ask."""
    if loss is not None:
        raise ValueError(
            "A Distiller's loss is the divergence from the teacher, so compile takes no "
            "loss; use label_weight=... to learn from labels as well."
        )
    if teacher_metrics and not (asks_teacher and metrics):
        raise ValueError(
            "teacher_metrics=True needs metrics to compute, evaluate_teacher=True, and a "
            "teacher that answers other inputs than a store's."
        )


def labels(label_weight, given, output, raw):
    """Refuses labels that are learned from if they are none, or don't fit the raw output.

    Args:
        label_weight: the distiller's.
        given: labels or their specs, or None.
        output: the student's `ecl_tf.outputs.Output`.
        raw: its raw output, or specs of it; None if it is not known.
    """
    if label_weight > 0.0 and given is None:
        raise ValueError(
            f"label_weight={label_weight} needs labels, but the data has none. Give "
            "(inputs, labels), or set label_weight=0."
        )
    if given is None:
        return
    if isinstance(output, outputs.Joint):
        names = sorted(output.outputs)
        if not isinstance(given, dict) or not set(given) <= set(names):
            found = sorted(given) if isinstance(given, dict) else f"a {type(given).__name__}"
            raise ValueError(
                f"With several outputs, labels are a dict with the names {names} of the outputs; "
                f"got {found}. Give {{name: labels, ...}}."
            )
        none = (type(None), tf.NoneTensorSpec)
        given = {name: each for name, each in given.items() if not isinstance(each, none)}
        missing = [name for name in names if name not in given and output.weights[name] > 0.0]
        if label_weight > 0.0 and missing:
            raise ValueError(
                f"label_weight={label_weight} needs labels of every output, and {missing} have "
                f"none: got labels of {sorted(given)}. Give them, set label_weight=0, or give "
                "the output the weight 0: ecl_tf.outputs.Joint(outputs, weights)."
            )
    elif keras.tree.is_nested(given):
        raise ValueError(
            f"Labels of one output are one array; got a {type(given).__name__}. Choose one of "
            "them, or make the list an array with np.asarray."
        )
    for own, its, its_raw in outputs.parts_of(output, given, raw).values():
        if its is not None and its_raw is not None:
            own.validate_labels(its.shape, its_raw.shape)


def arrays(x=None, y=None, sample_weight=None):
    """Refuses lists of numbers, which Keras does not take for arrays.

    Args:
        x: what `fit` or `evaluate` was given; None, the default, for nothing.
        y: the same.
        sample_weight: the same.
    """
    for name, given in {"x": x, "y": y, "sample_weight": sample_weight}.items():
        first = given
        while isinstance(first, (list, tuple)) and len(first):
            first = first[0]
        if isinstance(given, (list, tuple)) and isinstance(first, (int, float, np.generic, str)):
            raise ValueError(
                f"{name} is a {type(given).__name__} of numbers or texts; expected an array. Give "
                f"np.asarray({name})."
            )
    for leaf in keras.tree.flatten(sample_weight):
        require_numbers(leaf)


def require_numbers(weights):
    """Refuses weights that are an array, a tensor or its specs of something else than numbers."""
    if not hasattr(weights, "dtype"):
        return
    kind = getattr(weights.dtype, "kind", "")
    if kind in tuple("OSU") or weights.dtype == tf.string:
        raise ValueError(
            f"sample_weight must be numbers; got an array of {weights.dtype}. Give "
            "np.asarray(weights, 'float32')."
        )


def class_weight(given, x, y, distiller):
    """Refuses weights of classes that are none, and where no labels are there to have them.

    Args:
        given: what `fit` was given as class_weight.
        x: the same.
        y: the same.
        distiller: the `Distiller`.
    """
    if given is None:
        return
    output = distiller.output_kind
    shape = symbolic.output_shape(distiller.student)
    instead = "Give weights of rows or positions: sample_weight=..."
    classes = {"categorical": shape and shape[-1], "bernoulli": 2}.get(output.family)
    # Of arrays Keras takes 1 for the classes that are left out.
    is_stream = isinstance(x, tf.data.Dataset)
    require.class_weight(given, classes, all_of_them=is_stream)
    if output.family not in ("categorical", "bernoulli"):
        raise ValueError(
            f"class_weight is for one output of classes, and output={output!r} has none to weigh. "
            f"{instead}"
        )
    if shape is not None and (len(shape) > 2 or (output.family == "bernoulli" and shape[-1] != 1)):
        raise ValueError(
            "class_weight needs one class for each row, and the student's output has the shape "
            f"{shape}, with several labels a row. {instead}"
        )
    if isinstance(x, tf.data.Dataset):
        element = x.element_spec
        is_labelled = isinstance(element, (tuple, list)) and len(element) > 1
    else:
        is_labelled = y is not None or batches.element_spec(x) is None
    if not is_labelled:
        raise ValueError(
            "class_weight needs labels, and the data has none. Give (inputs, labels), or weights "
            "of rows: sample_weight=..."
        )


def ends(x, steps, argument):
    """Refuses data without an end where nobody says how many steps to take of it.

    Args:
        x: what `fit` or `evaluate` was given.
        steps: the number of steps, or None.
        argument: the name of that argument.
    """
    if steps is None and endless.is_endless(x):
        raise ValueError(
            "The data is endless (a store's batches, repeat() or resume.batches), so it would "
            f"never be read to its end. Say how many batches to take: {argument}=..."
        )


def fractions(labels, raw, output):
    """Which labels are no whole numbers, where class indices are expected.

    Args:
        labels: labels that are not used, as an array or a tensor.
        raw: the student's raw output, or specs of it.
        output: its `ecl_tf.outputs.Output`.

    Returns:
        A bool tensor, of the shape of the labels; None where their type or that of the output does
        not tell.
    """
    if output.makes_probabilities != "softmax" or not tf.as_dtype(labels.dtype).is_floating:
        return None
    if len(labels.shape) == len(raw.shape) and labels.shape[-1] != 1:
        return None  # Shares of classes.
    labels = tf.convert_to_tensor(labels)
    return tf.math.is_finite(labels) & tf.not_equal(labels, tf.floor(labels))


def labels_of_data(x, y, distiller):
    """Refuses labels that no network can have, in arrays and, of a dataset, in its specs.

    Args:
        x: what `fit` or `evaluate` was given.
        y: the same.
        distiller: the `Distiller`.
    """
    element = batches.element_spec(x)
    if element is None:
        return
    inputs = element
    if isinstance(x, tf.data.Dataset):
        inputs, y, _ = keras.utils.unpack_x_y_sample_weight(element)
        y = None if isinstance(y, tf.NoneTensorSpec) else y
    if y is None:
        return
    shape = symbolic.output_shape(distiller.student, samplers.inputs_of(inputs))
    if shape is None:
        return
    raw = keras.tree.map_shape_structure(lambda each: tf.TensorSpec(each), shape)
    output = distiller.output_kind
    if not distiller.uses_labels:
        if not (isinstance(x, tf.data.Dataset) or keras.tree.is_nested(y)):
            y = np.asarray(y)
            if y.dtype.kind in "OSU":
                output.require_labels(y, shape)  # Keras does not take texts.
            wrong = fractions(y, raw, output)
            if wrong is not None and np.any(wrong):
                found = y[np.asarray(wrong)].ravel()[0]
                raise ValueError(f"There are labels such as {found:g}. {NO_LABELS}")
        return
    if not isinstance(x, tf.data.Dataset):
        is_one = not isinstance(output, outputs.Joint)
        y = np.asarray(y) if is_one and isinstance(y, list) else y
    labels(distiller.label_weight, y, output, raw)
    distiller.require_metrics_fit(y, raw)
    if isinstance(x, tf.data.Dataset):
        return
    for name, (own, its, its_raw) in outputs.parts_of(output, y, raw).items():
        if its is not None:
            own.require_labels(its, its_raw.shape, name)


def data(x, y, distiller):
    """Refuses data that a distiller can't train on, by its specs, before anything is traced.

    Args:
        x: what `fit` was given.
        y: the same.
        distiller: the `Distiller`.
    """
    asked, sampler, label_weight = distiller._networks(), distiller.sampler, distiller.label_weight
    adds_rows = appends(sampler, label_weight, distiller.label_rows)
    trained(asked.student)
    apart(asked.teacher, asked.student)
    finite_weights(asked)
    element = batches.element_spec(x)
    if element is not None and batches.is_empty(x):
        raise ValueError(NO_ROWS)
    inputs_of_data(x, y, asked)
    if element is None:
        return  # Only its iteration would tell; the step's own checks remain.
    inputs = element
    if isinstance(x, tf.data.Dataset):
        inputs, y, _ = keras.utils.unpack_x_y_sample_weight(element)
    if isinstance(inputs, samplers.Samples):
        if adds_rows:
            raise ValueError(
                f"label_weight={label_weight} needs the unmodified rows beside the recorded "
                "samples, which a store does not give. Use label_weight=0, or, of a sampler that "
                "keeps rows, label_rows='unmodified'."
            )
        _recorded(inputs, asked, sampler)
        inputs = inputs.inputs
    elif not asked.teacher.answers_new_inputs:
        raise ValueError(
            "This distiller's teacher is a store of recorded answers, which has none for "
            "other inputs. Fit it on the store's own samples: distiller.fit(store.batches("
            "x, y), steps_per_epoch=...)."
        )
    networks(asked, inputs)
    inputs_in_range(x, asked)
    row_counts(asked, sampler, adds_rows)
    suitable.require(sampler, inputs, asked)
    trained(asked.student)  # It may have been built just now.
    if label_weight > 0.0 and y is None:
        labels(label_weight, y, asked.output, None)


def _recorded(samples, asked, sampler):
    """Refuses recorded samples that were read for another sampler, or answered otherwise."""
    if not _read_as_recorded(samples, asked.teacher, sampler):
        raise ValueError(
            "The recorded samples were read for another sampler than the distiller's, "
            f"{sampler!r}: their kinds, or the numbers of candidates that one is chosen "
            "of, differ. Give both the same: store.batches(x, y, sampler=sampler)."
        )
    if not samples.member_outputs:
        return
    stored = keras.tree.map_structure(lambda spec: spec.shape, samples.member_outputs[0])
    own = symbolic.output_shape(asked.student, samples.inputs)
    there, here = (
        (output.family, output.event_size(shape))
        for output, shape in ((asked.teacher.output_kind, stored), (asked.output, own))
    )
    if there != here:
        raise ValueError(
            f"The stored answers are {there[0]}, of size {there[1]}, and the student's "
            f"output is {here[0]}, of size {here[1]}; they must be the same to be matched."
        )


def _read_as_recorded(samples, teacher, sampler):
    if (sampler.candidates > 1) != bool(samples.uncertainty):
        return False
    if teacher.answers_new_inputs:
        return True  # A live teacher: only the samples are recorded.
    rows = keras.tree.flatten(samples.inputs)[0].shape[0]
    as_many = sampler.candidates == 1 or rows in (None, teacher.batch_size * sampler.candidates)
    return type(sampler.proposer).__name__ == teacher.sampler and as_many
