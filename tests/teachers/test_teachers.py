"""Teachers: never changed, deterministic, saved and loaded, measured spreads."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from by_hand import Subclassed, heads, softmax

from ecl_tf import Distiller, Ensemble, Teacher, losses, metrics, resume, teachers
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
    yes_or_no = Ensemble(linear(1), "bernoulli")
    yes_or_no.compile(loss="mse", metrics=["accuracy"])
    with pytest.warns(UserWarning, match=r"get its raw tensor.*'accuracy' expects.*measure\("):
        yes_or_no.evaluate(X, labels % 2, verbose=0)
    yes_or_no.compile(loss="mse", metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)])
    found = yes_or_no.evaluate(X, labels % 2, verbose=0)[1]
    answers = np.asarray(yes_or_no.member_outputs(X)[0])[:, 0] > 0.0
    assert found == pytest.approx((answers == labels % 2).mean())


def test_losses_and_metrics_that_leave_out_a_teachers_temperature_are_told_of():
    teacher = Ensemble(linear(4), Categorical(temperature=2.0))
    labels = RNG.integers(0, 4, 8)
    calibration = metrics.ExpectedCalibrationError()
    teacher.compile(loss=losses.NegativeLogLikelihood("categorical"), metrics=[calibration])
    with pytest.warns(UserWarning, match=r"reads the teacher's raw tensor as") as told:
        teacher.evaluate(X, labels, verbose=0)
    assert sum("reads the teacher's raw" in str(each.message) for each in told) == 2
    teacher.compile(loss=losses.NegativeLogLikelihood(teacher.output_kind), metrics=[])
    logits = np.asarray(teacher.members[0](X)) / 2.0
    expected = -np.log(softmax(logits)[np.arange(8), labels]).mean()
    assert teacher.evaluate(X, labels, verbose=0) == pytest.approx(expected, rel=1e-4)


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


def test_own_teachers_that_answer_with_probabilities_are_refused():
    class Own(Teacher):
        """A network's answers, as a function makes them."""

        def __init__(self, output, ending, is_fussy=False):
            super().__init__(output)
            self.network, self.ending = linear(3), ending
            self.is_fussy = is_fussy

        def member_outputs(self, inputs):
            if self.is_fussy and tf.executing_eagerly():
                raise NotImplementedError  # There are no answers to made-up inputs.
            return [self.ending(self.network(inputs))]

    def fit(teacher):
        its = Distiller(linear(3), teacher, output=teacher.output_kind, sampler="Empirical")
        its.compile("sgd", run_eagerly=not teacher.is_fussy)
        its.fit(X, verbose=0)

    remedy = r"member_outputs return logits.*from_parameters\({'probabilities': p}\)"
    for output, ending in (("categorical", tf.nn.softmax), ("bernoulli", tf.sigmoid)):
        with pytest.raises(ValueError, match=f"teacher 'own.*' answers with.*{remedy}"):
            fit(Own(output, ending))
    with pytest.raises(ValueError, match=f"step 1 .*add up to 1.*{remedy}"):
        fit(Own("categorical", tf.nn.softmax, is_fussy=True))
    for output, ending in (("categorical", tf.nn.softmax), ("bernoulli", tf.sigmoid)):
        teacher = Own(output, tf.identity)
        fit(teacher)
        kind = teacher.output_kind
        teacher.ending = lambda raw, kind=kind, ending=ending: kind.raw(
            kind.from_parameters({"probabilities": ending(raw)})
        )
        np.testing.assert_allclose(ending(teacher(X)), ending(teacher.network(X)), rtol=1e-4)
        fit(teacher)


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


# Members that answer with probabilities


def ends_in(activation, units=4):
    """A network whose probabilities no layer tells of, and its logits."""
    logits = linear(units)
    hidden = keras.layers.Lambda(lambda z: activation(z))
    return keras.Model(logits.inputs[0], hidden(logits.outputs[0])), logits


@pytest.mark.parametrize(
    ("output", "activation"), [("categorical", tf.nn.softmax), ("bernoulli", tf.sigmoid)]
)
def test_probabilities_are_taken_as_they_are(output, activation):
    members, logits = zip(*(ends_in(activation) for _ in range(2)), strict=True)
    teacher = Ensemble(members, output, answer="probabilities")
    predict = teacher.output_kind.prediction
    expected = np.mean([activation(each(X)) for each in logits], 0)
    np.testing.assert_allclose(predict(teacher(X)), expected, rtol=1e-4)
    epistemic = Ensemble(logits, output).uncertainty(X).epistemic
    np.testing.assert_allclose(teacher.uncertainty(X).epistemic, epistemic, atol=1e-4)
    wrapped = Ensemble([teachers.as_logits(each, output) for each in members], output)
    np.testing.assert_allclose(wrapped(X), teacher(X), atol=1e-4)
    tempered = teacher.output_kind.tempered(2.0)  # p^(1/T), as of logits.
    softer = Ensemble(members[:1], tempered, answer="probabilities")(X)
    np.testing.assert_allclose(tempered.prediction(softer), activation(logits[0](X) / 2), rtol=1e-4)


