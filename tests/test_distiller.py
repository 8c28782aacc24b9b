"""What a training step computes, what it leaves alone, and what data it takes."""

import by_hand
import keras
import numpy as np
import pytest
import tensorflow as tf
from by_hand import CLASSES, SIZE, Recorder, assert_weights, kl, linear, logits, numbers, weights
from scipy.special import log_softmax, softmax

from ecl_tf import Distiller, Ensemble, Teacher, outputs, samplers

ROWS = 6
X = numbers(ROWS, SIZE, seed=1)
LABELS = np.array([0, 1, 2, 2, 1, 0])
ONE_HOT = np.eye(CLASSES, dtype="float32")[LABELS]
ROW_WEIGHTS = np.array([1.0, 0.0, 2.0, 0.5, 0.0, 1.0], "float32")
STUDENT, TEACHER = weights(seed=2), weights(seed=3)


@keras.saving.register_keras_serializable("test_distiller")
class Shift(samplers.Sampler):
    """A sampler whose samples are known without random numbers."""

    def sample(self, inputs, seed):
        moved = keras.tree.map_structure(lambda x: x + 1.0, inputs)
        return samplers.Samples(moved, tf.zeros([samplers.row_count(inputs)], tf.bool))


def mlp(width, units=CLASSES, *, seed, dtype="float32"):
    def dense(units, number, *activation):
        initializer = keras.initializers.GlorotNormal(seed=10 * seed + number)
        return keras.layers.Dense(units, *activation, kernel_initializer=initializer, dtype=dtype)

    return keras.Sequential([keras.Input((SIZE,)), dense(width, 0, "tanh"), dense(units, 1)])


def distil(student=None, teacher=None, sampler="Empirical", **arguments):
    """By default of two linear networks, without samples of its own."""
    return Distiller(
        student or linear(STUDENT), teacher or linear(TEACHER), sampler=sampler, **arguments
    )


def fit(distiller, *data, batch_size=ROWS, run_eagerly=True, metrics=None, **arguments):
    """Fits with plain SGD, in the rows' order."""
    optimizer = keras.optimizers.SGD(by_hand.RATE)
    distiller.compile(optimizer, run_eagerly=run_eagerly, metrics=metrics)
    arguments = {"batch_size": batch_size, "shuffle": False, "verbose": 0, **arguments}
    return distiller.fit(*data, **arguments).history


def evaluate(distiller, *data, **compiled):
    distiller.compile(run_eagerly=True, **compiled)
    return distiller.evaluate(*data, batch_size=4, verbose=0, return_dict=True)


def assert_logs(logs, rtol=1e-5, **expected):
    for name, value in expected.items():
        np.testing.assert_allclose(np.squeeze(logs[name]), value, rtol=rtol, err_msg=name)


# One step, against NumPy.


@pytest.mark.parametrize(
    ("temperature", "label_weight", "labels", "row_weights"),
    [
        (1.0, 0.0, LABELS, None),
        (4.0, 0.0, LABELS, ROW_WEIGHTS),
        (1.0, 0.3, LABELS, ROW_WEIGHTS),
        (4.0, 0.3, ONE_HOT, None),
    ],
)
def test_a_step_follows_the_gradient_of_the_objective(
    temperature, label_weight, labels, row_weights
):
    recorder = Recorder()
    distiller = distil(
        linear(STUDENT, recorder),
        linear(TEACHER, keras.layers.Dropout(0.9)),  # A teacher's is off.
        temperature=temperature,
        label_weight=label_weight,
    )
    history = fit(distiller, X, labels, sample_weight=row_weights)

    w = np.ones(ROWS) if row_weights is None else row_weights
    p, q = logits(X, TEACHER), logits(X, STUDENT)
    divergence = temperature**2 * kl(p / temperature, q / temperature)
    label_loss = -(ONE_HOT * log_softmax(q, -1)).sum(-1)
    # d KL / d q = (softmax(q / T) - softmax(p / T)) / T, times T^2.
    gradient = temperature * (softmax(q / temperature, -1) - softmax(p / temperature, -1))
    gradient = gradient + label_weight * (softmax(q, -1) - ONE_HOT)
    assert_weights(distiller.student, by_hand.sgd(X, STUDENT, w[:, None] * gradient))
    loss = (w * (divergence + label_weight * label_loss)).mean()
    assert_logs(history, loss=loss, divergence=(w * divergence).mean())
    if label_weight:
        assert_logs(history, label_loss=(w * label_loss).mean())
    (batch,) = recorder.batches  # The unmodified rows are not appended to themselves.
    np.testing.assert_array_equal(batch, X)


