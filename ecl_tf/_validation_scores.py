"""How good teacher and student are on validation labels, where the loss takes none.

`Distiller.fit` prints it as its last line.
"""

import keras
import tensorflow as tf

from ecl_tf import metrics, outputs


def describe(distiller, data, batch_size, steps):
    """One line of both networks' scores against labels, or None.

    A training on the teacher's answers alone logs how near the student is to the teacher, not how
    good the teacher is.

    Args:
        distiller: the `Distiller`, trained.
        data: what `fit` got as validation data.
        batch_size: that of `fit`, or None.
        steps: how many batches to take of it, or None.
    """
    if distiller.label_weight > 0.0 or distiller._teacher_metrics.metrics:
        return None
    if not distiller.teacher.answers_new_inputs:
        return None
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)):
        element = x.element_spec if isinstance(x, tf.data.Dataset) else x[0]
        if not isinstance(element, (tuple, list)) or len(element) < 2:
            return None
    elif y is None:
        return None
    output = distiller.output_kind
    measures = {name: _measures(*part) for name, part in outputs.parts_of(output).items()}
    networks = distiller.student, distiller.teacher
    try:
        with distiller.distribute_strategy.scope():
            its = type(distiller)(*networks, output=output, sampler="Empirical")
            its.quantized = distiller.quantized  # With the ranges that it has learned.
            its._features.run_student = distiller._features.run_student
            its.compile(
                weighted_metrics=measures.get("", measures),
                teacher_metrics=True,
                run_eagerly=distiller.run_eagerly,  # A network may need it.
                jit_compile=distiller.jit_compile,
            )
        logs = its.evaluate(
            x,
            y,
            batch_size=batch_size,
            sample_weight=sample_weight,
            steps=steps,
            verbose=0,
            return_dict=True,
        )
    except Exception:  # Such as labels that don't fit: nobody has asked for scores.
        return None
    names = [metric.name for metric in its._label_metrics.metrics]
    teacher, student = (
        ", ".join(f"{name} {logs[prefix + name]:.4g}" for name in names)
        for prefix in ("teacher_", "")
    )
    return f"Against the validation labels, the teacher has {teacher}; the student {student}."


def _measures(output):
    likelihood = metrics.NegativeLogLikelihood(output)
    return [likelihood] if isinstance(output, outputs.Numeric) else ["accuracy", likelihood]
