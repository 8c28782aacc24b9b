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


def network(size, scale=1.0, offset=0.0):
    """Answers with its inputs, scaled: the data below says what they should mean."""
    return keras.Sequential([keras.Input((size,)), keras.layers.Rescaling(scale, offset)])


def classes(rng, logits):
    return np.argmax(logits + rng.gumbel(size=logits.shape), -1)


def test_a_networks_temperature_is_the_one_that_made_the_labels():
    rng = np.random.default_rng(0)
    logits = rng.normal(0.0, 2.0, (ROWS, 4)).astype("float32")
    labels = classes(rng, logits)
    teacher = calibrated(network(4, scale=3.0), logits, labels)
    assert teacher.output_kind.temperature == pytest.approx(3.0, rel=0.05)


def test_an_ensembles_temperature_is_scipys():
    rng = np.random.default_rng(1)
    logits = rng.normal(0.0, 2.0, (ROWS, 3)).astype("float32")
    labels = classes(rng, logits)
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


def test_labels_that_are_true_or_false():
    rng = np.random.default_rng(2)
    logits = rng.normal(0.0, 2.0, (ROWS, 2)).astype("float32")
    labels = rng.random((ROWS, 2)) < scipy.special.expit(logits)
    teacher = calibrated(network(2, scale=0.5), logits, labels.astype("int32"), output="bernoulli")
    assert teacher.output_kind.temperature == pytest.approx(0.5, rel=0.07)


@pytest.mark.parametrize("unit", [1.0, 20.0])
def test_a_gaussian_ensembles_variance_is_the_measured_one(unit):
    # Members whose means differ by a standard deviation of 1/2 and whose spreads are 1/2, both in
    # `unit`, of targets that are off by 2: the best T makes the variance T / 2 equal 4.
    rng = np.random.default_rng(3)
    output = outputs.Normal(1, target_stddev=unit)
    scale = np.log(np.expm1(0.5 - output.min_scale))
    means = rng.normal(size=(ROWS, 1)).astype("float32")
    x = np.concatenate([means, np.full_like(means, scale)], -1)
    y = unit * (means + rng.normal(0.0, 2.0, means.shape))
    members = [network(2, offset=[offset, 0.0]) for offset in (-0.5, 0.5)]
    teacher = calibrated(members, x, y, output=output)
    expected = np.mean((y / unit - means) ** 2) / 0.5
    assert teacher.output_kind.temperature == pytest.approx(expected, rel=0.01)
    parts = teacher.uncertainty(x[:3])
    np.testing.assert_allclose(parts.aleatoric, np.full((3, 1), 0.25 * expected * unit**2), 1e-2)
    np.testing.assert_allclose(parts.epistemic, np.full((3, 1), 0.25 * expected * unit**2), 1e-2)
    np.testing.assert_allclose(
        teacher.distribution(x[:3]).variance(), np.full((3, 1), 0.5 * expected * unit**2), 1e-2
    )


def test_a_network_of_means_and_scales_by_its_outputs_name():
    rng = np.random.default_rng(10)
    means = rng.normal(size=(ROWS, 1)).astype("float32")
    x = np.concatenate([means, np.zeros_like(means)], -1)
    y = means + rng.normal(0.0, 1.5, means.shape)
    teacher = calibrated(network(2), x, y, output="normal")
    expected = np.mean((y - means) ** 2) / (np.log(2.0) + 1e-3) ** 2
    assert teacher.output_kind.temperature == pytest.approx(expected, rel=0.01)


def test_points_of_an_ensemble():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(ROWS, 1)).astype("float32")
    y = x + rng.normal(0.0, 3.0, x.shape)
    members = [network(1, offset=offset) for offset in (-1.0, 1.0)]
    teacher = calibrated(members, x, y, output=outputs.Point(1))
    assert teacher.output_kind.temperature == pytest.approx(np.mean((y - x) ** 2), rel=0.01)


def test_named_outputs_have_a_temperature_each():
    rng = np.random.default_rng(5)
    logits = rng.normal(0.0, 2.0, (ROWS, 3)).astype("float32")
    inputs = keras.Input((3,))
    outputs_ = {"a": keras.layers.Rescaling(2.0)(inputs), "b": keras.layers.Rescaling(0.5)(inputs)}
    labels = {name: classes(rng, logits) for name in ("a", "b")}
    output = outputs.Joint({"a": "categorical", "b": "categorical"}, {"b": 0.3})
    teacher = calibrated(keras.Model(inputs, outputs_), logits, labels, output=output)
    found = teacher.output_kind
    assert found.outputs["a"].temperature == pytest.approx(2.0, rel=0.06)
    assert found.outputs["b"].temperature == pytest.approx(0.5, rel=0.06)
    assert found.weights == output.weights
    same = output.tempered(3.0)(keras.Model(inputs, outputs_)(logits))
    np.testing.assert_allclose(same["a"].logits_parameter(), logits * 2.0 / 3.0, rtol=1e-6)


