"""Probabilities that are given for logits: found by last layers and by values, and only there."""

import warnings

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from by_hand import Recorder, Subclassed

import ecl_tf
from ecl_tf import outputs, teachers
from ecl_tf._internal import probabilities

LOGITS = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
SOFTMAX = scipy.special.softmax(LOGITS, -1)
DENSE, LAYERS = keras.layers.Dense, keras.layers


@tf.function(jit_compile=True)
def of_classes(raw):
    return probabilities.rows_that_look_like(outputs.Categorical(), raw)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (SOFTMAX, True),
        (np.stack([SOFTMAX, SOFTMAX], 1), True),  # (batch, positions, classes).
        (tf.cast(SOFTMAX, tf.bfloat16), True),
        (np.eye(5, dtype="float32"), True),
        (100.0 * SOFTMAX, True),  # Percentages.
        (np.vstack([100.0 * SOFTMAX, SOFTMAX]), False),
        (LOGITS, False),
        (np.log(SOFTMAX), False),
        (scipy.special.expit(LOGITS), False),
        (SOFTMAX - np.float32([0.5, -0.5, 0, 0, 0]), False),  # The sum is 1, one is negative.
        (np.vstack([SOFTMAX, LOGITS[:1]]), False),
        (np.where(SOFTMAX > 0.9, SOFTMAX, np.nan), False),
        (SOFTMAX[:3], False),  # By chance?
        (SOFTMAX[:0], False),
    ],
)
def test_rows_of_class_probabilities_are_told_by_their_values_in_a_compiled_step(raw, expected):
    assert bool(of_classes(tf.convert_to_tensor(raw))) is expected


def test_of_named_outputs_any_and_of_other_kinds_none():
    joint = outputs.Joint({"a": "categorical", "b": outputs.Normal(2)})
    found = probabilities.rows_that_look_like
    assert found(joint, {"a": tf.constant(SOFTMAX), "b": tf.constant(LOGITS[:, :4])})
    assert not found(joint, {"a": tf.constant(LOGITS), "b": tf.constant(SOFTMAX)})
    assert not found(outputs.Bernoulli(), tf.constant(SOFTMAX))


class Hidden(Subclassed):
    """No graph tells of its softmax."""

    def call(self, inputs):
        return tf.nn.softmax(super().call(inputs))


def inner(activation="softmax", name=None):
    return keras.Sequential([keras.Input((4,)), DENSE(3, activation)], name=name)


def merged(x):
    """Three classes of six by a layer without an activation."""
    kernel = np.repeat(np.eye(3), 2, axis=0)
    layer = DENSE(3, use_bias=False, kernel_initializer=lambda shape, dtype: tf.cast(kernel, dtype))
    return layer(DENSE(6, "softmax")(x))


ENDINGS = {
    "argument": lambda x: DENSE(3, "softmax")(x),
    "layer": lambda x: LAYERS.Softmax()(DENSE(3)(x)),
    "activation": lambda x: LAYERS.Activation("softmax", dtype="float32")(DENSE(3)(x)),
    "operation": lambda x: keras.ops.softmax(DENSE(3)(x)),
    "layer as argument": lambda x: DENSE(3, LAYERS.Softmax())(x),
    "inner network": lambda x: inner()(x),
    "cast": lambda x: LAYERS.Activation("linear", dtype="float32")(inner()(x)),
    "reshaped": lambda x: LAYERS.Dropout(0.5)(LAYERS.Reshape((3,))(inner()(x))),
    "averaged": lambda x: LAYERS.Average()([inner()(x), inner()(x)]),
    "by step": lambda x: LAYERS.TimeDistributed(DENSE(3, "softmax"))(LAYERS.RepeatVector(2)(x)),
}
BY_VALUE = {
    "function": lambda x: LAYERS.Lambda(lambda z: tf.nn.softmax(z))(DENSE(3)(x)),
    "weighted": lambda x: 0.3 * inner()(x) + 0.7 * inner()(x),
    "subclass": lambda x: Hidden()(x),
    "merged classes": merged,
    "exponentials": lambda x: keras.ops.exp(DENSE(3, "log_softmax")(x)),
}


