"""Temperatures that held-out labels ask for, against the one that made them and SciPy's."""

import keras
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import tensorflow as tf

import ecl_tf
from ecl_tf import outputs, replay
from ecl_tf.teachers.calibration import calibrated

ROWS = 4000
RNG = np.random.default_rng(0)


def network(size, scale=1.0, offset=0.0):
    """Answers with its inputs, scaled: the data below says what they should mean."""
    return keras.Sequential([keras.Input((size,)), keras.layers.Rescaling(scale, offset)])


def logits_and_classes(count, rows=ROWS):
    logits = RNG.normal(0.0, 2.0, (rows, count)).astype("float32")
    return logits, np.argmax(logits + RNG.gumbel(size=logits.shape), -1)


def test_a_networks_temperature_is_the_one_that_made_the_labels():
    teacher = calibrated(network(4, scale=3.0), *logits_and_classes(4))
    assert teacher.output_kind.temperature == pytest.approx(3.0, rel=0.05)


def test_an_ensembles_temperature_is_scipys():
    logits, labels = logits_and_classes(3)
    scales = (0.3, 0.6)

    def loss(temperature):
        members = [scipy.special.softmax(s * logits / temperature, -1) for s in scales]
        return -np.log(np.mean(members, 0)[np.arange(ROWS), labels]).mean()

    expected = scipy.optimize.minimize_scalar(loss, bounds=(0.1, 2.0), method="bounded").x
    teacher = calibrated([network(3, s) for s in scales], logits, labels, batch_size=999)
    assert teacher.output_kind.temperature == pytest.approx(expected, rel=0.01)
    members = [scipy.special.softmax(s * logits[:5] / expected, -1) for s in scales]
    np.testing.assert_allclose(
        teacher.distribution(logits[:5]).probs_parameter(), np.mean(members, 0), atol=2e-3
    )


def test_a_calibrated_teacher_keeps_its_temperature_as_a_part_of_others(subtests):
    logits, labels = logits_and_classes(3, 500)
    teacher = calibrated(network(3, scale=4.0), logits, labels)
    expected = scipy.special.softmax(4.0 * logits / teacher.output_kind.temperature, -1)
    layers = [keras.layers.Rescaling(1.0)]
    in_front = ecl_tf.preprocessing.with_preprocessing(teacher, layers, (3,))
    for given in ([teacher, teacher], in_front):
        distiller = ecl_tf.Distiller(network(3), given)
        found = distiller.teacher.distribution(logits).probs_parameter()
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    trained = network(2)
    trained.compile(loss=ecl_tf.losses.NegativeLogLikelihood(outputs.Normal(1, target_mean=9.0)))
    for members, output in (
        ([teacher, network(3)], "categorical"),
        (in_front, "categorical"),
        (trained, outputs.Normal(1)),
    ):
        with subtests.test(output=output), pytest.raises(ValueError, match="read otherwise"):
            ecl_tf.Ensemble(members, output)


def test_labels_that_are_true_or_false():
    logits = RNG.normal(0.0, 2.0, (ROWS, 2)).astype("float32")
    labels = RNG.random((ROWS, 2)) < scipy.special.expit(logits)
    teacher = calibrated(network(2, scale=0.5), logits, labels.astype("int32"), output="bernoulli")
    assert teacher.output_kind.temperature == pytest.approx(0.5, rel=0.07)


def test_a_gaussian_ensembles_variance_is_the_measured_one():
    # Members whose means differ by a standard deviation of 1/2 and whose spreads are 1/2, both in
    # `unit`, of targets that are off by 2: the best T makes the variance T / 2 equal 4.
    unit = 20.0
    output = outputs.Normal(1, target_stddev=unit)
    scale = np.log(np.expm1(0.5 - output.min_scale))
    means = RNG.normal(size=(ROWS, 1)).astype("float32")
    x = np.concatenate([means, np.full_like(means, scale)], -1)
    y = unit * (means + RNG.normal(0.0, 2.0, means.shape))
    members = [network(2, offset=[offset, 0.0]) for offset in (-0.5, 0.5)]
    teacher = calibrated(members, x, y, output=output)
    expected = np.mean((y / unit - means) ** 2) / 0.5
    assert teacher.output_kind.temperature == pytest.approx(expected, rel=0.01)
    for part in teacher.uncertainty(x[:3]):
        np.testing.assert_allclose(part, np.full((3, 1), 0.25 * expected * unit**2), 1e-2)
    variance = teacher.distribution(x[:3]).variance()
    np.testing.assert_allclose(variance, np.full((3, 1), 0.5 * expected * unit**2), 1e-2)


