"""What a `Distiller` refuses of its own arguments."""

import math

import keras

from ecl_tf import samplers


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


def quantization(given):
    """The name of the precision at which the student is trained; refuses others."""
    if given not in (None, "int8"):
        raise ValueError(
            f"Unknown quantization {given!r}; expected None, or 'int8'. For weights of 16 bits "
            "train as usual, and give export(..., format='litert', quantization='float16')."
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


def generators(models):
    """Refuses one model in two places of a sampler."""
    if len({id(model) for model in models}) < len(models):
        raise ValueError(
            "The sampler draws from one generator in two places, of which Keras would save "
            "only the first. Give one of them a copy: keras.models.clone_model, with its "
            "weights set."
        )


# Arguments of Keras's optimizers that say which share of a running mean is kept.
_KEPT = ("beta_1", "beta_2", "rho")


def optimizer(given):
    """Refuses an optimizer with a setting by which an update would not be finite, or go uphill."""
    if given is None:
        raise ValueError('compile needs an optimizer; got None. Give distiller.compile("adam").')
    given = getattr(given, "inner_optimizer", given)  # Of one that scales losses.
    is_of_keras = type(given).__module__.startswith("keras.")  # In others rho may be a radius.
    for name, value in vars(given).items():
        if not isinstance(value, (int, float)):
            continue
        expected = None if math.isfinite(value) else "a finite number"
        if is_of_keras and name.endswith(_KEPT) and not 0.0 <= value < 1.0:
            expected = "a number from 0 to less than 1"
        if is_of_keras and name == "loss_scale_factor" and value <= 0.0:
            expected = "None, or a positive number: gradients are divided by it"
        if is_of_keras and name.startswith("epsilon") and value <= 0.0:
            expected = "a positive number: without it a weight that gets no gradient becomes NaN"
        if expected:
            kind = type(given).__name__
            raise ValueError(f"The optimizer {kind} has {name}={value}; expected {expected}.")
    rate = float(keras.ops.convert_to_numpy(given.learning_rate))
    if rate < 0.0:
        raise ValueError(
            f"The optimizer {type(given).__name__} has learning_rate={rate:g}; expected a number "
            ">= 0, or the student would learn to be unlike the teacher."
        )


def compilation(loss, loss_weights, metrics, teacher_metrics, asks_teacher):
    """Refuses a loss or its weights, and the teacher's metrics where nobody has any to tell."""
    if loss is not None:
        raise ValueError(
            "A Distiller's loss is the divergence from the teacher, so compile takes no "
            "loss; use label_weight=... to learn from labels as well."
        )
    if loss_weights is not None:
        raise ValueError(
            "compile takes no loss_weights, which weigh a loss of Keras. Give the outputs weights: "
            "Distiller(..., output=ecl_tf.outputs.Joint(outputs, weights))."
        )
    if teacher_metrics and not (asks_teacher and metrics):
        raise ValueError(
            "teacher_metrics=True needs metrics to compute, evaluate_teacher=True, and a "
            "teacher that answers other inputs than a store's."
        )