@pytest.mark.parametrize("last", ENDINGS.values(), ids=ENDINGS)
def test_last_layers_tell_of_probabilities(last):
    inputs = keras.Input((4,))
    ending = keras.Model(inputs, last(inputs), name="ending")
    with pytest.raises(ValueError, match=r"student 'ending' ends in softmax.*as_logits"):
        probabilities.require_logits(outputs.Categorical(), ending, "student")


@pytest.mark.parametrize("last", BY_VALUE.values(), ids=BY_VALUE)
def test_values_tell_of_probabilities_where_no_layer_does(last):
    inputs = keras.Input((4,))
    ending = keras.Model(inputs, last(inputs), name="ending")
    with pytest.raises(ValueError, match=r"'ending' answers with rows.*add up to 1.*Ensemble\("):
        probabilities.require_logits(outputs.Categorical(), ending, "teacher")


def test_sums_of_probabilities_up_to_each_class_are_no_logits():
    inputs = keras.Input((4,))
    sums = LAYERS.Lambda(lambda z: tf.cumsum(tf.nn.softmax(z), -1))(DENSE(3)(inputs))
    with pytest.raises(ValueError, match=r"rise to 1.*Say answer='logits' if"):
        ecl_tf.Ensemble(keras.Model(inputs, sums), "categorical")
    ecl_tf.Ensemble(keras.Model(inputs, sums), "categorical", answer="logits")
    x = LOGITS[:, :4]

    def answer(rows):
        return np.cumsum(scipy.special.softmax(rows, -1), -1)

    with pytest.warns(UserWarning, match="rise to 1"):
        teachers.FunctionTeacher(answer, "categorical", x, answer="logits")
    # How near each of three ordered classes is to the label, which is 1, or 2 of most rows.
    labels = np.where(np.arange(len(x)) % 8, 2.0, 1.0)[:, None]
    near = 1.0 - np.abs(labels - np.arange(3.0)) / 2.0
    found = probabilities.rise_to_1
    assert not found(outputs.Categorical(), near) and not found(outputs.Categorical(), near[1:8])
    assert not found(outputs.Bernoulli(), answer(x))


def test_values_are_asked_of_any_inputs_and_change_nothing():
    ids, image = keras.Input((None,), dtype="int32", name="ids"), keras.Input((8, 8, 3), name="z")
    x = LAYERS.GlobalAveragePooling1D()(LAYERS.Embedding(7, 4)(ids))
    features = LAYERS.BatchNormalization()(LAYERS.Flatten()(image))
    recorder = Recorder()
    x = recorder(LAYERS.Dropout(0.5)(LAYERS.Concatenate()([x, features])))
    hidden = LAYERS.Lambda(lambda z: tf.nn.softmax(z))(DENSE(3)(x))
    model = keras.Model({"ids": ids, "z": image}, hidden)
    before = [np.array(v) for v in model.variables]
    with pytest.raises(ValueError, match="add up to 1"):
        probabilities.require_logits(outputs.Categorical(), model, "teacher")
    assert recorder.modes == [False] and len(recorder.batches[0]) == 4
    assert all(np.array_equal(v, old) for v, old in zip(model.variables, before, strict=True))
    # A linear layer tells that there are logits, and nothing is asked.
    probabilities.require_logits(outputs.Categorical(), keras.Model(model.input, x), "teacher")
    linear = keras.Model(model.input, DENSE(3)(x))
    recorder.batches.clear()
    probabilities.require_logits(outputs.Categorical(), linear, "teacher")
    assert recorder.batches == []
    text = keras.Input((1,), dtype="string")
    counts = LAYERS.StringLookup(vocabulary=["7", "8"], output_mode="multi_hot")(text)
    hidden = keras.Model(text, LAYERS.Lambda(lambda z: tf.nn.softmax(z))(DENSE(3)(counts)))
    with pytest.raises(ValueError, match="add up to 1"):
        probabilities.require_logits(outputs.Categorical(), hidden, "teacher")