def test_a_network_of_means_and_scales_by_its_outputs_name():
    means = RNG.normal(size=(ROWS, 1)).astype("float32")
    y = means + RNG.normal(0.0, 1.5, means.shape)
    x = np.concatenate([means, np.zeros_like(means)], -1)
    teacher = calibrated(network(2), x, y, output="normal")
    expected = np.mean((y - means) ** 2) / (np.log(2.0) + 1e-3) ** 2
    assert teacher.output_kind.temperature == pytest.approx(expected, rel=0.01)


def test_points_of_an_ensemble():
    x = RNG.normal(size=(ROWS, 1)).astype("float32")
    y = x + RNG.normal(0.0, 3.0, x.shape)
    members = [network(1, offset=offset) for offset in (-1.0, 1.0)]
    teacher = calibrated(members, x, y, output=outputs.Point(1))
    assert teacher.output_kind.temperature == pytest.approx(np.mean((y - x) ** 2), rel=0.01)


def test_named_outputs_have_a_temperature_each():
    logits, labels = logits_and_classes(3)
    inputs = keras.Input((3,))
    scaled = {"a": keras.layers.Rescaling(2.0)(inputs), "b": keras.layers.Rescaling(0.5)(inputs)}
    output = outputs.Joint({"a": "categorical", "b": "categorical"}, {"b": 0.3})
    model = keras.Model(inputs, scaled)
    found = calibrated(model, logits, {"a": labels, "b": labels}, output=output).output_kind
    assert found.outputs["a"].temperature == pytest.approx(2.0, rel=0.06)
    assert found.outputs["b"].temperature == pytest.approx(0.5, rel=0.06)
    assert found.weights == output.weights
    with pytest.raises(ValueError, match="labels of every output, and 'b' has none"):
        calibrated(model, logits, {"a": labels}, output=output)
    same = output.tempered(3.0)(model(logits))
    np.testing.assert_allclose(same["a"].logits_parameter(), logits * 2.0 / 3.0, rtol=1e-6)


def test_a_dataset_and_an_ensemble_are_taken_as_they_are():
    logits, labels = logits_and_classes(3, rows=500)
    ensemble = ecl_tf.Ensemble([network(3, 2.0)], "categorical", name="mine")
    data = tf.data.Dataset.from_tensor_slices((logits, labels)).batch(64)
    one, two = calibrated(ensemble, data), calibrated(ensemble, logits, labels)
    assert one.output_kind == two.output_kind
    assert one.name == "mine" and one.members[0] is ensemble.members[0]
    assert ensemble.output_kind.temperature == 1.0


@pytest.mark.parametrize("output", [outputs.Categorical(4.0), outputs.Normal(2, temperature=4.0)])
def test_a_stored_teachers_answers_are_those_of_the_live_one(output, tmp_path):
    def record(output):
        teacher = ecl_tf.Ensemble([network(4), network(4, 0.7)], output)
        settings = {"sampler": "Empirical", "epochs": 1, "batch_size": 8, "shards": 1}
        replay.record(teacher, x, directory=tmp_path, verbose=0, **settings)
        return teacher

    x = RNG.normal(size=(8, 4)).astype("float32")
    teacher, store = record(output), replay.Store(tmp_path)
    (samples,) = next(iter(store.batches(x)))
    recorded = store.teacher.output_kind.combine(samples.member_outputs)
    nats = ecl_tf.divergences.kl(teacher.distribution(samples.inputs), recorded)
    np.testing.assert_allclose(nats, np.zeros(8), atol=1e-5)
    with pytest.raises(ValueError, match="output"):
        record(output.tempered(1.5))