def test_labels_hold_on_unmodified_rows_the_divergence_on_samples_and_a_regularizer_counts_once():
    student = linear(STUDENT, regularizer=keras.regularizers.L2(0.1))
    distiller = distil(student, sampler=Shift(), label_weight=0.3)
    history = fit(distiller, X, LABELS, sample_weight=ROW_WEIGHTS)
    moved, w = X + 1, ROW_WEIGHTS[:, None]
    p, q, own = logits(moved, TEACHER), logits(moved, STUDENT), logits(X, STUDENT)
    label_loss = -log_softmax(own, -1)[range(ROWS), LABELS]
    gradients = w * (softmax(q, -1) - softmax(p, -1)), 0.3 * w * (softmax(own, -1) - ONE_HOT)
    expected = by_hand.sgd(np.concatenate([moved, X]), STUDENT, 2 * np.concatenate(gradients))
    expected[0] = expected[0] - by_hand.RATE * 0.2 * STUDENT[0]
    assert_weights(student, expected)
    divergence, label_loss = ((ROW_WEIGHTS * each).mean() for each in (kl(p, q), label_loss))
    loss = divergence + 0.3 * label_loss + 0.1 * (STUDENT[0] ** 2).sum()
    assert_logs(history, loss=loss, divergence=divergence, label_loss=label_loss)


def test_with_mixup_labels_and_features_each_network_runs_once_a_step():
    seen_by_student, seen_by_teacher = Recorder(), Recorder()
    teacher = linear(TEACHER, seen_by_teacher, keras.layers.Dropout(0.9))
    features = keras.distillation.FeatureDistillation(
        "mse", teacher_layer_name=teacher.layers[-1].name
    )
    distiller = distil(
        linear(STUDENT, seen_by_student),
        teacher,
        sampler="Mixup",
        label_weight=0.5,
        feature_losses=[features],
        seed=7,
    )
    # Each row has a 1 in a place of its own, so a mixture tells what it is made of.
    x = np.eye(SIZE, dtype="float32")
    y = np.array([0, 1, 2, 0])
    history = fit(distiller, x, y)

    (student_batch,), (teacher_batch,) = seen_by_student.batches, seen_by_teacher.batches
    mixed, own = student_batch[:SIZE], student_batch[SIZE:]
    np.testing.assert_array_equal(own, x)
    np.testing.assert_array_equal(teacher_batch, mixed)
    assert (np.count_nonzero(mixed, axis=1) == 2).all()
    np.testing.assert_allclose(mixed.sum(1), 1.0, rtol=1e-6)
    assert np.abs(mixed - x).max() > 0.01
    p, q = logits(mixed, TEACHER), logits(mixed, STUDENT)
    divergence, feature_loss = kl(p, q).mean(), ((p - q) ** 2).mean()
    label_loss = -log_softmax(logits(x, STUDENT), -1)[range(SIZE), y].mean()
    parts = {"divergence": divergence, "label_loss": label_loss, "feature_loss": feature_loss}
    assert_logs(history, loss=divergence + 0.5 * label_loss + feature_loss, **parts)


# Two steps of several outputs, the last one with fewer rows, against a loop by hand.


JOINT = outputs.Joint({"kind": "categorical", "place": outputs.Normal(2)}, {"place": 0.25})