def bounded(x):
    return LAYERS.Lambda(lambda z: tf.sigmoid(z))(x)


def test_yes_no_probabilities_are_those_that_no_weights_take_out_of_0_to_1():
    inputs = keras.Input((4,))
    bernoulli = outputs.Bernoulli()

    def model(last, bias=0.5, normalised=True):
        keras.utils.set_random_seed(0)
        x = LAYERS.LayerNormalization()(DENSE(8)(inputs)) if normalised else DENSE(8)(inputs)
        units = DENSE(1, bias_initializer=keras.initializers.Constant(bias))
        return keras.Model(inputs, last(units(0.1 * x)), name="ending")

    with pytest.raises(ValueError, match="ends in sigmoid"):
        averaged = LAYERS.Average()([DENSE(1, "sigmoid")(inputs), DENSE(1, "sigmoid")(inputs)])
        probabilities.require_logits(bernoulli, keras.Model(inputs, averaged), "student")
    for normalised in (True, False):
        hidden = model(bounded, normalised=normalised)
        with pytest.raises(ValueError, match=r"between 0 and 1.*answer='logits'"):
            probabilities.require_logits(bernoulli, hidden, "teacher")
        probabilities.require_logits(bernoulli, hidden, "teacher", said_to_be_logits=[""])
    for last, remedy in (
        (lambda z: 100.0 * keras.ops.sigmoid(10.0 * z), lambda y: y / 100.0),
        (keras.ops.log_sigmoid, keras.ops.exp),
    ):
        made = model(last, normalised=False)
        with pytest.raises(ValueError, match=r"(0 and 100|never above 0), .* First make prob"):
            probabilities.require_logits(bernoulli, made, "student")
        with pytest.raises(ValueError, match="between 0 and 1, "):
            probabilities.require_logits(bernoulli, keras.Model(inputs, remedy(made.output)), "it")
    # Logits that lie in [0, 1] by chance: 0.5 and what a normalised layer adds.
    small = model(LAYERS.Lambda(lambda z: tf.identity(z)), bias=0.3)
    rows = np.random.default_rng(0).normal(size=(100, 4))
    assert small(rows).numpy().min() > 0 and small(rows).numpy().max() < 1
    probabilities.require_logits(bernoulli, small, "student")


def test_numbers_that_are_probabilities_by_themselves_are_no_logits_of_classes(subtests):
    inputs = keras.Input((4,))
    units = DENSE(3)(inputs)
    for name, last in {"by layer": keras.ops.sigmoid, "by value": bounded}.items():
        with subtests.test(name), pytest.raises(ValueError) as refused:
            ecl_tf.Ensemble(keras.Model(inputs, last(units)), "categorical")
        assert "probability by itself" in str(refused.value)
    believed = keras.Model(inputs, bounded(units))
    ecl_tf.Ensemble(believed, "categorical", answer="logits")
    # What the message says makes probabilities of classes.
    remedy = str(refused.value).partition("by their sum, ")[2].partition(", which makes")[0]
    divided = eval(remedy, {"model": believed, "keras": keras})
    teacher = ecl_tf.Ensemble(divided, "categorical", answer="probabilities")
    x = LOGITS[:, :4]
    kernel, bias = believed.get_weights()
    expected = scipy.special.expit(x @ kernel + bias)
    expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(teacher.distribution(x).probs_parameter(), expected, atol=1e-5)


def test_neither_students_nor_members_of_a_teacher_may_end_in_probabilities():
    plain = keras.Sequential([keras.Input((4,)), DENSE(3)])
    ending = keras.Sequential([keras.Input((4,)), DENSE(3, "softmax")])
    for networks in ((ending, plain), (plain, [plain, ending])):
        with pytest.raises(ValueError, match="ends in softmax"):
            ecl_tf.Distiller(*networks)
    # Where nothing is known of the inputs, data tells.
    for networks in ((plain, Hidden()), (Hidden(), plain)):
        distiller = ecl_tf.Distiller(*networks)
        distiller.compile()
        with pytest.raises(ValueError, match="add up to 1"):
            distiller.fit(LOGITS[:, :4], verbose=0)