def test_a_student_is_taught_the_calibrated_distribution():
    x = RNG.normal(size=(64, 2)).astype("float32")
    teacher = ecl_tf.Ensemble([network(2)], outputs.Categorical(0.5))
    distiller = ecl_tf.Distiller(network(2, 0.7), teacher)
    distiller.compile(run_eagerly=True)
    logs = distiller.evaluate(x, verbose=0, return_dict=True)
    p, q = scipy.special.softmax(2.0 * x, -1), scipy.special.softmax(0.7 * x, -1)
    assert logs["divergence"] == pytest.approx(scipy.stats.entropy(p, q, axis=-1).mean(), rel=1e-4)


def test_what_has_no_best_temperature_or_is_refused():
    x = 5.0 * np.eye(3, dtype="float32")[np.arange(30) % 3]
    with pytest.warns(UserWarning, match="all held-out rows are answered right"):
        calibrated(network(3), x, np.arange(30) % 3)

    class Own(ecl_tf.Teacher):
        def member_outputs(self, inputs):
            return [inputs]

    with pytest.raises(TypeError, match=r"tempered\(0.8\)"):
        calibrated(Own("categorical"), np.zeros((3, 2), "float32"), np.zeros(3, "int32"))
    with pytest.raises(
        ValueError, match=r"a label for each row; got \[4\] rows .* \[3\] of labels"
    ):
        calibrated(network(2), np.zeros((4, 2), "float32"), np.zeros(3, "int32"))
    with pytest.raises(ValueError, match="no rows"):
        calibrated(network(2), np.zeros((0, 2), "float32"), np.zeros(0, "int32"))


def test_unknown_labels_have_no_say_and_wrong_ones_are_refused():
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(400, 3)).astype("float32")
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(-1)
    unknown = np.where(np.arange(400) % 4 == 0, 255, labels)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Identity()])
    known = unknown != 255
    alone = calibrated(network, logits[known], labels[known])
    output = outputs.Categorical(ignore_class=255)
    found = calibrated(network, logits, unknown, output=output)
    assert found.output_kind.temperature == alone.output_kind.temperature
    with pytest.raises(ValueError, match=r"out of range: 255.*ignore_class=-1"):
        calibrated(network, logits, unknown)


def test_inputs_in_a_list_classes_that_are_masked_and_labels_beside_a_dataset():
    logits, labels = logits_and_classes(3, rows=500)
    first, second = keras.Input((3,)), keras.Input((1,))
    both = keras.Model([first, second], keras.layers.Identity()(first))
    alone = calibrated(network(3), logits, labels).output_kind
    assert calibrated(both, [logits, logits[:, :1]], labels).output_kind == alone
    masked = keras.layers.Lambda(lambda z: tf.pad(z, [[0, 0], [0, 1]], constant_values=-np.inf))
    masked = keras.Model(first, masked(first))
    assert calibrated(masked, logits, labels).output_kind == alone
    rows = tf.data.Dataset.from_tensor_slices(logits).batch(8)
    with pytest.raises(ValueError, match="a dataset, and labels beside it"):
        calibrated(network(3), rows, labels)
    with pytest.raises(ValueError, match="batch_size must be a whole number >= 1"):
        calibrated(network(3), logits, labels, batch_size=0)


def test_members_that_answer_with_probabilities_are_calibrated_as_their_logits_are():
    logits, labels = logits_and_classes(3)
    softmax = keras.Sequential([*network(3, scale=2.0).layers, keras.layers.Softmax()])
    softmax.build((None, 3))
    teacher = calibrated(
        ecl_tf.Ensemble(softmax, "categorical", answer="probabilities"), logits, labels
    )
    assert teacher.output_kind.temperature == pytest.approx(2.0, rel=0.05)
    expected = scipy.special.softmax(logits[:5], -1)  # What the labels were drawn from.
    np.testing.assert_allclose(
        teacher.distribution(logits[:5]).probs_parameter(), expected, atol=0.02
    )


