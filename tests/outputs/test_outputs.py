"""Outputs against NumPy and SciPy: distributions, ensembles, likelihoods, serialization."""

import math

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
from by_hand import normal_kl, softmax

from ecl_tf import divergences, metrics, outputs, samplers
from ecl_tf.outputs import Bernoulli, Categorical, Joint, Normal, Point, StudentT

RNG = np.random.default_rng(0)
# Of three members, four rows and four raw numbers.
RAWS = RNG.normal(0, 1.5, (3, 4, 4)).astype(np.float32)
RAW = RAWS[0]
KINDS = [Categorical(), Bernoulli(), Normal(2), Point(4, 0.3)]
# In the target's units; the plain ones are in units of 1.
GAUSSIANS = [
    Normal(2),
    Normal(2, 0.1, [10.0, -4.0], [0.5, 20.0]),
    Point(2, [0.35, 32.0], 0.1, [10.0, -4.0], [0.5, 20.0]),
    Point(2, 2.1, 0.1, -1.0, [3.0, 0.1]),
]

of_each_kind = pytest.mark.parametrize("output", KINDS, ids=repr)
of_each_gaussian = pytest.mark.parametrize("output", GAUSSIANS, ids=repr)


def sigmoid(logits):
    return scipy.special.expit(np.asarray(logits, np.float64))


def raws_for(output):
    return RAWS[..., :2] if isinstance(output, Point) else RAWS


def moments(output, raw):
    """Mean and standard deviation of a Gaussian output, in the target's units."""
    raw, size = np.asarray(raw, np.float64), output.size
    unit = np.asarray(output.target_stddev)
    mean = np.asarray(output.target_mean) + unit * raw[..., :size]
    if isinstance(output, Point):
        return mean, np.broadcast_to(output.stddev, mean.shape)
    return mean, unit * (output.min_scale + np.logaddexp(0, raw[..., size:]))


# Distributions


def test_probabilities_are_softmax_or_sigmoid_and_have_their_name():
    for output, function in ((Categorical(), softmax), (Bernoulli(), sigmoid)):
        expected = pytest.approx(function(RAW), rel=1e-5)
        assert output.prediction(RAW).numpy() == expected
        assert output.parameters(output(RAW))["probabilities"].numpy() == expected
    # That of a row of labels is their product.
    p, labels = sigmoid(RAW), np.array([[0, 1, 1, 0]] * 4, np.float32)
    expected = np.where(labels > 0, p, 1 - p).prod(-1)
    np.testing.assert_allclose(Bernoulli()(RAW).prob(labels), expected, rtol=1e-5)


@of_each_gaussian
def test_moments_are_in_the_targets_units_and_raw_inverts_them(output):
    raw = raws_for(output)[0]
    mean, stddev = moments(output, raw)
    distribution = output(raw)
    assert (distribution.event_shape, distribution.batch_shape) == ((2,), (4,))
    parameters = output.parameters(distribution)
    for actual in (distribution.mean(), parameters["mean"], output.prediction(raw)):
        np.testing.assert_allclose(actual, mean, rtol=1e-5, atol=1e-5)
    for actual in (distribution.stddev(), parameters["stddev"]):
        np.testing.assert_allclose(actual, stddev, rtol=1e-5)
    np.testing.assert_allclose(output.raw(distribution), raw, rtol=1e-3, atol=1e-4)


@of_each_kind
def test_float16_raw_outputs_give_float32_distributions(output):
    half = tf.cast(RAW, tf.float16)
    distribution, reference = output(half), output(np.float16(RAW).astype(np.float32))
    assert output.prediction(half).dtype == tf.float32
    for name, value in output.parameters(reference).items():
        assert output.parameters(distribution)[name].dtype == tf.float32
        np.testing.assert_array_equal(output.parameters(distribution)[name], value)


# Divergence of outputs: temperature, gradients, dense predictions