def test_impossible_classes_have_finite_logits():
    x = np.array([[0, 900], [900, 0]], np.float32)
    for output, activation in (("categorical", "softmax"), ("bernoulli", "sigmoid")):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Activation(activation)])
        teacher = Ensemble(model, output, answer="probabilities")
        raw = np.asarray(teacher(x))
        assert np.isfinite(raw).all()
        np.testing.assert_allclose(teacher.output_kind.prediction(raw), model(x), atol=1e-7)


def test_of_named_outputs_each_answers_with_its_own():
    inputs = keras.Input((3,))
    named = {
        "kind": keras.layers.Dense(4, "softmax")(inputs),
        "size": keras.layers.Dense(2)(inputs),
    }
    output = Joint({"kind": Categorical(), "size": Normal(1)})
    model = keras.Model(inputs, named)
    for answer in ("probabilities", {"kind": "probabilities"}):
        teacher = Ensemble(model, output, answer=answer)
        distribution = teacher.distribution(X)
        np.testing.assert_allclose(
            distribution["kind"].probs_parameter(), model(X)["kind"], rtol=1e-4
        )
        np.testing.assert_allclose(distribution["size"].mean(), model(X)["size"][:, :1], rtol=1e-4)
    for answer in ({"size": "probabilities"}, {"place": "logits"}, "odds"):
        with pytest.raises(ValueError, match="answer"):
            Ensemble(model, output, answer=answer)
    with pytest.raises(ValueError, match="answer='probabilities' is for categorical"):
        Ensemble(linear(2), Normal(1), answer="probabilities")


def test_what_is_said_of_the_answers_must_be_so():
    with pytest.raises(ValueError, match=r"linear layer.*no probabilities"):
        Ensemble(linear(4), "categorical", answer="probabilities")
    with pytest.raises(ValueError, match=r"as_logits is for.*Normal.*has none"):
        teachers.as_logits(linear(2), "normal")
    with pytest.raises(ValueError, match=r"output='bernoulli'"):
        Ensemble(ends_in(tf.sigmoid)[0], "categorical", answer="probabilities")
    hidden, _ = ends_in(tf.nn.softmax)
    for answer in (None, "logits"):
        with pytest.raises(ValueError, match=r"add up to 1.*answer='probabilities'"):
            Ensemble(hidden, "categorical", answer=answer)
    hidden, _ = ends_in(tf.sigmoid)
    with pytest.raises(ValueError, match=r"between 0 and 1.*answer='logits'"):
        Ensemble(hidden, "bernoulli")
    insisted = Ensemble(hidden, "bernoulli", answer="logits")
    np.testing.assert_array_equal(insisted.member_outputs(X)[0], hidden(X))


def test_the_answer_is_saved_and_tells_teachers_apart(tmp_path):
    member = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "softmax")])
    teacher = Ensemble(member, "categorical", answer="probabilities")
    teacher.save(tmp_path / "teacher.keras")
    loaded = keras.saving.load_model(tmp_path / "teacher.keras")
    np.testing.assert_allclose(softmax(loaded(X)), member(X), rtol=1e-4)
    assert loaded.fingerprint() == teacher.fingerprint()
    member.layers[-1].activation = keras.activations.linear
    assert Ensemble(member, "categorical").fingerprint() != teacher.fingerprint()


class Own(Subclassed):
    """Its logits are of no symbolic graph."""

    def call(self, inputs):
        return tf.nn.softmax(super().call(inputs))


def test_a_student_of_any_form_becomes_one_of_logits(tmp_path):
    nested = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "softmax")])
    nested = keras.Sequential([keras.Input((3,)), nested, keras.layers.Reshape((4,))])
    for student in (nested, Own(4)):
        expected = np.asarray(student(X))
        logits = teachers.as_logits(student)
        np.testing.assert_allclose(softmax(logits(X)), expected, rtol=1e-4)
        distiller = Distiller(logits, linear(4), sampler="Empirical")
        distiller.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
        losses = distiller.fit(X, epochs=4, verbose=0).history["loss"]
        assert losses[-1] < losses[0]
        assert np.abs(np.asarray(student(X)) - expected).max() > 0.01  # They share weights.
    logits = teachers.as_logits(nested)
    logits.save(tmp_path / "logits.keras")
    loaded = keras.saving.load_model(tmp_path / "logits.keras")
    np.testing.assert_allclose(loaded(X), logits(X), rtol=1e-5)


def test_what_gives_logits_already_is_not_converted_again():
    def ending(activation):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, activation)])

    inputs = keras.Input((3,))
    answers = {"kind": ending("softmax")(inputs), "flag": linear(2)(inputs)}
    both = keras.Model(inputs, answers)
    joint = {"kind": "categorical", "flag": "bernoulli"}
    for model, output, reason in (
        (linear(4), "categorical", "linear layer"),
        (linear(4), "bernoulli", "linear layer"),
        (both, joint, r"output 'flag'.* linear layer"),
        (ending("tanh"), "categorical", "no probabilities"),
        (ending("log_softmax"), "categorical", "no probabilities"),
    ):
        with pytest.raises(ValueError, match=reason):
            teachers.as_logits(model, output)
    with pytest.raises(ValueError, match=r"linear layer.*Leave out answer"):
        Ensemble(linear(4), "categorical", answer="probabilities")