class Hidden(keras.Model):
    """Nothing is known of it before it is asked."""

    def call(self, inputs):
        return tf.nn.softmax(inputs)


def test_networks_of_nan_and_of_probabilities_are_refused():
    logits, labels = logits_and_classes(3, rows=50)
    broken = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)], name="broken")
    broken.set_weights([np.full((3, 3), np.nan), np.zeros(3)])
    for convert in (ecl_tf.as_logits, ecl_tf.teachers.inference_form):
        with pytest.raises(ValueError, match=r"'broken' holds NaN or Inf in its weight"):
            convert(broken)
    with pytest.raises(ValueError, match=r"'broken' holds NaN or Inf in its weight .*kernel"):
        calibrated([network(3), broken], logits, labels)
    roots = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda z: tf.sqrt(z))])
    with pytest.raises(ValueError, match=r"answers with NaN or Inf\. Look at"):
        calibrated(roots, logits, labels)
    with pytest.raises(ValueError, match="to inputs that hold NaN"):
        calibrated(network(3), np.where(logits > 3, np.nan, logits), labels)
    with pytest.raises(ValueError, match=r"add up to 1.*answer='probabilities'"):
        calibrated(Hidden(), logits, labels)


def test_positions_that_a_mask_leaves_out_have_no_say():
    """Ids are 1 to 3, and 0 is padding; logits and means are rows of a table."""
    rng = np.random.default_rng(0)
    ids, table = keras.Input((6,), dtype="int32"), np.float32(3.0 * rng.normal(size=(4, 3)))
    embedding = keras.layers.Embedding(4, 3, mask_zero=True)
    logits = embedding(ids)
    embedding.set_weights([table])
    x = rng.integers(1, 4, (300, 6))
    x[:, 3:] = 0
    labels = (table[x] + rng.gumbel(size=(300, 6, 3))).argmax(-1)
    alone = calibrated(network(3), table[x[:, :3]].reshape(900, 3), labels[:, :3].ravel())
    softmax = keras.Model(ids, keras.layers.Activation("softmax")(logits))
    members = {
        "logits": ecl_tf.Ensemble(keras.Model(ids, logits), "categorical"),
        "probabilities": ecl_tf.Ensemble(softmax, "categorical", answer="probabilities"),
        "as logits": ecl_tf.Ensemble(ecl_tf.as_logits(softmax), "categorical"),
        "mapped": ecl_tf.teachers.Mapped(keras.Model(ids, logits), [0, 1, 2], 3),
    }
    for teacher in members.values():
        np.testing.assert_array_equal(teacher(x)._keras_mask, x > 0)
    for padding in (0, 2):
        y = np.where(x == 0, padding, labels)
        for teacher in members.values():
            found = calibrated(teacher, x, y, batch_size=128).output_kind.temperature
            assert found == alone.output_kind.temperature == pytest.approx(1.0, rel=0.1)
    # Batches are padded to lengths of their own.
    parts = tf.data.Dataset.from_generator(
        lambda: iter([(x[:99, :4], labels[:99, :4]), (x[99:], labels[99:])]),
        output_signature=(tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, None))),
    )
    of_any = keras.Input((None,), dtype="int32")
    found = calibrated(keras.Model(of_any, embedding(of_any)), parts)
    assert found.output_kind == alone.output_kind
    residuals = rng.normal(0.0, 2.0, (300, 6, 3))
    wanted = np.sqrt(np.mean(residuals[:, :3] ** 2, (0, 1)))
    y = table[x] + np.where(x[..., None] == 0, 50.0, residuals)
    found = ecl_tf.teachers.residual_stddev(keras.Model(ids, logits), x, y)
    assert found == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(
        ValueError, match="no known label: all are of the ignored class, or of mask"
    ):
        calibrated(members["logits"], np.zeros_like(x), labels)