def joint_kl(p, q):
    """Of raw tensors, with the default floor of 1e-3 under the scales."""
    log_p, log_q = tf.nn.log_softmax(p["kind"]), tf.nn.log_softmax(q["kind"])
    (p_mean, p_raw), (q_mean, q_raw) = (tf.split(raw["place"], 2, axis=-1) for raw in (p, q))
    p_scale, q_scale = (1e-3 + tf.math.softplus(raw) for raw in (p_raw, q_raw))
    ratio, distance = (p_scale / q_scale) ** 2, ((p_mean - q_mean) / q_scale) ** 2
    normal = 0.5 * tf.reduce_sum(ratio + distance - 1 - tf.math.log(ratio), -1)
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), -1) + 0.25 * normal


def test_steps_of_named_outputs_equal_a_gradient_loop_by_hand():
    student, by_loop, teacher = (by_hand.heads(kind=3, place=4) for _ in range(3))
    by_loop.set_weights(student.get_weights())
    x = numbers(13, SIZE, seed=5)
    history = fit(distil(student, teacher, output=JOINT), x, batch_size=8)

    losses = []
    for batch in (x[:8], x[8:]):
        with tf.GradientTape() as tape:
            rows = joint_kl(teacher(batch), by_loop(batch))
            loss = tf.reduce_mean(rows)
        losses.append(rows.numpy())
        variables = by_loop.trainable_variables
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(by_hand.RATE * gradient)
    assert_weights(student, by_loop.get_weights())
    assert set(history) == {"loss", "divergence", "kind_agreement", "place_mean_error"}
    assert_logs(history, loss=np.concatenate(losses).mean())


# What training leaves alone.


def test_the_teacher_is_left_as_it_was_found():
    def network(width, *layers):
        normalization = keras.layers.BatchNormalization()
        layers = [keras.layers.Dense(width), normalization, *layers, keras.layers.Dense(CLASSES)]
        return keras.Sequential([keras.Input((SIZE,)), *layers])

    student, teacher = network(4), network(5, keras.layers.Dropout(0.5))
    teacher.layers[0].trainable = False
    flags = [teacher.trainable, *(layer.trainable for layer in teacher.layers)]
    before = {variable.path: variable.numpy() for variable in teacher.variables}
    assert any("seed_generator" in path for path in before)
    moving = student.layers[1].moving_mean.numpy()

    fit(distil(student, teacher), X, run_eagerly=False, validation_data=(X,))
    assert [teacher.trainable, *(layer.trainable for layer in teacher.layers)] == flags
    for variable in teacher.variables:
        np.testing.assert_array_equal(variable.numpy(), before[variable.path])
    assert np.abs(student.layers[1].moving_mean.numpy() - moving).max() > 1e-4


def test_what_is_trained_is_what_the_student_trains():
    student = mlp(3, seed=1)
    student.layers[0].trainable = False
    distiller = distil(student)
    for trainable in (distiller.trainable_weights, distiller.trainable_variables):
        assert [id(each) for each in trainable] == [id(each) for each in student.layers[1].weights]
    before = student.get_weights()
    fit(distiller, X)
    after = student.get_weights()
    np.testing.assert_array_equal(after[0], before[0])
    assert not np.array_equal(after[2], before[2])
    assert len(distiller.optimizer._trainable_variables) == 2


# The data and the networks that fit takes.


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        rows = slice(4 * index, 4 * index + 4)
        return X[rows], LABELS[rows]


def generator(*arrays):
    for start in (0, 4):
        yield tuple(array[start : start + 4] for array in arrays)


COLUMN = ROW_WEIGHTS.astype("float64")[:, np.newaxis]