def test_features_of_a_teacher_that_answers_with_probabilities():
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(5, name="hidden")(inputs)
    member = keras.Model(inputs, keras.layers.Dense(4, "softmax")(hidden))
    student = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Dense(5, name="own")(inputs)))
    loss = keras.distillation.FeatureDistillation("mse", "hidden", "own")
    distiller = Distiller(
        student,
        Ensemble(member, "categorical", answer="probabilities"),
        sampler="Empirical",
        feature_losses=[loss],
    )
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    p, q = np.asarray(member(X), np.float64), softmax(student(X))
    logged = distiller.fit(X, batch_size=8, verbose=0).history["divergence"][0]
    assert logged == pytest.approx((p * np.log(p / q)).sum(-1).mean(), rel=1e-4)


# Networks of other forms


def test_members_that_give_a_list_or_dict_of_one():
    inputs = keras.Input((3,))
    raw = keras.layers.Dense(4)(inputs)
    for model in (keras.Model([inputs], [raw]), keras.Model(inputs, {"logits": raw})):
        distribution = Ensemble(model, "categorical").distribution(X)
        plain = keras.Model(inputs, raw)(X)
        np.testing.assert_allclose(distribution.probs_parameter(), softmax(plain), rtol=1e-4)
    with pytest.raises(ValueError, match=r"teacher .* list of 2.*model\.outputs\[0\]"):
        Ensemble(keras.Model(inputs, [raw, raw]), "categorical")


@pytest.mark.slow
def test_networks_of_keras_2_are_refused_with_a_way_to_take_them(tmp_path):
    import tf_keras

    old = tf_keras.Sequential([tf_keras.layers.InputLayer((3,)), tf_keras.layers.Dense(4)])
    for make in (
        lambda: Ensemble([linear(4), old], "categorical"),
        lambda: teachers.get(old, "categorical"),
        lambda: teachers.calibrated(old, X, np.zeros(8, int)),
        lambda: teachers.inference_form(old),
        lambda: Distiller(linear(4), [old]),
        lambda: Distiller(old, linear(4)),
        lambda: resume.fit(old, None, tmp_path, steps=1),
    ):
        with pytest.raises(ValueError, match=r"tf_keras.*export.*'saved_model'"):
            make()
    old.export(str(tmp_path / "old"))
    brought = teachers.pretrained.load(
        "saved_model", (3,), "categorical", path=tmp_path / "old", answer="logits"
    )
    np.testing.assert_allclose(brought(X), old(X), atol=1e-6)


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
        assert teacher.members == tuple(members)
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


def test_residual_stddev_of_one_number_a_row():
    x = keras.Input((3,))
    model = keras.Model(x, keras.ops.sum(x, -1))
    actual = teachers.residual_stddev(model, INPUTS, TARGETS[:, 0])
    expected = np.sqrt(np.mean((TARGETS[:, 0] - INPUTS.sum(-1)) ** 2))
    np.testing.assert_allclose(actual, [expected], rtol=1e-4)


def test_residual_stddev_of_a_dataset_that_shuffles_anew_each_time():
    models = [linear(2), linear(2)]
    dataset = tf.data.Dataset.from_tensor_slices((INPUTS, TARGETS)).shuffle(100).batch(9)
    orders = [next(iter(dataset))[1].numpy().tolist() for _ in range(2)]
    assert orders[0] != orders[1]
    weighted = dataset.map(lambda x, y: (x, y, tf.range(tf.shape(y)[0])))  # They have no say.
    for each in (dataset, weighted):
        actual = teachers.residual_stddev(models, each)
        np.testing.assert_allclose(actual, residuals(models, INPUTS, TARGETS), rtol=1e-4)


def test_residual_stddev_refuses_what_has_none():
    models = [linear(1), linear(1)]
    between = np.mean([np.asarray(m(INPUTS)) for m in models], 0)  # They disagree and never err.
    with pytest.raises(ValueError, match=r"Point\(event_size\) without a stddev"):
        teachers.residual_stddev(models, INPUTS, between)
    with pytest.raises(ValueError, match="no rows"):
        teachers.residual_stddev(models, INPUTS[:0], between[:0])
    with pytest.raises(ValueError, match="targets hold NaN or Inf"):
        teachers.residual_stddev(models, INPUTS, np.full((100, 1), np.nan, np.float32))


def test_a_teacher_keeps_what_compiled_steps_have_read():
    teacher = Ensemble([linear(3), linear(3)], "categorical")
    for name, value in {"output_kind": Normal(1), "members": [linear(3)]}.items():
        with pytest.raises(ValueError, match=f"A teacher keeps its {name}.* new teacher"):
            setattr(teacher, name, value)
    with pytest.raises(AttributeError, match="append"):
        teacher.members.append(linear(3))
    with pytest.raises(ValueError, match=r"An output keeps its temperature.* a new teacher"):
        teacher.output_kind.temperature = 2.0
