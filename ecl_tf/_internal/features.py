"""Runs a network once and returns its output together with inner features."""

import copy
from typing import Any

import keras
import tensorflow as tf

from ecl_tf._internal import own_inputs, symbolic


class FeatureLosses:
    """Losses between inner features of teacher and student, and what runs the networks for them.

    Args:
        losses: a list of `keras.distillation.FeatureDistillation`.
        teacher: an `ecl_tf.Teacher`.
        student: the Keras model.
        quantized: the `FakeQuantized` student, which runs in its place; None by default.

    Attributes:
        run_student: a function (inputs, training) -> (raw output, {layer name: features}).
        run_teacher: the same of the teacher's only member; None without losses.
    """

    def __init__(self, losses, teacher, student, quantized=None):
        validate(losses, teacher, student)
        self._losses = [unreduced(loss) for loss in losses]
        names = [loss.student_layer_name for loss in losses]
        self.run_student = quantized.runner(names) if quantized else runner(student, names)
        self.run_teacher: Any = None
        if losses:
            layers = [loss.teacher_layer_name for loss in losses]
            self.run_teacher = runner(teacher.members[0], layers)

    def mean(self, teacher, student, weights=None):
        """The mean of the losses, a scalar, for both networks' {layer name: features}.

        Args:
            teacher: the teacher's features.
            student: the student's.
            weights: float32 (batch, positions...), whose mean is 1; None for none. Features
                of other positions have their row's mean weight.
        """
        values = [
            _weighted(loss, weights).compute_loss(
                teacher[loss.teacher_layer_name], student[loss.student_layer_name]
            )
            for loss in self._losses
        ]
        return tf.add_n([tf.cast(value, tf.float32) for value in values]) / len(values)


def _weighted(feature_loss, weights):
    """A copy whose loss functions multiply their values by weights."""
    if weights is None:
        return feature_loss

    def of(loss):
        def weigh(its, own):
            values = tf.convert_to_tensor(loss(its, own))
            if values.shape.rank == 0:
                return values  # A function of the whole batch.
            fits = values.shape.rank >= weights.shape.rank and all(
                None not in (mine, wanted) and mine == wanted
                for mine, wanted in zip(values.shape[1:], weights.shape[1:], strict=False)
            )
            factor = weights if fits else tf.reduce_mean(weights, range(1, weights.shape.rank))
            missing = values.shape.rank - factor.shape.rank
            return values * tf.cast(factor[(..., *[None] * missing)], values.dtype)

        return None if loss is None else weigh

    result = copy.copy(feature_loss)
    result.loss = keras.tree.map_structure(of, feature_loss.loss)
    return result


def validate(feature_losses, teacher, student):
    """Raises ValueError unless the feature losses fit the two networks."""
    for loss in feature_losses:
        if not isinstance(loss, keras.distillation.FeatureDistillation):
            raise ValueError(
                "feature_losses takes keras.distillation.FeatureDistillation objects; got "
                f"{loss!r}. Outputs are matched by the divergence already."
            )
        if len(getattr(teacher, "members", ())) != 1:
            raise ValueError(
                "feature_losses need a teacher that is a single Keras model: the members of "
                "an ensemble have no features in common."
            )
        loss.validate_model_compatibility(teacher.members[0], student)
        _require_shapes(loss, teacher.members[0], student)


def _require_shapes(loss, teacher, student):
    """Refuses layers whose features the loss can't compare, since their shapes differ."""
    names = loss.teacher_layer_name, loss.student_layer_name
    shapes = [
        symbolic.output_shape(model) if name is None else _shape_of(model.get_layer(name).output)
        for model, name in zip((teacher, student), names, strict=True)
    ]
    if not all(isinstance(shape, tuple) for shape in shapes):
        return  # Several tensors, or not known yet.
    there, here = (tf.TensorShape(shape) for shape in shapes)
    if there.is_compatible_with(here):
        return
    reason = ""
    kinds = [getattr(each, "__module__", "") for each in keras.tree.flatten(loss.loss)]
    if not any(kind.startswith("keras.") for kind in kinds):
        try:  # A function of the user's may bring them to one shape.
            loss.compute_loss(*(_zeros(shape) for shape in (there, here)))
            return
        except Exception as error:
            reason = f" ({str(error).splitlines()[0][:200]})"
    remedy = "Name layers of one shape"
    if there[1:-1].is_compatible_with(here[1:-1]):
        remedy = (
            f"Name layers of the same width, such as a keras.layers.Dense({shapes[0][-1]}) that "
            "projects the student's features on their way to its output"
        )
    raise ValueError(
        f"feature_losses compares the layer {names[0]!r} of the teacher, of shape {shapes[0]}, "
        f"with {names[1]!r} of the student, of shape {shapes[1]}, and its loss needs equal "
        f"shapes{reason}. {remedy}, or give a loss function of (teacher, student) that compares "
        "them as they are."
    )


def _shape_of(output):
    return keras.tree.map_structure(lambda tensor: tuple(tensor.shape), output)


def _zeros(shape):
    return tf.zeros([2, *(size or 2 for size in shape[1:])])


def unreduced(feature_loss):
    """A copy whose `keras.losses.Loss` objects leave the mean to `compute_loss`.

    By themselves they would divide theirs by the number of replicas, as the distiller does again.
    """

    def of(loss):
        if not isinstance(loss, keras.losses.Loss) or loss.reduction == "sum":
            return loss
        loss = copy.copy(loss)
        loss.reduction = "none"
        return loss

    result = copy.copy(feature_loss)
    result.loss = keras.tree.map_structure(of, feature_loss.loss)
    return result


def runner(model, layer_names):
    """Returns a function (inputs, training) -> (raw output, {layer name: features}).

    The features of the name None are the raw output itself.
    """
    names = sorted({name for name in layer_names if name is not None})
    network = model
    if names:
        layers = {name: model.get_layer(name).output for name in names}
        network = keras.Model(
            symbolic.inputs_of(model),
            {"features": layers, "output": symbolic.output_of(model)},
        )

    def run(inputs, training):
        result = network(own_inputs.of(model, inputs), training=training)
        if not names:
            return result, {None: result}
        return result["output"], {**result["features"], None: result["output"]}

    return run