def test_the_gradient_is_exact_where_a_clipped_softmax_would_have_none():
    output, teacher, logits = Categorical(), [[2.0, 0.0, -1.0]], tf.constant([[-20.0, 0.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = output.divergence(output(teacher), output(logits), divergences.kl)
    expected = softmax(logits) - softmax(teacher)
    np.testing.assert_allclose(tape.gradient(loss, logits), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("output", KINDS[:3], ids=repr)
def test_positions_of_dense_predictions_are_averaged(output):
    teacher, student = np.random.default_rng(1).normal(0, 1, (2, 5, 2, 3, 4)).astype(np.float32)
    actual = output.divergence(output(teacher), output(student), divergences.kl)
    if output == Categorical():
        each = scipy.stats.entropy(softmax(teacher), softmax(student), axis=-1)
    elif output == Bernoulli():
        p, q = sigmoid(teacher), sigmoid(student)
        rel_entr = scipy.special.rel_entr
        each = (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).sum(-1)
    else:
        each = normal_kl(*moments(output, teacher), *moments(output, student)).sum(-1)
    assert actual.shape == (5,)
    np.testing.assert_allclose(actual, each.mean((1, 2)), rtol=1e-4)


@of_each_gaussian
def test_divergence_and_likelihood_of_gaussians_equal_formulas_in_the_targets_units(output):
    first, second = raws_for(output)[:2]
    p, q = output(first), output(second)
    expected = normal_kl(*moments(output, first), *moments(output, second)).sum(-1)
    np.testing.assert_allclose(output.divergence(p, q, divergences.kl), expected, rtol=1e-3)
    standardised = np.random.default_rng(1).normal(size=(4, 2))
    labels = np.asarray(output.target_mean) + np.asarray(output.target_stddev) * standardised
    expected = -scipy.stats.norm.logpdf(labels, *moments(output, first)).sum(-1)
    actual = output.negative_log_likelihood(p, labels)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


# Ensembles and uncertainty


@pytest.mark.parametrize(("output", "function"), [(KINDS[0], softmax), (KINDS[1], sigmoid)])
def test_ensembles_are_means_of_probabilities_and_finite_for_extreme_logits(output, function):
    for raws in (RAWS, np.array([[[200.0, -200.0]], [[200.0, -150.0]]], np.float32)):
        combined = output.combine(list(raws))
        p = output.parameters(combined)["probabilities"]
        np.testing.assert_allclose(p, function(raws).mean(0), rtol=1e-5, atol=1e-6)
        again = output.parameters(output(output.raw(combined)))["probabilities"]
        np.testing.assert_allclose(again, p, rtol=1e-4, atol=1e-6)
        assert np.all(np.isfinite(output.raw(combined)))
        assert np.all(np.isfinite(output.uncertainty(list(raws))))


@of_each_gaussian
def test_gaussian_ensembles_have_the_mixtures_moments_and_its_two_variances(output):
    raws = raws_for(output)
    means, stddevs = moments(output, raws)
    combined, uncertainty = output.combine(list(raws)), output.uncertainty(list(raws))
    np.testing.assert_allclose(combined.mean(), means.mean(0), rtol=1e-5, atol=1e-5)
    variance = (stddevs**2).mean(0) + means.var(0)
    np.testing.assert_allclose(combined.variance(), variance, rtol=1e-4)
    np.testing.assert_allclose(uncertainty.aleatoric, (stddevs**2).mean(0), rtol=1e-4)
    np.testing.assert_allclose(uncertainty.epistemic, means.var(0), rtol=1e-3)


def test_point_ensembles_without_a_spread_take_it_from_the_members():
    output = Point(2, target_mean=5.0, target_stddev=[2.0, 30.0])
    combined = output.combine(list(RAWS[..., :2]))
    expected = RAWS[..., :2].std(0) * [2.0, 30.0]
    np.testing.assert_allclose(combined.stddev(), expected, rtol=1e-4)
    # A student of means and scales can hold it.
    student = Normal(2, 1e-3, 5.0, [2.0, 30.0])
    again = student(student.raw(combined))
    np.testing.assert_allclose(again.mean(), combined.mean(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(again.stddev(), combined.stddev(), rtol=1e-3)


def test_the_floor_is_in_units_of_the_targets_spread():
    units = {"target_mean": 3.0, "target_stddev": [0.5, 20.0]}
    points, normal = RAW[:, :2], Normal(2, 0.05, **units)
    certain = np.concatenate([points, np.full((4, 2), -1e4, np.float32)], -1)
    for narrow in (
        Point(2, None, 0.05, **units).combine([points, points]),
        Point(2, 1e-6, 0.05, **units)(points),
        normal(certain),
        normal.combine([certain, certain]),
        normal(normal.raw(normal(certain))),
    ):
        np.testing.assert_allclose(narrow.stddev(), [[0.025, 1.0]] * 4, rtol=1e-4)


def test_a_single_point_model_without_a_spread_is_refused_with_the_remedy():
    for make in (lambda: Point(4)(RAW), lambda: Point(4).combine([RAW])):
        with pytest.raises(ValueError, match=r"Point\(4, stddev=\.\.\.\).*residual_stddev"):
            make()


# Likelihoods and closeness


def test_categorical_likelihood_of_indices_one_hot_and_soft_rows():
    log_p = scipy.special.log_softmax(RAW.astype(np.float64), -1)
    labels, soft = np.array([0, 3, 1, 1]), softmax(RAWS[1])
    output, expected = Categorical(), -log_p[np.arange(4), labels]
    forms = (labels, labels[:, None], labels.astype(np.float32), labels.astype(np.uint8))
    for given in (*forms, np.eye(4)[labels]):
        actual = output.negative_log_likelihood(output(RAW), given)
        assert actual.shape == (4,)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)
    actual = output.negative_log_likelihood(output(RAW), soft)
    np.testing.assert_allclose(actual, -(soft * log_p).sum(-1), rtol=1e-5)


def test_bernoulli_likelihood_of_hard_and_soft_labels():
    p = sigmoid(RAW)
    for labels in (np.array([[0, 1, 1, 0]] * 4), sigmoid(RAWS[1])):
        expected = -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).sum(-1)
        actual = Bernoulli().negative_log_likelihood(Bernoulli()(RAW), labels)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)
    # It is finite where probabilities round to zero.
    actual = Bernoulli().negative_log_likelihood(Bernoulli()([[200.0, -150.0]]), [[0, 1]])
    assert float(actual[0]) == pytest.approx(350.0)


@pytest.mark.parametrize(
    ("output", "labels", "known"),
    [
        (Bernoulli(ignore_class=-1), np.array([[True], [False]]), [1, 1]),
        (Categorical(ignore_class=-1), np.array([True, False]), [1, 1]),
        (Categorical(ignore_class=256), np.array([0, 1], "uint8"), [1, 1]),
        (Categorical(ignore_class=255), np.array([1, 255], "uint8"), [1, 0]),
        (Categorical(ignore_class=-1), np.array([1, -1], "int8"), [1, 0]),
        (Categorical(ignore_class=0), np.array([0, 1]), [0, 1]),
        (Categorical(ignore_class=0), np.array([[1.0, 0.0], [0.0, 1.0]]), [0, 1]),
        (Categorical(ignore_class=0), np.array([[0.9, 0.1], [0.0, 0.0]]), [0, 0]),
    ],
)
def test_labels_are_unknown_of_the_class_that_is_ignored_in_types_that_hold_it(
    output, labels, known
):
    raw = tf.zeros((2, 1 if output.family == "bernoulli" else 2))
    np.testing.assert_array_equal(output.known(labels, raw), known)
    loss = output.negative_log_likelihoods(output(raw), labels)
    np.testing.assert_allclose(loss, np.log(2) * np.array(known), rtol=1e-6)


def test_one_label_or_target_may_come_without_its_axis():
    actual = Bernoulli().negative_log_likelihood(Bernoulli()([[0.0], [2.0]]), [1, 1])
    np.testing.assert_allclose(actual, -np.log(sigmoid([0.0, 2.0])), rtol=1e-5)
    raw, labels = RAW[:, :2], np.array([0.0, 1.0, 2.0, 3.0])
    mean, stddev = moments(Normal(1), raw)
    actual = Normal(1).negative_log_likelihood(Normal(1)(raw), labels)
    expected = -scipy.stats.norm.logpdf(labels, mean[:, 0], stddev[:, 0])
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("output", "teacher", "student", "expected"),
    [
        (Categorical(), [[0, 1, 2], [0, 3, 1]], [[0, 0, 1], [5, 0, 0]], {"agreement": [1, 0]}),
        (Categorical(), [[[0, 1], [1, 0]]], [[[0, 2], [0, 1]]], {"agreement": [0.5]}),
        (Bernoulli(), [[1, -1, 1, -1]], [[2, -3, 1, 1]], {"agreement": [0.75]}),
        (GAUSSIANS[1], [[1, 1, 0, 0]], [[0, 3, 5, 5]], {"mean_error": [(1 * 0.5 + 2 * 20) / 2]}),
    ],
)
def test_compare_by_hand(output, teacher, student, expected):
    actual = output.compare(output(np.float32(teacher)), output(np.float32(student)))
    assert set(actual) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value)


TEMPERED = [Categorical(0.5), Bernoulli(2.0), Normal(2, temperature=3.0)]


@pytest.mark.parametrize("output", [*KINDS, *TEMPERED], ids=repr)
def test_raw_and_from_parameters_are_inverses(output):
    raw = RAW.copy()
    raw[0, -1] = 60.0  # softplus must not overflow on its way back.
    np.testing.assert_allclose(output.raw(output(raw)), raw, rtol=1e-3, atol=1e-5)
    distribution = output(RAW)
    again = output.from_parameters(output.parameters(distribution))
    assert type(again) is type(distribution)
    assert again.batch_shape == distribution.batch_shape
    for name, value in output.parameters(distribution).items():
        np.testing.assert_allclose(output.parameters(again)[name], value, rtol=1e-4)


# Joint


JOINT = Joint({"digit": "categorical", "angle": Normal(1)}, {"angle": 0.25})
JOINT_RAWS = [{"digit": raw, "angle": raw[:, :2]} for raw in RAWS]


def test_joint_divergence_and_likelihood_are_weighted_sums():
    teacher, student = JOINT(JOINT_RAWS[0]), JOINT(JOINT_RAWS[1])
    (m, s), (n, t) = (moments(Normal(1), raw["angle"]) for raw in JOINT_RAWS[:2])
    digit = 4 * scipy.stats.entropy(softmax(RAWS[0] / 2), softmax(RAWS[1] / 2), axis=-1)
    actual = JOINT.divergence(teacher, student, divergences.kl, temperature=2.0)
    np.testing.assert_allclose(actual, digit + 0.25 * normal_kl(m, s, n, t).sum(-1), rtol=1e-4)
    labels = {"digit": np.array([0, 1, 2, 3]), "angle": np.zeros((4, 1), np.float32)}
    digit = -np.diag(scipy.special.log_softmax(RAW.astype(np.float64), -1))
    angle = -scipy.stats.norm.logpdf(0.0, m, s).sum(-1)
    actual = JOINT.negative_log_likelihood(teacher, labels)
    np.testing.assert_allclose(actual, digit + 0.25 * angle, rtol=1e-5)


def test_joint_does_by_name_what_its_outputs_do():
    combined = JOINT.combine(JOINT_RAWS)
    actual = combined["digit"].probs_parameter()
    np.testing.assert_allclose(actual, softmax(RAWS).mean(0), rtol=1e-5)
    np.testing.assert_allclose(combined["angle"].mean(), RAWS[:, :, :1].mean(0), rtol=1e-4)
    prediction = JOINT.prediction(JOINT_RAWS[0])
    np.testing.assert_allclose(prediction["digit"], softmax(RAW), rtol=1e-5)
    np.testing.assert_array_equal(prediction["angle"], RAW[:, :1])
    raw = JOINT.raw(JOINT(JOINT_RAWS[0]))
    np.testing.assert_allclose(raw["angle"], RAW[:, :2], rtol=1e-3)
    assert JOINT.event_size({"digit": (None, 4), "angle": (None, 2)}) == {"digit": 4, "angle": 1}
    assert JOINT.raw_size({"digit": 4, "angle": 1}) == {"digit": 4, "angle": 2}
    assert JOINT.takes_temperature
    assert not Joint({"a": Normal(1), "b": Bernoulli()}).takes_temperature


def test_joint_prefixes_names_and_inverts_its_parameters():
    distribution = JOINT(JOINT_RAWS[0])
    closeness = JOINT.compare(distribution, distribution)
    assert set(closeness) == {"digit_agreement", "angle_mean_error"}
    parameters = JOINT.parameters(distribution)
    assert set(parameters) == {"digit_probabilities", "angle_mean", "angle_stddev"}
    again = JOINT.from_parameters(parameters)
    np.testing.assert_allclose(again["digit"].probs_parameter(), softmax(RAW), rtol=1e-5)
    stddev = moments(Normal(1), RAW[:, :2])[1]
    np.testing.assert_allclose(again["angle"].stddev(), stddev, rtol=1e-5)
    # A name may begin with another.
    joint = Joint({"eye": Normal(1), "eye_left": Normal(1)})
    raw = {"eye": np.array([[1.0, 0.0]]), "eye_left": np.array([[2.0, 0.0]])}
    again = joint.from_parameters(joint.parameters(joint(raw)))
    means = {name: float(d.mean()[0, 0]) for name, d in again.items()}
    assert means == {"eye": 1.0, "eye_left": 2.0}


# Shapes and arguments


@pytest.mark.parametrize(
    ("output", "shape", "size"),
    [
        (Categorical(), (None, 3), 3),
        (Bernoulli(), (None, 1), 1),
        (Normal(2), (None, 4), 2),
        (Point(2, 0.1), (None, 2), 2),
        (JOINT, {"digit": (None, 4), "angle": (None, 2)}, {"digit": 4, "angle": 1}),
    ],
)
def test_right_shapes_pass_and_have_an_event_size(output, shape, size):
    output.validate(shape, "student")
    assert output.event_size(shape) == size


@pytest.mark.parametrize(
    ("output", "shape", "words"),
    [
        (Categorical(), (None, 1), "bernoulli"),
        (Categorical(), (None,), "one logit per class"),
        (Bernoulli(), (None,), "one logit per label"),
        (Normal(2), (None, 3), "last dimension of 4"),
        (Normal(2), (None,), "last dimension of 4"),
        (Point(2, 0.1), (None, 4), "last dimension of 2"),
        (JOINT, (None, 4), r"expected a dict.*\['angle', 'digit'\]"),
        (JOINT, {"digit": (None, 4), "angel": (None, 2)}, r"\['angel', 'digit'\].*expected a dict"),
        (JOINT, {"digit": (None, 4), "angle": (None, 3)}, r"\(output 'angle'\)"),
    ],
)
def test_wrong_shapes_are_refused_with_the_networks_name(output, shape, words):
    with pytest.raises(ValueError, match=f"student.*{words}"):
        output.validate(shape, "student")


STDDEVS = [0.0, -1.0, math.inf, math.nan, [0.1, 0.2, 0.3], [0.1, 0.0]]
MEANS = [math.inf, -math.inf, math.nan, [0.0, math.nan], [0.0] * 3, []]


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        *((Normal, {"event_size": size}, "event_size") for size in (0, -1, 1.5, True)),
        *((Normal, {"min_scale": scale}, "min_scale") for scale in (0.0, -1.0, math.nan, math.inf)),
        *((Point, {"stddev": stddev}, "stddev must be one positive") for stddev in STDDEVS),
        *(
            (Normal, {"target_stddev": stddev}, r"target_stddev must be one positive.*2 of them")
            for stddev in STDDEVS
        ),
        *(
            (Normal, {"target_mean": mean}, r"target_mean must be one finite.*2 of them.*got")
            for mean in MEANS
        ),
        (Categorical, {"temperature": 0.0}, "temperature must be a positive"),
        (Normal(2).tempered, {"temperature": math.inf}, "temperature must be a positive"),
        (Point(2, 1.0).tempered, {"temperature": math.nan}, "temperature must be a positive"),
        *(
            (Joint, {"outputs": {"a": Normal(1)}, "weights": weights}, "weights must map output")
            for weights in ({"b": 1.0}, {"a": -1.0}, {"a": math.nan}, {"a": math.inf}, {"a": "b"})
        ),
        (Normal, {"target_stddev": "a"}, "target_stddev must be one positive"),
        (Categorical, {"ignore_class": math.nan}, "ignore_class must be a whole"),
        (Joint, {"outputs": {}}, "at least one"),
        *(
            (make, arguments, rf"{name} must be a number; got '1'")
            for make, arguments, name in (
                (StudentT, {"event_size": 1, "degrees_of_freedom": "1"}, "degrees_of_freedom"),
                (metrics.Coverage, {"output": Normal(1), "level": "1"}, "Coverage's level"),
                (samplers.Uncertain, {"temperature": "1"}, "Uncertain's temperature"),
                (samplers.UncertaintyMixup, {"clean": "1"}, "UncertaintyMixup's clean"),
            )
        ),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(make, arguments, message):
    size = {"event_size": 2} if make in (Normal, Point) else {}
    with pytest.raises(ValueError, match=message):
        make(**{**size, **arguments})


# Lookup and serialization


@pytest.mark.parametrize(
    ("identifier", "shape", "expected"),
    [
        ("categorical", None, Categorical()),
        ("bernoulli", None, Bernoulli()),
        ("normal", (None, 6), Normal(3)),
        (Normal(2, 0.1), (None, 4), Normal(2, 0.1)),
        ({"a": "normal"}, {"a": (None, 2)}, Joint({"a": Normal(1)})),
        (
            {"a": "categorical", "b": "bernoulli"},
            None,
            Joint({"a": Categorical(), "b": Bernoulli()}),
        ),
        (keras.saving.serialize_keras_object(Normal(2)), None, Normal(2)),
        ({"class_name": "Normal", "config": {"event_size": 2}}, None, Normal(2)),
        ({"class_name": "Categorical"}, None, Categorical()),
    ],
)
def test_get(identifier, shape, expected):
    assert outputs.get(identifier, shape) == expected


@pytest.mark.parametrize(
    ("identifier", "shape", "message"),
    [
        *(("normal", shape, r"outputs\.Normal\(event_size\)") for shape in (None, (None, 3))),
        ("normal", (None, None), r"outputs\.Normal\(event_size\)"),
        *((unknown, None, "Unknown output.*'categorical'") for unknown in ("gaussian", None, 3)),
        ({"class_name": "Studnt"}, None, "Unknown output 'Studnt'; .*'Categorical'"),
    ],
)
def test_get_names_the_choices(identifier, shape, message):
    with pytest.raises(ValueError, match=message):
        outputs.get(identifier, shape)


ALL = [*KINDS, *GAUSSIANS[1:], Point(2), Point(2, [0.5, 2.0], 0.1), *TEMPERED, JOINT]


@pytest.mark.parametrize("output", ALL, ids=repr)
def test_configs_round_trip_and_repr_is_the_code_that_makes_it(output):
    config = keras.saving.serialize_keras_object(output)
    again = keras.saving.deserialize_keras_object(config)
    assert again is not output
    assert again == output == type(output).from_config(output.get_config())
    assert hash(again) == hash(output)
    assert output == JOINT or eval(repr(output)) == output


def test_different_outputs_are_different_and_configs_hold_what_was_given():
    assert len(set(ALL)) == len(ALL)
    assert all((a == b) == (a is b) for a in ALL for b in ALL)
    assert Joint({"a": "bernoulli"}, {"a": 2}) != Joint({"a": "bernoulli"})
    arrays = Point(2, np.array([0.5, 2.0]), 0.1, np.array([1, 2]), (3, 4))
    assert arrays == Point(2, [0.5, 2.0], 0.1, [1.0, 2.0], [3.0, 4.0])
    assert Normal(1, target_mean=[1.0], target_stddev=[2.0]) == Normal(1, 1e-3, 1.0, 2.0)
    config = GAUSSIANS[1].get_config()
    assert (config["target_mean"], config["target_stddev"]) == ([10.0, -4.0], [0.5, 20.0])


@pytest.mark.parametrize("name", ["kl", "jensen_shannon"])
def test_distributions_of_other_target_dimensions_are_not_broadcast(name):
    one, two = Normal(1)(RAW[:, :2]), Normal(2)(RAW)
    with pytest.raises(ValueError, match=r"teacher's .* of 1 target .* student's of 2"):
        Normal(2).divergence(one, two, divergences.get(name))