@pytest.mark.parametrize(
    ("data", "row_weights"),
    [
        (lambda: by_hand.dataset(X).batch(4), None),
        (lambda: by_hand.dataset(X, LABELS, COLUMN).batch(4), ROW_WEIGHTS),
        (lambda: generator(X), None),
        (lambda: generator(X, LABELS, ROW_WEIGHTS), ROW_WEIGHTS),
        (Batches, None),
    ],
    ids=["dataset", "weighted dataset", "generator", "weighted generator", "PyDataset"],
)
def test_every_kind_of_data_trains_alike(data, row_weights):
    distiller = distil()
    history = fit(distiller, data(), batch_size=None)
    expected, loss = by_hand.kl_epoch(X, STUDENT, TEACHER, 4, row_weights)
    assert_weights(distiller.student, expected)
    assert_logs(history, loss=loss)
    assert int(distiller.step.numpy()) == 2


def test_a_graph_computes_the_same_and_the_end_of_data_of_unknown_length_is_no_step():
    distiller, expected = distil(), STUDENT
    data = by_hand.dataset(X).filter(lambda row: tf.reduce_all(row == row)).batch(4)
    assert data.cardinality() == tf.data.UNKNOWN_CARDINALITY
    history = fit(distiller, data, batch_size=None, epochs=3, run_eagerly=False)
    for epoch in range(3):
        expected, loss = by_hand.kl_epoch(X, expected, TEACHER, 4)
        np.testing.assert_allclose(history["loss"][epoch], loss, rtol=1e-4)
    assert_weights(distiller.student, expected)
    assert int(distiller.step.numpy()) == int(distiller.optimizer.iterations.numpy()) == 6


def of_named_inputs(its_weights):
    inputs = {"left": keras.Input((2,), name="left"), "right": keras.Input((2,), name="right")}
    joined = keras.layers.Concatenate()([inputs["left"], inputs["right"]])
    return keras.Model(inputs, linear(its_weights)(joined))


def unbuilt(its_weights):
    kernel, bias = map(keras.initializers.Constant, its_weights)
    return keras.layers.Dense(CLASSES, kernel_initializer=kernel, bias_initializer=bias)


class Subclassed(keras.Model):
    """No symbolic inputs or outputs, and no weights before it is called."""

    def __init__(self, its_weights):
        super().__init__()
        self.dense = unbuilt(its_weights)

    def call(self, inputs):
        return self.dense(tf.concat(inputs, -1) if isinstance(inputs, (list, tuple)) else inputs)


@pytest.mark.parametrize(
    ("network", "x", "run_eagerly"),
    [
        (of_named_inputs, {"left": X[:, :2], "right": X[:, 2:]}, True),
        (Subclassed, np.split(X, 2, axis=1), True),
        (Subclassed, X, False),
        (lambda its_weights: keras.Sequential([unbuilt(its_weights)]), X, True),
    ],
    ids=["dict", "subclassed list", "subclassed graph", "sequential"],
)
def test_every_kind_of_network_trains_alike(network, x, run_eagerly):
    distiller = distil(network(STUDENT), network(TEACHER))
    fit(distiller, x, LABELS, batch_size=4, run_eagerly=run_eagerly)
    expected, _ = by_hand.kl_epoch(X, STUDENT, TEACHER, 4)
    assert_weights(distiller.student, expected)
    predicted = distiller.predict(x, verbose=0)
    np.testing.assert_allclose(predicted, logits(X, expected), rtol=1e-4, atol=1e-5)


def test_a_teacher_of_another_kind_than_a_keras_network():
    class Rule(Teacher):
        def member_outputs(self, inputs):
            return [inputs[:, :CLASSES]]

    distiller = distil(teacher=Rule("categorical"))
    fit(distiller, X)
    expected, _ = by_hand.kl_epoch(X, STUDENT, [np.eye(SIZE, CLASSES), np.zeros(CLASSES)], ROWS)
    assert_weights(distiller.student, expected)


# What is logged.


