"""Teachers: never changed, deterministic, saved and loaded, measured spreads."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from by_hand import heads, softmax

from ecl_tf import Ensemble, Teacher, teachers
from ecl_tf.outputs import Categorical, Joint, Normal, Point

RNG = np.random.default_rng(0)
X = RNG.normal(0, 1, (8, 3)).astype(np.float32)


def network(units=4):
    """With all that could go wrong in training mode: dropout and batch statistics."""
    inputs = keras.Input((3,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(8, activation="relu")(inputs))
    return keras.Model(inputs, keras.layers.Dense(units)(keras.layers.Dropout(0.5)(x)))


def linear(*units):
    """A Dense network with random weights, without anything stochastic."""
    model = keras.Sequential([keras.Input((3,)), *map(keras.layers.Dense, units)])
    model.set_weights([RNG.normal(0, 1, w.shape) for w in model.get_weights()])
    return model


def test_members_are_used_in_inference_mode_and_left_as_they_are():
    members = [network(), network()]
    members[1].trainable = False
    before = [[weight.copy() for weight in member.get_weights()] for member in members]
    ensemble = Ensemble(members, "categorical")
    calls = [ensemble(X, training=training) for training in (True, True, False)]
    np.testing.assert_array_equal(calls[0], calls[1])
    np.testing.assert_array_equal(calls[0], calls[2])
    expected = [member(X, training=False) for member in members]
    np.testing.assert_allclose(softmax(calls[0]), softmax(expected).mean(0), rtol=1e-4)
    ensemble.distribution(X)
    ensemble.uncertainty(X)
    for member, weights, trainable in zip(members, before, (True, False), strict=True):
        keras.tree.map_structure(np.testing.assert_array_equal, member.get_weights(), weights)
        assert member.trainable is trainable
        assert all(layer.trainable is trainable for layer in member.layers)


def test_keras_evaluates_a_teacher_like_a_student():
    members = [linear(4), linear(4)]
    ensemble = Ensemble(members, "categorical")
    labels = RNG.integers(0, 4, 8)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    ensemble.compile(loss=loss, metrics=["accuracy"], run_eagerly=True)
    results = ensemble.evaluate(X, labels, verbose=0, return_dict=True)
    p = softmax([member(X) for member in members]).mean(0)
    assert results["accuracy"] == pytest.approx((p.argmax(-1) == labels).mean())
    assert results["loss"] == pytest.approx(-np.log(p[np.arange(8), labels]).mean(), rel=1e-4)
    np.testing.assert_allclose(softmax(ensemble.predict(X, verbose=0)), p, rtol=1e-4)


def test_named_outputs_and_inputs():
    image, pose = keras.Input((3,), name="image"), keras.Input((2,), name="pose")
    both = keras.layers.Concatenate()([image, pose])
    named = {"digit": keras.layers.Dense(4)(both), "angle": keras.layers.Dense(2)(both)}
    model = keras.Model({"image": image, "pose": pose}, named)
    ensemble = Ensemble([model, model], {"digit": "categorical", "angle": "normal"})
    inputs = {"image": X, "pose": X[:, :2]}
    distribution, raw = ensemble.distribution(inputs), model(inputs)
    p, mean = softmax(raw["digit"]), np.asarray(raw["angle"])[:, :1]
    np.testing.assert_allclose(distribution["digit"].probs_parameter(), p, rtol=1e-4)
    np.testing.assert_allclose(distribution["angle"].mean(), mean, rtol=1e-4)
    assert ensemble.output_kind == Joint({"digit": Categorical(), "angle": Normal(1)})
    assert set(ensemble(inputs)) == {"digit", "angle"}


def test_subclasses_need_member_outputs_only():
    class Rule(Teacher):
        def member_outputs(self, inputs):
            return [tf.stack([inputs[:, 0], -inputs[:, 0]], -1), tf.zeros((len(inputs), 2))]

    teacher = Rule("categorical")
    p = (scipy.special.expit(2 * X[:, 0].astype(np.float64)) + 0.5) / 2
    np.testing.assert_allclose(teacher.distribution(X).probs_parameter()[:, 0], p, rtol=1e-5)
    np.testing.assert_allclose(softmax(teacher(X))[:, 0], p, rtol=1e-5)
    assert np.all(teacher.uncertainty(X).epistemic >= 0)
    with pytest.raises(NotImplementedError):
        Teacher("categorical").distribution(X)


def test_a_teacher_that_keras_can_not_describe_is_known_by_its_class():
    class Own(Teacher):
        def __init__(self, function):
            super().__init__("categorical")
            self.function = function

    class Other(Own):
        pass

    one, again, other = Own(tf.identity), Own(tf.identity), Other(tf.identity)
    assert one.fingerprint() == again.fingerprint() != other.fingerprint()


# Validation


@pytest.mark.parametrize("make", [Ensemble, teachers.get])
@pytest.mark.parametrize("members", [[], None, [lambda x: x], "teacher.keras"])
def test_members_must_be_keras_models(make, members):
    with pytest.raises(ValueError, match=r"keras\.Model"):
        make(members, "categorical")


def test_every_members_output_must_fit_and_one_point_needs_a_spread():
    bad = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5)], name="odd_one_out")
    with pytest.raises(ValueError, match=r"teacher 'odd_one_out'.*last dimension of 4"):
        Ensemble([linear(4), bad], Normal(2))
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):  # Classes are never mixed.
        Ensemble([linear(4), linear(5)], "categorical").distribution(X)
    with pytest.raises(ValueError, match=r"Point.*stddev"):
        Ensemble(linear(2), Point(2))
    assert Ensemble(linear(2), Point(2, stddev=0.1)).distribution(X).batch_shape == (8,)


# Saving


@pytest.mark.parametrize(
    ("units", "output"), [(4, Normal(2, 0.1)), (2, Point(2, [0.5, 1.0]))], ids=["normal", "point"]
)
def test_a_saved_ensemble_answers_the_same(tmp_path, units, output):
    ensemble = Ensemble([network(units), linear(5, units)], output, name="experts")
    expected = ensemble(X)
    ensemble.save(tmp_path / "teacher.keras")
    loaded = keras.saving.load_model(tmp_path / "teacher.keras")
    assert isinstance(loaded, Ensemble)
    assert loaded.name == "experts"
    assert loaded.output_kind == ensemble.output_kind
    np.testing.assert_allclose(loaded(X), expected, rtol=1e-5, atol=1e-6)


# Lookup


def test_get_makes_an_ensemble_of_models_and_keeps_a_teacher():
    models = [linear(4), linear(4)]
    for given, members in ((models, models), (tuple(models), models), (models[0], models[:1])):
        teacher = teachers.get(given, Normal(2))
        assert isinstance(teacher, Ensemble)
        assert teacher.members == members
        assert teacher.output_kind == Normal(2)
    assert teachers.get(teacher, Normal(2)) is teacher


def test_get_takes_d_values_for_points_of_a_normal_student():
    teacher = teachers.get([linear(2), linear(2)], Normal(2, 0.01))
    assert teacher.output_kind == Point(2, min_scale=0.01)
    outs = np.stack([member(X) for member in teacher.members])
    expected = np.maximum(outs.std(0), 0.01)
    np.testing.assert_allclose(teacher.distribution(X).stddev(), expected, rtol=1e-3)
    with pytest.raises(ValueError, match=r"Point\(2, stddev=\.\.\.\)"):
        teachers.get(linear(2), Normal(2))
    # Among named outputs, too.
    joint = Joint({"digit": "categorical", "angle": Normal(1)}, {"angle": 0.5})
    teacher = teachers.get([heads(digit=4, angle=1), heads(digit=4, angle=1)], joint)
    assert teacher.output_kind == Joint({"digit": "categorical", "angle": Point(1)}, joint.weights)


# Measured spread


def residuals(members, x, y):
    points = np.stack([np.asarray(m(x)) for m in members]).astype(np.float64)
    return np.sqrt(((y - points.mean(0)) ** 2).mean(0) - points.var(0).mean(0))


TARGETS = RNG.normal(0, 30, (100, 2)).astype(np.float32)
INPUTS = RNG.normal(0, 1, (100, 3)).astype(np.float32)


def test_residual_stddev_equals_numpy():
    models = [linear(2) for _ in range(3)]
    actual = teachers.residual_stddev(models, INPUTS, TARGETS, batch_size=7)
    assert isinstance(actual, list)
    np.testing.assert_allclose(actual, residuals(models, INPUTS, TARGETS), rtol=1e-4)
    # One model, of targets without an axis, and without its dropout.
    model = network(1)
    actual = teachers.residual_stddev(model, INPUTS, TARGETS[:, 0], batch_size=1000)
    np.testing.assert_allclose(actual, residuals([model], INPUTS, TARGETS[:, :1]), rtol=1e-4)


def test_residual_stddev_of_a_dataset_that_shuffles_anew_each_time():
    models = [linear(2), linear(2)]
    dataset = tf.data.Dataset.from_tensor_slices((INPUTS, TARGETS)).shuffle(100).batch(9)
    orders = [next(iter(dataset))[1].numpy().tolist() for _ in range(2)]
    assert orders[0] != orders[1]
    actual = teachers.residual_stddev(models, dataset)
    np.testing.assert_allclose(actual, residuals(models, INPUTS, TARGETS), rtol=1e-4)


def test_residual_stddev_refuses_what_has_none():
    models = [linear(1), linear(1)]
    between = np.mean([np.asarray(m(INPUTS)) for m in models], 0)  # They disagree and never err.
    with pytest.raises(ValueError, match=r"Point\(event_size\) without a stddev"):
        teachers.residual_stddev(models, INPUTS, between)
    with pytest.raises(ValueError, match="no rows"):
        teachers.residual_stddev(models, INPUTS[:0], between[:0])
    with pytest.raises(ValueError, match="finite"):
        teachers.residual_stddev(models, INPUTS, np.full((100, 1), np.nan, np.float32))
