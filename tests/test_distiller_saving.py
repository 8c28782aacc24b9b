"""A distiller that was saved goes on as if it had never stopped."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import CLASSES, SIZE, Subclassed, assert_same_weights, heads, numbers

from ecl_tf import Distiller, Ensemble, callbacks, divergences, outputs, samplers

X, IMAGES = numbers(12, SIZE), numbers(12, 4, 4, 1, seed=1)
Y = np.random.default_rng(2).integers(0, CLASSES, 12)


@keras.saving.register_keras_serializable("test_distiller_saving")
def squared_distance(teacher, student):
    difference = teacher.logits_parameter() - student.logits_parameter()
    return tf.reduce_sum(difference**2, -1)


def network(width, units=CLASSES, *, seed=0, shape=(SIZE,)):
    initializer = keras.initializers.GlorotNormal(seed=seed)
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Flatten(),
            keras.layers.Dense(width, "tanh", kernel_initializer=initializer, name="inner"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(units, kernel_initializer=initializer),
        ]
    )


def compiled(seed=0):
    distiller = Distiller(network(4, seed=seed), network(8, seed=seed + 1))
    distiller.compile(keras.optimizers.Adam(0.01), metrics=["accuracy"], run_eagerly=True)
    return distiller


def epoch(distiller, *data, **arguments):
    return distiller.fit(*data, batch_size=5, shuffle=False, verbose=0, **arguments).history


def saved_and_loaded(distiller, tmp_path):
    path = tmp_path / "distiller.keras"
    distiller.save(path)
    return keras.saving.load_model(path)


# Whole distillers.


def of_points():
    teacher = Ensemble([network(8, 1, seed=seed) for seed in (1, 2)], outputs.Point(1, stddev=0.25))
    return Distiller(network(4, 2), teacher, output=outputs.Normal(1, min_scale=0.01))


def of_images():
    augment = samplers.Augment([keras.layers.RandomFlip("horizontal", seed=1)])
    return Distiller(
        network(4, shape=IMAGES.shape[1:]),
        network(8, shape=IMAGES.shape[1:]),
        sampler=samplers.Choice([augment, samplers.CutMix(0.5)], [0.75, 0.25]),
        divergence=squared_distance,
        temperature=2.0,
        seed=5,
    )


JOINT = outputs.Joint({"kind": "categorical", "place": outputs.Normal(1)}, {"place": 0.5})
KINDS = {
    "labels": lambda: Distiller(network(4), network(8), label_weight=0.5),
    "ensemble of points": of_points,
    "joint": lambda: Distiller(heads(kind=3, place=2), heads(kind=3, place=2), output=JOINT),
    "features": lambda: Distiller(
        network(4), network(8), feature_losses=[keras.distillation.FeatureDistillation("mse")]
    ),
    "samplers": of_images,
    "subclassed": lambda: Distiller(Subclassed(), Subclassed()),
}


@pytest.mark.parametrize(
    "kind", [*sorted(KINDS.keys() - {"samplers"}), pytest.param("samplers", marks=pytest.mark.slow)]
)
def test_every_kind_of_distiller_goes_on_after_loading(kind, tmp_path):
    original = KINDS[kind]()
    data = {"labels": (X, Y), "samplers": (IMAGES,)}.get(kind, (X,))
    original.compile(keras.optimizers.Adam(0.01), run_eagerly=kind != "labels")
    epoch(original, *data)
    loaded = saved_and_loaded(original, tmp_path)
    assert_same_weights(loaded.student, original.student)
    assert_same_weights(loaded.teacher, original.teacher)
    assert int(loaded.step.numpy()) == 3
    assert epoch(loaded, *data) == epoch(original, *data)
    assert_same_weights(loaded.student, original.student)
    assert int(loaded.step.numpy()) == int(loaded.optimizer.iterations.numpy()) == 6


@pytest.mark.slow
def test_what_was_compiled_survives_and_what_was_not_loads_uncompiled(tmp_path):
    original = Distiller(network(4), network(8))
    assert not saved_and_loaded(original, tmp_path).compiled
    original.compile(
        keras.optimizers.SGD(0.125, momentum=0.5),
        metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top")],
        weighted_metrics=["sparse_categorical_crossentropy"],
        teacher_metrics=True,
        run_eagerly=True,
    )
    before = original.evaluate(X, Y, verbose=0, return_dict=True)
    assert {"top", "teacher_top", "teacher_sparse_categorical_crossentropy"} < set(before)
    loaded = saved_and_loaded(original, tmp_path)
    assert isinstance(loaded.optimizer, keras.optimizers.SGD)
    assert float(loaded.optimizer.learning_rate) == 0.125
    assert loaded.evaluate(X, Y, verbose=0, return_dict=True) == pytest.approx(before)
    original.compile("sgd", metrics=["accuracy"], evaluate_teacher=False, run_eagerly=True)
    loaded = saved_and_loaded(original, tmp_path)
    assert set(loaded.evaluate(X, Y, verbose=0, return_dict=True)) == {"accuracy"}


# Checkpoints.


@pytest.mark.slow
def test_model_checkpoint_keeps_the_best_distiller(tmp_path):
    path = tmp_path / "best.keras"
    distiller, predictions = compiled(), []

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            predictions.append((logs["val_loss"], self.model.student(X).numpy()))

    checkpoint = keras.callbacks.ModelCheckpoint(path, monitor="val_loss", save_best_only=True)
    epoch(distiller, X, Y, epochs=3, validation_data=(X, Y), callbacks=[checkpoint, Keep()])
    loaded = keras.saving.load_model(path)
    best = min(predictions, key=lambda pair: pair[0])[1]
    np.testing.assert_allclose(loaded.predict(X, verbose=0), best, rtol=1e-5, atol=1e-6)
    assert len(predictions) == 3


def test_a_student_checkpoint_holds_the_best_student_and_nothing_else(tmp_path):
    distiller, answers = compiled(), []

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            answers.append((logs["val_agreement"], self.model.student(X).numpy()))

    path = tmp_path / "best.keras"
    best = callbacks.StudentCheckpoint(path, monitor="val_agreement", save_best_only=True)
    epoch(distiller, X, Y, epochs=3, validation_data=(X, Y), callbacks=[best, Keep()])
    expected = max(answers, key=lambda pair: pair[0])[1]
    np.testing.assert_allclose(keras.models.load_model(path)(X), expected, rtol=1e-5, atol=1e-6)
    distiller.student.save(tmp_path / "student.keras")
    assert path.stat().st_size <= (tmp_path / "student.keras").stat().st_size
    with pytest.raises(ValueError, match=r"student of a Distiller; got .*ModelCheckpoint"):
        best.set_model(distiller.student)


@pytest.mark.slow
def test_a_checkpoint_of_weights_alone_resumes_another_distiller_of_the_same_make(tmp_path):
    path = tmp_path / "latest.weights.h5"
    checkpoint = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
    original, trained, fresh = compiled(), compiled(seed=10), compiled(seed=20)
    epoch(original, X, Y, epochs=2, callbacks=[checkpoint])
    epoch(trained, X, Y)
    fresh.optimizer.build(fresh.trainable_variables)
    epoch(original, X, Y)
    for other in (trained, fresh):
        other.load_weights(path)
        assert int(other.step.numpy()) == 6
        epoch(other, X, Y)
        assert_same_weights(other.student, original.student)
        assert_same_weights(other.teacher, original.teacher)


def test_a_file_that_names_no_packages_is_told_of(tmp_path):
    with pytest.warns(UserWarning, match=r"best\.h5 will load only with custom_objects.*\.keras"):
        compiled().save(tmp_path / "best.h5")


# Configs.


def round_trip(distiller):
    return Distiller.from_config(json.loads(json.dumps(distiller.get_config())))


def test_the_config_holds_every_argument():
    original = Distiller(
        network(4),
        network(3),  # As wide within as the student's output.
        sampler=samplers.Choice(["Empirical", samplers.Mixup(0.5)]),
        divergence="jeffreys",
        temperature=3.0,
        label_weight=0.5,
        label_rows="unmodified",
        feature_losses=[keras.distillation.FeatureDistillation("mse", "inner", None)],
        seed=7,
        name="named",
    )
    restored = round_trip(original)
    assert restored.sampler.samplers[1].alpha == 0.5
    assert original.get_config()["divergence"] == "jeffreys"
    assert restored.divergence is divergences.jeffreys
    assert (restored.temperature, restored.label_weight, restored.seed) == (3.0, 0.5, 7)
    assert (restored.label_rows, restored.name) == ("unmodified", "named")
    (loss,) = restored.feature_losses
    assert (loss.teacher_layer_name, loss.student_layer_name) == ("inner", None)
    np.testing.assert_array_equal(loss.loss([[1.0]], [[3.0]]), [4.0])


def test_the_config_holds_the_output_and_the_members_and_can_be_used_twice():
    output = outputs.Normal(2, min_scale=0.125)
    original = Distiller(network(4, 4), [network(8, 4), network(6, 4)], output=output)
    config = original.get_config()
    first, second = Distiller.from_config(config), Distiller.from_config(config)
    assert first.student is not second.student
    for restored in (first, second):
        widths = [member.get_layer("inner").units for member in restored.teacher.members]
        assert widths == [8, 6]
        for kind in (restored.output_kind, restored.teacher.output_kind):
            assert (type(kind), kind.size, kind.min_scale) == (outputs.Normal, 2, 0.125)


def test_a_function_that_only_has_the_name_of_a_divergence_is_saved_as_itself():
    @keras.saving.register_keras_serializable("test_distiller_saving", name="kl")
    def kl(teacher, student):
        return squared_distance(teacher, student)

    restored = round_trip(Distiller(network(4), network(8), divergence=kl))
    assert restored.divergence is kl