def test_evaluation_reports_how_far_the_student_is_from_the_teacher_and_the_labels():
    distiller = distil(sampler=None)  # The default sampler has no say in an evaluation.
    p, q = logits(X, TEACHER), logits(X, STUDENT)
    of_networks = dict.fromkeys(("loss", "divergence"), kl(p, q).mean())
    of_networks["agreement"] = (p.argmax(-1) == q.argmax(-1)).mean()
    accuracy, of_teacher = (q.argmax(-1) == LABELS).mean(), (p.argmax(-1) == LABELS).mean()
    logs = evaluate(distiller, X)
    assert set(logs) == set(of_networks)
    assert_logs(logs, **of_networks)
    evaluate(distiller, X, 0 * LABELS, metrics=["accuracy"])
    logs = distiller.evaluate(X, LABELS, verbose=0, return_dict=True)  # Metrics start anew.
    assert set(logs) == {*of_networks, "accuracy"}
    assert_logs(logs, accuracy=accuracy)
    found = distiller.evaluate(X, LABELS, verbose=0)
    assert dict(zip(distiller.metrics_names, found, strict=True)) == logs
    logs = evaluate(distiller, X, LABELS, metrics=["accuracy"], teacher_metrics=True)
    assert_logs(logs, accuracy=accuracy, teacher_accuracy=of_teacher, **of_networks)


def test_training_and_validation_log_these_names():
    distiller = distil(sampler=None, label_weight=0.5)
    distiller.compile("sgd", metrics=["accuracy"], teacher_metrics=True, run_eagerly=True)
    history = distiller.fit(X, LABELS, validation_data=(X, LABELS), verbose=0).history
    names = {"loss", "divergence", "agreement", "accuracy", "label_loss"}
    assert set(history) == names | {f"val_{name}" for name in [*names, "teacher_accuracy"]}


@pytest.mark.parametrize(
    "sampler", ["Mix", Shift(), samplers.Uncertain(samplers.GaussianNoise(0.1))]
)
def test_samplers_that_change_every_row_leave_no_row_for_training_metrics(sampler):
    history = fit(
        distil(sampler=sampler), X, LABELS, metrics=["accuracy"], validation_data=(X, LABELS)
    )
    assert "accuracy" not in history and "val_accuracy" in history


def test_training_metrics_see_the_unmodified_rows_only():
    recorder = Recorder()
    distiller = distil(linear(STUDENT, recorder), sampler=samplers.Choice(["Empirical", "Mixup"]))
    x = numbers(64, SIZE, seed=8)
    correct = logits(x, STUDENT).argmax(-1)
    y = np.where(np.arange(64) % 3 == 0, (correct + 1) % CLASSES, correct)
    history = fit(distiller, x, y, batch_size=64, metrics=["accuracy"])
    kept = (recorder.batches[0] == x).all(1)
    assert 10 < kept.sum() < 54
    assert_logs(history, accuracy=(y == correct)[kept].mean())


def test_the_teacher_can_be_left_out_of_evaluation():
    recorder = Recorder()
    distiller = distil(teacher=linear(TEACHER, recorder))
    distiller.compile("sgd", metrics=["accuracy"], evaluate_teacher=False, run_eagerly=True)
    logs = distiller.evaluate(X, LABELS, verbose=0, return_dict=True)
    assert recorder.batches == []
    expected = (logits(X, STUDENT).argmax(-1) == LABELS).mean()
    assert logs == {"accuracy": pytest.approx(expected)}
    history = distiller.fit(X, LABELS, validation_data=(X, LABELS), verbose=0).history
    assert len(recorder.batches) == 1
    assert set(history) == {"loss", "divergence", "agreement", "accuracy", "val_accuracy"}


