"""What Keras's callbacks and summaries ask a model, a distiller answers."""

import keras
import numpy as np
import pytest
from by_hand import SIZE, Subclassed, assert_arrays, linear, numbers, weights

from ecl_tf import Distiller, metrics, outputs

X = numbers(16, SIZE)
LABELS = np.arange(16) % 3
OF_STUDENT, OF_TEACHER = weights(seed=2), weights(seed=3)


def compiled(**arguments):
    distiller = Distiller(linear(OF_STUDENT), linear(OF_TEACHER), sampler="Empirical")
    distiller.compile(keras.optimizers.SGD(0.1), run_eagerly=True, **arguments)
    return distiller


# Directions.


class Direction(keras.callbacks.EarlyStopping):
    """Finds its direction only."""

    def on_epoch_end(self, epoch, logs=None):
        assert self.monitor in logs
        self._set_monitor_op()


def directions(distiller, *data, names):
    callbacks = [Direction(name) for name in names]
    distiller.fit(*data, validation_data=data, callbacks=callbacks, verbose=0)
    return [callback.monitor_op.__name__ for callback in callbacks]


@pytest.mark.slow
def test_callbacks_find_the_direction_of_all_that_is_logged():
    of_classes = [
        "accuracy",
        keras.metrics.SparseTopKCategoricalAccuracy(2, name="top"),
        keras.metrics.sparse_categorical_accuracy,
        metrics.ExpectedCalibrationError(),
        metrics.NegativeLogLikelihood("categorical"),
    ]
    distiller = compiled(metrics=of_classes, teacher_metrics=True)
    greater = ["accuracy", "val_accuracy", "val_top", "val_sparse_categorical_accuracy"]
    greater += ["val_agreement", "agreement", "val_teacher_accuracy"]
    less = ["val_ece", "val_nll", "val_teacher_nll", "val_divergence", "divergence", "val_loss"]
    expected = ["greater"] * len(greater) + ["less"] * len(less)
    assert directions(distiller, X, LABELS, names=greater + less) == expected

    joint = outputs.Joint({"kind": "categorical", "place": outputs.Normal(1)})
    x = keras.Input((SIZE,))
    heads = {"kind": keras.layers.Dense(3)(x), "place": keras.layers.Dense(2)(x)}
    network = keras.Model(x, heads)
    distiller = Distiller(network, keras.models.clone_model(network), output=joint, label_weight=1)
    own = {"kind": ["accuracy"], "place": ["mae", metrics.GaussianCoverage(outputs.Normal(1))]}
    distiller.compile("sgd", metrics=own, run_eagerly=True)
    data = X, {"kind": LABELS, "place": X[:, :1]}
    names = ["val_kind_agreement", "val_kind_accuracy", "val_place_mae", "val_place_mean_error"]
    found = directions(distiller, *data, names=[*names, "val_label_loss"])
    assert found == ["greater", "greater", "less", "less", "less"]
    with pytest.raises(ValueError, match=r"monitor=val_place_coverage.*mode"):  # Neither way.
        directions(distiller, *data, names=["val_place_coverage"])


# Weights.


class PutBack(keras.callbacks.Callback):
    """Ends a training with the weights it began with, as learning-rate finders do."""

    def __init__(self, path=None):
        super().__init__()
        self.path, self.batches = path, 0

    def on_train_begin(self, logs=None):
        self.weights = self.model.get_weights()
        if self.path:
            self.model.save_weights(self.path)

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1

    def on_train_end(self, logs=None):
        if self.path:
            self.model.load_weights(self.path)
        else:
            self.model.set_weights(self.weights)


@pytest.mark.parametrize("by_file", [False, True])
def test_a_callback_may_put_the_weights_back(by_file, tmp_path):
    distiller = compiled()
    callback = PutBack(tmp_path / "of.weights.h5" if by_file else None)
    distiller.fit(X, batch_size=4, callbacks=[callback], verbose=0)
    assert callback.batches == 4
    assert_arrays(distiller.student.get_weights(), OF_STUDENT)
    assert int(distiller.step.numpy()) == 0


def test_averaged_weights_can_be_swapped_in():
    distiller = compiled()
    distiller.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), run_eagerly=True)
    seen = []
    look = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(distiller.student.get_weights()[0])
    )
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    distiller.fit(X, batch_size=8, shuffle=False, callbacks=[look, swap], verbose=0)
    average = 0.5 * seen[0] + 0.5 * seen[1]  # Keras begins with the first step's weights.
    np.testing.assert_allclose(distiller.student.get_weights()[0], average, rtol=1e-5)


# What is trained.


def test_a_student_of_which_nothing_is_trained_is_refused():
    distiller = compiled()
    distiller.student.trainable = False
    for train in (lambda: distiller.fit(X), lambda: distiller.train_on_batch(X)):
        with pytest.raises(ValueError, match=r"'sequential.*' has no trainable weights.*compile"):
            train()
    assert int(distiller.step.numpy()) == 0


def test_trainable_is_changed_before_the_first_step_or_with_compile():
    student = keras.Sequential([keras.Input((SIZE,)), keras.layers.Dense(4), keras.layers.Dense(3)])
    distiller = Distiller(student, linear(OF_TEACHER), sampler="Empirical")
    first, before = student.layers[0], student.get_weights()
    distiller.compile("sgd", run_eagerly=True)
    first.trainable = False
    distiller.fit(X, verbose=0)
    assert_arrays(student.get_weights()[:2], before[:2])
    first.trainable = True
    with pytest.raises(ValueError, match="Compile again"):
        distiller.fit(X, verbose=0)
    distiller.compile("sgd", run_eagerly=True)
    distiller.fit(X, verbose=0)
    assert not np.array_equal(student.get_weights()[0], before[0])


def test_a_shared_layer_that_training_would_change_is_refused():
    normalisation = keras.layers.BatchNormalization(center=False, scale=False)

    def network():
        x = keras.Input((SIZE,))
        return keras.Model(x, keras.layers.Dense(3)(normalisation(x)))

    with pytest.raises(ValueError, match=r"shares weights .*moving_mean.*trainable = False"):
        Distiller(network(), network())  # Its statistics would move.
    normalisation.trainable = False
    distiller = Distiller(network(), network())
    distiller.compile("sgd")
    normalisation.trainable = True
    with pytest.raises(ValueError, match="shares weights"):
        distiller.fit(X, verbose=0)


# Counts.


def test_a_summary_counts_the_teacher(tmp_path):
    def network():
        return Subclassed(3)

    distiller = Distiller(network(), [network(), network()])
    distiller.compile("sgd", run_eagerly=True)
    distiller.fit(X, verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    of_network = SIZE * 3 + 3
    for each in (distiller, keras.saving.load_model(tmp_path / "distiller.keras")):
        lines: list[str] = []
        each.summary(print_fn=lines.append)
        text = "\n".join(lines)
        assert "unbuilt" not in text
        assert each.teacher.count_params() == 2 * of_network
        assert f"Trainable params: {of_network} " in text
        assert f"Non-trainable params: {2 * of_network + 1} " in text  # With the step.
    built = Distiller(linear(OF_STUDENT), linear(OF_TEACHER))
    assert built.teacher.count_params() == of_network  # Before any step.