def test_networks_of_several_inputs_that_are_not_known_are_asked_of_the_rows_that_are_given():
    class OfTwo(Hidden):
        def call(self, inputs):
            return super().call(tf.concat([inputs["a"], inputs["b"]], -1))

    x, y = {"a": LOGITS[:, :2], "b": LOGITS[:, 2:]}, np.arange(8) % 3
    student = OfTwo()
    student(x)
    for door in (
        lambda: ecl_tf.conformal(student, x, y),
        lambda: ecl_tf.calibrated(student, x, y),
        lambda: ecl_tf.evaluation.uncertainty_maps(student, x),
        lambda: ecl_tf.evaluation.measure(student, x, y),
        lambda: ecl_tf.evaluation.measure(ecl_tf.Ensemble(student, "categorical"), x, y),
    ):
        with pytest.raises(ValueError, match="numbers that are not negative and add up to 1"):
            door()


def test_rows_tell_where_made_up_ones_say_nothing():
    class OfTexts(keras.Model):
        def __init__(self, last):
            super().__init__()
            self.ids = LAYERS.TextVectorization(vocabulary=["a", "b", "c"])
            self.words, self.units, self.ending = LAYERS.Embedding(5, 4), DENSE(1), last

        def call(self, x):
            return self.ending(self.units(tf.reduce_mean(self.words(self.ids(x)), 1)))

    texts = tf.constant(["a", "b a", "c", "c b"])

    def network(last):
        made = OfTexts(last)
        made(texts)
        return made

    yes, raw = network(tf.sigmoid), network(tf.identity)
    for student, teacher in ((yes, raw), (raw, yes)):
        distiller = ecl_tf.Distiller(student, teacher, output="bernoulli", sampler="Empirical")
        distiller.compile("sgd")
        with pytest.raises(ValueError, match="answers with numbers between 0 and 1"):
            distiller.fit(texts, verbose=0)
    with pytest.raises(ValueError, match="answers with numbers between 0 and 1"):
        ecl_tf.evaluation.measure(yes, texts.numpy(), np.arange(4) % 2, output="bernoulli")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raw.units.bias.assign([9.0])  # The same for four unknown words.
        specs = tf.TensorSpec([None], tf.string)
        probabilities.require_logits(outputs.Categorical(), raw, "student", specs)


def test_probabilities_of_one_of_several_outputs_are_not_taken_for_logits():
    inputs = keras.Input((4,))

    def network(last):
        return keras.Model(inputs, {"a": last(DENSE(3)(inputs)), "b": DENSE(1)(inputs)})

    output = {"a": "categorical", "b": "bernoulli"}
    logits = network(LAYERS.Identity())
    ecl_tf.Distiller(logits, network(LAYERS.Identity()), output=output)
    for last, reason in (
        (LAYERS.Softmax(), "ends in softmax"),
        (LAYERS.Lambda(tf.nn.softmax), "1"),
    ):
        with pytest.raises(ValueError, match=rf"teacher .* {reason}"):
            ecl_tf.Distiller(logits, network(last), output=output)


def test_logits_around_a_constant_are_no_logarithms_of_probabilities():
    inputs = keras.Input((4,))
    prior = LAYERS.Lambda(lambda z: 0.01 * z - 4.6)(DENSE(2)(DENSE(8, "relu")(inputs)))
    probabilities.require_logits(outputs.Bernoulli(), keras.Model(inputs, prior), "student")


def test_regressors_may_end_in_anything():
    inputs = keras.Input((4,))
    for last in (Subclassed(2), DENSE(2, LAYERS.LeakyReLU()), DENSE(2, "sigmoid")):
        model = keras.Model(inputs, last(inputs))
        probabilities.require_logits(outputs.Normal(1), model, "student")