def test_a_dataset_and_an_ensemble_are_taken_as_they_are():
    rng = np.random.default_rng(6)
    logits = rng.normal(0.0, 2.0, (500, 3)).astype("float32")
    labels = classes(rng, logits)
    ensemble = ecl_tf.Ensemble([network(3, 2.0)], "categorical", name="mine")
    data = tf.data.Dataset.from_tensor_slices((logits, labels)).batch(64)
    one, two = calibrated(ensemble, data), calibrated(ensemble, logits, labels)
    assert one.output_kind == two.output_kind
    assert one.name == "mine" and one.members[0] is ensemble.members[0]
    assert ensemble.output_kind.temperature == 1.0


@pytest.mark.parametrize(
    "output",
    [outputs.Categorical(0.5), outputs.Bernoulli(2.0), outputs.Normal(2, temperature=3.0)],
)
def test_raw_is_the_inverse_at_any_temperature(output):
    raw = np.random.default_rng(7).normal(size=(5, 4)).astype("float32")
    np.testing.assert_allclose(output.raw(output(raw)), raw, atol=1e-5)
    assert type(output).from_config(output.get_config()) == output
    assert output != output.tempered(1.0)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
@pytest.mark.parametrize(
    "output", [outputs.Categorical(), outputs.Normal(1), outputs.Point(1, 1.0)]
)
def test_temperatures_that_are_none(output, temperature):
    with pytest.raises(ValueError, match="temperature must be a positive number"):
        output.tempered(temperature)


@pytest.mark.parametrize("output", ["categorical", "bernoulli", outputs.Normal(2, temperature=2.0)])
def test_a_stored_teachers_answers_are_those_of_the_live_one(output, tmp_path):
    x = np.random.default_rng(8).normal(size=(64, 4)).astype("float32")
    tempered = outputs.get(output).tempered(2.0)
    teacher = ecl_tf.Ensemble([network(4), network(4, 0.7)], tempered)
    replay.record(
        teacher, x, directory=tmp_path, sampler="Empirical", epochs=1, batch_size=32, verbose=0
    )
    store = replay.Store(tmp_path)
    (samples,) = next(iter(store.batches(x)))
    recorded = store.teacher.output_kind.combine(samples.member_outputs)
    live = teacher.distribution(samples.inputs)
    nats = ecl_tf.divergences.kl(live, recorded)
    np.testing.assert_allclose(nats, np.zeros(32), atol=1e-5)
    other = ecl_tf.Ensemble(teacher.members, outputs.get(output).tempered(1.5))
    with pytest.raises(ValueError, match="output"):
        replay.record(
            other, x, directory=tmp_path, sampler="Empirical", epochs=1, batch_size=32, verbose=0
        )


def test_a_student_learns_the_calibrated_distribution():
    x = np.random.default_rng(9).normal(size=(256, 2)).astype("float32")
    teacher = ecl_tf.Ensemble([network(2)], outputs.Categorical(0.5))
    student = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    distiller = ecl_tf.Distiller(student, teacher, sampler="Empirical")
    distiller.compile(keras.optimizers.Adam(0.05))
    distiller.fit(x, batch_size=64, epochs=60, verbose=0)
    expected = scipy.special.softmax(2.0 * x, -1)
    np.testing.assert_allclose(scipy.special.softmax(student(x), -1), expected, atol=0.01)


def test_no_rows():
    with pytest.raises(ValueError, match="no rows"):
        calibrated(network(2), np.zeros((0, 2), "float32"), np.zeros(0, "int32"))


def test_answers_that_are_all_right_have_no_best_temperature():
    x = 5.0 * np.eye(3, dtype="float32")[np.arange(30) % 3]
    with pytest.warns(UserWarning, match="all held-out rows are answered right"):
        calibrated(network(3), x, np.arange(30) % 3)


def test_another_kind_of_teacher():
    class Own(ecl_tf.Teacher):
        def member_outputs(self, inputs):
            return [inputs]

    with pytest.raises(TypeError, match=r"tempered\(0.8\)"):
        calibrated(Own("categorical"), np.zeros((3, 2), "float32"), np.zeros(3, "int32"))
