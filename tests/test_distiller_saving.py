"""A distiller that was saved goes on as if it had never stopped."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from ecl_tf import Distiller, Ensemble, divergences, outputs, samplers

SIZE, CLASSES = 4, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, SIZE)).astype("float32")
Y = RNG.integers(0, CLASSES, 12)


@keras.saving.register_keras_serializable("test_distiller_saving")
def squared_distance(teacher, student):
    difference = teacher.logits_parameter() - student.logits_parameter()
    return tf.reduce_sum(difference**2, -1)


@keras.saving.register_keras_serializable("test_distiller_saving")
class Subclassed(keras.Model):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense = keras.layers.Dense(units)

    def call(self, inputs):
        return self.dense(inputs)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def network(width, units=CLASSES, seed=0):
    initializer = keras.initializers.GlorotNormal(seed=seed)
    return keras.Sequential(
        [
            keras.Input((SIZE,)),
            keras.layers.Dense(width, "tanh", kernel_initializer=initializer, name="inner"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(units, kernel_initializer=initializer),
        ]
    )


def compiled(student=None, teacher=None, run_eagerly=True, seed=0, **kwargs):
    distiller = Distiller(
        student or network(4, seed=seed), teacher or network(8, seed=seed + 1), **kwargs
    )
    distiller.compile(keras.optimizers.Adam(0.01), metrics=["accuracy"], run_eagerly=run_eagerly)
    return distiller


def epoch(distiller, *data, batch_size=5, **kwargs):
    data = data or (X, Y)
    return distiller.fit(*data, batch_size=batch_size, shuffle=False, verbose=0, **kwargs).history


def saved_and_loaded(distiller, tmp_path):
    path = tmp_path / "distiller.keras"
    distiller.save(path)
    return keras.saving.load_model(path)


def assert_same_weights(one, other):
    assert len(one.weights) == len(other.weights) > 0
    for mine, its in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)


# Whole distillers.


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_training_goes_on_bit_for_bit_after_loading(run_eagerly, tmp_path):
    original = compiled(label_weight=0.5, run_eagerly=run_eagerly)
    epoch(original)
    loaded = saved_and_loaded(original, tmp_path)
    assert_same_weights(loaded.student, original.student)
    assert_same_weights(loaded.teacher, original.teacher)
    assert int(loaded.step.numpy()) == 3
    of_original, of_loaded = epoch(original), epoch(loaded)
    assert_same_weights(loaded.student, original.student)
    assert of_loaded == of_original
    assert int(loaded.step.numpy()) == int(loaded.optimizer.iterations.numpy()) == 6


def test_the_weights_file_alone_does_for_a_distiller_of_the_same_make(tmp_path):
    original, other = compiled(), compiled(seed=10)
    epoch(original)
    path = tmp_path / "all.weights.h5"
    original.save_weights(path)
    epoch(other)
    other.load_weights(path)
    assert_same_weights(other.student, original.student)
    assert_same_weights(other.teacher, original.teacher)
    assert int(other.step.numpy()) == 3
    epoch(original)
    epoch(other)
    assert_same_weights(other.student, original.student)


def test_a_weights_file_resumes_in_a_fresh_distiller(tmp_path):
    original, fresh = compiled(), compiled(seed=10)
    epoch(original)
    path = tmp_path / "all.weights.h5"
    original.save_weights(path)
    fresh.optimizer.build(fresh.trainable_variables)
    fresh.load_weights(path)
    epoch(original)
    epoch(fresh)
    assert_same_weights(fresh.student, original.student)


def test_what_was_compiled_survives(tmp_path):
    original = Distiller(network(4), network(8))
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


def test_that_the_teacher_is_left_out_of_evaluation_survives(tmp_path):
    original = Distiller(network(4), network(8))
    original.compile("sgd", metrics=["accuracy"], evaluate_teacher=False, run_eagerly=True)
    loaded = saved_and_loaded(original, tmp_path)
    assert set(loaded.evaluate(X, Y, verbose=0, return_dict=True)) == {"accuracy"}


def test_a_distiller_that_was_not_compiled_loads_uncompiled(tmp_path):
    original = Distiller(network(4), network(8))
    loaded = saved_and_loaded(original, tmp_path)
    assert not loaded.compiled
    assert_same_weights(loaded.student, original.student)


JOINT = outputs.Joint({"kind": "categorical", "place": outputs.Normal(1)}, {"place": 0.5})


def two_heads(width):
    inputs = keras.Input((SIZE,))
    hidden = keras.layers.Dense(width, "tanh")(inputs)
    heads = {"kind": keras.layers.Dense(3)(hidden), "place": keras.layers.Dense(2)(hidden)}
    return keras.Model(inputs, heads)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Distiller(network(4), [network(8, seed=1), network(8, seed=2)]),
        lambda: Distiller(
            network(4, 2),
            Ensemble([network(8, 1)], outputs.Point(1, stddev=0.25)),
            output=outputs.Normal(1, min_scale=0.01),
        ),
        lambda: Distiller(two_heads(4), two_heads(8), output=JOINT),
        lambda: Distiller(
            network(4),
            network(8),
            feature_losses=[keras.distillation.FeatureDistillation("mse")],
        ),
        lambda: Distiller(
            network(4),
            network(8),
            sampler=samplers.Choice(
                [samplers.GaussianNoise(0.5), samplers.DirichletMixup(3)], [0.75, 0.25]
            ),
            divergence="jensen_shannon",
            temperature=2.0,
            seed=5,
        ),
        lambda: Distiller(network(4), network(8), divergence=squared_distance),
    ],
    ids=["ensemble", "points", "joint", "features", "choice", "divergence"],
)
def test_every_kind_of_distiller_goes_on_after_loading(build, tmp_path):
    original = build()
    original.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    epoch(original, X, batch_size=12)
    loaded = saved_and_loaded(original, tmp_path)
    of_original, of_loaded = (epoch(each, X, batch_size=12) for each in (original, loaded))
    assert of_original == of_loaded
    assert_same_weights(loaded.student, original.student)


def test_a_distiller_of_subclassed_networks_goes_on_after_loading(tmp_path):
    original = compiled(Subclassed(CLASSES, name="student"), Subclassed(CLASSES, name="teacher"))
    epoch(original)
    loaded = saved_and_loaded(original, tmp_path)
    assert_same_weights(loaded.student, original.student)
    assert_same_weights(loaded.teacher, original.teacher)
    epoch(original)
    epoch(loaded)
    assert_same_weights(loaded.student, original.student)


def test_an_augmenting_sampler_is_saved_with_its_layers(tmp_path):
    def images(width):
        inputs = keras.Input((4, 4, 1))
        hidden = keras.layers.Dense(width, "tanh")(keras.layers.Flatten()(inputs))
        return keras.Model(inputs, keras.layers.Dense(CLASSES)(hidden))

    x = RNG.normal(size=(12, 4, 4, 1)).astype("float32")
    augment = samplers.Augment([keras.layers.RandomFlip("horizontal", seed=1)])
    original = compiled(images(4), images(8), sampler=samplers.Choice([augment, "CutMix"]))
    epoch(original, x, Y, batch_size=12)
    loaded = saved_and_loaded(original, tmp_path)
    (layer,) = loaded.sampler.samplers[0].layers
    assert isinstance(layer, keras.layers.RandomFlip)
    epoch(original, x, Y, batch_size=12)
    epoch(loaded, x, Y, batch_size=12)
    assert_same_weights(loaded.student, original.student)


# Checkpoints.


def test_model_checkpoint_keeps_the_best_distiller(tmp_path):
    path = tmp_path / "best.keras"
    distiller, predictions = compiled(), []

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            predictions.append((logs["val_loss"], self.model.student(X).numpy()))

    checkpoint = keras.callbacks.ModelCheckpoint(path, monitor="val_loss", save_best_only=True)
    epoch(distiller, epochs=3, validation_data=(X, Y), callbacks=[checkpoint, Keep()])
    loaded = keras.saving.load_model(path)
    best = min(predictions, key=lambda pair: pair[0])[1]
    np.testing.assert_allclose(loaded.predict(X, verbose=0), best, rtol=1e-5, atol=1e-6)
    assert len(predictions) == 3


def test_model_checkpoint_keeps_weights(tmp_path):
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch}.weights.h5", save_weights_only=True
    )
    distiller, fresh = compiled(), compiled(seed=10)
    epoch(distiller, epochs=2, callbacks=[checkpoint])
    epoch(fresh)
    fresh.load_weights(tmp_path / "2.weights.h5")
    assert_same_weights(fresh.student, distiller.student)
    assert int(fresh.step.numpy()) == 6


# Configs.


def round_trip(distiller):
    return Distiller.from_config(json.loads(json.dumps(distiller.get_config())))


def test_the_config_holds_every_argument():
    original = Distiller(
        network(4),
        network(8),
        sampler=samplers.Choice([samplers.Empirical(), samplers.Mixup(0.5)], [0.25, 0.75]),
        divergence="jeffreys",
        temperature=3.0,
        label_weight=0.5,
        feature_losses=[keras.distillation.FeatureDistillation("mse", "inner", None)],
        seed=7,
        name="named",
    )
    restored = round_trip(original)
    assert isinstance(restored.sampler, samplers.Choice)
    assert restored.sampler.probabilities == [0.25, 0.75]
    empirical, mixup = restored.sampler.samplers
    assert isinstance(empirical, samplers.Empirical)
    assert isinstance(mixup, samplers.Mixup)
    assert mixup.alpha == 0.5
    assert restored.divergence is divergences.jeffreys
    assert restored.temperature == 3.0
    assert restored.label_weight == 0.5
    assert restored.seed == 7
    assert restored.name == "named"
    (loss,) = restored.feature_losses
    assert loss.teacher_layer_name == "inner"
    assert loss.student_layer_name is None
    np.testing.assert_array_equal(loss.loss([[1.0]], [[3.0]]), [4.0])


def test_the_config_holds_a_normal_output():
    original = Distiller(network(4, 4), network(8, 4), output=outputs.Normal(2, min_scale=0.125))
    restored = round_trip(original)
    assert isinstance(restored.output_kind, outputs.Normal)
    assert restored.output_kind.size == 2
    assert restored.output_kind.min_scale == 0.125
    assert isinstance(restored.teacher.output_kind, outputs.Normal)


def test_the_config_holds_joint_outputs_and_their_weights():
    restored = round_trip(Distiller(two_heads(4), two_heads(8), output=JOINT))
    assert set(restored.output_kind.outputs) == {"kind", "place"}
    assert restored.output_kind.weights == {"kind": 1.0, "place": 0.5}
    assert restored.output_kind.outputs["place"].size == 1


def test_the_config_names_a_registered_divergence():
    restored = round_trip(Distiller(network(4), network(8), divergence=squared_distance))
    assert restored.divergence is squared_distance


def test_the_config_holds_the_members_of_an_ensemble():
    original = Distiller(network(4), [network(8), network(6)])
    restored = round_trip(original)
    widths = [member.get_layer("inner").units for member in restored.teacher.members]
    assert widths == [8, 6]


@pytest.mark.parametrize("name", ["kl", "reverse_kl", "jeffreys", "jensen_shannon"])
def test_divergences_are_saved_by_name(name):
    original = Distiller(network(4), network(8), divergence=name)
    assert original.get_config()["divergence"] == name
    assert round_trip(original).divergence is getattr(divergences, name)


def test_a_function_that_only_has_the_name_of_a_divergence_is_saved_as_itself():
    @keras.saving.register_keras_serializable("test_distiller_saving", name="kl")
    def kl(teacher, student):
        return squared_distance(teacher, student)

    restored = round_trip(Distiller(network(4), network(8), divergence=kl))
    assert restored.divergence is kl


def test_a_config_can_be_used_twice():
    config = Distiller(network(4), [network(8), network(6)]).get_config()
    first, second = Distiller.from_config(config), Distiller.from_config(config)
    assert first.student is not second.student
    assert len(second.teacher.members) == 2