@pytest.mark.parametrize("stddev", [None, 0.5], ids=["normal", "point"])
def test_regressors_are_compared_by_the_closed_form(stddev):
    student, teacher = weights(2, seed=2), weights(1 if stddev else 2, seed=3)
    output = outputs.Point(1, stddev=stddev) if stddev else "normal"
    distiller = distil(linear(student), Ensemble(linear(teacher), output), output="normal")
    y = numbers(ROWS, seed=4)
    logs = evaluate(distiller, X, y, metrics=["mae"], teacher_metrics=True)
    mean, raw = logits(X, student).T
    its_mean, *its_raw = logits(X, teacher).T
    scale = 1e-3 + np.logaddexp(0, raw)
    its_scale = stddev or 1e-3 + np.logaddexp(0, its_raw[0])
    loss = np.log(scale / its_scale) + (its_scale**2 + (its_mean - mean) ** 2) / (2 * scale**2)
    assert_logs(
        logs,
        rtol=1e-4,
        loss=(loss - 0.5).mean(),
        mean_error=np.abs(its_mean - mean).mean(),
        mae=np.abs(mean - y).mean(),
        teacher_mae=np.abs(its_mean - y).mean(),
    )


# Seeds, and ways to run the step.


def test_the_seed_determines_the_weights_and_fits_go_on_from_the_step_that_was_reached():
    def trained(seed, *epochs):
        distiller = distil(mlp(3, seed=1), mlp(8, seed=2), sampler=None, seed=seed)
        distiller.compile(keras.optimizers.SGD(by_hand.RATE), run_eagerly=True)
        for count in epochs:
            distiller.fit(X, batch_size=3, shuffle=False, epochs=count, verbose=0)
        assert int(distiller.step.numpy()) == 4
        return distiller.student.get_weights()

    together, apart, other = trained(1, 2), trained(1, 1, 1), trained(2, 2)
    by_hand.assert_arrays(together, apart)
    assert np.abs(together[0] - other[0]).max() > 1e-5


def test_a_training_traces_its_step_once(monkeypatch):
    traced = []
    step = Distiller.train_step
    monkeypatch.setattr(Distiller, "train_step", lambda *args: traced.append(1) or step(*args))
    distiller = distil(sampler="Mixup")
    distiller.compile("sgd", steps_per_execution=2)
    x = numbers(32, SIZE, seed=5)
    for _ in range(2):
        distiller.fit(x, batch_size=8, epochs=3, validation_data=x, verbose=0)
    assert len(traced) <= 2  # Keras's loop traces one for each step of an execution.


@pytest.mark.slow
def test_a_float16_student_has_its_loss_scaled_and_its_divergence_in_float32():
    dtypes = []

    def divergence(teacher, student):
        dtypes.append((teacher.logits.dtype, student.logits.dtype))
        p, q = tf.nn.log_softmax(teacher.logits), tf.nn.log_softmax(student.logits)
        return tf.reduce_sum(tf.exp(p) * (p - q), -1)

    student = mlp(3, seed=1, dtype="mixed_float16")
    before = student.get_weights()
    distiller = distil(student, sampler=None, divergence=divergence)
    history = fit(distiller, numbers(32, SIZE, seed=5), batch_size=8, run_eagerly=False)
    assert distiller.predict(X, verbose=0).dtype == np.float16
    assert isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)
    assert set(dtypes) == {(tf.float32, tf.float32)}
    assert np.isfinite(history["loss"]).all()
    for one, two in zip(student.get_weights(), before, strict=True):
        assert np.isfinite(one).all() and np.abs(one - two).max() > 0


def test_inputs_beyond_float16_reach_a_student_that_scales_them_first():
    scaling = keras.layers.Rescaling(1e-5, dtype="float32")
    dense = keras.layers.Dense(3, dtype="mixed_float16")
    student = keras.Sequential([keras.Input((2,)), scaling, dense])
    x = np.array([[1e5, -1e5], [3e5, 2.0]], "float32")  # float16 ends at 65504.
    wanted = x * 1e-5 @ dense.get_weights()[0]
    teacher = keras.models.clone_model(student)
    teacher.set_weights(student.get_weights())
    distiller = distil(student, teacher)
    distiller.compile(run_eagerly=True)
    for model in (distiller, distiller.teacher):
        np.testing.assert_allclose(model.predict(x, verbose=0), wanted, atol=5e-3)