def test_standard_deviations_are_not_taken_for_raw_scales(subtests):
    def network(scale):
        x = keras.Input((4,))
        h = DENSE(8, "relu")(x)
        return keras.Model(x, LAYERS.Concatenate()([DENSE(2)(h), scale(h)]))

    for name in ("softplus", "exponential"):
        with (
            subtests.test(name),
            pytest.raises(ValueError, match=r"teacher .*scales that are positive.*'stddev'"),
        ):
            ecl_tf.Ensemble(network(DENSE(2, name)), outputs.Normal(2))
    raw = network(DENSE(2, bias_initializer=keras.initializers.Constant(9.0)))
    ecl_tf.Distiller(network(DENSE(2)), raw, output=outputs.Normal(2))
    x = keras.Input((4,))
    with subtests.test("of both"), pytest.warns(UserWarning, match="means and scales that are pos"):
        both = keras.Model(x, DENSE(4, "softplus")(DENSE(8, "relu")(x)))
        probabilities.require_logits(outputs.Normal(2), both, "teacher")


@pytest.mark.parametrize(
    ("output", "first", "last", "refused"),
    [
        (outputs.Poisson(2), 0, "exponential", "rates that are positive.*answer='mean'"),
        (outputs.Poisson(2), 0, "relu", "rates that"),
        (outputs.NegativeBinomial(2), 2, "softplus", "with dispersions that"),
        (outputs.NegativeBinomial(2), 0, "softplus", "with means and dispersions that"),
        (outputs.StudentT(2), 2, "exponential", "with scales that"),
        (outputs.LogNormal(2), 2, "softplus", "with scales that"),
        (outputs.NormalMixture(2, components=2), 6, "softplus", "with scales that.*'weights'"),
    ],
)
def test_what_a_softplus_makes_is_not_taken_for_what_it_is_made_of(output, first, last, refused):
    size = output.raw_size(2)

    def network(last):
        x = keras.Input((4,))
        h = DENSE(8, "relu")(x)
        y = DENSE(size - first, last)(h)
        return keras.Model(x, LAYERS.Concatenate()([DENSE(first)(h), y]) if first else y)

    linear, other = (network(lambda z: tf.identity(z)) for _ in range(2))  # Its values tell.
    mean_count = network(lambda z: tf.identity(0.01 * z + 3.0))
    ecl_tf.Distiller(mean_count, other, output=output)
    with pytest.raises(ValueError, match=rf"student .*{refused}"):
        ecl_tf.Distiller(network(last), linear, output=output)
    ecl_tf.Distiller(linear, other, output=output)


def test_other_totals_than_1_are_warned_of():
    x = keras.Input((4,))
    shares = keras.Model(x, LAYERS.Lambda(lambda z: 0.5 * tf.nn.softmax(z))(DENSE(3)(x)))
    with pytest.warns(UserWarning, match="add up to 0.5. They are taken for logits"):
        probabilities.require_logits(outputs.Categorical(), shares, "teacher")


def test_the_layer_that_is_named_leaves_the_logits():
    outer = keras.Sequential([keras.Input((4,)), inner(name="inner"), LAYERS.Reshape((3,))])
    x = LOGITS[:, :4]
    expected = outer(x).numpy()
    with pytest.raises(ValueError) as refused:
        ecl_tf.Distiller(outer, inner("linear"))
    line = str(refused.value).partition("trainable as before. ")[2].partition(" leaves")[0]
    exec(line, {"model": outer, "keras": keras})
    distiller = ecl_tf.Distiller(outer, inner("linear"))
    np.testing.assert_allclose(scipy.special.softmax(distiller(x), -1), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("output", "activation"),
    [
        ("categorical", "sparsemax"),
        ("bernoulli", "hard_sigmoid"),
        ("bernoulli", "sparse_sigmoid"),
        ("bernoulli", keras.ops.hard_sigmoid),
    ],
)
def test_other_activations_that_make_probabilities_are_known_by_name(output, activation):
    ending = keras.Sequential([keras.Input((4,)), DENSE(3, activation)], name="ending")
    with pytest.raises(ValueError, match=r"'ending' ends in (sparsemax|hard_|sparse_)"):
        probabilities.require_logits(outputs.get(output), ending, "student")
