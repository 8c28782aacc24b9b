"""Experiments made so small that a test can run them."""

import numpy as np


def rows(dataset):
    """Inputs and labels of all examples of a split, as arrays."""
    return tuple(np.stack(part) for part in zip(*dataset.as_numpy_iterator(), strict=True))


def shrink(config):
    """Two networks of a few weights, trained for 20 steps on 64 rows."""
    config.seeds = 2
    config.tuning_seeds = 1
    config.data.train_size = 64
    config.teacher.members = 2
    config.kd.label_weights = (0.0,)
    config.xcl.choices = ()
    config.export.measures = False
    if config.output == "categorical":
        config.kd.temperatures = (1.0, 4.0)
        config.teacher.network.width = 4
    else:
        config.teacher.network.widths = (8,)
    config.student.network.widths = (8,)
    for section in (config.teacher, config.student):
        section.train.steps = 20
        section.train.steps_per_execution = 10
    config.student.train.epochs = 2
    return config


def hasty():
    """In this process no student's training is tried before, and comparisons have no page."""
    from ecl_tf.experiments import comparison, rehearsal, report

    comparison.rehearse, report.page = (lambda *given: None), (lambda *given: "")
    rehearsal.Rehearsal.distillation = rehearsal.Rehearsal.export = lambda *given, **count: None


def normalized(input_shape, units):
    """A network whose statistics are of all rows, wherever they are."""
    import keras

    widths = [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.ReLU()]
    return keras.Sequential(
        [keras.Input(input_shape), keras.layers.Flatten(), *widths, keras.layers.Dense(units)]
    )


def untuned(config):
    """One run of each method, with nothing to choose, and a teacher of one network."""
    config.seeds = 1
    config.teacher.members = 1
    config.erm.update({"label_smoothing": 0.0, "mixup_alpha": 0.0})
    config.kd.temperatures = (1.0,)
    return config
